"""This module remembers what meta kernels gave: most of a pass repeats the shapes of an earlier block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from conformance.engine.operands import covers_storage


@dataclass(frozen=True)
class Plan:
    """What a meta kernel gives for certain arguments: shapes, which depend on the shapes of the arguments alone."""

    container: type | None
    tensors: tuple[tuple[tuple[int, ...], tuple[int, ...], torch.dtype], ...]

    @classmethod
    def of(cls, output: Any) -> Plan | None:
        """The plan that makes such an output again, or None where it is more than new tensors of minimal storage."""
        container = None if isinstance(output, torch.Tensor) else type(output)
        if container not in (None, tuple, list):
            return None
        tensors = [output] if container is None else output
        described = []
        for tensor in tensors:
            if type(tensor) is not torch.Tensor or tensor.device.type != "meta" or not covers_storage(tensor):
                return None
            described.append((tuple(tensor.size()), tensor.stride(), tensor.dtype))
        return cls(container, tuple(described))

    def make(self) -> Any:
        """New tensors on the meta device."""
        made = [torch.empty_strided(size, stride, dtype=dtype, device="meta") for size, stride, dtype in self.tensors]
        return made[0] if self.container is None else self.container(made)


class Shapes:
    """Plans by operation, arguments and geometries. They speak of no model and may serve many, one after another."""

    LIMIT = 30_000
    """Plans kept at most, some tens of MB; past it all are forgotten, since the families at hand have changed."""

    def __init__(self) -> None:
        self._plans: dict[object, Plan] = {}

    def get(self, key: object) -> Plan | None:
        """The plan of `key`, if it is known under the default dtype of now."""
        return self._plans.get((key, torch.get_default_dtype()))

    def learn(self, key: object, plan: Plan) -> None:
        """Remember a plan."""
        if len(self._plans) >= self.LIMIT:
            self._plans.clear()
        self._plans[key, torch.get_default_dtype()] = plan


IN_PLACE = Plan(None, ())
"""The plan of an operation that writes its first argument and gives it back."""
