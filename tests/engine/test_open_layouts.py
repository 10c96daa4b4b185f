"""Where real kernels lay results out otherwise than meta kernels, nothing is proved of writes that depend on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from conformance.engine.ledger import Ledger
from conformance.engine.open_layouts import ALIKE_IN_CHANNELS_LAST, LAID_OUT_ALIKE, OpenLayouts
from conformance.engine.outside import recording
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
    "mean": [lambda d: image(d).mean((2, 3)), lambda d: turned(d).mean(1)],
    "mm": [lambda d: numbers(d, 5, 8).T @ numbers(d, 8, 5).T],
    "native_dropout": [lambda d: torch.native_dropout(image(d), 0.0, False)[0]],
    "native_layer_norm": [lambda d: F.layer_norm(image(d), (6,)), lambda d: F.layer_norm(turned(d), (5,))],
    "repeat": [lambda d: image(d).repeat(1, 2, 1, 1)],
    "sort": [lambda d: image(d).sort(1)[0]],
    "stack": [
        lambda d: torch.stack([image(d), image(d)]),
        lambda d: torch.stack([turned(d), turned(d)], -1),
        lambda d: torch.stack(torch.meshgrid(numbers(d, 3), numbers(d, 4), indexing="ij")),
    ],
    "std": [lambda d: image(d).std(1, keepdim=True)],
    "sum": [lambda d: image(d).sum(1, keepdim=True)],
    "topk": [lambda d: image(d).topk(3, 1)[0]],
    "upsample_bicubic2d": [lambda d: F.interpolate(image(d), scale_factor=2, mode="bicubic")],
    "upsample_bilinear2d": [lambda d: F.interpolate(image(d), scale_factor=2, mode="bilinear")],
    "upsample_nearest2d": [lambda d: F.interpolate(image(d), scale_factor=2)],
    "var": [lambda d: image(d).var(1, keepdim=True)],
}


ALIKE_IN_CHANNELS_LAST_ALONE: dict[str, list[Callable[[torch.Tensor], Any]]] = {
    "_native_batch_norm_legit": [lambda x: torch._native_batch_norm_legit(x, *statistics(x), True, 0.1, 1e-5)[0]],
    "_native_batch_norm_legit_no_training": [
        lambda x: torch._native_batch_norm_legit_no_training(x, *statistics(x), 0.1, 1e-5)[0]
    ],
    "max_pool2d_with_indices": [lambda x: F.max_pool2d(x, 2), lambda x: F.max_pool2d(x, 3, 2, 1)],
    "native_batch_norm": [
        lambda x: torch.native_batch_norm(x, *statistics(x), False, 0.1, 1e-5)[0],
        lambda x: F.batch_norm(x, *statistics(x)[:2]),
    ],
}


def statistics(x: torch.Tensor) -> list[torch.Tensor]:
    return [numbers(str(x.device), x.size(1)) for _ in range(4)]


LAYOUTS: dict[str, Callable[[str], torch.Tensor]] = {
    "channels_last": image,
    "attention heads": lambda d: numbers(d, 2, 6, 8, 6).transpose(1, 2),
    "turned": lambda d: numbers(d, *SIZE).transpose(2, 3),
    "batch within": lambda d: numbers(d, 8, 2, 6, 6).transpose(0, 1),
    "every second channel": lambda d: numbers(d, 2, 16, 6, 6)[:, ::2],
    "some channels of channels_last": lambda d: torch.cat([image(d), image(d)], 1)[:, :8],
    "expanded": lambda d: numbers(d, 2, 1, 6, 6).expand(SIZE),
    "three of one": lambda d: numbers(d, 2, 6, 3, 8, 6).permute(2, 0, 3, 1, 4)[1],
    "one row": lambda d: numbers(d, 2, 6, 8).transpose(1, 2)[:, :, None],
}


def seen(tensor: torch.Tensor) -> tuple[Any, ...]:
    strides = zip(tensor.size(), tensor.stride(), strict=True)
    return tuple(tensor.size()), tuple(stride for size, stride in strides if size > 1)


def opened(call: Callable[[], torch.Tensor], *operands: torch.Tensor) -> tuple[torch.Tensor, bool]:
    """What a call on meta gives, and whether that may lie otherwise."""
    ledger = Ledger()
    for number, operand in enumerate(operands):
        ledger.name_leaf("input", [(f"x{number}", operand, None)])
    with recording(ledger):
        result = call()
    return result, ledger.layouts.is_open(result)


def test_each_operation_of_the_list_is_tried():
    assert {f"aten.{name}" for name in ALIKE} == LAID_OUT_ALIKE
    assert {f"aten.{name}" for name in ALIKE_IN_CHANNELS_LAST_ALONE} == ALIKE_IN_CHANNELS_LAST


@pytest.mark.parametrize("name", ALIKE)
def test_it_lays_its_result_out_alike_on_the_cpu_and_on_meta(name):
    for call in ALIKE[name]:
        with torch.no_grad():
            real, meta = call("cpu"), call("meta")
        assert (real.shape, real.stride()) == (meta.shape, meta.stride())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ALIKE_IN_CHANNELS_LAST_ALONE)
def test_what_does_so_for_some_layouts_alone_is_open_for_the_others(name, layout):
    made = LAYOUTS[layout]
    if name.startswith("max_pool") and layout == "one row":
        calls = [lambda x: F.max_pool1d(x[:, :, 0], 2)]
    else:
        calls = ALIKE_IN_CHANNELS_LAST_ALONE[name]
    for call in calls:
        x = made("meta")
        meta, is_open = opened(lambda x=x, call=call: call(x), x)
        with torch.no_grad():
            real = call(made("cpu"))
        assert is_open or seen(real) == seen(meta)
        assert not (is_open and layout == "channels_last")


POINTWISE: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "angle": lambda x, _: (x * 1j).angle(),
    "complex": torch.complex,
    "copysign": torch.copysign,
    "div.Tensor_mode": lambda x, y: torch.div(x, y, rounding_mode="floor"),
    "heaviside": torch.heaviside,
    "logaddexp": torch.logaddexp,
    "logaddexp2": torch.logaddexp2,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_xor": torch.logical_xor,
    "polar": torch.polar,
    "xlogy": torch.xlogy,
    "add": torch.add,
    "div": torch.div,
    "maximum": torch.maximum,
    "mul": torch.mul,
    "pow": torch.pow,
    "where": lambda x, y: torch.where(x > 0, x, y),
}
PAIRS: dict[str, Callable[[str], tuple[torch.Tensor, torch.Tensor]]] = {
    "one layout": lambda d: (image(d), image(d)),
    "two layouts": lambda d: (image(d), numbers(d, *SIZE)),
    "one of fewer dimensions": lambda d: (numbers(d, 5, 5, 10).transpose(1, 2), numbers(d, 10, 5)),
    "expanded against each other": lambda d: (numbers(d, 10, 1, 5), numbers(d, 1, 5, 10).transpose(1, 2)),
    "expanded alike": lambda d: (numbers(d, 2, 1, 6, 6).expand(SIZE), numbers(d, 2, 8, 1, 6).expand(SIZE)),
}


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("name", POINTWISE)
def test_a_pointwise_result_lies_alike_or_is_open(name, pair):
    x, y = PAIRS[pair]("meta")
    meta, is_open = opened(lambda: POINTWISE[name](x, y), x, y)
    real = POINTWISE[name](*PAIRS[pair]("cpu"))
    assert is_open or seen(real) == seen(meta)


def test_ordinary_arithmetic_is_not_open():
    for name in ("add", "div", "maximum", "mul", "pow", "where"):
        x, y = PAIRS["two layouts"]("meta")
        assert not opened(lambda name=name, x=x, y=y: POINTWISE[name](x, y), x, y)[1]


@pytest.mark.parametrize(
    "call",
    [lambda x: torch.linalg.svd(x)[2], lambda x: torch.linalg.eig(x)[1], torch.fft.rfft2],
    ids=["svd", "eig", "rfft2"],
)
def test_what_lies_otherwise_for_any_operand_is_open(call):
    x = numbers("meta", 5, 6, 6)
    assert opened(lambda: call(x), x)[1]


@pytest.mark.parametrize("size", [(1, 1), (3, 3)], ids=str)
def test_a_weight_kept_in_channels_last_opens_what_is_convolved(size):
    """`(16, 1, 16, 16)` is contiguous as well, and the CPU goes by the weight."""
    weight = torch.ones(4, 8, *size).to(memory_format=torch.channels_last)
    x, on_meta = numbers("meta", *SIZE), weight.to("meta")
    meta, is_open = opened(lambda: F.conv2d(x, on_meta), x, on_meta)
    assert seen(F.conv2d(numbers("cpu", *SIZE), weight)) != seen(meta)
    assert is_open


def test_what_was_made_of_open_memory_is_open_from_there_on():
    x = image("meta")
    assert opened(lambda: F.relu(F.conv2d(x, numbers("meta", 8, 8, 1, 1))), x)[1]
    layouts = OpenLayouts()
    assert not layouts.is_any_open
    layouts.open(x)
    assert not layouts.may_be_shared(x.untyped_storage())
    layouts.ask(x, x)
    assert layouts.may_be_shared(x.untyped_storage())


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


class AsksByAnOperation(InChannelsLast):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_features(x)
        return self.forward_head(2 * x if torch.ops.aten.sym_stride.int(x, 1) == 1 else x)


class AsksWhereItBegins(InChannelsLast):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_features(x)
        rest = x.permute(0, 2, 3, 1)[1:].contiguous()
        return self.forward_head(2 * x if rest.storage_offset() else x)


class AsksWhetherItIsAView(InChannelsLast):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_features(x)
        return self.forward_head(x if x.reshape(-1)._is_view() else 2 * x)


class AsksWhoseViewItIs(InChannelsLast):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_features(x)
        return self.forward_head(2 * x if x.flatten(1)._base is None else x)


@pytest.mark.parametrize(
    "model",
    [
        SpoilsItsFeatures, SpoilsByReshape, SpoilsWhatAttentionGives, SpoilsWhatAttentionGivesByName,
        ReadsMemoryAsItLies, AsksHowItLies, AsksByAnOperation, AsksWhereItBegins,
        AsksWhetherItIsAView, AsksWhoseViewItIs,
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
