"""Names are paired by what they stand for in each release."""

from __future__ import annotations

import pytest

from conformance.gate.naming import paired
from conformance.release import Registry

OLD = Registry(
    version="1",
    models=("resnet18", "resnet10t", "gone", "vit_old"),
    deprecated={"ssl": "resnet18.ssl", "swsl": "resnet18.swsl", "kept": "resnet18.same"},
)
NEW = Registry(
    version="2",
    models=("resnet18", "resnet10t", "vit_new", "fresh"),
    deprecated={
        "ssl": "resnet10t.other",
        "swsl": None,
        "kept": "resnet18.same",
        "vit_old": "vit_new.a",
        "young": "fresh.b",
    },
)


@pytest.mark.parametrize(
    ("word", "pair", "tags"),
    [
        ("resnet18", ("resnet18", "resnet18"), ("", "")),
        ("resnet18.a1", ("resnet18", "resnet18"), ("a1", "a1")),
        ("ssl", ("resnet18", "resnet10t"), ("ssl", "other")),
        ("kept", ("resnet18", "resnet18"), ("same", "same")),
        ("vit_old", ("vit_old", "vit_new"), ("", "a")),
        ("vit_old.x", ("vit_old", "vit_new"), ("x", "x")),
        ("vit_new", ("vit_old", "vit_new"), ("", "a")),
    ],
)
def test_a_name_pairs_what_it_stood_for_with_what_it_stands_for(word, pair, tags):
    found = paired([word], OLD, NEW)
    assert (found.pairs, found.removed, found.added) == ({pair: [tags]}, [], [])


@pytest.mark.parametrize("word", ["gone", "gone.a1", "swsl"])
def test_what_stands_for_nothing_any_more_is_removed(word):
    found = paired([word], OLD, NEW)
    assert (found.pairs, found.removed, found.added) == ({}, [word], [])


@pytest.mark.parametrize("word", ["fresh", "young"])
def test_what_stood_for_nothing_is_added(word):
    found = paired([word], OLD, NEW)
    assert (found.pairs, found.removed, found.added) == ({}, [], ["fresh"])


def test_what_stands_for_nothing_in_either_is_told():
    nothing = Registry(version="0", models=(), deprecated={"swsl": None})
    found = paired(["swsl", "swsl.a1", "nobody"], nothing, NEW)
    assert (found.pairs, found.removed, found.added) == ({}, [], [])
    assert found.unknown == ["swsl", "swsl.a1", "nobody"]


def test_several_names_of_one_model_are_one_pair_with_all_their_weights():
    found = paired(["resnet18", "resnet18.a1", "kept", "resnet18.a1"], OLD, NEW)
    assert found.pairs == {("resnet18", "resnet18"): [("", ""), ("a1", "a1"), ("same", "same")]}


def test_all_models_are_paired_once():
    found = paired(sorted({*OLD.models, *NEW.models}), OLD, NEW)
    assert set(found.pairs) == {("resnet18", "resnet18"), ("resnet10t", "resnet10t"), ("vit_old", "vit_new")}
    assert (found.removed, found.added) == (["gone"], ["fresh"])
