"""This module carries one image through a batch: what every operation does to it, whatever the other images are.

A tensor computed from a batch lies in memory as one slice for each image, and an operation that treats the slices
alike and apart gives slices again. So each tensor of the batch is paired with a tensor that is its slice, and each
operation is done to both. What comes out for one image can be compared, by its number, with what the model computes of
that image alone. An operation without a rule (`slicing_rules.py`) stops the attempt.

A slice is all that a number is taken of, and in the end it must have the number of the model given one image: a tensor
that escapes the pairing is one that was computed from the whole batch, and has another number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch._C import DisableTorchFunction
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from conformance.engine.operands import look, tensors_in
from conformance.engine.operations import LYING_WRITERS, operation
from conformance.engine.sliced import Call, Guess, NotApart, Sliced
from conformance.engine.slicing_rules import RULES, SPREADING, elementwise


class Slicing(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's base is untyped
    """The dispatch mode that does every operation to the batch and to the slice of one image of it.

    Raises:
        NotApart: from within the model's code, at the first operation that no rule lets pass. `problem` keeps it.
    """

    def __init__(self, images: torch.Tensor, image: torch.Tensor, guess: Guess = Guess.EITHER) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's base is untyped
        self._guess = guess
        self.count = images.shape[0] // image.shape[0]
        self.problem: str | None = None
        self._known: dict[int, Sliced] = {}
        self._storages: set[int] = set()
        with DisableTorchFunction():
            self._pair(images, image, 0)

    def part_of(self, output: Any) -> Any:
        """The slice of what a model gave, of the same containers.

        Raises:
            NotApart: a tensor in it is not one slice after the other along its first dimension, or a rule failed.
        """
        if self.problem is not None:
            raise NotApart(self.problem)
        if isinstance(output, torch.Tensor):
            known = self._sliced(output)
            if known is None or known.dim != 0:
                raise NotApart("an output is not computed image by image")
            return known.part
        if isinstance(output, Mapping):
            return {key: self.part_of(part) for key, part in output.items()}
        if isinstance(output, list | tuple):
            return [self.part_of(part) for part in output]
        return output

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        with DisableTorchFunction():
            try:
                return self._run(func, args, kwargs or {})
            except NotApart as why:
                self.problem = self.problem or str(why)
                raise

    def _run(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if not isinstance(func, OpOverload):
            raise NotApart(f"the higher-order operation {func}")
        call = Call(func, args, kwargs, self._sliced, self.count, self._guess)
        self._must_see_writes(call)
        if not call.sliced:
            rule = SPREADING.get(call.packet)
            if rule is None:
                return func(*args, **kwargs)
        elif torch.Tag.pointwise in func.tags:
            rule = elementwise
        else:
            rule = RULES.get(call.packet)
            if rule is None:
                raise NotApart(f"no rule says that {call.packet} treats images apart")
        call.output = func(*args, **kwargs)
        try:
            changes = rule(call)
            if changes is not None:
                self._pair_results(call, call.output, call.of_one(changes))
        except (MemoryError, NotApart):
            raise
        except Exception as error:
            # The model's own call went well.
            raise call.refused(f"cannot be done to one image: {error}") from error
        return call.output

    def _sliced(self, tensor: torch.Tensor) -> Sliced | None:
        known = self._known.get(id(tensor))
        if known is not None and known.look != look(tensor):
            raise NotApart("a tensor was given other memory or another geometry")
        return known

    def _must_see_writes(self, call: Call) -> None:
        """A write through a tensor that is in no pair would reach the batch and not the slice."""
        known = operation(call.func)
        if known.packet in LYING_WRITERS and "training" in call.names and not call["training"]:
            return
        for position in known.written:
            for tensor in tensors_in(call.arguments[call.names[position]]):
                if self._sliced(tensor) is None and (call.sliced or tensor.untyped_storage()._cdata in self._storages):
                    raise NotApart(f"{call.packet} writes to memory that is not of one image")

    def _pair_results(self, call: Call, whole: Any, part: Any) -> None:
        if isinstance(whole, torch.Tensor):
            if whole.shape == part.shape:
                return  # whatever it is (empty, statistics of training), it is not of one image
            found = [dim for dim, (many, one) in enumerate(zip(whole.shape, part.shape, strict=False)) if many != one]
            if (
                whole.dim() != part.dim()
                or len(found) != 1
                or whole.shape[found[0]] != self.count * part.shape[found[0]]
            ):
                raise NotApart(
                    f"{call.packet} gives {tuple(whole.shape)} of a batch and {tuple(part.shape)} of one image"
                )
            self._pair(whole, part, found[0])
        elif isinstance(whole, list | tuple):
            for one, other in zip(whole, part, strict=True):
                self._pair_results(call, one, other)

    def _pair(self, whole: torch.Tensor, part: torch.Tensor, dim: int) -> None:
        known = self._known.get(id(whole))
        if known is not None and (known.part is not part or known.dim != dim):
            raise NotApart("a result is an argument in another guise")
        self._known[id(whole)] = Sliced(whole, part, dim, look(whole))
        self._storages.add(whole.untyped_storage()._cdata)
