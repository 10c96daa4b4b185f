"""Shards: every model in one, about equal cost, and little moves when models are added. And what models are expected
to take."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.record import Tier
from conformance.run import expected
from conformance.run.expected import Expected, Known
from conformance.run.shards import ROOM, part, shard_of
from tests.report.synthetic import run_of

KNOWN = expected.shipped()
NAMES = sorted(KNOWN.models)
SECONDS = Expected.of([claim for claim, (tier, _) in KNOWN.shares.items() if tier is Tier.CORE]).seconds


@given(
    st.dictionaries(st.text(min_size=1), st.floats(min_value=0.01, max_value=1e4), max_size=40),
    st.integers(min_value=1, max_value=50),
)
def test_every_model_is_in_one_shard(costs, of):
    names = sorted(costs)
    parts = [part(names, number, of, costs.__getitem__) for number in range(1, of + 1)]
    assert sorted(name for models in parts for name in models) == names
    assert all(list(models) == sorted(models) for models in parts)


@pytest.mark.parametrize("of", [2, 3, 8, 20])
def test_shards_cost_about_the_same(of):
    loads = [sum(map(SECONDS, part(NAMES, number, of, SECONDS))) for number in range(1, of + 1)]
    assert max(loads) <= ROOM * sum(loads) / of


@pytest.mark.parametrize("of", [2, 3, 8])
def test_few_models_move_when_models_are_added(of):
    before = [name for place, name in enumerate(NAMES) if place % 20]  # one in twenty is new
    where = {}
    for names in (before, NAMES):
        for number in range(1, of + 1):
            for name in part(names, number, of, SECONDS):
                where.setdefault(name, []).append(number)
    moved = sum(len(set(numbers)) > 1 for numbers in where.values())
    assert moved < 0.06 * len(before)


def test_a_header_tells_shards_of_one_list_from_those_of_another():
    assert shard_of(NAMES, 1, 3).models == shard_of(NAMES, 2, 3).models
    assert shard_of(NAMES[1:], 1, 3).models != shard_of(NAMES, 1, 3).models


def test_an_unknown_model_takes_what_those_take_whose_names_are_like_its_own():
    models = {"net_a_small": (1.0, 0.0), "net_a_large": (3.0, 0.0), "net_b": (9.0, 0.0), "other": (70.0, 0.0)}
    learnt = Expected.of(["one"], Known(models=models, shares={"one": (Tier.CORE, 1.0)}))
    assert learnt.seconds("net_a_large") == pytest.approx(3.0 + expected.BUILDING)
    assert learnt.seconds("net_a_huge") == pytest.approx(2.0 + expected.BUILDING)
    assert learnt.seconds("net_c") == pytest.approx(3.0 + expected.BUILDING)  # all that begin with net_
    assert learnt.seconds("zzz") == pytest.approx(6.0 + expected.BUILDING)
    assert Expected.of([], Known(models={}, shares={"one": (Tier.CORE, 1.0)})).seconds("any") == expected.BUILDING


def test_more_claims_take_longer_and_unknown_claims_take_something():
    core, full = (
        Expected.of([claim for claim, (one, _) in KNOWN.shares.items() if one in tiers]).seconds("resnet50")
        for tiers in ((Tier.CORE,), (Tier.CORE, Tier.FULL))
    )
    assert expected.BUILDING < core < full
    assert Expected.of(["nobody_knows"]).seconds("resnet50") > expected.BUILDING


def test_the_shipped_expectation_is_good_for_models_that_it_does_not_know():
    half, most = Expected.of(KNOWN.shares).time.error()
    assert half < 1.3
    assert most < 3


def test_memory_is_learnt_from_other_runs_by_their_tier():
    run = run_of(3)
    records = tuple(msgspec.structs.replace(record, cost=record.cost | {"peak_mb": 1234.4}) for record in run.records)
    core = msgspec.structs.replace(run, records=records)
    known = expected.learnt(core, core)
    assert known.memory == {record.model: {core.header.tier: 1234.0} for record in core.records}


def test_what_a_run_teaches_is_read_back(tmp_path):
    from conformance.record_file import read_run

    run = read_run("reports/timm-1.0.31.jsonl.gz")
    known = expected.learnt(run)
    assert msgspec.json.decode(msgspec.json.encode(known), type=Known) == known
    assert sum(share for tier, share in known.shares.values() if tier is Tier.CORE) == pytest.approx(1, abs=0.01)
