"""What numbers cannot judge stays open: neither a model's dtype, nor a constant's, nor our own rounding accuses it; and
what is measured within float32's bound alone says so.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from conformance.record import Evidence, Verdict
from tests.claims.test_measured import FloatLogits
from tests.claims.test_real_only import Branch
from tests.miniatures.contract import WIDTH, Conv
from tests.miniatures.registration import examining


class Guarded(Conv):
    """Branches on a value, so that only real tensors tell."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.guard = Branch()


class OfFloat32(Guarded):
    """Runs in float32 alone, and its rounding is too large there to tell: both routes are the same code."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.guard(super().forward_features(x))
        return (torch.einsum("bchw,cd->bdhw", x, torch.eye(WIDTH)) + 9e4) - 9e4


class RefusesFloat64(Guarded):
    """Says itself what it is made for."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        if x.dtype == torch.float64:
            raise TypeError("float32 or half, please")
        return (self.guard(super().forward_features(x)) + 9e4) - 9e4


class LooksTwice(Conv):
    """Is sure that the same gives the same, which it does, but for the noise that is put on it."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = super().forward_features(x)
        if not torch.equal(x.mean((2, 3)), x.mean((2, 3))):
            raise AssertionError("not reproducible")
        return x


class TwoConstants(Conv):
    """A constant as a float32 buffer on one route, and as a number of Python's on the other."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.register_buffer("temperature", torch.tensor(0.07), persistent=False)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = x.mean((2, 3))
        return x if pre_logits else self.fc(x) * self.temperature

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.forward_features(x).mean((2, 3))) * 0.07


@pytest.mark.parametrize("make", [OfFloat32, RefusesFloat64, LooksTwice, TwoConstants], ids=lambda make: make.__name__)
def test_a_lawful_model_that_numbers_cannot_judge_is_undecided(make):
    with examining(make, make.__name__) as examination:
        cell = examination.cell("head_composes")
    assert cell.verdict is Verdict.UNDECIDED, cell


def test_what_is_raised_under_our_own_rounding_is_told_as_that():
    with examining(LooksTwice, "twice") as examination:
        reason = examination.cell("deterministic_in_eval").reason
    assert "with other rounding errors it raises AssertionError: not reproducible" in reason


def test_what_holds_within_the_bound_of_float32_says_so():
    with examining(FloatLogits, "float32") as examination:
        cell = examination.cell("head_composes")
    assert (cell.verdict, cell.evidence, cell.witness) == (Verdict.HOLDS, Evidence.MEASURED, {"dtype": "float32"})


class Masked(nn.Linear):
    """Switches classes off by the smallest number that there is."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = super().forward(x)
        off = torch.arange(logits.shape[-1], device=logits.device) < 2
        return logits.masked_fill(off, torch.finfo(torch.float32).min)


class WeighedHeads(Conv):
    """Two heads that are not averaged, with masked classes that would hide any difference in the others."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.default_cfg = {**self.default_cfg, "classifier": ("fc", "fc2")}
        self.fc = Masked(WIDTH, num_classes) if num_classes else nn.Identity()
        self.fc2 = Masked(WIDTH, num_classes) if num_classes else nn.Identity()

    def get_classifier(self) -> tuple[nn.Module, nn.Module]:
        return self.fc, self.fc2

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = x.mean((2, 3))
        return x if pre_logits else self.fc(x) * 0.9 + self.fc2(x) * 0.1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))


def test_large_numbers_confirm_no_remedy_of_the_others():
    with examining(WeighedHeads, "weighed") as examination:
        cell = examination.cell("classifier_consistent")
    assert cell.verdict is Verdict.VIOLATED
    assert cell.remedy is not None
    assert "average" not in cell.remedy.text
