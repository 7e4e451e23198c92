"""Train an image classifier; `main` takes one configuration, and is what a sweep runs."""

import pathlib
from typing import Any

import torch
import wandb
from torch.nn.functional import cross_entropy

from dysweep import instantiate


def main(config: dict[str, Any], checkpoint_dir: pathlib.Path) -> float:
    """Train for the epochs that are left, save after each, and return the last accuracy."""
    torch.set_num_threads(1)
    torch.manual_seed(config["seed"])
    data = instantiate(config["data"])
    transforms = [instantiate(each) for each in config["transforms"]]
    training, test = torch.randperm(len(data.labels)).split(int(0.8 * len(data.labels)) + 1)
    model = instantiate(config["model"])
    optimizer = instantiate(config["optimizer"], model.parameters())
    scheduler = instantiate(config["scheduler"], optimizer)
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    accuracy, first = 0.0, 0

    saved = checkpoint_dir / "state.pt"
    if saved.exists():
        state = torch.load(saved)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        accuracy, first = state["accuracy"], state["epoch"] + 1
        print(f"going on with epoch {first}")

    def batch(chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        images = data.images[chosen]
        for transform in transforms:
            images = transform(images, model.training)
        return images, data.labels[chosen]

    for epoch in range(first, config["epochs"]):
        model.train()
        for chosen in training[torch.randperm(len(training))].split(config["batch_size"]):
            images, labels = batch(chosen)
            loss = cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        scheduler.step()
        model.eval()
        with torch.no_grad():
            images, labels = batch(test)
            accuracy = (model(images).argmax(1) == labels).float().mean().item()
        wandb.log({"epoch": epoch, "loss": loss.item(), "accuracy": accuracy})
        print(f"epoch {epoch}: loss {loss.item():.3f}, accuracy {accuracy:.3f}")

        state = {name: part.state_dict() for name, part in parts.items()}
        beside = checkpoint_dir / "state.tmp"  # written beside, then renamed: it is whole whenever we die
        torch.save({**state, "accuracy": accuracy, "epoch": epoch}, beside)
        beside.replace(saved)
    return accuracy
