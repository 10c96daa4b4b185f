"""This module decides mutants: which are tried, in which claims, and how the score is told."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable

from conformance.claims import CLAIMS
from conformance.record import Cell, Tier
from tests.miniatures.registration import examining
from tests.mutation.edits import Operator
from tests.mutation.shapes import Shape, made, source_of

ALL = bool(os.environ.get("MUTATION_ALL"))
"""Whether each operator is tried on all shapes that it applies to, and every claim is decided of each mutant."""

OUTCOMES = ("mutants", "caught", "explained", "survived")


def chosen(operators: Iterable[Operator], shapes: Iterable[Shape]) -> list[tuple[Operator, Shape]]:
    """Which operators are tried on which shapes: each on one, in turn, unless all are wanted."""
    shapes, pairs = list(shapes), []
    for place, operator in enumerate(operators):
        fitting = [shape for shape in shapes if operator.applies_to(shape)]
        if ALL:
            pairs += [(operator, shape) for shape in fitting]
        elif operator.is_always_tried:
            pairs.append((operator, fitting[place % len(fitting)]))
    return pairs


def called(operator: Operator, shape: Shape) -> str:
    """What a mutant is called."""
    return "-".join(part for part in (operator.claim, operator.name, shape.name) if part)


def claims_for(claim: str | None) -> list[str]:
    """What is decided of a mutant of the claim: the core tier and the claims of its group, or all but extra ones."""
    of_group = CLAIMS[claim].group if claim else None
    return [
        one.id
        for one in CLAIMS.values()
        if one.id == claim or (one.tier is not Tier.EXTRA and (ALL or one.tier is Tier.CORE or one.group == of_group))
    ]


def cells_of(name: str, source: str, claims: Iterable[str]) -> dict[str, Cell]:
    """The cells of what the source makes, decided in one examination."""
    name = name.replace("-", "_")
    with made(name, source) as make, examining(make, name) as examination:
        return {claim: examination.cell(claim) for claim in claims}


def mutant(operator: Operator, shape: Shape) -> dict[str, Cell]:
    """The cells of what the operator makes of the shape."""
    source = source_of(shape, operator.pieces(shape))
    return cells_of(called(operator, shape), source, claims_for(operator.claim))


def table(outcomes: Iterable[tuple[str, str]]) -> list[str]:
    """The score, of (claim, outcome) pairs: a line for each claim, and one for all."""
    counts: dict[str, Counter[str]] = {claim: Counter() for claim in CLAIMS}
    for claim, outcome in outcomes:
        counts[claim].update(("mutants", outcome))
    counts["in all"] = sum(counts.values(), Counter())
    width = max(map(len, counts))
    lines = [" ".join(["claim".ljust(width), *(name.rjust(9) for name in OUTCOMES)])]
    for claim, count in counts.items():
        lines.append(" ".join([claim.ljust(width), *(str(count[name]).rjust(9) for name in OUTCOMES)]))
    return lines
