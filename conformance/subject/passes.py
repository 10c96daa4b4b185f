"""This module runs one call of a model under the tracer and keeps what came of it."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from conformance.engine.held import PLAIN
from conformance.engine.ledger import Ledger
from conformance.engine.operands import PLAIN_TENSORS, Strayed, Unmodelled
from conformance.engine.outside import KEEPS_IMAGES, OTHER_THREAD, recording
from conformance.engine.recordings import WROTE_BEFORE


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
    everything kept, is the one that is compared, and must give what the first gave. Where another thread worked
    meanwhile the call is made again as well, in case it had nothing to do with the model: if that raises, what was had
    stands, so that noise decides nothing.

    Raises:
        Strayed: Real tensors may go another way, so that not even the output's shapes are known.
        Exception: whatever the call raises.
    """
    given = list(writable)
    attempts = [_record(ledger, call, modules, given)]
    while len(attempts) < MOST_ATTEMPTS and (
        OTHER_THREAD in attempts[-1].unprovable or (_kept(attempts[-1]) and not any(map(_kept, attempts[:-1])))
    ):
        in_doubt = OTHER_THREAD in attempts[-1].unprovable
        if in_doubt:
            time.sleep(PAUSE * len(attempts) ** 2)
        try:
            attempts.append(_record(ledger, call, modules, given))
        except Exception:
            if in_doubt:
                break
            raise
    taken = attempts[-1]
    if any(map(_kept, attempts)) and any(attempt.number != taken.number for attempt in attempts):
        taken = replace(taken, unprovable=(*taken.unprovable, FIRST_CALL))
    if any(KEEPS_IMAGES in attempt.unprovable for attempt in attempts[:-1]):
        taken = replace(taken, unprovable=(*taken.unprovable, KEEPS_IMAGES))
    return taken


FIRST_CALL = "the first call computes something else than the second"
MOST_ATTEMPTS = 5
PAUSE = 0.05
"""Seconds before a call is made again because another thread worked; each time more."""


def _kept(taken: Pass) -> bool:
    """Whether all that stands in the way is that the call kept something."""
    whys = [why for why in taken.unprovable if why not in (OTHER_THREAD, KEEPS_IMAGES)]
    return bool(whys) and all(is_of_attribute(why) or why == WROTE_BEFORE for why in whys)


def is_of_attribute(why: str) -> bool:
    """Whether what was noticed is that a module keeps something else than before."""
    return why.startswith("the attribute ")


def _record(
    ledger: Ledger, call: Callable[[], Any], modules: tuple[torch.nn.Module, ...], writable: list[torch.Tensor]
) -> Pass:
    with recording(ledger, *modules, writable=writable) as noted:
        output = call()
    if noted.strays is not None:
        raise Strayed(noted.strays)
    try:
        number = ledger.result(output)
    except Unmodelled as why:
        noted.void(f"the output has {why}")
        number = None
    return Pass(output, number, tuple(noted.unprovable), form=form(output))


def handed_on(output: Any) -> Any:
    """The output with tensors of its own that look at the same memory, in lists, tuples and mappings of its own.

    What is made of those in place (`unsqueeze_`, `pop`) does not reach the output; what is written to the memory does.
    Objects that are no container, and containers that cannot be copied, are handed on themselves.
    """
    if type(output) in PLAIN_TENSORS:
        fresh = output.detach()
        vars(fresh).update(vars(output))
        return fresh
    try:
        return _copied(output)
    except Exception:  # noqa: BLE001  # a class of the model's own may refuse it in any way
        return output


def _copied(output: Any) -> Any:
    if isinstance(output, tuple):
        parts = map(handed_on, output)
        return output._make(parts) if hasattr(output, "_make") else type(output)(parts)
    if isinstance(output, list):
        items = copy.copy(output)
        items[:] = map(handed_on, output)
        return items
    if isinstance(output, Mapping):
        entries: Any = copy.copy(output)
        for key in output:
            entries[key] = handed_on(output[key])
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
