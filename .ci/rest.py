"""This script names the claims of the full tier that the core tier lacks, as options of `audit`."""

from conformance.claims import in_tier
from conformance.record import Tier

core = {claim.id for claim in in_tier(Tier.CORE)}
print(*(f"--claim={claim.id}" for claim in in_tier(Tier.FULL) if claim.id not in core))
