"""This module turns two passes into a cell: proved equal, observed to differ in shape, or undecided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import torch

from conformance.claims.claim import holds, is_unprovable, undecided, unprovable, violated
from conformance.engine.difference import where_they_part
from conformance.engine.layouts import without_layouts
from conformance.engine.measure import Difference
from conformance.record import Cell, Evidence, Verdict
from conformance.subject import Pass, RealSubject, Subject
from conformance.subject.build import CHANCE
from conformance.subject.passes import leaves, tensors_of

_PLAIN = (type(None), bool, int, float, complex, str, bytes)


DREW_APART = "are of models that drew different things when they were built"
"""Why they cannot be compared: no numbers tell either, which are drawn as well."""


def describe(output: Any) -> str:
    """Shape and dtype of an output as people write them: `tensor (2, 1000) float32`, `tuple of 2 …`."""
    if isinstance(output, torch.Tensor):
        return f"tensor {tuple(output.shape)} {str(output.dtype).removeprefix('torch.')}"
    if isinstance(output, Mapping):
        return "dict of " + ", ".join(f"{key}: {describe(value)}" for key, value in output.items())
    if isinstance(output, Sequence) and not isinstance(output, str):
        return f"{type(output).__name__} of {len(output)} ({', '.join(describe(part) for part in output)})"
    return type(output).__name__


def shapes(output: Any) -> str:
    """The shapes in an output, without dtypes."""
    if isinstance(output, torch.Tensor):
        return str(tuple(output.shape))
    parts = tensors_of(output)
    return f"{len(parts)} tensors: {', '.join(shapes(part) for part in parts)}"


def skeleton(output: Any) -> object:
    """What two outputs must share to be comparable at all: containers, shapes, dtypes."""
    if isinstance(output, torch.Tensor):
        return (tuple(output.shape), output.dtype)
    if isinstance(output, Mapping):
        return {str(key): skeleton(value) for key, value in output.items()}
    if isinstance(output, Sequence) and not isinstance(output, str):
        # A list and a tuple of the same tensors serve alike: TorchScript has no other way to say it.
        return [skeleton(part) for part in output]
    return type(output).__name__


def other_than_tensors(output: Any) -> list[object]:
    """What else an output holds; what is no plain value is like nothing, not even itself."""
    return [
        (type(leaf).__name__, repr(leaf)) if isinstance(leaf, _PLAIN) else object()
        for leaf in leaves(output)
        if not isinstance(leaf, torch.Tensor)
    ]


def same(subject: Subject, left: Pass, right: Pass, what: str, other: str) -> Cell:
    """Whether two passes computed the same function; `what` and `other` name them in the reason."""
    if skeleton(left.output) != skeleton(right.output):
        return violated(
            f"{what} gives {describe(left.output)}, {other} gives {describe(right.output)}",
            left=describe(left.output),
            right=describe(right.output),
        )
    if isinstance(subject, RealSubject):
        if other_than_tensors(left.output) != other_than_tensors(right.output):
            return undecided(f"{what} and {other} hold other things besides tensors, which cannot be measured")
        return judged(subject.difference(left, right), what, other, left, right)
    for taken in (left, right):
        if taken.unprovable:
            return unprovable(taken.unprovable[0])
    assert left.number is not None
    assert right.number is not None
    values = subject.ledger.values
    drawn, drawn_for_other = values.all_fresh(left.number), values.all_fresh(right.number)
    unknown = {why for why, _ in drawn | drawn_for_other}
    if left.number == right.number and unknown <= {CHANCE}:
        return holds(Evidence.PROVED)
    if unknown == {CHANCE} and drawn != drawn_for_other:
        return undecided(f"{what} and {other} {DREW_APART}")
    if unknown:
        return unprovable(f"the result depends on {min(unknown)}")
    return undecided(
        f"{what} and {other} compute with different operations: {where_they_part(values, left.number, right.number)}"
    )


def same_function(subject: Subject, left: Pass, right: Pass, what: str, other: str) -> Cell:
    """As `same`, of passes whose intermediate results may lie in memory differently, and round differently for that."""
    cell = same(subject, left, right, what, other)
    if cell.verdict is not Verdict.UNDECIDED or is_unprovable(cell) or subject.measures:
        return cell
    assert left.number is not None
    assert right.number is not None
    values = subject.ledger.values
    if without_layouts(values, left.number) == without_layouts(values, right.number):
        return holds(Evidence.PROVED)
    return cell


def confirmed(*passes: Pass) -> Cell:
    """That what was measured holds, unless something hidden had a part in a pass: it may show at the next call."""
    hidden = [why for taken in passes for why in taken.unprovable]
    return unprovable(hidden[0]) if hidden else holds(Evidence.MEASURED)


def judged(difference: Difference, what: str, other: str, *passes: Pass) -> Cell:
    """What a measured difference says of results of `passes`, which `what` and `other` name in the reason."""
    precision = str(difference.dtype).removeprefix("torch.")
    if difference.is_none:
        cell = confirmed(*passes)
        is_wide = cell.verdict is Verdict.HOLDS and difference.dtype is not torch.float64
        # A bound of another dtype is wider: the cell must say so.
        return msgspec.structs.replace(cell, witness={"dtype": precision}) if is_wide else cell
    if difference.problem is not None:
        return undecided(f"{what} and {other} could not be compared in {precision}: {difference.problem}")
    if difference.is_none is None and difference.of_constants:
        return undecided(
            f"{what} and {other} differ by {difference.error:.1g} times the output's size in {precision}, which "
            f"constants that are kept in float32 may make: other ones make {difference.of_constants:.1g}"
        )
    if difference.is_none is None:
        return undecided(
            f"{what} and {other} differ by {difference.error:.1g} times the output's size in {precision}, "
            f"where rounding makes {difference.rounding:.1g}: too much for one function, too little for two"
        )
    error = float(f"{difference.error:.2g}")
    hidden = f", and small elements by {difference.detail:.0e} times their own rounding" if difference.is_hidden else ""
    return violated(
        f"{what} and {other} differ by {error:g} times the output's size{hidden}",
        Evidence.MEASURED,
        max_relative_error=error,
        dtype=precision,
    )
