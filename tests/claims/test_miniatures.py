"""Every claim holds on the miniatures that keep it, and is broken by the one that is named after it, alone."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from conformance.claims import CLAIMS, in_tier
from conformance.record import Cell, Evidence, Tier, Verdict
from tests.miniatures.contract import BREAKERS, LAWFUL, WITHOUT_PYRAMID, Encoder, HeadlessByDefault, ListOfFeatures
from tests.miniatures.registration import examining

HOW = {"onnx_exports": Evidence.MEASURED} | dict.fromkeys(
    (
        "batch_independent",
        "built_headless",
        "classifier_consistent",
        "classifier_named",
        "compile_matches",
        "deterministic_in_eval",
        "export_dynamic_batch",
        "export_matches",
        "fx_matches",
        "head_composes",
        "head_is_pure",
        "intermediates_final",
        "intermediates_match_info",
        "reset_to_pooled",
        "script_matches",
        "script_pre_logits",
        "script_round_trips",
        "uses_all_parameters",
    ),
    Evidence.PROVED,
)
"""What the `holds` of a claim rests on, where it is more than a shape or an attribute."""

ALL = list(CLAIMS)

CONSEQUENCES = {
    # Nothing can be compared that is computed from a random number.
    "deterministic_in_eval": {"head_composes", "script_matches", "script_round_trips", "reset_keeps_placement"},
    "export_matches": {"export_dynamic_batch"},
    # A branch on the number of images is one that torch.fx cannot trace.
    "export_dynamic_batch": {"batch_independent", "fx_traces", "fx_matches"},
}
"""Claims that a breaker cannot help taking along, by the claim that it breaks."""

MEASURED = {
    "batch_independent",
    "built_headless",
    "classifier_consistent",
    "compile_matches",
    "deterministic_in_eval",
    "export_matches",
    "fx_matches",
    "head_composes",
    "head_is_pure",
    "intermediates_final",
    "onnx_exports",
    "reset_to_pooled",
    "script_matches",
    "script_pre_logits",
}
"""Claims whose breaker computes something else of the same shape: numbers that differ prove nothing, real ones do."""


@functools.cache
def cells_of(model: Callable[..., object], name: str | None = None) -> dict[str, Cell]:
    """Every claim decided, in one examination; those of another tier only where one of them is to be broken."""
    tier = CLAIMS[name].tier if name in CLAIMS else Tier.EXTRA
    claims = in_tier(tier) if tier is Tier.CORE else in_tier(Tier.FULL)
    if tier is Tier.EXTRA:
        claims += in_tier(Tier.EXTRA)
    with examining(model, name) as examination:
        return {claim.id: examination.cell(claim.id) for claim in claims}


@pytest.mark.parametrize("claim", ALL)
@pytest.mark.parametrize("model", LAWFUL, ids=lambda model: model.__name__)
def test_every_claim_holds_of_what_keeps_it(model, claim):
    cell = cells_of(model)[claim]
    expected = LAWFUL[model].get(claim, Verdict.HOLDS)
    assert cell.verdict == expected, cell.reason
    if expected == Verdict.HOLDS:
        assert cell.evidence is HOW.get(claim, Evidence.OBSERVED)
        assert cell.reason is None


def test_every_claim_has_a_miniature_that_breaks_it():
    assert set(BREAKERS) == set(CLAIMS)


@pytest.mark.parametrize("claim", BREAKERS)
def test_a_breaker_breaks_its_claim(claim):
    cell = cells_of(BREAKERS[claim], claim)[claim]
    assert cell.verdict is Verdict.VIOLATED, cell.reason
    if claim in MEASURED:
        assert cell.evidence is Evidence.MEASURED
    assert cell.reason
    assert cell.cause


@pytest.mark.parametrize("claim", BREAKERS)
def test_a_breaker_breaks_no_other_claim(claim):
    others = {other: cell for other, cell in cells_of(BREAKERS[claim], claim).items() if other != claim}
    for other, cell in others.items():
        if claim in _ancestors(other):
            assert cell.verdict is Verdict.NOT_APPLICABLE, (other, cell.reason)
            assert cell.reason.startswith("needs "), other
        elif cell.verdict is not Verdict.HOLDS and (other, cell.verdict) not in WITHOUT_PYRAMID.items():
            assert other in CONSEQUENCES.get(claim, ()), (other, cell.reason)


def _ancestors(claim: str) -> set[str]:
    return {claim}.union(*(_ancestors(need) for need in CLAIMS[claim].needs))


def test_an_encoder_has_no_head_and_is_not_accused_of_it():
    for claim, cell in cells_of(Encoder).items():
        if "pre_logits_supported" in _ancestors(claim) or claim in WITHOUT_PYRAMID:
            assert cell.verdict is Verdict.NOT_APPLICABLE, claim
        else:
            assert cell.verdict is Verdict.HOLDS, (claim, cell.reason)


def test_a_model_without_classes_is_given_some_so_that_nothing_holds_vacuously():
    with examining(HeadlessByDefault) as examination:
        assert examination.subject.as_built.num_classes == 0
        assert examination.subject.headed.num_classes > 0
        assert examination.subject.logits.output.shape[-1] == examination.subject.classes


def test_features_in_a_list_are_described_part_by_part():
    reason = cells_of(ListOfFeatures)["features_width"].reason
    assert "list of 2 (tensor (2, 8, 4, 4) float32, tensor (2, 8, 4, 4) float32)" in reason
