"""Each clause of the rules of proof: a pair of programs that would be confused, or told apart, without it."""

from __future__ import annotations

import contextlib
import random
import threading
import time
import types
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from conformance.engine.ledger import Ledger
from conformance.engine.operands import Unmodelled
from conformance.engine.outside import AUTOCAST, differentiating, looking, recording
from conformance.engine.script import executor_for_meta
from tests.engine.conftest import Numbering

Function = Callable[[torch.Tensor, torch.Tensor], object]


def out_into_new(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.add(x, y, out=torch.empty(4, 6, device="meta"))


def written_by_copy(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    target = torch.empty(4, 6, device="meta")
    target.copy_(x + y)
    return target


def relu_in_place(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    z = x + y
    return z.relu_()


def seen_through_view(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    z = x + y
    z.view(-1).relu_()
    return z


EQUAL: dict[str, tuple[Function, Function]] = {
    "views cost nothing": (lambda x, y: x.t().t() + y, lambda x, y: x + y),
    "an in-place operation equals its twin": (relu_in_place, lambda x, y: (x + y).relu()),
    "a write through a view of everything is a write": (
        lambda x, y: seen_through_view(x, y).flatten(),
        lambda x, y: (x + y).view(-1).relu(),
    ),
    "out= does not read what was there": (out_into_new, lambda x, y: x + y),
    "copy_ does not read what was there": (written_by_copy, lambda x, y: x + y),
    "a copy that keeps the geometry holds the same": (lambda x, y: (x + y).clone(), lambda x, y: x + y),
    "a default and the same value given are one": (lambda x, y: torch.add(x, y, alpha=1), lambda x, y: x + y),
    "add.Scalar is add.Tensor with a number": (lambda x, y: torch.ops.aten.add.Scalar(x, 2), lambda x, y: x + 2),
    "constants fold": (lambda x, y: x + torch.tensor(2.0) * 3, lambda x, y: x + torch.tensor(6.0)),
    "a constant made on the meta device has its bytes": (
        lambda x, y: x + torch.tensor([2.0], device="meta"),
        lambda x, y: x + torch.tensor([2.0]).to("meta"),
    ),
    "new_tensor is a constant": (lambda x, y: x + x.new_tensor([2.0]), lambda x, y: x + torch.tensor([2.0]).to("meta")),
    "a list as index is a constant": (lambda x, y: x[:, [0, 2]], lambda x, y: x[:, torch.tensor([0, 2])]),
    "attention without dropout is a function": (
        lambda x, y: F.scaled_dot_product_attention(x[None], y[None], y[None]),
        lambda x, y: F.scaled_dot_product_attention(x[None], y[None], y[None], dropout_p=0.0),
    ),
    "(x + x) / 2 is x": (lambda x, y: (x.relu() + x.relu()) / 2, lambda x, y: x.relu()),
    "strides of dimensions of size 1 do not matter": (
        lambda x, y: x[:, :1].contiguous().as_strided((4, 1), (1, 1)).exp(),
        lambda x, y: x[:, :1].contiguous().as_strided((4, 1), (1, 7)).exp(),
    ),
}


def copied_onto_itself(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    z = (x + y)[:, :4].contiguous()
    z.copy_(z.t())
    return z


def copied_by_way_of_a_clone(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    z = (x + y)[:, :4].contiguous()
    z.copy_(z.t().clone())
    return z


def overlapping(first: int) -> Function:
    def function(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        z = x + y
        z[first : first + 2].zero_()
        return z

    return function


def tied(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    z = x + y
    alias = z.view(-1)
    alias[:3].zero_()
    return z


def untied(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    z = x + y
    alias = z.view(-1).clone()
    alias[:3].zero_()
    return z


def statistics(training: bool) -> Function:
    def function(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        mean, variance = y[0].clone(), y[1].clone()
        torch.native_batch_norm(x, None, None, mean, variance, training, 0.1, 1e-5)
        return mean

    return function


def foreach(scalar: float) -> Function:
    def function(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        a, b = x.clone(), y.clone()
        torch._foreach_add_([a, b], scalar)
        return b

    return function


DIFFERENT: dict[str, tuple[Function, Function]] = {
    "offset": (lambda x, y: x[0].exp(), lambda x, y: x[1].exp()),
    "strides": (lambda x, y: x[:, :4].exp(), lambda x, y: x[:, :4].t().exp()),
    "sizes": (lambda x, y: x.view(6, 4), lambda x, y: x),
    "dtype of a view": (lambda x, y: x.view(torch.int32).view(torch.float32) + x.view(torch.int32), lambda x, y: x + x),
    "conj bit": (lambda x, y: torch.complex(x, y).conj().angle(), lambda x, y: torch.complex(x, y).angle()),
    "neg bit": (
        lambda x, y: torch._neg_view(torch.complex(x, y).real).exp(),
        lambda x, y: torch.complex(x, y).real.exp(),
    ),
    "overload": (lambda x, y: x.sum(0), lambda x, y: x.sum(1)),
    "operands": (lambda x, y: x - y, lambda x, y: y - x),
    "leaf names": (lambda x, y: x, lambda x, y: y),
    "True and 1": (lambda x, y: x.to(torch.int32) + True, lambda x, y: x.to(torch.int32) + 1),
    "2 and 2.0": (lambda x, y: x.to(torch.int32) * 2, lambda x, y: x.to(torch.int32) * 2.0),
    "0.0 and -0.0": (lambda x, y: x.fill_(0.0).atan2(y), lambda x, y: x.fill_(-0.0).atan2(y)),
    "NaN and infinity": (lambda x, y: x.fill_(float("nan")), lambda x, y: x.fill_(float("inf"))),
    "a keyword argument": (lambda x, y: torch.add(x, y, alpha=2), lambda x, y: torch.add(x, y, alpha=3)),
    "an epsilon": (
        lambda x, y: F.layer_norm(x, (6,), eps=1e-5),
        lambda x, y: F.layer_norm(x, (6,), eps=1e-6),
    ),
    "result index": (lambda x, y: x.aminmax(dim=0)[0], lambda x, y: x.aminmax(dim=0)[1]),
    "dtype promotion in place": (
        lambda x, y: x.to(torch.float16).add_(y),
        lambda x, y: x.to(torch.float16).add(y),
    ),
    "a write that is not seen": (lambda x, y: (x.add_(y), x)[1], lambda x, y: (x.add(y), x)[1]),
    "a write through a view": (tied, untied),
    "where a write goes": (overlapping(0), overlapping(1)),
    "a write into a list": (foreach(1.0), foreach(2.0)),
    "a write that its schema hides": (statistics(True), statistics(False)),
    "a copy that reads what it overwrites": (copied_onto_itself, copied_by_way_of_a_clone),
    "bytes of a constant": (lambda x, y: x + torch.tensor(1.0), lambda x, y: x + torch.tensor(2.0)),
    "dtype of a constant": (
        lambda x, y: x.to(torch.int64) * torch.tensor([1, 2, 3, 4, 5, 6], device=x.device),
        lambda x, y: x.to(torch.int64) * torch.tensor([1, 2, 3, 4, 5, 6], device=x.device, dtype=torch.int32),
    ),
    "a constant that changes between uses": (
        lambda x, y: _with_counter(x, [1.0, 1.0]),
        lambda x, y: _with_counter(x, [1.0, 2.0]),
    ),
    "halving what was not doubled": (lambda x, y: (x + y) / 2, lambda x, y: x),
    "halving a part of what was doubled": (lambda x, y: (x + x)[:, :3] / 2, lambda x, y: x[:, :3] / 2),
    "memory format": (
        lambda x, y: x.view(1, 2, 2, 6).clone(memory_format=torch.channels_last).as_strided((24,), (1,)),
        lambda x, y: x.view(1, 2, 2, 6).clone().as_strided((24,), (1,)),
    ),
    "which of two lists": (lambda x, y: torch.cat([x, y]), lambda x, y: torch.cat([y, x])),
    "a list and its parts": (lambda x, y: [x, y], lambda x, y: [torch.cat([x, y])]),
}


def over_itself(x: torch.Tensor) -> torch.Tensor:
    square = x @ x.t()
    return torch.mm(square, square, out=square)


def _with_counter(x: torch.Tensor, steps: list[float]) -> torch.Tensor:
    counter = torch.zeros(())
    for step in steps:
        counter += step
        x = x * counter
    return x


@pytest.mark.parametrize("name", EQUAL)
def test_equal_computations_get_one_number(numbering, name):
    assert numbering.equal(*EQUAL[name]), numbering.reasons


@pytest.mark.parametrize("name", DIFFERENT)
def test_different_computations_get_two_numbers(numbering, name):
    left, right = DIFFERENT[name]
    assert not numbering.equal(left, right)
    assert numbering.equal(left, left), f"the pair must differ by what it says, not by {numbering.reasons}"
    assert numbering.equal(right, right), f"the pair must differ by what it says, not by {numbering.reasons}"


FRESH: dict[str, Function] = {
    "bernoulli": lambda x, y: x * torch.bernoulli(y),
    "dropout": lambda x, y: F.dropout(x, 0.5, training=True),
    "rand_like": lambda x, y: x + torch.rand_like(x),
    "normal_": lambda x, y: x.normal_(),
    "rrelu in training": lambda x, y: F.rrelu(x, training=True),
    "attention with dropout": lambda x, y: F.scaled_dot_product_attention(x[None], y[None], y[None], dropout_p=0.1),
    "empty": lambda x, y: x + torch.empty(4, 6, device="meta"),
    "empty_like": lambda x, y: x + torch.empty_like(x),
    "new_empty": lambda x, y: x + x.new_empty(4, 6),
    "empty_strided": lambda x, y: x + torch.empty_strided((4, 6), (6, 1), device="meta"),
    "memory grown by resize_": lambda x, y: (x + y).resize_(5, 6),
    "a product put over what it reads": lambda x, y: over_itself(x + y),
}


@pytest.mark.parametrize("name", FRESH)
def test_what_is_random_or_uninitialised_equals_nothing(numbering, name):
    assert not numbering.is_reproducible(FRESH[name])
    assert not numbering.equal(FRESH[name], FRESH[name])


def test_uninitialised_real_memory_never_compares_equal(numbering):
    def function(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + torch.empty(6, dtype=torch.float32).to(x.device)

    assert not numbering.equal(function, function)


def test_uninitialised_memory_that_is_overwritten_is_no_matter(numbering):
    def function(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.empty_like(x).zero_() + y

    assert numbering.equal(function, function)


def test_a_storage_is_kept_while_its_number_is(numbering):
    """An address that is used again would lend its number to another tensor."""
    numbers = set()
    for step in range(200):
        x = numbering.leaf(f"leaf {step}", 64)
        numbers.add(numbering(lambda x=x: x + 1))
        del x
    assert len(numbers) == 200


@pytest.mark.parametrize("write", [lambda x: x.mul_(2), lambda x: x[0].zero_(), lambda x: x.view(-1).add_(1)])
def test_writing_to_memory_from_before_voids_the_proof(numbering, write):
    """A model that writes to its parameters, buffers or input computes something else at its next call."""
    kept = numbering.leaf("kept", 4, kind="weights")
    assert numbering(lambda: write(kept) + 1) is None
    constant = torch.ones(4)
    assert numbering(lambda: numbering.x + write(constant).sum()) is None


def test_tied_leaves_stay_tied(numbering):
    def number(tie: bool) -> int | None:
        first = torch.empty(6, device="meta")
        second = first if tie else torch.empty(6, device="meta")
        if tie:
            numbering.ledger.name_leaf("weights", [("a", first, None), ("b", second, None)])
        else:
            numbering.ledger.name_leaf("weights", [("a", first, None)])
            numbering.ledger.name_leaf("weights", [("b", second, None)])
        return numbering(lambda a, b: a.mul_(2) + b, first, second)

    assert number(tie=True) != number(tie=False)


def test_a_parameter_called_x_is_not_the_input(numbering):
    given, weight = numbering.leaf("x", 4, kind="input"), numbering.leaf("x", 4, kind="weights")
    assert numbering(lambda: given) != numbering(lambda: weight)


def moves_python(x: torch.Tensor) -> torch.Tensor:
    random.random()
    return x + 1


def moves_numpy(x: torch.Tensor) -> torch.Tensor:
    np.random.rand()
    return x + 1


def moves_torch(x: torch.Tensor) -> torch.Tensor:
    torch.rand(1)
    return x + 1


def starts_a_thread(x: torch.Tensor) -> torch.Tensor:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    return x + 1


@pytest.mark.parametrize("function", [moves_python, moves_numpy, moves_torch, starts_a_thread])
def test_what_moves_the_process_voids_the_proof(numbering, function):
    assert numbering(function, numbering.x) is None
    assert numbering.reasons


@pytest.fixture
def pool():
    """A pool whose one thread was started long ago."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        time.sleep(0.05)  # until its thread waits for work
        yield pool


def test_a_thread_that_waits_in_a_pool_leaves_proofs_as_they_are(numbering, pool):
    assert pool
    assert numbering(lambda x: x + 1, numbering.x) is not None


def test_a_thread_of_a_pool_that_works_voids_the_proof(numbering, pool):
    def function(x: torch.Tensor) -> torch.Tensor:
        y = x + 1
        pool.submit(y.mul_, 2).result()
        return y

    for _ in range(20):
        assert numbering(function, numbering.x) is None
        assert "another thread worked meanwhile" in numbering.reasons


def test_a_thread_that_runs_on_voids_the_proof(numbering):
    end = threading.Event()

    def work() -> None:
        while not end.is_set():
            pass

    def function(x: torch.Tensor) -> torch.Tensor:
        threading.Thread(target=work).start()
        return x + 1

    try:
        assert numbering(function, numbering.x) is None
    finally:
        end.set()


@pytest.mark.parametrize(
    "touch",
    [
        lambda x: x.data_ptr(),
        lambda x: x.untyped_storage().resize_(0),
        lambda x: x.set_(torch.empty(4, device="meta")),
    ],
)
def test_touching_raw_memory_voids_the_proof(numbering, touch):
    assert numbering(lambda x: (touch(x), x + 1)[1], x := numbering.leaf("z", 4)) is None
    assert x is not None


def test_autocast_that_is_off_is_nothing(numbering):
    def guarded(x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device_type=x.device.type, enabled=False):
            return x @ x.transpose(-1, -2)

    assert numbering(guarded, numbering.x) == numbering(lambda x: x @ x.transpose(-1, -2), numbering.x)
    original = torch.autocast.__init__
    with recording(numbering.ledger):
        pass
    assert torch.autocast.__init__ is original


@pytest.mark.parametrize("enabled", [True, 1, 0])
def test_autocast_that_is_not_plainly_off_is_refused_as_ever(numbering, enabled):
    with recording(numbering.ledger), pytest.raises(RuntimeError):
        torch.autocast(device_type="meta", enabled=enabled)


def test_a_tensor_subclass_voids_the_proof(numbering):
    class Subclass(torch.Tensor):
        pass

    def function(x: torch.Tensor) -> torch.Tensor:
        return x.as_subclass(Subclass) + 1

    with recording(numbering.ledger), pytest.raises(Unmodelled, match="Subclass"):
        numbering.ledger.result(function(numbering.x))


def test_an_operation_of_another_namespace_voids_the_proof(numbering):
    with torch.library._scoped_library("conformance_test", "DEF") as library:
        library.define("twice(Tensor x) -> Tensor")
        library.impl("twice", lambda x: x * 2, "Meta")
        assert numbering(torch.ops.conformance_test.twice, numbering.x) is None


def test_a_higher_order_operation_voids_the_proof(numbering):
    from torch._higher_order_ops import map as over_rows

    assert numbering(lambda x, y: over_rows(lambda row, other: row + other, x, y), numbering.x, numbering.y[0]) is None
    assert any("higher-order" in why for why in numbering.reasons)


def test_the_attributes_of_modules_are_watched():
    class Counting(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0
            self.cache: dict[str, list[int]] = {"kept": []}
            self.register_buffer("state", torch.zeros(1), persistent=False)
            self.notes = types.SimpleNamespace(seen=[1])
            self.read: list[types.SimpleNamespace] = [types.SimpleNamespace(times=0)]

    for change in (
        lambda m: setattr(m.notes, "seen", [2]),
        lambda m: m.notes.seen.append(2),
        lambda m: setattr(m.read[0], "times", 1),
        lambda m: setattr(m, "calls", m.calls + 1),
        lambda m: m.cache.update(new=1),
        lambda m: m.cache["kept"].append(1),
        lambda m: setattr(m, "state", torch.ones(1)),
        lambda m: setattr(m, "new", 1),
        lambda m: delattr(m, "calls"),
        lambda m: m.train(not m.training),
        lambda m: m.register_forward_hook(print),
        lambda m: setattr(m, "child", torch.nn.Identity()),
    ):
        module = Counting()
        with recording(Ledger(), module) as taken:
            pass
        assert not taken.unprovable
        with recording(Ledger(), module) as taken:
            change(module)
        assert taken.unprovable


def test_what_is_made_or_written_while_only_looking_is_unknown(numbering):
    x, values = numbering.x, numbering.ledger.values
    # Once with kernels, once with what is remembered of them.
    for _ in range(2):
        with looking(numbering.ledger):
            made = x.t() @ x + torch.tensor([1.0], device="meta")
            made.relu_()
            numbering.y.mul_(2)
        assert made.shape == (6, 6)
        assert made.dtype == torch.float32
        for tensor in (made, numbering.y):
            assert not values.is_reproducible(numbering.ledger.value(tensor))
    assert values.is_reproducible(numbering.ledger.value(x))


def test_looking_gives_and_raises_what_the_operations_do(numbering):
    with looking(numbering.ledger):
        assert isinstance(torch.ones(3, device="meta").split(1), tuple)
        assert torch.empty(2, 3).sum().device.type == "cpu"
    with pytest.raises(RuntimeError, match="reduction dim"), looking(numbering.ledger):
        numbering.x @ numbering.x


def test_scripted_code_is_numbered_like_eager_code(numbering):
    def function(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        z = torch.cat([x, y * 2], dim=1)[:, 1:7] + 1
        z += torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], device=x.device)
        return torch.nn.functional.softmax(z, dim=-1)[:, [0, 1]]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(function)
    with executor_for_meta():
        assert numbering.equal(function, scripted)
        assert not numbering.equal(lambda x, y: function(y, x), scripted)


def test_fingerprints_are_the_same_in_another_ledger_and_order(numbering):
    other = Numbering()
    other(lambda: other.x.exp() + 3)
    left = numbering(lambda: (numbering.x + numbering.y).relu())
    right = other(lambda: (other.x + other.y).relu())
    assert numbering.ledger.values.digest(left) == other.ledger.values.digest(right)
    assert numbering.ledger.values.digest(left) != other.ledger.values.digest(other(lambda: other.x + other.y))


def test_a_fingerprint_with_something_fresh_in_it_is_none(numbering):
    number = numbering(lambda: numbering.x + torch.empty(4, 6, device="meta"))
    assert numbering.ledger.values.digest(number) is None


# What real tensors meet and meta tensors do not


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_nothing_is_proved_under_autocast_which_does_nothing_on_the_meta_device(numbering, device):
    def cast(x, y):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a machine without the device leaves it off, and says so
            with torch.autocast(device, dtype=torch.bfloat16):
                return x @ y.t()

    assert numbering(cast, numbering.x, numbering.y) is None
    assert numbering.reasons == [AUTOCAST]


def test_autocast_that_is_on_already_or_made_before_is_noticed_too(numbering):
    made = torch.autocast("cpu", dtype=torch.bfloat16)

    def enters(x, y):
        with made:
            return x @ y.t()

    assert numbering(enters, numbering.x, numbering.y) is None
    with made:
        assert numbering(lambda x, y: x @ y.t(), numbering.x, numbering.y) is None
    assert numbering(lambda x, y: x @ y.t(), numbering.x, numbering.y) is not None


def test_autocast_that_is_off_changes_nothing(numbering):
    def off(x, y):
        with torch.autocast("cpu", enabled=False), torch.autocast(x.device.type, enabled=False):
            return x @ y.t()

    assert numbering.equal(off, lambda x, y: x @ y.t())


def test_a_look_at_dtypes_under_autocast_is_no_look():
    with pytest.raises(Unmodelled, match="autocast"), looking(Ledger()), torch.autocast("cpu", dtype=torch.bfloat16):
        torch.empty(2, 2, device="meta") @ torch.empty(2, 2, device="meta")


@pytest.mark.parametrize("unnumbered", [looking, differentiating])
def test_a_look_past_what_an_operation_raises_is_no_look(unnumbered):
    def careful():
        with contextlib.suppress(RuntimeError):
            float(torch.empty(2, device="meta").sum())

    with pytest.raises(Unmodelled, match="raised RuntimeError"), unnumbered(Ledger()):
        careful()


def test_what_an_operation_raises_may_be_caught_and_proves_nothing(numbering):
    def careful(x, y):
        try:
            return x * 2 if float(y.sum()) > 0 else x
        except RuntimeError:  # meta tensors have no numbers
            return x

    assert numbering(careful, numbering.x, numbering.y) is None
    assert numbering.reasons == ["what the model does after aten._local_scalar_dense.default raised RuntimeError"]


def test_running_statistics_are_written_in_training_by_every_overload(numbering):
    def trains(training):
        def run(x, y):
            mean, variance = torch.zeros(6, device="meta"), torch.ones(6, device="meta")
            out = [torch.empty(4, 6, device="meta"), torch.empty(6, device="meta"), torch.empty(6, device="meta")]
            torch.ops.aten.native_batch_norm.out(
                x, None, None, mean, variance, training, 0.1, 1e-5, out=out[0], save_mean=out[1], save_invstd=out[2]
            )
            return mean

        return run

    def untouched(x, y):
        return torch.zeros(6, device="meta")

    assert not numbering.equal(trains(True), untouched)
    assert numbering.equal(trains(False), untouched)
