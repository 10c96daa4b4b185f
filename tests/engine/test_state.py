"""What the globals of a model's file hold is watched as it can be; where it cannot, nothing is proved."""

from __future__ import annotations

import collections
import enum
import operator
import re
import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

from conformance.engine.script import script
from conformance.engine.state import State


@pytest.fixture
def file(monkeypatch):
    """A Python file with a model in it."""
    module = types.ModuleType("a_file_of_models")
    module.Model = type("Model", (nn.Module,), {"__module__": module.__name__})
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_nothing_changes_where_nothing_is_done(file):
    file.table = {"width": [1, 2]}
    assert State([file.Model()]).changes() == []


@pytest.mark.parametrize("made", [lambda: (n for n in range(9)), lambda: iter([1, 2]), lambda: map(len, "ab")])
def test_an_iterator_hides_where_it_stands(file, made):
    file.numbers = made()
    assert State([file.Model()]).changes() == [
        f"a_file_of_models holds an iterator of class {type(file.numbers).__name__}"
    ]


def test_an_iterator_deep_inside_hides_as_well(file):
    file.table = {"numbers": [iter([1])]}
    assert State([file.Model()]).changes() == ["a_file_of_models holds an iterator of class list_iterator"]


class Meta(type):
    """Looks names up, and has every one."""

    def __getattr__(cls, name):
        return name


def test_what_compiled_code_keeps_hides(file):
    file.compiled = script(nn.Identity())
    assert State([file.Model()]).changes() == [
        "a_file_of_models holds compiled code, which keeps attributes of its own"
    ]


def test_what_only_looks_odd_hides_nothing(file):
    file.Registered = Meta("Registered", (), {})
    file.registered = file.Registered()
    file.gelu = torch.compile(torch.nn.functional.gelu)
    file.mode = enum.IntEnum("Mode", "A B").A
    assert State([file.Model()]).changes() == []


@pytest.mark.parametrize("made", [np.random.RandomState, np.random.PCG64, np.random.MT19937], ids=str)
def test_generators_of_numpys_are_watched(file, made):
    file.numbers = made(0)
    state = State([file.Model()])
    (file.numbers.random if made is np.random.RandomState else file.numbers.random_raw)()
    assert state.changes() == ["the attribute a_file_of_models.of a container changed"]


def counting(x=1):
    return x


def other(x=1):
    return x + 1


def give_a_gradient(model):
    model.fc.weight.grad = torch.ones_like(model.fc.weight)


def write_to_a_gradient(model):
    model.bias.grad.add_(1)


def want_no_gradient(model):
    model.fc.weight.requires_grad_(False)


def count_in_defaults(_):
    counting.__defaults__ = (2,)


def run_other_code(_):
    counting.__code__ = other.__code__


def count_in_a_metaclass(model):
    type(type(model)).calls = 1


def count_in_a_class_of_torchs(_):
    nn.Linear.calls = 1


@pytest.mark.parametrize(
    "change",
    [
        give_a_gradient, write_to_a_gradient, want_no_gradient, count_in_defaults, run_other_code,
        count_in_a_metaclass, count_in_a_class_of_torchs,
    ],
)  # fmt: skip
def test_places_that_few_think_of_are_watched(file, change, monkeypatch):
    monkeypatch.setattr(nn.Linear, "calls", 0, raising=False)
    monkeypatch.setattr(counting, "__defaults__", counting.__defaults__)
    monkeypatch.setattr(counting, "__code__", counting.__code__)
    file.counting = counting
    kind = type(file.__name__, (type,), {"__module__": file.__name__})
    model = kind("Metered", (nn.Module,), {"__module__": file.__name__})()
    model.fc = nn.Linear(2, 2)
    model.bias = nn.Parameter(torch.zeros(2))
    model.bias.grad = torch.ones(2)
    state = State([model])
    assert state.changes() == []
    change(model)
    assert len(state.changes()) == 1


def itself(value):
    return value


@pytest.mark.parametrize(
    "value",
    [
        np.float64(0.5), np.bool_(True), np.dtype("float32"), torch.finfo(torch.float32), operator.itemgetter(1),
        slice(1, None), collections.namedtuple("Size", "height width")(1, 2), re.compile("a"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_never_changes_hides_nothing(file, value):
    model = file.Model()
    model.value = value
    state = State([model])
    assert state.changes() == []
    model.value = itself  # as anything else
    assert len(state.changes()) == 1


def test_numbers_of_numpys_are_compared_by_what_they_are(file):
    model = file.Model()
    model.scale = np.float64(0.5)
    state = State([model])
    model.scale = np.float64(0.5)
    assert state.changes() == []
    model.scale = np.float64(0.25)
    assert state.changes() == ["the attribute Model.scale changed"]


def test_the_class_of_a_part_is_watched(file):
    model = file.Model()
    model.act = nn.ReLU()
    state = State([model])
    model.act.__class__ = nn.Identity
    assert state.changes() == ["the class of a ReLU changed"]


def test_a_function_of_another_file_that_has_what_turns_modes_off_hides_work(file):
    helpers = types.ModuleType("helpers")
    exec("from torch._C import DisableTorchFunction\ndef help():\n    with DisableTorchFunction(): pass", vars(helpers))
    file.help = helpers.help
    assert State([file.Model()]).changes() == ["a_file_of_models holds DisableTorchFunction, which hides work"]


def test_an_attribute_that_turns_modes_off_hides_work(file):
    model = file.Model()
    model.guard = torch._C.DisableTorchFunction
    assert State([model]).changes() == ["Model holds DisableTorchFunction, which hides work"]


@pytest.mark.parametrize(
    "switch", [torch._C.DisableTorchFunction, torch._C._pop_torch_dispatch_stack], ids=lambda switch: switch.__name__
)
def test_a_file_that_has_what_turns_modes_off_hides_work(file, switch):
    file.switch = switch
    assert State([file.Model()]).changes() == [f"a_file_of_models holds {switch.__name__}, which hides work"]
