"""This module writes what an operation is given as a payload: exact, typed, and equal only for equal arguments."""

from __future__ import annotations

import functools
import hashlib
import struct
from collections.abc import Callable, Iterator
from typing import Any

import torch


class Unmodelled(Exception):  # a fact about a computation, not a fault of the program
    """Something that value numbering cannot express: its result must equal nothing."""


class Strayed(Unmodelled):
    """Real tensors may go another way than those of the meta device: not even dtypes and shapes are known."""


DTYPE_NAMES = {value: str(value) for value in vars(torch).values() if isinstance(value, torch.dtype)}

PLAIN_TENSORS = (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)
"""Classes whose tensors are nothing but storage and geometry."""

TENSOR = ("tensor",)
"""Stands in a payload where a tensor was; the tensor's number is the next child."""


def look(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Everything that a strided tensor is besides its storage: sizes, strides, offset, dtype, conj and neg bit."""
    return (
        tuple(tensor.size()),
        tensor.stride(),
        tensor.storage_offset(),
        tensor.dtype,
        tensor.is_conj(),
        tensor.is_neg(),
    )


def must_be_modelled(tensor: torch.Tensor) -> None:
    """Check that a tensor is nothing but elements in memory, and as many as its sizes say.

    Raises:
        Unmodelled: it is of a class of its own, its layout is not strided, a size is symbolic, or it is quantized.
    """
    if type(tensor) not in PLAIN_TENSORS:
        raise Unmodelled(f"a tensor of class {type(tensor).__name__}")
    if tensor.layout is not torch.strided or tensor.is_quantized:
        raise Unmodelled(f"a tensor of layout {tensor.layout}, dtype {tensor.dtype}")
    if tensor._has_symbolic_sizes_strides:
        raise Unmodelled("a tensor with symbolic sizes")


def geometry(tensor: torch.Tensor) -> tuple[object, ...]:
    """Sizes, strides and offset (in elements), dtype, and the conj and neg bits of a strided tensor, as a payload.

    The stride of a dimension of size 1 reaches no element and differs by how a view was made: it is written as 0.

    Raises:
        Unmodelled: see `must_be_modelled`.
    """
    must_be_modelled(tensor)
    return geometry_of(*look(tensor))


@functools.lru_cache(maxsize=1 << 15)
def geometry_of(
    size: tuple[int, ...], stride: tuple[int, ...], offset: int, dtype: torch.dtype, conj: bool, neg: bool
) -> tuple[object, ...]:
    """The geometry of a strided tensor of known sizes that looks like this."""
    steps = tuple([0 if n == 1 else step for n, step in zip(size, stride, strict=True)])
    return (size, steps, offset, DTYPE_NAMES[dtype], int(conj), int(neg))


def contiguous_geometry(tensor: torch.Tensor) -> tuple[object, ...]:
    """The geometry of the same elements laid out in order, resolved of conj and neg bits."""
    steps: list[int] = []
    step = 1
    for n in reversed(tensor.size()):
        steps.append(0 if n == 1 else step)
        step *= max(n, 1)
    return (tuple(tensor.size()), tuple(reversed(steps)), 0, DTYPE_NAMES[tensor.dtype], 0, 0)


def digest_of_bytes(tensor: torch.Tensor) -> str:
    """A digest of the elements of a real tensor, in order."""
    plain = tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return hashlib.blake2b(plain.view(torch.uint8).numpy().tobytes(), digest_size=16).hexdigest()


def covers_storage(tensor: torch.Tensor) -> bool:
    """Whether the tensor is dense, non-overlapping, at offset 0 and as large as its storage."""
    return bool(
        tensor.storage_offset() == 0
        and tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()
        and (tensor.is_contiguous() or torch.ops.aten.is_non_overlapping_and_dense.default(tensor))
    )


def encode(argument: Any, tensor: Callable[[torch.Tensor], None]) -> object:
    """The payload of one argument; `tensor` is told of every tensor in it, in order.

    Scalars are keyed by type and exact bits: -0.0, NaN, 2, 2.0 and True all differ.

    Raises:
        Unmodelled: the argument is of a kind that has no exact payload (generators, storages, symbolic numbers).
    """
    kind = type(argument)
    if argument is None or kind is int or kind is str:
        return argument
    if isinstance(argument, torch.Tensor):
        tensor(argument)
        return TENSOR
    if kind is list or kind is tuple or isinstance(argument, tuple):
        return ("list", *(encode(item, tensor) for item in argument))
    if kind is bool:
        return ("bool", int(argument))
    if kind is float:
        return ("float", struct.pack("<d", argument).hex())
    if kind is complex:
        return ("complex", struct.pack("<dd", argument.real, argument.imag).hex())
    if kind in (torch.dtype, torch.layout, torch.memory_format):
        return (kind.__name__, str(argument))
    if kind is torch.device:
        return ("device", argument.type)
    raise Unmodelled(f"an argument of type {kind.__name__}")


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """The tensors in an argument, in order."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from tensors_in(part)
