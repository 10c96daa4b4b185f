"""A printed program shows a violation to whoever has torch and timm, and finds none in a model that keeps the claim."""

from __future__ import annotations

import subprocess
import sys

import pytest
import timm

from conformance.claims import CLAIMS
from conformance.claims.witness import program
from conformance.decide import decide
from tests.miniatures.contract import BREAKERS, PYRAMIDS, Conv, Pyramid
from tests.miniatures.registration import registered

SHOWN = {
    "forward_head gives other numbers": ("shvit_s1", "classifier_consistent"),
    "a tuple cannot be called": ("deit_tiny_distilled_patch16_224", "classifier_consistent"),
    "a call that raises": ("dla46_c", "classifier_consistent"),
    "another shape": ("lcnet_050", "unpooled_reset"),
    "another width": ("lcnet_050", "pooled_width_is_num_features"),
    "a list": ("crossvit_9_240", "features_width"),
    "the compiler refuses": ("selecsls42", "scripts"),
    "saving refuses": ("mobilevitv2_050", "script_round_trips"),
    "something is computed after the classifier": ("efficientvim_m1", "classifier_named"),
}
"""Kinds of causes in timm 1.0.31, each with a small model and its claim."""


def outcome(model: str, claim: str, witness: dict | None = None) -> int:
    """The exit status of the program, run in this process."""
    source = program(CLAIMS[claim], model, timm.__version__, witness=witness)
    try:
        exec(compile(source, "<program>", "exec"), {"__name__": "__main__"})
    except SystemExit as ended:
        return int(ended.code is not None and ended.code is not False and ended.code != 0)
    except Exception:  # noqa: BLE001  # as the interpreter has it: a traceback, and 1
        return 1
    finally:
        import torch

        torch.set_grad_enabled(True)
    return 0


@pytest.mark.parametrize("kind", SHOWN)
def test_a_program_shows_the_violation_on_its_own(kind):
    model, claim = SHOWN[kind]
    source = program(CLAIMS[claim], model, timm.__version__)
    assert "conformance" not in source
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", source], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert ended.stdout + ended.stderr


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.filterwarnings("ignore")
def test_a_model_that_keeps_the_claim_ends_well(claim):
    with registered(Pyramid if claim in PYRAMIDS else Conv) as name:
        assert outcome(name, claim) == 0


@pytest.mark.parametrize("claim", BREAKERS)
@pytest.mark.filterwarnings("ignore")
def test_every_claim_has_a_program_that_shows_its_breaker(claim):
    with registered(BREAKERS[claim], claim) as name:
        assert outcome(name, claim, decide(name, [claim]).cells[claim].witness) == 1
