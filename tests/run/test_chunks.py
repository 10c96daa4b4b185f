"""Chunks: every model in one, none too long, and together as fast as a cluster can be."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.run.chunks import LONGEST, cut


def benchmark():
    spec = importlib.util.spec_from_file_location("scale", Path(__file__).parents[2] / "benchmarks" / "scale.py")
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["scale"] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


scale = benchmark()
COSTS = scale.recorded()


@given(
    st.lists(st.dictionaries(st.text(min_size=1), st.floats(min_value=0.01, max_value=1e4), max_size=30), min_size=1),
    st.integers(min_value=1, max_value=100),
)
def test_every_model_of_every_run_is_in_one_chunk_and_long_chunks_go_first(runs, processes):
    costs = {name: seconds for run in runs for name, seconds in run.items()}
    chunks = cut([sorted(run) for run in runs], processes, costs.__getitem__)
    for number, run in enumerate(runs):
        assert sorted(model for chunk in chunks if chunk.run == number for model in chunk.models) == sorted(run)
    assert all(chunk.seconds <= LONGEST or len(chunk.models) == 1 for chunk in chunks)
    assert [chunk.seconds for chunk in chunks] == sorted((chunk.seconds for chunk in chunks), reverse=True)
    assert all(chunk.seconds == pytest.approx(sum(map(costs.__getitem__, chunk.models))) for chunk in chunks)


def test_a_small_audit_is_for_all_processes():
    assert len(cut([[f"{number}" for number in range(16)]], 4, lambda _: 1.5)) >= 4


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("disturbed", [False, True])
@pytest.mark.parametrize(("models", "releases", "processes"), [(1371, 1, 2), (2000, 10, 64), (2000, 100, 64)])
def test_an_audit_takes_at_most_a_tenth_longer_than_it_must(models, releases, processes, disturbed, seed):
    expected = scale.many(COSTS, models)
    taken, bound, _ = scale.played(expected, releases, processes, disturbed=disturbed, seed=seed)
    assert bound <= taken <= 1.1 * bound


def test_so_does_a_thousand_runs_on_a_thousand_processes():
    taken, bound, _ = scale.played(scale.many(COSTS, 2000), 1000, 1024, disturbed=True)
    assert bound <= taken <= 1.1 * bound


def test_a_disturbed_cluster_is_disturbed():
    for count in (64, 1024):
        found = scale.processes(count, disturbed=True, until=1.0, chance=random.Random(0))
        assert sum(process.speed < 1 for process in found) >= 0.05 * count
        assert sum(process.ends < 1 for process in found) >= scale.ON_A_MACHINE


def test_what_a_lost_machine_had_begun_is_decided_by_others():
    workers = [scale.Process(ends=30.0), scale.Process()]
    # The first has decided one of two models when it is lost; the other one ends its own, and takes the second.
    assert scale.makespan([[10.0, 20.0], [50.0]], workers) == pytest.approx(30 + scale.NOTICED + scale.START + 20)


def test_nobody_is_left_is_told():
    with pytest.raises(RuntimeError, match="every machine is lost"):
        scale.makespan([[10.0]], [scale.Process(ends=5.0)])


def test_the_bound_is_what_processes_can_do_while_they_are_there():
    assert scale.bound(100, 1, [scale.Process(), scale.Process(ends=20)]) == pytest.approx(80)
    assert scale.bound(100, 70, [scale.Process(), scale.Process()]) == 70


def test_the_same_seed_plays_the_same():
    costs = scale.many(COSTS, 100)
    assert scale.played(costs, 1, 4, disturbed=True) == scale.played(costs, 1, 4, disturbed=True)
