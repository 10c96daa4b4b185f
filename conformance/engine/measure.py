"""This module measures: weights drawn by name, computations repeated with every rounding error replaced by another.

What two computations of the same function differ by is rounding, and how much that is depends on the computation.
So each is run twice, once as it is and once with a random relative error of the size of a rounding error put on what
every operation gives (discrete stochastic arithmetic, Vignes 1993). A difference of that order says nothing, one that
is many times as large says that the functions differ.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from conformance.engine.operands import PLAIN_TENSORS
from conformance.engine.operations import operation

_EPS_OF_SINGLE = float(torch.finfo(torch.float32).eps)
WITHIN = 100.0
"""Up to so many times the rounding error two results count as the same."""
BEYOND = 10_000.0
"""From so many times the rounding error on they count as different; between the two nothing is decided."""
INDIFFERENT = 1e-3
"""Results of two images that are closer, relative to their size, do not depend on the images."""
SMALLEST = 8.0
"""Units in the last place that a rounding error counts at least."""
CONSTANT = 2.0**-23
"""Relative: what a float32 keeps of a constant, twice."""
BEYOND_CONSTANTS = 10.0
"""From so many times what constants kept in float32 make of it on, a difference is the model's."""
SMALL = 0.1
"""Part of the elements of a result, the smallest ones but for zeros, that may count as if they were larger."""
EXACT = frozenset(
    f"aten.{name}"
    for name in ("arange", "cat", "ceil", "clone", "constant_pad_nd", "copy_", "fill_", "floor", "gather", "index",
    "index_select", "max_pool2d_with_indices", "neg", "one_hot", "relu", "relu_", "roll", "round", "sign", "stack",
    "trunc", "where", "zero_", "_to_copy")
)  # fmt: skip
"""Operations that do not round, unless to a smaller dtype, or whose results are places and not amounts."""


class Rounding(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's base is untyped
    """The mode of a repetition: what each operation computes gets another rounding error.

    Where `constants` are given (`storages`), each of them is another float32 besides that it might have been.
    """

    def __init__(self, seed: int, constants: Collection[int] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's base is untyped
        self._seed, self._generators = seed, dict[torch.device, torch.Generator]()
        self._constants = constants
        self.coarsest = torch.float64
        """The dtype that rounds most, of all that were computed with and are no smaller than float32."""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        known = operation(func) if isinstance(func, torch._ops.OpOverload) else None
        if known is None or known.only_looks:
            return func(*args, **kwargs)
        if self._constants and not known.is_out:
            read = [one for place, one in enumerate(args) if place not in known.written]
            shaken = iter(pytree.tree_map_only(torch.Tensor, self._shaken, read))
            args = [one if place in known.written else next(shaken) for place, one in enumerate(args)]
            kwargs = pytree.tree_map_only(torch.Tensor, self._shaken, dict(kwargs))
        output = func(*args, **kwargs)
        given = [tensor for tensor in pytree.tree_leaves((args, kwargs)) if _has_fraction(tensor)]
        if not given:
            return output
        finest = min(_eps(tensor) for tensor in given)
        for tensor in output if isinstance(output, tuple | list) else (output,):
            if not _has_fraction(tensor):
                continue
            self._note(tensor)
            is_rounded = known.packet not in EXACT or finest < _eps(tensor) <= _EPS_OF_SINGLE
            if is_rounded and type(tensor) in PLAIN_TENSORS:
                self._disturb(tensor)
        return output

    def _note(self, tensor: torch.Tensor) -> None:
        # Models are made for float32. That something is in half precision on one way alone is a difference.
        if torch.finfo(self.coarsest).eps < _eps(tensor) <= _EPS_OF_SINGLE:
            self.coarsest = tensor.dtype.to_real()

    def _disturb(self, tensor: torch.Tensor) -> None:
        eps = _eps(tensor)
        error = torch.empty(tensor.shape, dtype=tensor.dtype.to_real(), device=tensor.device)
        error.uniform_(-1, 1, generator=self._generator(tensor.device))
        if not tensor.is_complex():
            # Small whole numbers are counted and not rounded: positions, which may become indices.
            small = tensor.abs() < eps**-0.5
            error.masked_fill_((tensor == tensor.round()) & small, 0)
        tensor.mul_(error.mul_(eps).add_(1))

    def _shaken(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor, or if it is a constant what it would be if each number were a little larger or smaller."""
        if tensor.untyped_storage()._cdata not in self._constants or not _has_fraction(tensor):
            return tensor
        sign = torch.randint(0, 2, tensor.shape, generator=self._generator(tensor.device), device=tensor.device)
        shaken: torch.Tensor = tensor * (1 + CONSTANT * (2 * sign - 1).to(tensor.dtype.to_real()))
        return shaken

    def _generator(self, device: torch.device) -> torch.Generator:
        if device not in self._generators:
            self._generators[device] = torch.Generator(device).manual_seed(self._seed)
        return self._generators[device]


def _has_fraction(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and (value.is_floating_point() or value.is_complex())


def _eps(tensor: torch.Tensor) -> float:
    return float(torch.finfo(tensor.dtype).eps)


def constants_of(model: nn.Module, persistent: Collection[str]) -> set[int]:
    """The storages of what a model holds besides weights: its buffers, of persistent ones those that are named, and
    tensors that are attributes.
    """
    found = set()
    for prefix, module in model.named_modules():
        start = f"{prefix}." if prefix else ""
        for name, buffer in module._buffers.items():
            if buffer is not None and (name in module._non_persistent_buffers_set or start + name in persistent):
                found.add(buffer.untyped_storage()._cdata)
        for value in vars(module).values():
            if isinstance(value, torch.Tensor) and not isinstance(value, nn.Parameter):
                found.add(value.untyped_storage()._cdata)
    return found


def chance() -> Callable[[], None]:
    """What sets the generators of Python, NumPy and torch back to where they are now."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()

    def set_back() -> None:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])

    return set_back


@dataclass(frozen=True)
class Difference:
    """How far two results are from each other, relative to the size of the second."""

    error: float
    rounding: float
    """How far either is from itself with other rounding errors, at least a few units in the last place."""
    dtype: torch.dtype
    """The one that rounds most of those that were computed with."""
    problem: str | None = None
    """Why the numbers say nothing, if so."""
    detail: float = 0.0
    """The largest number of times that elements of one tensor are further apart than from themselves, each relative
    to its own size: what is small beside others is not hidden by them."""
    of_constants: float = 0.0
    """How far either is from itself if its constants were other float32 numbers, where that was asked."""

    @property
    def is_none(self) -> bool | None:
        """Whether it is rounding and nothing else; None where one cannot tell."""
        if self.problem is not None:
            return None
        largest = math.sqrt(torch.finfo(self.dtype).eps)
        if self.error <= min(WITHIN * self.rounding, largest) and self.detail <= WITHIN:
            return True
        if self.error <= BEYOND_CONSTANTS * self.of_constants:
            return None
        return False if self.error >= BEYOND * self.rounding or self.is_hidden else None

    @property
    def is_hidden(self) -> bool:
        """Whether large elements hide it from who looks at the size of all. In float32 small ones have few digits."""
        return self.dtype is torch.float64 and self.detail >= BEYOND and self.error < BEYOND * self.rounding


def difference(
    left: Sequence[torch.Tensor],
    right: Sequence[torch.Tensor],
    left_again: Sequence[torch.Tensor],
    right_again: Sequence[torch.Tensor],
    coarsest: torch.dtype | None = None,
) -> Difference:
    """The largest difference of any two tensors of two results, each given once more with other rounding errors.

    `coarsest` is the dtype that rounds most of those that they were computed with, if it is none of theirs.
    """
    shapes = [[tensor.shape for tensor in tensors] for tensors in (left, right, left_again, right_again)]
    results = {tensor.dtype.to_real() for tensor in (*left, *right) if _has_fraction(tensor)}
    dtype = max(results, key=lambda one: torch.finfo(one).eps, default=torch.float64)
    least = SMALLEST * torch.finfo(dtype).eps
    if coarsest is not None and torch.finfo(coarsest).eps > torch.finfo(dtype).eps:
        dtype = coarsest
    if any(one != shapes[0] for one in shapes):
        return Difference(math.inf, least, dtype, "with other rounding errors the result has another shape")
    error = max(map(_distance, left, right), default=0.0)
    rounding = max(least, *map(_distance, left_again, left), *map(_distance, right_again, right))
    detail = max(
        (_detail(*four, least) for four in zip(left, right, left_again, right_again, strict=True)), default=0.0
    )
    problem = None
    if not all(bool(torch.isfinite(tensor).all()) for tensor in (*left, *right)):
        problem = "the results are not finite"
    elif rounding > math.sqrt(torch.finfo(dtype).eps):
        problem = f"other rounding errors change the result by {rounding:.0e} of its size"
    elif not any(map(_depends_on_images, right)):
        problem = "the result is the same for different images"
    elif not all(_depends_on_images(b) or torch.equal(a, b) for a, b in zip(left, right, strict=True)):
        problem = "a part of the result is the same for different images"  # very large numbers hide the others
    return Difference(error, rounding, dtype, problem, detail)


def distance(left: Sequence[torch.Tensor], right: Sequence[torch.Tensor]) -> float:
    """The largest difference of two elements of any two tensors, relative to the largest element of the second."""
    return max(map(_distance, left, right), default=0.0)


def _distance(left: torch.Tensor, right: torch.Tensor) -> float:
    if left.numel() == 0:
        return 0.0
    left, right = _real(left), _real(right)
    size = float(right.abs().max())
    apart = float((left - right).abs().max())
    return apart / size if size else apart


def _detail(
    left: torch.Tensor, right: torch.Tensor, left_again: torch.Tensor, right_again: torch.Tensor, least: float
) -> float:
    """How many times further apart two tensors are than from themselves, elements relative to their own size."""
    if left.numel() == 0:
        return 0.0
    left, right, left_again, right_again = map(_real, (left, right, left_again, right_again))
    sizes = right.abs().flatten()
    positive = sizes[sizes > 0]
    if positive.numel() == 0:
        return 0.0
    # The smallest count as if they were a little larger: next to nothing may be left of what cancels out.
    smallest = positive.kthvalue(1 + int(SMALL * (positive.numel() - 1))).values
    scale = right.abs().clamp(min=float(smallest))
    apart = float(((left - right).abs() / scale).max())
    rounding = max(
        least, float(((left_again - left).abs() / scale).max()), float(((right_again - right).abs() / scale).max())
    )
    return apart / rounding


def _real(tensor: torch.Tensor) -> torch.Tensor:
    """The numbers of a tensor as float64, those of a complex one as two each."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.detach().resolve_conj())
    return tensor.to(torch.float64)


def _depends_on_images(tensor: torch.Tensor) -> bool:
    """Whether the images of a batch, which differ, give different results."""
    return tensor.dim() > 0 and tensor.shape[0] > 1 and _distance(tensor[:1], tensor[1:2]) > INDIFFERENT
