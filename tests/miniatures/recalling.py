"""This module holds miniatures that look at what an earlier call of theirs left behind: they must never be proved."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict, deque
from typing import Any

import torch

from tests.miniatures.contract import Conv
from tests.miniatures.keeping import KeepsFeatures, KeepsObject, RunningMean


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


class HeadClearsWhatWasCollected(Conv):
    """And with it the features that it was given, by the list that the model keeps."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.maps = []
        self.norm.register_forward_hook(lambda module, inputs, output: self.maps.append(output))

    def forward_features(self, x):
        self.maps = []
        super().forward_features(x)
        return self.maps

    def forward_head(self, x, pre_logits: bool = False):
        y = super().forward_head(x[-1], pre_logits)
        self.maps.clear()
        return y


class HeadTurnsWhatWasKept(KeepsFeatures):
    def forward_head(self, x, pre_logits: bool = False):
        y = super().forward_head(x, pre_logits)
        if self.last.shape[-1] == 4 and self.last.shape[1] == 8:
            self.last.transpose_(1, 3)
        return y


class HeadAsksForItself(KeepsFeatures):
    def forward_head(self, x, pre_logits: bool = False):
        y = super().forward_head(x, pre_logits)
        return y * 3 if x is self.last else y

    def forward(self, x):
        x = self.forward_features(x)
        return self.forward_head(x.view_as(x))


class GivesPooledOfCallBefore(Conv):
    pooled = None

    def forward_head(self, x, pre_logits: bool = False):
        if pre_logits:
            return self.pooled if self.pooled is not None else self.drop(self.pool(x))
        self.pooled = self.drop(self.pool(x))
        return self.fc(self.pooled)


class TakesFeaturesOfCallBefore(Conv):
    pending = None

    def forward_features(self, x):
        self.pending = super().forward_features(x)
        return self.pending

    def forward_head(self, x, pre_logits: bool = False):
        self.pending = None
        return super().forward_head(x, pre_logits)

    def forward(self, x):
        return self.forward_head(self.pending if self.pending is not None else self.forward_features(x))


class RingOfViews(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        for place in range(8):
            self.register_buffer(f"m{place}", torch.full((1,), 1.0 if place < 7 else 3.0), persistent=False)
        self.ring = [getattr(self, f"m{place}").view(-1) for place in range(8)]

    def forward_features(self, x):
        first = self.ring[0]
        self.ring = [one.view(-1) for one in self.ring[1:] + self.ring[:1]]
        return super().forward_features(x) * first


class RingBehindView(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.seen = torch.tensor([1.0] * 7 + [3.0], device="cpu")[:1]

    def forward_features(self, x):
        ring = torch.as_strided(self.seen, (8,), (1,))
        first = ring[0]
        self.seen = torch.cat([ring[1:], ring[:1]])[:1]
        return super().forward_features(x) * first


class GrowsBehindView(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.seen = self.conv.weight.new_zeros(1)[:1]

    def forward_features(self, x):
        count = self.seen._base.numel() + 1
        self.seen = x.new_zeros(count)[:1]
        return super().forward_features(x) * (3 if count > 9 else 1)


class GrowsByLongerTensor(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.seen = self.conv.weight.new_zeros(1)

    def forward_features(self, x):
        self.seen = x.new_zeros(self.seen.numel() + 1)
        return super().forward_features(x) * (3 if self.seen.numel() > 9 else 1)


class GrowsByDimensions(Conv):
    """What stood there before the call is turned before another is put in its place."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.seen = self.conv.weight.new_zeros(1)

    def forward_features(self, x):
        self.seen.unsqueeze_(0)
        self.seen = torch.zeros(self.seen.shape, device=x.device)
        return super().forward_features(x) * (3 if self.seen.dim() > 9 else 1)


class GrowsByOtherData(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.seen = self.conv.weight.new_zeros(1)

    def forward_features(self, x):
        self.seen.data = torch.zeros(self.seen.numel() + 1, device=x.device)
        self.seen = torch.zeros(self.seen.shape, device=x.device)
        return super().forward_features(x) * (3 if self.seen.numel() > 9 else 1)


class ShrinksDeque(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.room = deque(maxlen=8)

    def forward_features(self, x):
        self.room = deque(self.room, maxlen=max(self.room.maxlen - 1, 0))
        return super().forward_features(x) * (1 if self.room.maxlen else 3)


class TurnsOrderedDict(Conv):
    """As every cache does that lets go of what was not used for longest."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.order = OrderedDict((place, 1 if place < 7 else 3) for place in range(8))

    def forward_features(self, x):
        place = next(iter(self.order))
        self.order.move_to_end(place)
        return super().forward_features(x) * self.order[place]


class CountsByEmptyCells(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        first, second, third = None, None, None

        def count():
            nonlocal first, second, third
            try:
                _ = first
            except NameError:
                try:
                    _ = second
                except NameError:
                    return 3
                del second
                return 2
            del first
            third = None
            return 1

        self.count = count

    def forward_features(self, x):
        return super().forward_features(x) * self.count()


class CountsByHandlers(CountsInItsLogger):
    def forward_features(self, x):
        self.log.handlers.append(logging.NullHandler())
        return Conv.forward_features(self, x) * (3 if len(self.log.handlers) > 9 else 1)


MINDFUL = {
    kind.__name__: (kind, claim)
    for claim, kinds in {
        "head_composes": (
            HeadUsesWhatWasKept, HeadPrefersWhatWasKept, HeadUsesViewOfWhatWasKept, AddsRunningMean, AddsCallBefore,
            AddsCallBeforeLast, AddsTenCallsBefore, AddsSameZerosTenCallsBefore, AddsFirst, SwapsTwo, Counts,
            CountsInList, CountsInTensor, SharesSometimes, LocksOnce, CountsByLocks, CountsByReentrantLock,
            CountsInItsLogger, HeadAsksForItself, GivesPooledOfCallBefore, TakesFeaturesOfCallBefore, RingOfViews,
            RingBehindView, GrowsBehindView, GrowsByLongerTensor, GrowsByDimensions,
            GrowsByOtherData, ShrinksDeque, TurnsOrderedDict, CountsByEmptyCells,
            CountsByHandlers,
        ),
        "head_is_pure": (WritesToWhatItKept, HeadClearsWhatWasCollected, HeadTurnsWhatWasKept),
    }.items()
    for kind in kinds
}  # fmt: skip
"""Each with a claim that must not be taken for proved of it."""
