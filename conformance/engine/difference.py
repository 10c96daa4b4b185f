"""This module says where two computations part, in words."""

from __future__ import annotations

from conformance.engine.values import Values

LOOKS = frozenset({"elements", "tensor", "result", "copy"})
"""Nodes that say how something is looked at, not what is computed."""


def where_they_part(values: Values, left: int, right: int) -> str:
    """The innermost operations in which two different computations differ, from the outputs inwards.

    Follows the only pair of operands that differ as long as both sides do the same with them; for people and for
    grouping, never a verdict.
    """
    seen: set[tuple[int, int]] = set()
    while (left, right) not in seen:
        seen.add((left, right))
        a, b = values.node(left), values.node(right)
        if (a.label, a.payload) != (b.label, b.payload) or len(a.children) != len(b.children):
            left, right = _inward(values, left), _inward(values, right)
            a, b = values.node(left), values.node(right)
            if a.label != b.label:
                return f"{_name(a.label)} against {_name(b.label)}"
            if a.payload == b.payload and len(a.children) == len(b.children):
                continue
            return f"{_name(a.label)} with other arguments"
        differing = [pair for pair in zip(a.children, b.children, strict=True) if pair[0] != pair[1]]
        if not differing:
            break
        left, right = (
            differing[-1] if len(differing) > 1 and values.node(differing[0][0]).label == "fresh" else differing[0]
        )
    return "the same operations on other values"


def _inward(values: Values, number: int) -> int:
    node = values.node(number)
    while node.label in LOOKS and len(node.children) == 1:
        number = node.children[0]
        node = values.node(number)
    return number


def _name(label: str) -> str:
    return label.removeprefix("aten.").removeprefix("leaf.")
