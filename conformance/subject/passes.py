"""This module runs one call of a model under the tracer and keeps what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from conformance.engine.ledger import Ledger
from conformance.engine.operands import Unmodelled
from conformance.engine.outside import recording


@dataclass(frozen=True)
class Pass:
    """One call: what it gave back, the number of that, and why nothing can be proved from it, if so."""

    output: Any
    number: int | None
    unprovable: tuple[str, ...]

    @property
    def is_provable(self) -> bool:
        """Whether the number may be used in a proof."""
        return self.number is not None and not self.unprovable


def run(ledger: Ledger, call: Callable[[], Any], *modules: torch.nn.Module) -> Pass:
    """Record `call`, whose behaviour may depend on the attributes of `modules`.

    A model that keeps something at its first call (LeViT's attention biases) is called again: the second call, with
    everything kept, is the one that is compared.

    Raises:
        Exception: whatever the call raises.
    """
    taken = _record(ledger, call, *modules)
    if taken.unprovable and all(why.startswith("the attribute ") for why in taken.unprovable):
        taken = _record(ledger, call, *modules)
    return taken


def _record(ledger: Ledger, call: Callable[[], Any], *modules: torch.nn.Module) -> Pass:
    with recording(ledger, *modules) as noted:
        output = call()
    try:
        number = ledger.result(output)
    except Unmodelled as why:
        noted.void(f"the output has {why}")
        number = None
    return Pass(output, number, tuple(noted.unprovable))
