"""This module numbers computations anew without regard to how their intermediate results lie in memory.

A number says which bits come out, and kernels may round differently for other strides, so strides are part of it. Where
the question is which function is computed, they are not: a copy of a transposed tensor is that tensor. That matters
where the number of images differs, since a dimension of size 1 lets PyTorch look at memory that it must copy otherwise,
and choose other kernels for a product (aten/src/ATen/native/Linear.cpp): `addmm` is a product and a sum here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from conformance.engine.operands import TENSOR
from conformance.engine.values import Node, Values

Dimension = tuple[int, int, int]
"""So many places, how far apart they are in the storage, and how far apart their elements are in the array."""

Step = int | tuple[tuple[int, int], ...]
"""How far apart the elements of a dimension are in the array; or, where no one number says it, (places, step) of the
dimensions that it runs through, the outermost first."""


@dataclass(frozen=True)
class Stored:
    """What a storage holds: elements of an array in order (`array`, a number), placed as `dimensions` say.

    Without dimensions each place holds the element of the same index.
    """

    array: int
    dimensions: tuple[Dimension, ...] = ()
    offset: int = 0
    """Index in the array of the element at the storage's beginning."""
    dtype: str | None = None
    """Of the elements; None where the array is the storage itself."""


def without_layouts(values: Values, number: int) -> int:
    """The number of the same computation, equal for computations that differ in strides and copies alone."""
    numbers: dict[int, int] = {}
    storages: dict[int, Stored] = {}
    # Operands were numbered before what is computed from them.
    for current in sorted(values.numbers_reached_from([number])):
        node = values.node(current)
        if node.label in ("tensor", "elements"):
            numbers[current] = _view(values, node, storages)
        elif node.label in ("list", "dict"):
            numbers[current] = values.intern(node.label, node.payload, tuple(numbers[child] for child in node.children))
        elif node.label in ("bytes", "constant"):
            numbers[current] = current
        elif node.label == "result":
            storages[current] = _result(values, node, values.node(node.children[0]), numbers[node.children[0]])
        elif node.label == "copy":
            storages[current] = _copy(values, node, values.node(node.children[0]), numbers[node.children[0]])
        elif node.label == "written":
            parts = [_in_place(values, storages[one]) if one in storages else numbers[one] for one in node.children]
            storages[current] = Stored(values.intern("written", node.payload, tuple(parts)))
        elif node.label == "zeros":
            storages[current] = Stored(values.intern("zeros", ("any layout",)))
        elif node.label in ("fresh", "storage") or node.label.startswith("leaf."):
            storages[current] = Stored(current)
        else:
            numbers[current] = _operation(values, node, numbers)
    return numbers[number]


def _operation(values: Values, node: Node, numbers: dict[int, int]) -> int:
    """The operation, its results described by sizes and dtypes."""
    arguments, looks = node.payload
    assert isinstance(arguments, tuple)
    assert isinstance(looks, tuple)
    operands = tuple(numbers[child] for child in node.children)
    if _is_in_order(looks):
        return values.intern(node.label, ("any layout", arguments, looks), operands)
    results: tuple[tuple[Any, ...], ...] = tuple((look[0], look[3]) for look in looks)
    label = node.label
    if label == "aten.addmm.default" and arguments[3:] == (1, 1):
        (size, dtype), (added, *factors) = results[0], operands
        product = values.intern("aten.mm.default", ("any layout", (TENSOR, TENSOR), results), tuple(factors))
        array = values.intern("array", (0,), (product,))
        multiplied = values.intern("view", (size, _without_ones(size, in_order(size)), 0, dtype, 0, 0), (array,))
        label, arguments, operands = "aten.add.Tensor", (TENSOR, TENSOR, 1), (multiplied, added)
    elif label == "aten.bmm.default" and results[0][0][0] == 1:
        label, results = "aten.mm.default", ((results[0][0][1:], results[0][1]),)
        operands = tuple(_inner(values, operand) for operand in operands)
    if label == "aten.add.Tensor" and all(_is_even(values.node(operand)) for operand in operands):
        results, operands = _coalesced(values, results, operands)
    return values.intern(label, ("any layout", arguments, results), operands)


def _is_even(node: Node) -> bool:
    """Whether a node is a view with one step for each dimension."""
    return node.label == "view" and all(isinstance(step, int) for step in node.payload[1])  # type: ignore[attr-defined]


def _without_ones(size: Sequence[int], steps: Sequence[int]) -> tuple[int, ...]:
    """The strides with 0 for dimensions of size 1, as views have them."""
    return tuple(0 if n == 1 else step for n, step in zip(size, steps, strict=True))


def _inner(values: Values, view: int) -> int:
    """The only matrix of a batch of one."""
    node = values.node(view)
    if node.label != "view":
        return values.intern("only matrix", (), (view,))
    size, steps, *rest = node.payload
    assert isinstance(size, tuple)
    assert isinstance(steps, tuple)
    return values.intern("view", (size[1:], steps[1:], *rest), node.children)


def _coalesced(
    values: Values, results: tuple[tuple[Any, ...], ...], operands: tuple[int, ...]
) -> tuple[tuple[tuple[Any, ...], ...], tuple[int, ...]]:
    """Result and operands of an elementwise operation with as few dimensions as they can be looked at with.

    Operands are spread to the size of the result; neighbouring dimensions that are one in each are merged.
    """
    size, dtype = results[0]
    assert isinstance(size, tuple)
    nodes = [values.node(operand) for operand in operands]
    steps = [_spread(node, len(size)) for node in nodes]
    merged: list[tuple[int, ...]] = []
    for n, *each in zip(size, *steps, strict=True):
        if n == 1:
            continue
        if merged and all(outer == inner * n for outer, inner in zip(merged[-1][1:], each, strict=True)):
            merged[-1] = (merged[-1][0] * n, *each)
        else:
            merged.append((n, *each))
    sizes, *strides = zip(*merged, strict=True) if merged else ((), *(() for _ in operands))
    seen = tuple(
        values.intern("view", (sizes, step, *node.payload[2:]), node.children)
        for node, step in zip(nodes, strides, strict=True)
    )
    return ((sizes, dtype),), seen


def _spread(view: Node, dimensions: int) -> tuple[int, ...]:
    """The strides of a view spread to so many dimensions."""
    size, steps, *_ = view.payload
    assert isinstance(size, tuple)
    assert isinstance(steps, tuple)
    return (0,) * (dimensions - len(size)) + _without_ones(size, steps)


def _is_in_order(looks: Sequence[object]) -> bool:
    return bool(looks) and looks[0] == "in order"


def _result(values: Values, node: Node, made: Node, operation: int) -> Stored:
    """A new result, whose array are its elements in order."""
    looks = made.payload[1]
    assert isinstance(looks, tuple)
    if _is_in_order(looks):
        return Stored(values.intern("array", node.payload, (operation,)), (), 0, looks[1])
    (place,) = node.payload
    assert isinstance(place, int)
    size, stride, _, dtype, *_ = looks[place]
    array = values.intern("array", node.payload, (operation,))
    return Stored(array, _merged(size, stride, in_order(size)), 0, dtype)


def _copy(values: Values, node: Node, source: Node, view: int) -> Stored:
    """A copy: another placing of the same array, unless the dtype changes or the source is conjugated."""
    size, stride, _, dtype, *_ = node.payload
    assert isinstance(size, tuple)
    assert isinstance(stride, tuple)
    assert isinstance(dtype, str)
    seen = values.node(view)
    if source.label == "tensor" and seen.label == "view" and seen.payload[3:] == (dtype, 0, 0):
        _, steps, offset, *_ = seen.payload
        assert isinstance(steps, tuple)
        assert isinstance(offset, int)
        return Stored(seen.children[0], _merged(*_taken_apart(size, stride, steps)), offset, dtype)
    array = values.intern("array", ("converted", size, dtype), (view,))
    return Stored(array, _merged(size, stride, in_order(size)), 0, dtype)


def _view(values: Values, node: Node, storages: dict[int, Stored]) -> int:
    """A tensor as its elements in an array."""
    size, stride, offset, dtype, *bits = node.payload[:6]
    assert isinstance(size, tuple)
    assert isinstance(stride, tuple)
    assert isinstance(offset, int)
    stored = storages[node.children[0]]
    if values.node(stored.array).label == "zeros":  # one element is as good as another
        return values.intern("view", (size, (0,) * len(size), 0, dtype, *bits), (stored.array,))
    found = _followed(stored, size, stride, offset) if stored.dtype in (None, dtype) else None
    if found is None:
        found, stored = (stride, offset), Stored(_in_place(values, stored))
    return values.intern("view", (size, *found, dtype, *bits), (stored.array,))


def _in_place(values: Values, stored: Stored) -> int:
    """The storage itself as an array."""
    if not stored.dimensions and not stored.offset:
        return stored.array
    return values.intern("stored", (stored.dimensions, stored.offset, stored.dtype), (stored.array,))


def _followed(
    stored: Stored, size: tuple[int, ...], stride: tuple[int, ...], offset: int
) -> tuple[tuple[Step, ...], int] | None:
    """Steps and offset in the array of a tensor that looks at the storage so, or None where there are none.

    A dimension of the tensor must stay within one dimension of the storage, or run through one after the other to the
    end; and all steps together must never carry from one to the next.
    """
    if not stored.dimensions:
        return stride, offset + stored.offset
    reached, begin, rest = [], stored.offset, offset
    for _, step, apart in stored.dimensions:
        reached.append(rest // step)
        begin += rest // step * apart
        rest %= step
    steps: list[Step] = []
    for n, step in zip(size, stride, strict=True):
        through = _run_through(stored.dimensions, n, step) if n > 1 and step else []
        if through is None:
            return None
        for where, places, times in through:
            reached[where] += (places - 1) * times
        found = [(places, times * stored.dimensions[where][2]) for where, places, times in through]
        steps.append(_one_step(found))
    if rest or any(place >= places for place, (places, _, _) in zip(reached, stored.dimensions, strict=True)):
        return None
    return tuple(steps), begin


def _run_through(dimensions: Sequence[Dimension], n: int, step: int) -> list[tuple[int, int, int]] | None:
    """Where `n` steps in a storage lead: (index of the dimension, places in it, how many of its steps each is).

    The outermost comes first.
    """
    where = next((i for i, (_, inner, _) in enumerate(dimensions) if inner <= step), None)
    if where is None or step % dimensions[where][1]:
        return None
    times, found = step // dimensions[where][1], []
    while (n - 1) * times >= dimensions[where][0]:
        places, rest = divmod(dimensions[where][0], times)
        if rest or n % places or not where:
            return None
        if places > 1:
            found.append((where, places, times))
        n, where, times = n // places, where - 1, 1
    return [(where, n, times), *reversed(found)]


def _one_step(found: list[tuple[int, int]]) -> Step:
    """The step of (places, step), the outermost first: one number where the steps go on evenly."""
    even: list[tuple[int, int]] = []
    for places, step in found:
        if even and even[-1][1] == step * places:
            even.append((even.pop()[0] * places, step))
        elif places > 1:
            even.append((places, step))
    if not even:
        return 0
    return even[0][1] if len(even) == 1 else tuple(even)


def _taken_apart(
    size: Sequence[int], stride: Sequence[int], steps: Sequence[Step]
) -> tuple[list[int], list[int], list[int]]:
    """Sizes, strides and steps with a dimension for each number that a step consists of."""
    sizes, strides, even = [], [], []
    for n, outer, step in zip(size, stride, steps, strict=True):
        inner = n
        for places, one in step if isinstance(step, tuple) else ((n, step),):
            inner //= places
            sizes.append(places)
            strides.append(outer * inner)
            even.append(one)
    return sizes, strides, even


def in_order(size: Sequence[int]) -> tuple[int, ...]:
    """The strides of elements that lie in order."""
    steps, step = [], 1
    for n in reversed(size):
        steps.append(step)
        step *= max(n, 1)
    return tuple(reversed(steps))


def _merged(size: Sequence[int], stride: Sequence[int], apart: Sequence[int]) -> tuple[Dimension, ...]:
    """The dimensions of a dense storage from the outermost in; those that are one are merged."""
    given = [one for one in zip(size, stride, apart, strict=True) if one[0] != 1]
    dimensions: list[Dimension] = []
    for places, step, inner in sorted(given, key=lambda one: -one[1]):
        if dimensions and dimensions[-1][2] == inner * places and dimensions[-1][1] == step * places:
            outer = dimensions.pop()
            dimensions.append((outer[0] * places, step, inner))
        else:
            dimensions.append((places, step, inner))
    if len(dimensions) == 1 and dimensions[0][1:] == (1, 1):
        return ()
    return tuple(dimensions)
