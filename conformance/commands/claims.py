"""This module is `timm-conformance claims`: the contract, listed."""

from __future__ import annotations

from conformance.commands.shared import console


def claims() -> None:
    """List the contract.

    Every claim with its group, level, tier, cost and text, why it matters, and who promises it.
    """
    from conformance.claims import CLAIMS
    from conformance.report.text import print_claims

    print_claims(((claim.entry(), claim.cost) for claim in CLAIMS.values()), console())
