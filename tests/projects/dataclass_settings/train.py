"""A number that depends on every setting: `python train.py`."""

from settings import Settings


def score(settings: Settings) -> float:
    size = settings.model.width * sum(settings.model.layers)
    return size * (1 - settings.optimizer.lr) ** settings.epochs + settings.optimizer.betas[0]


if __name__ == "__main__":
    print("score", score(Settings()))
