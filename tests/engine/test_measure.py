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


def test_a_cast_to_float32_rounds_and_one_to_half_precision_is_the_models_own():
    x = torch.randn(100, dtype=torch.float64)
    with measure.Rounding(0) as rounding:
        single, half = x.float(), x.half()
    assert not torch.equal(single, x.float())
    assert torch.equal(half, x.half())
    assert rounding.coarsest is torch.float32


def test_complex_numbers_get_rounding_errors_too():
    x = torch.randn(100, dtype=torch.complex128)
    with measure.Rounding(0):
        disturbed = x * 3
    errors = ((disturbed - x * 3) / (x * 3)).abs()
    assert 0 < float(errors.max()) <= 4 * torch.finfo(torch.float64).eps


def test_constants_are_shaken_where_they_are_named_and_nothing_else_is():
    x, constant = torch.randn(100, dtype=torch.float64), torch.randn(100, dtype=torch.float64)
    with measure.Rounding(0, {constant.untyped_storage()._cdata}):
        shaken, left = x + constant, x + x
    apart = (shaken - x - constant).abs() / constant.abs()
    assert torch.allclose(apart, torch.full_like(apart, measure.CONSTANT), rtol=1e-3)
    assert torch.allclose(left, x + x, rtol=1e-14)


def test_small_elements_beside_large_ones_are_looked_at_too():
    def hidden(x):
        return torch.cat([mean(x) * 1e20, mean(x)], 1)

    assert compared(hidden, hidden).is_none is True
    found = compared(lambda x: hidden(x) * torch.tensor([1.0] * 3 + [2.0] * 3, dtype=x.dtype), hidden)
    assert found.error < 1e-15
    assert found.is_none is False
    assert found.is_hidden


def test_a_result_of_another_shape_says_nothing():
    x = torch.randn(2, 3)
    found = measure.difference([x], [x], [x[:1]], [x])
    assert found.is_none is None
    assert "another shape" in found.problem


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


def test_a_tie_is_drawn_as_a_model_before_it_drew_one_of_its_names():
    names, weights = {}, [torch.empty(3, 3, dtype=torch.float64) for _ in range(2)]
    drawing.draw_all([("parameter", "z", weights[0]), ("parameter", "a", weights[0])], 0, set(), aliases=names)
    drawing.draw_all([("parameter", "z", weights[1])], 0, set(), aliases=names)
    assert torch.equal(*weights)


def test_an_identity_matrix_is_drawn_and_other_constants_are_not():
    assert drawing.is_drawn("buffer", torch.eye(4))
    assert not drawing.is_drawn("buffer", torch.eye(4)[:3])
    assert not drawing.is_drawn("buffer", torch.arange(4.0))


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
