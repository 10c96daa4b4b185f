"""What operators make of lawful models is caught by the claim that should, and other ways to write them are not.

`MUTATION_ALL` in the environment tries every operator on every shape; `nox -s mutation` sets it.
"""

from __future__ import annotations

from collections import Counter

import pytest

from conformance.claims import CLAIMS
from conformance.record import Evidence, Tier, Verdict
from tests.mutation.edits import VALUES
from tests.mutation.equivalents import EQUIVALENTS
from tests.mutation.examined import called, cells_of, chosen, mutant, table
from tests.mutation.operators import OPERATORS
from tests.mutation.shapes import SHAPES, source_of

MUTANTS = chosen(OPERATORS, SHAPES)
REWRITTEN = chosen(EQUIVALENTS, SHAPES)


@pytest.mark.parametrize(("operator", "shape"), MUTANTS, ids=[called(*one) for one in MUTANTS])
def test_a_mutant_is_caught_by_the_claim_that_it_breaks_and_by_no_other(operator, shape, record_property):
    cells = mutant(operator, shape)
    cell = cells[operator.claim]
    if operator.survives:
        outcome = "explained" if cell.verdict in operator.survives else "survived"
    else:
        outcome = "caught" if cell.verdict is Verdict.VIOLATED else "survived"
    record_property("mutant", (operator.claim, outcome))
    # What is explained and would be caught is a surprise too: the explanation is out of date.
    assert outcome != "survived", (cell.verdict, cell.evidence, cell.reason)
    if operator.is_measured and outcome == "caught":
        assert cell.evidence is Evidence.MEASURED, cell.reason
    accused = {claim: one.reason for claim, one in cells.items() if one.verdict is Verdict.VIOLATED}
    assert accused.keys() <= {operator.claim} | operator.consequences | shape.expected.keys(), accused


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_every_claim_holds_of_a_lawful_shape_except_as_it_says(shape):
    claims = [claim.id for claim in CLAIMS.values() if claim.tier is not Tier.EXTRA]
    cells = cells_of(shape.name, source_of(shape), claims)
    assert {claim: one.reason for claim, one in cells.items() if one.verdict is not Verdict.HOLDS}.keys() == (
        shape.expected.keys()
    )


@pytest.mark.parametrize("claim", [claim.id for claim in CLAIMS.values() if claim.tier is Tier.EXTRA])
def test_extra_claims_hold_of_lawful_shapes(claim):
    for shape in SHAPES[:2]:
        assert cells_of(shape.name, source_of(shape), [claim])[claim].verdict is Verdict.HOLDS


@pytest.mark.parametrize(("operator", "shape"), REWRITTEN, ids=[called(*one) for one in REWRITTEN])
def test_another_way_to_write_a_lawful_model_is_not_accused(operator, shape):
    cells = mutant(operator, shape)
    accused = {claim: one.reason for claim, one in cells.items() if one.verdict is Verdict.VIOLATED}
    assert accused.keys() <= shape.expected.keys(), accused


def test_every_claim_has_a_family_of_mutants(capsys):
    families = Counter(operator.claim for operator, _ in MUTANTS)
    with capsys.disabled():
        print(f"\n{len(MUTANTS)} mutants and {len(REWRITTEN)} other ways to write lawful models are tried")
    assert set(families) == set(CLAIMS)
    assert min(families.values()) >= 3, families
    assert families.total() >= 200
    assert len(REWRITTEN) >= 15


def test_every_alteration_is_tried_and_each_is_made_for_several_claims():
    tried = {name: {one.claim for one, _ in MUTANTS if one.name.endswith(name)} for name in VALUES}
    assert min(map(len, tried.values())) >= 2, tried


def test_every_operator_applies_somewhere_and_none_makes_what_another_makes():
    made_by = {}
    for operator in (*OPERATORS, *EQUIVALENTS):
        shapes = [shape for shape in SHAPES if operator.applies_to(shape)]
        assert shapes, operator.name
        for shape in shapes:
            source = source_of(shape, operator.pieces(shape))
            assert source != source_of(shape), (operator.name, shape.name)
            compile(source, operator.name, "exec")
            other = made_by.setdefault(source, operator)
            assert other is operator, (operator.claim, operator.name, other.claim, other.name, shape.name)


def test_what_survives_says_why():
    for operator in OPERATORS:
        for verdict, why in operator.survives.items():
            assert Verdict(verdict) is not Verdict.VIOLATED
            assert len(why) > 20


def test_a_table_of_the_score_counts_what_became_of_mutants():
    lines = table([("builds", "caught"), ("builds", "survived"), ("exports", "explained")])
    assert lines[0].split() == ["claim", "mutants", "caught", "explained", "survived"]
    assert lines[1].split() == ["builds", "2", "1", "0", "1"]
    assert lines[-1].split() == ["in", "all", "3", "1", "1", "1"]
