"""Minimize a quadratic by gradient descent: `python train.py --lr 0.2 --steps 10`."""

import argparse

import wandb


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--start", type=float, default=4.0)
    return parser.parse_args()


def train(args):
    run = wandb.init(
        project="quadratic", name="descent", tags=["baseline"], job_type="train", notes="a first try",
        config=vars(args), reinit=True,
    )  # fmt: skip
    w = run.config.start
    for _ in range(run.config.steps):
        w -= run.config.lr * w
        wandb.log({"loss": w * w / 2})
    wandb.finish()
    return w * w / 2


def main(config, checkpoint_dir):
    train(parse())


if __name__ == "__main__":
    print("loss", train(parse()))
