"""Fit a line with LightningCLI: `python train.py --config config.yaml`, and any option of it."""

import lightning as L
import torch
from lightning.pytorch.cli import LightningCLI
from torch.utils.data import DataLoader, TensorDataset


class Line(L.LightningModule):
    def __init__(self, lr: float = 0.1, start: float = 0.0):
        super().__init__()
        self.lr = lr
        self.w = torch.nn.Parameter(torch.tensor(start))

    def training_step(self, batch, _):
        x, y = batch
        loss = ((self.w * x - y) ** 2).mean() / 2
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class Points(L.LightningDataModule):
    """y = slope * x where the mean of x * x is 1."""

    def __init__(self, slope: float = 2.0):
        super().__init__()
        self.slope = slope

    def train_dataloader(self):
        x = torch.tensor([1.0, -1.0, 1.0, -1.0])
        return DataLoader(TensorDataset(x, self.slope * x), batch_size=4)


def run(args=None):
    cli = LightningCLI(Line, Points, args=args, run=False, save_config_callback=None)
    cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    return cli.trainer.callback_metrics["loss"].item(), cli.model.w.item()


def main(config, checkpoint_dir):
    config["trainer"]["default_root_dir"] = str(checkpoint_dir)
    run(config)


if __name__ == "__main__":
    print("loss, w", *run())
