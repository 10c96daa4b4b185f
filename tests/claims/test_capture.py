"""What compilers capture is run as they captured it, says in few words why they refuse, and leaves nothing behind."""

from __future__ import annotations

import gc
import inspect
import logging
from collections import Counter
from typing import Any, ClassVar

import pytest
import torch

from conformance.claims import CLAIMS
from conformance.decide import Examination, decide
from conformance.record import Cell, Evidence, Tier, Verdict
from conformance.subject import Subject, capturing
from tests.miniatures.contract import (
    WIDTH,
    Conv,
    breaks_compile_matches,
    breaks_compiles,
    breaks_export_dynamic_batch,
    breaks_exports,
)
from tests.miniatures.registration import examining

CAPTURE = [claim.id for claim in CLAIMS.values() if claim.group == "capture" and claim.tier is Tier.FULL]


@pytest.mark.filterwarnings("ignore")  # as an examination ignores them
@pytest.mark.parametrize("name", ["hiera_tiny_224", "levit_128s", "qwen3_vit_88m"])
def test_models_that_torchscript_refuses_or_that_keep_or_place_things_are_proved(name):
    subject = Subject(name)  # alone: what is not proved is not measured, which takes minutes
    cells = [CLAIMS[claim].decide(subject) for claim in ("export_matches", "compile_matches", "export_dynamic_batch")]
    subject.close()
    assert {(cell.verdict, cell.evidence) for cell in cells} == {(Verdict.HOLDS, Evidence.PROVED)}


def test_a_compiled_model_that_falls_back_to_itself_is_no_proof(monkeypatch):
    """Compared with itself, what the compiler breaks would hold."""
    monkeypatch.setattr(torch, "compile", lambda model, **_: model)
    with examining(breaks_compile_matches) as examination:
        cell = examination.cell("compiles")
        assert cell.verdict is Verdict.VIOLATED
        assert "torch.compile made 0 graphs of the model" in cell.reason
        assert examination.cell("compile_matches").verdict is Verdict.NOT_APPLICABLE


def test_a_backend_that_gives_something_else_is_caught(monkeypatch):
    """The graph that is recorded is the one that was captured: what it computes is what is compared."""
    compiled = torch.compile

    def tampering(model, *, backend, **options):
        def other(graph, inputs):
            for node in graph.graph.nodes:
                if node.target is torch.nn.functional.linear or "linear" in str(node.target):
                    with graph.graph.inserting_after(node):
                        doubled = graph.graph.call_function(torch.add, (node, node))
                    node.replace_all_uses_with(
                        doubled, delete_user_cb=lambda user, doubled=doubled: user is not doubled
                    )
            graph.recompile()
            return backend(graph, inputs)

        return compiled(model, backend=other, **options)

    monkeypatch.setattr(torch, "compile", tampering)
    with examining(Conv) as examination:
        assert examination.cell("compiles").verdict is Verdict.HOLDS
        assert examination.cell("compile_matches").verdict is Verdict.VIOLATED


def test_a_refusal_is_one_line_with_the_place_in_the_source():
    with examining(breaks_compiles) as examination:
        reason = examination.cell("compiles").reason
    assert reason.startswith(
        "NotCaptured: Unsupported: Call to `torch._dynamo.graph_break()`: User-inserted graph break."
    )
    assert "contract.py:" in reason
    with examining(breaks_export_dynamic_batch) as examination:
        assert "Constraints violated (batch)!" in examination.cell("export_dynamic_batch").reason


def test_a_branch_on_a_value_is_refused_by_each_and_nothing_is_printed(capfd):
    class Branching(Conv):
        def forward_features(self, x: torch.Tensor) -> torch.Tensor:
            x = super().forward_features(x)
            return -x if x.sum() > 1e9 else x

    with examining(Branching) as examination:
        cells = {claim: examination.cell(claim) for claim in CAPTURE}
    assert {claim for claim, cell in cells.items() if cell.verdict is Verdict.VIOLATED} == {
        "exports", "compiles", "fx_traces",
    }  # fmt: skip
    assert {cell.verdict for cell in cells.values()} == {Verdict.VIOLATED, Verdict.NOT_APPLICABLE}
    out, err = capfd.readouterr()
    assert "GuardOnDataDependent" not in out + err
    assert "forward" not in out + err


class Constants(Conv):
    """Computes with a list, and with something that is computed from a buffer that is not saved alone."""

    order: ClassVar = list(range(WIDTH))
    captured: ClassVar = order

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.register_buffer("spread", torch.linspace(1, 2, WIDTH), persistent=False)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        by = self.spread.sqrt() + 1
        x = super().forward_features(x)
        is_captured = torch.compiler.is_exporting() or not isinstance(x, torch.Tensor)
        return x[:, self.captured if is_captured else self.order] * by[:, None, None]


class Reordered(Constants):
    captured: ClassVar = [1, 0, *range(2, WIDTH)]


def test_constants_keep_their_bytes_in_what_is_captured():
    with examining(Constants) as examination:
        cells = [examination.cell(claim) for claim in ("export_matches", "export_dynamic_batch", "fx_matches")]
    assert cells == [Cell(verdict=Verdict.HOLDS, evidence=Evidence.PROVED)] * 3


@pytest.mark.parametrize("claim", ["export_matches", "export_dynamic_batch", "fx_matches"])
def test_other_constants_are_another_program(claim):
    with examining(Reordered) as examination:
        cell = examination.cell(claim)
    assert (cell.verdict, cell.evidence) == (Verdict.VIOLATED, Evidence.MEASURED), cell.reason


def test_nothing_is_left_behind():
    disabled, no_traces = logging.root.manager.disable, torch.fx.config.do_not_emit_stack_traces
    collects = torch._dynamo.config.run_gc_after_compile
    with examining(breaks_compiles) as examination:
        examination.cell("compiles")
    assert logging.root.manager.disable == disabled
    assert torch.fx.config.do_not_emit_stack_traces == no_traces
    assert torch._dynamo.config.run_gc_after_compile == collects
    assert torch.is_grad_enabled()
    from torch._dynamo.eval_frame import cached_backends

    assert not cached_backends


@pytest.mark.parametrize(
    ("first", "second"), [("test_vit", "test_vit2"), ("naflexvit_base_patch16_gap", "test_resnet")]
)
def test_a_model_that_was_captured_before_changes_nothing(first, second):
    alone = decide(second, CAPTURE).cells
    decide(first, CAPTURE)
    assert decide(second, CAPTURE).cells == alone
    assert decide(second, reversed(CAPTURE)).cells == alone


@pytest.mark.parametrize("claim", [*CAPTURE, "onnx_exports"])
def test_no_captured_program_outlives_its_subject(claim):
    def alive() -> Counter[type]:
        with examining(Conv) as examination:
            assert examination.cell(claim).verdict is Verdict.HOLDS
        del examination
        gc.collect()
        kinds = (torch.fx.GraphModule, torch.export.ExportedProgram, Conv)
        # `type` and not `isinstance`, which asks an object for its class: some answer with more than that.
        return Counter(type(thing) for thing in gc.get_objects() if issubclass(type(thing), kinds))

    first = alive()
    assert alive().total() == first.total()
    assert Conv not in first


def test_generated_sources_of_others_stay():
    def doubled(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    graph = torch.fx.symbolic_trace(doubled)
    with examining(Conv) as examination:
        examination.cell("exports")
        examination.cell("fx_traces")
    assert "x * 2" in inspect.getsource(graph.forward)


def test_what_onnx_cannot_hold_is_refused_with_the_place_in_the_source():
    with examining(breaks_exports) as examination:
        cell = examination.cell("onnx_exports")
    assert (cell.verdict, cell.evidence) == (Verdict.VIOLATED, Evidence.OBSERVED)
    assert "not for export" in cell.reason
    assert len(cell.reason) < 600


def test_memory_that_runs_out_is_not_the_compilers_refusal(monkeypatch):
    def export(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(torch.export, "export", export)
    with examining(Conv) as examination:
        assert examination.cell("exports").verdict is Verdict.UNDECIDED


def test_a_capture_starts_from_a_model_of_its_own():
    examination = Examination("levit_128s")
    capturing.compiled_forward(examination.subject)
    cache = examination.subject.headed.stages[0].blocks[0].attn.attention_bias_cache
    assert all(type(kept) is torch.Tensor for kept in cache.values())
    examination.close()


def test_a_refusal_of_a_model_that_is_too_large_for_real_tensors_is_believed(monkeypatch):
    def measured(*_: object, **__: object) -> Cell:
        raise MemoryError

    monkeypatch.setattr("conformance.decide.measured", measured)
    with examining(breaks_compiles) as examination:
        cell = examination.cell("compiles")
    assert cell.verdict is Verdict.VIOLATED
    assert "graph break" in cell.reason
