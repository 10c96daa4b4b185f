"""This module interns computations: a small int per distinct computation, and digests of them for fingerprints."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple


class Node(NamedTuple):
    """One computation: what is done (`label`), with which constants (`payload`), to which computations.

    A payload is a nested tuple of None, int, str and tagged tuples, never a bool or float, which Python would confuse
    with an int (`True == 1 == 1.0`): see `conformance.engine.operands`.
    """

    label: str
    payload: tuple[object, ...]
    children: tuple[int, ...]


class Values:
    """The numbers of one subject's computations.

    Two computations get the same number exactly if they are the same operation on the same numbers, down to leaves
    that have the same names. A number that is fresh (random, uninitialised, not modelled) equals no other number, and
    everything computed from it is not reproducible.
    """

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, tuple[object, ...], tuple[int, ...]], int] = {}
        self._nodes: list[Node] = []
        self._reproducible = bytearray()
        self._digests: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def intern(self, label: str, payload: tuple[object, ...] = (), children: tuple[int, ...] = ()) -> int:
        """The number of the computation, the same for every equal call."""
        key = (label, payload, children)
        number = self._numbers.get(key)
        if number is None:
            number = self._append(Node(*key), all(self._reproducible[child] for child in children))
            self._numbers[key] = number
        return number

    def fresh(self, why: str, children: tuple[int, ...] = ()) -> int:
        """A number never given before and never given again; `why` is for people, `children` are what it depends on."""
        return self._append(Node("fresh", (why, len(self._nodes)), children), reproducible=False)

    def node(self, number: int) -> Node:
        """What the number stands for."""
        return self._nodes[number]

    def is_reproducible(self, number: int) -> bool:
        """Whether the computation is a function of named leaves and constants alone: nothing fresh is in it."""
        return bool(self._reproducible[number])

    def reached_from(self, numbers: Iterable[int]) -> Iterator[Node]:
        """Every node that the computations depend on, themselves included, each once, in no particular order."""
        return map(self._nodes.__getitem__, self.numbers_reached_from(numbers))

    def numbers_reached_from(self, numbers: Iterable[int], without: Collection[int] = ()) -> Iterator[int]:
        """Every number that the computations depend on, themselves included; goes no further at those in `without`."""
        seen: set[int] = set()
        pending = list(numbers)
        while pending:
            number = pending.pop()
            if number in seen:
                continue
            seen.add(number)
            yield number
            if number not in without:
                pending.extend(self._nodes[number].children)

    def all_fresh(self, number: int) -> set[tuple[str, int]]:
        """All that makes the computation not reproducible: why, and which of those that have the same reason."""
        if self.is_reproducible(number):
            return set()
        fresh = (node.payload for node in self.reached_from([number]) if node.label == "fresh")
        return {(str(why), int(which)) for why, which in fresh}  # type: ignore[call-overload]  # whole numbers

    def digest(self, number: int) -> str | None:
        """A fingerprint that is equal in any process for the same computation; None if something fresh is in it.

        Digests are built from content alone (labels, constants, digests of operands), so they do not depend on the
        order of interning. They are comparable under one torch version, whose operations they name.
        """
        if not self.is_reproducible(number):
            return None
        pending = [number]
        while pending:
            current = pending[-1]
            node = self._nodes[current]
            missing = [child for child in node.children if child not in self._digests]
            if missing:
                pending.extend(missing)
                continue
            pending.pop()
            if current not in self._digests:
                text = repr((node.label, node.payload, [self._digests[child] for child in node.children]))
                self._digests[current] = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:32]
        return self._digests[number]

    def _append(self, node: Node, reproducible: bool) -> int:
        self._nodes.append(node)
        self._reproducible.append(reproducible)
        return len(self._nodes) - 1
