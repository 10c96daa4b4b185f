"""This module holds models that keep the contract in ways that a judge may stumble over: none may be accused."""

import abc
import functools
import logging
import threading
import types
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tests.miniatures.contract import WIDTH, Conv, linear

ODDITIES: dict[str, tuple[Callable[..., nn.Module], tuple[str, ...]]] = {}
"""Each with the claims that must not be `violated` of it."""

ALL = (
    "builds",
    "forward_features_runs",
    "pre_logits_supported",
    "head_composes",
    "classifier_consistent",
    "head_is_pure",
    "reset_to_pooled",
    "built_headless",
    "reset_to_classes",
    "reset_keeps_placement",
    "unpooled_reset",
    "classifier_named",
    "deterministic_in_eval",
    "uses_all_parameters",
    "keeps_dtype",
)


def lawful(*claims: str) -> Callable[[Callable[..., nn.Module]], Callable[..., nn.Module]]:
    def declare(make: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        ODDITIES[make.__name__] = (make, claims or ALL)
        return make

    return declare


@lawful()
class has_a_lock(Conv):
    """Deep copying fails."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.lock = threading.Lock()


@lawful()
class has_a_module_of_functions(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.functional = F


@lawful()
class knows_its_parent_weakly(Conv):
    """A copy's weak reference leads to the original."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.me = weakref.ref(self)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.pool(x)
        return x if pre_logits else self.me().fc(x)


@lawful()
class head_in_a_default_argument(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.head_of = lambda x, model=self: model.fc(x)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.pool(x)
        return x if pre_logits else self.head_of(x)


@lawful()
class head_in_a_nested_closure(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        held = [self]

        def head_of(x: torch.Tensor) -> torch.Tensor:
            return held[0].fc(x)

        self.head_of = head_of

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.pool(x)
        return x if pre_logits else self.head_of(x)


@lawful()
class head_in_a_partial_in_an_object(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.parts = types.SimpleNamespace(head=functools.partial(Conv.get_classifier, self))

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.pool(x)
        return x if pre_logits else self.parts.head()(x)


@lawful()
class reads_a_number_while_it_is_built(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.scales = torch.ones(4).cumsum(0).tolist()

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x)) * self.scales[2]


@lawful("forward_features_runs", "deterministic_in_eval", "keeps_dtype", "uses_all_parameters", "script_matches")
class branches_on_its_input(Conv):
    """What the meta device cannot say."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x))
        return x * 0.5 if bool(x.abs().max() > 1e6) else x


@lawful("forward_features_runs", "deterministic_in_eval", "keeps_dtype", "uses_all_parameters", "script_matches")
class selects_by_a_mask(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x))
        return x - x[x > 0].mean()


@lawful()
class turns_autocast_off(Conv):
    """`torch.autocast` knows no meta device."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device_type=x.device.type, enabled=False):
            return self.norm(self.conv(x))


@lawful()
class keeps_a_constant_beside_its_buffers(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.scale = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]).reshape(1, 8, 1, 1)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x)) * self.scale.to(x.device, x.dtype)


@lawful()
class has_a_sparse_buffer(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.register_buffer("graph", torch.eye(3).to_sparse())


@lawful("deterministic_in_eval")
class draws_noise_and_scales_it_by_nothing(Conv):
    """As noisy gating does in eval mode."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.noise = 0.0

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x))
        return torch.where(torch.rand_like(x) < 0, -x, x)


@lawful("uses_all_parameters")
class samples_with_a_learnt_probability(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.chance = nn.Parameter(torch.zeros(WIDTH))

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x)) * torch.bernoulli(self.chance.sigmoid()).reshape(1, WIDTH, 1, 1)


@lawful("head_is_pure")
class applies_relu_again_in_place(Conv):
    """The features are what they were: they had been through a ReLU already."""

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.pool(F.relu_(x))
        return x if pre_logits else self.fc(x)


@lawful("head_composes", "reset_to_pooled")
class head_writes_and_composes_all_the_same(Conv):
    """`forward_head(forward_features(x))` is what `forward` does: that the features are written is another claim's."""

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.pool(x.mul_(2))
        return x if pre_logits else self.fc(x)


@lawful("builds")
class learns_the_width_of_its_classifier_from_its_first_images(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.fc = nn.LazyLinear(self.num_classes)


class Results(OrderedDict[str, torch.Tensor]):
    pass


@lawful("head_composes", "classifier_consistent", "classifier_named", "reset_to_pooled")
class takes_its_features_out_of_a_dictionary_of_its_own(Conv):
    """Each claim hands the features to a head that empties them: that is `head_is_pure`'s alone."""

    def forward_features(self, x: torch.Tensor) -> Any:
        return Results(out=super().forward_features(x))

    def forward_head(self, x: Any, pre_logits: bool = False) -> torch.Tensor:
        x = self.pool(x.pop("out"))
        return x if pre_logits else self.fc(x)


class Pair(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor


@lawful("head_composes", "classifier_consistent", "classifier_named", "reset_to_pooled")
class turns_its_features_in_place(Conv):
    def forward_features(self, x: torch.Tensor) -> Any:
        x = super().forward_features(x)
        return Pair(x, x + 1)

    def forward_head(self, x: Any, pre_logits: bool = False) -> torch.Tensor:
        x = x.first.transpose_(1, 2).mean((1, 3))
        return x if pre_logits else self.fc(x)


@lawful("head_composes", "head_is_pure", "classifier_consistent")
class keeps_a_note_on_its_features(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = super().forward_features(x)
        x.scale = 2.0
        return x

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.pool(x) * x.scale
        return x if pre_logits else self.fc(x)


@lawful("uses_all_parameters")
class computes_a_layer_twice_to_save_memory(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return checkpoint(super().forward_features, x.requires_grad_(), use_reentrant=True)


def swish(x: torch.Tensor) -> torch.Tensor:
    return x.mul(x.sigmoid())


@functools.cache
def compiled_swish() -> Callable[[torch.Tensor], torch.Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(swish)


@lawful()
class calls_compiled_functions(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x))
        for _ in range(4):
            x = compiled_swish()(x)
        return x


@lawful()
class ties_its_weights(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.second = nn.Conv2d(WIDTH, WIDTH, 1, bias=False)
        self.third = nn.Conv2d(WIDTH, WIDTH, 1, bias=False)
        self.third.weight = self.second.weight

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.third(self.second(self.norm(self.conv(x))))


@lawful()
class normalises_its_weight(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.second = nn.utils.parametrizations.weight_norm(nn.Conv2d(WIDTH, WIDTH, 1))

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.norm(self.conv(x)))


@lawful()
class asks_for_its_own_weights_type(Conv):
    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        first = next(self.parameters())
        super().reset_classifier(num_classes, global_pool)
        self.fc = linear(WIDTH, num_classes).to(first.device, first.dtype)


@lawful("deterministic_in_eval", "head_composes", "keeps_dtype")
class normalises_its_input_in_place(Conv):
    """Writes to the images: careless, but no claim speaks of it."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x.sub_(0.5)))


@lawful("forward_features_runs", "deterministic_in_eval", "keeps_dtype")
class passes_through_a_sparse_tensor(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x)).to_sparse().to_dense()


@lawful()
class calls_a_method_that_it_holds(Conv):
    """A bound method, which a deep copy binds to the copy."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.embed = self.embed_images

    def embed_images(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x))

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.embed(x)


@lawful()
class hooks_its_head(Conv):
    """A forward hook that closes over the model."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.pool.register_forward_hook(lambda module, args, output: output * (1.0 + 0 * self.num_classes))


class Thing:
    pass


@lawful()
class holds_a_dead_reference(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        thing = Thing()
        self.dead = weakref.proxy(thing)


@lawful()
class lists_a_dead_reference(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.dead = [weakref.proxy(Thing())]


@lawful()
class adds_a_dimension_by_a_mask(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x))
        assert x[torch.tensor(False)].shape[0] == 0
        return x[torch.tensor(True)][0]


@lawful()
class counts_its_calls(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.statistics = types.SimpleNamespace(calls=0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.statistics.calls += 1
        return super().forward(x)


@lawful()
class knows_its_scale_by_a_weak_key(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        SCALES[self] = 2.0

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.pool(x) * SCALES[self]
        return x if pre_logits else self.fc(x)


SCALES: weakref.WeakKeyDictionary[nn.Module, float] = weakref.WeakKeyDictionary()


@lawful()
class reads_what_is_written_on_a_parameter(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.conv.weight.scale = 2.0

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x)) * self.conv.weight.scale


@lawful()
class logs(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.logger = logging.getLogger("logs")

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        self.logger.debug("images of %s", tuple(x.shape))
        return self.norm(self.conv(x))


class Binarise(torch.autograd.Function):
    """Straight through: the gradient passes where the number does not."""

    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor) -> torch.Tensor:
        return (weight > 0).to(weight.dtype) * 2 - 1

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient


@lawful()
class has_binary_weights(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.norm(F.conv2d(x, Binarise.apply(self.conv.weight), stride=8)))


@lawful()
class lists_its_parameters(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.gammas = [nn.Parameter(torch.tensor(1.0)) for _ in range(2)]
        for index, gamma in enumerate(self.gammas):
            self.register_parameter(f"gamma_{index}", gamma)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.norm(self.conv(x)))
        for gamma in self.gammas:
            x = x * gamma
        return x


@lawful("classifier_named", "head_composes")
class uses_weights_without_calling_their_module(Conv):
    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.pool(x)
        return x if pre_logits else F.linear(x, self.fc.weight, self.fc.bias)


@lawful()
class knows_its_modules_by_identity(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.scales = {id(self.conv): 2.0}

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.norm(self.conv(x))) * self.scales[id(self.conv)]


class Scaled(nn.Parameter):
    pass


@lawful()
class has_a_parameter_of_its_own_class(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.gamma = Scaled(torch.ones(1, WIDTH, 1, 1))

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.norm(self.conv(x))) * self.gamma


@lawful("builds", "forward_features_runs", "head_composes", "deterministic_in_eval")
class gives_its_size_with_the_features(Conv):
    def forward_features(self, x: torch.Tensor) -> Any:
        x = self.act(self.norm(self.conv(x)))
        return x, tuple(x.shape[2:])

    def forward_head(self, x: Any, pre_logits: bool = False) -> torch.Tensor:
        return super().forward_head(x[0], pre_logits)


@lawful()
class keeps_its_rope_in_float32(Conv):
    """And has a lock, so that it is not copied."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.lock = threading.Lock()
        self.register_buffer("rope", torch.ones(WIDTH), persistent=False)

    def _apply(self, fn: Any, recurse: bool = True) -> nn.Module:
        rope = self.rope
        super()._apply(fn, recurse)
        self.rope = rope.to(self.conv.weight.device)
        return self

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.norm(self.conv(x))) * self.rope.to(x.dtype).reshape(1, WIDTH, 1, 1)


class Declared(abc.ABC):
    @abc.abstractmethod
    def declare(self) -> None: ...


@lawful()
class has_an_abstract_base(Conv, Declared):
    def declare(self) -> None:
        pass
