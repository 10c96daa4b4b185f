"""What a model keeps of every call stands in no proof's way, unless it looks at it at a later one."""

from __future__ import annotations

import pytest

from conformance.record import Evidence, Verdict
from tests.miniatures.keeping import FORGETFUL, OF_IMAGES
from tests.miniatures.recalling import MINDFUL
from tests.miniatures.registration import examining

OF_NUMBERS = (
    "built_headless", "classifier_consistent", "deterministic_in_eval", "head_composes", "head_is_pure",
    "reset_to_pooled", "uses_all_parameters",
)  # fmt: skip


@pytest.mark.parametrize("name", FORGETFUL)
@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_what_is_kept_and_not_looked_at_again_leaves_every_proof(name):
    with examining(FORGETFUL[name]) as examination:
        cells = {claim: examination.cell(claim) for claim in OF_NUMBERS}
    assert {claim: cell.reason for claim, cell in cells.items() if cell.verdict is not Verdict.HOLDS} == {}
    assert cells["head_composes"].evidence == Evidence.PROVED


@pytest.mark.parametrize("make", OF_IMAGES, ids=lambda make: make.__name__)
def test_what_is_kept_of_images_is_neither_proved_nor_refuted(make):
    with examining(make) as examination:
        cells = {claim: examination.cell(claim).verdict for claim in OF_NUMBERS}
    assert set(cells.values()) == {Verdict.UNDECIDED}


@pytest.mark.parametrize("name", MINDFUL)
def test_what_is_looked_at_at_a_later_call_is_never_proved(name):
    model, claim = MINDFUL[name]
    with examining(model) as examination:
        cell = examination.cell(claim)
    assert cell.verdict is not Verdict.HOLDS, cell.evidence
