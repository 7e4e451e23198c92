"""Data sets of real images, and transforms of their batches.

A data set has `images` (float, N x channels x height x width, from 0 to 1) and `labels` (N).
"""

from pathlib import Path

import torch
from sklearn.datasets import load_digits, load_sample_images
from torch.nn.functional import avg_pool2d


class Digits:
    """1,797 handwritten digits of 8 x 8 pixels, which come with scikit-learn."""

    def __init__(self) -> None:
        digits = load_digits()
        self.images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
        self.labels = torch.tensor(digits.target)


class Photos:
    """2,080 patches of the two photographs that come with scikit-learn; which of the two is a patch from?"""

    def __init__(self, size: int = 8) -> None:
        patches = []
        for photo in load_sample_images().images:
            pixels = avg_pool2d(torch.tensor(photo, dtype=torch.float32).permute(2, 0, 1) / 255, 2)
            tiles = pixels.unfold(1, size, size).unfold(2, size, size)
            patches.append(tiles.permute(1, 2, 0, 3, 4).reshape(-1, 3, size, size))
        self.images = torch.cat(patches)
        self.labels = torch.cat([torch.full((len(patch),), label) for label, patch in enumerate(patches)])


class Cifar:
    """CIFAR-10 or CIFAR-100, downloaded by torchvision (`pip install torchvision`)."""

    def __init__(self, classes: int = 10, folder: str = "~/.cache/cifar") -> None:
        from torchvision import datasets

        kind = {10: datasets.CIFAR10, 100: datasets.CIFAR100}[classes]
        loaded = kind(Path(folder).expanduser(), train=True, download=True)
        self.images = torch.tensor(loaded.data).permute(0, 3, 1, 2).float() / 255
        self.labels = torch.tensor(loaded.targets)


class Shift:
    """Moves each image by up to some pixels; only when training."""

    def __init__(self, pixels: int = 1) -> None:
        self.pixels = pixels

    def __call__(self, images: torch.Tensor, training: bool) -> torch.Tensor:
        if not training:
            return images
        across, down = torch.randint(-self.pixels, self.pixels + 1, (2,)).tolist()
        return images.roll((down, across), dims=(2, 3))


class Normalize:
    """Brings pixels to the mean 0 and the standard deviation 1, given what they have."""

    def __init__(self, mean: float, std: float) -> None:
        self.mean = mean
        self.std = std

    def __call__(self, images: torch.Tensor, training: bool) -> torch.Tensor:
        return (images - self.mean) / self.std
