"""No mutant passes: a claim that a model breaks, however quietly, never holds."""

from __future__ import annotations

import pytest

from conformance.record import Verdict
from tests.miniatures import hidden, hidden_globals, served  # noqa: F401  # their mutants are among MUTANTS
from tests.miniatures.mutants import MUTANTS
from tests.miniatures.registration import examining

CASES = [(name, claim) for name, (_, claims) in MUTANTS.items() for claim in claims]


@pytest.mark.parametrize(("name", "claim"), CASES, ids=[f"{name}-{claim}" for name, claim in CASES])
def test_a_broken_claim_does_not_hold(name, claim):
    model, _ = MUTANTS[name]
    with examining(model) as examination:
        cell = examination.cell(claim)
    assert cell.verdict in (Verdict.VIOLATED, Verdict.UNDECIDED), f"{cell.verdict}, {cell.evidence}"
    assert cell.reason
