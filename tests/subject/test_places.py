"""Listing operations with their lines: the last is the output, with a digest only where that could prove something."""

from __future__ import annotations

import torch

from conformance.subject import Subject
from conformance.subject.places import steps


class Counting(torch.nn.Module):
    """Counts its calls, which no number shows."""

    num_classes = 4
    default_cfg = {"input_size": (3, 8, 8)}  # noqa: RUF012  # as timm's models have it

    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(192, 4)
        self.calls = 0

    def forward_features(self, x):
        self.calls += 1
        return self.fc(x.flatten(1))


def test_the_last_step_is_the_fingerprint_and_lines_are_timms():
    subject = Subject("test_resnet")
    listed = steps("test_resnet", "features")
    assert listed[-1].digest == subject.ledger.values.digest(subject.features.number)
    assert any(step.place and step.place.startswith("timm/models/resnet.py:") for step in listed)
    assert "images" in {step.operation for step in listed}


def test_another_size_is_another_computation():
    assert steps("test_resnet", "features", (3, 96, 96))[-1].digest != steps("test_resnet", "features")[-1].digest


def test_what_proves_nothing_has_no_digest_at_its_end(monkeypatch):
    monkeypatch.setattr("timm.create_model", lambda name, **arguments: Counting())
    assert not Subject("counting").features.is_provable
    listed = steps("counting", "features")
    assert listed[-1].digest is None
    assert all(step.digest for step in listed[:-1])
