"""Three small convolutional networks for images of any size, with any number of channels and classes."""

import torch
from torch import nn


def convolution(inputs: int, outputs: int, *, groups: int = 1, size: int = 3) -> nn.Sequential:
    """A convolution that keeps the size of the image, with batch normalization and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class Head(nn.Sequential):
    """From feature maps to the logits of the classes."""

    def __init__(self, features: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__(
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(dropout), nn.Linear(4 * features, classes)
        )


class LeNet(nn.Sequential):
    """Two convolutions, each followed by pooling, as in LeCun et al. (1998)."""

    def __init__(self, channels: int, classes: int, width: int = 16, dropout: float = 0.0) -> None:
        super().__init__(
            convolution(channels, width),
            nn.MaxPool2d(2),
            convolution(width, 2 * width),
            nn.MaxPool2d(2),
            Head(2 * width, classes, dropout),
        )


class Residual(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(convolution(width, width), convolution(width, width))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images + self.inner(images)


class ResNet(nn.Sequential):
    """Residual blocks at one width, as in He et al. (2016), for small images."""

    def __init__(self, channels: int, classes: int, width: int = 16, blocks: int = 2) -> None:
        super().__init__(
            convolution(channels, width),
            nn.MaxPool2d(2),
            *(Residual(width) for _ in range(blocks)),
            Head(width, classes),
        )


class SeparableNet(nn.Sequential):
    """Depthwise convolutions, each followed by a pointwise one, as in Howard et al. (2017)."""

    def __init__(self, channels: int, classes: int, width: int = 32, blocks: int = 2) -> None:
        separable = (
            nn.Sequential(convolution(width, width, groups=width), convolution(width, width, size=1))
            for _ in range(blocks)
        )
        super().__init__(convolution(channels, width), nn.MaxPool2d(2), *separable, Head(width, classes))
