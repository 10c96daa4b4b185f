"""What a record says of a model besides its cells."""

from __future__ import annotations

from pathlib import Path

import timm

from conformance.claims import in_tier
from conformance.decide import decide
from conformance.record import Record, Tier, Verdict
from tests.miniatures.contract import Conv, breaks_head_composes
from tests.miniatures.registration import registered

CORE = [claim.id for claim in in_tier(Tier.CORE)]


def test_facts_that_memory_does_not_suffice_for_are_left_out():
    built = []

    class Large(Conv):
        """Reads a weight, so that it is built on real tensors alone; the second time there is no room."""

        def __init__(self, **arguments):
            super().__init__(**arguments)
            self.scale = self.conv.weight.sum().item()
            built.append(self)
            if len(built) > 1:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 21233664 bytes")

    with registered(Large) as name:
        record = decide(name, ["builds"])
    assert record.cells["builds"].verdict is Verdict.HOLDS
    assert record == Record(model=name, cells=record.cells, cost=record.cost)


def test_a_record_says_what_the_model_is():
    with registered(Conv) as name:
        record = decide(name, ["head_composes"])
    assert (record.model, record.module, record.class_name) == (name, "contract", "Conv")
    assert (record.num_features, record.head_hidden_size, record.batch_size) == (8, 8, 2)
    assert record.input_size == (3, 32, 32)
    assert record.params == sum(parameter.numel() for parameter in Conv().parameters())
    assert all(record.fingerprints.values())
    assert record.shapes == {"features": ((2, 8, 4, 4),), "pre_logits": ((2, 8),), "logits": ((2, 10),)}
    assert list(record.cells) == ["head_composes"]
    assert set(record.cost) >= {"builds", "forward_features_runs", "pre_logits_supported", "head_composes"}


def test_a_model_that_says_nothing_of_itself_has_a_record_all_the_same():
    class Silent(Conv):
        def __init__(self, **arguments: object) -> None:
            super().__init__(**arguments)
            del self.default_cfg
            del self.num_features

        def __getattr__(self, name: str) -> object:
            if name == "num_features":
                raise RuntimeError("several widths")
            return super().__getattr__(name)

    with registered(Silent) as name:
        record = decide(name, CORE)
    assert record.input_size is None
    assert record.cells["builds"].verdict is Verdict.HOLDS


def test_a_record_says_where_timm_registers_the_model():
    source = decide("resnet18", ["builds"]).source
    file, _, line = source.partition(":")
    assert file == "timm/models/resnet.py"
    lines = Path(timm.__file__).parents[1].joinpath(file).read_text(encoding="utf-8").splitlines()
    assert lines[int(line) - 1 : int(line) + 1] == ["@register_model", lines[int(line)]]
    assert lines[int(line)].startswith("def resnet18(")


def test_models_that_compute_otherwise_have_other_fingerprints():
    prints = []
    for make in (Conv, Conv, breaks_head_composes):
        with registered(make, "printed") as name:
            prints.append(decide(name, []).fingerprints)
    assert prints[0] == prints[1]
    # They differ in `forward` alone.
    assert prints[0]["features"] == prints[2]["features"]
    assert prints[0]["pre_logits"] == prints[2]["pre_logits"]
    assert prints[0]["logits"] != prints[2]["logits"]
