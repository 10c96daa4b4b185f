"""The one writer: whole records at once, a sorted file at the end, and nobody else's file."""

import gzip
import json
import os

import msgspec
import pytest

from conformance.record import Cell, ClaimEntry, Evidence, Header, Level, Record, Tier, Verdict, encode
from conformance.record_file import read_run
from conformance.run.parcel import LONGEST_TEXT, Parcel, clipped, pack, unpack
from conformance.run.writer import OtherRun, OutputTaken, OutputUnwritable, UnfinishedRun, Writer

HOLDS = Cell(verdict=Verdict.HOLDS, evidence=Evidence.PROVED)
VIOLATED = Cell(verdict=Verdict.VIOLATED, evidence=Evidence.OBSERVED, reason="It does not.")


def header(**facts):
    claims = tuple(
        ClaimEntry(id=claim_id, text="It does.", group="head", level=Level.MUST, tier=Tier.CORE)
        for claim_id in ("one", "two")
    )
    made = Header(suite="0", timm="1", torch="2", python="3", tier=Tier.CORE, started="then", subjects=2, claims=claims)
    return msgspec.structs.replace(made, **facts)


def parcels(model, first=HOLDS):
    yield Parcel(model=model, claim="one", cell=first, cost={"one": 0.5, "peak_mb": 10.0})
    yield Parcel(model=model, claim="two", cell=HOLDS, facts=Record(model=model, params=7), cost={"peak_mb": 9.0})


def written(path, *models, finish=True, resume=False, facts=None):
    writer = Writer(path)
    decided = writer.start(header(**(facts or {})), resume=resume, models=("a", "b"))
    for model in models:
        for parcel in parcels(model):
            writer.take(parcel)
    writer.finish() if finish else writer.leave()
    return decided


def test_a_finished_run_is_read_back_sorted_and_leaves_no_other_file(tmp_path):
    written(tmp_path / "run.jsonl", "b", "a")
    run = read_run(tmp_path / "run.jsonl")
    assert [record.model for record in run.records] == ["a", "b"]
    assert run.records[0].params == 7
    assert run.records[0].cost == {"one": 0.5, "peak_mb": 10.0}
    assert [path.name for path in tmp_path.iterdir()] == ["run.jsonl"]


def test_a_compressed_run_carries_no_time_and_no_name(tmp_path, monkeypatch):
    written(tmp_path / "x.jsonl.gz", "a", "b")
    monkeypatch.setattr("time.time", lambda: 4e8)
    written(tmp_path / "y.jsonl.gz", "b", "a")
    packed = (tmp_path / "x.jsonl.gz").read_bytes()
    assert packed == (tmp_path / "y.jsonl.gz").read_bytes()
    assert gzip.decompress(packed).startswith(b'{"claims"')


def test_a_record_is_on_disk_as_soon_as_it_is_whole_and_not_before(tmp_path):
    writer = Writer(tmp_path / "run.jsonl")
    writer.start(header(), resume=False, models=("a", "b"))
    first, second = parcels("a")
    partial = tmp_path / "run.jsonl.partial"
    writer.take(first)
    assert partial.read_bytes().count(b"\n") == 1
    writer.take(second)
    assert json.loads(partial.read_text().splitlines()[1])["model"] == "a"
    assert writer.missing() == 1
    writer.leave()


def test_of_a_cell_that_is_decided_twice_the_first_is_kept(tmp_path):
    writer = Writer(tmp_path / "run.jsonl")
    writer.start(header(subjects=1), resume=False, models=("a",))
    for parcel in (*list(parcels("a"))[:1], *parcels("a", VIOLATED), *parcels("a", VIOLATED)):
        writer.take(parcel)
    writer.finish()
    (record,) = read_run(tmp_path / "run.jsonl").records
    assert record.cells["one"] == HOLDS


@pytest.mark.parametrize("torn", [b"", b'{"kind":"rec', b'{"kind":"rec\n{"kind":"record","model":"b"}\n', b"\xff\n"])
def test_resuming_goes_on_after_the_last_whole_line(tmp_path, torn):
    path = tmp_path / "run.jsonl"
    written(path, "a", finish=False)
    with (tmp_path / "run.jsonl.partial").open("ab") as partial:
        partial.write(torn)
    assert written(path, "b", resume=True, facts={"started": "later"}) == {"a"}
    run = read_run(path)
    assert [record.model for record in run.records] == ["a", "b"]
    assert run.header.started == "then"


def test_resuming_where_nothing_is_left_begins_anew(tmp_path):
    assert written(tmp_path / "run.jsonl", "a", "b", resume=True) == frozenset()


@pytest.mark.parametrize(
    "facts",
    [
        {"timm": "9"},
        {"torch": "9"},
        {"python": "9"},
        {"suite": "9"},
        {"subjects": 3},
        {"tier": Tier.FULL},
        {"claims": ()},
    ],
)
def test_another_run_is_not_resumed(tmp_path, facts):
    path = tmp_path / "run.jsonl"
    written(path, "a", finish=False)
    before = (tmp_path / "run.jsonl.partial").read_bytes()
    with pytest.raises(OtherRun, match=next(iter(facts))):
        written(path, resume=True, facts=facts)
    assert (tmp_path / "run.jsonl.partial").read_bytes() == before


def test_a_subject_that_is_not_chosen_any_more_is_not_resumed(tmp_path):
    written(tmp_path / "run.jsonl", "a", finish=False)
    with pytest.raises(OtherRun, match="'a', which is not chosen"):
        Writer(tmp_path / "run.jsonl").start(header(), resume=True, models=("b", "c"))


@pytest.mark.parametrize("left", [None, b"notes of mine\n"])
def test_without_resuming_what_was_left_is_not_overwritten(tmp_path, left):
    partial = tmp_path / "run.jsonl.partial"
    written(tmp_path / "run.jsonl", "a", finish=False) if left is None else partial.write_bytes(left)
    before = partial.read_bytes()
    with pytest.raises(UnfinishedRun, match=r"run\.jsonl\.partial is left .* --resume, or delete it"):
        written(tmp_path / "run.jsonl", "a", "b")
    assert partial.read_bytes() == before
    partial.unlink()
    assert written(tmp_path / "run.jsonl", "a", "b") == frozenset()


@pytest.mark.parametrize("torn", [b"", b'{"kind":"rec'])
def test_an_unfinished_run_that_decided_nothing_is_begun_anew_without_being_asked(tmp_path, torn):
    (tmp_path / "run.jsonl.partial").write_bytes(encode(header()) + torn)  # as a killing leaves it
    assert written(tmp_path / "run.jsonl", "a", "b") == frozenset()
    assert len(read_run(tmp_path / "run.jsonl").records) == 2


def test_a_run_that_is_finished_is_not_decided_again_when_it_is_resumed(tmp_path):
    written(tmp_path / "run.jsonl", "a", "b")
    before = (tmp_path / "run.jsonl").read_bytes()
    assert written(tmp_path / "run.jsonl", resume=True) == frozenset({"a", "b"})
    assert (tmp_path / "run.jsonl").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["run.jsonl"]


@pytest.mark.parametrize("facts", [{"torch": "3"}, {"tier": Tier.FULL}, {"claims": ()}])
def test_another_finished_run_is_begun_anew(tmp_path, facts):
    written(tmp_path / "run.jsonl", "a", "b")
    writer = Writer(tmp_path / "run.jsonl")
    assert writer.start(header(**facts), resume=True, models=("a", "b")) == frozenset()
    writer.leave()
    assert len(read_run(tmp_path / "run.jsonl").records) == 2


def test_a_run_that_decided_nothing_leaves_nothing(tmp_path):
    written(tmp_path / "run.jsonl", finish=False)
    assert list(tmp_path.iterdir()) == []


def test_two_writers_do_not_share_a_file(tmp_path):
    writer = Writer(tmp_path / "run.jsonl")
    with pytest.raises(OutputTaken, match="another audit"):
        Writer(tmp_path / "run.jsonl")
    writer.leave()
    Writer(tmp_path / "run.jsonl").leave()


def test_an_output_that_cannot_be_written_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(OutputUnwritable, match="No such file or directory"):
        Writer(tmp_path / "nowhere" / "run.jsonl")


def test_hostile_text_travels_as_ascii_and_arrives_writable():
    hostile = "lone \ud800, null \x00, red \x1b[31m, " + "x" * 1_000_000
    cell = clipped(Cell(verdict=Verdict.UNDECIDED, reason=hostile, witness={"\udfff": float("nan")}))
    text = pack(Parcel(model="a", claim="one", cell=cell))
    assert text.isascii()
    arrived = unpack(text)
    assert arrived.cell == cell
    assert len(arrived.cell.reason) < LONGEST_TEXT + 50
    assert msgspec.json.encode(arrived)


def test_no_file_takes_the_place_of_a_device_or_a_pipe(tmp_path):
    """`--output /dev/full` put a file there."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OutputUnwritable, match="pipe' is no file that records could take the place of"):
        Writer(pipe)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]
