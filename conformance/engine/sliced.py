"""This module is one operation on tensors of a batch, as rules look at it that say whether it treats images apart."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch._ops import OpOverload

from conformance.engine.operands import tensors_in
from conformance.engine.operations import operation


class NotApart(Exception):
    """An operation may not treat the images of a batch apart. The text says which and why."""


class Guess(enum.Enum):
    """Which dimension of constants is taken for that of the batch, where there is one."""

    EQUAL = "as long as the batch"
    EITHER = "as long as the batch, or else a multiple of it"
    LONGER = "a multiple of it, or else as long as the batch"


@dataclass(frozen=True)
class Sliced:
    """A tensor of the batch and its slice: elements `[i * n, (i + 1) * n)` of `whole` along `dim` are of image i."""

    whole: torch.Tensor
    part: torch.Tensor
    """What an image has of it: n long along `dim`, and otherwise of the same sizes."""
    dim: int
    look: tuple[Any, ...]
    """How the whole lay in memory when the pair was made."""


class Call:
    """One operation on tensors of the batch, as rules look at it."""

    output: Any
    """What it gave of the batch."""

    def __init__(
        self,
        func: OpOverload,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        sliced: Callable[[torch.Tensor], Sliced | None],
        count: int,
        guess: Guess,
    ) -> None:
        self.func, self.count, self.guess = func, count, guess
        known = operation(func)
        self.packet = known.packet
        self.names = [name for name, _ in known.arguments]
        self.arguments = dict(known.arguments) | dict(zip(self.names, args, strict=False)) | dict(kwargs)
        self._given, self._keywords = len(args), tuple(kwargs)
        self.tensors = list(tensors_in(list(self.arguments.values())))
        found = [(tensor, sliced(tensor)) for tensor in self.tensors]
        self.sliced = {id(tensor): pair for tensor, pair in found if pair is not None}

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def pair(self, name: str) -> Sliced | None:
        """The pair of the tensor given as argument `name`, if it is one of the batch."""
        return self.sliced.get(id(self.arguments.get(name)))

    def only(self, name: str = "self") -> Sliced:
        """The pair of argument `name`, which must be the only argument of the batch."""
        pair = self.pair(name)
        if pair is None or len(self.sliced) != 1:
            raise self.refused("is given several tensors of the batch")
        return pair

    def refused(self, why: str) -> NotApart:
        """What to raise where the operation mixes images or may do so."""
        return NotApart(f"{self.packet} {why}")

    def of_one(self, changes: Mapping[str, Any]) -> Any:
        """What the operation gives of the slices, its other arguments as they are but for `changes`."""
        values = {name: self._of_one(value) for name, value in self.arguments.items()} | dict(changes)
        names = dict.fromkeys((*self._keywords, *(name for name in changes if name not in self.names[: self._given])))
        return self.func(
            *(values[name] for name in self.names[: self._given]), **{name: values[name] for name in names}
        )

    def _of_one(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return self.sliced[id(value)].part if id(value) in self.sliced else value
        if isinstance(value, list | tuple):
            return type(value)(map(self._of_one, value))
        return value
