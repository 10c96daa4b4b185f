"""What mutants showed to hold, or to stay undecided, by a fault of the judge's is accused, in words that say it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from conformance.record import Verdict
from tests.miniatures.contract import Conv
from tests.miniatures.registration import examining
from tests.mutation.examined import called, cells_of
from tests.mutation.operators import OPERATORS
from tests.mutation.shapes import SHAPES, source_of

# Why each was not accused: a new tensor had the id of an old one; what training wrote passed for rounding; what the
# features are made with passed for a part of the head; a number, and a cast, passed for the mean of two classifiers;
# a repetition with other rounding errors was another call.
ACCUSED = (
    ("reset_keeps_placement", "adds_a_buffer_elsewhere", "hidden", "makes offset as float64 on cpu"),
    ("reset_keeps_placement", "leaves_the_model_in_training", "convolutional", "leaves the model in training mode"),
    ("classifier_named", "names_the_first_layer", "channels_last", "forward_head does not use conv"),
    ("classifier_named", "logits_of_two_shifted_a_little", "distilled", "the logits and what head, head_dist give"),
    (
        "classifier_named",
        "logits_of_two_rounded_to_bfloat16",
        "multi_head",
        "the logits and what heads.0",
    ),
    ("deterministic_in_eval", "counts_its_calls", "channels_last", "model(x) and model(x) again differ by"),
)


@pytest.mark.parametrize(("claim", "name", "kind", "reason"), ACCUSED, ids=[name for _, name, *_ in ACCUSED])
def test_it_is_accused(claim, name, kind, reason):
    shape = next(one for one in SHAPES if one.name == kind)
    operator = next(one for one in OPERATORS if (one.claim, one.name) == (claim, name))
    source = source_of(shape, operator.pieces(shape))
    cell = cells_of(called(operator, shape), source, [claim])[claim]
    assert cell.verdict is Verdict.VIOLATED, cell.reason
    assert reason in cell.reason


class TakesTheIdOfAnOldTensor(Conv):
    """The new parameter lies elsewhere, and Python gives it the id of one that was let go of, if there is any."""

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        old = {id(parameter) for parameter in self.fc.parameters()}
        super().reset_classifier(num_classes, global_pool)
        tried = []
        while len(tried) < 1000 and (not tried or id(tried[-1]) not in old):
            tried.append(nn.Parameter(torch.zeros(1, dtype=self.conv.weight.dtype, device="cpu")))
        self.offset = tried[-1]


def test_a_new_tensor_is_not_taken_for_the_old_one_whose_id_it_has():
    with examining(TakesTheIdOfAnOldTensor) as examination:
        cell = examination.cell("reset_keeps_placement")
    assert cell.verdict is Verdict.VIOLATED, cell.reason
    assert "makes offset as float64 on cpu" in cell.reason
