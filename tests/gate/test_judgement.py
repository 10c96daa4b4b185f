"""Judging a run: what was not expected, and what was expected and did not come."""

from __future__ import annotations

import msgspec
import pytest

from conformance.gate import Expectation, Expectations, judge, stale
from conformance.record import Cell, Evidence, Level, Record, Verdict
from tests.report.synthetic import entries, finished, one_cell

HOLDS = Cell(verdict=Verdict.HOLDS, evidence=Evidence.PROVED)
VIOLATED = Cell(verdict=Verdict.VIOLATED, evidence=Evidence.OBSERVED, reason="it raises")
UNDECIDED = Cell(verdict=Verdict.UNDECIDED, reason="who knows")
NOT_APPLICABLE = Cell(verdict=Verdict.NOT_APPLICABLE, reason="no head")
NOTHING = Expectations()


def expecting(verdict, *, models=("shvit_*",), claims=("scripts",)):
    return Expectations(
        (Expectation(models=models, claims=claims, verdict=verdict, reason="known", origin="mine.toml, entry 1"),)
    )


@pytest.mark.parametrize("cell", [VIOLATED, UNDECIDED])
def test_a_violated_or_undecided_cell_is_found_unless_it_is_expected(cell):
    judgement = judge(one_cell(cell), NOTHING)
    assert [str(finding) for finding in judgement.unexpected] == [
        f"scripts of shvit_s1 is {cell.verdict}: {cell.reason}"
    ]
    assert not judgement.is_clean
    judgement = judge(one_cell(cell), expecting(cell.verdict))
    assert judgement.is_clean
    assert judgement.expected == 1


@pytest.mark.parametrize("cell", [HOLDS, NOT_APPLICABLE])
def test_what_holds_or_does_not_apply_is_no_finding(cell):
    assert judge(one_cell(cell), NOTHING).is_clean


def test_a_signal_is_no_finding():
    run = one_cell(VIOLATED)
    signal = msgspec.structs.replace(run.header.claims[0], level=Level.SIGNAL)
    run = msgspec.structs.replace(run, header=msgspec.structs.replace(run.header, claims=(signal,)))
    assert judge(run, NOTHING).is_clean
    assert judge(run, expecting(Verdict.UNDECIDED)).stale  # but what is said of it must be true


def test_another_verdict_than_the_expected_one_is_found_once_with_the_entry():
    judgement = judge(one_cell(VIOLATED), expecting(Verdict.UNDECIDED))
    (finding,) = judgement.unexpected
    assert "violated (expected undecided: mine.toml, entry 1)" in str(finding)
    assert judgement.stale == ()
    assert len(stale(one_cell(VIOLATED), expecting(Verdict.UNDECIDED))) == 1


@pytest.mark.parametrize("expected", [Verdict.VIOLATED, Verdict.UNDECIDED, Verdict.NOT_APPLICABLE])
def test_an_expectation_that_no_longer_comes_true_is_stale_by_name(expected):
    judgement = judge(one_cell(HOLDS), expecting(expected))
    assert [str(entry) for entry in judgement.stale] == [
        f"mine.toml, entry 1: scripts of shvit_s1 is holds, not {expected}; take the model out of the entry"
    ]
    assert not judgement.is_clean


def test_an_expectation_is_strict_for_each_model():
    run = finished(
        [Record(model="shvit_s1", cells={"scripts": VIOLATED}), Record(model="shvit_s2", cells={"scripts": HOLDS})],
        entries(["scripts"]),
    )
    assert [entry.model for entry in stale(run, expecting(Verdict.VIOLATED))] == ["shvit_s2"]


def test_a_glob_that_matches_nothing_is_told_of_the_whole_list_only():
    run = one_cell(VIOLATED)
    expectations = expecting(Verdict.VIOLATED, models=("shvit_*", "gone_*"))
    assert stale(run, expectations) == []
    assert stale(run, expectations, names=["shvit_s1", "gone_a"]) == []
    (entry,) = stale(run, expectations, names=["shvit_s1"])
    assert str(entry) == "mine.toml, entry 1: no model is called 'gone_*'; remove it from the entry"


def test_a_glob_that_matches_nothing_is_not_told_of_a_selection_of_claims():
    expectations = expecting(Verdict.VIOLATED, models=("gone_*",), claims=("scripts", "builds"))
    assert stale(one_cell(HOLDS), expectations, names=["shvit_s1"]) == []


def test_a_sleeping_entry_is_never_stale():
    (entry,) = expecting(Verdict.VIOLATED, models=("shvit_*", "gone_*")).entries
    from packaging.specifiers import SpecifierSet

    asleep = Expectations((Expectation(**{**vars(entry), "timm": SpecifierSet("<1")}),))
    assert stale(one_cell(HOLDS), asleep, names=["shvit_s1"]) == []
