"""A subject builds and runs each thing once, and gives models classes where they have none."""

from __future__ import annotations

import threading

import pytest
import torch

from conformance.engine.outside import OTHER_THREAD
from conformance.subject import CLASSES, OTHER_CLASSES, names, usage
from conformance.subject.subject import BATCH
from tests.miniatures.contract import Conv, Encoder, HeadlessByDefault
from tests.miniatures.registration import registered


def test_nothing_is_built_before_it_is_asked_for(subject_of):
    built = []

    class Counting(Conv):
        def __init__(self, **arguments):
            built.append(arguments)
            super().__init__(**arguments)

    subject = subject_of(Counting)
    assert not built
    assert subject.as_built is subject.as_built
    assert subject.headed is subject.headed
    assert built == [{}]


def test_a_failure_is_kept_and_raised_again(subject_of):
    tried = []

    class Failing(Conv):
        def forward_features(self, x):
            tried.append(1)
            raise ValueError("not today")

    subject = subject_of(Failing)
    errors = []
    for _ in range(3):
        with pytest.raises(ValueError, match="not today") as caught:
            _ = subject.features
        errors.append(caught.value)
    assert len(set(map(id, errors))) == 1
    assert len(tried) == 1


def test_a_call_that_is_made_again_because_of_a_thread_decides_nothing_by_raising(subject_of):
    calls = []

    class Once(Conv):
        def forward_features(self, x):
            calls.append(1)
            if len(calls) > 1:
                raise ValueError("not twice")
            busy = threading.Thread(target=sum, args=(range(1_000_000),))
            busy.start()
            busy.join()
            return super().forward_features(x)

    taken = subject_of(Once).features
    assert len(calls) == 2
    assert taken.output.shape[0] == BATCH
    assert OTHER_THREAD in taken.unprovable


def test_a_model_without_classes_is_given_some(subject_of):
    subject = subject_of(HeadlessByDefault)
    assert subject.as_built.num_classes == 0
    assert subject.classes == CLASSES
    assert subject.logits.output.shape == (BATCH, CLASSES)
    assert subject.headless_forward.output.shape == subject.pre_logits.output.shape


def test_a_model_that_takes_no_classes_has_none(subject_of):
    assert subject_of(Encoder).classes == 0


def test_the_classes_of_a_reset_are_nobodys_width():
    assert OTHER_CLASSES not in (CLASSES, BATCH, 1)


@pytest.mark.parametrize(
    ("make", "kind", "count"),
    [
        (lambda x: x, torch.Tensor, 1),
        (lambda x: (x, x + 1), tuple, 2),
        (lambda x: [x, [x + 1, x + 2]], list, 3),
        (lambda x: {"b": x, "a": x + 1}, dict, 2),
        (lambda x: {"deep": [(x,), {"k": x}]}, dict, 2),
        (lambda x: None, type(None), 0),
    ],
)
def test_outputs_of_every_shape_are_kept_and_numbered(subject_of, make, kind, count):
    class Shaped(Conv):
        def forward_features(self, x):
            return make(self.norm(self.conv(x)))

    taken = subject_of(Shaped).features
    assert isinstance(taken.output, kind)
    assert len(usage.tensors_of(taken.output)) == count
    assert taken.is_provable


def numbers_of(subject, *outputs):
    images = subject.images
    return [subject.run(lambda output=output: output(images)).number for output in outputs]


def test_containers_are_told_apart_by_what_they_hold(subject_of):
    subject = subject_of(Conv)
    numbers = numbers_of(
        subject,
        lambda x: x,
        lambda x: [x],
        lambda x: [x, x],
        lambda x: {"a": x},
        lambda x: {"b": x},
        lambda x: {"a": x, "b": x + 1},
        lambda x: {"a": x + 1, "b": x},
        lambda x: [[x], x],
    )
    assert len(set(numbers)) == len(numbers)


def test_the_order_of_a_dict_and_the_kind_of_a_sequence_do_not_matter(subject_of):
    subject = subject_of(Conv)
    left, right = numbers_of(subject, lambda x: {"a": x, "b": x + 1}, lambda x: {"b": x + 1, "a": x})
    assert left == right
    left, right = numbers_of(subject, lambda x: [x, x + 1], lambda x: (x, x + 1))
    assert left == right


def test_an_output_that_is_neither_tensor_nor_container_proves_nothing(subject_of):
    subject = subject_of(Conv)
    taken = subject.run(lambda: object())
    assert not taken.is_provable
    assert "object" in taken.unprovable[0]


def test_names_are_sorted_by_code_point_and_never_twice():
    listed = names()
    assert listed == sorted(set(listed))
    assert len(listed) > 1000


def test_a_miniature_is_registered_only_as_long_as_it_is_looked_at():
    with registered(Conv, "for_a_moment") as name:
        assert name in names()
    assert name not in names()


def test_closing_lets_go_of_everything(subject_of):
    subject = subject_of(Conv)
    number = subject.features.number
    assert number is not None
    subject.close()
    assert len(subject.ledger.values) == 0
    assert subject.features.number is not None
