"""Measuring neither accuses what keeps a claim nor confirms what is hidden: models that were once judged wrongly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from conformance.claims import CLAIMS, in_tier
from conformance.decide import decide
from conformance.record import Cell, Evidence, Tier, Verdict
from tests.claims.test_real_only import Branch, with_a
from tests.miniatures.contract import WIDTH, Conv, ConvClassifier, Distilled, config
from tests.miniatures.registration import examining, registered


class FloatLogits(Conv):
    """The logits are cast to float32, which a model in float64 is not asked to keep."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_features(x)
        return self.fc(x.sum((2, 3)) / (x.shape[2] * x.shape[3])).float()


class Float32Constant(Conv):
    """Makes a constant in float32 while it runs."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.guard = Branch()
        self.places = nn.Linear(1, WIDTH)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.guard(super().forward_features(x))
        return x + self.places(torch.linspace(-1, 1, x.shape[2], device=x.device)[:, None]).t()[None, :, :, None]


class CountsPatches(Conv):
    """Knows how many patches the declared images have."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.default_cfg = {**config("fc"), "input_size": (3, 224, 224)}
        self.conv = nn.Conv2d(in_chans, WIDTH, 32, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.forward_features(x).sum((2, 3)) / 49)


class CachesInEval(Conv):
    """`eval()` computes from the weights, which must have been drawn by then."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.biases = nn.Parameter(torch.zeros(WIDTH))
        self.guard = Branch()

    @torch.no_grad()
    def train(self, mode: bool = True) -> CachesInEval:
        super().train(mode)
        self.kept = None if mode else self.biases * 2
        return self

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        kept = self.biases * 2 if self.kept is None else self.kept
        return self.guard(super().forward_features(x) + kept.to(x)[:, None, None])


class Quantile(Conv):
    """A buffer that is a constant: drawn, it would mean nothing."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.register_buffer("q", torch.tensor(0.9))

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = super().forward_features(x)
        return x.clamp(max=float(torch.quantile(x.flatten(), self.q)))


class Shuffled(Conv):
    """A permutation that is made by chance and kept in the state: one model has one."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.register_buffer("order", torch.randperm(WIDTH))
        self.guard = Branch()

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.guard(super().forward_features(x)[:, self.order] * torch.arange(1, WIDTH + 1)[:, None, None])


class Ordered(Shuffled):
    """An order that is computed from the first weights and kept in the state: whatever these were."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.order = self.conv.weight.detach().flatten(1).norm(dim=1).argsort()


class Flipped(Shuffled):
    """Two channels change places or do not, by chance: two builds agree as often as not."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.order = torch.arange(WIDTH).roll(int(np.random.rand() < 0.5))


class SumOfHeads(Distilled):
    """The logits of two heads are added."""

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.pool(x)
        return x if pre_logits else self.fc(x) + self.fc_dist(x)


class KnowsItsDevices(Conv):
    """Refuses the meta device without naming it."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        assert x.device.type in ("cpu", "cuda")
        return super().forward_features(x)


class ReadsWhileBuilt(Conv):
    """Cannot be built on the meta device."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.scale = torch.ones(4).cumsum(0).tolist()[1]

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward_features(x) * self.scale


class NotANumber(Conv):
    """Gives NaN, which equals itself as far as purity goes."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.guard = Branch()

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.guard((super().forward_features(x) * 0 - 1).sqrt())


KEPT = {
    FloatLogits: ("head_composes", "built_headless"),
    Float32Constant: ("forward_features_runs", "head_composes", "reset_to_pooled"),
    CountsPatches: ("head_composes",),
    CachesInEval: ("reset_to_pooled", "built_headless", "head_composes"),
    Quantile: ("forward_features_runs", "deterministic_in_eval"),
    Shuffled: ("reset_to_pooled", "built_headless"),
    Ordered: ("reset_to_pooled", "built_headless"),
    Flipped: ("reset_to_pooled", "built_headless"),
    SumOfHeads: ("classifier_named",),
    with_a(Branch, SumOfHeads): ("classifier_named",),
    KnowsItsDevices: ("forward_features_runs", "head_composes", "deterministic_in_eval"),
    NotANumber: ("head_is_pure",),
}


@pytest.mark.parametrize("make", KEPT, ids=lambda make: make.__name__)
def test_what_keeps_a_claim_is_not_accused(make):
    with examining(make, "kept") as examination:
        cells = {claim: examination.cell(claim) for claim in KEPT[make]}
    assert {claim: cell.verdict for claim, cell in cells.items()} == dict.fromkeys(KEPT[make], Verdict.HOLDS), cells


def test_what_cannot_be_built_on_meta_is_decided_all_the_same():
    with registered(ReadsWhileBuilt) as name:
        record = decide(name, [claim.id for claim in in_tier(Tier.CORE) if claim.group != "torchscript"])
    assert {cell.verdict for cell in record.cells.values()} == {Verdict.HOLDS}
    assert record.class_name == "ReadsWhileBuilt"
    assert set(record.fingerprints.values()) == {None}


class DropsByChance(Conv):
    """Draws a number at each call and mostly does not act on it."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = super().forward_features(x)
        return x * 2 if torch.rand(1) < 1e-6 * float(x.abs().sum() > 0) else x


class SubtractsTheFirst(Conv):
    """The first call keeps a mean, which later ones subtract."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.guard, self.mean = Branch(), None

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.guard(super().forward_features(x))
        if self.mean is None:
            self.mean = x.mean((0, 2, 3), keepdim=True)
            return x
        return x - self.mean


class FitsTheFirst(SubtractsTheFirst):
    """The first call keeps a mean that all calls subtract, the first too: other images would leave another."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.guard(Conv.forward_features(self, x))
        if self.mean is None:
            self.mean = x.mean((0, 2, 3), keepdim=True)
        return x - self.mean


class CoolsDown(Conv):
    """Halves the logits from the hundredth call on."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.guard, self.calls = Branch(), 0

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.pool(x)
        if pre_logits:
            return x
        self.calls += 1
        return self.fc(x) if self.calls < 100 else self.fc(x) / 2


class CoolsDownOnMeta(CoolsDown):
    """The same for a model that runs on the meta device."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.guard = nn.Identity()


class HopsAlongTuples(Conv):
    """Counts its calls by going from one tuple to the next, all of which are kept in a list besides."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.places = [(place, place + 1) for place in range(100)]
        self.place = self.places[0]

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        self.place = self.places[min(self.place[1], 99)]
        x = self.pool(x) * (2 if self.place[0] == 99 else 1)
        return x if pre_logits else self.fc(x)


class ChoosesByChance(Conv):
    """The classifier is applied to every token of a map, and one is chosen; a number is drawn for nothing."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.guard = Branch()

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.guard(x).flatten(2).transpose(1, 2)
        if pre_logits:
            return x[:, 0]
        return self.fc(x)[:, 0 if torch.rand(1) < 2 else 1]


HIDDEN = {
    HopsAlongTuples: ("head_composes", "deterministic_in_eval", "classifier_named"),
    ChoosesByChance: ("classifier_named", "classifier_consistent"),
    DropsByChance: ("deterministic_in_eval", "head_composes"),
    SubtractsTheFirst: ("deterministic_in_eval",),
    FitsTheFirst: ("deterministic_in_eval",),
    CoolsDown: ("head_composes", "classifier_named", "classifier_consistent"),
    CoolsDownOnMeta: ("head_composes", "classifier_named"),
}


@pytest.mark.parametrize("make", HIDDEN, ids=lambda make: make.__name__)
def test_what_is_hidden_is_never_confirmed(make):
    with examining(make) as examination:
        cells = {claim: examination.cell(claim) for claim in HIDDEN[make]}
    assert Verdict.HOLDS not in {cell.verdict for cell in cells.values()}, cells


class NegativeGain(Conv):
    """The maximum is taken before the norm in one place and after it in the other: gains of one sign hide that."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "max") -> None:
        super().__init__(num_classes, in_chans, global_pool)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.norm(self.conv(x).amax((2, 3), keepdim=True)).flatten(1))


class Conjugate(Conv):
    """A complex filter, and its conjugate: real parts alone would be one."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.filter = nn.Parameter(torch.randn(WIDTH, 4, 3, dtype=torch.cfloat))

    def filtered(self, x: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x))
        return self.act(torch.fft.irfft2(torch.fft.rfft2(x) * by, s=x.shape[2:]))

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.filtered(x, self.filter)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.filtered(x, self.filter.conj()))


@pytest.mark.parametrize("make", [NegativeGain, Conjugate], ids=lambda make: make.__name__)
def test_weights_as_training_leaves_them_show_what_others_hide(make):
    with examining(make) as examination:
        cell = examination.cell("head_composes")
    assert (cell.verdict, cell.evidence) == (Verdict.VIOLATED, Evidence.MEASURED)


@pytest.mark.parametrize("make", [ConvClassifier, Distilled], ids=lambda make: make.__name__)
def test_a_remedy_is_found_for_a_model_that_cannot_run_on_meta(make):
    with examining(with_a(Branch, make), make.__name__) as examination:
        remedy = examination.cell("classifier_consistent").remedy
    assert remedy is not None
    assert remedy.evidence is Evidence.MEASURED
    assert "forward_head(features)" not in remedy.code.splitlines()[-1]


class GridAsTuple(Conv):
    """Keeps the sizes of its map at every call, as pyramids of tokens do."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = super().forward_features(x)
        self.grid = (int(x.shape[2]), int(x.shape[3]))
        return x


def test_an_equal_tuple_at_every_call_changes_nothing():
    with examining(GridAsTuple) as examination:
        for claim in ("head_composes", "deterministic_in_eval"):
            assert examination.cell(claim) == Cell(verdict=Verdict.HOLDS, evidence=Evidence.PROVED), CLAIMS[claim]
