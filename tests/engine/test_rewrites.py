"""Each rule that merges numbers is tested on real tensors: both sides give the same bits, and it fires nowhere else."""

from __future__ import annotations

import itertools
import operator

import pytest
import torch

from conformance.engine import rewrites
from conformance.engine.operands import digest_of_bytes
from conformance.engine.operations import operation
from conformance.engine.rewrites import (
    COPIES,
    FACTORIES,
    KEEPING_DIMENSIONS,
    PLACING,
    SCALAR_OVERLOADS,
    ZEROS,
    canonical,
    doubled_and_halved,
)
from conformance.engine.values import Values
from tests.engine.conftest import Numbering

FLOATING = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
INTEGERS = (torch.int64, torch.int32, torch.int8, torch.uint8)
NAN, INF = float("nan"), float("inf")


def overload(label: str) -> object:
    namespace, name, which = label.split(".")
    return getattr(getattr(getattr(torch.ops, namespace), name), which)


def same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Equal to the bit, and of one dtype and shape: NaN equals NaN, 0.0 does not equal -0.0."""
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    left, right = left.contiguous().view(-1), right.contiguous().view(-1)
    if left.dtype is torch.bool:
        return bool(torch.equal(left, right))
    return bool(torch.equal(left.view(torch.uint8), right.view(torch.uint8)))


def same_numbers(left: torch.Tensor, right: torch.Tensor) -> bool:
    """As above, but for which of its many bit patterns a NaN has."""
    where = left.isnan()
    return bool(torch.equal(where, right.isnan())) and same_bits(left[~where], right[~where])


def specimens(dtype: torch.dtype) -> torch.Tensor:
    """Ordinary numbers and the ends of the range."""
    if not dtype.is_floating_point:
        ends = torch.iinfo(dtype)
        return torch.tensor([0, 1, 2, 3, 7, ends.max, ends.min, ends.max - 1], dtype=dtype)
    ends = torch.finfo(dtype)
    special = [0.0, -0.0, 1.0, -1.0, 1 / 3, INF, -INF, NAN, ends.max, ends.min, ends.tiny, ends.smallest_normal / 2]
    generator = torch.Generator().manual_seed(0)
    return torch.cat([torch.tensor(special, dtype=dtype), torch.randn(52, generator=generator).to(dtype)])


# Python-number overloads


def outcome(label: str, x: torch.Tensor, number: object, **rest: object) -> torch.Tensor | None:
    """What the overload gives; None where it does not exist or does not take such arguments."""
    try:
        return overload(label)(x, number, **rest)
    except (AttributeError, RuntimeError, NotImplementedError):
        return None


NUMBERS = (2, -3, 0.1, 2.5, -0.0, INF, NAN, True, 1e30, 2**40)


@pytest.mark.parametrize("label", sorted(SCALAR_OVERLOADS))
def test_a_scalar_overload_has_the_arguments_of_its_tensor_overload(label):
    if outcome(SCALAR_OVERLOADS[label], torch.ones(1), 2) is None:
        return  # nothing can be dispatched that the rule would merge
    scalar, tensor = ([a.name for a in overload(name)._schema.arguments] for name in (label, SCALAR_OVERLOADS[label]))
    assert scalar == tensor


@pytest.mark.parametrize("dtype", [*FLOATING, *INTEGERS, torch.bool], ids=str)
@pytest.mark.parametrize("label", sorted(SCALAR_OVERLOADS))
def test_a_scalar_overload_gives_the_bits_of_its_tensor_overload(label, dtype):
    x = specimens(dtype) if dtype is not torch.bool else torch.tensor([True, False])
    compared = 0
    rounding = {"rounding_mode": "floor"} if label.endswith("_mode") else {}
    for number in NUMBERS:
        scalar, tensor = outcome(label, x, number, **rounding), outcome(SCALAR_OVERLOADS[label], x, number, **rounding)
        if tensor is not None:
            assert scalar is not None, number
            assert same_bits(scalar, tensor), number
            compared += 1
    assert compared >= 8 or label.split(".")[1] not in ("add", "mul", "div")


def test_a_number_and_a_tensor_of_it_are_kept_apart(numbering):
    """A 0-dimensional tensor takes part in type promotion, a number does not."""
    assert not numbering.equal(lambda x, y: x + 2.5, lambda x, y: x + torch.tensor(2.5))
    assert numbering.equal(lambda x, y: x + 2.5, lambda x, y: torch.ops.aten.add.Scalar(x, 2.5))
    assert not numbering.equal(lambda x, y: x + 2, lambda x, y: torch.ops.aten.add.Scalar(x, 2.0))
    assert not numbering.equal(lambda x, y: x + 1, lambda x, y: torch.ops.aten.add.Scalar(x, True))
    assert not numbering.equal(
        lambda x, y: torch.ops.aten.sub.Scalar(x, 1), lambda x, y: torch.ops.aten.rsub.Scalar(x, 1)
    )


# Copies

LAYOUTS = {
    "as they are": lambda x: x,
    "transposed": lambda x: x.transpose(0, 1),
    "strided": lambda x: x[::2, 1:],
    "expanded": lambda x: x[:1].expand(5, 8),
    "flipped view of a clone": lambda x: x.flip(0).t(),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("target", [*FLOATING, torch.int32], ids=str)
@pytest.mark.parametrize("source", FLOATING, ids=str)
def test_every_copy_gives_the_elements_converted_alike(source, target, layout):
    x = LAYOUTS[layout](specimens(source).reshape(8, 8).nan_to_num(1.0, 2.0, 3.0).clamp(-1000, 1000))
    copies = {
        "to": x.to(target),
        "_to_copy": torch.ops.aten._to_copy.default(x, dtype=target),
        "copy_": torch.empty(x.shape, dtype=target).copy_(x),
        "clone": x.clone().to(target),
        "lift_fresh_copy": torch.ops.aten.lift_fresh_copy.default(x).to(target),
    }
    for copied in copies.values():
        assert same_bits(copied, copies["to"])


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
def test_a_copy_of_the_same_dtype_keeps_every_bit(dtype):
    x = specimens(dtype)
    assert same_bits(x.clone(), x)
    assert same_bits(torch.empty_like(x).copy_(x), x)
    assert same_bits(torch.ops.aten._to_copy.default(x), x)


def test_all_copies_are_one_number(numbering):
    def copied(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.zeros(6, 4, device=x.device).copy_(x.t())

    assert numbering.equal(lambda x, y: x.t().contiguous(), copied)
    assert numbering.equal(lambda x, y: x.t().clone(memory_format=torch.contiguous_format), copied)


def test_a_copy_that_converts_or_rounds_is_not_its_source(numbering):
    assert not numbering.equal(lambda x, y: x.half().float(), lambda x, y: x)
    assert not numbering.equal(lambda x, y: x.double(), lambda x, y: x)
    assert not numbering.equal(lambda x, y: x.half(), lambda x, y: x.bfloat16())
    assert not numbering.equal(lambda x, y: x.int().float(), lambda x, y: x.half().float())
    assert not numbering.equal(lambda x, y: x.t().contiguous(), lambda x, y: x.contiguous().view(6, 4))


def test_a_copy_of_a_window_is_not_a_copy_of_another(numbering):
    assert not numbering.equal(lambda x, y: x[:2].clone(), lambda x, y: x[2:].clone())
    assert not numbering.equal(lambda x, y: x[0].expand(4, 6).clone(), lambda x, y: x.clone())


def test_copies_of_conjugates_and_negatives_resolve_them(numbering):
    def conjugate(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.complex(x, y).conj().clone().resolve_conj()

    assert not numbering.equal(conjugate, lambda x, y: torch.complex(x, y).clone())
    z = torch.complex(specimens(torch.float32), specimens(torch.float32).flip(0))
    assert torch.equal(torch.view_as_real(z.conj().resolve_conj())[:, 1].signbit(), ~z.imag.signbit())


def test_copies_are_what_their_schemas_call_them():
    for label in COPIES:
        known = operation(overload(label))
        assert not known.random
        assert not known.uninitialised


TABLE = torch.linspace(0, 1, 12).sin().view(3, 4)


def held(tensor: torch.Tensor) -> object:
    """What makes memory on the meta device to which the real tensor is copied."""
    return lambda x, y: torch.empty(tensor.shape, dtype=tensor.dtype, device="meta").copy_(tensor)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: TABLE.to("meta"),
        lambda x, y: TABLE.clone().to("meta"),
        lambda x, y: TABLE.t().contiguous().t().to("meta", memory_format=torch.contiguous_format),
        lambda x, y: torch.empty(3, 4, device="meta").copy_(TABLE.reshape(1, 3, 4)[0]),
        lambda x, y: torch.empty(1, 3, 4, device="meta").copy_(TABLE)[0],
        lambda x, y: TABLE.double().float().to("meta"),
    ],
)
def test_a_constant_is_its_bytes_however_it_came_there(numbering, function):
    assert numbering.equal(held(TABLE), function)


@pytest.mark.parametrize(
    "function",
    [
        held(TABLE + 1e-7),
        held(TABLE.reshape(4, 3)),
        held(TABLE.t()),
        held(TABLE.double()),
        held(TABLE.view(torch.int32)),
        held(-TABLE),
        lambda x, y: torch.empty(3, 4, device="meta").copy_(TABLE.double() + 1e-9),
        lambda x, y: torch.empty(3, 4, device="meta").copy_(TABLE[:1]),
        lambda x, y: torch.empty(4, 3, device="meta").t().copy_(TABLE).t(),
        lambda x, y: torch.empty(6, 4, device="meta")[:3].copy_(TABLE),
        lambda x, y: torch.empty(3, 4, device="meta").copy_(torch._neg_view(TABLE)),
    ],
)
def test_other_constants_are_told_apart(numbering, function):
    assert not numbering.equal(held(TABLE), function)


def test_a_copy_between_devices_keeps_every_bit_in_order():
    for x in (specimens(torch.float32).view(8, 8), specimens(torch.int64).view(2, 4)):
        for source in (x, x.t(), x[1:], x[:1].expand(x.shape), torch._neg_view(x)):
            there = torch.empty(source.shape, dtype=source.dtype).copy_(source)
            assert digest_of_bytes(source) == digest_of_bytes(
                torch.empty(0, dtype=torch.uint8).set_(there.untyped_storage())
            )


# Zeros


EVERY_DTYPE = (*FLOATING, *INTEGERS, torch.bool, torch.complex64, torch.float8_e4m3fn, torch.float8_e5m2)


@pytest.mark.parametrize("dtype", EVERY_DTYPE, ids=str)
def test_zero_has_no_bit_set_in_any_dtype(dtype):
    aten, given = torch.ops.aten, torch.ones(3, dtype=torch.float32).to(dtype)
    for made in (
        aten.zeros.default([3], dtype=dtype),
        aten.zeros_like.default(given),
        aten.new_zeros.default(given, [3]),
        given.clone().zero_(),
    ):
        assert not any(made.untyped_storage().tolist())
    assert {*ZEROS} == {f"aten.{name}.default" for name in ("zeros", "zeros_like", "new_zeros", "zero_")}


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: torch.empty(4, 6, device="meta").zero_(),
        lambda x, y: torch.zeros_like(x),
        lambda x, y: x.new_zeros(4, 6),
        lambda x, y: x.clone().zero_(),
        lambda x, y: torch.zeros(4, 6).to("meta"),
        lambda x, y: torch.empty(4, 6, device="meta").copy_(torch.zeros(4, 6)),
    ],
)
def test_zeros_are_zeros(numbering, function):
    assert numbering.equal(lambda x, y: torch.zeros(4, 6, device="meta"), function)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: torch.full((4, 6), -0.0, device="meta"),
        lambda x, y: torch.full((4, 6), -0.0).to("meta"),
        lambda x, y: torch.ones(4, 6, device="meta"),
        lambda x, y: torch.zeros(6, 4, device="meta"),
        lambda x, y: torch.zeros(4, 6, dtype=torch.int32, device="meta"),
        lambda x, y: torch._neg_view(torch.zeros(4, 6, device="meta")),
        lambda x, y: x * 0,
    ],
)
def test_what_is_not_quite_zeros_is_something_else(numbering, function):
    assert not numbering.equal(lambda x, y: torch.zeros(4, 6, device="meta"), function)


def test_zeros_in_a_part_leave_the_rest(numbering):
    def part(x: torch.Tensor) -> torch.Tensor:
        x = x.clone()
        x[0].zero_()
        return x

    assert not numbering.equal(lambda x, y: part(x), lambda x, y: part(y))
    assert not numbering.equal(lambda x, y: part(x), lambda x, y: torch.zeros_like(x))


def test_memory_beside_zeros_is_unknown(numbering):
    def gaps(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(torch.empty_strided((4,), (2,), device="meta"), memory_format=torch.preserve_format)

    def whole(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.empty_strided((4,), (2,), device="meta").zero_().as_strided((7,), (1,))

    assert numbering.equal(gaps, lambda x, y: torch.zeros(4, device="meta"))
    assert not numbering.equal(whole, whole)


# Factories


@pytest.mark.parametrize("label", sorted(FACTORIES))
def test_a_factory_has_arguments_that_say_where_and_those_that_say_what(label):
    names = {argument.name for argument in overload(label)._schema.arguments}
    assert names >= PLACING


def factory_calls() -> dict[str, object]:
    given = specimens(torch.float32)
    return {
        "aten.arange.default": lambda **k: torch.ops.aten.arange.default(7, **k),
        "aten.arange.start": lambda **k: torch.ops.aten.arange.start(1, 7, **k),
        "aten.arange.start_step": lambda **k: torch.ops.aten.arange.start_step(1, 7, 0.5, **k),
        "aten.eye.default": lambda **k: torch.ops.aten.eye.default(3, **k),
        "aten.eye.m": lambda **k: torch.ops.aten.eye.m(3, 2, **k),
        "aten.full.default": lambda **k: torch.ops.aten.full.default([3], -0.0, **k),
        "aten.full_like.default": lambda **k: torch.ops.aten.full_like.default(given, 1 / 3, **k),
        "aten.linspace.default": lambda **k: torch.ops.aten.linspace.default(0, 1, 7, **k),
        "aten.new_full.default": lambda **k: torch.ops.aten.new_full.default(given, [3], NAN, **k),
        "aten.new_ones.default": lambda **k: torch.ops.aten.new_ones.default(given, [3], **k),
        "aten.ones.default": lambda **k: torch.ops.aten.ones.default([3], **k),
        "aten.ones_like.default": lambda **k: torch.ops.aten.ones_like.default(given, **k),
        "aten.scalar_tensor.default": lambda **k: torch.ops.aten.scalar_tensor.default(1 / 3, **k),
    }


def test_every_factory_is_tried():
    assert set(factory_calls()) == FACTORIES


@pytest.mark.parametrize("dtype", [*FLOATING, torch.int64], ids=str)
@pytest.mark.parametrize("label", sorted(FACTORIES))
def test_where_a_factory_makes_something_does_not_change_its_bits(label, dtype):
    make = factory_calls()[label]
    if label in ("aten.full_like.default", "aten.new_full.default", "aten.full.default", "aten.scalar_tensor.default"):
        dtype = dtype if dtype.is_floating_point else torch.float32
    plain = make(dtype=dtype)
    for placed in (
        make(dtype=dtype, layout=torch.strided, device=torch.device("cpu"), pin_memory=False),
        make(dtype=dtype, pin_memory=None),
    ):
        assert same_bits(plain, placed)


def test_what_a_factory_makes_is_told_apart(numbering):
    def zeros(dtype: torch.dtype, *size: int) -> object:
        return lambda x, y: torch.zeros(size, dtype=dtype, device="meta")

    assert numbering.equal(zeros(torch.float32, 4), lambda x, y: torch.zeros(4, device="meta", pin_memory=False))
    assert not numbering.equal(zeros(torch.float32, 4), zeros(torch.float64, 4))
    assert not numbering.equal(zeros(torch.float32, 4), zeros(torch.float32, 5))
    assert not numbering.equal(zeros(torch.float32, 2, 2), zeros(torch.float32, 4))
    assert not numbering.equal(zeros(torch.float32, 4), lambda x, y: torch.ones(4, device="meta"))
    full = torch.full
    assert not numbering.equal(
        lambda x, y: full((4,), 2.0, device="meta"), lambda x, y: full((4,), 2, device="meta", dtype=torch.float32)
    )
    assert not numbering.equal(
        lambda x, y: full((4,), 0.0, device="meta"), lambda x, y: full((4,), -0.0, device="meta")
    )
    assert not numbering.equal(
        lambda x, y: torch.linspace(0, 1, 4, device="meta"), lambda x, y: torch.linspace(0, 2, 4, device="meta")
    )
    assert not numbering.equal(
        lambda x, y: torch.arange(0, 4, device="meta"), lambda x, y: torch.arange(1, 5, device="meta")
    )


# Reductions that keep their dimensions


def reductions() -> dict[str, object]:
    aten = torch.ops.aten
    return {
        "aten.amax.default": lambda x, dim, keep: aten.amax.default(x, dim, keep),
        "aten.amin.default": lambda x, dim, keep: aten.amin.default(x, dim, keep),
        "aten.linalg_vector_norm.default": lambda x, dim, keep: aten.linalg_vector_norm.default(x, 2, dim, keep),
        "aten.mean.dim": lambda x, dim, keep: aten.mean.dim(x, dim, keep),
        "aten.sum.dim_IntList": lambda x, dim, keep: aten.sum.dim_IntList(x, dim, keep),
        "aten.var.correction": lambda x, dim, keep: aten.var.correction(x, dim, correction=1, keepdim=keep),
    }


def test_every_reduction_is_tried():
    assert set(reductions()) == KEEPING_DIMENSIONS


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
@pytest.mark.parametrize("label", sorted(KEEPING_DIMENSIONS))
def test_keeping_dimensions_changes_no_bit_and_no_order(label, dtype):
    reduce = reductions()[label]
    plain = torch.randn(4, 6, 8, generator=torch.Generator().manual_seed(1)).to(dtype)
    odd = specimens(dtype).reshape(2, 4, 8)
    for x, dim in itertools.product((plain, plain.transpose(0, 2), odd), ([0], [-1], [1, 2], [0, 2], [0, 1, 2])):
        # Vectorised kernels give NaNs of either sign (mean of bfloat16 over all dimensions).
        assert same_numbers(reduce(x, dim, True).flatten(), reduce(x, dim, False).flatten())


def test_a_reduction_is_one_number_with_and_without_its_dimensions(numbering):
    assert numbering.equal(lambda x, y: x.mean(0, keepdim=True).flatten(), lambda x, y: x.mean(0))
    assert numbering.equal(lambda x, y: x.sum(1, keepdim=True).squeeze(1), lambda x, y: x.sum(1))


def test_reductions_are_told_apart(numbering):
    assert not numbering.equal(lambda x, y: x.mean(0), lambda x, y: x.sum(0))
    assert not numbering.equal(lambda x, y: x[:, :4].mean(0), lambda x, y: x[:, :4].mean(1))
    assert not numbering.equal(lambda x, y: x.mean(0), lambda x, y: y.mean(0))
    assert not numbering.equal(lambda x, y: x.mean(0, keepdim=True), lambda x, y: x.mean(0))
    assert not numbering.equal(lambda x, y: x.amax(0), lambda x, y: x.amin(0))
    assert not numbering.equal(lambda x, y: x.var(0), lambda x, y: x.var(0, unbiased=False))
    assert not numbering.equal(lambda x, y: x.sum(0), lambda x, y: x.sum(0, dtype=torch.float64).float())
    assert not numbering.equal(lambda x, y: x.mean(0), lambda x, y: x.mean((0, 1)).expand(6))


def test_the_norm_and_the_vector_norm_give_the_same_bits():
    for dtype, order in itertools.product(FLOATING, (0, 1, 2, 2.0, 3, 0.5, INF, -INF)):
        for x in (specimens(dtype).reshape(8, 8), torch.randn(8, 8).to(dtype)):
            for dim, keep in (([0], False), ([1], True), ([0, 1], False)):
                left = torch.ops.aten.norm.ScalarOpt_dim(x, order, dim, keep)
                right = torch.ops.aten.linalg_vector_norm.default(x, order, dim, keep)
                assert same_bits(left, right), (dtype, order, dim)


def test_the_norm_and_the_vector_norm_are_one_number(numbering):
    assert numbering.equal(
        lambda x, y: torch.ops.aten.norm.ScalarOpt_dim(x, 2, [1], True),
        lambda x, y: torch.ops.aten.linalg_vector_norm.default(x, 2, [1], True),
    )
    assert not numbering.equal(
        lambda x, y: torch.ops.aten.norm.ScalarOpt_dim(x, 2, [1]),
        lambda x, y: torch.ops.aten.linalg_vector_norm.default(x, 1, [1]),
    )
    assert not numbering.equal(
        lambda x, y: torch.ops.aten.norm.ScalarOpt_dim(x, 2, [1]),
        lambda x, y: torch.ops.aten.linalg_vector_norm.default(x, 2, [0]).expand(6)[:4],
    )


# (x + x) / 2


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
def test_doubling_and_halving_gives_back_every_bit_that_does_not_overflow(dtype):
    x = specimens(dtype)
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.float16)
    if dtype is torch.float16:
        x = every
    elif dtype is torch.bfloat16:
        x = every.view(torch.bfloat16)
    fits = ~(x.abs() > torch.finfo(dtype).max / 2) | x.isinf() | x.isnan()
    for halved in ((x + x) / 2, (x + x) * 0.5, (x + x) / 2.0):
        numbers = fits & ~x.isnan()
        assert same_bits(halved[numbers], x[numbers])
        assert halved[x.isnan()].isnan().all()
        assert halved[~fits].isinf().all()


FIRES = {
    "/ 2": lambda x, y: (x + x) / 2,
    "/ 2.0": lambda x, y: (x + x) / 2.0,
    "* 0.5": lambda x, y: (x + x) * 0.5,
    "div.Scalar": lambda x, y: torch.ops.aten.div.Scalar(x + x, 2),
    "an equal computation twice": lambda x, y: (x.neg().neg() + x.neg().neg()) / 2,
}

DOES_NOT_FIRE = {
    "another divisor": lambda x, y: (x + x) / 3,
    "another factor": lambda x, y: (x + x) * 2,
    "True": lambda x, y: (x + x) / True,
    "alpha": lambda x, y: torch.add(x, x, alpha=3) / 2,
    "two operands": lambda x, y: (x + y) / 2,
    "a part": lambda x, y: (x + x).reshape(6, 4) / 2,
    "rounding": lambda x, y: torch.div(x + x, 2, rounding_mode="floor"),
    "the other way round": lambda x, y: 2 / (x + x),
    "a tensor of 2": lambda x, y: (x + x) / torch.tensor(2.0, dtype=torch.float64),
    "a doubling by multiplying": lambda x, y: (x * 3) / 2,
    "what was written since": lambda x, y: (x + x).relu_() / 2,
    "broadcast": lambda x, y: (x[:1] + x[:1]).expand(4, 6) / 2,
    "three of them": lambda x, y: (x + x + x) / 2,
}


@pytest.mark.parametrize("name", FIRES)
def test_doubling_and_halving_is_nothing(numbering, name):
    assert numbering.equal(FIRES[name], lambda x, y: x.neg().neg() if "twice" in name else x)


@pytest.mark.parametrize("name", DOES_NOT_FIRE)
def test_what_only_looks_like_doubling_and_halving_is_something(numbering, name):
    assert not numbering.equal(DOES_NOT_FIRE[name], lambda x, y: x)
    assert numbering.equal(DOES_NOT_FIRE[name], DOES_NOT_FIRE[name])


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.complex64], ids=str)
def test_whole_numbers_wrap_around_and_are_not_halved_back(dtype):
    numbering = Numbering()
    x = numbering.leaf("z", 4, dtype=dtype)
    assert numbering(lambda: (x + x) / 2) != numbering(lambda: x)
    assert numbering(lambda: (x + x) / 2) != numbering(lambda: x.to(torch.float32))


def test_a_sum_that_changed_the_dtype_is_not_halved_back():
    numbering = Numbering()
    x = numbering.leaf("z", 4, dtype=torch.float16)
    assert numbering(lambda: torch.add(x.float(), x.float()) / 2) != numbering(lambda: x)
    assert numbering(lambda: (x.float() + x) / 2) != numbering(lambda: x.float())


def test_the_rule_asks_for_one_operand_and_a_listed_operation():
    values = Values()
    leaf = values.intern("leaf.input", (1,))
    assert doubled_and_halved(values, "aten.div.Tensor", [None, 2], [leaf]) is None
    assert doubled_and_halved(values, "aten.sub.Tensor", [None, 2], [leaf]) is None
    assert doubled_and_halved(values, "aten.div.Tensor", [None, None], [leaf, leaf]) is None


# Subtraction from a number


@pytest.mark.parametrize("number", [0, 1, -3, 0.0, -0.0, 0.1, INF, -INF, NAN, 1e300], ids=str)
@pytest.mark.parametrize("dtype", FLOATING, ids=str)
def test_a_number_less_x_is_minus_x_and_the_number(dtype, number):
    x = specimens(dtype)
    for negated in (torch.ops.aten.add.Tensor(x.neg(), number), torch.ops.aten.add.Scalar(x.neg(), number)):
        assert same_numbers(torch.ops.aten.rsub.Scalar(x, number), negated)


@pytest.mark.parametrize(
    "function",
    [lambda x, y: x.neg() + 1.5, lambda x, y: torch.ops.aten.add.Scalar(x.neg(), 1.5), lambda x, y: x.neg().add_(1.5)],
)
def test_adding_a_number_to_minus_x_is_subtracting_x(numbering, function):
    assert numbering.equal(function, lambda x, y: 1.5 - x)
    assert numbering.equal(lambda x, y: function(x.t(), y), lambda x, y: 1.5 - x.t())


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: x.neg() + 2.5,
        lambda x, y: y.neg() + 1.5,
        lambda x, y: x + 1.5,
        lambda x, y: x.abs() + 1.5,
        lambda x, y: x.neg() - 1.5,
        lambda x, y: x.neg() * 1.5,
        lambda x, y: x.neg() + y,
        lambda x, y: x.neg() + torch.tensor(1.5, dtype=torch.float64),
        lambda x, y: torch.add(x.neg(), 1.5, alpha=2),
        lambda x, y: x.neg().relu_() + 1.5,
        lambda x, y: x.neg().reshape(6, 4).t() + 1.5,
        lambda x, y: x.neg()[:2] + 1.5,
        lambda x, y: x.neg() + 1.5j,
        lambda x, y: x.neg() + True,
    ],
)
def test_what_only_looks_like_subtracting_from_a_number_is_something_else(numbering, function):
    assert not numbering.equal(function, lambda x, y: 1.5 - x)
    assert numbering.equal(function, function)


def test_whole_numbers_are_not_subtracted_by_this_rule():
    numbering = Numbering()
    x = numbering.leaf("z", 4, dtype=torch.uint8)
    assert numbering(lambda: x.neg() + 1) != numbering(lambda: 1 - x)


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
@pytest.mark.parametrize("shape", [(2, 3, 7, 5), (1, 1, 1, 1), (1, 2, 1, 64)], ids=str)
def test_an_image_that_is_resized_to_its_own_size_is_itself(dtype, shape):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator).to(dtype)
    edges = specimens(dtype)[:12][: x.numel()]
    x.view(-1)[: len(edges)] = edges
    for image in (x, x.contiguous(memory_format=torch.channels_last)):
        assert same_bits(torch.ops.aten._upsample_bicubic2d_aa(image, list(shape[2:]), False), x)


RESIZED = torch.ops.aten._upsample_bicubic2d_aa


def as_image(x):
    return x.reshape(1, 2, 3, 4)


def test_resizing_to_the_same_size_is_nothing(numbering):
    assert numbering.equal(lambda x, y: RESIZED(as_image(x), [3, 4], False), lambda x, y: as_image(x).clone())
    last = torch.channels_last
    assert numbering.equal(
        lambda x, y: RESIZED(as_image(x).contiguous(memory_format=last), [3, 4], False),
        lambda x, y: as_image(x).contiguous(memory_format=last),
    )
    assert numbering.equal(
        lambda x, y: torch.nn.functional.interpolate(as_image(x), size=(3, 4), mode="bicubic", antialias=True),
        lambda x, y: as_image(x).clone(),
    )


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: RESIZED(as_image(x), [3, 5], False)[..., :4],
        lambda x, y: RESIZED(as_image(x), [3, 4], True),
        lambda x, y: RESIZED(as_image(x), [3, 4], False, 1.0, 1.0),
        lambda x, y: RESIZED(as_image(x), [3, 4], False, 2.0, None),
        lambda x, y: torch.ops.aten._upsample_bilinear2d_aa(as_image(x), [3, 4], False),
        lambda x, y: torch.ops.aten.upsample_bicubic2d(as_image(x), [3, 4], False),
        lambda x, y: RESIZED(as_image(y), [3, 4], False),
        lambda x, y: RESIZED(as_image(x), [4, 3], False).reshape(1, 2, 3, 4),
    ],
)
def test_what_only_looks_like_resizing_to_the_same_size_is_something(numbering, function):
    assert not numbering.equal(function, lambda x, y: as_image(x).clone())


# All of them


def test_an_operation_without_a_rule_stays_as_it_is():
    look = ((4,), (1,), 0, "torch.float32", 0, 0, 16)
    assert canonical("aten.exp.default", ["self"], [("tensor",)], [look]) == (
        "aten.exp.default",
        ((("tensor",),), (look,)),
    )


def test_every_listed_operation_exists():
    listed = {*SCALAR_OVERLOADS, *COPIES, *FACTORIES, *KEEPING_DIMENSIONS, *ZEROS}
    assert all(operator.attrgetter("_schema")(overload(label)) for label in listed)


def test_no_rule_is_untested():
    """A rule added to the file must be added here."""
    public = {name for name, value in vars(rewrites).items() if name[0] not in "_@" and name not in IMPORTED}
    assert public == {
        "COPIES",
        "FACTORIES",
        "KEEPING_DIMENSIONS",
        "PLACING",
        "SCALAR_OVERLOADS",
        "ZEROS",
        "canonical",
        "FLOATING",
        "copied",
        "doubled_and_halved",
        "is_resized_to_itself",
        "stored",
        "taken_from_a_number",
        "zeroed",
    }


IMPORTED = {
    "annotations",
    "functools",
    "math",
    "Sequence",
    "Values",
    "digest_of_bytes",
    "Look",
    "torch",
    "LARGEST_READ",
}
