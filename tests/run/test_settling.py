"""What measuring settles of an upgrade, and what it must never confirm."""

from __future__ import annotations

import msgspec
import pytest

from conformance.gate.changes import Status
from conformance.record import Cell, Evidence, Record, Verdict
from conformance.release import Carried, Measured, Step
from conformance.run.elsewhere import NotAnswered
from conformance.run.upgrade import Pair, _became

HOLDS = Cell(verdict=Verdict.HOLDS, evidence=Evidence.PROVED)
UNDECIDED = Cell(verdict=Verdict.UNDECIDED, reason="a counter moved", cause="c")
VIOLATED = Cell(verdict=Verdict.VIOLATED, evidence=Evidence.MEASURED, reason="two calls differ", cause="c")
SAME = Measured(is_same=True, relative_error=0.0, cosine_similarity=1.0)


DIES = object()
"""What a process measures in float32 that ends before it has."""


class Canned:
    """A process that answers what it was told to."""

    def __init__(self, steps=(), measured=None, in_single=None):
        self._steps, self._measured, self._in_single = list(steps), measured, in_single

    def steps(self, name, output, size):
        return self._steps

    def depart(self, name, file, *, in_double):
        file.write_text("float64" if in_double else "float32")

    def arrive(self, name, file):
        dtype = file.read_text()
        if self._measured is None or (dtype == "float32" and self._in_single is DIES):
            raise NotAnswered("its process ended")
        measured = self._measured if dtype == "float64" else self._in_single or self._measured
        return Carried(outputs={"logits": measured}, dtype=dtype, loaded_by="name")


def record(deterministic=HOLDS, size=(3, 224, 224)):
    return Record(model="net", input_size=size, cells={"deterministic_in_eval": deterministic})


def became(before=None, after=None, measured=None, steps=((), ()), in_single=None):
    pair = Pair(Canned(steps[0]), Canned(steps[1], measured, in_single))
    return _became(pair, before or record(), after or record(), ["logits"])["logits"]


def test_what_comes_out_the_same_is_the_same_as_measured():
    found = became(measured=SAME)
    assert (found.status, found.evidence) == (Status.SAME, Evidence.MEASURED)


@pytest.mark.parametrize("cell", [UNDECIDED, VIOLATED])
@pytest.mark.parametrize("side", ["before", "after"])
def test_what_hides_something_is_never_confirmed_by_measuring(cell, side):
    found = became(**{side: record(cell)}, measured=SAME)
    assert (found.status, found.evidence) == (Status.UNDECIDED, None)
    assert f"it came out the same, but {side} the upgrade deterministic_in_eval is {cell.verdict}" in found.reason


def test_what_hides_something_is_refuted_by_measuring():
    apart = msgspec.structs.replace(SAME, is_same=False, relative_error=0.5)
    assert became(before=record(UNDECIDED), measured=apart).status is Status.DRIFTED


UNCLEAR = Measured(is_same=None, relative_error=1e-7, problem="other rounding errors change the result by 1e-07")


def test_what_float64_cannot_tell_float32_may():
    found = became(measured=UNCLEAR, in_single=SAME)
    assert (found.status, found.evidence, found.reason) == (Status.SAME, Evidence.MEASURED, "in float32")


@pytest.mark.parametrize("in_single", [UNCLEAR, Measured(is_same=False, relative_error=1e-3)])
def test_float32_condemns_nothing_that_float64_left_open(in_single):
    found = became(measured=UNCLEAR, in_single=in_single)
    assert (found.status, found.relative_error) == (Status.UNDECIDED, 1e-7)


@pytest.mark.parametrize("is_same", [None, False])
@pytest.mark.parametrize("in_single", [SAME, Measured(is_same=False, relative_error=0.5), UNCLEAR])
def test_what_raises_in_float64_is_as_float32_has_it(is_same, in_single):
    found = became(measured=Measured(is_same=is_same, raises=True, problem="it raises"), in_single=in_single)
    expected = {True: Status.SAME, False: Status.DRIFTED, None: Status.UNDECIDED}
    assert found.status is expected[in_single.is_same]


def test_what_float64_said_stands_where_float32_says_nothing():
    found = became(measured=UNCLEAR, in_single=DIES)
    assert (found.status, found.relative_error) == (Status.UNDECIDED, 1e-7)


def test_float32_confirms_nothing_that_is_hidden():
    assert became(before=record(UNDECIDED), measured=UNCLEAR, in_single=SAME).status is Status.UNDECIDED


def test_what_cannot_be_measured_or_told_is_undecided():
    assert became().status is Status.UNDECIDED
    unknown = Measured(is_same=None, problem="the results are not finite")
    assert became(measured=unknown).reason == "the results are not finite"


@pytest.mark.parametrize(
    ("left", "right", "status"), [("d", "d", Status.SAME), ("d", "e", Status.UNDECIDED), (None, None, Status.UNDECIDED)]
)
def test_another_declared_size_is_compared_at_the_older_one_and_only_digests_prove(left, right, status):
    lists = [[Step(digest=digest, operation="elements")] for digest in (left, right)]
    assert became(after=record(size=(3, 256, 256)), steps=lists).status is status
