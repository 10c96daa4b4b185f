"""Equal numbers mean equal bits: programs of real operations, each beside one that was changed a little.

`SOUNDNESS_PROGRAMS` in the environment says how many pairs are tried; `nox -s soundness` tries many more.
"""

from __future__ import annotations

import itertools
import os
import warnings
from collections import Counter

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conformance.engine.ledger import Ledger
from conformance.engine.outside import recording
from tests.engine import programs
from tests.engine.programs import LEAVES, Machine

SEEDS = (0, 1)
PAIRS = int(os.environ.get("SOUNDNESS_PROGRAMS", "600"))
NUMBERS = st.integers(min_value=0, max_value=63)
STEPS = st.tuples(st.integers(min_value=0, max_value=len(programs.NAMES) - 1), NUMBERS, NUMBERS, NUMBERS)
PROGRAMS = st.lists(STEPS, min_size=1, max_size=14)
EDITS = st.lists(
    st.tuples(st.integers(min_value=0, max_value=13), st.integers(min_value=0, max_value=5), STEPS), max_size=3
)

found: Counter[str] = Counter()
"""What was seen: a check that finds nothing to compare proves nothing."""


def edited(program, edits):
    """The program with some steps changed, left out, repeated, put in, or given another operand or constant."""
    program = list(program)
    for place, kind, step in edits:
        place %= max(len(program), 1)
        old = program[place] if program else step
        other_operand, other_constant = (old[0], step[1], old[2], old[3]), (*old[:3], step[3])
        changed = ([step], [], [old, old], [old, step], [other_operand], [other_constant])[kind]
        program[place : place + 1] = changed
    return program


def on_real_tensors(program):
    """Which steps can be done, and for each seed the registers at the end of these alone: one that fails may have
    written. None if what can be done depends on values or on what failed.
    """
    flags = [programs.run(program, machine(seed)) for seed in SEEDS]
    if any(other != flags[0] for other in flags):
        return None
    taken = []
    for seed in SEEDS:
        ended = machine(seed)
        try:
            programs.run(program, ended, only=flags[0])
        except Exception:  # noqa: BLE001  # it needed what a step did before it failed
            return None
        taken.append([programs.bits(tensor) for tensor in ended.registers])
    return flags[0], taken


def machine(seed):
    chance = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
    return Machine("cpu", programs.inputs(seed), chance)


def numbered(program, done, ledger):
    """The numbers of the registers at the end, or None if nothing can be proved from the program."""
    leaves = [torch.empty(size, device="meta") for size in LEAVES.values()]
    for name, tensor in zip(LEAVES, leaves, strict=True):
        ledger.name_leaf("input", [(name, tensor, None)])
    numbering = Machine("meta", list(leaves))
    try:
        with recording(ledger, writable=leaves) as taken:
            programs.run(program, numbering, only=done)
        if taken.unprovable:
            return None
        return [ledger.result(tensor) for tensor in numbering.registers]
    except Exception:  # noqa: BLE001  # the meta device refuses more than the CPU does: nothing is proved then
        return None


def entered(program, ledger, by_number):
    """Number a program and run it, and hold each of its results against those of the same number."""
    found["programs"] += 1
    found["steps"] += len(program)
    real = on_real_tensors(program)
    if real is None:
        found["what can be done depends on values"] += 1
        return
    done, taken = real
    found["steps done"] += sum(done)
    numbers = numbered(program, done, ledger)
    if numbers is None:
        found["not proved"] += 1
        return
    for place, number in enumerate(numbers):
        if not ledger.values.is_reproducible(number):
            found["results of chance or unwritten memory"] += 1
            continue
        result = [registers[place] for registers in taken]
        first, known = by_number.setdefault(number, (program, result))
        if first is not program:
            found["results of equal numbers"] += place >= len(LEAVES)
            assert result == known, f"{named(program)} and {named(first)} have equal numbers and other results"


def named(program):
    return [(programs.NAMES[step[0]], *step[1:]) for step in program]


@given(program=PROGRAMS, edits=EDITS)
@settings(max_examples=PAIRS, deadline=None, suppress_health_check=list(HealthCheck))
def a_program_and_another(program, edits):
    ledger, by_number = Ledger(), {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for one in (program, edited(program, edits)):
            entered(one, ledger, by_number)


CONSTANTS = range(16)


def test_every_operation_beside_every_other():
    """One step each: every operation with every constant, on operands that lie in memory in several ways."""
    ledger, by_number = Ledger(), {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, number in itertools.product(range(len(programs.NAMES)), CONSTANTS):
            for operands in ((0, 1), (1, 0), (0, 0), (3, 3), (3, 2)):
                entered([(name, *operands, number)], ledger, by_number)


LOOKING = [
    programs.NAMES.index(name) for name in ("transpose", "permute", "slice", "strided", "expand", "neg view", "unfold")
]


def test_every_operation_before_and_after_another_look():
    """Two steps: what is done to another look at memory, and looks at what was done."""
    ledger, by_number = Ledger(), {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for look, name in itertools.product(LOOKING, range(len(programs.NAMES))):
            for number, operand in itertools.product((0, 1, 4, 5), (0, 3)):
                seen = len(LEAVES)
                entered([(look, operand, 1, number), (name, seen, seen, number)], ledger, by_number)
                entered([(look, operand, 1, number), (name, operand, seen, number)], ledger, by_number)
                entered([(name, operand, 1, number), (look, seen, 1, number)], ledger, by_number)


def test_equal_numbers_mean_equal_bits():
    found.clear()
    a_program_and_another()
    print(dict(found))
    # A check that finds nothing to compare proves nothing.
    assert found["results of equal numbers"] > found["programs"]
    assert found["steps done"] > 0.8 * found["steps"]
    assert found["not proved"] < found["programs"] / 2
