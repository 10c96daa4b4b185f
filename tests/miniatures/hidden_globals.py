"""This module holds mutants that count their calls where the globals of a file lead: in what functions keep, in arrays.

As in `tests.miniatures.mutants`, each was, or might have been, judged `holds`.
"""

import argparse
import array
import collections
import contextvars
import dataclasses
import enum
import threading
import weakref
from collections.abc import Callable

import torch
from torch import nn

from tests.miniatures.contract import Conv
from tests.miniatures.hidden import FewCalls
from tests.miniatures.mutants import breaks


def count_in_a_default(calls: list[int] = [0]) -> int:  # noqa: B006  # what this is about
    calls[0] += 1
    return calls[0]


def counting() -> Callable[[], int]:
    calls = 0

    def count() -> int:
        nonlocal calls
        calls += 1
        return calls

    return count


count_in_a_closure = counting()
CALLS: contextvars.ContextVar[int] = contextvars.ContextVar("CALLS", default=0)
WHOLE = array.array("q", [0])
BYTES = bytearray(1)


@breaks("head_composes")
class features_count_in_a_global_functions_default(FewCalls):
    def count(self) -> int:
        return count_in_a_default()


@breaks("head_composes")
class features_count_in_a_global_functions_closure(FewCalls):
    def count(self) -> int:
        return count_in_a_closure()


@breaks("head_composes")
class features_count_in_a_context_variable(FewCalls):
    def count(self) -> int:
        CALLS.set(CALLS.get() + 1)
        return CALLS.get()


@breaks("head_composes")
class features_count_in_a_global_array(FewCalls):
    def count(self) -> int:
        WHOLE[0] += 1
        return WHOLE[0]


@breaks("head_composes")
class features_count_in_global_bytes(FewCalls):
    def count(self) -> int:
        BYTES[0] += 1
        return BYTES[0]


class Mode(enum.IntEnum):
    """Looked into as any object is."""

    PLAIN = 1


@dataclasses.dataclass(slots=True)
class Kept:
    mean: torch.Tensor | None = None


SLOTTED = Kept()
PARSED = argparse.Namespace()
BY_MODEL: weakref.WeakKeyDictionary[nn.Module, torch.Tensor] = weakref.WeakKeyDictionary()
OF_THREAD = threading.local()
BY_NAME: collections.UserDict[str, torch.Tensor] = collections.UserDict()
MODULE = nn.Identity()
TENSOR = torch.zeros(1)


class Centred(Conv):
    """What `forward_features` subtracts is the mean of the first images that there were."""

    def known(self) -> torch.Tensor | None:
        raise NotImplementedError

    def keep(self, mean: torch.Tensor) -> None:
        raise NotImplementedError

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = super().forward_features(x)
        if self.known() is None:
            self.keep(x.mean((0, 2, 3), keepdim=True))
        return x - self.known()


@breaks("deterministic_in_eval")
class mean_in_a_slot(Centred):
    def known(self) -> torch.Tensor | None:
        return SLOTTED.mean

    def keep(self, mean: torch.Tensor) -> None:
        SLOTTED.mean = mean


@breaks("deterministic_in_eval")
class mean_in_a_namespace(Centred):
    def known(self) -> torch.Tensor | None:
        return getattr(PARSED, "mean", None)

    def keep(self, mean: torch.Tensor) -> None:
        PARSED.mean = mean


@breaks("deterministic_in_eval")
class mean_by_a_weak_key(Centred):
    def known(self) -> torch.Tensor | None:
        return BY_MODEL.get(self)

    def keep(self, mean: torch.Tensor) -> None:
        BY_MODEL[self] = mean


@breaks("deterministic_in_eval")
class mean_of_a_thread(Centred):
    def known(self) -> torch.Tensor | None:
        return getattr(OF_THREAD, "mean", None)

    def keep(self, mean: torch.Tensor) -> None:
        OF_THREAD.mean = mean


@breaks("deterministic_in_eval")
class mean_in_a_users_dict(Centred):
    def known(self) -> torch.Tensor | None:
        return BY_NAME.get("mean")

    def keep(self, mean: torch.Tensor) -> None:
        BY_NAME["mean"] = mean


@breaks("deterministic_in_eval")
class mean_on_a_module(Centred):
    def known(self) -> torch.Tensor | None:
        return getattr(MODULE, "mean", None)

    def keep(self, mean: torch.Tensor) -> None:
        MODULE.register_buffer("mean", mean)


@breaks("deterministic_in_eval")
class mean_on_a_tensor(Centred):
    def known(self) -> torch.Tensor | None:
        return getattr(TENSOR, "mean_of_images", None)

    def keep(self, mean: torch.Tensor) -> None:
        TENSOR.mean_of_images = mean
