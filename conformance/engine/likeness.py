"""This module tells whether what stands in place of something else is equal to it: what a call makes anew each time.

A list of sizes that every call assigns, or the weight that torch's older `weight_norm` puts into a module before each
call, is another object afterwards, and the module computes as before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from conformance.engine.held import PLAIN, Facts, Memory, memory_of_tensor

REPLACED: tuple[type, ...] = (dict, list, tuple)
"""Containers that others may stand for: they have an order, and nothing but what they hold."""


class Likeness:
    """What was found to stand for what in one comparison of everything that is kept.

    An object stands for the same one wherever it is met, and memory for the same memory, so that what is shared is
    shared as before. `are_equal` says of two plain tensors whether they look alike and hold the same.
    """

    def __init__(self, are_equal: Callable[[torch.Tensor, torch.Tensor], bool]) -> None:
        self._are_equal = are_equal
        self.replaced: set[int] = set()
        """Tensors that stand in place of others, by identity."""
        self._later: dict[object, object] = {}
        self._earlier: dict[object, object] = {}

    def of_flat(self, before: list[Any], now: list[Any]) -> bool:
        """Whether two lists are alike that hold objects, each followed by its facts, if it has any, and its parts."""
        if len(before) != len(now):
            return False
        replaced = None
        for old, new in zip(before, now, strict=True):
            if type(new) is Memory:
                if not self._of_memory(old, new, replaced):
                    return False
            elif not self._of_objects(old, new):
                return False
            replaced = old if id(new) in self.replaced else None
        return True

    def _of_objects(self, old: Any, new: Any) -> bool:
        kind = type(old)
        if kind is not type(new):
            return False
        if issubclass(kind, Facts):
            return bool(old == new)
        if kind in PLAIN:
            return repr(old) == repr(new)
        return self._corresponds(id(old), id(new)) and (old is new or self._of_others(old, new, kind))

    def _of_others(self, old: Any, new: Any, kind: type) -> bool:
        if kind is not torch.Tensor:
            return kind in REPLACED
        if old._base is not None or new._base is not None:  # which may be asked for
            return False
        self.replaced.add(id(new))
        return self._are_equal(old, new)

    def _of_memory(self, old: Any, new: Memory, replaced: torch.Tensor | None) -> bool:
        """Whether memory is the same, or, where a tensor was `replaced`, the same but for its place.

        That tensor must be what it was: what its like was compared with is how it looks now.
        """
        if type(old) is not Memory or not (old and new):
            return False
        if replaced is not None and (old[1:3] != new[1:3] or memory_of_tensor(replaced) != old[:3]):
            return False
        return (replaced is not None or old == new) and self._corresponds(("memory", old[0]), ("memory", new[0]))

    def _corresponds(self, old: object, new: object) -> bool:
        return self._later.setdefault(old, new) == new and self._earlier.setdefault(new, old) == old
