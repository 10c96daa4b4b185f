"""What numbers cannot judge stays open: neither a model's dtype, nor a constant's, nor our own rounding accuses it; and
what is measured within float32's bound alone says so.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

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


class AmplifiedConstant(Conv):
    """A logit scale as a float32 buffer and as a number, both of which an exponential makes larger."""

    scale = math.log(73)

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.register_buffer("log_scale", torch.tensor(self.scale), persistent=False)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = x.mean((2, 3))
        return x if pre_logits else self.fc(x) * self.log_scale.exp()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.fc(self.forward_features(x).mean((2, 3)))
        return logits * torch.full((), self.scale, dtype=logits.dtype, device=logits.device).exp()


class ConstantInPlace(Guarded):
    """A constant as a float32 buffer that is multiplied with in place, and as a number, both made larger."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.register_buffer("temperature", torch.tensor(8.07), persistent=False)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.guard(x).mean((2, 3))
        return x if pre_logits else self.fc(x).fill_(1).mul_(self.temperature).exp() * self.fc(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.fc(self.guard(self.forward_features(x)).mean((2, 3)))
        return torch.full_like(logits, 8.07).exp() * logits


class PositiveGain(Conv):
    """Says that its power must be positive, as training keeps it and a drawn one need not be."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.power = nn.Parameter(torch.full((WIDTH,), 3.0))

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        if bool((self.power <= 0).any()):
            raise ValueError("the power must be positive")
        return super().forward_features(x).clamp(min=1e-6).pow(self.power[:, None, None])


class WithNumber(Guarded):
    """Gives a number besides that rounds as it is computed."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.guard(super().forward_features(x))

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = x.mean((2, 3))
        return x if pre_logits else (self.fc(x), float(x.norm()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_features(x)
        x = x.sum((2, 3)) / (x.shape[2] * x.shape[3])
        return self.fc(x), float(x.square().sum().sqrt()) + 1e-9


@pytest.mark.parametrize(
    "make",
    [OfFloat32, RefusesFloat64, LooksTwice, TwoConstants, AmplifiedConstant, ConstantInPlace, WithNumber],
    ids=lambda make: make.__name__,
)
def test_a_lawful_model_that_numbers_cannot_judge_is_undecided(make):
    with examining(make, make.__name__) as examination:
        cell = examination.cell("head_composes")
    assert cell.verdict is Verdict.UNDECIDED, cell


def test_what_is_raised_of_drawn_weights_alone_is_told_as_that():
    with examining(PositiveGain, "gain") as examination:
        cell = examination.cell("forward_features_runs")
    assert cell.verdict is Verdict.UNDECIDED
    assert "the power must be positive; but only with weights that were drawn for this" in cell.reason


def test_what_is_raised_under_our_own_rounding_is_told_as_that():
    with examining(LooksTwice, "twice") as examination:
        reason = examination.cell("deterministic_in_eval").reason
    assert "with other rounding errors it raises AssertionError: not reproducible" in reason


def test_what_holds_within_the_bound_of_float32_says_so():
    with examining(FloatLogits, "float32") as examination:
        cell = examination.cell("head_composes")
    assert (cell.verdict, cell.evidence, cell.witness) == (Verdict.HOLDS, Evidence.MEASURED, {"dtype": "float32"})


class CastsInside(Conv):
    """Normalises in float32, whatever it is given, with another epsilon on each route."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.norm32 = nn.LayerNorm(WIDTH)

    def normalised(self, x: torch.Tensor, eps: float) -> torch.Tensor:
        weight, bias = self.norm32.weight.float(), self.norm32.bias.float()
        return F.layer_norm(8 * super().forward_features(x).permute(0, 2, 3, 1).float(), (WIDTH,), weight, bias, eps)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.normalised(x, 1e-6).to(x.dtype).permute(0, 3, 1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.normalised(x, 1e-5).to(x.dtype).permute(0, 3, 1, 2))


def test_what_is_computed_in_float32_inside_says_so():
    with examining(CastsInside, "casts") as examination:
        cell = examination.cell("head_composes")
    assert cell.verdict is not Verdict.VIOLATED
    assert cell.verdict is Verdict.UNDECIDED or cell.witness == {"dtype": "float32"}


class HalfOnOneRoute(Conv):
    """Rounds to bfloat16 on one route: that is no matter of float32."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.forward_features(x)
        return self.fc(features.mean((2, 3)).to(torch.bfloat16).to(features.dtype))


class Imaginary(Conv):
    """Complex logits that differ in the imaginary part alone."""

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = x.mean((2, 3))
        return x if pre_logits else torch.complex(self.fc(x), self.fc(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.fc(self.forward_features(x).mean((2, 3)))
        return torch.complex(logits, -3 * logits)


class OtherKeys(Conv):
    """Gives under one name what it promises under another."""

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = x.mean((2, 3))
        return x if pre_logits else {"a": self.fc(x), "b": 2 * self.fc(x)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.fc(self.forward_features(x).mean((2, 3)))
        return {"b": logits, "a": 2 * logits}


@pytest.mark.parametrize("make", [HalfOnOneRoute, Imaginary, OtherKeys], ids=lambda make: make.__name__)
def test_differences_of_every_kind_are_seen(make):
    with examining(make, make.__name__) as examination:
        cell = examination.cell("head_composes")
    assert (cell.verdict, cell.evidence) == (Verdict.VIOLATED, Evidence.MEASURED), cell


class SameKeys(OtherKeys):
    """The same under each name, in another order, and computed otherwise."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_features(x)
        logits = self.fc(x.sum((2, 3)) / (x.shape[2] * x.shape[3]))
        return {"b": 2 * logits, "a": logits}


class TiedHead(Conv):
    """A classifier that shares its weight with the backbone, by a name that the model without classes lacks."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes and WIDTH, in_chans, global_pool)
        self.projection = nn.Linear(WIDTH, WIDTH, bias=False)
        if num_classes:
            self.fc = nn.Linear(WIDTH, WIDTH, bias=False)
            self.fc.weight = self.projection.weight

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.projection(super().forward_features(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@pytest.mark.parametrize(("make", "claim"), [(SameKeys, "head_composes"), (TiedHead, "built_headless")])
def test_lawful_models_hold(make, claim):
    with examining(make, make.__name__) as examination:
        cell = examination.cell(claim)
    assert (cell.verdict, cell.witness) == (Verdict.HOLDS, None), cell


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


class MaskedByImage(Conv):
    """Masks the class that the image itself chooses, and is wrong about all others."""

    def masked(self, logits: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        if not self.num_classes:
            return others
        off = torch.arange(logits.shape[1], device=logits.device)[None] == logits.argmin(1)[:, None]
        return torch.where(off, torch.full_like(logits, -1e30), others)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = x.mean((2, 3))
        return x if pre_logits else self.masked(self.fc(x), self.fc(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.fc(self.forward_features(x).mean((2, 3)))
        return self.masked(logits, 2 * logits + 1)


def test_large_numbers_that_depend_on_the_images_hide_nothing():
    with examining(MaskedByImage, "by image") as examination:
        cell = examination.cell("head_composes")
    assert cell.verdict in (Verdict.VIOLATED, Verdict.UNDECIDED)


def test_large_numbers_confirm_no_remedy_of_the_others():
    with examining(WeighedHeads, "weighed") as examination:
        cell = examination.cell("classifier_consistent")
    assert cell.verdict is Verdict.VIOLATED
    assert cell.remedy is not None
    assert "average" not in cell.remedy.text
