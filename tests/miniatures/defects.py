"""This module lists what the judge is known to get wrong: strict, so that a line goes when its defect is mended."""

FALSELY_HOLDS: dict[tuple[str, str], str] = {
    ("forward_doubles_in_a_thread_from_before", claim): "only threads that were started during a recording are watched"
    for claim in ("head_composes", "reset_to_pooled")
} | {
    ("scripted_code_changes_after_three_calls", "script_matches"): "what compiled code keeps in containers is not read",
    ("features_count_in_a_listed_module", "head_composes"): "modules that are no submodules are not watched",
}
"""(mutant, claim) → why it is not seen."""

FALSELY_ACCUSED: dict[str, str] = {
    "turns_autocast_off": "autocast has no word for the meta device in what it says",
}
"""Lawful oddity → why it is accused."""
