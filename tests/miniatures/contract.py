"""This module holds the miniatures: tiny models that keep the contract, and for every claim one that breaks just it.

Nothing is registered here: `tests.miniatures.registration` does it for as long as a test lasts. TorchScript knows no
`super()` in what it compiles, and reads annotations as they stand: no `from __future__ import annotations` here.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from timm.models._features import FeatureListNet, feature_take_indices
from torch import nn
from torch.nn import functional as F

WIDTH = 8
HIDDEN = 12
SIZE = 32


def config(
    classifier: str | tuple[str, ...] | None, num_classes: int = 10, fixed_input_size: bool = False
) -> dict[str, Any]:
    return {
        "input_size": (3, SIZE, SIZE),
        "fixed_input_size": fixed_input_size,
        "num_classes": num_classes,
        "classifier": classifier,
        "first_conv": "conv",
    }


class Conv(nn.Module):
    """NCHW features with BatchNorm, average pooling, a linear classifier."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__()
        self.default_cfg = config("fc")
        self.num_classes = num_classes
        self.num_features = self.head_hidden_size = WIDTH
        self.conv = nn.Conv2d(in_chans, WIDTH, 8, 8, bias=False)
        self.norm = nn.BatchNorm2d(WIDTH)
        self.act = nn.ReLU()
        self.pool = pooling(global_pool)
        self.drop = nn.Dropout(0.1)
        self.fc = linear(WIDTH, num_classes)

    def get_classifier(self) -> nn.Module:
        return self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        self.num_classes = num_classes
        if global_pool is not None:
            self.pool = pooling(global_pool)
        self.fc = linear(self.head_hidden_size, num_classes, like=self.conv.weight)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.norm(self.conv(x)))

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.drop(self.pool(x))
        return x if pre_logits else self.fc(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))


def pooling(kind: str) -> nn.Module:
    layers = {"avg": nn.AdaptiveAvgPool2d, "max": nn.AdaptiveMaxPool2d}
    return nn.Sequential(layers[kind](1), nn.Flatten(1)) if kind else nn.Identity()


def linear(width: int, num_classes: int, like: torch.Tensor | None = None) -> nn.Module:
    if not num_classes:
        return nn.Identity()
    if like is None:
        return nn.Linear(width, num_classes)
    return nn.Linear(width, num_classes, device=like.device, dtype=like.dtype)


class Tokens(nn.Module):
    """A transformer: class token, position embedding, fused attention, the class token pooled and then normalised."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "token") -> None:
        super().__init__()
        self.default_cfg = config("head", fixed_input_size=True)
        self.num_classes = num_classes
        self.global_pool = global_pool
        self.num_features = self.head_hidden_size = WIDTH
        self.conv = nn.Conv2d(in_chans, WIDTH, 16, 16)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.pos_embed = nn.Parameter(torch.randn(1, 5, WIDTH) * 0.02)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.fc_norm = nn.LayerNorm(WIDTH)
        self.head = linear(WIDTH, num_classes)

    def get_classifier(self) -> nn.Module:
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        self.num_classes = num_classes
        if global_pool is not None:
            self.global_pool = global_pool
            self.fc_norm = self.fc_norm if global_pool else nn.Identity()
        self.head = linear(WIDTH, num_classes, like=self.proj.weight)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1) + self.pos_embed
        batch, tokens, width = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, 2, width // 2).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        attended = F.scaled_dot_product_attention(q, k, v, dropout_p=0.0)
        x = x + self.proj(attended.transpose(1, 2).reshape(batch, tokens, width))
        return self.norm(x)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        if self.global_pool == "token":
            x = x[:, 0]
        x = self.fc_norm(x)
        return x if pre_logits else self.head(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))


class ChannelsLast(Conv):
    """NHWC features, which `output_fmt` says."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.output_fmt = "NHWC"
        self.last = nn.LayerNorm(WIDTH)
        self.pooled = bool(global_pool)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        super().reset_classifier(num_classes, None)
        if global_pool is not None:
            self.pooled = bool(global_pool)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.norm(self.conv(x)).permute(0, 2, 3, 1))

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        if self.pooled:
            x = x.mean((1, 2))
        return x if pre_logits else self.fc(x)


class Hidden(Conv):
    """A hidden layer in the head: pre_logits wider than the features, whose width is `num_features`."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.head_hidden_size = HIDDEN
        self.hidden = nn.Linear(WIDTH, HIDDEN)
        self.fc = linear(HIDDEN, num_classes)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        super().reset_classifier(num_classes, global_pool)
        if global_pool == "":
            self.hidden = nn.Identity()

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.hidden(self.pool(x))
        return x if pre_logits else self.fc(x)


class Distilled(Conv):
    """Two heads, averaged: `get_classifier` gives a tuple, which cannot be called."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.default_cfg = config(("fc", "fc_dist"))
        self.fc_dist = linear(WIDTH, num_classes)

    def get_classifier(self) -> tuple[nn.Module, nn.Module]:
        return self.fc, self.fc_dist

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        super().reset_classifier(num_classes, global_pool)
        self.fc_dist = linear(WIDTH, num_classes, like=self.conv.weight)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.pool(x)
        if pre_logits:
            return x
        return (self.fc(x) + self.fc_dist(x)) / 2


class ConvClassifier(Conv):
    """The classifier is a convolution over maps of one pixel, which (batch, width) does not fit."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, "")
        self.pooled = bool(global_pool)
        self.fc = nn.Conv2d(WIDTH, num_classes, 1) if num_classes else nn.Identity()

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        self.num_classes = num_classes
        if global_pool is not None:
            self.pooled = bool(global_pool)
        weight = self.conv.weight
        self.fc = (
            nn.Conv2d(WIDTH, num_classes, 1, device=weight.device, dtype=weight.dtype) if num_classes else nn.Identity()
        )

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        if self.pooled:
            x = x.mean((2, 3), keepdim=True)
        if not pre_logits:
            x = self.fc(x)
        return x.flatten(1) if self.pooled else x


class HeadlessByDefault(Conv):
    """No classes unless they are asked for."""

    def __init__(self, num_classes: int = 0, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)


class Encoder(Conv):
    """An encoder: its head declares itself unimplemented."""

    def __init__(self, num_classes: int = 0, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(0, in_chans, "")

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        raise NotImplementedError("an encoder has no head")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_features(x)


class Cached(Conv):
    """Keeps what it computes from its weights at the first call in eval mode, as LeViT keeps attention biases."""

    cache: dict[str, torch.Tensor]

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.biases = nn.Parameter(torch.zeros(1, 4))
        self.register_buffer("indices", torch.tensor([0, 1, 2, 3, 3, 2, 1, 0]), persistent=False)
        self.cache = {}

    def train(self, mode: bool = True) -> "Cached":
        self.cache = {}
        return super().train(mode)

    def _apply(self, fn: Any, recurse: bool = True) -> "Cached":
        self.cache = {}
        return super()._apply(fn, recurse)

    def get_biases(self, device: torch.device) -> torch.Tensor:
        if self.training:
            return self.biases[:, self.indices]
        key = str(device)
        if key not in self.cache:
            self.cache[key] = self.biases[:, self.indices]
        return self.cache[key]

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.norm(self.conv(x)))
        return x + self.get_biases(x.device).reshape(1, 8, 1, 1)


class ListOfFeatures(Conv):
    """Features are a list of tensors, which has no single width and which this model's head takes."""

    def forward_features(self, x: torch.Tensor) -> list[torch.Tensor]:
        x = self.norm(self.conv(x))
        return [x, self.act(x)]

    def forward_head(self, x: list[torch.Tensor], pre_logits: bool = False) -> torch.Tensor:
        pooled = self.pool(x[0] + x[1])
        return pooled if pre_logits else self.fc(pooled)


class PyramidOfTwo(nn.Module):
    """Two levels, which `forward_intermediates` and `features_only` give."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__()
        self.default_cfg = config("fc")
        self.num_classes = num_classes
        self.num_features = self.head_hidden_size = HIDDEN
        self.conv = nn.Conv2d(in_chans, WIDTH, 4, 4)
        self.norm = nn.BatchNorm2d(WIDTH)
        self.down = nn.Conv2d(WIDTH, HIDDEN, 2, 2)
        self.pool = pooling(global_pool)
        self.fc = linear(HIDDEN, num_classes)
        self.feature_info = [
            {"num_chs": WIDTH, "reduction": 4, "module": "norm"},
            {"num_chs": HIDDEN, "reduction": 8, "module": "down"},
        ]

    def get_classifier(self) -> nn.Module:
        return self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        self.num_classes = num_classes
        if global_pool is not None:
            self.pool = pooling(global_pool)
        self.fc = linear(HIDDEN, num_classes, like=self.conv.weight)

    @torch.jit.ignore
    def forward_intermediates(
        self, x: torch.Tensor, indices: list[int] | None = None, output_fmt: str = "NCHW"
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        maps = [self.norm(self.conv(x))]
        maps.append(self.down(maps[0]))
        taken, _ = feature_take_indices(2, indices)
        return maps[1], [maps[place] for place in taken]

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(self.norm(self.conv(x)))

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.pool(x)
        return x if pre_logits else self.fc(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))


def with_features_only(
    make: Callable[..., nn.Module],
    features_only: bool = False,
    out_indices: tuple[int, ...] = (0, 1),
    **arguments: Any,
) -> nn.Module:
    model = make(**arguments)
    return FeatureListNet(model, out_indices) if features_only else model


def Pyramid(**arguments: Any) -> nn.Module:
    return with_features_only(PyramidOfTwo, **arguments)


PYRAMIDS = ("intermediates_final", "intermediates_match_info", "features_only_matches_info")
WITHOUT_PYRAMID = dict.fromkeys(PYRAMIDS, "not_applicable")

LAWFUL: dict[Callable[..., nn.Module], dict[str, str]] = {
    Conv: WITHOUT_PYRAMID,
    Tokens: WITHOUT_PYRAMID,
    ChannelsLast: WITHOUT_PYRAMID,
    Cached: WITHOUT_PYRAMID,
    HeadlessByDefault: WITHOUT_PYRAMID,
    Hidden: {**WITHOUT_PYRAMID, "pooled_width_is_num_features": "violated"},
    Distilled: {**WITHOUT_PYRAMID, "classifier_consistent": "violated"},
    ConvClassifier: {**WITHOUT_PYRAMID, "classifier_consistent": "violated"},
    ListOfFeatures: {**WITHOUT_PYRAMID, "features_width": "violated", "unpooled_reset": "violated"},
    Pyramid: {},
}
"""Models that keep the contract, each with the verdicts other than `holds` that its shape brings."""


def breaks_builds(**_: Any) -> nn.Module:
    raise ValueError("this model cannot be built")


class breaks_forward_features_runs(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x)) @ self.fc.weight


class breaks_features_width(Hidden):
    """`num_features` is the width of the embedding, which the features do not have."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.num_features = HIDDEN


class breaks_pre_logits_supported(Conv):
    def forward_head(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.pool(x))


class breaks_pre_logits_pooled(Conv):
    """`head_hidden_size` is not the width of pre_logits."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.head_hidden_size = WIDTH + 1

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        self.num_classes = num_classes
        if global_pool is not None:
            self.pool = pooling(global_pool)
        self.fc = linear(WIDTH, num_classes, like=self.conv.weight)


class breaks_head_composes(Conv):
    """`forward` gives probabilities, `forward_head` logits."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_head(self.forward_features(x))
        return x.softmax(-1) if self.num_classes > 0 else x


class breaks_classifier_consistent(Conv):
    """`get_classifier` gives more than `forward_head` applies."""

    def get_classifier(self) -> nn.Module:
        return nn.Sequential(nn.Sigmoid(), self.fc)


class breaks_head_is_pure(Conv):
    """`forward_head` writes to the features once it has read them."""

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        pooled = self.pool(x)
        if pre_logits:
            return pooled
        x.zero_()
        return self.fc(pooled)


class breaks_pooled_width_is_num_features(Hidden):
    pass


class breaks_reset_to_pooled(Conv):
    """`reset_classifier(0)` changes the pooling."""

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        super().reset_classifier(num_classes, global_pool)
        if num_classes == 0 and global_pool is None:
            self.pool = pooling("max")


class breaks_built_headless(Conv):
    """Built without classes it pools otherwise."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool if num_classes else "max")


class breaks_reset_to_classes(Conv):
    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        super().reset_classifier(num_classes, global_pool)
        if num_classes:
            self.fc = linear(WIDTH, num_classes + 1, like=self.conv.weight)


class breaks_reset_keeps_placement(Conv):
    """The new classifier is made where and as what torch makes modules by default."""

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        self.num_classes = num_classes
        if global_pool is not None:
            self.pool = pooling(global_pool)
        self.fc = linear(WIDTH, num_classes)


class breaks_unpooled_reset(Conv):
    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        super().reset_classifier(num_classes, global_pool or None)


class breaks_classifier_named(Conv):
    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.default_cfg = config("head.fc")


class breaks_scripts(Conv):
    """TorchScript knows no lambda."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        activate = lambda y: self.act(self.norm(y))  # noqa: E731
        return activate(self.conv(x))


class breaks_script_matches(Conv):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_head(self.forward_features(x))
        if torch.jit.is_scripting():
            return x * 1.0001
        return x


class breaks_script_pre_logits(Conv):
    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.pool(x)
        if pre_logits:
            return x * 1.0001 if torch.jit.is_scripting() else x
        return self.fc(x)


class breaks_script_round_trips(Conv):
    """Calls back into Python, which cannot be saved."""

    @torch.jit.ignore
    def in_python(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.in_python(self.norm(self.conv(x)))


class breaks_deterministic_in_eval(Conv):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_head(self.forward_features(x))
        return F.dropout(x, 0.1, True) if self.num_classes > 0 else x


class breaks_uses_all_parameters(Conv):
    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.forgotten = nn.Linear(WIDTH, WIDTH)


class breaks_keeps_dtype(Conv):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x)).float()


class breaks_batch_independent(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return self.act(self.norm(x - 0.1 * x.mean(0, keepdim=True)))


class breaks_accepts_sizes(Conv):
    """Positions for images of one size, which `default_cfg` does not say is the only one."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.position = nn.Parameter(torch.randn(1, WIDTH, SIZE // 8, SIZE // 8))

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.norm(self.conv(x) + self.position))


class final_without_norm(PyramidOfTwo):
    @torch.jit.ignore
    def forward_intermediates(
        self, x: torch.Tensor, indices: list[int] | None = None, output_fmt: str = "NCHW"
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        _, maps = super().forward_intermediates(x, indices, output_fmt)
        return self.down(self.conv(x)), maps


class level_left_out(PyramidOfTwo):
    @torch.jit.ignore
    def forward_intermediates(
        self, x: torch.Tensor, indices: list[int] | None = None, output_fmt: str = "NCHW"
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        final, maps = super().forward_intermediates(x, indices, output_fmt)
        return final, maps[1:] if indices is None else maps


class reduction_less_one(PyramidOfTwo):
    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.feature_info[1]["reduction"] = 7


breaks_intermediates_final = functools.partial(with_features_only, final_without_norm)
breaks_intermediates_match_info = functools.partial(with_features_only, level_left_out)
breaks_features_only_matches_info = functools.partial(with_features_only, reduction_less_one)


class breaks_exports(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.jit.is_scripting():  # noqa: SIM102  # TorchScript leaves out what this alone guards
            if torch.compiler.is_exporting():
                raise RuntimeError("not for export")
        return self.act(self.norm(self.conv(x)))


class breaks_export_matches(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.jit.is_scripting():  # noqa: SIM102  # TorchScript leaves out what this alone guards
            if torch.compiler.is_exporting():
                x = x * 2
        return self.act(self.norm(self.conv(x)))


class breaks_export_dynamic_batch(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[0] == 2:
            x = x * 1.5
        return self.act(self.norm(self.conv(x)))


class breaks_compiles(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.jit.is_scripting():
            torch._dynamo.graph_break()
        return self.act(self.norm(self.conv(x)))


class breaks_compile_matches(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.jit.is_scripting():  # noqa: SIM102  # TorchScript leaves out what this alone guards
            if torch.compiler.is_dynamo_compiling():
                x = x * 2
        return self.act(self.norm(self.conv(x)))


class breaks_fx_traces(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] > 3:
            x = x[:, :3]
        return self.act(self.norm(self.conv(x)))


class breaks_fx_matches(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.jit.is_scripting():  # noqa: SIM102  # TorchScript leaves out what this alone guards
            if not isinstance(x, torch.Tensor):
                x = x * 2
        return self.act(self.norm(self.conv(x)))


class breaks_onnx_exports(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.jit.is_scripting():  # noqa: SIM102  # TorchScript leaves out what this alone guards
            if torch.onnx.is_in_onnx_export():
                x = x * 1.01
        return self.act(self.norm(self.conv(x)))


BREAKERS: dict[str, Any] = {
    name.removeprefix("breaks_"): value for name, value in list(globals().items()) if name.startswith("breaks_")
}
"""The miniature that breaks just a claim, by the claim's id."""
