"""This module measures: weights drawn by name, computations repeated with every rounding error replaced by another.

What two computations of the same function differ by is rounding, and how much that is depends on the computation.
So each is run twice, once as it is and once with a random relative error of the size of a rounding error put on what
every operation gives (discrete stochastic arithmetic, Vignes 1993). A difference of that order says nothing, one that
is many times as large says that the functions differ.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from conformance.engine.operands import PLAIN_TENSORS
from conformance.engine.operations import operation

WITHIN = 100.0
"""Up to so many times the rounding error two results count as the same."""
BEYOND = 10_000.0
"""From so many times the rounding error on they count as different; between the two nothing is decided."""
INDIFFERENT = 1e-3
"""Results of two images that are closer, relative to their size, do not depend on the images."""
PATCHES = 5
"""Patches of colour across an image, and down it."""
SMALLEST = 8.0
"""Units in the last place that a rounding error counts at least."""
EXACT = frozenset(
    f"aten.{name}"
    for name in ("arange", "cat", "ceil", "clone", "constant_pad_nd", "copy_", "fill_", "floor", "gather", "index",
    "index_select", "max_pool2d_with_indices", "neg", "one_hot", "relu", "relu_", "roll", "round", "sign", "stack",
    "trunc", "where", "zero_", "_to_copy")
)  # fmt: skip
"""Operations that do not round, or whose results are places and not amounts."""


def generator(*key: object) -> np.random.Generator:
    """A generator that gives the same numbers for the same key on every machine."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def draw(tensor: torch.Tensor, name: str, seed: int, *, is_parameter: bool) -> None:
    """Fill a floating tensor with numbers that depend on its name and the seed: none is zero, none says nothing.

    Matrices and kernels are scaled by their fan-in, so that what passes through keeps its size; biases have either
    sign, as have gains after training; buffers, which are statistics for the most part, are positive.
    """
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.detach())
    numbers = generator(seed, name)
    size = tuple(tensor.shape)
    if is_parameter and tensor.dim() > 1:
        widest = math.sqrt(3 / max(1, math.prod(size[1:])))
        values = numbers.random(size)
        values *= 2 * widest
        values -= widest
    else:
        values = numbers.uniform(0.5, 1.5, size)
        if is_parameter:
            values *= numbers.choice((-0.5, 0.5) if name.endswith("bias") else (-1.0, 1.0, 1.0, 1.0), size)
    with torch.no_grad():
        tensor.copy_(torch.from_numpy(np.asarray(values)))


def images(seed: int, shape: tuple[int, int, int, int]) -> torch.Tensor:
    """Images of (batch, channels, height, width) as float64: patches of colour with noise, each with its own contrast.

    Noise alone would not do: over a whole image one is like the other, and deep features hardly differ.
    """
    numbers = generator(seed, "images")
    batch, channels, height, width = shape
    patches = numbers.standard_normal((batch, channels, PATCHES, PATCHES))
    rows, columns = (np.arange(size) * PATCHES // size for size in (height, width))
    contrast = np.linspace(0.5, 2.0, batch).reshape(batch, 1, 1, 1)
    values = patches[:, :, rows][..., columns] * contrast + numbers.standard_normal(shape) * 0.3
    return torch.from_numpy(values)


def draw_all(
    tensors: Iterable[tuple[str, str, torch.Tensor]], seed: int, known: set[int], kind_of_weights: str = ""
) -> None:
    """Draw each of (kind, name, tensor) that `is_drawn`, and enter their storages into `known`, whose are left alone.

    Tensors that share a storage stay tied: the first in order of name is drawn.
    """
    for kind, name, tensor in sorted(tensors, key=lambda entry: entry[1]):
        address = tensor.untyped_storage()._cdata
        if address not in known and is_drawn(kind, tensor):
            draw(tensor, f"{kind_of_weights}{name}", seed, is_parameter=kind == "parameter")
        known.add(address)


def is_drawn(kind: str, tensor: torch.Tensor) -> bool:
    """Whether a "parameter" or "buffer" is drawn: weights are, and buffers of nothing but zeros or ones, which hide.

    What else a buffer holds (masks, quantiles, places) is a constant that may mean something.
    """
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return False
    return kind == "parameter" or bool((tensor == 0).all()) or bool((tensor == 1).all())


def has_statistics(module: nn.Module) -> bool:
    """Whether a module is a batch norm: it keeps a mean and a variance of what passed through it."""
    return getattr(module, "running_mean", None) is not None and getattr(module, "running_var", None) is not None


def statistics(model: nn.Module, call: Callable[[], object], seed: int) -> dict[str, torch.Tensor]:
    """By name, statistics that the batch norms of the model have of one call, moved a little: none fits exactly.

    The model, which is in eval mode, is not to be used afterwards.
    """
    norms = {name: module for name, module in model.named_modules() if has_statistics(module)}
    for module in norms.values():
        module.train()
        module.momentum = 1.0
    with torch.no_grad(), contextlib.suppress(Exception):  # a model that does not run shows it where it is asked to
        call()
    found: dict[str, torch.Tensor] = {}
    for name, module in norms.items():
        mean, variance = (getattr(module, f"running_{kind}").detach() for kind in ("mean", "var"))
        numbers = generator(seed, f"statistics {name}")
        spread = torch.from_numpy(numbers.uniform(0.7, 1.4, tuple(variance.shape))).to(variance)
        offset = torch.from_numpy(numbers.uniform(-0.3, 0.3, tuple(mean.shape))).to(mean)
        found[f"{name}.running_var"] = variance = variance.clamp_min(1e-6) * spread
        found[f"{name}.running_mean"] = mean + offset * variance.sqrt()
    return found


class Rounding(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's base is untyped
    """The mode of a repetition: what each operation computes gets another rounding error."""

    def __init__(self, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's base is untyped
        self._seed, self._generators = seed, dict[torch.device, torch.Generator]()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if not isinstance(func, torch._ops.OpOverload):
            return output
        known = operation(func)
        if known.only_looks or known.packet in EXACT or not any(map(_is_floating, (*args, *(kwargs or {}).values()))):
            return output
        for tensor in output if isinstance(output, tuple | list) else (output,):
            if _is_floating(tensor) and type(tensor) in PLAIN_TENSORS:
                self._disturb(tensor)
        return output

    def _disturb(self, tensor: torch.Tensor) -> None:
        device = tensor.device
        if device not in self._generators:
            self._generators[device] = torch.Generator(device).manual_seed(self._seed)
        error = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
        error.uniform_(-1, 1, generator=self._generators[device])
        # Small whole numbers are counted and not rounded: positions, which may become indices.
        small = tensor.abs() < torch.finfo(tensor.dtype).eps ** -0.5
        error.masked_fill_((tensor == tensor.round()) & small, 0)
        tensor.mul_(error.mul_(torch.finfo(tensor.dtype).eps).add_(1))


def _is_floating(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_is_floating, value))
    return isinstance(value, torch.Tensor) and value.is_floating_point()


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
    problem: str | None = None
    """Why the numbers say nothing, if so."""

    @property
    def is_none(self) -> bool | None:
        """Whether it is rounding and nothing else; None where one cannot tell."""
        if self.problem is not None:
            return None
        if self.error <= WITHIN * self.rounding:
            return True
        return False if self.error >= BEYOND * self.rounding else None


def difference(
    left: Sequence[torch.Tensor],
    right: Sequence[torch.Tensor],
    left_again: Sequence[torch.Tensor],
    right_again: Sequence[torch.Tensor],
) -> Difference:
    """The largest difference of any two tensors of two results, each given once more with other rounding errors."""
    dtypes = {tensor.dtype for tensor in (*left, *right) if tensor.is_floating_point()}
    dtype = max(dtypes, key=lambda one: torch.finfo(one).eps, default=torch.float64)
    least = SMALLEST * torch.finfo(dtype).eps
    error = max(map(_distance, left, right), default=0.0)
    rounding = max(least, *map(_distance, left_again, left), *map(_distance, right_again, right))
    problem = None
    if not all(bool(torch.isfinite(tensor).all()) for tensor in (*left, *right)):
        problem = "the results are not finite"
    elif rounding > math.sqrt(torch.finfo(dtype).eps):
        problem = f"other rounding errors change the result by {rounding:.0e} of its size"
    elif not any(map(_depends_on_images, right)):
        problem = "the result is the same for different images"
    elif not all(_depends_on_images(b) or torch.equal(a, b) for a, b in zip(left, right, strict=True)):
        problem = "a part of the result is the same for different images"  # very large numbers hide the others
    return Difference(error, rounding, dtype, problem)


def _distance(left: torch.Tensor, right: torch.Tensor) -> float:
    """The largest difference of two elements, relative to the largest element of the second tensor."""
    if left.numel() == 0:
        return 0.0
    left, right = left.to(torch.float64), right.to(torch.float64)
    size = float(right.abs().max())
    apart = float((left - right).abs().max())
    return apart / size if size else apart


def _depends_on_images(tensor: torch.Tensor) -> bool:
    """Whether the images of a batch, which differ, give different results."""
    return tensor.dim() > 0 and tensor.shape[0] > 1 and _distance(tensor[:1], tensor[1:2]) > INDIFFERENT
