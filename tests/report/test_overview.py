"""The overview: counts that add up, and causes that group what fails for one reason."""

from __future__ import annotations

from conformance.record import Cell, Evidence, Level, Record, Verdict
from conformance.report.overview import overview
from tests.report.synthetic import entries, finished, run_of

HOLDS = Cell(verdict=Verdict.HOLDS, evidence=Evidence.PROVED)


def violated(reason, cause=None):
    return Cell(verdict=Verdict.VIOLATED, evidence=Evidence.OBSERVED, reason=reason, cause=cause)


def test_counts_add_up_to_the_footer():
    run = run_of(40)
    seen = overview(run)
    assert seen.verdicts == run.footer.verdicts
    for verdict in Verdict:
        assert sum(counts[verdict] for counts in seen.by_claim.values()) == run.footer.verdicts[verdict]
        assert sum(counts[verdict] for counts in seen.by_level.values()) == run.footer.verdicts[verdict]
    assert sum(seen.evidence.values()) == seen.verdicts[Verdict.HOLDS] + seen.verdicts[Verdict.VIOLATED]
    assert set(seen.by_level) == {Level.MUST, Level.SIGNAL}


def test_cells_with_one_digest_are_one_cause_across_claims():
    run = finished(
        [
            Record(model="b", cells={"builds": HOLDS, "scripts": violated("no 2", "c1")}),
            Record(model="a", cells={"builds": violated("no 1", "c1"), "scripts": violated("no 3", "c1")}),
            Record(model="c", cells={"builds": HOLDS, "scripts": violated("else", "c2")}),
        ],
        entries(["builds", "scripts"]),
    )
    first, second = overview(run).causes
    assert (first.digest, first.models, first.claim_ids, first.reason) == (
        "c1",
        ("a", "b"),
        ("builds", "scripts"),
        "no 1",
    )
    assert (second.digest, second.models) == ("c2", ("c",))


def test_without_a_digest_reasons_that_differ_in_numbers_only_are_one_cause():
    run = finished(
        [
            Record(model="a", cells={"scripts": violated("width 768, not 1024")}),
            Record(model="b", cells={"scripts": violated("width 384, not 1.5e+3")}),
            Record(model="c", cells={"scripts": Cell(verdict=Verdict.UNDECIDED, reason="width 1, not 2")}),
        ],
        entries(["scripts"]),
    )
    assert [cause.models for cause in overview(run).causes] == [("a", "b"), ("c",)]


def test_a_model_is_faultless_whatever_a_signal_says():
    claims = entries(["builds", "pooled_width_is_num_features"])
    run = finished(
        [
            Record(model="a", cells={"builds": HOLDS, "pooled_width_is_num_features": violated("wide")}),
            Record(model="b", cells={"builds": violated("no"), "pooled_width_is_num_features": HOLDS}),
        ],
        claims,
    )
    assert overview(run).faultless == 1


def test_a_run_without_faults_has_no_causes():
    run = finished([Record(model="a", cells={"builds": HOLDS})], entries(["builds"]))
    assert overview(run).causes == ()
