"""This module cuts a list of models into shards of about equal expected cost, which change little as the list grows.

Each model prefers the shards in an order of its own, by a hash of its name (rendezvous hashing, Thaler and Ravishankar
1998), and goes to the first that has room: none takes more than a twentieth above its part (bounded loads, Mirrokni and
others 2018). The costly go first, so that the cheap even out. Every process comes to the same shards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from conformance.record import Shard

ROOM = 1.05
"""How much of its part a shard may take, unless a single model is larger."""


def part(models: Sequence[str], number: int, of: int, seconds: Callable[[str], float]) -> tuple[str, ...]:
    """The models of shard `number` (from 1) of `of`, in their order. `seconds` is what a model is expected to take."""
    costs = {model: seconds(model) for model in models}
    most = ROOM * sum(costs.values()) / of
    loads = [0.0] * of
    chosen = set()
    for model in sorted(costs, key=lambda model: (-costs[model], model)):
        preferred = sorted(range(of), key=lambda shard: _rank(model, shard))
        shard = next(
            (shard for shard in preferred if loads[shard] + costs[model] <= most), min(preferred, key=loads.__getitem__)
        )
        loads[shard] += costs[model]
        if shard == number - 1:
            chosen.add(model)
    return tuple(model for model in models if model in chosen)


def shard_of(models: Sequence[str], number: int, of: int) -> Shard:
    """What the header of shard `number` says: of which whole it is a part."""
    digest = hashlib.sha256("\n".join(models).encode("utf-8", "backslashreplace")).hexdigest()
    return Shard(number=number, of=of, subjects=len(models), models=digest[:16])


def _rank(model: str, shard: int) -> bytes:
    return hashlib.sha256(f"{shard} {model}".encode("utf-8", "backslashreplace")).digest()
