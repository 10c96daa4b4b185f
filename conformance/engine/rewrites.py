"""This module lists the equalities that merge numbers, each with its reason and its numeric test.

A rule is here only if both sides give the same bits for every input that does not overflow, or if its entry states
the bound. Everything else that a mathematician would call equal stays two numbers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch

from conformance.engine.operands import digest_of_bytes
from conformance.engine.values import Values

Look = tuple[object, ...]
"""What `conformance.engine.operands.geometry` gives: sizes, strides, offset, dtype, conj and neg bit."""

FLOATING = frozenset({"torch.float64", "torch.float32", "torch.float16", "torch.bfloat16"})
"""Dtypes in which negating, doubling and halving are exact."""

SCALAR_OVERLOADS = {f"aten.{name}.Scalar": f"aten.{name}.Tensor" for name in ("add", "sub", "mul", "div")} | {
    "aten.div.Scalar_mode": "aten.div.Tensor_mode"
}
"""Eager Python dispatches `x + 1` as `add.Tensor` with a number, TorchScript as `add.Scalar`. Both wrap the number as a
0-dimensional tensor that takes no part in type promotion (aten/src/ATen/native/BinaryOps.cpp), and their arguments
have the same names in the same order."""

COPIES = frozenset(
    {"aten.clone.default", "aten._to_copy.default", "aten.lift_fresh_copy.default", "aten.copy_.default"}
)
"""Operations whose result is the elements of their first tensor, converted to the dtype and laid out as the geometry
of the result says; their other arguments only say which geometry and dtype that is, and the number has both."""


PLACING = frozenset({"dtype", "layout", "device", "pin_memory"})
"""Arguments of factories that say where and as what a tensor is made. The number has dtype and geometry of the result,
only meta tensors are numbered by operation, and whether memory is pinned is no matter of what it holds: eager Python
gives `pin_memory=False` where TorchScript gives None."""

FACTORIES = frozenset(
    f"aten.{name}"
    for name in ("arange.default", "arange.start", "arange.start_step", "eye.default", "eye.m", "full.default",
    "full_like.default", "linspace.default", "new_full.default", "new_ones.default", "ones.default",
    "ones_like.default", "scalar_tensor.default")
)  # fmt: skip

KEEPING_DIMENSIONS = frozenset(
    {
        "aten.amax.default",
        "aten.amin.default",
        "aten.linalg_vector_norm.default",
        "aten.mean.dim",
        "aten.sum.dim_IntList",
        "aten.var.correction",
    }
)
"""Reductions with a `keepdim`, which gives the result sizes of 1 and leaves its elements and their order alone (of a
NaN, that it is one: its payload may differ)."""


def canonical(
    label: str, names: Sequence[str], arguments: Sequence[object], looks: Sequence[Look]
) -> tuple[str, tuple[object, ...]]:
    """The label and payload that stand for every operation doing the same.

    `names` and encoded `arguments` are those of the schema, in order; `looks` are the geometries of the results, each
    with the size of its storage in bytes.
    """
    label = SCALAR_OVERLOADS.get(label, label)
    if label in FACTORIES:
        arguments = [argument for name, argument in zip(names, arguments, strict=True) if name not in PLACING]
    elif label == "aten.norm.ScalarOpt_dim" and arguments[1] is not None:
        # Both go to one kernel (aten/src/ATen/native/ReduceOps.cpp, impl_func_norm).
        label, names = "aten.linalg_vector_norm.default", ("self", "ord", "dim", "keepdim", "dtype")
        arguments = [*arguments, None]
    if label in KEEPING_DIMENSIONS and len(looks) == 1 and _is_dense(looks[0]):
        arguments = [argument for name, argument in zip(names, arguments, strict=True) if name != "keepdim"]
        return label, (tuple(arguments), ("in order", looks[0][3], looks[0][6]))
    return label, (tuple(arguments), tuple(looks))


def _is_dense(look: Look) -> bool:
    """Whether a geometry is that of elements in order, without conj or neg bit."""
    size, stride, offset, _, conj, neg, _ = look
    step, expected = 1, []
    for n in reversed(size):  # type: ignore[call-overload]  # a tuple of ints
        expected.append(0 if n == 1 else step)
        step *= max(n, 1)
    return stride == tuple(reversed(expected)) and (offset, conj, neg) == (0, 0, 0)


def copied(values: Values, source: int, look: Look, storage_bytes: int) -> int:
    """What a storage of `storage_bytes`, covered by `look`, holds after the tensor numbered `source` is copied to it.

    A copy that keeps dtype and geometry of a tensor that covers its storage leaves the same bytes in as many places:
    it holds what the source's storage holds. One of real elements, in order and of their dtype, holds their bytes: it
    does not matter whether a constant was made where it lies or copied there.
    """
    node = values.node(source)
    if node.label == "tensor" and node.payload == (*look, storage_bytes):
        return node.children[0]
    if node.label == "bytes" and _is_dense((*look, storage_bytes)):
        size, dtype, digest = node.payload
        # A copy may broadcast; as many elements are the same ones, with sizes of 1 before them.
        if dtype == look[3] and _elements(size) == _elements(look[0]):
            return stored(values, storage_bytes, digest)
    return values.intern("copy", (*look, storage_bytes), (source,))


def _elements(size: object) -> int:
    assert isinstance(size, tuple)
    return math.prod(size)


def stored(values: Values, storage_bytes: int, digest: object) -> int:
    """What a storage holds whose bytes are known: their digest is that of `conformance.engine.operands`."""
    if storage_bytes <= _LARGEST_READ and digest == _digest_of_zeros(storage_bytes):
        return zeroed(values, storage_bytes)
    return values.intern("storage", (storage_bytes, digest))


_LARGEST_READ = 16 * 2**20
"""Bytes: whether those of a larger storage are zero is not looked at."""


ZEROS = frozenset({"aten.new_zeros.default", "aten.zero_.default", "aten.zeros.default", "aten.zeros_like.default"})
"""Operations that leave nothing but zeros in what they make or write, of which every dtype has all bits 0."""


def zeroed(values: Values, storage_bytes: int) -> int:
    """What a storage holds that is zero throughout, however it came to be."""
    return values.intern("zeros", (storage_bytes,))


@functools.lru_cache(maxsize=1 << 12)
def _digest_of_zeros(storage_bytes: int) -> str:
    return digest_of_bytes(torch.zeros(storage_bytes, dtype=torch.uint8))


def doubled_and_halved(values: Values, label: str, arguments: Sequence[object], operands: Sequence[int]) -> int | None:
    """The number of x where `(x + x) / 2` or `(x + x) * 0.5` is computed, else None.

    What distilled models do with two heads that are both Identity. Doubling moves the exponent (or
    shifts a subnormal), halving moves it back: the result is x unless x + x overflows.
    """
    if label not in ("aten.div.Tensor", "aten.mul.Tensor", "aten.div.Scalar", "aten.mul.Scalar") or len(operands) != 1:
        return None
    factor = arguments[1]
    if type(factor) not in (int, float) or factor != (2 if ".div." in label else 0.5):
        return None
    node = values.node(operands[0])
    if node.label != "tensor":
        return None
    result = values.node(node.children[0])
    if result.label != "result":
        return None
    added = values.node(result.children[0])
    if added.label != "aten.add.Tensor" or len(added.children) != 2 or added.children[0] != added.children[1]:
        return None
    arguments_of_sum, looks = added.payload
    assert isinstance(arguments_of_sum, tuple)
    alpha = arguments_of_sum[2]
    source = values.node(added.children[0])
    # The sum must be looked at as it was made, and must not have changed the dtype of x.
    if alpha != 1 or looks != (node.payload,) or source.label != "tensor" or source.payload[3] != node.payload[3]:
        return None
    return added.children[0] if node.payload[3] in FLOATING else None


def is_resized_to_itself(label: str, arguments: Sequence[object]) -> bool:
    """Whether an image is interpolated to the size that it has, which gives its elements back.

    timm's exported models do it with position embeddings (timm/layers/pos_embed.py). Pixels lie on pixels, and the
    cubic filter is 1 at 0 and 0 at whole numbers, in any dtype (aten/src/ATen/native/cpu/UpSampleKernel.cpp,
    HelperInterpCubic::aa_filter). On the CPU every bit is given back; where a kernel adds 0 · (its neighbours), a zero
    may change its sign, and a neighbour that is no finite number shows. `arguments` are the operation's own.
    """
    if label != "aten._upsample_bicubic2d_aa.default":
        return False
    image, size, align_corners, *scales = arguments
    return (
        isinstance(image, torch.Tensor)
        and isinstance(size, list | tuple)
        and all(type(side) is int for side in size)
        and tuple(size) == tuple(image.shape[2:])
        and align_corners is False
        and all(scale is None for scale in scales)
    )


def taken_from_a_number(values: Values, label: str, arguments: Sequence[object], operands: Sequence[int]) -> int | None:
    """The number of x where `(-x) + number` is computed, else None: it is `number - x`, which is `aten.rsub.Scalar`.

    TorchScript compiles the subtraction of a tensor from a number so (torch/csrc/jit/frontend/builtin_functions.cpp).
    Negating is exact, and IEEE 754 defines a - b as a + (-b), zeros and infinities included (of a NaN, that it is one).
    `arguments` are encoded.
    """
    if label not in ("aten.add.Tensor", "aten.add.Scalar") or len(operands) != 1:
        return None
    _, number, alpha = arguments
    is_real = type(number) is int or (isinstance(number, tuple) and number[0] == "float")
    node = values.node(operands[0])
    if not is_real or alpha != 1 or node.label != "tensor":
        return None
    result = values.node(node.children[0])
    negated = values.node(result.children[0]) if result.label == "result" else None
    # The negative must be looked at as it was made.
    if negated is None or negated.label != "aten.neg.default" or negated.payload[1] != (node.payload,):
        return None
    return negated.children[0] if node.payload[3] in FLOATING else None
