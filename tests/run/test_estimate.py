"""Long work says how far it has come, and how long the rest may take."""

from __future__ import annotations

import pytest

from conformance.run import estimate
from conformance.run.estimate import Steps, clock


def test_steps_are_told_now_and_then_with_what_is_left(monkeypatch):
    now, told = [0.0], []
    monkeypatch.setattr(estimate.time, "monotonic", lambda: now[0])
    steps = Steps("models", 100, told.append)
    for _ in range(100):
        now[0] += 1.0
        steps.one()
    assert told[0] == "models: 15 of 100 · 1.0/s · 1:25 left"
    assert [line.split(" of ")[0] for line in told] == [f"models: {done}" for done in (15, 30, 45, 60, 75, 90)]


def test_what_is_done_at_once_is_not_told():
    told = []
    steps = Steps("models", 3, told.append)
    for _ in range(3):
        steps.one()
    assert told == []


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3725, "1:02:05")])
def test_times_are_read_like_a_clock(seconds, words):
    assert clock(seconds) == words
