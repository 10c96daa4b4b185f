"""What compilers capture is run as they captured it, says in few words why they refuse, and leaves nothing behind."""

from __future__ import annotations

import logging

import pytest
import torch

from conformance.claims import CLAIMS
from conformance.decide import Examination, decide
from conformance.record import Evidence, Verdict
from conformance.subject import capturing
from tests.miniatures.contract import Conv, breaks_compile_matches, breaks_compiles, breaks_export_dynamic_batch
from tests.miniatures.registration import examining

CAPTURE = [claim.id for claim in CLAIMS.values() if claim.group == "capture"]


@pytest.mark.parametrize("name", ["hiera_tiny_224", "levit_128s"])
def test_models_that_torchscript_refuses_or_that_keep_things_are_proved(name):
    cells = decide(name, ["exports", "export_matches", "compile_matches"]).cells
    assert {cell.verdict for cell in cells.values()} == {Verdict.HOLDS}
    assert cells["export_matches"].evidence is cells["compile_matches"].evidence is Evidence.PROVED


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


def test_nothing_is_left_behind():
    disabled = logging.root.manager.disable
    with examining(breaks_compiles) as examination:
        examination.cell("compiles")
    assert logging.root.manager.disable == disabled
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
