"""Deciding a subject: exceptions are verdicts, prerequisites are named, nothing depends on what was decided before."""

from __future__ import annotations

import errno
import time

import msgspec
import pytest
import torch

import conformance.decide as decide_module
from conformance.claims import CLAIMS, in_tier
from conformance.claims.claim import Claim
from conformance.decide import Examination, cell_of, decide, normalised
from conformance.record import Cell, Evidence, Record, Tier, Verdict, encode
from conformance.subject import Subject
from tests.claims.test_real_only import Branch, with_a
from tests.miniatures.contract import BREAKERS, Conv, breaks_builds, breaks_head_composes
from tests.miniatures.registration import examining, registered

CORE = [claim.id for claim in in_tier(Tier.CORE)]


def raises(error: BaseException):
    """A model whose forward_features raises."""

    class Raising(Conv):
        def forward_features(self, x: torch.Tensor) -> torch.Tensor:
            raise error

    return Raising


def cell_of_model(error: BaseException) -> Cell:
    with examining(raises(error), "raising") as examination:
        return examination.cell("forward_features_runs")


# Exceptions


@pytest.mark.parametrize("error", [ValueError("seven"), TypeError(), RecursionError("deep"), AssertionError("no")])
def test_what_a_model_raises_is_a_violation(error):
    cell = cell_of_model(error)
    assert (cell.verdict, cell.evidence) == (Verdict.VIOLATED, Evidence.OBSERVED)
    assert cell.reason.startswith(f"{type(error).__name__}: {error}".strip())
    assert cell.cause


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("shape (2, 197, 768) against 12", "shape (1, 50, 192) against 3"),
        ("no attribute 'fc_norm'", "no attribute 'head'"),
        ('expected "a"', 'expected "another"'),
        ("object at 0x7f00dead", "object at 0x12ab"),
        ("broken\n   over lines", "broken over   lines"),
    ],
)
def test_alike_failures_have_one_cause(left, right):
    assert cell_of(RuntimeError(left)).cause == cell_of(RuntimeError(right)).cause


def test_other_failures_have_other_causes():
    causes = {
        cell_of(error).cause
        for error in (RuntimeError("one"), RuntimeError("another"), ValueError("one"), RuntimeError(), KeyError("one"))
    }
    assert len(causes) == 5


def test_the_cause_does_not_depend_on_the_model():
    with (
        examining(raises(ValueError("size 3")), "first") as first,
        examining(raises(ValueError("size 4")), "second") as other,
    ):
        assert first.cell("forward_features_runs").cause == other.cell("forward_features_runs").cause


@pytest.mark.parametrize("place", ["timm/layers/norm.py", "torch/nn/functional.py"])
def test_a_reason_names_files_of_packages_without_the_machine(place):
    text = f'Unknown builtin op:\n  File "/home/somebody/site-packages/{place}", line 12\n  x = y\n  ~~~~ <--- HERE'
    cell = cell_of(RuntimeError(text))
    assert cell.reason == f"RuntimeError: Unknown builtin op ({place}:12)"


@pytest.mark.parametrize(
    "error",
    [
        ImportError("cannot import 'a' from 'timm' (/home/somebody/envs/dev/lib/python3.11/site-packages/timm/x.py)"),
        FileNotFoundError(2, "No such file or directory", "/home/somebody/.cache/weights.pth"),
        OSError("cannot open C:\\Users\\somebody\\weights.pth"),
    ],
    ids=["import", "file", "windows"],
)
def test_a_reason_is_free_of_machine_paths(error):
    assert "somebody" not in cell_of(error).reason


def test_where_something_lies_in_memory_is_no_part_of_a_reason():
    reasons = {cell_of(ValueError(f"cannot use {object()!r}")).reason for _ in range(20)}
    assert reasons == {"ValueError: cannot use <object object at 0x…>"}


def test_the_same_failure_on_two_machines_has_one_cause():
    left, right = (ImportError(f"cannot import a from timm (/home/{who}/site-packages/timm/x.py)") for who in "ab")
    assert cell_of(left).cause == cell_of(right).cause


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 7 GiB"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory: you tried 8 bytes"
        ),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_memory_that_ran_out_is_the_machines_affair(error):
    cell = cell_of_model(error)
    assert cell.verdict is Verdict.UNDECIDED
    assert cell.reason.startswith("memory ran out")
    assert cell.cause == cell_of(MemoryError()).cause


def test_memory_that_is_only_spoken_of_did_not_run_out():
    assert cell_of_model(RuntimeError("the layout of memory is not what this asks for")).verdict is Verdict.VIOLATED


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "/tmp/model.pt"),
        OSError(errno.EMFILE, "Too many open files"),
        RuntimeError("PytorchStreamWriter failed writing file data/0: No space left on device"),
    ],
)
def test_a_full_disk_is_the_machines_affair_too(error):
    cell = cell_of_model(error)
    assert cell.verdict is Verdict.UNDECIDED
    assert "the system refused what was asked of it" in cell.reason


def test_what_memory_is_too_small_to_measure_is_undecided_with_the_figure(monkeypatch):
    def measured(*_: object) -> Cell:
        raise MemoryError

    monkeypatch.setattr("conformance.decide.measured", measured)
    with examining(BREAKERS["head_composes"], "large") as examination:
        cell = examination.cell("head_composes")
    assert cell.verdict is Verdict.UNDECIDED
    assert "different operations" in cell.reason
    assert cell.reason.endswith("memory ran out while it was measured: one copy of its weights takes 0.0 GB in float32")
    assert cell.cause == cell_of(MemoryError()).cause


def test_what_is_too_large_for_float64_is_measured_in_float32_whatever_the_memory(monkeypatch):
    monkeypatch.setattr(decide_module, "LARGEST_IN_DOUBLE", 0)
    with examining(with_a(Branch, Conv), "large") as examination:
        expected = Cell(verdict=Verdict.HOLDS, evidence=Evidence.MEASURED, witness={"dtype": "float32"})
        assert examination.cell("head_composes") == expected


def test_what_fits_in_float32_alone_is_measured_in_float32(monkeypatch):
    def measured(claim: Claim, subject: Subject, precision: torch.dtype, *seeds: object) -> Cell:
        if precision == torch.float64:
            raise MemoryError
        return in_full(claim, subject, precision, *seeds)

    in_full = decide_module.measured
    monkeypatch.setattr(decide_module, "measured", measured)
    with examining(with_a(Branch, Conv), "large") as examination:
        expected = Cell(verdict=Verdict.HOLDS, evidence=Evidence.MEASURED, witness={"dtype": "float32"})
        assert examination.cell("head_composes") == expected


def test_memory_that_ran_out_below_another_error_is_memory_all_the_same():
    error = RuntimeError("could not run")
    error.__cause__ = MemoryError()
    assert cell_of(error).verdict is Verdict.UNDECIDED


def with_notes(*notes: object) -> Exception:
    error = RuntimeError("noted")
    error.__notes__ = list(notes)
    return error


class Wordless(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


HOSTILE = {
    "empty": RuntimeError(),
    "blank": RuntimeError(" \n\t "),
    "lone surrogate": RuntimeError("half a \ud83d"),
    "control characters": RuntimeError("\x00\x1b[31mred\x07"),
    "a megabyte": RuntimeError("x" * 1_000_000),
    "a megabyte of lines": RuntimeError("line\n" * 200_000),
    "not text": RuntimeError(b"\xff\xfe", {1: object}),
    "a lone surrogate in a note": with_notes("\ud800"),
    "looks like a place": RuntimeError('File "timm/'),
    "percent and braces": RuntimeError("%s %d {0} {x!r}"),
    "says nothing but raises": Wordless(),
    "a note that is a number": with_notes(3),
    "a note of a megabyte": with_notes("x" * 1_000_000),
}


@pytest.mark.parametrize(
    "error",
    [
        *(pytest.param(error, id=name) for name, error in HOSTILE.items()),
    ],
)
def test_whatever_an_exception_says_it_becomes_a_short_reason_that_can_be_written(error):
    cell = cell_of_model(error)
    assert cell.verdict is Verdict.VIOLATED
    assert cell.reason.strip()
    assert len(cell.reason) < 1000
    assert "\n" not in cell.reason
    line = encode(Record(model="m", cells={"forward_features_runs": cell}))
    assert msgspec.json.decode(line, type=Record).cells["forward_features_runs"] == cell


def test_a_long_text_takes_no_long_time():
    error = RuntimeError('File "' + "timm/" * 5000)
    started = time.process_time()
    cell_of(error)
    assert time.process_time() - started < 0.2


def test_what_ends_the_process_is_not_swallowed():
    for error in (KeyboardInterrupt(), SystemExit(3)):
        with pytest.raises(type(error)):
            cell_of_model(error)


def test_normalising_twice_changes_nothing():
    message = "shape (2, 3) at 0x7f for 'x' and \"y\""
    assert normalised(normalised(message)) == normalised(message)


# Prerequisites


def test_a_claim_whose_prerequisite_fails_does_not_apply_and_names_it():
    with examining(breaks_builds) as examination:
        for claim in CLAIMS:
            if claim == "builds":
                continue
            cell = examination.cell(claim)
            assert cell.verdict is Verdict.NOT_APPLICABLE
            need = next(need for need in CLAIMS[claim].needs if examination.cells[need].verdict is not Verdict.HOLDS)
            assert cell.reason.startswith(f"needs {need}, which ")
        assert examination.cell("forward_features_runs").reason == "needs builds, which is violated"


def test_one_fault_of_building_is_one_red_cell():
    with registered(breaks_builds) as name:
        record = decide(name, CORE)
    assert [claim for claim, cell in record.cells.items() if cell.verdict is Verdict.VIOLATED] == ["builds"]
    assert record.class_name is None
    assert record.fingerprints == {}


def test_one_fault_of_forward_features_is_one_red_cell():
    with registered(raises(ValueError("seven")), "raising") as name:
        record = decide(name, CORE)
    red = [claim for claim, cell in record.cells.items() if cell.verdict is Verdict.VIOLATED]
    # The compiler refuses the source of this miniature on its own.
    assert red == ["forward_features_runs", "scripts"]


def test_a_cell_that_is_known_is_taken_as_it_is():
    known = Cell(verdict=Verdict.VIOLATED, evidence=Evidence.OBSERVED, reason="the process died", cause="SIGSEGV")
    with registered(Conv) as name:
        examination = Examination(name, {"forward_features_runs": known})
        assert examination.cell("forward_features_runs") == known
        assert examination.cell("head_composes").verdict is Verdict.NOT_APPLICABLE
        assert examination.describe().fingerprints == dict.fromkeys(("features", "pre_logits", "logits"))
        examination.close()


# Records


def test_every_verdict_but_holds_has_a_reason_and_every_failure_a_cause():
    with registered(breaks_head_composes) as name:
        for cell in decide(name, CORE).cells.values():
            assert (cell.reason is None) is (cell.verdict is Verdict.HOLDS)
            assert (cell.cause is not None) is (cell.verdict in (Verdict.VIOLATED, Verdict.UNDECIDED))


# Order

MODELS = ["resnet18", "levit_128s", "vit_tiny_patch16_224", "convit_tiny", "hiera_tiny_224", "test_convnext"]
ALONE = [
    "keeps_dtype",
    "reset_to_classes",
    "unpooled_reset",
    "classifier_named",
    "uses_all_parameters",
    "script_matches",
]
"""A claim that is decided alone, for each model: those that change the most or share the most."""


SLOW = {"convit_tiny"}
"""Models whose constants are large: spared the script."""


def told(record: Record) -> dict[str, object]:
    """All that a record says but what it cost."""
    return msgspec.structs.asdict(msgspec.structs.replace(record, cost={}))


@pytest.mark.parametrize(("name", "claim"), list(zip(MODELS, ALONE, strict=True)))
def test_neither_the_order_of_claims_nor_their_company_matters(name, claim):
    claims = [claim for claim in CORE if name not in SLOW or CLAIMS[claim].group != "torchscript"]
    together = told(decide(name, claims))
    backwards = told(decide(name, reversed(claims)))
    assert backwards["cells"] == together["cells"]
    assert backwards == together
    alone = told(decide(name, [claim]))
    assert alone["cells"] == {claim: together["cells"][claim]}
    assert alone["fingerprints"] == together["fingerprints"]


@pytest.mark.parametrize(
    ("first", "second"), [("selecsls42", "selecsls42b"), ("hrnet_w18_small", "hrnet_w18_small_v2")]
)
def test_a_model_that_failed_before_changes_nothing(first, second):
    """After a script that failed, TorchScript refuses the next model of the family unless its state is cleared."""
    claims = ["scripts", "script_matches"]
    alone = told(decide(second, claims))
    decide(first, ["scripts"])
    after = told(decide(second, claims))
    assert after == alone
    assert None not in after["fingerprints"].values()


def test_miniatures_give_the_same_cells_in_every_order_and_alone():
    with registered(Conv) as name:
        together = told(decide(name, CORE))
        assert told(decide(name, reversed(CORE))) == together
        for claim in CORE:
            alone = told(decide(name, [claim]))
            assert alone["cells"] == {claim: together["cells"][claim]}
            assert alone["fingerprints"] == together["fingerprints"]
