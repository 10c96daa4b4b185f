"""This package is the contract: every claim, declared once; everything else iterates `CLAIMS`."""

from __future__ import annotations

from types import ModuleType

from conformance.claims import capture, classifier, head, properties, pyramids, torchscript
from conformance.claims.claim import Claim
from conformance.record import Tier

__all__ = ["CLAIMS", "Claim", "in_tier"]


def _declared_in(module: ModuleType) -> list[Claim]:
    return [value for value in vars(module).values() if isinstance(value, Claim)]


_MODULES = (head, classifier, pyramids, torchscript, properties, capture)

CLAIMS: dict[str, Claim] = {claim.id: claim for module in _MODULES for claim in _declared_in(module)}
"""Every claim by id, in the order in which a subject is decided."""


def in_tier(tier: Tier) -> list[Claim]:
    """The claims that an audit of `tier` decides: full includes core; extra ones are only ever named."""
    if tier is Tier.FULL:
        return [claim for claim in CLAIMS.values() if claim.tier in (Tier.CORE, Tier.FULL)]
    return [claim for claim in CLAIMS.values() if claim.tier is tier]
