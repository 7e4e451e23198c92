"""An application of Hydra, with the same W&B runs: `hydra_multirun.py --multirun +number=range(0,RUNS)`."""

import hydra
import wandb


@hydra.main(version_base=None)
def main(config):
    settings = wandb.Settings(silent=True, reinit="finish_previous", mode="offline")
    with wandb.init(project="speed", config={"number": config.number}, settings=settings):
        pass


main()
