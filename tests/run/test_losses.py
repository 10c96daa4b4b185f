"""What an audit on a cluster makes of losses, told by a cluster of one's own choosing that decides nothing itself."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from conformance.claims.raised import MEMORY
from conformance.record import Cell, Evidence, Record, Tier, Verdict, encode
from conformance.record_file import read_run
from conformance.run.chosen import chosen, header
from conformance.run.cluster import _Audit, _Run
from conformance.run.local import Selection
from conformance.run.ray_cluster import Cluster, Lost, OtherSuite
from conformance.run.remote import facts
from conformance.run.writer import Writer

CLAIMS = ("builds", "forward_features_runs")
HOLDS = Cell(verdict=Verdict.HOLDS, evidence=Evidence.OBSERVED)


class Scripted:
    """A cluster of one process on which some models are lost each time that they are at hand."""

    processes, window = 1, 1

    def __init__(self, header, unlucky=(), how="its process was killed", is_of_memory=False):
        self._header, self._unlucky = header, unlucky
        self._lost = Lost(how, is_of_memory=is_of_memory)
        self.orders = []

    def in_words(self):
        return "1 node"

    def send(self, order, archive, memory):
        self.orders.append(order.models)
        return iter(self._lines(order))

    def _lines(self, order):
        yield encode(self._header)
        for model in order.models:
            if model in self._unlucky:
                yield self._lost
            yield encode(Record(model=model, cells=dict.fromkeys(order.claims, HOLDS)))

    def ready(self, streams):
        return streams

    def next_of(self, stream):
        line = next(stream, None)
        if isinstance(line, Lost):
            raise line
        return line


@pytest.fixture
def decide(tmp_path):
    def run(models, **script):
        choice = chosen(models, CLAIMS, Tier.CORE, None)
        ours = header(choice)
        writer = Writer(Path(tmp_path, "run.jsonl"))
        writer.start(ours, resume=False, models=choice.models)
        theirs = msgspec.structs.replace(ours, subjects=1, **script.pop("header", {}))
        cluster = Scripted(theirs, **script)
        try:
            _Audit(cluster, [_Run(Selection(tmp_path / "run.jsonl"), choice, ours, writer, None)]).decide()
            writer.finish()
        finally:
            writer.leave()
        records = {record.model: record for record in read_run(tmp_path / "run.jsonl").records}
        return cluster.orders, records

    return run


def test_the_model_that_is_always_lost_goes_out_with_the_rest_then_alone_and_then_says_so(decide):
    orders, records = decide(["a", "b", "c"], unlucky=("b",))
    assert orders == [("a", "b", "c"), ("b", "c"), ("c",), ("b",)]
    assert {model: {cell.verdict for cell in record.cells.values()} for model, record in records.items()} == {
        "a": {Verdict.HOLDS},
        "b": {Verdict.UNDECIDED},
        "c": {Verdict.HOLDS},
    }
    cell = records["b"].cells["builds"]
    assert cell.reason == (
        "the process that decided it on the cluster was lost 3 times, at last alone: its process was killed"
    )


def test_memory_that_ran_out_is_the_cause(decide):
    _, records = decide(["a"], unlucky=("a",), how="the memory of its machine ran out", is_of_memory=True)
    assert {cell.cause for cell in records["a"].cells.values()} == {MEMORY}


def test_several_unlucky_models_end_too(decide):
    orders, records = decide(list("abcdef"), unlucky=("b", "c", "f"))
    counts = Counter(model for models in orders for model in models[:1])
    assert max(counts.values()) <= 3
    assert [model for model, record in records.items() if record.cells["builds"].verdict is Verdict.UNDECIDED] == [
        *"bcf"
    ]


@pytest.mark.parametrize("with_timm", [False, True])
def test_a_machine_that_has_something_else_is_told_and_its_own_timm_where_that_is_audited(with_timm):
    here = facts()
    cluster = SimpleNamespace(_here=here, _with_timm=with_timm)
    Cluster.compare(cluster, here)
    for fact in ("suite", "code", "torch", "python", "machine"):
        with pytest.raises(OtherSuite, match=r"of the cluster has .*, and here is "):
            Cluster.compare(cluster, msgspec.structs.replace(here, **{fact: "other"}))
    with pytest.raises(OtherSuite) if with_timm else nullcontext():
        Cluster.compare(cluster, msgspec.structs.replace(here, timm="other"))


@pytest.mark.parametrize("fact", [{"torch": "1.0"}, {"suite": "9"}, {"machine": "Other"}, {"claims": ()}])
def test_a_machine_that_decides_by_something_else_ends_the_audit(decide, fact, tmp_path):
    with pytest.raises(OtherSuite, match=f"another {next(iter(fact))}"):
        decide(["a"], header=fact)
    assert list(tmp_path.iterdir()) == []
