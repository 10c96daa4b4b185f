"""Comparing two runs: outputs by fingerprint, claims by verdict, and what a gate makes of both."""

from __future__ import annotations

import msgspec
import pytest

from conformance.gate import Expectation, Expectations
from conformance.gate.changes import Kind, Output, Status
from conformance.gate.compare import compare, idle
from conformance.gate.findings import found
from conformance.gate.parting import parting
from conformance.gate.surfaces import lost_tags, surface_changes
from conformance.record import Cell, Evidence, Level, Record, Verdict
from conformance.release import Pretrained, Step, Surface
from tests.report.synthetic import entries, finished

HOLDS = Cell(verdict=Verdict.HOLDS, evidence=Evidence.PROVED)
VIOLATED = Cell(verdict=Verdict.VIOLATED, evidence=Evidence.OBSERVED, reason="it raises", cause="c1")
UNDECIDED = Cell(verdict=Verdict.UNDECIDED, reason="who knows", cause="c2")
NOT_APPLICABLE = Cell(verdict=Verdict.NOT_APPLICABLE, reason="no head")
CLAIMS = entries(["forward_features_runs", "pre_logits_supported", "scripts"])
NOTHING = Expectations()


def record(model="shvit_s1", *, fingerprints="abc", **cells):
    names = ("features", "pre_logits", "logits")
    given = dict.fromkeys((entry.id for entry in CLAIMS), HOLDS) | cells
    digests = {
        name: f"{letter}{name}" if letter != "-" else None for name, letter in zip(names, fingerprints, strict=True)
    }
    return Record(
        model=model, fingerprints=digests, cells=given, input_size=(3, 224, 224), num_features=8, head_hidden_size=8
    )


def run(*records, claims=CLAIMS, **header):
    made = finished(records, claims)
    return msgspec.structs.replace(made, header=msgspec.structs.replace(made.header, **header))


def one(before, after, expectations=NOTHING, **how):
    comparison = compare(run(before), run(after), expectations, **how)
    (change,) = comparison.models
    return change


def test_equal_runs_have_nothing_to_tell():
    comparison = compare(run(record(), record("vit_b")), run(record(), record("vit_b")), NOTHING)
    assert [change.kinds for change in comparison.models] == [(), ()]
    assert comparison.failing() == []
    assert comparison.statuses()["pre_logits"] == {
        "same, proved": 2, "same, measured": 0, "drifted": 0, "undecided": 0, "absent": 0,
    }  # fmt: skip
    assert found(comparison) == []


def test_another_fingerprint_leaves_the_output_undecided_until_it_is_measured():
    change = one(record(), record(fingerprints="axc"))
    assert [change.outputs[name].status for name in ("features", "pre_logits", "logits")] == [
        Status.SAME, Status.UNDECIDED, Status.SAME,
    ]  # fmt: skip
    assert change.kinds == (Kind.UNDECIDED,)
    measured = Output(status=Status.SAME, evidence=Evidence.MEASURED, reason="in float64")
    change = one(record(), record(fingerprints="axc"), settled={("shvit_s1", "shvit_s1", "pre_logits"): measured})
    assert change.outputs["pre_logits"] is measured
    assert change.kinds == ()


def test_what_was_measured_of_an_output_that_is_proved_says_nothing():
    drifted = Output(status=Status.DRIFTED, evidence=Evidence.MEASURED)
    assert one(record(), record(), settled={("shvit_s1", "shvit_s1", "logits"): drifted}).kinds == ()


def test_without_a_fingerprint_on_both_sides_nothing_is_the_same():
    assert one(record(fingerprints="ab-"), record(fingerprints="ab-")).outputs["logits"].status is Status.UNDECIDED


def test_an_output_that_there_never_was_cannot_be_lost():
    encoder = record(fingerprints="a-c", pre_logits_supported=NOT_APPLICABLE)
    change = one(encoder, encoder)
    assert change.outputs["features"].status is Status.SAME
    assert change.outputs["pre_logits"].status is Status.ABSENT
    assert change.kinds == ()
    broken = record(fingerprints="---", forward_features_runs=VIOLATED)
    assert one(broken, record()).kinds == (Kind.MENDED,)


def test_an_output_that_is_computed_no_more_has_drifted():
    change = one(record(), record(fingerprints="---", forward_features_runs=VIOLATED))
    assert {output.status for output in change.outputs.values()} == {Status.DRIFTED}
    assert change.kinds[:2] == (Kind.BROKEN, Kind.DRIFTED)


@pytest.mark.parametrize("after", [VIOLATED, UNDECIDED])
def test_a_promise_that_was_kept_and_is_not_is_broken(after):
    change = one(record(), record(scripts=after))
    assert change.kinds == (Kind.BROKEN,)
    assert change.fails((Kind.BROKEN,))


@pytest.mark.parametrize(
    ("before", "after"),
    [(VIOLATED, VIOLATED), (VIOLATED, UNDECIDED), (NOT_APPLICABLE, VIOLATED), (HOLDS, NOT_APPLICABLE), (HOLDS, HOLDS)],
)
def test_what_was_not_kept_before_or_does_not_apply_is_not_broken(before, after):
    assert one(record(scripts=before), record(scripts=after)).kinds == ()


@pytest.mark.parametrize("before", [VIOLATED, UNDECIDED])
def test_a_promise_that_is_kept_again_is_mended(before):
    assert one(record(scripts=before), record()).kinds == (Kind.MENDED,)


def test_a_broken_signal_is_no_finding():
    claims = tuple(msgspec.structs.replace(entry, level=Level.SIGNAL) for entry in CLAIMS)
    comparison = compare(run(record(), claims=claims), run(record(scripts=VIOLATED), claims=claims), NOTHING)
    assert comparison.models[0].kinds == ()
    assert comparison.models[0].cells[0].claim == "scripts"  # it is told all the same


def test_a_claim_that_only_one_run_has_is_not_compared():
    fewer = entries(["forward_features_runs", "pre_logits_supported"])
    left = record()
    left = msgspec.structs.replace(left, cells={entry.id: HOLDS for entry in fewer})
    assert compare(run(left, claims=fewer), run(record(scripts=VIOLATED)), NOTHING).models[0].kinds == ()


def test_a_claim_of_the_first_run_that_was_not_decided_again_is_told():
    fewer = entries(["forward_features_runs", "pre_logits_supported"])
    right = msgspec.structs.replace(record(), cells={entry.id: HOLDS for entry in fewer})
    (note,) = compare(run(record()), run(right, claims=fewer), NOTHING).notes
    assert note.startswith("1 claims of the first run were not decided in the second")
    assert note.endswith(": scripts")
    assert compare(run(right, claims=fewer), run(record()), NOTHING).notes == ()


def expecting(**what):
    given = {"claims": (), "verdict": None, "reason": "We know.", "origin": "mine.toml, entry 1"} | what
    return Expectations((Expectation(models=("shvit_*",), **given),))


def test_what_is_expected_of_a_claim_is_not_broken():
    expected = expecting(claims=("scripts",), verdict=Verdict.VIOLATED)
    change = one(record(), record(scripts=VIOLATED), expected)
    assert change.kinds == ()
    assert change.cells[0].expected == "We know."
    assert one(record(), record(scripts=UNDECIDED), expected).kinds == (Kind.BROKEN,)


def test_a_change_that_is_declared_to_be_expected_fails_nothing_and_is_still_told():
    change = one(record(), record(fingerprints="axc"), expecting(changes=(Kind.UNDECIDED,)))
    assert change.kinds == (Kind.UNDECIDED,)
    assert change.unexpected == ()
    assert not change.fails(tuple(Kind))
    assert change.expected == {Kind.UNDECIDED: "We know."}


def test_models_come_go_and_take_other_names():
    before = run(record("old_name"), record("gone"), record("kept"))
    after = run(record("new_name"), record("come"), record("kept"))
    pairs = {("old_name", "new_name"): [], ("gone", "gone"): [], ("kept", "kept"): []}
    comparison = compare(before, after, NOTHING, pairs=pairs)
    told = {change.model: (change.was, change.kinds) for change in comparison.models}
    assert told == {
        "come": (None, (Kind.ADDED,)),
        "gone": (None, (Kind.REMOVED,)),
        "kept": (None, ()),
        "new_name": ("old_name", (Kind.RENAMED,)),
    }
    assert [change.model for change in comparison.failing()] == ["gone"]


def test_only_chosen_models_are_compared():
    before, after = run(record("a"), record("b"), record("c")), run(record("a"), record("b"), record("d"))
    assert [change.model for change in compare(before, after, NOTHING, models=["b", "d"]).models] == ["b", "d"]


@pytest.mark.parametrize("other", [{"torch": "2.13.0"}, {"suite": "0.0.9"}, {"schema": 2}])
def test_runs_that_number_otherwise_are_compared_by_claims_alone(other):
    comparison = compare(run(record(), **other), run(record(scripts=VIOLATED)), NOTHING)
    assert "fingerprints are not compared" in comparison.notes[0]
    (change,) = comparison.models
    assert {output.status for output in change.outputs.values()} == {Status.UNDECIDED}
    assert Kind.BROKEN in change.kinds


def test_widths_are_compared():
    wider = msgspec.structs.replace(record(), num_features=16)
    assert one(record(), wider).surface == {Kind.WIDTHS: ("num_features was 8 and is 16",)}


def test_causes_that_one_run_alone_has_are_named_with_their_models():
    other = msgspec.structs.replace(VIOLATED, cause="c9", reason="it raises otherwise")
    before = run(record("a", scripts=VIOLATED), record("b", scripts=VIOLATED))
    after = run(record("a", scripts=other), record("b", scripts=VIOLATED))
    comparison = compare(before, after, NOTHING)
    assert [(cause.models, cause.claims, cause.reason) for cause in comparison.new_causes] == [
        (("a",), ("scripts",), "it raises otherwise")
    ]
    assert comparison.vanished_causes == ()


def test_a_change_that_is_expected_and_not_found_is_told():
    expected = expecting(changes=(Kind.DRIFTED, Kind.REMOVED))
    (told,) = idle(expected, compare(run(record()), run(record()), expected))
    assert told == "mine.toml, entry 1 expects drifted or removed, which was not found; take it out"
    assert idle(expected, compare(run(record("vit_b")), run(record("vit_b")), expected)) == []  # not spoken of
    drifted = {
        ("shvit_s1", "shvit_s1", "logits"): Output(status=Status.DRIFTED, evidence=Evidence.MEASURED, reason="r")
    }
    assert idle(expected, compare(run(record()), run(record(fingerprints="abx")), expected, settled=drifted)) == []


# What a release says besides

PLAIN = Surface(
    model="shvit_s1",
    default_tag="in1k",
    pretrained={
        "in1k": Pretrained(
            weights={"hf_hub_id": "timm/shvit_s1.in1k"},
            preprocessing={"mean": [0.5, 0.5, 0.5]},
            head={"num_classes": 1000},
        )
    },
    state={"stem.weight": "float32 (3, 3)"},
    constructor={"drop_rate": "0.0"},
)


def surfaces(after):
    return one(record(), record(), surfaces=({"shvit_s1": PLAIN}, {"shvit_s1": after})).surface


def with_pretrained(**parts):
    pretrained = msgspec.structs.replace(PLAIN.pretrained["in1k"], **parts)
    return msgspec.structs.replace(PLAIN, pretrained={"in1k": pretrained})


@pytest.mark.parametrize(
    ("after", "kind", "words"),
    [
        (with_pretrained(weights={"url": "https://a"}), Kind.WEIGHTS, "url of 'in1k' was not given and is https://a"),
        (with_pretrained(preprocessing={"mean": [0.4, 0.5, 0.5]}), Kind.PREPROCESSING, "is (0.4, 0.5, 0.5)"),
        (with_pretrained(head={"num_classes": 7}), Kind.CONSTRUCTOR, "num_classes of 'in1k' was 1000 and is 7"),
        (
            msgspec.structs.replace(PLAIN, default_tag="in22k", pretrained=PLAIN.pretrained | {"in22k": Pretrained()}),
            Kind.WEIGHTS,
            "pretrained=True loaded 'in1k' and loads 'in22k'",
        ),
        (
            msgspec.structs.replace(PLAIN, state={"conv.weight": "float32 (3, 3)"}),
            Kind.STATE_DICT,
            "no longer there: stem",
        ),
        (msgspec.structs.replace(PLAIN, state={"stem.weight": "float32 (3, 4)"}), Kind.STATE_DICT, "another shape"),
        (
            msgspec.structs.replace(PLAIN, constructor={"drop_rate": "0.1"}),
            Kind.CONSTRUCTOR,
            "by default 0.0 and is 0.1",
        ),
        (msgspec.structs.replace(PLAIN, constructor={}), Kind.CONSTRUCTOR, "drop_rate (by default 0.0) is gone"),
    ],
)
def test_each_thing_that_moves_an_embedding_is_a_change_of_its_own_kind(after, kind, words):
    changes = surfaces(after)
    assert list(changes) == [kind]
    assert any(words in sentence for sentence in changes[kind]), changes


def test_an_argument_that_is_new_and_a_surface_that_nobody_saw_are_no_change():
    assert surfaces(msgspec.structs.replace(PLAIN, constructor={"drop_rate": "0.0", "new": "1"})) == {}
    assert one(record(), record()).surface == {}
    unseen = msgspec.structs.replace(PLAIN, state={}, constructor=PLAIN.constructor, problem="its process ended")
    assert surfaces(unseen) == {}


def test_weights_that_get_a_name_are_the_same_weights():
    nameless = msgspec.structs.replace(PLAIN, default_tag="", pretrained={"": PLAIN.pretrained["in1k"]})
    change = one(record(), record(), surfaces=({"shvit_s1": nameless}, {"shvit_s1": PLAIN}))
    assert change.surface == {}


# Where computations part


def step(digest, operation="aten.mul.Tensor", place="timm/layers/norm.py:71 (forward)"):
    return Step(digest=digest, operation=operation, place=place)


def test_computations_part_at_the_first_operation_that_the_other_has_not():
    before = [step("a"), step("b"), step("c"), step("d")]
    after = [step("a"), step("x", "aten.add.Tensor"), step("y")]
    parted = parting(before, after)
    assert (parted.before.digest, parted.after.operation) == ("b", "aten.add.Tensor")
    assert parting(before, before) is None


def test_what_has_no_digest_is_never_the_same_and_layouts_are_passed_over():
    assert parting([step(None)], [step(None)]).before is not None
    before = [step("a"), step("l", "tensor", None), step("c")]
    after = [step("a"), step("m", "tensor", None), step("d")]
    assert parting(before, after).before.digest == "c"
    assert parting([], after).before is None


def test_weights_that_lost_their_name_are_told():
    without = msgspec.structs.replace(PLAIN, pretrained={}, default_tag=None)
    assert "the weights 'in1k' are gone" in surface_changes(PLAIN, without)[Kind.WEIGHTS]
    assert lost_tags(PLAIN, without) == ["in1k"]
    assert lost_tags(without, PLAIN) == []


def test_a_name_that_stands_for_weights_is_compared_by_those():
    both = PLAIN.pretrained | {"fb": Pretrained(weights={"hf_hub_id": "timm/shvit_s1.fb"})}
    plain = msgspec.structs.replace(PLAIN, pretrained=both)
    nameless = Surface(model="old", default_tag="", pretrained={"": both["fb"]}, state=PLAIN.state)
    assert Kind.WEIGHTS not in surface_changes(nameless, plain, [("", "fb")])
    assert Kind.WEIGHTS in surface_changes(nameless, plain)
    assert surface_changes(plain, plain, [("fb", "in1k")])[Kind.WEIGHTS][0] == (
        "pretrained=True loaded 'fb' and loads 'in1k'"
    )
