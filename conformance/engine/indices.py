"""This module knows between which numbers indices lie: real kernels refuse those out of range, meta kernels none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from conformance.engine.operands import PLAIN_TENSORS

WHOLE = frozenset({torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8})
FLOATING = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})


class Range(NamedTuple):
    """The least and the largest number that there may be."""

    low: int
    high: int


class Ranges:
    """Between which numbers the elements of storages lie, where that is known; they may lie more closely.

    Storages are known by their addresses: whoever makes this keeps them alive.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[torch.dtype, Range]] = {}

    def of(self, tensor: Any) -> Range | None:
        """The range of a tensor's elements or of a number; None where nothing is known, or there are none."""
        if type(tensor) is int:
            return Range(tensor, tensor)
        if type(tensor) not in PLAIN_TENSORS or not tensor.numel():
            return None
        if tensor.device.type == "cpu":
            return Range(int(tensor.min()), int(tensor.max())) if tensor.dtype in WHOLE else None
        dtype, found = self._known.get(tensor.untyped_storage()._cdata, (None, None))
        return found if dtype == tensor.dtype else None

    def note(self, tensor: torch.Tensor, found: Range | None) -> None:
        """Say that all elements of the tensor's storage, looked at as it looks, lie in `found`."""
        low, high = _exact(tensor.dtype)
        if found is not None and low <= found.low and found.high <= high:  # or it wraps around, or is rounded
            self._known[tensor.untyped_storage()._cdata] = tensor.dtype, found

    def note_like(self, storage: torch.UntypedStorage, source: torch.UntypedStorage) -> None:
        """Say that the storage holds what `source` holds."""
        if source._cdata in self._known:
            self._known[storage._cdata] = self._known[source._cdata]

    @contextmanager
    def unchanged(self, storage: torch.UntypedStorage) -> Iterator[None]:
        """Know of the storage after the body what is known of it before."""
        known = self._known.get(storage._cdata)
        yield
        if known is not None:
            self._known[storage._cdata] = known

    def forget(self, address: int) -> None:
        """Say that the storage holds something else now."""
        self._known.pop(address, None)

    def made(self, packet: str, arguments: Sequence[Any]) -> Range | None:
        """The range of what an operation makes of arguments in the order of its schema, by what is known of these."""
        rule = _RESULTS.get(packet)
        return None if rule is None else rule(self, arguments)

    def out_of(self, packet: str, label: str, arguments: Sequence[Any]) -> str | None:
        """What to say of indices that a real kernel may refuse; None where it refuses none that are known."""
        rule = _INDEXED.get(packet)
        for size, index, may_be_negative in rule(arguments) if rule is not None else ():
            found = self.of(index)
            if found is not None and (found.low < (-size if may_be_negative else 0) or found.high >= size):
                return f"{label} with indices from {found.low} to {found.high}, where there are {size}"
        return None


def _exact(dtype: torch.dtype) -> tuple[int, int]:
    """The least and the largest of the whole numbers that a dtype keeps apart; none where it is of another kind."""
    if dtype in WHOLE:
        return torch.iinfo(dtype).min, torch.iinfo(dtype).max
    if dtype in FLOATING:
        most = int(2 / torch.finfo(dtype).eps)
        return -most, most
    return 1, 0


Indexed = Iterator[tuple[int, Any, bool]]
"""How many there are, which are taken, and whether negative ones count from the end."""


def _rows(arguments: Sequence[Any]) -> Indexed:
    yield arguments[0].size(0), arguments[1], False


def _along(arguments: Sequence[Any]) -> Indexed:
    source, dim, index, *_ = arguments
    if isinstance(dim, int) and source.dim():
        yield source.size(dim), index, False


def _along_either_way(arguments: Sequence[Any]) -> Indexed:
    return ((size, index, True) for size, index, _ in _along(arguments))


def _flat(arguments: Sequence[Any]) -> Indexed:
    yield arguments[0].numel(), arguments[1], True


def _by_dimension(arguments: Sequence[Any]) -> Indexed:
    source, indices, *_ = arguments
    dim = 0
    for index in indices:
        if index is not None and index.dtype in (torch.bool, torch.uint8):  # a mask, of as many dimensions as it has
            dim += index.dim()
            continue
        if index is not None:
            yield source.size(dim), index, True
        dim += 1


_INDEXED: dict[str, Callable[[Sequence[Any]], Indexed]] = {
    f"aten.{name}": rule
    for rule, names in (
        (_rows, "embedding _embedding_bag _embedding_bag_forward_only"),
        (
            _along,
            """
            gather index_select index_add index_add_ index_copy index_copy_ index_reduce index_reduce_ scatter scatter_
            scatter_add scatter_add_ scatter_reduce scatter_reduce_
            """,
        ),
        (_along_either_way, "index_fill index_fill_"),
        (_flat, "take put put_"),
        (_by_dimension, "index index_put index_put_ _index_put_impl_ _unsafe_index _unsafe_index_put"),
    )
    for name in names.split()
}


def _counted(_known: Ranges, arguments: Sequence[Any]) -> Range | None:
    numbers = [argument for argument in arguments[:3] if type(argument) in (int, float)]
    if any(type(number) is float for number in numbers) or not numbers:
        return None
    counted = range(*numbers)
    return _between(counted[0], counted[-1]) if counted else None


def _between(*ends: int) -> Range:
    return Range(min(ends), max(ends))


def _zero(_known: Ranges, _arguments: Sequence[Any]) -> Range:
    return Range(0, 0)


def _one(_known: Ranges, _arguments: Sequence[Any]) -> Range:
    return Range(1, 1)


def _taken(known: Ranges, arguments: Sequence[Any]) -> Range | None:
    return known.of(arguments[0])


def _joined(known: Ranges, arguments: Sequence[Any]) -> Range | None:
    parts = [known.of(part) for part in arguments[0] if part.numel()]
    found = [part for part in parts if part is not None]
    if not found or len(found) < len(parts):
        return None
    return Range(min(part.low for part in found), max(part.high for part in found))


def _added(known: Ranges, arguments: Sequence[Any]) -> Range | None:
    return _of_two(known, arguments, lambda left, right: (left.low + right.low, left.high + right.high))


def _subtracted(known: Ranges, arguments: Sequence[Any]) -> Range | None:
    return _of_two(known, arguments, lambda left, right: (left.low - right.high, left.high - right.low))


def _subtracted_from(known: Ranges, arguments: Sequence[Any]) -> Range | None:
    return _subtracted(known, [arguments[1], arguments[0], *arguments[2:]])


def _negated(known: Ranges, arguments: Sequence[Any]) -> Range | None:
    found = known.of(arguments[0])
    return None if found is None else Range(-found.high, -found.low)


def _copied(known: Ranges, arguments: Sequence[Any]) -> Range | None:
    return known.of(arguments[1])


def _multiplied(known: Ranges, arguments: Sequence[Any]) -> Range | None:
    return _of_two(known, arguments, lambda left, right: tuple(one * other for one in left for other in right))


def _of_two(known: Ranges, arguments: Sequence[Any], ends: Callable[[Range, Range], tuple[int, ...]]) -> Range | None:
    left, right = (known.of(argument) for argument in arguments[:2])
    alpha = arguments[2] if len(arguments) > 2 else 1
    if left is None or right is None or type(alpha) is not int:
        return None
    return _between(*ends(left, _between(alpha * right.low, alpha * right.high)))


def _clamped(known: Ranges, arguments: Sequence[Any]) -> Range | None:
    found = known.of(arguments[0])
    least, most = arguments[1:3]
    if found is None or not all(bound is None or type(bound) is int for bound in (least, most)):
        return None
    low, high = (number if least is None else max(number, least) for number in found)
    low, high = (number if most is None else min(number, most) for number in (low, high))
    return Range(low, high)


_RESULTS: dict[str, Callable[[Ranges, Sequence[Any]], Range | None]] = {
    f"aten.{name}": rule
    for rule, names in (
        (_counted, "arange"),
        (_zero, "new_zeros zero zeros zeros_like"),
        (_one, "new_ones ones ones_like"),
        (_taken, "clone _to_copy lift_fresh_copy flip gather index index_select repeat roll take"),
        (_copied, "copy fill full"),
        (_joined, "cat stack"),
        (_added, "add"),
        (_subtracted, "sub"),
        (_subtracted_from, "rsub"),
        (_negated, "neg"),
        (_multiplied, "mul"),
        (_clamped, "clamp"),
    )
    for name in names.split()
}
"""By operation (of one in place, its twin), the range of its result's elements; nothing is known of others."""
