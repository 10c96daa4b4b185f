"""This module lists the equalities that merge numbers, each with its reason; `tests/engine/test_rewrites.py` tests each.

A rule is here only if both sides give the same bits for every input that does not overflow, or if its entry states
the bound. Everything else that a mathematician would call equal stays two numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

from conformance.engine.values import Values

Look = tuple[object, ...]
"""What `conformance.engine.operands.geometry` gives: sizes, strides, offset, dtype, conj and neg bit."""

SCALAR_OVERLOADS = {
    f"aten.{name}.Scalar": f"aten.{name}.Tensor"
    for name in ("add", "sub", "mul", "div", "eq", "ne", "lt", "le", "gt", "ge", "remainder", "bitwise_and",
    "bitwise_or", "bitwise_xor", "floor_divide")
}  # fmt: skip
"""Eager Python dispatches `x + 1` as `add.Tensor` with a number, TorchScript as `add.Scalar`. Both wrap the number as a
0-dimensional tensor that takes no part in type promotion (aten/src/ATen/native/BinaryOps.cpp), and their arguments
have the same names in the same order."""

COPIES = frozenset({"aten.clone.default", "aten._to_copy.default", "aten.lift_fresh_copy.default", "aten.copy_.default"})
"""Operations whose result is the elements of their first tensor, converted to the dtype and laid out as the geometry
of the result says; their other arguments only say which geometry and dtype that is, and the number has both."""


def canonical_label(label: str) -> str:
    """The label that stands for every overload doing the same."""
    return SCALAR_OVERLOADS.get(label, label)


def copied(values: Values, source: int, look: Look, storage_bytes: int) -> int:
    """What a storage of `storage_bytes`, covered by `look`, holds after the tensor numbered `source` is copied to it.

    A copy that keeps dtype and geometry of a tensor that covers its storage leaves the same bytes in as many places:
    it holds what the source's storage holds.
    """
    node = values.node(source)
    if node.label == "tensor" and node.payload == (*look, storage_bytes):
        return node.children[0]
    return values.intern("copy", (*look, storage_bytes), (source,))


def doubled_and_halved(values: Values, label: str, arguments: Sequence[object], operands: Sequence[int]) -> int | None:
    """The number of x where `(x + x) / 2` or `(x + x) * 0.5` is computed, else None.

    What distilled models do with two heads that are both Identity. Doubling and halving only move the exponent, so
    the result is x, unless x + x overflows or x is so small that its half would be subnormal, which x itself is not.
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
    (_, _, alpha), looks = added.payload
    source = values.node(added.children[0])
    # The sum must be looked at as it was made, and must not have changed the dtype of x.
    if alpha != 1 or looks != (node.payload,) or source.label != "tensor" or source.payload[3] != node.payload[3]:
        return None
    floating = ("torch.float64", "torch.float32", "torch.float16", "torch.bfloat16")
    return added.children[0] if node.payload[3] in floating else None
