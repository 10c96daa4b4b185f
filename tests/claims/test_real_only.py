"""A model that cannot run on the meta device is decided on real tensors: each claim gets the verdict that is true."""

from __future__ import annotations

import contextlib
import functools
import warnings

import pytest
import torch
from torch import nn

from conformance.claims import in_tier
from conformance.record import Cell, Evidence, Tier, Verdict
from tests.miniatures.contract import BREAKERS, LAWFUL, WIDTH, Conv, Tokens
from tests.miniatures.registration import examining


class Branch(nn.Module):
    """Looks at a value to decide what to do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool(x.abs().sum() < 0):
            return x * 2
        return x


class Count(nn.Module):
    """The shape of what it computes depends on values: there is no meta kernel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.nonzero(x.abs() < 0).sum()


WAYS = (Branch, Count)
CORE = [claim.id for claim in in_tier(Tier.CORE)]
"""What compilers refuse because of the branch is not decided here."""


def with_a(way, make):
    """What makes the model that `make` makes, with a layer that meta tensors do not pass."""

    def build(**arguments):
        model = make(**arguments)
        model.norm = nn.Sequential(model.norm, way())
        return model

    return build


@functools.cache
def cells_of(way, make) -> dict[str, Cell]:
    with examining(with_a(way, make), f"{way.__name__}_{make.__name__}") as examination:
        return {claim: examination.cell(claim) for claim in CORE}


@pytest.mark.parametrize("make", LAWFUL, ids=lambda make: make.__name__)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_the_lawful_keep_their_verdicts(way, make):
    found = {claim: cell.verdict for claim, cell in cells_of(way, make).items()}
    expected = {claim: LAWFUL[make].get(claim, Verdict.HOLDS) for claim in CORE}
    assert found == expected


@pytest.mark.parametrize("claim", [claim for claim in CORE if claim != "builds"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_breaker_breaks_its_claim(way, claim):
    assert cells_of(way, BREAKERS[claim])[claim].verdict is Verdict.VIOLATED


class EveryToken(Tokens):
    """The classifier is applied to every token, and the logits of one of them count, or their mean."""

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.fc_norm(x)
        return x[:, 0] if pre_logits else self.head(x)[:, 0]


class MeanOfLogits(EveryToken):
    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.fc_norm(x)
        return x.mean(1) if pre_logits else self.head(x).mean(1)


def test_choosing_a_tokens_logits_computes_nothing_and_averaging_them_does():
    for way in WAYS:
        assert cells_of(way, EveryToken)["classifier_named"].verdict is Verdict.HOLDS
        assert cells_of(way, MeanOfLogits)["classifier_named"].verdict is Verdict.VIOLATED
        assert cells_of(way, MeanOfLogits)["classifier_consistent"].verdict is Verdict.HOLDS


def test_nothing_is_called_proved():
    cells = cells_of(Branch, next(iter(LAWFUL))).values()
    assert Evidence.PROVED not in {cell.evidence for cell in cells}


class Tells(Conv):
    """Says how large what it computes is: text that meta tensors have none of."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = super().forward_features(x)
        self.told = f"{x.mean():.3f}"[:0]
        return x


class Shares(Conv):
    """Puts what it computes where other processes have it."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward_features(x).share_memory_()


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that it is deprecated
    traced = torch.jit.trace(lambda x: x * 2 + 1, torch.ones(2, WIDTH, 4, 4))


class Traced(Conv):
    """Calls what was traced with numbers, which TorchScript's passes do not take under modes."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return traced(super().forward_features(x))


class Counts(Conv):
    """Hands a tensor to C code that wants a number, and has words of its own for one without."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = super().forward_features(x)
        size = torch.Size(((x > x).any().long() + 1, WIDTH))
        return x.unflatten(1, size).flatten(1, 2)


@pytest.mark.parametrize("make", [Tells, Shares, Traced, Counts])
def test_what_torch_refuses_meta_tensors_or_modes_is_no_fault_of_a_models(make):
    with examining(make) as examination:
        violated = {claim for claim in CORE if examination.cell(claim).verdict is Verdict.VIOLATED}
    assert violated == {"scripts"}  # of what TorchScript has nothing for


class Careful(Conv):
    """Tells while it is built whether its weights have numbers, and does otherwise in forward where they have not."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.gain = 1.0
        with contextlib.suppress(RuntimeError):
            self.fc.weight.sum().item()
            self.gain = 2.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x) * self.gain)


def test_nothing_is_proved_of_what_was_built_another_way():
    with examining(Careful) as examination:
        cell = examination.cell("head_composes")
    assert (cell.verdict, cell.evidence) == (Verdict.VIOLATED, Evidence.MEASURED)
