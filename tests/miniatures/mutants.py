"""This module holds mutants: models that break a claim in a way that is easily overlooked, with the claims they break.

Each was, or might have been, judged `holds`. `MUTANTS` says which claims must not hold; what else is said of a mutant
does not matter here.
"""

import collections
import functools
import itertools
import random
import time
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from tests.miniatures.contract import WIDTH, Cached, Conv, Distilled, Tokens, config, pooling

MUTANTS: dict[str, tuple[Callable[..., nn.Module], tuple[str, ...]]] = {}


def breaks(*claims: str) -> Callable[[Callable[..., nn.Module]], Callable[..., nn.Module]]:
    def declare(make: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        MUTANTS[make.__name__] = (make, claims)
        return make

    return declare


# Head: the composition is not what `forward` does


def whole(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return self.forward_head(self.forward_features(x))


@breaks("head_composes", "built_headless", "reset_to_pooled")
class forward_skips_a_module(Conv):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.act(self.conv(x)))


@breaks("head_composes")
class forward_pools_by_maximum(Conv):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(F.adaptive_max_pool2d(self.forward_features(x), 1).flatten(1))


@breaks("head_composes")
class forward_has_another_epsilon(Tokens):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_features(x)[:, 0]
        return self.head(F.layer_norm(x, (WIDTH,), self.fc_norm.weight, self.fc_norm.bias, 1e-6))


@breaks("head_composes")
class forward_scales_a_little(Conv):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x) * 1.0001)


@breaks("head_composes")
class forward_adds_next_to_nothing(Conv):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x)) + 1e-9


@breaks("head_composes")
class forward_takes_another_token(Tokens):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.fc_norm(self.forward_features(x)[:, -1]))


@breaks("head_composes")
class forward_differs_for_batches(Conv):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_features(x)
        return self.forward_head(x.flip(0) if x.shape[0] > 1 else x)


@breaks("head_composes")
class forward_attends_with_another_scale(Tokens):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1) + self.pos_embed
        qkv = self.qkv(x).reshape(2, 5, 3, 2, 4).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], scale=0.25)
        x = self.norm(x + self.proj(attended.transpose(1, 2).reshape(2, 5, WIDTH)))
        return self.forward_head(x)


@breaks("classifier_consistent")
class classifier_without_its_bias(Conv):
    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.pool(x)
        return x if pre_logits else x @ self.fc.weight.t()


@breaks("classifier_consistent")
class norm_between_pre_logits_and_classifier(Tokens):
    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = x[:, 0] if self.global_pool else x
        return x if pre_logits else self.head(self.fc_norm(x))


@breaks("classifier_consistent")
class classifier_is_another_of_its_kind(Conv):
    def get_classifier(self) -> nn.Module:
        return nn.Linear(WIDTH, self.num_classes, device=self.fc.weight.device)


@breaks("classifier_consistent")
class one_head_of_two(Distilled):
    def get_classifier(self) -> nn.Module:
        return self.fc


@breaks("pre_logits_pooled")
class pre_logits_with_pixels(Conv):
    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        return x.mean((2, 3), keepdim=True) if pre_logits else self.fc(self.pool(x))


@breaks("pre_logits_pooled", "reset_to_pooled", "built_headless")
class pre_logits_too_wide(Conv):
    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.pool(x)
        return torch.cat([x, x], 1) if pre_logits else self.fc(x)


@breaks("pre_logits_supported")
class pre_logits_in_a_list(Conv):
    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> Any:
        x = self.pool(x)
        return [x] if pre_logits else self.fc(x)


@breaks("features_width", "pooled_width_is_num_features")
class num_features_is_wrong(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.num_features = WIDTH * 2


@breaks("features_width")
class features_are_last_and_say_first(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x)).permute(0, 2, 3, 1)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = x.mean((1, 2))
        return x if pre_logits else self.fc(x)


@breaks("head_is_pure")
class head_writes_through_a_view(Conv):
    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        pooled = self.pool(x)
        x.flatten(2)[0, 0].add_(1)
        return pooled if pre_logits else self.fc(pooled)


@breaks("head_is_pure")
class head_reshapes_in_place(Conv):
    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        pooled = x.mean((-1, -2)) if x.ndim == 4 else x.mean((-1, -2, -3))
        x.unsqueeze_(0)
        return pooled if pre_logits else self.fc(pooled)


@breaks("head_is_pure")
class head_notes_what_it_did(Conv):
    def forward_features(self, x: torch.Tensor) -> dict[str, Any]:
        return {"x": super().forward_features(x), "pooled": False}

    def forward_head(self, x: dict[str, Any], pre_logits: bool = False) -> torch.Tensor:
        pooled = self.pool(x["x"]) * (2 if x["pooled"] else 1)
        x["pooled"] = True
        return pooled if pre_logits else self.fc(pooled)


@breaks("head_is_pure")
class head_takes_away_what_is_no_tensor(Conv):
    def forward_features(self, x: torch.Tensor) -> list[Any]:
        return [super().forward_features(x), None]

    def forward_head(self, x: list[Any], pre_logits: bool = False) -> torch.Tensor:
        x.pop()
        pooled = self.pool(x[0])
        return pooled if pre_logits else self.fc(pooled)


@breaks("head_is_pure")
class head_marks_the_tensor(Conv):
    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        pooled = self.pool(x) * (2 if getattr(x, "seen", False) else 1)
        x.seen = True
        return pooled if pre_logits else self.fc(pooled)


@breaks("features_width", "pre_logits_pooled")
class falls_back_where_numbers_are_missing(Conv):
    """Real tensors have twice the channels that meta tensors are given after what the model catches."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = super().forward_features(x)
        try:
            float(x.sum())
        except RuntimeError:
            return x
        return torch.cat([x, x], 1)


@breaks("head_is_pure")
class head_takes_from_the_list(Conv):
    def forward_features(self, x: torch.Tensor) -> list[torch.Tensor]:
        features = super().forward_features(x)
        return [features, features + 1]

    def forward_head(self, x: list[torch.Tensor], pre_logits: bool = False) -> torch.Tensor:
        pooled = self.pool(x.pop(0))
        return pooled if pre_logits else self.fc(pooled)


# Classifier: what resets do


@breaks("reset_to_pooled")
class reset_reinitialises_the_backbone(Conv):
    """The features of the model after `reset_classifier(0)` are those of other weights."""

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        super().reset_classifier(num_classes, global_pool)
        for parameter in self.conv.parameters():
            nn.init.normal_(parameter)


@breaks("reset_to_pooled")
class reset_zeroes_the_backbone(Conv):
    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        super().reset_classifier(num_classes, global_pool)
        self.conv.weight.data.zero_()


@breaks("reset_to_pooled")
class reset_makes_the_norm_anew(Conv):
    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        super().reset_classifier(num_classes, global_pool)
        like = self.conv.weight
        self.norm = nn.BatchNorm2d(WIDTH, device=like.device, dtype=like.dtype).eval()


@breaks("reset_to_pooled")
class reset_forgets_running_statistics(Conv):
    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        super().reset_classifier(num_classes, global_pool)
        self.norm.reset_running_stats()


@breaks("reset_to_pooled")
class reset_changes_a_buffer_made_of_data(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.register_buffer("scale", torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]).reshape(1, 8, 1, 1))

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        super().reset_classifier(num_classes, global_pool)
        self.scale.mul_(2)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x)) * self.scale


@breaks("reset_to_pooled")
class reset_to_none_leaves_the_classifier(Conv):
    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        if num_classes:
            super().reset_classifier(num_classes, global_pool)


@breaks("reset_to_classes")
class reset_forgets_num_classes(Conv):
    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        before = self.num_classes
        super().reset_classifier(num_classes, global_pool)
        self.num_classes = before


@breaks("reset_to_classes")
class reset_keeps_a_stale_weight(Conv):
    """The classifier's weight as the first call in eval mode prepared it survives the reset."""

    kept: Any = None

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        super().reset_classifier(num_classes, global_pool)
        if not num_classes:
            self.kept = None

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.pool(x)
        if pre_logits or not self.num_classes:
            return x
        if self.kept is None:
            self.kept = self.fc.weight.t()
        return x @ self.kept + self.fc.bias.sum()


@breaks("reset_keeps_placement")
class reset_ignores_dtype(Conv):
    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        self.num_classes = num_classes
        self.fc = nn.Linear(WIDTH, num_classes, device=self.conv.weight.device) if num_classes else nn.Identity()


@breaks("reset_keeps_placement")
class reset_ignores_device(Conv):
    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        self.num_classes = num_classes
        self.fc = nn.Linear(WIDTH, num_classes, dtype=self.conv.weight.dtype) if num_classes else nn.Identity()


@breaks("reset_keeps_placement")
class reset_frees_the_old_classifier_first(Conv):
    """The new tensors may get the addresses, and so the ids, of the old ones."""

    def __init__(self, num_classes: int = 10, **arguments: Any) -> None:
        super().__init__(num_classes, **arguments)
        self.fc = nn.Linear(WIDTH, num_classes, bias=False) if num_classes else nn.Identity()

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        self.num_classes = num_classes
        self.fc = nn.Identity()
        self.fc = nn.Linear(WIDTH, num_classes, bias=False) if num_classes else nn.Identity()


@breaks("reset_keeps_placement")
class reset_casts_the_whole_model(Conv):
    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        super().reset_classifier(num_classes, global_pool)
        self.float()


@breaks("reset_keeps_placement")
class reset_leaves_a_dropout_in_training(Conv):
    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        super().reset_classifier(num_classes, global_pool)
        self.drop = nn.Dropout(0.5)


class Noise(nn.Module):
    """Reads its flag outside of `forward`."""

    def add_to(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(x, 0.5, self.training)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.add_to(x)


class Decorated(nn.Module):
    @torch.no_grad()
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(x, 0.5, self.training)


@breaks("reset_keeps_placement")
class reset_leaves_a_helper_in_training(Conv):
    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        super().reset_classifier(num_classes, global_pool)
        self.drop = Noise()


@breaks("reset_keeps_placement")
class reset_leaves_a_decorated_forward_in_training(Conv):
    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        super().reset_classifier(num_classes, global_pool)
        self.drop = Decorated()


@breaks("classifier_named")
class computes_after_the_classifier(Conv):
    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.pool(x)
        return x if pre_logits else self.fc(x) * 0.5


@breaks("classifier_named")
class names_a_module_that_is_not_last(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.default_cfg = config("conv")


@breaks("classifier_named")
class names_one_head_of_two(Distilled):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.default_cfg = config("fc")


@breaks("classifier_named")
class names_no_classifier(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.default_cfg = config(None)


@breaks("classifier_named")
class averages_with_weights(Distilled):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.balance = nn.Parameter(torch.ones(()))

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.pool(x)
        return x if pre_logits else self.fc(x) * self.balance + self.fc_dist(x)


@breaks("classifier_named")
class computes_after_two_classifiers(Distilled):
    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.pool(x)
        return x if pre_logits else torch.softmax((self.fc(x) + self.fc_dist(x)) / 2, -1) * 3


@breaks("reset_to_pooled")
class reset_swaps_two_weights(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.first, self.second = nn.Conv2d(WIDTH, WIDTH, 1), nn.Conv2d(WIDTH, WIDTH, 1)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        super().reset_classifier(num_classes, global_pool)
        self.first, self.second = self.second, self.first

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(self.norm(self.conv(x))))


# Headless


@breaks("built_headless")
class built_headless_skips_the_norm(Tokens):
    def __init__(self, num_classes: int = 10, **arguments: Any) -> None:
        super().__init__(num_classes, **arguments)
        if not num_classes:
            self.fc_norm = nn.Identity()


@breaks("built_headless")
class buffer_computed_from_a_filled_parameter(Conv):
    """A non-persistent buffer made of initial weights differs, though built by the same operations."""

    def __init__(self, num_classes: int = 10, **arguments: Any) -> None:
        super().__init__(num_classes, **arguments)
        self.gain = nn.Parameter(torch.zeros(1, WIDTH, 1, 1))
        with torch.no_grad():
            self.gain.fill_(2.0 if num_classes else 3.0)
        self.register_buffer("first_gain", self.gain.detach().clone(), persistent=False)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x)) * self.gain * self.first_gain


@breaks("built_headless")
class buffer_of_another_value(Conv):
    def __init__(self, num_classes: int = 10, **arguments: Any) -> None:
        super().__init__(num_classes, **arguments)
        self.register_buffer("scale", torch.full((1, 8, 1, 1), 2.0 if num_classes else 3.0), persistent=False)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x)) * self.scale


@breaks("built_headless")
class scale_as_a_plain_attribute(Conv):
    def __init__(self, num_classes: int = 10, **arguments: Any) -> None:
        super().__init__(num_classes, **arguments)
        self.scale = 2.0 if num_classes else 3.0

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x)) * self.scale


# Properties: randomness and state


@breaks("deterministic_in_eval", "head_composes")
class dropout_stays_active(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(self.norm(self.conv(x)), 0.1, True)


@breaks("deterministic_in_eval")
class pythons_random_number(Conv):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return whole(self, x) * random.random()


@breaks("deterministic_in_eval")
class own_generator(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.generator = np.random.default_rng(0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return whole(self, x) * float(self.generator.random())


@breaks("deterministic_in_eval")
class reads_the_clock(Conv):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return whole(self, x) * time.perf_counter()


@breaks("deterministic_in_eval")
class state_in_an_attribute(Conv):
    calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return whole(self, x) * (1 + self.calls % 2)


@breaks("deterministic_in_eval")
class state_in_an_object(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.state = types.SimpleNamespace(calls=0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.state.calls += 1
        return whole(self, x) * (1 + self.state.calls % 2)


@breaks("deterministic_in_eval")
class state_in_a_deque(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.scales = collections.deque([1.0, 2.0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.scales.rotate()
        return whole(self, x) * self.scales[0]


@breaks("deterministic_in_eval")
class state_in_an_iterator(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.scales = itertools.cycle([1.0, 2.0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return whole(self, x) * next(self.scales)


@breaks("deterministic_in_eval")
class state_in_the_class(Conv):
    scales = {"now": 1.0}  # noqa: RUF012  # state of the class is what this is about

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.scales["now"] = 3.0 - self.scales["now"]
        return whole(self, x) * self.scales["now"]


@breaks("deterministic_in_eval")
class state_in_an_array(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.scale = np.ones(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.scale[0] = 3.0 - self.scale[0]
        return whole(self, x) * float(self.scale[0])


@breaks("deterministic_in_eval")
class state_in_a_buffer(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return whole(self, x) * self.calls


@breaks("deterministic_in_eval")
class state_in_a_weight(Conv):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = whole(self, x)
        self.conv.weight.data.mul_(0.99)
        return x


@breaks("deterministic_in_eval")
class state_in_a_swapped_weight(Conv):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = whole(self, x)
        self.conv.weight.data = self.conv.weight.data * 0.99
        return x


@breaks("deterministic_in_eval")
class normalises_with_moving_statistics(Conv):
    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        self.norm.train()
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = whole(self, x)
        return x * self.norm.running_mean.sum()


@breaks("deterministic_in_eval")
class first_call_differs(Conv):
    warm = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = whole(self, x)
        if not self.warm:
            self.warm = True
            return x * 2
        return x


@breaks("head_composes")
class features_change_after_a_few_calls(Conv):
    """`forward` does not call `forward_features`, whose state therefore shows in one pass only."""

    calls = 0

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        x = self.act(self.norm(self.conv(x)))
        return x * 2 if self.calls > 3 else x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.act(self.norm(self.conv(x))))


@breaks("uses_all_parameters")
class parameter_that_only_training_uses(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.auxiliary = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = whole(self, x)
        return x * self.auxiliary if self.training else x


@breaks("uses_all_parameters")
class parameter_whose_shape_is_read(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.shaped = nn.Parameter(torch.ones(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return whole(self, x) * self.shaped.shape[0] + self.shaped.new_zeros(())


@breaks("uses_all_parameters")
class parameter_that_gets_no_gradient(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.detached = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return whole(self, x) * self.detached.detach()


@breaks("keeps_dtype")
class upcasts_for_softmax(Conv):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.softmax(whole(self, x), -1, dtype=torch.float32)


@breaks("keeps_dtype")
class keeps_a_cache_of_another_dtype(Cached):
    def _apply(self, fn: Any, recurse: bool = True) -> nn.Module:
        kept = self.cache
        super()._apply(fn, recurse)
        self.cache = kept
        return self


@breaks("keeps_dtype")
class gives_an_object_of_float32(Conv):
    def forward(self, x: torch.Tensor) -> Any:
        return types.SimpleNamespace(logits=whole(self, x).float())


# TorchScript


@breaks("script_matches")
class script_skips_a_module(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        if not torch.jit.is_scripting():
            x = self.norm(x)
        return x


def remember(calls: dict[str, int]) -> int:
    calls["n"] = calls.get("n", 0) + 1
    return calls["n"]


@breaks("script_matches")
class script_counts_calls_in_a_helper(Conv):
    """The first scripted call gives what the model gives, the second does not."""

    calls: dict[str, int]

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.calls = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_head(self.forward_features(x))
        if torch.jit.is_scripting():  # noqa: SIM102  # TorchScript prunes the outer one alone
            if remember(self.calls) > 1:
                return x * 2
        return x


@breaks("script_matches")
class script_counts_calls_in_a_buffer(Conv):
    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_head(self.forward_features(x)) * self.scale
        if torch.jit.is_scripting():
            self.scale.add_(1)
        return x


@breaks("script_matches")
class script_doubles_its_first_call(Conv):
    warm: bool

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.warm = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_head(self.forward_features(x))
        if torch.jit.is_scripting():  # noqa: SIM102  # TorchScript prunes the outer one alone
            if not self.warm:
                self.warm = True
                return x * 2
        return x


class Scale(nn.Module):
    """Comes back from a file twice as large as it was."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, WIDTH))

    @torch.jit.export
    def __getstate__(self):
        return (self.weight, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]) -> None:
        self.weight = state[0] * 2
        self.training = state[1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight


@breaks("script_round_trips")
class loading_changes_the_weights(Conv):
    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.drop = Scale()


# Vacuous


@breaks("reset_to_classes", "reset_to_pooled", "classifier_consistent")
class says_that_it_has_no_classes(Conv):
    """Classifies, and keeps `num_classes` at 0: each of the classifier claims is broken besides."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.num_classes = 0

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        raise RuntimeError("not thought of")

    def get_classifier(self) -> nn.Module:
        return self.conv


@breaks("reset_to_pooled")
class headless_by_default_and_unable_to_drop_its_classifier(Conv):
    def __init__(self, num_classes: int = 0, **arguments: Any) -> None:
        super().__init__(num_classes, **arguments)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        self.num_classes = num_classes


partial_pool = functools.partial(pooling, "max")


@breaks("reset_to_pooled")
class reset_swaps_a_partial(Conv):
    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        super().reset_classifier(num_classes, global_pool)
        self.pool = partial_pool()


# What one pass leaves for the next


@breaks("head_composes")
class pre_logits_double_the_features_for_the_logits(Conv):
    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        if pre_logits:
            pooled = super().forward_head(x, pre_logits=True)
            x.mul_(2)
            return pooled
        return super().forward_head(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward_head(self.forward_features(x).mul_(2))


@breaks("head_composes")
class features_transpose_the_images_in_place(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x.transpose_(2, 3)
        return self.act(self.norm(self.conv(x)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.act(self.norm(self.conv(x))))
