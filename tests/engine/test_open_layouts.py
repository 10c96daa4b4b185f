"""Where real kernels lay results out otherwise than meta kernels, nothing is proved of writes that depend on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from conformance.engine.open_layouts import LAID_OUT_ALIKE, OpenLayouts
from conformance.record import Evidence, Verdict
from tests.miniatures.contract import WIDTH, Conv
from tests.miniatures.registration import examining

SIZE = (2, 8, 6, 6)


def image(device: str) -> torch.Tensor:
    return torch.ones(SIZE, device=device).to(memory_format=torch.channels_last)


def numbers(device: str, *size: int) -> torch.Tensor:
    return torch.ones(size, device=device)


def positions(device: str) -> torch.Tensor:
    return torch.zeros(SIZE, dtype=torch.long, device=device)


def turned(device: str) -> torch.Tensor:
    return torch.ones(2, 5, 8, device=device).transpose(1, 2)


ALIKE: dict[str, list[Callable[[str], Any]]] = {
    "_adaptive_avg_pool2d": [lambda d: F.adaptive_avg_pool2d(image(d), 2)],
    "_log_softmax": [lambda d: F.log_softmax(image(d), 1)],
    "_native_batch_norm_legit": [lambda d: F.batch_norm(image(d), numbers(d, 8), numbers(d, 8), training=True)],
    "_native_batch_norm_legit_no_training": [lambda d: F.batch_norm(image(d), numbers(d, 8), numbers(d, 8))],
    "_softmax": [lambda d: image(d).softmax(1), lambda d: turned(d).softmax(-1)],
    "_to_copy": [lambda d: image(d).double()],
    "_upsample_bicubic2d_aa": [lambda d: F.interpolate(image(d), scale_factor=2, mode="bicubic", antialias=True)],
    "_upsample_bilinear2d_aa": [lambda d: F.interpolate(image(d), scale_factor=2, mode="bilinear", antialias=True)],
    "_weight_norm_interface": [lambda d: torch._weight_norm(image(d), numbers(d, 2, 1, 1, 1), 0)],
    "adaptive_max_pool2d": [lambda d: F.adaptive_max_pool2d(image(d), 2)],
    "addmm": [lambda d: torch.addmm(numbers(d, 8, 8).T, numbers(d, 5, 8).T, numbers(d, 8, 5).T)],
    "amax": [lambda d: image(d).amax(1, keepdim=True)],
    "amin": [lambda d: image(d).amin(1, keepdim=True)],
    "avg_pool2d": [lambda d: F.avg_pool2d(image(d), 2)],
    "baddbmm": [lambda d: torch.baddbmm(numbers(d, 2, 8, 8), turned(d), numbers(d, 2, 5, 8))],
    "bmm": [lambda d: turned(d) @ numbers(d, 2, 5, 6)],
    "cat": [lambda d: torch.cat([image(d), image(d)], 1), lambda d: torch.cat([image(d), numbers(d, *SIZE)])],
    "clone": [lambda d: image(d).clone(), lambda d: turned(d).contiguous()],
    "constant_pad_nd": [lambda d: F.pad(image(d), (1, 1, 1, 1))],
    "cumsum": [lambda d: image(d).cumsum(1)],
    "flip": [lambda d: image(d).flip(2)],
    "gather": [lambda d: image(d).gather(1, positions(d))],
    "grid_sampler_2d": [lambda d: F.grid_sample(image(d), numbers(d, 2, 4, 4, 2), align_corners=False)],
    "index": [lambda d: image(d)[:, torch.tensor([0, 1], device=d)], lambda d: turned(d)[torch.tensor([0], device=d)]],
    "index_select": [lambda d: image(d).index_select(1, torch.tensor([0, 1], device=d))],
    "lift_fresh_copy": [lambda d: torch.ops.aten.lift_fresh_copy(image(d))],
    "max_pool2d_with_indices": [lambda d: F.max_pool2d(image(d), 2), lambda d: F.max_pool2d(image(d), 3, 2, 1)],
    "mean": [lambda d: image(d).mean((2, 3)), lambda d: turned(d).mean(1)],
    "mm": [lambda d: numbers(d, 5, 8).T @ numbers(d, 8, 5).T],
    "native_batch_norm": [
        lambda d: torch.native_batch_norm(
            image(d), numbers(d, 8), numbers(d, 8), numbers(d, 8), numbers(d, 8), False, 0.1, 1e-5
        )[0]
    ],
    "native_dropout": [lambda d: torch.native_dropout(image(d), 0.0, False)[0]],
    "native_layer_norm": [lambda d: F.layer_norm(image(d), (6,)), lambda d: F.layer_norm(turned(d), (5,))],
    "repeat": [lambda d: image(d).repeat(1, 2, 1, 1)],
    "sort": [lambda d: image(d).sort(1)[0]],
    "std": [lambda d: image(d).std(1, keepdim=True)],
    "sum": [lambda d: image(d).sum(1, keepdim=True)],
    "topk": [lambda d: image(d).topk(3, 1)[0]],
    "upsample_bicubic2d": [lambda d: F.interpolate(image(d), scale_factor=2, mode="bicubic")],
    "upsample_bilinear2d": [lambda d: F.interpolate(image(d), scale_factor=2, mode="bilinear")],
    "upsample_nearest2d": [lambda d: F.interpolate(image(d), scale_factor=2)],
    "var": [lambda d: image(d).var(1, keepdim=True)],
}


def test_each_operation_of_the_list_is_tried():
    assert {f"aten.{name}" for name in ALIKE} == LAID_OUT_ALIKE


@pytest.mark.parametrize("name", ALIKE)
def test_it_lays_its_result_out_alike_on_the_cpu_and_on_meta(name):
    for call in ALIKE[name]:
        with torch.no_grad():
            real, meta = call("cpu"), call("meta")
        assert (real.shape, real.stride()) == (meta.shape, meta.stride())


def test_what_is_not_in_the_list_is_open_from_there_on():
    layouts, before = OpenLayouts(), image("meta")
    after, later = torch.empty_like(before), torch.empty_like(before)
    layouts.enter([numbers("meta", *SIZE)], [later], are_laid_out_alike=False)
    assert not layouts.is_open(later)
    layouts.enter([before], [after], are_laid_out_alike=True)
    assert not layouts.is_open(after)
    layouts.enter([before], [after], are_laid_out_alike=False)
    layouts.enter([after], [later], are_laid_out_alike=True)
    assert layouts.is_open(after)
    assert layouts.is_open(later)
    assert not layouts.may_be_shared(later.untyped_storage())
    layouts.ask(later, later)
    assert layouts.may_be_shared(later.untyped_storage())


# Models of which the meta device says otherwise than real tensors do


class InChannelsLast(Conv):
    """A LayerNorm over channels and a convolution after it, as ConvNeXt has them: no word of a memory format."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.depthwise = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=WIDTH)
        self.channels = nn.LayerNorm(WIDTH)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.norm(self.conv(x)))
        return self.depthwise(self.channels(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


class SpoilsItsFeatures(InChannelsLast):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_features(x)
        F.relu(x.permute(0, 2, 3, 1).contiguous(), inplace=True)
        return self.forward_head(x)


class SpoilsByReshape(SpoilsItsFeatures):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_features(x)
        x.permute(0, 2, 3, 1).reshape(len(x), -1, WIDTH).mul_(2)
        return self.forward_head(x)


class SpoilsWhatAttentionGives(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        heads = super().forward_features(x).flatten(2).reshape(len(x), 2, WIDTH // 2, -1).permute(0, 3, 1, 2)
        heads = heads.contiguous().transpose(1, 2)
        return F.scaled_dot_product_attention(heads, heads, heads)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = x.transpose(1, 2).reshape(len(x), -1, WIDTH).mean(1)
        return x if pre_logits else self.fc(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_features(x)
        x.transpose(1, 2).reshape(len(x), -1, WIDTH).mul_(2)
        return self.forward_head(x)


class SpoilsWhatAttentionGivesByName(SpoilsWhatAttentionGives):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        heads = Conv.forward_features(self, x).flatten(2).reshape(len(x), 2, WIDTH // 2, -1).permute(0, 3, 1, 2)
        heads = heads.contiguous().transpose(1, 2)
        return F.scaled_dot_product_attention(query=heads, key=heads, value=heads)


class ReadsMemoryAsItLies(InChannelsLast):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_features(x)
        rows = x.shape[2] * x.shape[3]
        tokens = x.as_strided((len(x), rows, WIDTH), (WIDTH * rows, 1, rows))  # were it as meta lays it out
        return self.fc(tokens.square().mean(1))

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = x.flatten(2).transpose(1, 2).square().mean(1)
        return x if pre_logits else self.fc(x)


class AsksHowItLies(InChannelsLast):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_features(x)
        return self.forward_head(x if x.is_contiguous() else 2 * x)


@pytest.mark.parametrize(
    "model",
    [
        SpoilsItsFeatures, SpoilsByReshape, SpoilsWhatAttentionGives, SpoilsWhatAttentionGivesByName,
        ReadsMemoryAsItLies, AsksHowItLies,
    ],
)  # fmt: skip
def test_what_depends_on_how_real_results_lie_is_accused(model):
    with examining(model) as examination:
        cell = examination.cell("head_composes")
    assert (cell.verdict, cell.evidence) == (Verdict.VIOLATED, Evidence.MEASURED)


class AsksHowItLiesWhenScripted(InChannelsLast):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_features(x)
        if torch.jit.is_scripting():
            x = x if x.is_contiguous() else 2 * x
        return self.forward_head(x)


def test_what_compiled_code_alone_asks_is_accused():
    with examining(AsksHowItLiesWhenScripted) as examination:
        cell = examination.cell("script_matches")
    assert (cell.verdict, cell.evidence) == (Verdict.VIOLATED, Evidence.MEASURED)


class SpoilsACopy(SpoilsItsFeatures):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_features(x)
        F.relu(x.permute(0, 2, 3, 1).clone(), inplace=True)
        return self.forward_head(x)


def test_one_that_is_a_copy_everywhere_is_proved():
    with examining(SpoilsACopy) as examination:
        cell = examination.cell("head_composes")
    assert (cell.verdict, cell.evidence) == (Verdict.HOLDS, Evidence.PROVED)
