"""No mutant passes: a claim that a model breaks, however quietly, never holds."""

from __future__ import annotations

import pytest

from conformance.record import Verdict
from tests.miniatures import hidden  # noqa: F401  # its mutants are among MUTANTS
from tests.miniatures.defects import FALSELY_HOLDS
from tests.miniatures.mutants import MUTANTS
from tests.miniatures.registration import examining

CASES = [(name, claim) for name, (_, claims) in MUTANTS.items() for claim in claims]


def marked(name: str, claim: str) -> object:
    marks = []
    if (name, claim) in FALSELY_HOLDS:
        marks.append(pytest.mark.xfail(reason=FALSELY_HOLDS[name, claim]))
    return pytest.param(name, claim, marks=marks, id=f"{name}-{claim}")


@pytest.mark.parametrize(("name", "claim"), [marked(*case) for case in CASES])
def test_a_broken_claim_does_not_hold(name, claim):
    model, _ = MUTANTS[name]
    with examining(model) as examination:
        cell = examination.cell(claim)
    assert cell.verdict in (Verdict.VIOLATED, Verdict.UNDECIDED), f"{cell.verdict}, {cell.evidence}"
    assert cell.reason


def test_every_known_defect_names_a_case():
    assert set(FALSELY_HOLDS) <= set(CASES)
