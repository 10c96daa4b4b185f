"""A copy of a model computes what the model computes and shares nothing with it, or there is none."""

from __future__ import annotations

import collections
import functools
import threading
import weakref

import pytest
import torch
from torch import nn

from conformance.engine.ledger import Ledger
from conformance.subject.build import copy_of, move_to_meta, name_leaves
from tests.miniatures.contract import LAWFUL, Conv
from tests.subject.test_build import Tied, constructed


def modules_reached_from(model):
    return {id(part) for part in model.modules()}


@pytest.mark.parametrize("miniature", LAWFUL, ids=lambda model: model.__name__)
def test_a_copy_computes_the_same_and_shares_nothing(subject_of, miniature):
    subject = subject_of(miniature)
    model = subject.build_headed()
    copied = copy_of(model, subject.ledger)
    assert copied is not None
    assert not modules_reached_from(model) & modules_reached_from(copied)
    storages = [
        {tensor.untyped_storage()._cdata for tensor in (*one.parameters(), *one.buffers())} for one in (model, copied)
    ]
    assert not storages[0] & storages[1]
    images = subject.images
    passes = [subject.run(lambda one=one: one(images), one) for one in (model, copied)]
    assert passes[0].is_provable
    assert passes[0].number == passes[1].number


def test_a_copy_keeps_ties():
    model, ledger = constructed(Tied)
    copied = copy_of(model, ledger)
    shared = (copied.first, copied.second, copied.child.window)
    assert len({tensor.untyped_storage()._cdata for tensor in shared}) == 1
    assert copied.child.again is copied.first
    assert copied.first is not model.first
    for name in ("first", "second", "table"):
        assert ledger.value(getattr(copied, name)) == ledger.value(getattr(model, name))
    assert copied.state_dict().keys() == model.state_dict().keys()


def test_a_write_to_a_copy_leaves_the_model_as_it_was(subject_of):
    subject = subject_of(Conv)
    model = subject.build_headed()
    before = subject.ledger.value(model.conv.weight)
    copied = copy_of(model, subject.ledger)
    subject.construct(lambda: copied.conv.weight.data.mul_(2))
    assert subject.ledger.value(model.conv.weight) == before
    assert subject.ledger.value(copied.conv.weight) != before


def test_a_copy_in_another_dtype_holds_something_unknown():
    model, ledger = constructed(Tied)
    copied = copy_of(model, ledger, torch.float64)
    assert copied.first.dtype == torch.float64
    assert copied.table.dtype == torch.int64
    assert not ledger.values.is_reproducible(ledger.value(copied.first))
    assert ledger.value(copied.table) == ledger.value(model.table)


def test_parameters_keep_their_class_and_whether_they_are_trained():
    def make():
        module = nn.Linear(2, 2)
        module.bias.requires_grad_(False)
        return module

    model, ledger = constructed(make)
    copied = copy_of(model, ledger)
    assert type(copied.weight) is nn.Parameter
    assert copied.weight.requires_grad
    assert not copied.bias.requires_grad


def closes_over_itself(model):
    model.call = lambda x: model.fc(x)


def closes_over_a_tensor(model):
    weight = model.fc.weight
    model.call = lambda x: x * weight


def holds_a_partial_of_a_closure(model):
    model.call = functools.partial(lambda x, _: model.fc(x), None)


def holds_a_stray_tensor(model):
    model.stray = torch.ones(2, device="meta")


def hides_a_stray_tensor(model):
    model.strays = {"deep": [(torch.ones(2),)]}


def hooks_a_closure(model):
    model.fc.register_forward_hook(lambda module, args, output: output * (model.num_classes > 0))


def holds_a_tensor_on_the_cpu(model):
    model.register_buffer("real", torch.ones(2))


def has_a_parameter_of_its_own_class(model):
    class Weight(nn.Parameter):
        pass

    model.special = Weight(torch.ones(2, device="meta"))


REFUSED = [
    closes_over_itself,
    closes_over_a_tensor,
    holds_a_partial_of_a_closure,
    holds_a_stray_tensor,
    hides_a_stray_tensor,
    hooks_a_closure,
    holds_a_tensor_on_the_cpu,
    has_a_parameter_of_its_own_class,
]


def defaults_to_itself(model):
    model.call = lambda x, owner=model: owner.fc(x)


def closes_over_a_list(model):
    held = [model]
    model.call = lambda x: held[0].fc(x)


def closes_over_a_function(model):
    def inner(x):
        return model.fc(x)

    model.call = lambda x: inner(x)


def refers_to_itself_weakly(model):
    model.me = weakref.ref(model)


def hides_a_closure_in_an_object(model):
    model.parts = type("Parts", (), {})()
    model.parts.call = lambda x: model.fc(x)


def calls_a_builtin_of_its_list(model):
    model.seen = []
    model.note = model.seen.append


def marks_a_function(model):
    def function(x):
        return x

    function.owner = model
    model.call = function


def has_a_tuple_of_its_own_class(model):
    class Pair(collections.namedtuple("Pair", "left right")):
        pass

    model.pair = Pair(1, 2)


def has_a_lock(model):
    model.lock = threading.Lock()


HIDDEN = [
    defaults_to_itself,
    closes_over_a_list,
    closes_over_a_function,
    refers_to_itself_weakly,
    hides_a_closure_in_an_object,
    calls_a_builtin_of_its_list,
    marks_a_function,
    has_a_tuple_of_its_own_class,
    has_a_lock,
]


@pytest.mark.parametrize(
    "share",
    [
        *REFUSED,
        *HIDDEN,
    ],
    ids=lambda share: share.__name__,
)
def test_no_copy_is_made_of_what_might_be_shared(share):
    model, ledger = constructed(Conv)
    share(model)
    assert copy_of(model, ledger) is None


def test_plain_attributes_do_not_stand_in_the_way():
    model, ledger = constructed(Conv)
    model.settings = {"depths": [1, (2, 3)], "act": nn.ReLU, "norm": functools.partial(nn.LayerNorm, eps=1e-6)}
    model.choose = max
    model.point = collections.namedtuple("Point", "x y")(1, [2])
    model.same = model.settings
    copied = copy_of(model, ledger)
    assert copied is not None
    assert copied.same is copied.settings
    assert copied.settings is not model.settings
    assert copied.point == model.point
    assert copied.point.y is not model.point.y
    assert copied.settings == {**model.settings, "norm": copied.settings["norm"]}


def test_what_is_refused_is_built_anew(subject_of):
    class Closing(Conv):
        def __init__(self, **arguments):
            super().__init__(**arguments)
            self.call = lambda x: self.fc(x)

    subject = subject_of(Closing)
    assert copy_of(subject.untouched, subject.ledger) is None
    one, other = subject.headed, subject.spare()
    assert one is not other
    assert one is not subject.untouched


def test_models_named_in_different_ledgers_have_the_same_fingerprints():
    prints = set()
    for _ in range(2):
        ledger = Ledger()
        model = Conv()
        move_to_meta(model, ledger)
        name_leaves(model, ledger)
        prints.add(ledger.values.digest(ledger.value(model.conv.weight)))
    assert len(prints) == 1
    assert None not in prints
