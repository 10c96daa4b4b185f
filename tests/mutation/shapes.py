"""This module holds lawful models as source, in pieces that operators edit.

Every route through a model (`forward_features`, `forward_head`, `forward`, `forward_intermediates`) is spelled out and
calls none of the others, so that a change of one route breaks a definite claim. Pieces are statements about `x`:

- `stem` makes of images what the first map is, `stage` makes features of that, `pool` the embedding, `logits` logits;
- what a route does besides is its own: `forward.end`, `forward_head.begin`, `reset.heads` and the like.

A piece is edited for all routes by its name, and for one of them by `route.piece` (see `tests.mutation.operators`).
"""

from __future__ import annotations

import linecache
import sys
import textwrap
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import nn

WIDTH = 8
"""Channels of the first map, and of the features where a shape says nothing else."""
SIZE = 32
"""Pixels along a side of the images."""


@dataclass(frozen=True)
class Shape:
    """A lawful model in pieces."""

    name: str
    parts: str
    """Statements that make the modules, the classifier apart."""
    stem: str
    stage: str
    pool: str
    logits: str
    heads: str
    """Statements that make the classifier for `num_classes`, of the device and dtype of `like`."""
    get_classifier: str
    """An expression."""
    classifier: str
    """What default_cfg names it, as an expression."""
    as_map: str
    """The expression that makes (batch, channels, height, width) of `x`, be that the first map or features."""
    levels: tuple[tuple[int, int, str], ...]
    """(channels, reduction, module) of both maps."""
    classes: int = 10
    width: int = WIDTH
    """Of the features."""
    hidden: int = WIDTH
    """Of the embedding."""
    axis: int = 1
    """The dimension of the features that is the channels'."""
    fixed: bool = False
    """Whether it takes images of one size alone."""
    pre_logits: str = ""
    expected: Mapping[str, str] = field(default_factory=dict)
    """Verdicts other than `holds` that the shape brings, each with why."""

    @property
    def pieces(self) -> dict[str, str]:
        """What operators edit, by name."""
        return {
            "parts": self.parts,
            "stem": self.stem,
            "stage": self.stage,
            "pool": self.pool,
            "logits": self.logits,
            "heads": self.heads,
            "forward_head.pre_logits": self.pre_logits,
            "forward_head.takes": "pre_logits: bool = False",
            "init.takes": f"num_classes: int = {self.classes}",
            "init.super": "super().__init__()",
            "get_classifier": self.get_classifier,
            "make": "return FeatureGetterNet(Model(**arguments), out_indices) if features_only else Model(**arguments)",
        }


TEMPLATE = """\
import random
import time
from typing import List, Optional

import torch
from timm.models._features import FeatureGetterNet, feature_take_indices
from torch import nn
from torch.nn import functional as F


def linear(width: int, num_classes: int, like: torch.Tensor) -> nn.Module:
    return nn.Linear(width, num_classes, device=like.device, dtype=like.dtype) if num_classes else nn.Identity()


def pixelwise(width: int, num_classes: int, like: torch.Tensor) -> nn.Module:
    return nn.Conv2d(width, num_classes, 1, device=like.device, dtype=like.dtype) if num_classes else nn.Identity()


{prelude}


class Model(nn.Module):
    def __init__(self, {init.takes}, in_chans: int = 3, global_pool: str = "avg") -> None:
        {init.super}
        self.default_cfg = {config}
        self.num_classes = num_classes
        self.num_features = {width}
        self.head_hidden_size = {hidden}
        self.feature_info = {info}
        self.pooled = bool(global_pool)
        self.drop = nn.Dropout(0.1)
        {parts}
        like = self.conv.weight
        {init.heads}
        {init.end}

    {methods}

    def get_classifier(self):
        return {get_classifier}

    def reset_classifier(self, num_classes: int, global_pool: Optional[str] = None) -> None:
        {reset.begin}
        self.num_classes = num_classes
        if global_pool is not None:
            self.pooled = bool(global_pool)
        like = self.conv.weight
        {reset.heads}
        {reset.end}

    @torch.jit.ignore
    def forward_intermediates(
        self,
        x: torch.Tensor,
        indices: Optional[List[int]] = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ):
        {forward_intermediates.begin}
        taken, _ = feature_take_indices(2, indices)
        {forward_intermediates.stem}
        maps = [{as_map}]
        {forward_intermediates.stage}
        maps.append({as_map})
        {forward_intermediates.maps}
        maps = [maps[place] for place in taken]
        {forward_intermediates.end}
        return maps if intermediates_only else (x, maps)

    @torch.jit.export
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        {forward_features.stem}
        {forward_features.stage}
        {forward_features.end}
        return x

    @torch.jit.export
    def forward_head(self, x: torch.Tensor, {forward_head.takes}) -> torch.Tensor:
        {forward_head.begin}
        if self.pooled:
            {forward_head.pool}
        if pre_logits:
            {forward_head.pre_logits}
            return x
        {forward_head.logits}
        {forward_head.end}
        return x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        {forward.begin}
        {forward.stem}
        {forward.stage}
        if self.pooled:
            {forward.pool}
        {forward.logits}
        {forward.end}
        return x


def make(features_only: bool = False, out_indices: tuple = (0, 1), **arguments):
    {make}
"""


def source_of(shape: Shape, pieces: Mapping[str, str] | None = None) -> str:
    """The shape as Python, with its pieces or with others."""
    pieces = {**shape.pieces, **(pieces or {})}
    facts = {
        "config": repr(
            {
                "input_size": (3, SIZE, SIZE),
                "fixed_input_size": shape.fixed,
                "num_classes": shape.classes,
                "first_conv": "conv",
            }
        )[:-1]
        + f", 'classifier': {shape.classifier}}}",
        "width": str(shape.width),
        "hidden": str(shape.hidden),
        "info": repr([{"num_chs": c, "reduction": r, "module": name} for c, r, name in shape.levels]),
        "as_map": shape.as_map,
    }
    lines = []
    for line in TEMPLATE.splitlines():
        before, _, rest = line.partition("{")
        name, _, after = rest.partition("}")
        if not name:
            lines.append(line)
        elif name in facts:
            lines.append(f"{before}{facts[name]}{after}")
        else:
            text = pieces.get(name, pieces.get(name.rpartition(".")[2], "")).strip("\n")
            is_alone = not before.strip() and not after
            lines.append(textwrap.indent(text, before) if is_alone else f"{before}{text}{after}")
    return "\n".join(line for line in lines if line.strip()) + "\n"


@contextmanager
def made(name: str, source: str) -> Iterator[Callable[..., nn.Module]]:
    """What the source calls `make`, in a module whose source TorchScript finds for as long as the body runs."""
    module_name, file = f"tests.mutation.made.{name}", f"<{name}>"
    module = types.ModuleType(module_name)
    module.__file__ = file
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    sys.modules[module_name] = module
    try:
        exec(compile(source, file, "exec", dont_inherit=True), vars(module))  # TorchScript reads annotations
        yield vars(module)["make"]
    finally:
        del sys.modules[module_name], linecache.cache[file]


IS_SIGNAL = "the embedding is wider than the features, which only a signal speaks of"
IS_NOT_ONE = "the classifier is no module that takes the embedding"

SHAPES = (
    Shape(
        name="convolutional",
        parts="""
self.conv = nn.Conv2d(in_chans, 8, 4, 4, bias=False)
self.norm = nn.BatchNorm2d(8)
self.act = nn.ReLU()
self.down = nn.Conv2d(8, 12, 2, 2)
self.last = nn.BatchNorm2d(12)
""",
        stem="x = self.act(self.norm(self.conv(x)))",
        stage="x = self.last(self.down(x))",
        pool="x = self.drop(x.mean((2, 3)))",
        logits="x = self.fc(x)",
        heads="self.fc = linear(12, num_classes, like)",
        get_classifier="self.fc",
        classifier="'fc'",
        as_map="x",
        levels=((8, 4, "act"), (12, 8, "last")),
        width=12,
        hidden=12,
    ),
    Shape(
        name="transformer",
        parts="""
self.conv = nn.Conv2d(in_chans, 8, 8, 8)
self.cls_token = nn.Parameter(torch.zeros(1, 1, 8))
self.pos_embed = nn.Parameter(torch.randn(1, 17, 8) * 0.02)
self.norm = nn.LayerNorm(8)
self.qkv = nn.Linear(8, 24)
self.proj = nn.Linear(8, 8)
self.last = nn.LayerNorm(8)
self.fc_norm = nn.LayerNorm(8)
""",
        stem="""
x = self.conv(x).flatten(2).transpose(1, 2)
x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1) + self.pos_embed
""",
        stage="""
q, k, v = self.qkv(self.norm(x)).reshape(x.shape[0], 17, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
y = F.scaled_dot_product_attention(q, k, v, dropout_p=0.0)
x = x + self.proj(y.transpose(1, 2).reshape(x.shape[0], 17, 8))
x = self.last(x)
""",
        pool="x = self.drop(self.fc_norm(x[:, 0]))",
        logits="x = self.head(x)",
        heads="self.head = linear(8, num_classes, like)",
        get_classifier="self.head",
        classifier="'head'",
        as_map="x[:, 1:].transpose(1, 2).reshape(x.shape[0], 8, 4, 4)",
        levels=((8, 8, "conv"), (8, 8, "last")),
        axis=-1,
        fixed=True,
    ),
    Shape(
        name="channels_last",
        parts="""
self.output_fmt = "NHWC"
self.conv = nn.Conv2d(in_chans, 8, 8, 8)
self.norm = nn.LayerNorm(8)
self.fc1 = nn.Linear(8, 16)
self.act = nn.GELU()
self.fc2 = nn.Linear(16, 8)
self.last = nn.LayerNorm(8)
""",
        stem="x = self.norm(self.conv(x).permute(0, 2, 3, 1))",
        stage="x = self.last(x + self.fc2(self.act(self.fc1(x))))",
        pool="x = self.drop(x.mean((1, 2)))",
        logits="x = self.fc(x)",
        heads="self.fc = linear(8, num_classes, like)",
        get_classifier="self.fc",
        classifier="'fc'",
        as_map="x.permute(0, 3, 1, 2)",
        levels=((8, 8, "norm"), (8, 8, "last")),
        axis=-1,
    ),
    Shape(
        name="distilled",
        parts="""
self.conv = nn.Conv2d(in_chans, 8, 8, 8)
self.cls_token = nn.Parameter(torch.zeros(1, 1, 8))
self.dist_token = nn.Parameter(torch.zeros(1, 1, 8))
self.mix = nn.Linear(18, 18)
self.last = nn.LayerNorm(8)
""",
        stem="""
x = self.conv(x).flatten(2).transpose(1, 2)
x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), self.dist_token.expand(x.shape[0], -1, -1), x], dim=1)
""",
        stage="x = self.last(x + self.mix(x.transpose(1, 2)).transpose(1, 2))",
        pool="x = self.drop((x[:, 0] + x[:, 1]) / 2)",
        logits="x = (self.head(x) + self.head_dist(x)) / 2",
        heads="""
self.head = linear(8, num_classes, like)
self.head_dist = linear(8, num_classes, like)
""",
        get_classifier="self.head, self.head_dist",
        classifier="('head', 'head_dist')",
        as_map="x[:, 2:].transpose(1, 2).reshape(x.shape[0], 8, 4, 4)",
        levels=((8, 8, "conv"), (8, 8, "last")),
        axis=-1,
        fixed=True,
        expected={"classifier_consistent": IS_NOT_ONE},
    ),
    Shape(
        name="multi_head",
        parts="""
self.conv = nn.Conv2d(in_chans, 8, 4, 4)
self.norm = nn.GroupNorm(2, 8)
self.act = nn.SiLU()
self.down = nn.Conv2d(8, 8, 3, 2, 1)
self.last = nn.BatchNorm2d(8)
""",
        stem="x = self.act(self.norm(self.conv(x)))",
        stage="x = self.last(self.down(x))",
        pool="x = self.drop(x.mean((2, 3)))",
        logits="""
if self.num_classes > 0:
    left, right = x.chunk(2, 1)
    x = (self.heads[0](left) + self.heads[1](right)) / 2
""",
        heads="self.heads = nn.ModuleList([linear(4, num_classes, like), linear(4, num_classes, like)])",
        get_classifier="self.heads",
        classifier="('heads.0', 'heads.1')",
        as_map="x",
        levels=((8, 4, "act"), (8, 8, "last")),
        expected={"classifier_consistent": IS_NOT_ONE},
    ),
    Shape(
        name="headless",
        parts="""
self.conv = nn.Conv2d(in_chans, 8, 4, 4, bias=False)
self.norm = nn.BatchNorm2d(8)
self.act = nn.Hardswish()
self.depthwise = nn.Conv2d(8, 8, 3, 1, 1, groups=8)
self.gate = nn.Conv2d(8, 8, 1)
self.last = nn.BatchNorm2d(8)
""",
        stem="x = self.act(self.norm(self.conv(x)))",
        stage="""
y = self.depthwise(x)
x = self.last(x + y * self.gate(y.mean((2, 3), keepdim=True)).sigmoid())
""",
        pool="x = self.drop(x.mean((2, 3)))",
        logits="x = self.head(x)",
        heads="self.head = linear(8, num_classes, like)",
        get_classifier="self.head",
        classifier="'head'",
        as_map="x",
        levels=((8, 4, "act"), (8, 4, "last")),
        classes=0,
    ),
    Shape(
        name="hidden",
        parts="""
self.conv = nn.Conv2d(in_chans, 8, 4, 4)
self.norm = nn.BatchNorm2d(8)
self.act = nn.ReLU()
self.down = nn.Conv2d(8, 8, 2, 2)
self.last = nn.BatchNorm2d(8)
self.hidden = nn.Linear(8, 12)
""",
        stem="x = self.norm(self.conv(x))",
        stage="x = self.last(self.down(x))",
        pool="x = self.drop(self.act(self.hidden(x.mean((2, 3)))))",
        logits="x = self.fc(x)",
        heads="self.fc = linear(12, num_classes, like)",
        get_classifier="self.fc",
        classifier="'fc'",
        as_map="x",
        levels=((8, 4, "norm"), (8, 8, "last")),
        hidden=12,
        expected={"pooled_width_is_num_features": IS_SIGNAL},
    ),
    Shape(
        name="pixelwise",
        parts="""
self.conv = nn.Conv2d(in_chans, 8, 4, 4)
self.norm = nn.BatchNorm2d(8)
self.act = nn.ReLU()
self.last = nn.BatchNorm2d(8)
""",
        stem="x = self.act(self.norm(self.conv(x)))",
        stage="x = self.last(x + F.max_pool2d(x, 3, 1, 1))",
        pool="x = self.drop(x.mean((2, 3), keepdim=True))",
        logits="""
x = self.fc(x)
if self.pooled:
    x = x.flatten(1)
""",
        heads="self.fc = pixelwise(8, num_classes, like)",
        get_classifier="self.fc",
        classifier="'fc'",
        as_map="x",
        levels=((8, 4, "act"), (8, 4, "last")),
        pre_logits="x = x.flatten(1)",
        expected={"classifier_consistent": IS_NOT_ONE},
    ),
)
"""One each of many kinds: what a shape brings besides the lawful verdicts it says itself."""
