"""This module holds miniatures that keep something of every call: some never look at it again, some do."""

from __future__ import annotations

import logging
import threading
from collections import deque
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


FORGETFUL = {
    kind.__name__: kind
    for kind in (
        KeepsFeatures, KeepsInputSize, KeepsByHook, KeepsObject, OldWeightNorm, OldSpectralNorm, RunningMean,
    )
}  # fmt: skip
"""Those that never look at what they kept."""


class HeadUsesWhatWasKept(KeepsFeatures):
    """Right if called in turn, wrong for features of other images."""

    def forward_head(self, x, pre_logits: bool = False):
        return super().forward_head(x + self.last, pre_logits)


class HeadPrefersWhatWasKept(KeepsFeatures):
    def forward_head(self, x, pre_logits: bool = False):
        return super().forward_head(self.last, pre_logits)


class HeadUsesViewOfWhatWasKept(KeepsObject):
    def forward_head(self, x, pre_logits: bool = False):
        return super().forward_head(x + self.trace.maps["view"], pre_logits)


class AddsRunningMean(RunningMean):
    def forward_features(self, x):
        before = self.mean
        return super().forward_features(x) + before


class AddsCallBefore(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.before = self.conv.weight.new_zeros(1)

    def forward_features(self, x):
        y = super().forward_features(x)
        before, self.before = self.before, y
        return y + 0 * before.mean()


class AddsCallBeforeLast(Conv):
    """Which a second call does not show."""

    delay = 2

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.waiting = deque([self.conv.weight.new_zeros(2, 8, 4, 4) for _ in range(self.delay)], self.delay)

    def forward_features(self, x):
        y = super().forward_features(x)
        before = self.waiting[0]
        self.waiting.append(y)
        return y + before


class AddsTenCallsBefore(AddsCallBeforeLast):
    delay = 10


class AddsSameZerosTenCallsBefore(AddsCallBeforeLast):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.waiting = deque([self.conv.weight.new_zeros(2, 8, 4, 4)] * 10, 10)


class AddsFirst(KeepsFeatures):
    """The features of its first images, for good."""

    first: torch.Tensor | None = None

    def forward_features(self, x):
        y = super().forward_features(x)
        if self.first is None:
            self.first = y
        return y + self.first


class SwapsTwo(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.pair = [self.conv.weight.new_zeros(()), self.conv.weight.new_ones(())]

    def forward_features(self, x):
        self.pair = self.pair[::-1]
        return super().forward_features(x) * self.pair[0]


class Counts(KeepsFeatures):
    """Other results from the fourth call on."""

    calls = 0

    def forward_features(self, x):
        self.calls += 1
        return super().forward_features(x) * (self.calls > 3)


class CountsInList(KeepsFeatures):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.calls = [0]

    def forward_features(self, x):
        self.calls = [self.calls[0] + 1]
        return super().forward_features(x) * (self.calls[0] > 3)


class CountsInTensor(KeepsFeatures):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.calls = torch.tensor(0, device="cpu")

    def forward_features(self, x):
        self.calls = self.calls + 1
        return super().forward_features(x) * (int(self.calls) > 3)


class SharesSometimes(KeepsFeatures):
    """Two lists that are one after every second call: what is written to one is in the other then."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.left, self.right = [1], [1]

    def forward_features(self, x):
        is_one = self.left is self.right
        self.left = [1]
        self.right = [1] if is_one else self.left
        return super().forward_features(x) * (2 if is_one else 1)


class LocksOnce(KeepsFeatures):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.lock = threading.Lock()

    def forward_features(self, x):
        return super().forward_features(x) * (2 if self.lock.acquire(blocking=False) else 1)


class CountsByLocks(KeepsFeatures):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.locks = [threading.Lock() for _ in range(4)]

    def forward_features(self, x):
        is_free = any([lock.acquire(blocking=False) for lock in self.locks if not lock.locked()][:1])
        return super().forward_features(x) * (2 if is_free else 1)


class CountsByReentrantLock(KeepsFeatures):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.lock = threading.RLock()

    def forward_features(self, x):
        self.lock.acquire()
        return super().forward_features(x) * (2 if "count=4" in repr(self.lock) else 1)


class CountsInItsLogger(KeepsFeatures):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.log = logging.Logger("a model's own")

    def forward_features(self, x):
        self.log.calls = getattr(self.log, "calls", 0) + 1
        return super().forward_features(x) * (2 if self.log.calls > 4 else 1)


class WritesToWhatItKept(KeepsFeatures):
    def forward_head(self, x, pre_logits: bool = False):
        self.last.mul_(2)
        return super().forward_head(x, pre_logits)


MINDFUL = {
    kind.__name__: (kind, claim)
    for claim, kinds in {
        "head_composes": (
            HeadUsesWhatWasKept, HeadPrefersWhatWasKept, HeadUsesViewOfWhatWasKept, AddsRunningMean, AddsCallBefore,
            AddsCallBeforeLast, AddsTenCallsBefore, AddsSameZerosTenCallsBefore, AddsFirst, SwapsTwo, Counts,
            CountsInList, CountsInTensor, SharesSometimes, LocksOnce, CountsByLocks, CountsByReentrantLock,
            CountsInItsLogger,
        ),
        "head_is_pure": (WritesToWhatItKept,),
    }.items()
    for kind in kinds
}  # fmt: skip
"""Those that do, and a claim that must not be taken for proved of them."""
