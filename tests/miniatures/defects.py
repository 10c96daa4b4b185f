"""This module lists what the judge is known to get wrong: strict, so that a line goes when its defect is mended."""

FALSELY_HOLDS: dict[tuple[str, str], str] = {
    ("reset_reinitialises_the_backbone", "reset_to_pooled"): "leaves are named anew after a reset",
    ("reset_zeroes_the_backbone", "reset_to_pooled"): "leaves are named anew after a reset",
    ("reset_makes_the_norm_anew", "reset_to_pooled"): "leaves are named anew after a reset",
    ("reset_forgets_running_statistics", "reset_to_pooled"): "leaves are named anew after a reset",
    ("reset_changes_a_buffer_made_of_data", "reset_to_pooled"): "leaves are named anew after a reset",
    ("reset_swaps_two_weights", "reset_to_pooled"): "leaves are named anew after a reset",
    ("computes_after_two_classifiers", "classifier_named"): "with two names anything without weights may follow",
    ("reset_keeps_a_stale_weight", "reset_to_classes"): "no model that is reset has run before",
    ("reset_leaves_a_helper_in_training", "reset_keeps_placement"): "only the code of `forward` is searched",
    ("reset_leaves_a_decorated_forward_in_training", "reset_keeps_placement"): "the code of a wrapper is searched",
    ("buffer_computed_from_a_filled_parameter", "built_headless"): "skipped initialisers are not entered",
    ("own_generator", "deterministic_in_eval"): "one call says nothing of the next",
    ("reads_the_clock", "deterministic_in_eval"): "one call says nothing of the next",
    ("state_in_an_object", "deterministic_in_eval"): "one call says nothing of the next",
    ("state_in_a_deque", "deterministic_in_eval"): "one call says nothing of the next",
    ("state_in_an_iterator", "deterministic_in_eval"): "one call says nothing of the next",
    ("state_in_the_class", "deterministic_in_eval"): "one call says nothing of the next",
    ("state_in_an_array", "deterministic_in_eval"): "one call says nothing of the next",
    ("state_in_a_swapped_weight", "deterministic_in_eval"): "one call says nothing of the next",
    ("first_call_differs", "deterministic_in_eval"): "the first call is not compared with the second",
    ("features_change_after_a_few_calls", "head_composes"): "a head pass forgets that its features prove nothing",
    ("parameter_whose_shape_is_read", "uses_all_parameters"): "new_zeros depends on values that it does not read",
    ("parameter_that_gets_no_gradient", "uses_all_parameters"): "detach is a view like any other",
    ("gives_an_object_of_float32", "keeps_dtype"): "no tensor, no wrong dtype",
    ("script_counts_calls_in_a_helper", "script_matches"): "called functions are not searched for container writes",
    ("script_doubles_its_first_call", "script_matches"): "the first scripted call is not compared with the others",
    ("loading_changes_the_weights", "script_round_trips"): "loaded tensors are named whatever loading computed",
    ("forward_doubles_in_another_thread", "reset_to_pooled"): "threads that run already go unseen",
    ("says_that_it_has_no_classes", "reset_to_classes"): "num_classes is believed",
    ("says_that_it_has_no_classes", "reset_to_pooled"): "num_classes is believed",
    ("says_that_it_has_no_classes", "classifier_consistent"): "num_classes is believed",
}
"""(mutant, claim) → why it is not seen."""

SOMETIMES_HOLDS: dict[tuple[str, str], str] = {
    ("reset_frees_the_old_classifier_first", "reset_keeps_placement"): "ids of freed tensors are compared",
}
"""As above, where it depends on the allocator."""

FALSELY_ACCUSED: dict[str, str] = {
    "has_a_lock": "copy_of lets deepcopy's TypeError through",
    "has_a_module_of_functions": "copy_of lets deepcopy's TypeError through",
    "knows_its_parent_weakly": "copy_of shares weak references",
    "head_in_a_default_argument": "copy_of shares default arguments",
    "head_in_a_nested_closure": "copy_of looks into closures one level deep",
    "reads_a_number_while_it_is_built": "what the meta device refuses counts against the model",
    "branches_on_its_input": "what the meta device refuses counts against the model",
    "selects_by_a_mask": "what the meta device refuses counts against the model",
    "turns_autocast_off": "what the meta device refuses counts against the model",
    "has_a_sparse_buffer": "what the meta device refuses counts against the model",
    "passes_through_a_sparse_tensor": "what the meta device refuses counts against the model",
    "draws_noise_and_scales_it_by_nothing": "that a number contains something random proves no difference",
    "samples_with_a_learnt_probability": "a fresh number has no operands, so what it was made of seems unused",
    "applies_relu_again_in_place": "another number proves no other value",
}
"""Lawful oddity → why it is accused."""
