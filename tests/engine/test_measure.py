"""What rounding does is told from what another function does, by as much as rounding is known to make."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from conformance.engine import drawing, measure


def compared(left, right, *, dtype=torch.float64, width=64):
    """How far two functions of two images are from each other."""
    x = drawing.images(0, (2, 3, width, width)).to(dtype)
    again = []
    for function in (left, right):
        with measure.Rounding(7):
            again.append([function(x)])
    return measure.difference([left(x)], [right(x)], *again)


def mean(x):
    return x.mean((2, 3))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_sum_divided_by_its_count_is_the_mean(dtype):
    found = compared(lambda x: x.sum((2, 3)) / (x.shape[2] * x.shape[3]), mean, dtype=dtype)
    assert found.is_none, found


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_matrix_product_in_another_order_is_the_same(dtype):
    weight = torch.randn(64, 64, dtype=dtype)
    found = compared(lambda x: (x @ weight).sum(2), lambda x: x.sum(2) @ weight, dtype=dtype)
    assert found.is_none, found


def test_an_epsilon_in_one_norm_is_another_function():
    def normed(epsilon):
        return lambda x: F.layer_norm(x, (64,), eps=epsilon)

    assert compared(normed(1e-6), normed(1e-5)).is_none is False
    assert compared(normed(1e-6), normed(1.001e-6)).is_none is False
    assert compared(normed(1e-6), normed(1e-6)).is_none


def test_what_is_between_is_not_decided():
    assert compared(lambda x: mean(x) * (1 + 1e-12), mean).is_none is None


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_differences_are_relative_to_the_results_size(scale):
    assert compared(lambda x: mean(x) * scale * (1 + 1e-6), lambda x: mean(x) * scale).is_none is False
    assert compared(lambda x: mean(x) * scale, lambda x: mean(x) * scale).is_none


def test_a_result_that_ignores_the_images_says_nothing():
    found = compared(lambda x: torch.ones(2, 4), lambda x: torch.ones(2, 4))
    assert found.is_none is None
    assert "different images" in found.problem


def test_a_result_that_is_not_finite_says_nothing():
    found = compared(lambda x: mean(x) / 0, lambda x: mean(x) / 0)
    assert found.is_none is None
    assert "finite" in found.problem


def test_a_result_that_drowns_in_rounding_says_nothing():
    found = compared(lambda x: ((x + 1e15) - 1e15).mean((2, 3)), mean)
    assert found.is_none is None
    assert "rounding" in found.problem


def test_rounding_is_disturbed_by_about_a_unit_in_the_last_place():
    x = torch.randn(1000, dtype=torch.float64)
    with measure.Rounding(0):
        disturbed = x * 3
    errors = ((disturbed - x * 3) / (x * 3)).abs()
    assert 0 < float(errors.max()) <= 4 * torch.finfo(torch.float64).eps


@pytest.mark.parametrize(
    "exact",
    [lambda x: x.round(), lambda x: x.floor(), lambda x: x.clone(), lambda x: torch.cat([x, x]), lambda x: x.relu()],
)
def test_what_does_not_round_is_left_alone(exact):
    x = torch.randn(100, dtype=torch.float64)
    with measure.Rounding(0):
        disturbed = exact(x)
    assert torch.equal(disturbed, exact(x))


def test_positions_stay_whole_and_what_they_are_multiplied_with_does_not():
    def positions(scale):
        places = torch.arange(14, dtype=torch.float64) * scale
        return places[:, None] - places[None, :] + 13 * scale

    with measure.Rounding(0):
        indices, others = positions(1.0).long(), positions(0.1)
    assert torch.equal(indices, positions(1.0).long())
    assert not torch.equal(others, positions(0.1))


# Weights


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.scale = nn.Parameter(torch.zeros(8))
        self.again = self.conv.weight

    def forward(self, x):
        return mean(self.norm(self.conv(x)) * self.scale.reshape(1, 8, 1, 1))


def drawn(seed, make=Net):
    model = make().double().eval()
    drawing.draw_all(named(model), seed, set())
    return model


def named(model):
    yield from (("parameter", name, tensor) for name, tensor in model.named_parameters(remove_duplicate=False))
    yield from (("buffer", name, tensor) for name, tensor in model.named_buffers())


def test_weights_are_the_same_for_the_same_name_and_seed():
    first, second, other = drawn(0), drawn(0), drawn(1)
    for (name, left), right, third in zip(
        first.state_dict().items(), second.state_dict().values(), other.state_dict().values(), strict=True
    ):
        assert torch.equal(left, right), name
        if left.is_floating_point():
            assert not torch.equal(left, third), name


def test_no_weight_is_what_a_fresh_model_has():
    model = drawn(0)
    assert not any((tensor == 0).any() or (tensor == 1).any() for tensor in model.parameters())
    assert model.norm.running_var.min() > 0
    assert not torch.equal(model.norm.running_mean, torch.zeros(8, dtype=torch.float64))
    assert model.norm.num_batches_tracked == 0


def test_ties_are_kept_whatever_the_order():
    model = drawn(0)
    assert model.again is model.conv.weight
    expected = torch.empty_like(model.again)
    drawing.draw(expected, "again", 0, is_parameter=True)
    assert torch.equal(model.conv.weight, expected)


def test_statistics_are_near_those_of_the_images_and_none_fits():
    model = drawn(0)
    images = drawing.images(0, (2, 3, 16, 16))
    found = drawing.statistics(drawn(0), lambda: None, 0)
    measured = drawn(0)
    found = drawing.statistics(measured, lambda: measured(images), 0)
    features = model.conv(images)
    spread = found["norm.running_var"] / features.var((0, 2, 3))
    assert spread.min() > 0.6
    assert spread.max() < 1.5
    assert not torch.allclose(found["norm.running_mean"], features.mean((0, 2, 3)), rtol=1e-3)


def test_images_of_a_batch_differ_as_a_whole():
    images = drawing.images(0, (2, 3, 128, 128))
    assert np.isclose(float(images[1].std() / images[0].std()), 4, rtol=0.5)


def test_set_back_gives_the_same_chance():
    set_back = measure.chance()
    first = torch.rand(3), np.random.rand()
    set_back()
    assert torch.equal(torch.rand(3), first[0])
    assert np.random.rand() == first[1]
