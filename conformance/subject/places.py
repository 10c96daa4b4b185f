"""This module lists what a forward computes, operation by operation, with the line of timm that asks for each.

Two lists from two releases say where their computations part. It takes longer than a plain recording and is made only
of models whose fingerprints differ.
"""

from __future__ import annotations

import sys
from pathlib import PurePath

import msgspec

from conformance.engine.ledger import Ledger
from conformance.engine.values import Node, Values
from conformance.release import Step
from conformance.subject.subject import Subject


class _Placed(Values):
    """Numbers that know which line of timm asked for them first."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[str | None] = []

    def _append(self, node: Node, reproducible: bool) -> int:
        self.places.append(_innermost_line_of_timm())
        return super()._append(node, reproducible)


def steps(name: str, output: str, input_size: tuple[int, ...] | None = None) -> list[Step]:
    """What the output (`features`, `pre_logits`, `logits`) of the model is computed by, in the order of computing.

    Raises:
        Exception: whatever building or running the model raises.
    """
    subject = Subject(name, input_size=input_size)
    subject.ledger = Ledger(values=(values := _Placed()))
    try:
        taken = subject.output(output)
        if taken.number is None:
            return []
        listed = [_step(values, number) for number in sorted(values.numbers_reached_from([taken.number]))]
        if not taken.is_provable:  # the last one is the output, and its number proves nothing
            listed[-1] = msgspec.structs.replace(listed[-1], digest=None)
        return listed
    finally:
        subject.close()


def _step(values: _Placed, number: int) -> Step:
    node = values.node(number)
    return Step(digest=values.digest(number), operation=_called(node), place=values.places[number])


def _called(node: Node) -> str:
    if not node.label.startswith("leaf."):
        return f"{node.label}: {node.payload[0]}" if node.label == "fresh" else node.label
    # The payload of a leaf is (name, geometry, digest) of each tensor in the storage, and the size of that.
    names = [part[0] for part in node.payload if isinstance(part, tuple)]
    return " and ".join(map(str, names))


def _innermost_line_of_timm() -> str | None:
    frame = sys._getframe(2)
    while frame is not None:
        parts = PurePath(frame.f_code.co_filename).parts
        if "timm" in parts:
            place = "/".join(parts[len(parts) - 1 - parts[::-1].index("timm") :])
            return f"{place}:{frame.f_lineno} ({frame.f_code.co_name})"
        frame = frame.f_back  # type: ignore[assignment]  # None at the outermost
    return None
