"""JUnit and the badge: what a run is in the words of CI systems."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import msgspec
import pytest

from conformance.gate import Expectation, Expectations
from conformance.record import Cell, Evidence, Level, Record, Verdict
from conformance.report.formats import render
from conformance.report.junit import junit
from tests.report.synthetic import entries, finished, one_cell, run_of

HOLDS = Cell(verdict=Verdict.HOLDS, evidence=Evidence.PROVED)
VIOLATED = Cell(verdict=Verdict.VIOLATED, evidence=Evidence.OBSERVED, reason="it \x1b[31mraises \ufffe\ud800")
UNDECIDED = Cell(verdict=Verdict.UNDECIDED, reason="who knows")
NOT_APPLICABLE = Cell(verdict=Verdict.NOT_APPLICABLE, reason="no head")


def case(cell, expected=None, level=Level.MUST):
    run = one_cell(cell)
    claim = msgspec.structs.replace(run.header.claims[0], level=level)
    run = msgspec.structs.replace(run, header=msgspec.structs.replace(run.header, claims=(claim,)))
    entry = Expectation(models=("shvit_*",), claims=("scripts",), verdict=expected, reason="Known.", origin="mine.toml")
    suites = ElementTree.fromstring(junit(run, Expectations(() if expected is None else (entry,))))
    (found,) = suites.iter("testcase")
    assert (found.get("classname"), found.get("name")) == ("shvit_s1", "scripts")
    counts = {name: int(suites.get(name)) for name in ("tests", "failures", "errors", "skipped")}
    return [node.tag for node in found], [node.get("type") for node in found], counts


@pytest.mark.parametrize(
    ("cell", "expected", "level", "tags", "kinds", "counted"),
    [
        (HOLDS, None, Level.MUST, [], [], None),
        (VIOLATED, None, Level.MUST, ["failure"], [None], "failures"),
        (UNDECIDED, None, Level.SHOULD, ["error"], [None], "errors"),
        (UNDECIDED, None, Level.SIGNAL, ["error"], [None], "errors"),
        (VIOLATED, None, Level.SIGNAL, ["system-out"], [None], None),
        (NOT_APPLICABLE, None, Level.MUST, ["skipped"], ["pytest.skip"], "skipped"),
        (VIOLATED, Verdict.VIOLATED, Level.MUST, ["skipped"], ["pytest.xfail"], "skipped"),
        (UNDECIDED, Verdict.UNDECIDED, Level.MUST, ["skipped"], ["pytest.xfail"], "skipped"),
        (HOLDS, Verdict.VIOLATED, Level.MUST, ["failure"], [None], "failures"),
        (UNDECIDED, Verdict.VIOLATED, Level.MUST, ["failure"], [None], "failures"),
    ],
)
def test_each_verdict_has_its_word(cell, expected, level, tags, kinds, counted):
    found, types, counts = case(cell, expected, level)
    assert (found, types) == (tags, kinds)
    assert counts == {"tests": 1, "failures": 0, "errors": 0, "skipped": 0} | ({counted: 1} if counted else {})


def test_every_cell_is_a_case_and_the_counts_agree():
    run = run_of(30)
    suites = ElementTree.fromstring(render(run, "junit"))
    cases = list(suites.iter("testcase"))
    assert len(cases) == int(suites.get("tests")) == 30 * len(run.header.claims)
    for word in ("failure", "error", "skipped"):
        assert len(list(suites.iter(word))) == int(suites.get("skipped" if word == "skipped" else f"{word}s"))


@pytest.mark.parametrize(
    ("faultless", "colour"), [((True, True), "brightgreen"), ((True, False), "yellow"), ((False, False), "red")]
)
def test_the_badge_counts_models_without_a_fault(faultless, colour):
    cells = (HOLDS if keeps else VIOLATED for keeps in faultless)
    records = [Record(model=f"m{number}", cells={"scripts": cell}) for number, cell in enumerate(cells)]
    drawn = json.loads(render(finished(records, entries(["scripts"])), "badge"))
    assert drawn["schemaVersion"] == 1
    assert drawn["message"] == f"{sum(faultless)} of 2 models keep it"
    assert drawn["color"] == colour
