"""This module lists what the judge is known to get wrong: strict, so that a line goes when its defect is mended."""

FALSELY_HOLDS: dict[tuple[str, str], str] = {
    ("reset_keeps_a_stale_weight", "reset_to_classes"): "the model that goes from M to N classes has not run before",
    ("forward_doubles_in_another_thread", "reset_to_pooled"): "threads that run already go unseen",
}
"""(mutant, claim) → why it is not seen."""

FALSELY_ACCUSED: dict[str, str] = {
    "turns_autocast_off": "autocast has no word for the meta device in what it says",
}
"""Lawful oddity → why it is accused."""
