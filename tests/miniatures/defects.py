"""This module lists what the judge is known to get wrong: strict, so that a line goes when its defect is mended."""

FALSELY_HOLDS: dict[tuple[str, str], str] = {}
"""(mutant, claim) → why it is not seen."""

FALSELY_ACCUSED: dict[str, str] = {
    "turns_autocast_off": "autocast has no word for the meta device in what it says",
}
"""Lawful oddity → why it is accused."""
