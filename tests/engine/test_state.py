"""What the globals of a model's file hold is watched as it can be; where it cannot, nothing is proved."""

from __future__ import annotations

import enum
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
