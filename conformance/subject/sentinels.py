"""This module holds the sentinels: miniature models whose verdicts are known, which every audit decides among timm's.

A sentinel goes the way of every other subject. What comes out wrong of it may have come out wrong of any model beside
it: the suite, torch or the machine is broken there.

TorchScript reads annotations as they stand, and comments about types: no `from __future__ import annotations` here,
and what the type checker ignores is written down in pyproject.toml.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from conformance.record import Verdict

PREFIX = "timm_conformance_sentinel_"
"""No model of timm's, and none of anybody's, is called so."""

_WIDTH = 8
_TILE = 8
"""Pixels of an image that one feature stands for, along each side."""
_SIZE = 32
"""Pixels."""


def _pooling(kind: str) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1)) if kind else nn.Identity()


def _linear(num_classes: int, like: torch.Tensor | None = None) -> nn.Module:
    if not num_classes:
        return nn.Identity()
    if like is None:
        return nn.Linear(_WIDTH, num_classes)
    return nn.Linear(_WIDTH, num_classes, device=like.device, dtype=like.dtype)


class Convolutions(nn.Module):
    """A lawful one: features (batch, 8, 4, 4) of a convolution with BatchNorm, average pooling, a linear classifier."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__()
        self.default_cfg: dict[str, Any] = {
            "input_size": (3, _SIZE, _SIZE),
            "num_classes": 10,
            "classifier": "fc",
            "first_conv": "conv",
        }
        self.num_classes = num_classes
        self.num_features = self.head_hidden_size = _WIDTH
        self.conv = nn.Conv2d(in_chans, _WIDTH, _TILE, _TILE, bias=False)
        self.norm = nn.BatchNorm2d(_WIDTH)
        self.pool = _pooling(global_pool)
        self.drop = nn.Dropout(0.1)
        self.fc = _linear(num_classes)
        self.feature_info = [{"num_chs": _WIDTH, "reduction": _TILE, "module": "norm"}]

    def get_classifier(self) -> nn.Module:
        """The linear layer."""
        return self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new classifier beside the weights that there are."""
        self.num_classes = num_classes
        if global_pool is not None:
            self.pool = _pooling(global_pool)
        self.fc = _linear(num_classes, like=self.conv.weight)

    @torch.jit.ignore
    def forward_intermediates(
        self, x: torch.Tensor, indices: list[int] | None = None, output_fmt: str = "NCHW"
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Features, and the one level that there is.

        Raises:
            IndexError: `indices` names another.
        """
        features = self.forward_features(x)
        return features, [(features,)[index] for index in (indices or [0])]

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """The features of images (batch, 3, 32, 32)."""
        return nn.functional.relu(self.norm(self.conv(x)))

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """The embedding (batch, 8), or logits (batch, classes)."""
        pooled: torch.Tensor = self.drop(self.pool(x))
        logits: torch.Tensor = pooled if pre_logits else self.fc(pooled)
        return logits

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.forward_head(self.forward_features(x))


class Tokens(Convolutions):
    """Another: features (batch, 16, 8) with attention among tokens, pooled by their mean and then normalised."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.pooled = bool(global_pool)
        self.qkv = nn.Linear(_WIDTH, 3 * _WIDTH)
        self.last: nn.Module = nn.LayerNorm(_WIDTH)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new classifier; the norm of the embedding goes with the pooling."""
        self.num_classes = num_classes
        if global_pool is not None:
            self.pooled = bool(global_pool)
            self.last = self.last if self.pooled else nn.Identity()
        self.fc = _linear(num_classes, like=self.conv.weight)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """The features of images (batch, 3, 32, 32)."""
        x = self.norm(self.conv(x)).flatten(2).transpose(1, 2)
        batch, tokens, width = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, 2, width // 2).permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], dropout_p=0.0)
        return x + attended.transpose(1, 2).reshape(batch, tokens, width)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """The embedding (batch, 8), or logits (batch, classes)."""
        if self.pooled:
            x = x.mean(1)
        embedding: torch.Tensor = self.last(x)
        logits: torch.Tensor = embedding if pre_logits else self.fc(embedding)
        return logits


class Deceiving(Convolutions):
    """It runs everywhere, every shape is right, and nothing that the contract promises of values is true."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.between = nn.Linear(_WIDTH, _WIDTH)
        self.spare = nn.Linear(_WIDTH, _WIDTH)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """The pooling and `num_classes` stay, and the new classifier is where and what torch makes by default."""
        self.fc = _linear(num_classes)

    @torch.jit.ignore
    def forward_intermediates(
        self, x: torch.Tensor, indices: list[int] | None = None, output_fmt: str = "NCHW"
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Features of another image."""
        features = self.forward_features(x.flip(-1))
        return features, [features[:, 1:]]

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """What it is depends on who runs it, and on the other images."""
        x = self.norm(self.conv(x))
        x = x - x.mean(0, keepdim=True) * 0.5
        if torch.jit.is_scripting():
            x = x * 1.0001
        elif torch.compiler.is_compiling():
            x = x * 0.9999
        return x

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """There is a layer between embedding and classifier, and the features are written over."""
        pooled: torch.Tensor = self.pool(x)
        if pre_logits:
            return pooled
        x.mul_(2.0)
        logits: torch.Tensor = self.fc(self.between(pooled))
        return logits

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits a little larger than those of the head."""
        return self.forward_head(self.forward_features(x)) * 1.0001


class Chance(Convolutions):
    """It rolls dice in eval mode."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Features with a little noise."""
        x = self.norm(self.conv(x))
        return x + torch.randn_like(x) * 0.1


class Misstating(Convolutions):
    """Its attributes are wrong, and so is the dtype of what it gives."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.num_features = _WIDTH + 1
        self.head_hidden_size = _WIDTH + 2
        self.default_cfg["classifier"] = "drop"
        self.feature_info[0]["num_chs"] = _WIDTH + 3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits in single precision."""
        return self.forward_head(self.forward_features(x)).float()


class Refusing(Convolutions):
    """It lacks a keyword, and what no compiler can read is in its way."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Features, by way of a function that TorchScript does not know and a branch that no graph has."""
        double: Callable[[torch.Tensor], torch.Tensor] = lambda y: y + y  # noqa: E731  # TorchScript knows no lambda
        x = double(self.norm(self.conv(x)))
        return x if float(x.detach().new_zeros(()).sum()) == 0 else x * 2

    def forward_head(self, x: torch.Tensor, embedding: bool = False) -> torch.Tensor:
        """Logits alone."""
        logits: torch.Tensor = self.fc(self.pool(x))
        return logits


@dataclass(frozen=True)
class Sentinel:
    """A miniature and what is known of it. A claim that is not named holds if the sentinel is lawful.

    Of one that is not, claims that are not named must only not be violated: what needs a violated one does not apply.
    """

    make: Callable[..., nn.Module]
    violates: frozenset[str] = frozenset()
    """Ids of claims."""
    lacks: frozenset[str] = frozenset()
    """Ids of claims that do not apply to a lawful one."""

    def true(self, claim_id: str) -> frozenset[Verdict]:
        """The verdicts that can be true, `undecided` always: time and memory may run out."""
        if claim_id in self.violates:
            return frozenset({Verdict.VIOLATED, Verdict.UNDECIDED})
        if self.violates:
            return frozenset(Verdict) - {Verdict.VIOLATED}
        return frozenset({Verdict.NOT_APPLICABLE if claim_id in self.lacks else Verdict.HOLDS, Verdict.UNDECIDED})


_WITHOUT_FEATURES_ONLY = frozenset({"features_only_matches_info"})

SENTINELS = {
    "convolutions": Sentinel(Convolutions, lacks=_WITHOUT_FEATURES_ONLY),
    "tokens": Sentinel(Tokens, lacks=_WITHOUT_FEATURES_ONLY),
    "deceiving": Sentinel(
        Deceiving,
        violates=frozenset(
            {
                "batch_independent",
                "built_headless",
                "classifier_consistent",
                "compile_matches",
                "export_dynamic_batch",
                "export_matches",
                "head_composes",
                "head_is_pure",
                "intermediates_final",
                "intermediates_match_info",
                "reset_keeps_placement",
                "reset_to_classes",
                "reset_to_pooled",
                "script_matches",
                "script_pre_logits",
                "unpooled_reset",
                "uses_all_parameters",
            }
        ),
    ),
    "misstating": Sentinel(
        Misstating,
        violates=frozenset(
            {
                "classifier_named",
                "features_width",
                "intermediates_match_info",
                "keeps_dtype",
                "pooled_width_is_num_features",
                "pre_logits_pooled",
            }
        ),
    ),
    "refusing": Sentinel(
        Refusing,
        violates=frozenset({"compiles", "exports", "fx_traces", "onnx_exports", "pre_logits_supported", "scripts"}),
    ),
    "chance": Sentinel(
        Chance,
        violates=frozenset(
            {
                "batch_independent",
                "built_headless",
                "compile_matches",
                "deterministic_in_eval",
                "export_dynamic_batch",
                "export_matches",
                "fx_matches",
                "head_composes",
                "intermediates_final",
                "intermediates_match_info",
                "onnx_exports",
                "reset_to_pooled",
                "script_matches",
                "script_pre_logits",
                "script_round_trips",
                "classifier_consistent",
            }
        ),
    ),
}


def entries(number: int) -> tuple[str, ...]:
    """The names of a set of sentinels, told from those of other sets by its number."""
    return tuple(f"{PREFIX}{kind}_{number}" for kind in SENTINELS)


def is_sentinel(name: str) -> bool:
    """Whether the name is that of a sentinel."""
    return name.startswith(PREFIX)


def sentinel_of(name: str) -> Sentinel:
    """The sentinel that has the name."""
    return SENTINELS[name.removeprefix(PREFIX).rpartition("_")[0]]


@contextmanager
def registered(name: str) -> Iterator[None]:
    """Enter the sentinel `name`, whatever number follows its name, into timm's registry for a while.

    Models are built through the registry (timm/models/_registry.py, or models/registry.py before 0.9); whoever lists
    models meanwhile would see it.
    """
    make = sentinel_of(name).make

    def entry(pretrained: bool = False, **arguments: Any) -> nn.Module:
        return make(**{key: value for key, value in arguments.items() if not key.startswith(("pretrained", "cache"))})

    registry = sys.modules.get("timm.models._registry") or sys.modules["timm.models.registry"]
    registry._model_entrypoints[name] = entry
    try:
        yield
    finally:
        del registry._model_entrypoints[name]
