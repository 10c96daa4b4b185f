"""This module runs one call of a model under the tracer and keeps what came of it."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import repeat
from typing import Any

import torch

from conformance.engine.held import PLAIN
from conformance.engine.ledger import Ledger
from conformance.engine.operands import PLAIN_TENSORS, Strayed, Unmodelled
from conformance.engine.outside import KEEPS_IMAGES, OTHER_THREAD, are_of_images, recording
from conformance.engine.recordings import WROTE_BEFORE, Recording


@dataclass(frozen=True)
class Pass:
    """One call: what it gave back, the number of that, and why nothing can be proved from it, if so."""

    output: Any
    number: int | None
    unprovable: tuple[str, ...]
    form: Any = field(kw_only=True)
    """What it gave but for the numbers in its tensors: see `form`."""

    @property
    def depends_on_calls_before(self) -> str | None:
        """How what the call computes depends on calls before it, if it was seen to."""
        return next((why for why in self.unprovable if why in (FIRST_CALL, KEEPS_IMAGES)), None)

    @property
    def is_provable(self) -> bool:
        """Whether the number may be used in a proof."""
        return self.number is not None and not self.unprovable


def run(
    ledger: Ledger, call: Callable[[], Any], *modules: torch.nn.Module, writable: Iterable[torch.Tensor] = ()
) -> Pass:
    """Record `call`, whose behaviour may depend on the attributes of `modules` and which may write to `writable`.

    A model that keeps something at its first call (LeViT's attention biases) is called again: the second call, with
    everything kept, is the one that is compared, and must give what the first gave. One that keeps something anew at
    every call (its last features, a list of their sizes) is called once more: see `_regardless`.

    Where another thread worked meanwhile the call is made again as well, in case it had nothing to do with the model:
    if that raises, what was had stands, so that noise decides nothing.

    Raises:
        Strayed: Real tensors may go another way, so that not even the output's shapes are known.
        Exception: whatever the call raises.
    """
    record = partial(_record, ledger, call, modules, list(writable))
    attempts = [record()]
    while len(attempts) < MOST_ATTEMPTS and (
        OTHER_THREAD in attempts[-1].taken.unprovable or (_kept(attempts[-1]) and not any(map(_kept, attempts[:-1])))
    ):
        in_doubt = OTHER_THREAD in attempts[-1].taken.unprovable
        if in_doubt:
            time.sleep(PAUSE * len(attempts) ** 2)
        try:
            attempts.append(record())
        except Exception:
            if in_doubt:
                break
            raise
    taken = attempts[-1].taken
    if any(map(_kept, attempts)) and any(attempt.taken.number != taken.number for attempt in attempts):
        return replace(taken, unprovable=(*taken.unprovable, FIRST_CALL))
    if any(map(_kept, attempts[:-1])) and (regardless := _regardless(ledger, record, attempts[-1])) is not None:
        return regardless
    if any(KEEPS_IMAGES in attempt.taken.unprovable for attempt in attempts[:-1]):
        taken = replace(taken, unprovable=(*taken.unprovable, KEEPS_IMAGES))
    return taken


@dataclass(frozen=True)
class _Attempt:
    taken: Pass
    noted: Recording


def _regardless(ledger: Ledger, record: Callable[[], _Attempt], before: _Attempt) -> Pass | None:
    """The call made again, if it gives the same whatever is in the tensors that calls keep anew each time.

    What is kept is alike after any two calls then, but for what is in those tensors, and that does not matter: neither
    does it at any later call. What is kept for good must not be computed from the images.

    Later calls of anything else find something unknown in those tensors, too: a head that uses what the features left
    behind does not compose with them. What the call gave has memory apart from them.
    """
    for attempt in range(1, MOST_ATTEMPTS):
        if not _only_keeps_anew(before):
            return None
        anew, _ = _kept_anew_and_for_good(before.noted)
        try:
            with ledger.not_knowing(anew, KEPT):
                again = record()
        except Exception:  # noqa: BLE001  # it did not before: what was had then stands
            return None
        if again.taken.number != before.taken.number or again.taken.form != before.taken.form:
            return None
        before = again
        if OTHER_THREAD not in again.taken.unprovable:
            break
        time.sleep(PAUSE * attempt**2)
    if OTHER_THREAD in before.taken.unprovable or not _only_keeps_anew(before):
        return None
    anew, for_good = _kept_anew_and_for_good(before.noted)
    if are_of_images(ledger, for_good):
        return None
    output = _apart(ledger, before.taken.output, anew)
    if ledger.result(output) != before.taken.number or not all(map(_is_apart, leaves(output), repeat(anew))):
        return None
    ledger.forget(anew, KEPT)  # another call may find what other images left there
    return replace(before.taken, output=output, unprovable=())


def _only_keeps_anew(attempt: _Attempt) -> bool:
    """Whether all that the call left behind, as far as is known, is things in place of others like them."""
    whys = [why for why in attempt.taken.unprovable if why not in (OTHER_THREAD, KEEPS_IMAGES)]
    return all(map(is_of_attribute, whys)) and attempt.noted.rebound is not None and attempt.taken.number is not None


def _kept_anew_and_for_good(noted: Recording) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The tensors that are kept in place of others, and the rest; those that look at memory of the rest are of it."""
    assert noted.rebound is not None
    anew = set(map(id, noted.rebound))
    for_good = [tensor for tensor in noted.kept if id(tensor) not in anew]
    memory = {tensor.untyped_storage()._cdata for tensor in for_good if tensor.is_meta}
    return [tensor for tensor in noted.rebound if tensor.untyped_storage()._cdata not in memory], for_good


KEPT = "what the model kept of a call before"


def _apart(ledger: Ledger, output: Any, kept: list[torch.Tensor]) -> Any:
    """The output, with memory of its own for tensors that look at that of `kept`, which holds the same."""
    memory: dict[int, torch.UntypedStorage] = {}

    def apart(tensor: torch.Tensor) -> torch.Tensor:
        if _is_apart(tensor, kept):
            return tensor
        storage = tensor.untyped_storage()
        if storage._cdata not in memory:
            own: torch.UntypedStorage = torch.UntypedStorage(storage.nbytes(), device="meta")  # type: ignore[no-untyped-call]  # torch's
            ledger.hold_like(own, storage)
            ledger.layouts.lie_alike(storage, own)
            memory[storage._cdata] = own
        fresh = torch.empty(0, dtype=tensor.dtype, device="meta")
        fresh.set_(memory[storage._cdata], tensor.storage_offset(), tensor.size(), tensor.stride())
        return fresh

    return _rebuilt(output, apart)


def _is_apart(leaf: Any, kept: list[torch.Tensor]) -> bool:
    if type(leaf) not in PLAIN_TENSORS:
        return type(leaf) in PLAIN
    storage = leaf.untyped_storage()._cdata
    return not vars(leaf) and all(tensor.untyped_storage()._cdata != storage for tensor in kept)


FIRST_CALL = "the first call computes something else than the second"
MOST_ATTEMPTS = 5
PAUSE = 0.05
"""Seconds before a call is made again because another thread worked; each time more."""


def _kept(attempt: _Attempt) -> bool:
    """Whether all that stands in the way is that the call kept something."""
    whys = [why for why in attempt.taken.unprovable if why not in (OTHER_THREAD, KEEPS_IMAGES)]
    return bool(whys) and all(is_of_attribute(why) or why == WROTE_BEFORE for why in whys)


def is_of_attribute(why: str) -> bool:
    """Whether what was noticed is that a module keeps something else than before."""
    return why.startswith("the attribute ")


def _record(
    ledger: Ledger, call: Callable[[], Any], modules: tuple[torch.nn.Module, ...], writable: list[torch.Tensor]
) -> _Attempt:
    with recording(ledger, *modules, writable=writable) as noted:
        output = call()
    if noted.strays is not None:
        raise Strayed(noted.strays)
    try:
        number = ledger.result(output)
    except Unmodelled as why:
        noted.void(f"the output has {why}")
        number = None
    return _Attempt(Pass(output, number, tuple(noted.unprovable), form=form(output)), noted)


def handed_on(output: Any) -> Any:
    """The output with tensors of its own that look at the same memory, in lists, tuples and mappings of its own.

    What is made of those in place (`unsqueeze_`, `pop`) does not reach the output; what is written to the memory does.
    Objects that are no container, and containers that cannot be copied, are handed on themselves.
    """
    return _rebuilt(output, _of_its_own)


def _of_its_own(tensor: torch.Tensor) -> torch.Tensor:
    fresh = tensor.detach()
    vars(fresh).update(vars(tensor))
    return fresh


def _rebuilt(output: Any, of_tensor: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if type(output) in PLAIN_TENSORS:
        return of_tensor(output)
    try:
        return _copied(output, of_tensor)
    except Exception:  # noqa: BLE001  # a class of the model's own may refuse it in any way
        return output


def _copied(output: Any, of_tensor: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if isinstance(output, tuple):
        parts = [_rebuilt(part, of_tensor) for part in output]
        return output._make(parts) if hasattr(output, "_make") else type(output)(parts)
    if isinstance(output, list):
        items = copy.copy(output)
        items[:] = [_rebuilt(part, of_tensor) for part in output]
        return items
    if isinstance(output, Mapping):
        entries: Any = copy.copy(output)
        for key in output:
            entries[key] = _rebuilt(output[key], of_tensor)
        return entries
    return output


def form(output: Any) -> Any:
    """What an output is but for the numbers in its tensors: classes, lengths, keys and plain values, nested alike."""
    kind = type(output)
    if isinstance(output, torch.Tensor):
        return (kind, *sorted(vars(output)))
    if isinstance(output, Mapping):
        return (kind, *((repr(key), form(output[key])) for key in output))
    if isinstance(output, list | tuple):
        return (kind, *map(form, output))
    return (kind, repr(output)) if kind in PLAIN else (kind,)


def tensors_of(output: Any) -> list[torch.Tensor]:
    """The tensors in an output, in order; those of a mapping in the order of its keys."""
    return [part for part in leaves(output) if isinstance(part, torch.Tensor)]


def leaves(output: Any) -> list[Any]:
    """What an output holds that is no list, tuple or mapping, in that order."""
    if isinstance(output, Mapping):
        output = [output[key] for key in sorted(output, key=str)]
    if isinstance(output, list | tuple):
        return [leaf for part in output for leaf in leaves(part)]
    return [output]
