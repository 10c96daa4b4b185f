"""Models are built without weights, and what they hold is numbered by what it is: leaves by name, buffers by origin."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from conformance.engine.ledger import Ledger
from conformance.engine.outside import recording
from conformance.subject.build import BulkOnMeta, move_to_meta, name_leaves, named_tensors
from tests.miniatures.contract import LAWFUL, Conv, config


def constructed(make, ledger=None):
    """(model, ledger) as a subject builds them."""
    ledger = ledger or Ledger()
    with recording(ledger), BulkOnMeta(ledger):
        model = make()
    move_to_meta(model.eval(), ledger)
    name_leaves(model, ledger)
    return model, ledger


def digest(tensor, ledger):
    return ledger.values.digest(ledger.value(tensor))


def with_buffer(tensor, *, persistent=False, name="table"):
    """Builds a module whose one buffer `tensor()` makes."""

    def make():
        module = nn.Module()
        module.register_buffer(name, tensor(), persistent=persistent)
        return module

    return make


@pytest.mark.parametrize("model", LAWFUL, ids=lambda model: model.__name__)
def test_everything_is_on_the_meta_device(subject_of, model):
    built = subject_of(model).as_built
    assert all(tensor.is_meta for tensor in (*built.parameters(), *built.buffers()))
    assert not any(part.training for part in built.modules())


def test_parameters_made_on_the_cpu_are_moved():
    def make():
        module = nn.Module()
        module.weight = nn.Parameter(torch.linspace(0, 1, 4))
        module.frozen = nn.Parameter(torch.tensor([1.0, 2.0]), requires_grad=False)
        return module

    model, ledger = constructed(make)
    assert model.weight.is_meta
    assert model.frozen.is_meta
    assert model.weight.requires_grad
    assert not model.frozen.requires_grad
    assert type(model.weight) is nn.Parameter
    # A weight is a name, whatever it was filled with.
    assert ledger.values.is_reproducible(ledger.value(model.weight))


def test_a_weight_is_known_by_its_name_and_not_by_its_first_value():
    def filled(value):
        def make():
            module = nn.Module()
            module.weight = nn.Parameter(torch.full((4,), value))
            return module

        return make

    one, two = constructed(filled(1.0)), constructed(filled(2.0))
    assert digest(one[0].weight, one[1]) == digest(two[0].weight, two[1])


@pytest.mark.parametrize("persistent", [False, True])
def test_buffers_that_were_real_are_told_apart_by_their_bytes(persistent):
    digests = {
        digest(*(lambda pair: (pair[0].table, pair[1]))(constructed(with_buffer(make, persistent=persistent))))
        for make in (
            lambda: torch.linspace(0, 1, 4),
            lambda: torch.linspace(0, 2, 4),
            lambda: torch.tensor([0.0, 1.0, 2.0, 3.0]),
            lambda: torch.tensor([-0.0, 1.0, 2.0, 3.0]),
        )
    }
    assert len(digests) == 4


def test_non_persistent_buffers_are_told_apart_by_what_computed_them():
    makers = (
        lambda: torch.zeros(4),
        lambda: torch.ones(4),
        lambda: torch.full((4,), 2.0),
        lambda: torch.full((4,), 3.0),
        lambda: torch.ones(4) * 2,
        lambda: torch.ones(4).cumsum(0),
    )
    digests = set()
    for make in makers:
        model, ledger = constructed(with_buffer(make))
        digests.add(digest(model.table, ledger))
    assert None not in digests
    assert len(digests) == len(makers)


def test_the_name_of_a_non_persistent_buffer_does_not_matter():
    one, ledger = constructed(with_buffer(lambda: torch.full((4,), 2.0)))
    other, _ = constructed(with_buffer(lambda: torch.full((4,), 2.0), name="other"), ledger)
    assert ledger.value(one.table) == ledger.value(other.other)


def test_the_name_of_a_persistent_buffer_matters():
    one, ledger = constructed(with_buffer(lambda: torch.full((4,), 2.0), persistent=True))
    other, _ = constructed(with_buffer(lambda: torch.full((4,), 2.0), persistent=True, name="other"), ledger)
    assert ledger.value(one.table) != ledger.value(other.other)


def test_a_random_buffer_equals_nothing():
    one, ledger = constructed(with_buffer(lambda: torch.rand(4)))
    other, _ = constructed(with_buffer(lambda: torch.rand(4)), ledger)
    assert ledger.value(one.table) != ledger.value(other.table)
    assert digest(one.table, ledger) is None


def test_a_buffer_computed_from_initial_weights_is_not_what_it_would_be_without_initialising_them():
    def make(value):
        module = nn.Module()
        module.weight = nn.Parameter(torch.zeros(4))
        with torch.no_grad():
            module.weight.fill_(value)
        module.register_buffer("first", module.weight.detach().clone(), persistent=False)
        return module

    one, ledger = constructed(lambda: make(2.0))
    other, _ = constructed(lambda: make(3.0), ledger)
    assert ledger.value(one.first) != ledger.value(other.first)


class Tied(nn.Module):
    """Real tensors that share memory: whole, in part, and under two names."""

    def __init__(self):
        super().__init__()
        whole = torch.linspace(0, 1, 12)
        self.first = nn.Parameter(whole[:8])
        self.register_buffer("second", whole[4:])
        self.register_buffer("table", torch.arange(4), persistent=False)
        self.child = nn.Module()
        self.child.register_parameter("again", self.first)
        self.child.register_buffer("window", whole[2:6], persistent=False)


def test_ties_are_kept_when_tensors_are_moved():
    model, _ = constructed(Tied)
    storages = {tensor.untyped_storage()._cdata for tensor in (model.first, model.second, model.child.window)}
    assert len(storages) == 1
    assert model.child.again is model.first
    assert (model.second.storage_offset(), model.child.window.storage_offset()) == (4, 2)
    assert model.table.untyped_storage()._cdata not in storages


def test_a_tie_is_part_of_the_name():
    def make(tie):
        module = nn.Module()
        module.a = nn.Parameter(torch.linspace(0, 1, 4))
        module.b = module.a if tie else nn.Parameter(torch.linspace(0, 1, 4))
        return module

    (tied, ledger), (untied, _) = (constructed(lambda: make(True)), (None, None))
    untied, _ = constructed(lambda: make(False), ledger)
    assert ledger.value(tied.a) == ledger.value(tied.b)
    assert len({ledger.value(tensor) for tensor in (tied.a, untied.a, untied.b)}) == 3


def test_every_name_of_a_shared_tensor_is_listed():
    model, _ = constructed(Tied)
    names = {name for _, name, _ in named_tensors(model)}
    assert names == {"first", "second", "child.again"}


def test_constants_can_be_read_while_a_model_is_built(subject_of):
    """Half of timm up to 1.0.20 calls `linspace(...).item()` when it is built."""

    class ReadsConstants(Conv):
        def __init__(self, **arguments):
            super().__init__(**arguments)
            self.rates = [rate.item() for rate in torch.linspace(0, 0.5, 3)]
            self.steps = torch.arange(3).tolist()

    assert subject_of(ReadsConstants).as_built.rates == [0.0, 0.25, 0.5]


def test_a_factory_that_is_told_where_to_make_something_is_obeyed():
    with BulkOnMeta(Ledger()):
        assert torch.zeros(2, device="cpu").device.type == "cpu"
        assert torch.zeros(2).device.type == "meta"
        assert torch.linspace(0, 1, 2).device.type == "cpu"


def test_a_model_that_asks_whether_it_is_on_meta_is_built_as_on_a_real_device():
    class Blurred(nn.Module):  # timm 1.0.24, layers/blur_pool.py:54
        def __init__(self, *, asks):
            super().__init__()
            self.register_buffer("filt", torch.empty(1), persistent=False)
            if not asks or not self.filt.is_meta:
                self.filt.copy_(torch.tensor([0.25]))

    digests = []
    for asks in (True, False):
        model, ledger = constructed(lambda asks=asks: Blurred(asks=asks))
        assert model.filt.is_meta
        digests.append(digest(model.filt, ledger))
    assert digests[0] == digests[1] is not None


@pytest.mark.parametrize(
    "make",
    [
        lambda meta: torch.arange(6, device=meta),
        lambda meta: torch.empty(6, dtype=torch.int64, device=meta).copy_(torch.arange(6, device=meta)),
        lambda meta: torch.empty(6, dtype=torch.int64).copy_(torch.arange(6)),
        lambda meta: torch.linspace(0, 5, 6, device=torch.device(meta)).long(),
    ],
)
def test_a_constant_is_its_bytes_wherever_the_model_makes_it(make):
    built = [constructed(with_buffer(made)) for made in (lambda: torch.arange(6), lambda: make("meta"))]
    assert all(model.table.is_meta for model, _ in built)
    assert len({digest(model.table, ledger) for model, ledger in built}) == 1


def test_initialisers_of_torch_do_nothing_on_meta():
    def make():  # a parameter's initialiser is spared; this one asks for itself
        table = torch.empty(4, 4)
        return torch.nn.init.trunc_normal_(table)

    with recording(ledger := Ledger()), BulkOnMeta(ledger):
        assert make().device.type == "meta"


def test_persistent_buffers_carry_their_bytes_into_fingerprints(subject_of):
    def scaled(factor):
        class Scaled(Conv):
            def __init__(self, **arguments):
                super().__init__(**arguments)
                self.default_cfg = config("fc")
                self.register_buffer("scale", torch.tensor([factor]))

            def forward_features(self, x):
                return self.norm(self.conv(x)) * self.scale

        return Scaled

    prints = []
    for name, factor in (("one", 1.0), ("again", 1.0), ("two", 2.0)):
        subject = subject_of(scaled(factor), name)
        prints.append(subject.ledger.values.digest(subject.features.number))
    assert prints[0] == prints[1]
    assert prints[0] != prints[2]


def test_weights_and_constants_may_be_mixed_while_a_model_is_built(subject_of):
    """timm's rotary embeddings with learnt frequencies multiply what `rand` and what `arange` made."""

    class Mixes(Conv):
        def __init__(self, **arguments):
            super().__init__(**arguments)
            self.frequencies = nn.Parameter(torch.rand(4) * torch.arange(4.0))

    assert subject_of(Mixes).as_built.frequencies.is_meta
