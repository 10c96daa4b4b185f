"""The record format: what is written comes back, and what is not a whole finished run is refused by name."""

from __future__ import annotations

import gzip
import importlib.resources
import json
import os

import hypothesis.strategies as st
import jsonschema
import msgspec
import pytest
from hypothesis import given, settings

from conformance import record_file
from conformance.record import (
    Cell,
    ClaimEntry,
    Evidence,
    Level,
    Record,
    Remedy,
    Tier,
    Verdict,
    count,
    encode,
    json_schema,
    printable,
)
from conformance.record_file import BrokenRecord, read_run
from tests.report.synthetic import entries, finished, one_cell, run_of, write

HOLDS = Cell(verdict=Verdict.HOLDS, evidence=Evidence.PROVED)
VIOLATED = Cell(verdict=Verdict.VIOLATED, evidence=Evidence.OBSERVED, reason="it raises")

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
reasons = texts.filter(str.strip)
numbers = st.integers(-(2**63), 2**63 - 1)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
witnesses = st.none() | st.dictionaries(texts, json_values, max_size=3)
remedies = st.builds(Remedy, text=texts, code=texts, evidence=st.sampled_from(Evidence))
cells = st.one_of(
    st.builds(Cell, verdict=st.just(Verdict.HOLDS), evidence=st.sampled_from(Evidence), witness=witnesses),
    st.builds(
        Cell, verdict=st.just(Verdict.VIOLATED), evidence=st.sampled_from(Evidence), reason=reasons,
        cause=st.none() | texts, witness=witnesses, remedy=st.none() | remedies,
    ),
    st.builds(Cell, verdict=st.sampled_from([Verdict.UNDECIDED, Verdict.NOT_APPLICABLE]), reason=reasons),
)  # fmt: skip


@st.composite
def runs(draw):
    claims = draw(
        st.lists(
            st.builds(
                ClaimEntry, id=names, text=texts, group=texts, level=st.sampled_from(Level),
                tier=st.sampled_from(Tier), needs=st.lists(names, max_size=2).map(tuple),
            ),
            max_size=3, unique_by=lambda entry: entry.id,
        )
    )  # fmt: skip
    models = draw(st.lists(names, max_size=3, unique=True))
    facts = st.builds(
        Record, model=st.just(""), module=st.none() | texts, class_name=st.none() | texts, params=st.none() | numbers,
        input_size=st.none() | st.lists(numbers, max_size=3).map(tuple), batch_size=st.none() | numbers,
        fingerprints=st.dictionaries(texts, st.none() | texts, max_size=2),
        cost=st.dictionaries(texts, st.floats(allow_nan=False, allow_infinity=False), max_size=2),
    )  # fmt: skip
    return finished(
        [
            msgspec.structs.replace(draw(facts), model=model, cells={entry.id: draw(cells) for entry in claims})
            for model in models
        ],
        tuple(claims),
    )


@settings(max_examples=60, deadline=None)
@given(run=runs())
def test_every_run_comes_back_as_it_was_written(tmp_path_factory, run):
    path = tmp_path_factory.mktemp("run") / "run.jsonl"
    assert read_run(write(run, path)) == run


def test_a_compressed_run_reads_like_a_plain_one(tmp_path):
    run = run_of(5)
    plain = write(run, tmp_path / "run.jsonl")
    packed = tmp_path / "run.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
    assert read_run(packed) == read_run(plain) == run


def test_compression_is_recognised_whatever_the_name(tmp_path):
    path = write(run_of(2), tmp_path / "run.jsonl")
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert read_run(path) == run_of(2)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_file_cut_at_any_byte_is_refused(tmp_path, packed):
    path = write(run_of(2, entries(["builds", "scripts"])), tmp_path / "run.jsonl")
    whole = gzip.compress(path.read_bytes(), mtime=0) if packed else path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(BrokenRecord):
            read_run(path)


def test_a_cut_in_the_records_is_called_a_missing_footer(tmp_path):
    path = write(run_of(3), tmp_path / "run.jsonl")
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 1])
    with pytest.raises(record_file.MissingFooter, match=r"3 of 3 subjects and no footer.*--resume"):
        read_run(path)
    path.write_bytes(whole[:-200])
    with pytest.raises(record_file.MissingFooter, match="is cut in line 4"):
        read_run(path)


def lines_of(run):
    return [encode(run.header), *map(encode, run.records), encode(run.footer)]


def edited(line, **changes):
    return json.dumps({**json.loads(line), **changes}).encode() + b"\n"


def without(line, key):
    return json.dumps({name: value for name, value in json.loads(line).items() if name != key}).encode() + b"\n"


HEADER, RECORD, FOOTER = lines_of(one_cell(HOLDS))
OTHER = edited(RECORD, model="another")
DEEP = b"[" * 100_000 + b"]" * 100_000
BROKEN = {
    "empty": ([], record_file.EmptyFile, "is empty"),
    "not JSON": ([b"model,verdict\n"], record_file.NotJson, "line 1 is not JSON"),
    "a text without line feed": ([b"hello"], record_file.NotJson, "line 1 is not JSON"),
    "not JSON in line 2": ([HEADER, b"{]\n", FOOTER], record_file.NotJson, "line 2 is not JSON"),
    "a blank line": ([HEADER, b"\n", RECORD, FOOTER], record_file.NotJson, "line 2 is not JSON"),
    "two values in a line": ([HEADER, RECORD[:-1] + RECORD, FOOTER], record_file.NotJson, "line 2 is not JSON"),
    "NaN": ([HEADER, RECORD.replace(b'"cost":{}', b'"cost":{"a":NaN}'), FOOTER], record_file.NotJson, "line 2"),
    "a number beyond floats": (
        [HEADER, RECORD.replace(b'"cost":{}', b'"cost":{"a":1e999}'), FOOTER], record_file.WrongField, "out of range",
    ),
    "JSON of another sort": ([b'{"version": 3}\n'], record_file.MissingHeader, "line 1 is no header"),
    "an array": ([b"[1, 2]\n"], record_file.MissingHeader, "line 1 is no header"),
    "no header": ([RECORD, FOOTER], record_file.MissingHeader, "line 1 is no header"),
    "another schema": ([edited(HEADER, schema=2), RECORD, FOOTER], record_file.OtherSchema, "schema 2 .* schema 1"),
    "a schema that is true": ([edited(HEADER, schema=True), RECORD, FOOTER], record_file.OtherSchema, "schema True"),
    "a schema of another shape": ([b'{"kind":"header","schema":"x"}\n'], record_file.OtherSchema, "schema 'x'"),
    "no schema": ([without(HEADER, "schema"), RECORD, FOOTER], record_file.OtherSchema, "schema None"),
    "a header without claims": ([without(HEADER, "claims"), RECORD, FOOTER], record_file.WrongField, "`claims`"),
    "a second header": ([HEADER, HEADER, RECORD, FOOTER], record_file.DuplicateSubject, "second header"),
    "a subject twice": ([HEADER, RECORD, RECORD, FOOTER], record_file.DuplicateSubject, "second record of 'shvit_s1'"),
    "an unknown kind": ([HEADER, edited(RECORD, kind="verdict"), FOOTER], record_file.UnknownKind, "kind 'verdict'"),
    "no kind": ([HEADER, without(RECORD, "kind"), FOOTER], record_file.UnknownKind, "kind None"),
    "a record that is a list": ([HEADER, b"[]\n", FOOTER], record_file.UnknownKind, "line 2"),
    "a field of another type": ([HEADER, edited(RECORD, params="many"), FOOTER], record_file.WrongField, "params"),
    "an unknown verdict": (
        [HEADER, RECORD.replace(b'"holds"', b'"maybe"'), FOOTER], record_file.WrongField, "line 2 is not a record",
    ),
    "a violation without reason": (
        [HEADER, RECORD.replace(b'"holds"', b'"violated"'), FOOTER], record_file.WrongField, "needs a reason",
    ),
    "a verdict without evidence": (
        [HEADER, RECORD.replace(b'"evidence":"proved",', b""), FOOTER], record_file.WrongField, "needs its evidence",
    ),
    "a missing cell": ([HEADER, edited(RECORD, cells={}), FOOTER], record_file.CellsNotOfHeader, "lacks .* 'scripts'"),
    "a cell too many": (
        [HEADER, RECORD.replace(b'"scripts"', b'"scripts":{"verdict":"holds","evidence":"proved"},"extra"'), FOOTER],
        record_file.CellsNotOfHeader, "'extra', which the header lacks",
    ),
    "a claim declared twice": (
        [edited(HEADER, claims=json.loads(HEADER)["claims"] * 2), RECORD, FOOTER],
        record_file.DuplicateClaim, "'scripts' twice",
    ),
    "a record too few": ([HEADER, FOOTER], record_file.CountsDiffer, "counts 1 subjects and the file has 0"),
    "a record too many": ([HEADER, RECORD, OTHER, FOOTER], record_file.CountsDiffer, "counts 1 .* the file has 2"),
    "a footer that counts other subjects": (
        [HEADER, RECORD, edited(FOOTER, subjects=2)], record_file.CountsDiffer, "footer counts 2 subjects",
    ),
    "a footer that counts other verdicts": (
        [HEADER, RECORD, edited(FOOTER, verdicts={"violated": 1})], record_file.CountsDiffer, "0 cells that are holds",
    ),
    "no footer": ([HEADER, RECORD], record_file.MissingFooter, "1 of 1 subjects and no footer"),
    "a line after the footer": (
        [HEADER, RECORD, FOOTER, OTHER], record_file.LinesAfterFooter, "line 4 follows the footer",
    ),
    "bytes that are no UTF-8": (
        [HEADER, RECORD.replace(b"SHViT", b"\xff\xfe"), FOOTER], record_file.NotUtf8, "line 2 is not UTF-8",
    ),
    "nesting in a witness": (
        [HEADER, RECORD.replace(b'"evidence"', b'"witness":{"a":' + DEEP + b'},"evidence"'), FOOTER],
        record_file.NestedTooDeeply, "line 2 nests too deeply",
    ),
    "nesting in a field that nobody knows": (
        [HEADER, RECORD.replace(b'"cost"', b'"new":' + DEEP + b',"cost"'), FOOTER],
        record_file.NestedTooDeeply, "line 2 nests too deeply",
    ),
    "nesting without a kind": ([DEEP + b"\n"], record_file.MissingHeader, "line 1 is no header"),
    "nesting in the first line": ([b'{"kind":' + DEEP + b"}\n"], record_file.NestedTooDeeply, "line 1 nests"),
    "a number of ten thousand digits": (
        [HEADER, RECORD.replace(b'"params":null', b'"params":' + b"9" * 10_000), FOOTER], BrokenRecord, "line 2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_in_one_sentence(tmp_path, name):
    lines, kind, words = BROKEN[name]
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"".join(lines))
    with pytest.raises(kind, match=words) as caught:
        read_run(path)
    sentence = str(caught.value)
    assert sentence.startswith(f"{path}: ")
    assert sentence == printable(sentence)
    assert len(sentence) < 600


def test_a_line_longer_than_any_honest_one_is_refused_before_it_is_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr(record_file, "LONGEST_LINE", 2**20)
    path = tmp_path / "bomb.jsonl.gz"
    path.write_bytes(gzip.compress(HEADER + b'{"a":"' + b"a" * 2**22 + b'"}\n'))
    with pytest.raises(record_file.LineTooLong, match="line 2 is longer than 1 MiB"):
        read_run(path)


def test_a_missing_file_and_a_directory_are_refused_by_name(tmp_path):
    with pytest.raises(record_file.UnreadableFile, match="No such file"):
        read_run(tmp_path / "nowhere.jsonl")
    with pytest.raises(record_file.UnreadableFile, match="Is a directory"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    "content", [b"not gzip at all\n", b"\x1f\x8bgarbage", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03ga"]
)
def test_a_damaged_gzip_file_is_refused(tmp_path, content):
    path = tmp_path / "run.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(record_file.BrokenGzip, match="is no whole gzip file"):
        read_run(path)


def test_a_sentence_about_a_hostile_file_cannot_steer_the_terminal(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_bytes(HEADER + edited(RECORD, kind="\x1b]0;owned\x07\u202e"))
    with pytest.raises(record_file.UnknownKind) as caught:
        read_run(path)
    assert str(caught.value).isprintable()


def test_records_come_sorted_by_model_from_a_file_that_is_not(tmp_path):
    run = run_of(4)
    header, *records, footer = lines_of(run)
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"".join([header, *reversed(records), footer]))
    assert read_run(path) == run


def test_a_line_is_one_line_with_sorted_keys_whatever_the_order_of_cells():
    forward = Record(model="a\nb", cells={"x": HOLDS, "y": VIOLATED})
    backward = Record(model="a\nb", cells={"y": VIOLATED, "x": HOLDS})
    assert encode(forward) == encode(backward)
    assert encode(forward).count(b"\n") == 1
    assert encode(forward).endswith(b"}\n")
    keys = list(json.loads(encode(forward)))
    assert keys == sorted(keys)


def test_counting_gives_every_verdict_a_number():
    records = [Record(model="a", cells={"x": HOLDS, "y": VIOLATED}), Record(model="b", cells={"x": HOLDS})]
    assert count(records) == {
        Verdict.HOLDS: 2, Verdict.VIOLATED: 1, Verdict.UNDECIDED: 0, Verdict.NOT_APPLICABLE: 0,
    }  # fmt: skip


@pytest.mark.parametrize("verdict", [Verdict.VIOLATED, Verdict.UNDECIDED, Verdict.NOT_APPLICABLE])
@pytest.mark.parametrize("reason", [None, "", " \n"])
def test_a_cell_that_does_not_hold_needs_a_reason(verdict, reason):
    with pytest.raises(ValueError, match="needs a reason"):
        Cell(verdict=verdict, evidence=Evidence.OBSERVED, reason=reason)


@pytest.mark.parametrize("verdict", [Verdict.HOLDS, Verdict.VIOLATED])
def test_what_is_said_to_hold_or_to_be_violated_needs_evidence(verdict):
    with pytest.raises(ValueError, match="needs its evidence"):
        Cell(verdict=verdict, reason="because")


def test_whatever_a_model_raises_or_measures_can_be_written_and_comes_back(tmp_path):
    witness = {"error": float("nan"), "bound": float("-inf"), "shape": (1, 2), "level": Level.MUST, "who": object,
               "big": 2**70, 3: "\udcff", "level2": [True, None]}  # fmt: skip
    cell = Cell(
        verdict=Verdict.VIOLATED, evidence=Evidence.MEASURED, reason="bad \ud800 text", cause="\udfff", witness=witness
    )
    assert cell.reason == "bad \\ud800 text"
    assert cell.witness == {
        "error": "nan", "bound": "-inf", "shape": [1, 2], "level": "must", "who": "<class 'object'>",
        "big": str(2**70), "3": "\\udcff", "level2": [True, None],
    }  # fmt: skip
    run = one_cell(cell)
    assert read_run(write(run, tmp_path / "run.jsonl")) == run


def test_printable_spells_out_what_a_terminal_would_obey():
    assert printable("a\n\tb  c") == "a b c"
    assert printable("\x1b[31m\x9b\x07\x7f") == r"\x1b[31m\x9b\x07\x7f"
    assert printable("\u202eabc\u2066\ufeff\ud800") == r"\u202eabc\u2066\ufeff\ud800"
    assert printable("größer ✓ 模型") == "größer ✓ 模型"


def test_the_shipped_schema_is_the_one_of_the_types():
    shipped = importlib.resources.files("conformance").joinpath("record.schema.json").read_bytes()
    assert shipped == json_schema(), "write conformance.record.json_schema() to conformance/record.schema.json"


def test_lines_of_a_run_satisfy_the_shipped_schema_and_others_do_not():
    schema = json.loads(json_schema())
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    for line in lines_of(run_of(20)):
        validator.validate(json.loads(line))
    assert not validator.is_valid({"kind": "record"})
    assert not validator.is_valid(json.loads(edited(RECORD, params="many")))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused_by_name(tmp_path):
    path = write(run_of(1), tmp_path / "run.jsonl")
    path.chmod(0)
    with pytest.raises(record_file.UnreadableFile, match="Permission denied"):
        read_run(path)
