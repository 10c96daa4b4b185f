"""This module tells what stands in place of something that is like it: what a call keeps anew each time.

A model that keeps its last features, or a list of their sizes, holds another object after every call. Whether that
matters to the next call can be tried (`conformance.subject.passes.run`), if all that changed is known.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any

import torch

from conformance.engine.held import CONSTANT, CONTAINERS, LOOKS, PLAIN, Facts, Memory, Unwatchable, base_of
from conformance.engine.operands import Unmodelled, geometry

ORDERED: tuple[type, ...] = (dict, list, tuple, deque, OrderedDict)
"""Containers that give what they hold in an order of their own."""


class Likeness:
    """What was found to stand where something like it stood, in one comparison of everything that is kept.

    An object stands for the same one wherever it is met, so that what is shared is shared as before.
    """

    def __init__(self) -> None:
        self.tensors: dict[int, torch.Tensor] = {}
        """Those that stand in place of others, by identity."""
        self._later: dict[object, object] = {}
        self._earlier: dict[object, object] = {}

    def of_flat(self, before: list[Any], now: list[Any]) -> bool:
        """Whether two lists are alike that hold objects, each followed by its facts, if it has any, and its parts."""
        if len(before) != len(now):
            return False
        previous = None
        for old, new in zip(before, now, strict=True):
            if type(new) is Memory and id(previous) in self.tensors:
                if not self._of_memory(old, new):
                    return False
            elif not self._of_objects(old, new):
                return False
            previous = new
        return True

    def _of_objects(self, old: Any, new: Any) -> bool:
        kind = type(old)
        if kind is not type(new):
            return False
        if issubclass(kind, Facts):
            return bool(old == new)
        if kind in PLAIN:
            return repr(old) == repr(new)
        if not self._corresponds(id(old), id(new)):
            return False
        return old is new or self._of_others(old, new, kind)

    def _of_others(self, old: Any, new: Any, kind: type) -> bool:
        if kind is torch.Tensor:
            self.tensors[id(new)] = new
            return _looks_alike(old, new)
        if kind in CONTAINERS:
            return kind in ORDERED
        if kind in CONSTANT or kind in LOOKS or issubclass(kind, type | torch.Tensor | torch.nn.Module):
            return False
        try:
            return base_of(kind) in (object, *ORDERED)
        except Unwatchable:
            return False

    def _of_memory(self, old: Any, new: Memory) -> bool:
        """Of tensors that stand for each other: whether all but the place of their memory is the same."""
        if type(old) is not Memory or not old or not new:
            return False
        return self._corresponds(("memory", old[0]), ("memory", new[0])) and old[1:] == new[1:]

    def _corresponds(self, old: object, new: object) -> bool:
        return self._later.setdefault(old, new) == new and self._earlier.setdefault(new, old) == old


def _looks_alike(old: torch.Tensor, new: torch.Tensor) -> bool:
    try:
        return old.device == new.device and geometry(old) == geometry(new)
    except Unmodelled:
        return False
