"""What the globals of a model's file hold is watched as it can be; where it cannot, nothing is proved."""

from __future__ import annotations

import sys
import types

import pytest
from torch import nn

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
