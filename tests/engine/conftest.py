"""Fixtures of the engine's tests: a ledger, meta inputs, and a way to number what a function computes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from conformance.engine.ledger import Ledger
from conformance.engine.outside import recording


class Numbering:
    """Numbers functions of a few named meta tensors in one ledger."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.x = self.leaf("x", 4, 6)
        self.y = self.leaf("y", 4, 6)

    def leaf(self, name: str, *size: int, dtype: torch.dtype = torch.float32, kind: str = "input") -> torch.Tensor:
        tensor = torch.empty(*size, dtype=dtype, device="meta")
        self.ledger.name_leaf(kind, [(name, tensor, None)])
        return tensor

    def __call__(self, function: Callable[..., object], *arguments: torch.Tensor) -> int | None:
        """The number of the result, None if nothing can be proved from it. The arguments may be written."""
        with recording(self.ledger, writable=arguments) as taken:
            output = function(*arguments)
        self.reasons = taken.unprovable
        return None if taken.unprovable else self.ledger.result(output)

    def equal(self, left: Callable[..., object], right: Callable[..., object], *fresh: str) -> bool:
        """Whether both functions of a new (x, y) get the same number; each gets tensors of its own, alike named."""
        numbers = []
        for function in (left, right):
            x, y = self.leaf("x", 4, 6), self.leaf("y", 4, 6)
            numbers.append(self(function, x, y))
        return numbers[0] is not None and numbers[0] == numbers[1]

    def is_reproducible(self, function: Callable[..., object]) -> bool:
        number = self(function, self.leaf("x", 4, 6), self.leaf("y", 4, 6))
        return number is not None and self.ledger.values.is_reproducible(number)


@pytest.fixture
def numbering() -> Numbering:
    return Numbering()
