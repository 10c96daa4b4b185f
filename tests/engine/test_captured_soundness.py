"""Equal numbers mean equal bits also between a program, the scripted one, the exported one, and a changed program's."""

from __future__ import annotations

import os
import warnings
from collections import Counter

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conformance.engine.ledger import Ledger
from conformance.engine.outside import keeping_bytes, recording
from conformance.engine.script import executor_for_meta, forget_everything
from tests.engine import sources
from tests.engine.programs import LEAVES, bits, inputs
from tests.engine.test_soundness import EDITS, NUMBERS, edited

SEEDS = (0, 1)
PROGRAMS = int(os.environ.get("SOUNDNESS_PROGRAMS", "600")) // 4
STEPS = st.tuples(st.integers(min_value=0, max_value=len(sources.LINES) - 1), NUMBERS, NUMBERS, NUMBERS)

found: Counter[str] = Counter()


def example(leaf):
    return torch.zeros(leaf.shape, device=leaf.device)


def python(source):
    return lambda _: sources.in_python(source)


def torchscript(source):
    scripted = sources.in_torchscript(source)
    return lambda _: scripted


def exported(source):
    """Anew for each device, which stands in the graph where tensors are made."""

    def make(leaves):
        with keeping_bytes():
            return torch.export.export(sources.Whole(source), tuple(map(example, leaves))).module()

    return make


WAYS = {"python": python, "scripted": torchscript, "exported": exported}


def numbered(make, ledger):
    leaves = [torch.empty(size, device="meta") for size in LEAVES.values()]
    function = make(leaves)
    for name, tensor in zip(LEAVES, leaves, strict=True):
        ledger.name_leaf("input", [(name, tensor, None)])
    with executor_for_meta(), recording(ledger, writable=leaves) as taken:
        results = function(*leaves)
    return None if taken.unprovable else [ledger.result(tensor) for tensor in results]


def computed(make):
    """For each seed, the bits of all results."""
    taken = []
    for seed in SEEDS:
        leaves = inputs(seed)
        function = make(leaves)
        with executor_for_meta(), torch.no_grad():
            taken.append([bits(tensor) for tensor in function(*leaves)])
    return taken


def entered(source, way, ledger, by_number):
    found[way] += 1
    try:
        make = WAYS[way](source)
        numbers = numbered(make, ledger)
        results = computed(make)
    except Exception:  # noqa: BLE001  # what a compiler refuses, or the meta device
        found[f"{way}: refused"] += 1
        return
    if numbers is None:
        found[f"{way}: not proved"] += 1
        return
    for place, number in enumerate(numbers):
        if not ledger.values.is_reproducible(number):
            found["results of chance or unwritten memory"] += 1
            continue
        result = [one[place] for one in results]
        first_way, first, known = by_number.setdefault(number, (way, source, result))
        if (first_way, first) != (way, source):
            found["results of equal numbers"] += place >= len(LEAVES)
            found[f"of these {first_way} and {way}"] += place >= len(LEAVES)
            assert result == known, f"result {place} of {way}\n{source}\nand one of {first_way}\n{first}"


@given(program=st.lists(STEPS, min_size=1, max_size=10), edits=EDITS)
@settings(max_examples=PROGRAMS, deadline=None, suppress_health_check=list(HealthCheck))
def a_program_and_another(program, edits):
    ledger, by_number = Ledger(), {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        written = [sources.written(one, inputs(0)) for one in (program, edited(program, edits))]
        for source in dict.fromkeys(written):
            for way in WAYS:
                entered(source, way, ledger, by_number)
    torch._dynamo.reset()
    forget_everything()


def test_equal_numbers_mean_equal_bits_whoever_captured_the_program():
    found.clear()
    a_program_and_another()
    print(dict(found))
    # A check that finds nothing to compare proves nothing.
    for way in WAYS:
        assert found[f"{way}: refused"] + found[f"{way}: not proved"] < 0.6 * found[way], way
    assert found["of these python and scripted"] > found["scripted"]
    assert found["of these python and exported"] > found["exported"]
