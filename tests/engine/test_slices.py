"""What is carried along for one image of a batch is what the batch holds of it, on real numbers, whatever is done."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from conformance.engine.sliced import Guess, NotApart
from conformance.engine.slices import Slicing

COUNT = 5
WHICH = 1
"""The image that is followed: one that is not the first."""


def followed(images: torch.Tensor, program: Callable[[torch.Tensor], object]) -> Slicing:
    """The mode after the program ran under it, each of its pairs checked."""
    slicing = Slicing(images, images[WHICH : WHICH + 1].clone())
    with torch.no_grad(), slicing:
        program(images)
    are_true(slicing)
    return slicing


def are_true(slicing: Slicing) -> None:
    for pair in slicing._known.values():
        n = pair.part.shape[pair.dim]
        held = pair.whole.narrow(pair.dim, WHICH * n, n)
        torch.testing.assert_close(pair.part, held, rtol=1e-9, atol=1e-9, equal_nan=True)


def images(*size: int, count: int = COUNT) -> torch.Tensor:
    return torch.randn(count, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def weights(*size: int) -> torch.Tensor:
    return torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def windows(x: torch.Tensor) -> torch.Tensor:
    b, c, h, w = x.shape
    x = x.view(b, c, 2, h // 2, 2, w // 2).permute(0, 2, 4, 3, 5, 1).reshape(b * 4, h * w // 4, c)
    x = x @ weights(c, c) + weights(h * w // 4, c)
    return x.view(b, 2, 2, h // 2, w // 2, c).permute(0, 5, 1, 3, 2, 4).reshape(b, c, h, w)


def attended(x: torch.Tensor) -> torch.Tensor:
    tokens = torch.cat([weights(1, 1, 4).expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], 1)
    q, k, v = (tokens @ weights(4, 12)).view(len(x), -1, 3, 2, 2).permute(2, 0, 3, 1, 4).unbind(0)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(len(x), -1, 4)[:, 0]


def kernels_of_their_own(x: torch.Tensor) -> torch.Tensor:
    kernels = (x.mean((2, 3)) @ weights(4, 2 * 4 * 9)).view(-1, 4, 3, 3)
    return F.conv2d(x.reshape(1, -1, *x.shape[2:]), kernels, groups=len(x), padding=1).view(len(x), 2, 4, 4)


def into_zeros(x: torch.Tensor) -> torch.Tensor:
    taken = x.new_zeros(len(x), 4, 2)
    taken[:, 1:3] += x[:, 1:3, 0, 2:]
    taken[:, 0] = x[:, 0, 0, :2]
    return taken.relu_()


APART: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "windows": windows,
    "attention": attended,
    "kernels for each image": kernels_of_their_own,
    "writes to a slice": into_zeros,
    "convolution": lambda x: F.conv2d(x, weights(6, 2, 3, 3), weights(6), groups=2, stride=2),
    "transposed convolution": lambda x: F.conv_transpose2d(x, weights(4, 3, 2, 2)),
    "batch norm": nn.BatchNorm2d(4).double().eval(),
    "group norm": nn.GroupNorm(2, 4).double(),
    "instance norm": lambda x: F.group_norm(x, 4),
    "layer norm": lambda x: F.layer_norm(x, (4, 4)),
    "softmax": lambda x: x.softmax(1),
    "statistics": lambda x: (x - x.mean((2, 3), keepdim=True)) / x.std(1, keepdim=True),
    "pools": lambda x: F.max_pool2d(F.avg_pool2d(x, 2), 2) + F.adaptive_avg_pool2d(x, 1),
    "upsampling": lambda x: F.interpolate(x, size=(5, 7), mode="bicubic"),
    "padding": lambda x: F.pad(F.pad(x, (1, 0, 2, 1)), (1, 1, 1, 1), mode="reflect"),
    "shuffles": lambda x: F.pixel_unshuffle(F.pixel_shuffle(x, 2), 2).flip(2).roll(1, 3),
    "unfolding": lambda x: F.fold(F.unfold(x, 2), (4, 4), 2),
    "fourier": lambda x: torch.fft.irfft2(torch.fft.rfft2(x) * weights(4, 4, 3), s=(4, 4)),
    "picks": lambda x: x[:, [2, 0]][..., torch.tensor([1, 1, 3])].index_select(2, torch.tensor([3, 0])),
    "sorting": lambda x: x.sort(1)[0] + x.topk(2, 3)[0].sum(3, keepdim=True).cumsum(2),
    "gathering": lambda x: x.gather(2, x.argsort(2)),
    "images in columns": lambda x: (weights(5, 64) @ x.flatten(1).t()).t(),
    "images in rows": lambda x: torch.addmm(weights(5), x.flatten(1), weights(64, 5)),
    "products of two": lambda x: torch.einsum("bchw,bdhw->bcd", x, x + 1),
    "repeated positions": lambda x: x + weights(4, 4, 4).repeat(len(x), 1, 1, 1),
    "sampling": lambda x: F.grid_sample(x, x[:, :2].permute(0, 2, 3, 1).tanh(), align_corners=False),
    "split and joined": lambda x: torch.cat([part * 2 for part in x.chunk(2, 1)][::-1], 1),
    "stacked": lambda x: torch.stack([x, -x], 1).flatten(1, 2),
    "the larger": lambda x: torch.max(x, -x) + torch.min(x, 2)[0].unsqueeze(2),
    "channels last": lambda x: F.adaptive_avg_pool2d(x.contiguous(memory_format=torch.channels_last), 1).flatten(1),
    "rows by index": lambda x: (
        torch.stack([x, -x], 1).flatten(0, 1).gather(1, torch.stack([x, x], 1).flatten(0, 1).argsort(1))
    ),
    "an assertion": lambda x: x * (torch._assert_async(torch.isfinite(x).all()) is None),
}

TOGETHER: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "the mean image": lambda x: x - x.mean(0, keepdim=True),
    "the largest": lambda x: x / x.amax(),
    "the largest of all": lambda x: x / x.max(),
    "softmax over images": lambda x: x.softmax(0),
    "the order": lambda x: x.flip(0),
    "the next image": lambda x: x.roll(1, 0),
    "one for all": lambda x: x + x[:1],
    "another order": lambda x: x[torch.tensor([1, 0, 2, 3, 4])],
    "images for channels": lambda x: x.permute(1, 0, 2, 3).reshape(COUNT, 4, 4, 4),
    "a table of images": lambda x: x + weights(COUNT, 1, 1, 1),
    "gram matrix": lambda x: x.flatten(1) @ x.flatten(1).t(),
    "attention over images": lambda x: (x.mean((2, 3)) @ x.mean((2, 3)).t()).softmax(-1) @ x.flatten(1),
    "training statistics": lambda x: F.batch_norm(x, None, None, training=True),
    "order of images": lambda x: x.sort(0)[0],
    "a running sum": lambda x: x.cumsum(0),
    "rows of other images": lambda x: torch.stack([x, -x], 1).flatten(0, 1).gather(1, x.argsort(1)),
    "joined images": lambda x: torch.cat([x[1:], x[:1]]),
    "hidden in data": lambda x: x.data.mean(0) + x,
    "written through data": lambda x: x.mul_(1) + x.data.mul_(2).mean(0),
    "a convolution across": lambda x: F.conv2d(x.transpose(0, 1), weights(COUNT, COUNT, 1, 1)).transpose(0, 1),
}


@pytest.mark.parametrize("kind", APART)
def test_what_treats_images_apart_gives_one_image_what_the_batch_has_of_it(kind):
    x = images(4, 4, 4)
    results: list[torch.Tensor] = []
    slicing = followed(x, lambda given: results.append(APART[kind](given)))
    part = slicing.part_of(results[0])
    alone = APART[kind](images(4, 4, 4)[WHICH : WHICH + 1])
    torch.testing.assert_close(part, alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", TOGETHER)
def test_what_mixes_images_is_refused_or_left_to_the_batch(kind):
    x = images(4, 4, 4)
    slicing = Slicing(x, x[WHICH : WHICH + 1].clone())
    try:
        with torch.no_grad(), slicing:
            result = TOGETHER[kind](x)
        part = slicing.part_of(result)
    except NotApart:
        return
    # It got through: then what was carried along is what the batch holds, and not what the image alone gives.
    are_true(slicing)
    alone = TOGETHER[kind](images(4, 4, 4)[WHICH : WHICH + 1])
    assert part.shape != alone.shape or not torch.allclose(part, alone)


def test_a_refusal_that_a_model_swallows_is_not_forgotten():
    x = images(4)
    slicing = Slicing(x, x[:1].clone())
    with torch.no_grad(), slicing:
        try:
            x.mean(0)
        except NotApart:
            result = x * 2
    with pytest.raises(NotApart, match="mean"):
        slicing.part_of(result)


def test_a_tensor_that_got_other_memory_is_not_taken_for_what_it_was():
    def given_other_memory(x: torch.Tensor) -> torch.Tensor:
        y = x * 2
        y.data = x.new_zeros(COUNT, 5)
        return y + 1

    with pytest.raises(NotApart, match="other memory"):
        followed(images(4), given_other_memory)


DIMS = st.integers(-4, 3)
STEPS: dict[str, st.SearchStrategy] = {
    "add": st.builds(
        lambda sizes: lambda x: x + weights(*sizes), st.lists(st.sampled_from([1, 2, 3, 4, 5]), max_size=4)
    ),
    "bmm": st.just(lambda x: torch.bmm(x.flatten(1, -2), x.flatten(1, -2).transpose(1, 2))),
    "cat": st.builds(lambda dim: lambda x: torch.cat([x, x * 2], dim), DIMS),
    "clone": st.just(lambda x: x.clone(memory_format=torch.contiguous_format)),
    "expand": st.builds(lambda n: lambda x: x.unsqueeze(0).expand(n, *x.shape), st.integers(1, 3)),
    "flatten": st.builds(lambda a, b: lambda x: x.flatten(a, b), st.integers(0, 2), st.integers(1, 3)),
    "index": st.builds(lambda dim: lambda x: x.index_select(dim, torch.tensor([1, 0])), DIMS),
    "linear": st.just(lambda x: x @ weights(x.shape[-1], 3)),
    "mean": st.builds(lambda dim, keep: lambda x: x.mean(dim, keepdim=keep), DIMS, st.booleans()),
    "multiply": st.builds(lambda a, b: lambda x: x * x.transpose(a, b), DIMS, DIMS),
    "narrow": st.builds(lambda dim, at: lambda x: x.narrow(dim, at, 1), DIMS, st.integers(0, 2)),
    "permute": st.builds(lambda order: lambda x: x.permute(order), st.permutations(range(4))),
    "relu": st.just(lambda x: x.relu_()),
    "reshape": st.builds(
        lambda sizes: lambda x: x.reshape(sizes), st.lists(st.sampled_from([-1, 1, 2, 3, 4, 5, 6, 10]))
    ),
    "roll": st.builds(lambda dim: lambda x: x.roll(1, dim), DIMS),
    "select": st.builds(lambda dim, at: lambda x: x.select(dim, at), DIMS, st.integers(0, 2)),
    "softmax": st.builds(lambda dim: lambda x: x.softmax(dim), DIMS),
    "squeeze": st.just(lambda x: x.squeeze()),
    "write": st.builds(lambda dim: lambda x: x.clone().index_fill_(dim, torch.tensor([0]), 1.0), DIMS),
    "spread": st.builds(
        lambda n, size, dim: lambda x: x + weights(size).unsqueeze(dim).expand(*(n, size) if dim == 0 else (size, n)),
        st.sampled_from([1, 2, 3, 4, 5]),
        st.sampled_from([1, 2, 3, 4]),
        st.integers(0, 1),
    ),
    "tile": st.builds(lambda n, m: lambda x: x * weights(1, 2).repeat(n, m), st.integers(1, 5), st.integers(1, 3)),
    "zeros": st.just(lambda x: torch.zeros(x.shape, dtype=x.dtype).add_(x)),
}


def test_what_has_no_slice_is_refused_and_is_not_the_models_fault():
    with pytest.raises(NotApart, match="view"):
        followed(images(4), lambda x: x.view(torch.int64) & -65536)


@settings(max_examples=400, deadline=None)
@given(
    size=st.sampled_from([(3, 2, 4), (4, 1, 3), (3, 3), (1, 4, 1)]),
    count=st.sampled_from([2, 3, 4, COUNT]),
    guess=st.sampled_from(Guess),
    program=st.data(),
)
def test_every_pair_of_any_program_is_true(size, count, guess, program):
    x = images(*size, count=count)
    slicing = Slicing(x, x[WHICH : WHICH + 1].clone(), guess)
    for name in program.draw(st.lists(st.sampled_from(sorted(STEPS)), max_size=7)):
        try:
            with torch.no_grad(), slicing:
                x = program.draw(STEPS[name])(x)
        except (RuntimeError, IndexError):
            return
        except NotApart:
            assert slicing.problem is not None  # nothing is said of it from now on
            return
        are_true(slicing)
