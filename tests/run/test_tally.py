"""What is decided is counted, and what is left is told from what models are expected to take."""

from __future__ import annotations

import pytest

from conformance.record import Verdict
from conformance.run import expected, tally
from conformance.run.expected import ByName, Expected
from conformance.run.tally import Tally

CLAIMS = ("one", "two")


@pytest.fixture
def seconds(monkeypatch):
    """A slow model and quick ones."""
    known = Expected(ByName({"slow": 90.0, "quick_a": 5.0, "quick_b": 5.0}), ByName({}))
    monkeypatch.setattr(tally.Expected, "of", classmethod(lambda cls, claims: known))


def test_what_is_left_is_told_by_cost_and_not_by_count(seconds):
    now = [0.0]
    counted = Tally(["slow", "quick_a", "quick_b"], CLAIMS, now=lambda: now[0])
    now[0] = 20.0
    for model in ("quick_a", "quick_b"):
        for _ in CLAIMS:
            counted.add(model, Verdict.HOLDS)
    # A tenth of the work took twenty seconds.
    assert counted.line() == "4 of 6 cells · 0.2/s · 3:00 left · 4 hold"


def test_a_model_of_several_releases_counts_for_each(seconds):
    now = [0.0]
    counted = Tally(["quick_a", "quick_a"], ("one",), now=lambda: now[0])
    assert counted.cells == 2
    now[0] = 10.0
    counted.add("quick_a", Verdict.VIOLATED)
    assert counted.line(head="1 node", at="quick_a") == (
        "1 of 2 cells · 1 node · 0.1/s · 0:10 left · 1 violated · quick_a"
    )


def test_nothing_is_told_of_what_is_left_before_and_after(seconds):
    counted = Tally(["quick_a"], ("one",), now=lambda: 0.0)
    assert "left" not in counted.line(at="quick_a")
    counted.add("quick_a", Verdict.UNDECIDED)
    assert "left" not in counted.line(at="quick_a")
    assert counted.line(at="quick_a").endswith("1 undecided")


def test_memory_that_nobody_measured_is_what_is_usual():
    assert Expected(ByName({}), ByName({})).megabytes("any") == expected.USUAL_MEMORY
    assert Expected(ByName({}), ByName({"net_a": 1000.0, "net_b": 2000.0})).megabytes("net_a") == 1000.0
    assert Expected(ByName({}), ByName({"net_a": 1000.0, "net_b": 2000.0})).megabytes("net_c") == 1500.0


def test_the_peak_of_memory_is_of_what_came_after_it_was_forgotten():
    import subprocess
    import sys

    code = (
        "from conformance.run import peak\n"
        "large = bytearray(300 << 20); del large\n"
        "before = peak.megabytes(); peak.forget(); after = peak.megabytes()\n"
        "assert before > 300 > after > 1, (before, after)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
