"""This module holds mutants that hide: work that the tracer does not see, and state that outlives a call.

As in `tests.miniatures.mutants`, each was, or might have been, judged `holds`.
"""

import _thread
import collections
import itertools
import random
import types
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Optional

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils import _python_dispatch

from tests.miniatures.contract import WIDTH, Conv, Distilled, Tokens
from tests.miniatures.mutants import breaks, whole

# State in the globals of a file, in a class there and three levels deep


class Calls:
    made = 0


@breaks("deterministic_in_eval")
class counts_in_a_class_that_is_no_module(Conv):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        Calls.made += 1
        return super().forward(x) * (1 if Calls.made < 3 else 2)


DEEP = {"calls": {"by": {"n": 0}}}


@breaks("deterministic_in_eval")
class counts_deep_in_a_dictionary(Conv):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        DEEP["calls"]["by"]["n"] += 1
        return super().forward(x) * (1 if DEEP["calls"]["by"]["n"] < 3 else 2)


# Work behind the tracer's back

POOL = ThreadPoolExecutor(1)


@breaks("head_composes", "reset_to_pooled")
class forward_doubles_in_another_thread(Conv):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_features(x)
        POOL.submit(lambda: None).result()
        POOL.submit(x.mul_, 2).result()
        return self.forward_head(x)


WARM = ThreadPoolExecutor(1)
WARM.submit(int).result()


@breaks("head_composes", "reset_to_pooled")
class forward_doubles_in_a_thread_from_before(Conv):
    """Its pool has its thread from the moment that the module is imported."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_features(x)
        WARM.submit(x.mul_, 2).result()
        return self.forward_head(x)


@breaks("head_composes", "reset_to_pooled")
class forward_doubles_in_a_raw_thread(Conv):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_features(x)
        done = _thread.allocate_lock()
        done.acquire()

        def double() -> None:
            x.mul_(2)
            done.release()

        _thread.start_new_thread(double, ())
        done.acquire()
        return self.forward_head(x)


@breaks("head_composes", "reset_to_pooled")
class forward_doubles_without_dispatch(Conv):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_features(x)
        with torch._C._DisableTorchDispatch():
            x.mul_(2)
        return self.forward_head(x)


@breaks("head_composes", "reset_to_pooled")
class forward_doubles_without_modes(Conv):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_features(x)
        with _python_dispatch._disable_current_modes():
            x.mul_(2)
        return self.forward_head(x)


# State that shows after some calls


class FewCalls(Conv):
    """`forward` does not call `forward_features`, which counts its calls and changes after the third."""

    def count(self) -> int:
        raise NotImplementedError

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.norm(self.conv(x)))
        return x * 2 if self.count() > 3 else x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.act(self.norm(self.conv(x))))


@breaks("head_composes")
class features_count_in_a_counter(FewCalls):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.calls: collections.Counter[str] = collections.Counter()

    def count(self) -> int:
        self.calls["features"] += 1
        return self.calls["features"]


@breaks("head_composes")
class features_count_in_a_namespace(FewCalls):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.calls = types.SimpleNamespace(features=0)

    def count(self) -> int:
        self.calls.features += 1
        return self.calls.features


@breaks("head_composes")
class features_count_in_a_listed_module(FewCalls):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.parts = [nn.Identity()]
        self.parts[0].calls = 0

    def count(self) -> int:
        self.parts[0].calls += 1
        return self.parts[0].calls


def deep(depth: int) -> list[Any]:
    return [deep(depth - 1)] if depth else [0]


@breaks("head_composes")
class features_count_deep_inside(FewCalls):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.calls = deep(12)

    def count(self) -> int:
        innermost = self.calls
        while isinstance(innermost[0], list):
            innermost = innermost[0]
        innermost[0] += 1
        return innermost[0]


class Slotted:
    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls = 0


@breaks("head_composes")
class features_count_in_a_slot(FewCalls):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.state = Slotted()

    def count(self) -> int:
        self.state.calls += 1
        return self.state.calls


@breaks("head_composes")
class features_count_in_an_array(FewCalls):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.calls = np.zeros(1)

    def count(self) -> int:
        self.calls[0] += 1
        return int(self.calls[0])


@breaks("head_composes")
class features_count_in_a_default_argument(FewCalls):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.counter = lambda calls=[0]: (calls.append(1), len(calls))[1]  # what this is about

    def count(self) -> int:
        return self.counter() - 1


@breaks("head_composes")
class features_count_in_a_closure(FewCalls):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        calls = 0

        def counter() -> int:
            nonlocal calls
            calls += 1
            return calls

        self.count = counter


@breaks("head_composes")
class features_count_in_a_generator(FewCalls):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.calls = (number for number in range(1, 1000))

    def count(self) -> int:
        return next(self.calls)


@breaks("head_composes")
class features_count_in_a_list_of_its_own_class(FewCalls):
    class Calls(list[int]):
        pass

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.calls = self.Calls()

    def count(self) -> int:
        self.calls.append(1)
        return len(self.calls)


@breaks("head_composes")
class features_count_in_their_class(FewCalls):
    calls = 0

    def count(self) -> int:
        type(self).calls += 1
        return type(self).calls


CALLS = {"features": 0}


@breaks("head_composes")
class features_count_in_a_global(FewCalls):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        CALLS["features"] = 0

    def count(self) -> int:
        CALLS["features"] += 1
        return CALLS["features"]


@breaks("head_composes")
class features_count_through_numpy(FewCalls):
    """In a tensor's memory, which numpy shares from the beginning."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.calls = torch.zeros(1, device="cpu")
        self.memory = self.calls.numpy()

    def count(self) -> int:
        self.memory[0] += 1
        return int(self.memory[0])


@breaks("head_composes")
class features_count_by_apply(FewCalls):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.calls = torch.tensor([0.0])

    def count(self) -> int:
        self.calls.apply_(lambda calls: calls + 1)
        return int(self.calls.tolist()[0])


@breaks("head_composes")
class features_count_in_new_data(FewCalls):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.calls = torch.tensor([0.0])

    def count(self) -> int:
        self.calls.data = torch.tensor([self.calls.tolist()[0] + 1])
        return int(self.calls.tolist()[0])


@breaks("head_composes")
class features_count_on_a_parameter(FewCalls):
    def count(self) -> int:
        self.conv.weight.calls = getattr(self.conv.weight, "calls", 0) + 1
        return self.conv.weight.calls


KNOWN: weakref.WeakKeyDictionary[nn.Module, float] = weakref.WeakKeyDictionary()


@breaks("built_headless")
class knows_its_scale_by_a_weak_key(Conv):
    """A copy is not known; a model with ten classes scales by two."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        KNOWN[self] = 2.0 if self.num_classes else 1.0

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.pool(x) * KNOWN.get(self, 1.0)
        return x if pre_logits else self.fc(x)


@breaks("built_headless")
class scales_by_what_is_written_on_a_parameter(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.conv.weight.scale = 2.0 if self.num_classes else 1.0

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.pool(x) * getattr(self.conv.weight, "scale", 1.0)
        return x if pre_logits else self.fc(x)


# Parameters that take part without getting a gradient


class Scaled(Conv):
    """By a persistent buffer, a constant that checkpoints hold as well: another one without classes."""

    def __init__(self, num_classes: int = 10, **arguments: Any) -> None:
        super().__init__(num_classes, **arguments)
        self.register_buffer("scale", self.made(20.0 if num_classes else 2.0))

    def made(self, scale: float) -> torch.Tensor:
        raise NotImplementedError

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward_features(x) * self.scale


@breaks("built_headless")
class scale_is_a_full_buffer(Scaled):
    def made(self, scale: float) -> torch.Tensor:
        return torch.full((1,), scale)


@breaks("built_headless")
class scale_is_a_multiple_of_one(Scaled):
    def made(self, scale: float) -> torch.Tensor:
        return torch.ones(1) * scale


@breaks("built_headless")
class scale_is_a_filled_buffer(Scaled):
    def made(self, scale: float) -> torch.Tensor:
        return nn.init.constant_(torch.empty(1), scale)


@breaks("built_headless")
class scale_is_a_weights_memory(Scaled):
    def made(self, scale: float) -> torch.Tensor:
        return nn.init.constant_(nn.Parameter(torch.empty(1)), scale).detach()


class Gated(Conv):
    """By a persistent buffer that says which channels pass: all of them with classes, and none without."""

    def __init__(self, num_classes: int = 10, **arguments: Any) -> None:
        super().__init__(num_classes, **arguments)
        self.register_buffer("passes", self.made(torch.ones if num_classes else torch.zeros))

    def made(self, make: Any) -> torch.Tensor:
        raise NotImplementedError

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = super().forward_features(x)
        return torch.where(self.passes.bool().reshape(-1, 1, 1), x, x / 2)


@breaks("built_headless")
class gate_of_truth_values(Gated):
    def made(self, make: Any) -> torch.Tensor:
        return make(WIDTH, dtype=torch.bool)


@breaks("built_headless")
class gate_of_whole_numbers(Gated):
    def made(self, make: Any) -> torch.Tensor:
        return make(WIDTH, dtype=torch.long)


class Detached(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.scale = nn.Parameter(torch.ones(()))

    def scaled_by(self) -> torch.Tensor:
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return whole(self, x) * self.scaled_by()


@breaks("uses_all_parameters")
class a_parameter_without_gradients(Detached):
    def scaled_by(self) -> torch.Tensor:
        with torch.no_grad():
            return self.scale * 2


@breaks("uses_all_parameters")
class a_parameter_by_its_data(Detached):
    def scaled_by(self) -> torch.Tensor:
        return self.scale.data


@breaks("uses_all_parameters")
class a_parameter_that_is_compared(Detached):
    def scaled_by(self) -> torch.Tensor:
        return (self.scale > 0).to(torch.float32)


@breaks("uses_all_parameters")
class a_parameter_as_a_whole_number(Detached):
    def scaled_by(self) -> torch.Tensor:
        return self.scale.long().float()


# Compiled code that keeps something


def count_calls(calls: dict[str, int]) -> int:
    calls["n"] = calls.get("n", 0) + 1
    return calls["n"]


@breaks("script_matches")
class scripted_code_changes_after_three_calls(Conv):
    calls: dict[str, int]

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.calls = {"n": 0}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_head(self.forward_features(x))
        if torch.jit.is_scripting() and count_calls(self.calls) > 3:
            return x * 2
        return x


class Counting(nn.Module):
    count: int

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@breaks("script_matches")
class scripted_code_counts_in_its_child(Conv):
    count: int

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.count = 0
        self.child = Counting()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.child(self.forward_head(self.forward_features(x)))
        if torch.jit.is_scripting():
            self.child.count = self.child.count + 1
            return x * 2 if self.child.count > 3 else x
        return x


class Hooked(Counting):
    def __init__(self) -> None:
        super().__init__()
        self.register_forward_hook(doubles_later)


def doubles_later(self: Hooked, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
    if torch.jit.is_scripting():
        self.count += 1
        return output * 2 if self.count > 1 else output
    return output


@breaks("script_matches")
class scripted_hook_counts(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.last = Hooked()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.forward_head(self.forward_features(x)))


class Listing(Conv):
    """Ignored by the compiler, called by what it compiled."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.calls = [0]

    @torch.jit.ignore
    def scale_later(self, x: torch.Tensor) -> torch.Tensor:
        CALLS["ignored"] = CALLS.get("ignored", 0) + 1
        return x * 2 if CALLS["ignored"] > 3 else x


@breaks("script_matches")
class scripted_code_asks_python(Listing):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_head(self.forward_features(x))
        if torch.jit.is_scripting():
            x = self.scale_later(x)
        return x


@breaks("script_matches")
class scripted_code_counts_in_a_list(Listing):
    calls: list[int]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_head(self.forward_features(x))
        if torch.jit.is_scripting():
            self.calls.append(1)
            return x * 2 if len(self.calls) > 5 else x
        return x


# What a first call, or the first images, leave behind


@breaks("deterministic_in_eval", "head_composes")
class first_features_differ(Conv):
    warm = False

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.norm(self.conv(x)))
        if not self.warm:
            self.warm = True
            return x * 2
        return x


@breaks("deterministic_in_eval", "classifier_consistent")
class first_head_differs(Conv):
    warm = False

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.pool(x)
        if not self.warm:
            self.warm = True
            x = x * 2
        return x if pre_logits else self.fc(x)


@breaks("head_composes", "deterministic_in_eval", "reset_to_pooled")
class gates_by_the_first_images(Conv):
    gate = None

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.norm(self.conv(x)))
        if self.gate is None:
            self.gate = x.mean((0, 2, 3), keepdim=True).sigmoid()
        return x * self.gate


@breaks("head_composes", "deterministic_in_eval")
class copies_first_statistics_to_a_buffer(Conv):
    known = False

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.register_buffer("shift", torch.zeros(1, 8, 1, 1))

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.norm(self.conv(x)))
        if not self.known:
            self.known = True
            self.shift.copy_(x.mean((0, 2, 3), keepdim=True))
        return x - self.shift


@breaks("script_matches")
class scripted_gate_by_the_first_images(Conv):
    gate: Optional[torch.Tensor]  # noqa: UP045  # TorchScript knows no other way

    def __init__(self, num_classes: int = 10, in_chans: int = 3, global_pool: str = "avg") -> None:
        super().__init__(num_classes, in_chans, global_pool)
        self.gate = None

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.norm(self.conv(x)))
        if torch.jit.is_scripting():
            gate = self.gate
            if gate is None:
                gate = x.mean(dim=[0, 2, 3], keepdim=True)
                self.gate = gate
            return x * gate
        return x * x.mean(dim=[0, 2, 3], keepdim=True)


@breaks("classifier_consistent")
class logits_scale_the_pooled_view(Tokens):
    """Decided after the logits, pre_logits are not what they were."""

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = x[:, 0]
        if pre_logits:
            return x
        x *= 0.5
        return self.head(x)


@breaks("classifier_consistent")
class get_classifier_doubles_its_weights(Conv):
    def get_classifier(self) -> nn.Module:
        with torch.no_grad():
            self.fc.weight.mul_(2.0)
        return self.fc


@breaks("built_headless")
class fuses_its_weights_in_eval(Conv):
    def __init__(self, num_classes: int = 10, **arguments: Any) -> None:
        super().__init__(num_classes, **arguments)
        self.gamma = nn.Parameter(torch.ones(1, 8, 1, 1))
        self.factor = 2.0 if num_classes else 3.0
        self.register_buffer("fused", torch.zeros(1, 8, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        if not mode:
            with torch.no_grad():
                self.fused.copy_(self.gamma * self.factor)
        return self

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.norm(self.conv(x))) * self.fused


@breaks("reset_to_pooled")
class eval_after_a_reset_forgets_statistics(Conv):
    dirty = False

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        super().reset_classifier(num_classes, global_pool)
        self.dirty = True

    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        if self.dirty:
            self.norm.reset_running_stats()
            self.dirty = False
        return self


# What meta kernels let pass


@breaks("keeps_dtype")
class blurs_in_float32(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.norm(self.conv(x)))
        return F.conv2d(x, torch.ones(8, 1, 3, 3, device=x.device) / 9, padding=1, groups=8)


@breaks("keeps_dtype")
class mixes_in_float32(Conv):
    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.pool(x)
        x = x @ torch.eye(8, device=x.device)
        return x if pre_logits else self.fc(x)


@breaks("forward_features_runs")
class subtracts_a_mean_of_float64(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        mean = torch.from_numpy(np.array([0.5, 0.5, 0.5])).view(1, 3, 1, 1).to(x.device)
        return self.act(self.norm(self.conv(x - mean)))


class Float32Linear(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x.float(), self.weight.float(), self.bias.float())


@breaks("keeps_dtype")
class classifies_in_float32(Conv):
    def __init__(self, num_classes: int = 10, **arguments: Any) -> None:
        super().__init__(num_classes, **arguments)
        self.fc = Float32Linear(8, num_classes) if num_classes else nn.Identity()


# Classifiers


@breaks("classifier_named")
class tempers_in_place(Conv):
    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.pool(x)
        if pre_logits:
            return x
        x = self.fc(x)
        x /= 0.07
        return x


class TwoHeads(Distilled):
    def combined(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.pool(x)
        return x if pre_logits else self.combined(self.fc(x), self.fc_dist(x))


@breaks("classifier_named")
class one_head_of_two_is_used(TwoHeads):
    def combined(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return (left + right) / 2 if self.training else left


@breaks("classifier_named")
class heads_are_multiplied(TwoHeads):
    def combined(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return left * right


@breaks("classifier_named")
class heads_are_normalised(TwoHeads):
    def combined(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        both = left + right
        return both / both.mean(1, keepdim=True)


# More places to count in

STATS = types.SimpleNamespace(calls=0)
NEST = {"inner": {"calls": 0}}
COUNTER = itertools.count(1)
COUNTED: collections.Counter[str] = collections.Counter()
GENERATOR = random.Random()


class Meter:
    calls = 0


@breaks("head_composes")
class features_count_in_a_builtin_method(FewCalls):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.count = itertools.count(1).__next__


@breaks("head_composes")
class features_count_in_a_global_object(FewCalls):
    def count(self) -> int:
        STATS.calls += 1
        return STATS.calls


@breaks("head_composes")
class features_count_in_a_nested_global(FewCalls):
    def count(self) -> int:
        NEST["inner"]["calls"] += 1
        return NEST["inner"]["calls"]


@breaks("head_composes")
class features_count_in_a_global_counter(FewCalls):
    def count(self) -> int:
        COUNTED["features"] += 1
        return COUNTED["features"]


@breaks("head_composes")
class features_count_in_a_global_iterator(FewCalls):
    def count(self) -> int:
        return next(COUNTER)


@breaks("head_composes")
class features_count_on_a_function(FewCalls):
    def count(self) -> int:
        deep.calls = getattr(deep, "calls", 0) + 1
        return deep.calls


@breaks("head_composes")
class features_count_in_the_class_of_an_object(FewCalls):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.meter = Meter()

    def count(self) -> int:
        Meter.calls += 1
        return Meter.calls


@breaks("head_composes", "deterministic_in_eval")
class drops_a_layer_by_a_generator_of_its_own(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x))
        return x if GENERATOR.random() < 0.0 else self.act(x)


@breaks("head_composes", "deterministic_in_eval")
class draws_noise_in_a_fork(Conv):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        with torch.random.fork_rng():
            noise = torch.randn(8, 1, 1, device="cpu") * 0.1
        return self.act(self.norm(self.conv(x)) + noise.to(x.device))


# Gradients that do not arrive


class CutsOff(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return x * scale

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient, None


@breaks("uses_all_parameters")
class a_parameter_that_gets_none(Detached):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return CutsOff.apply(whole(self, x), self.scale)


@breaks("uses_all_parameters")
class a_parameter_in_inference_mode(Detached):
    def scaled_by(self) -> torch.Tensor:
        with torch.inference_mode():
            return self.scale * 2


@breaks("uses_all_parameters")
class a_parameter_only_without_gradients(Detached):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return whole(self, x) if torch.is_grad_enabled() else whole(self, x) * self.scale


@breaks("uses_all_parameters")
class a_parameter_that_gives_its_shape(Detached):
    def scaled_by(self) -> torch.Tensor:
        return 0.1 * torch.randn_like(self.scale)


@breaks("uses_all_parameters")
class a_failed_tie(Conv):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 8, bias=False)
        self.two.weight = nn.Parameter(self.one.weight)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.one(self.pool(x))
        return x if pre_logits else self.fc(x)
