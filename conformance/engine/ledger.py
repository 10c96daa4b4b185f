"""This module keeps what every storage of a subject holds, as numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from conformance.engine.indices import Ranges
from conformance.engine.open_layouts import OpenLayouts
from conformance.engine.operands import (
    Unmodelled,
    contiguous_geometry,
    digest_of_bytes,
    encode,
    geometry,
    geometry_of,
)
from conformance.engine.rewrites import copied
from conformance.engine.shapes import Shapes
from conformance.engine.values import Values


class Ledger:
    """What every storage of one subject holds, as numbers of one `Values`.

    Storages are kept alive as long as the ledger is: an address that is used again would forge an equality. Real
    bytes (CPU tensors) are read at every use and never remembered.
    """

    def __init__(self, shapes: Shapes | None = None, values: Values | None = None) -> None:
        self.values = Values() if values is None else values
        self._contents: dict[int, int] = {}
        self._alive: dict[int, tuple[int, torch.UntypedStorage]] = {}
        self.known_bytes: dict[int, str] = {}
        """For storages that were real once, by address: the digest of the bytes that they held."""
        self.shapes = Shapes() if shapes is None else shapes
        self.layouts = OpenLayouts()
        self.ranges = Ranges()

    def content(self, storage: torch.UntypedStorage) -> int:
        """The number of what the storage holds; one never seen holds something unknown."""
        number = self._contents.get(storage._cdata)
        if number is None:
            number = self.values.fresh("memory of unknown origin")
            self.hold(storage, number)
        return number

    def hold(self, storage: torch.UntypedStorage, number: int) -> None:
        """Say that the storage now holds `number`."""
        address = storage._cdata
        self._contents[address] = number
        self.known_bytes.pop(address, None)
        self.ranges.forget(address)
        if address not in self._alive:
            self._alive[address] = (len(self._alive), storage)

    def __len__(self) -> int:
        """How many storages are known."""
        return len(self._alive)

    def is_among_first(self, count: int, storage: torch.UntypedStorage) -> bool:
        """Whether the storage was one of the first `count` that became known."""
        known = self._alive.get(storage._cdata)
        return known is not None and known[0] < count

    def value(self, tensor: torch.Tensor, look: tuple[Any, ...] | None = None) -> int:
        """The number of a tensor as an operand: content and geometry, or real bytes.

        `look` is how it looks, where the caller knows that, and that it is one that can be modelled.

        Raises:
            Unmodelled: see `must_be_modelled`, or the tensor is on another device than meta and CPU.
        """
        seen = geometry(tensor) if look is None else geometry_of(*look)
        if tensor.is_meta:
            storage = tensor.untyped_storage()
            return self.values.intern("tensor", (*seen, storage.nbytes()), (self.content(storage),))
        if tensor.device.type == "cpu":
            return self.values.intern("bytes", (seen[0], seen[3], digest_of_bytes(tensor)))
        raise Unmodelled(f"a tensor on {tensor.device}")

    def result(self, output: Any) -> int:
        """The number of what a model gave back: a tensor's elements in order, or the numbers of its parts.

        How a tensor lies in memory does not matter here, as it does not to whoever compares outputs.

        Raises:
            Unmodelled: something in `output` has no number.
        """
        if isinstance(output, torch.Tensor):
            number = self.value(output)
            look = contiguous_geometry(output)
            dense = output.numel() * output.element_size()
            return self.values.intern("elements", look, (copied(self.values, number, look, dense),))
        if isinstance(output, Mapping):
            keys = tuple(sorted(str(key) for key in output))
            return self.values.intern("dict", keys, tuple(self.result(output[key]) for key in sorted(output, key=str)))
        if isinstance(output, Sequence) and not isinstance(output, str):
            return self.values.intern("list", (len(output),), tuple(self.result(part) for part in output))
        return self.values.intern("constant", (encode(output, lambda _tensor: None),))

    def hold_like(self, storage: torch.UntypedStorage, source: torch.UntypedStorage) -> None:
        """Say that the storage holds what `source` holds, bytes included where they are known."""
        self.hold(storage, self.content(source))
        if source._cdata in self.known_bytes:
            self.known_bytes[storage._cdata] = self.known_bytes[source._cdata]
        self.ranges.note_like(storage, source)

    def name_leaf(self, kind: str, tensors: Iterable[tuple[str, torch.Tensor, str | None]]) -> None:
        """Name what one storage holds, as a leaf: (name, tensor looking at it, digest of its bytes where known).

        Tensors that share the storage are named together and so keep their tie. All must share one storage.
        """
        listed = sorted(tensors, key=lambda entry: entry[0])
        storage = listed[0][1].untyped_storage()
        payload = tuple((name, geometry(tensor), known) for name, tensor, known in listed)
        with self.ranges.unchanged(storage):
            self.hold(storage, self.values.intern(f"leaf.{kind}", (*payload, storage.nbytes())))
