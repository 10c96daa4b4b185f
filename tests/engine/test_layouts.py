"""Computations that differ in how things lie in memory alone get one number, and no others do."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from conformance.engine.layouts import without_layouts
from conformance.engine.outside import OTHER_THREAD
from conformance.subject.passes import PAUSE
from tests.engine.conftest import Numbering

View = Callable[[torch.Tensor], torch.Tensor]


def first_row_zeroed(x: torch.Tensor) -> torch.Tensor:
    x = x.clone()
    x[0].zero_()
    return x


RAMP = torch.arange(24.0).view(4, 6)

ALIKE: dict[str, tuple[View, View]] = {
    "a copy": (lambda x: x.t().relu(), lambda x: x.t().contiguous().relu()),
    "a copy of a copy": (lambda x: x.view(2, 2, 6).permute(2, 0, 1).reshape(6, 4).exp(), lambda x: x.t().exp()),
    "a product and a sum": (lambda x: torch.addmm(x[0], x, x.t() @ x), lambda x: x @ (x.t() @ x) + x[0]),
    "a batch of one": (lambda x: torch.bmm(x[None], x.t()[None])[0], lambda x: x @ x.t()),
    "merged rows": (
        lambda x: (x.view(2, 2, 6) + x[0]).exp(),
        lambda x: (x + x[0]).view(2, 2, 6).exp(),
    ),
    "zeros": (
        lambda x: torch.cat([x, torch.zeros_like(x)]),
        lambda x: torch.cat([x, torch.zeros_like(x.t().contiguous()).t()]),
    ),
    "a constant": (lambda x: x + RAMP.to(x.device), lambda x: x + torch.empty_like(x).copy_(RAMP)),
    "heads before rows": (
        lambda x: x.view(2, 2, 2, 3).permute(2, 0, 1, 3).reshape(2, 4, 3).permute(1, 0, 2).reshape(2, 2, 6).exp(),
        lambda x: x.view(2, 2, 6).exp(),
    ),
}

APART: dict[str, tuple[View, View]] = {
    "another order": (lambda x: x.t().contiguous().view(4, 6).relu(), lambda x: x.relu()),
    "another part": (lambda x: x[:2].clone().relu(), lambda x: x[2:].clone().relu()),
    "a scaled sum": (
        lambda x: torch.addmm(x[0], x, x.t() @ x, alpha=2),
        lambda x: x @ (x.t() @ x) + x[0],
    ),
    "another factor": (lambda x: torch.bmm(x[None], x.t()[None])[0], lambda x: (x.t() @ x)[:4, :4]),
    "a sum along the other side": (lambda x: x[:, :4] + x[0, :4], lambda x: x[:, :4] + x[:, :1]),
    "another dtype": (lambda x: x.to(torch.float64).relu().float(), lambda x: x.relu()),
    "conjugated": (
        lambda x: torch.view_as_real(torch.view_as_complex(x.view(4, 3, 2)).conj().resolve_conj()),
        lambda x: x.view(4, 3, 2).clone(),
    ),
    "a write to a part": (lambda x: first_row_zeroed(x), lambda x: x.clone()),
    "a write to another part": (lambda x: first_row_zeroed(x), lambda x: first_row_zeroed(x.flip(0)).flip(0)),
    "counted in other elements": (
        lambda x: torch.view_as_real(torch.view_as_complex(x.reshape(-1, 2))[4:8].clone()).exp(),
        lambda x: torch.view_as_real(torch.view_as_complex(x.reshape(-1)[4:16].clone().view(6, 2))[:4].clone()).exp(),
    ),
    "cut in other elements": (
        lambda x: x.view(-1).view(torch.int16)[4:12].clone().view(torch.int32) + 1,
        lambda x: x.view(-1)[4:8].clone().view(torch.int32) + 1,
    ),
    "zeros elsewhere": (
        lambda x: torch.cat([x, torch.zeros_like(x)]),
        lambda x: torch.cat([torch.zeros_like(x), x]),
    ),
    "ones and zeros": (lambda x: x + torch.zeros_like(x), lambda x: x + torch.ones_like(x)),
    "another constant": (lambda x: x + RAMP.to(x.device), lambda x: x + RAMP.flip(0).to(x.device)),
    "padded with more": (lambda x: F.pad(x, (1, 0)), lambda x: F.pad(x, (0, 1))),
}


def number_of(numbering: Numbering, function: View, *size: int) -> int:
    for _ in range(20):
        number = numbering(function, numbering.leaf("x", *size))
        if number is not None:
            return without_layouts(numbering.ledger.values, number)
        # A thread that other tests left behind woke up meanwhile: see `conformance.subject.passes.run`.
        assert numbering.reasons == [OTHER_THREAD]
        time.sleep(PAUSE)
    raise AssertionError(numbering.reasons)


def numbers(numbering: Numbering, left: View, right: View) -> tuple[int, int]:
    return number_of(numbering, left, 4, 6), number_of(numbering, right, 4, 6)


@pytest.mark.parametrize("kind", ALIKE)
def test_layouts_do_not_tell_computations_apart(numbering, kind):
    left, right = numbers(numbering, *ALIKE[kind])
    assert left == right
    x = torch.randn(4, 6, dtype=torch.float64)
    torch.testing.assert_close(ALIKE[kind][0](x), ALIKE[kind][1](x))


@pytest.mark.parametrize("kind", APART)
def test_what_is_computed_does(numbering, kind):
    left, right = numbers(numbering, *APART[kind])
    assert left != right


def first_for_all(x: torch.Tensor, dim: int) -> torch.Tensor:
    if not x.dim():
        return x
    dim %= x.dim()
    return torch.cat([x.narrow(dim, 0, 1)] * x.shape[dim], dim)


SIZES = [(24,), (4, 6), (2, 12), (2, 3, 4), (3, 2, 2, 2), (1, 24), (2, 2, 6), (12, 2), (6, 4), (8, 3)]
STEPS = st.one_of(
    st.sampled_from(SIZES).map(lambda size: lambda x: x.reshape(size) if x.numel() == 24 else x),
    st.permutations(range(4)).map(lambda order: lambda x: x.permute([one for one in order if one < x.dim()])),
    st.just(lambda x: x.contiguous()),
    st.just(lambda x: x.clone(memory_format=torch.preserve_format)),
    st.integers(0, 3).map(lambda dim: lambda x: x.unsqueeze(min(dim, x.dim())).squeeze()),
    st.tuples(st.integers(0, 3), st.integers(0, 2)).map(
        lambda where: lambda x: x.narrow(where[0] % max(1, x.dim()), 0, 1).expand(x.shape) if x.dim() else x
    ),
    st.integers(0, 3).map(lambda dim: lambda x: first_for_all(x, dim)),
)


@settings(max_examples=400, deadline=None)
@given(left=st.lists(STEPS, max_size=6), right=st.lists(STEPS, max_size=6), size=st.sampled_from(SIZES))
def test_equal_numbers_are_equal_elements(left, right, size):
    """Of any two ways to look at and copy the same elements: with one number they give the same ones."""
    numbering = Numbering()
    found, held = [], []
    for steps in (left, right):

        def look(x: torch.Tensor, steps: list[View] = steps) -> torch.Tensor:
            for step in steps:
                x = step(x)
            return x.reshape(size) if x.numel() == 24 else x

        found.append(number_of(numbering, look, 24))
        held.append(look(torch.arange(24.0)))
    if found[0] == found[1]:
        assert torch.equal(held[0], held[1])
