"""Sum a series with Hydra: `python train.py model=cubic optimizer.lr=0.5`."""

import os
from pathlib import Path

import hydra
import wandb
from omegaconf import DictConfig, OmegaConf


def loss(cfg: DictConfig) -> float:
    w = cfg.model.start
    for _ in range(cfg.steps):
        w -= cfg.optimizer.lr * cfg.model.power * w ** (cfg.model.power - 1)
    Path("weights.txt").write_text(str(w))
    return w**cfg.model.power * cfg.scale


@hydra.main(version_base=None, config_path="conf", config_name="config")
def plain(cfg: DictConfig) -> None:
    print("loss", loss(cfg))


def main(config, checkpoint_dir):
    cfg = OmegaConf.create(config)
    os.chdir(checkpoint_dir)
    wandb.log({"loss": loss(cfg)})


if __name__ == "__main__":
    plain()
