"""This module holds miniatures that keep something of every call and never look at it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tests.miniatures.contract import Conv


class KeepsFeatures(Conv):
    """As those do that are asked for their last features, to draw them."""

    last: torch.Tensor | None = None

    def forward_features(self, x):
        self.last = super().forward_features(x)
        return self.last


class KeepsInputSize(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.size = [0, 0]

    def forward_features(self, x):
        self.size = list(x.shape[-2:])
        return super().forward_features(x)


class KeepsSizesByName(KeepsInputSize):
    def forward_features(self, x):
        y = super().forward_features(x)
        self.sizes = {"input": [tuple(x.shape), x.dtype], "output": [tuple(y.shape), y.dtype]}
        return y


class KeepsByHook(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.activations = {}
        self.norm.register_forward_hook(lambda module, inputs, output: self.activations.update(norm=output.detach()))


@dataclass
class Trace:
    sizes: list[tuple[int, ...]]
    maps: dict[str, torch.Tensor]


class KeepsObject(Conv):
    trace: Trace | None = None

    def forward_features(self, x):
        y = super().forward_features(x)
        self.trace = Trace([tuple(x.shape), tuple(y.shape)], {"mean": y.mean(1), "view": y[:, :1]})
        return y


class OldWeightNorm(Conv):
    """Whose hook puts a new weight in the module before every call."""

    def __init__(self, num_classes: int = 10, **arguments: Any) -> None:
        super().__init__(num_classes=num_classes, **arguments)
        self.conv = nn.utils.weight_norm(self.conv)


class OldSpectralNorm(Conv):
    def __init__(self, num_classes: int = 10, **arguments: Any) -> None:
        super().__init__(num_classes=num_classes, **arguments)
        self.conv = nn.utils.spectral_norm(self.conv)


class RunningMean(Conv):
    """Another tensor at every call, which only whoever trains it looks at."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.mean = self.conv.weight.new_zeros(())

    def forward_features(self, x):
        y = super().forward_features(x)
        self.mean = 0.9 * self.mean + 0.1 * y.mean()
        return y


FORGETFUL = {kind.__name__: kind for kind in (KeepsInputSize, KeepsSizesByName, OldWeightNorm, OldSpectralNorm)}
"""Those that keep what is equal to what was there."""

OF_IMAGES = (KeepsFeatures, KeepsByHook, KeepsObject, RunningMean)
"""Those that keep what was computed from the images, and never look at it: nothing is proved of them, or refuted."""
