"""This module numbers operations as they are dispatched: what each storage holds, and what each result is.

The rules are those of the design's chapter on proofs. In short: a tensor's value is the number of what its storage
holds, looked at through its geometry; a result is the number of the operation, its arguments and its geometry; a
write gives the storage a new number. Whatever cannot be modelled gets a number that equals no other, or makes the
whole recording unprovable: a mistake here may lose a proof and must never make one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch._C import DisableTorchFunction
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from conformance.engine.indices import Range
from conformance.engine.ledger import Ledger
from conformance.engine.open_layouts import BY_STRIDES, WRITTEN, asked
from conformance.engine.operands import (
    PLAIN_TENSORS,
    Unmodelled,
    covers_storage,
    encode,
    geometry,
    look,
    must_be_modelled,
    tensors_in,
)
from conformance.engine.operations import LYING_WRITERS, RESIZERS, STATISTICS, UNDECLARED_VIEWS, Operation, operation
from conformance.engine.real_kernels import keeps_channels_last, refuse_dtypes
from conformance.engine.recordings import RANDOM, WROTE_BEFORE, Recording
from conformance.engine.rewrites import (
    COPIES,
    FACTORIES,
    ZEROS,
    Look,
    canonical,
    copied,
    doubled_and_halved,
    is_resized_to_itself,
    taken_from_a_number,
    zeroed,
)
from conformance.engine.shapes import IN_PLACE, Plan


class Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's base is untyped
    """The dispatch mode: runs every operation and enters what it did into a ledger.

    It sees eager code, the TorchScript interpreter and captured graphs alike.
    """

    supports_higher_order_operators = True

    def __init__(self, ledger: Ledger, recording: Recording) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's base is untyped
        self._ledger = ledger
        self._recording = recording

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        # What Python kernels do is not the model's doing: no function mode is to see it.
        with DisableTorchFunction():
            try:
                return self._run(func, types, args, kwargs or {})
            except Exception as error:
                # A model may catch it and go on: on real tensors, which raise nothing here, it goes another way.
                self._recording.stray(f"what the model does after {func} raised {type(error).__name__}", error)
                raise

    def _run(self, func: Any, types: Sequence[type], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        self._recording.operations += 1
        subclasses = [kind.__name__ for kind in types if kind not in PLAIN_TENSORS]
        if subclasses:
            self._recording.void(f"tensors of class {', '.join(sorted(subclasses))}")
        if not isinstance(func, OpOverload):
            self._recording.void(f"the higher-order operation {func}")
            return func(*args, **kwargs)
        known = operation(func)
        if known.packet in BY_STRIDES and self._ledger.layouts.is_open(args[0]):
            self._recording.stray(asked(known.label))
        if known.only_looks:
            output = func(*args, **kwargs)
            if isinstance(output, torch.Tensor) and _is_view_on_meta(output, args):
                # A view costs nothing: its value follows from its storage and its geometry when it is used.
                return output
            _Call(self._ledger, self._recording, known, args, kwargs).enter(output)
            return output
        if not known.modelled:
            self._recording.void(f"the operation {known.label}")
        refuse_dtypes(known.packet, known.label, args)
        call = _Call(self._ledger, self._recording, known, args, kwargs)
        if (refused := self._ledger.ranges.out_of(known.packet, known.label, call.arguments)) is not None:
            self._recording.stray(refused)
        # Where numbers are compared, both sides meet what the meta kernel gives.
        in_channels_last = not self._recording.is_numbered and keeps_channels_last(known.packet, args)
        key = (func, call.payload, tuple(call.looks)) if call.has_known_shape() and not in_channels_last else None
        plan = self._ledger.shapes.get(key) if key is not None else None
        if in_channels_last:
            output = func(*args, **kwargs).contiguous(memory_format=torch.channels_last)
        elif plan is None:
            output = func(*args, **kwargs)
        elif plan is IN_PLACE:
            output = args[0]
        else:
            output = plan.make()
        call.enter(output)
        if key is not None and plan is None:
            learnt = IN_PLACE if call.written else Plan.of(output)
            if learnt is not None:
                self._ledger.shapes.learn(key, learnt)
        return output


class _Call:
    """One call of one operation: its arguments are numbered before it runs, its effects entered after."""

    def __init__(
        self,
        ledger: Ledger,
        recording: Recording,
        known: Operation,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> None:
        self.ledger, self.recording, self.known = ledger, recording, known
        given = len(args)
        self.arguments = [
            args[position] if position < given else kwargs.get(name, default)
            for position, (name, default) in enumerate(known.arguments)
        ]
        self.tensors: list[torch.Tensor] = []
        self.children: list[int] = []
        self.looks: list[object] = []
        self.unmodelled = False
        self.fresh: str | None = None
        if not recording.is_numbered:
            self.fresh = "a stretch that was not numbered"
        elif known.random and not self._dropout_is_off():
            self.fresh = f"{RANDOM}{known.label}"
        elif known.uninitialised:
            self.fresh = "uninitialised memory"
        self.payload = self._encoded()
        self.written = [
            tensor for position in self._positions_written() for tensor in tensors_in(self.arguments[position])
        ]
        self.before = [tensor.untyped_storage().nbytes() for tensor in self.written]

    def _encoded(self) -> tuple[object, ...]:
        """The payloads of the arguments."""
        payload: list[object] = []
        for position, argument in enumerate(self.arguments):
            kind = type(argument)
            if argument is None or kind is int or kind is str:  # as `encode` has it: most arguments are such
                payload.append(argument)
                continue
            overwritten = self.known.overwrites and position in self.known.written
            try:
                payload.append(encode(argument, self._drop if overwritten else self._take))
            except Unmodelled as why:
                self.fresh = str(why)
                self.unmodelled = True
                payload.append(None)
        return tuple(payload)

    def _dropout_is_off(self) -> bool:
        position = self.known.dropout_position
        return position is not None and self.arguments[position] == 0.0

    def _positions_written(self) -> tuple[int, ...]:
        known = self.known
        if known.is_geometry_only:
            return ()
        names = [name for name, _ in known.arguments]
        if known.packet not in LYING_WRITERS or "training" not in names or self.arguments[names.index("training")]:
            return known.written
        return tuple(position for position in known.written if names[position] not in STATISTICS)

    def _take(self, tensor: torch.Tensor) -> None:
        self.tensors.append(tensor)
        seen = self._look_at(tensor)
        if self.recording.is_numbered:
            self.children.append(self.ledger.value(tensor, seen))

    def _drop(self, tensor: torch.Tensor) -> None:
        """Take note of a tensor whose content does not matter, since it is overwritten."""
        self._look_at(tensor)

    def _look_at(self, tensor: torch.Tensor) -> tuple[Any, ...]:
        must_be_modelled(tensor)
        seen = look(tensor)
        self.looks.append((tensor.is_meta, seen))
        if not tensor.is_meta:
            # A kernel may take a number from the CPU and still give what its geometries say. Anything else runs, masks
            # and counts included: they may say how much there is of the result.
            is_number = tensor.dim() == 0 and tensor.dtype.is_floating_point
            self.unmodelled = self.unmodelled or not is_number or bool(self.known.written)
        return seen

    def has_known_shape(self) -> bool:
        """Whether the arguments' geometries settle what the kernel gives: all on meta, no views, no resizing."""
        known = self.known
        if self.unmodelled or not known.modelled or known.packet in RESIZERS:
            return False
        if self.written:
            return known.written == (0,) and known.returns_views and not known.is_out and not known.is_geometry_only
        return not known.returns_views and known.label not in UNDECLARED_VIEWS

    def enter(self, output: Any) -> None:
        """Enter into the ledger what the operation wrote and what it gave back."""
        known = self.known
        if known.packet == "aten.set_":
            self.recording.void("set_ gave a tensor another storage")
        results = list(tensors_in(output))
        for position, tensor in enumerate((*self.written, *results)):
            if tensor.is_meta and type(tensor) in PLAIN_TENSORS:
                continue
            if tensor.device.type == "cpu":
                self._enter_cpu(tensor, written=position < len(self.written))
            else:
                self.recording.void(f"a result of class {type(tensor).__name__} on {tensor.device}")
        try:
            made = self._range_made()
            self._enter_writes()
            if self.recording.is_numbered:
                on_meta = [tensor for tensor in results if tensor.is_meta]
                self.ledger.layouts.enter(known, self.tensors, on_meta)
                self._enter_results(on_meta)
            if made is not None:
                self._enter_range(made, self.written or results)
        except Unmodelled as why:
            self.recording.void(str(why))

    def _range_made(self) -> Range | None:
        """Between which numbers the result lies, or what is written in its place."""
        known = self.known
        packet = known.packet if known.twin is None else known.twin.rpartition(".")[0]
        out = known.written if known.is_out else ()
        given = [argument for position, argument in enumerate(self.arguments) if position not in out]
        return self.ledger.ranges.made(packet, given)

    def _enter_range(self, made: Range, tensors: list[torch.Tensor]) -> None:
        """Say between which numbers the one result lies, or what was written as a whole."""
        if len(tensors) == 1 and tensors[0].is_meta and covers_storage(tensors[0]):
            storage = tensors[0].untyped_storage()
            if not self.recording.is_numbered:  # nobody else keeps it alive
                self.ledger.hold(storage, self.ledger.values.fresh("a stretch that was not numbered"))
            self.ledger.ranges.note(tensors[0], made)

    def _enter_cpu(self, tensor: torch.Tensor, *, written: bool) -> None:
        storage = tensor.untyped_storage()
        if not written:
            if not any(operand.untyped_storage()._cdata == storage._cdata for operand in self.tensors) or (
                self.known.packet == "aten.lift_fresh"
            ):
                self.recording.made_here[storage._cdata] = storage
        elif storage._cdata not in self.recording.made_here:
            self.recording.void(WROTE_BEFORE)
        if self.known.random and not self._dropout_is_off():
            self.recording.void(f"{self.known.label} drew real numbers")
        if any(operand.device.type == "meta" for operand in self.tensors):
            self.recording.void(f"{self.known.label} took real numbers from a tensor that has none")
        if self.known.uninitialised:
            # Real memory is compared by its bytes: what it happened to hold before must never compare equal.
            randomise(tensor)
        if self.known.packet in RESIZERS:
            self.recording.void("resize_ of real memory")

    def _enter_writes(self) -> None:
        for index, (tensor, before) in enumerate(zip(self.written, self.before, strict=True)):
            if not tensor.is_meta:
                continue
            storage = tensor.untyped_storage()
            if self.ledger.is_among_first(self.recording.known_before, storage) and (
                storage._cdata not in self.recording.writable
            ):
                self.recording.void(WROTE_BEFORE)
            if self.ledger.layouts.may_be_shared(storage):
                self.recording.stray(WRITTEN)
            if self.known.packet in RESIZERS:
                if storage.nbytes() != before:
                    self.ledger.hold(storage, self.ledger.values.fresh("memory grown by resize_"))
                continue
            self.ledger.hold(storage, self._written_content(index, tensor, storage))

    def _written_content(self, index: int, tensor: torch.Tensor, storage: torch.UntypedStorage) -> int:
        values, known = self.ledger.values, self.known
        if self.fresh is not None:
            return values.fresh(self.fresh, tuple(self.children))
        seen = (*geometry(tensor), storage.nbytes())
        whole = covers_storage(tensor) and len(self.written) == 1
        if self._is_aliased(storage):
            if not known.is_pointwise and known.label not in COPIES:
                # It may read what it has written, or memory that it made anew to write to.
                return values.fresh(f"{known.label} wrote over what it read", tuple(self.children))
            # What a kernel that reads what it overwrites leaves is its own affair: no twin, no equal copy.
            done = self._operation(f"{known.label} in place of its argument", (seen,))
            return values.intern("written", (index, seen), (self.ledger.content(storage), done))
        if whole and known.label in COPIES:
            return copied(values, self.children[0], seen[:-1], storage.nbytes())
        if whole and known.label in ZEROS:
            return zeroed(values, storage.nbytes())
        if whole and known.twin is not None:
            return values.intern("result", (0,), (self._operation(known.twin, (seen,)),))
        done = self._operation(known.label, (seen,))
        if whole and known.overwrites:
            return values.intern("written", (index,), (done,))
        return values.intern("written", (index, seen), (self.ledger.content(storage), done))

    def _is_aliased(self, storage: torch.UntypedStorage) -> bool:
        """Whether the operation also reads what it writes through another argument."""
        address = storage._cdata
        reads = sum(tensor.is_meta and tensor.untyped_storage()._cdata == address for tensor in self.tensors)
        return bool(reads > (0 if self.known.overwrites else 1))

    def _enter_results(self, results: list[torch.Tensor]) -> None:
        known, values = self.known, self.ledger.values
        old = {tensor.untyped_storage()._cdata for tensor in (*self.tensors, *self.written) if tensor.is_meta}
        new = [tensor for tensor in results if tensor.untyped_storage()._cdata not in old]
        if len(new) < len(results) and not known.returns_views and known.label not in UNDECLARED_VIEWS:
            self.recording.void(f"{known.label} gave back its argument, which its schema does not say")
        if not new:
            return
        if self.fresh is not None:
            for tensor in new:
                self.ledger.hold(tensor.untyped_storage(), values.fresh(self.fresh, tuple(self.children)))
            return
        if known.label in COPIES and self.tensors:
            seen, size = geometry(new[0]), new[0].untyped_storage().nbytes()
            self._hold_result(new[0], copied(values, self.children[0], seen, size))
            return
        looks = tuple((*geometry(tensor), tensor.untyped_storage().nbytes()) for tensor in new)
        if known.label in ZEROS:
            self._hold_result(new[0], zeroed(values, new[0].untyped_storage().nbytes()))
            return
        given_back = doubled_and_halved(values, known.label, self.arguments, self.children)
        if is_resized_to_itself(known.label, self.arguments):
            given_back = self.children[0]
        if given_back is not None:
            self._hold_result(new[0], copied(values, given_back, geometry(new[0]), new[0].untyped_storage().nbytes()))
            return
        done = self._operation(known.label, looks)
        entered: set[int] = set()
        for index, tensor in enumerate(new):
            address = tensor.untyped_storage()._cdata
            if address in entered:
                continue
            entered.add(address)
            if known.random and index > 0:
                self._hold_result(tensor, values.fresh(f"the state of a generator: {known.label}"))
            else:
                self._hold_result(tensor, values.intern("result", (index,), (done,)))

    def _hold_result(self, tensor: torch.Tensor, number: int) -> None:
        storage = tensor.untyped_storage()
        if not covers_storage(tensor):
            number = self.ledger.values.fresh(f"{self.known.label} left part of its memory uninitialised")
        self.ledger.hold(storage, number)

    def _operation(self, label: str, looks: tuple[Look, ...]) -> int:
        # An argument that is written as a whole by `out=` has no part in what is computed.
        taken = [
            position
            for position in range(len(self.payload))
            if not (self.known.is_out and position in self.known.written)
        ]
        values, children = self.ledger.values, tuple(self.children)
        names = [self.known.arguments[position][0] for position in taken]
        arguments = [self.payload[position] for position in taken]
        subtracted = taken_from_a_number(values, label, arguments, children)
        if subtracted is not None:
            label, names, children = "aten.rsub.Scalar", ["self", "other", "alpha"], (subtracted,)
        label, payload = canonical(label, names, arguments, looks)
        # `zeros_like(x)` does not read x, only its geometry.
        return values.intern(label, payload, () if label in FACTORIES else children)


def _is_view_on_meta(output: torch.Tensor, args: Sequence[Any]) -> bool:
    """Whether a plain meta tensor looks at the storage of the first argument."""
    source = args[0] if args else None
    return (
        type(output) in PLAIN_TENSORS
        and output.is_meta
        and isinstance(source, torch.Tensor)
        and source.untyped_storage()._cdata == output.untyped_storage()._cdata
    )


def randomise(tensor: torch.Tensor) -> None:
    """Fill real, uninitialised memory with bytes never seen before."""
    storage = tensor.untyped_storage()
    if storage.nbytes():
        whole = torch.empty(0, dtype=torch.uint8).set_(storage)
        whole.copy_(torch.frombuffer(bytearray(os.urandom(storage.nbytes())), dtype=torch.uint8))
