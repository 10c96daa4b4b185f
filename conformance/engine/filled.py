"""This module tells what a storage was filled with, where one number fills it."""

from __future__ import annotations

import struct

from conformance.engine.values import Values

ONES = frozenset({"aten.new_ones.default", "aten.ones.default", "aten.ones_like.default"})
FILLING = frozenset({"aten.fill.Scalar", "aten.full.default"})
"""Operations whose second argument is what they fill with."""
NUMBER_ONE = (1, ("float", struct.pack("<d", 1.0).hex()))


def is_zeros_or_ones(values: Values, number: int) -> bool:
    """Whether a storage that holds `number` was filled with zeros, or with ones, by one operation."""
    node = values.node(number)
    if node.label != "result":
        return node.label == "zeros"
    label, payload, _ = values.node(node.children[0])
    if label not in FILLING:
        return label in ONES
    given = payload[0]
    assert isinstance(given, tuple)
    return given[1] in NUMBER_ONE
