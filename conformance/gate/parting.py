"""This module finds where two computations part, from the lists of their operations."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from conformance.gate.changes import Parting
from conformance.release import Step


def parting(before: Sequence[Step], after: Sequence[Step]) -> Parting | None:
    """The first operation of each list that the other one has not; None where both have the same.

    Lists are in the order of computing, operands first. What has no digest is never the same as anything.
    """
    found = Parting(before=_first(before, _digests(after)), after=_first(after, _digests(before)))
    return None if found.before is None and found.after is None else found


def _digests(steps: Sequence[Step]) -> set[str]:
    return {step.digest for step in steps if step.digest is not None}


def _first(steps: Sequence[Step], known: Collection[str]) -> Step | None:
    apart = [step for step in steps if step.digest is None or step.digest not in known]
    # How something is looked at is numbered apart from what is computed, and may have no line that asks for it.
    placed = [step for step in apart if step.place is not None or _is_leaf(step)]
    computed = [step for step in placed if step.operation not in _VIEWS]
    return next(iter([*computed, *placed, *apart]), None)


_VIEWS = ("tensor", "elements")
"""What is listed where memory is looked at and nothing is computed."""


def _is_leaf(step: Step) -> bool:
    return step.operation.startswith(("parameter ", "buffer ", "images"))
