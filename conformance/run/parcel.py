"""This module is what travels from a worker to the writer for each item: one decided cell, and facts with the last."""

from __future__ import annotations

import json

import msgspec

from conformance.record import Cell, Record

PROPERTY = "timm_conformance"
"""The key in a test report's `user_properties`."""

LONGEST_TEXT = 2000
"""Characters of a reason that are kept: a model may raise a megabyte."""


class Parcel(msgspec.Struct, frozen=True, kw_only=True):
    """A cell on its way, with the facts of its subject if this was the item to gather them."""

    model: str
    claim: str
    cell: Cell
    facts: Record | None = None
    cost: dict[str, float] = {}
    """Seconds of each claim decided for this item, prerequisites included."""
    broken: tuple[str, ...] = ()
    """What came out wrong of sentinels that the process decided before: nothing that it says can be relied on."""


def pack(parcel: Parcel) -> str:
    """The parcel as one ASCII JSON string: all that xdist carries unharmed and every report format can hold."""
    return json.dumps(msgspec.to_builtins(parcel), ensure_ascii=True, allow_nan=False)


def unpack(text: str) -> Parcel:
    """The parcel that `pack` made."""
    return msgspec.json.decode(text, type=Parcel)


def clipped(cell: Cell) -> Cell:
    """The cell with a reason of bearable length."""
    if cell.reason is None or len(cell.reason) <= LONGEST_TEXT:
        return cell
    left_out = len(cell.reason) - LONGEST_TEXT
    return msgspec.structs.replace(cell, reason=f"{cell.reason[:LONGEST_TEXT]}… ({left_out} more characters)")
