"""Nothing is left out: every model of timm has a cell for every claim, with a reason where it does not hold."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm

from conformance.claims import in_tier
from conformance.record import Tier, Verdict
from conformance.record_file import read_run
from conformance.subject.names import names

PUBLISHED = Path(__file__).parents[1] / "reports" / f"timm-{timm.__version__}.jsonl.gz"


@pytest.fixture(scope="module")
def published():
    return read_run(PUBLISHED)


def test_names_are_what_timm_lists():
    assert sorted(names()) == sorted(set(timm.list_models()))
    assert len(names()) == 1371


def test_the_published_run_has_one_cell_for_every_model_and_claim_of_the_full_tier(published):
    claims = {claim.id for claim in in_tier(Tier.FULL)}
    assert [record.model for record in published.records] == names()
    assert {claim.id for claim in published.header.claims} == claims
    assert all(record.cells.keys() == claims for record in published.records)
    assert published.footer.verdicts.keys() == set(Verdict)
    assert sum(published.footer.verdicts.values()) == len(names()) * len(claims)


def test_every_published_cell_says_what_it_rests_on_or_why_not(published):
    for record in published.records:
        for claim, cell in record.cells.items():
            where = f"{record.model}: {claim}"
            assert (cell.evidence is not None) == (cell.verdict in (Verdict.HOLDS, Verdict.VIOLATED)), where
            assert bool(cell.reason) == (cell.verdict is not Verdict.HOLDS), where
            assert cell.cause or cell.verdict is not Verdict.VIOLATED, where
