"""Record files that are cut, flipped or zeroed at every byte: refused by name, or gone on with, and nothing between."""

from __future__ import annotations

import gzip
from pathlib import Path

import msgspec
import pytest

from conformance.record import Cell, ClaimEntry, Evidence, Header, Level, Record, Run, Tier, Verdict, encode
from conformance.record_file import BrokenRecord, packed, read_run
from conformance.run.writer import OtherRun, UnfinishedRun, Writer

HOLDS = Cell(verdict=Verdict.HOLDS, evidence=Evidence.PROVED)
CLAIM = ClaimEntry(id="one", text="It does.", group="head", level=Level.MUST, tier=Tier.CORE)
HEADER = Header(suite="0", timm="1", torch="2", python="3", tier=Tier.CORE, started="", subjects=2, claims=(CLAIM,))
MODELS = ("a", "ü")


def record(model):
    return Record(model=model, cells={"one": HOLDS})


def decided(path, *, resume):
    """What an audit that decides what is left writes; gives what was decided before."""
    writer = Writer(path)
    known = writer.start(HEADER, resume=resume, models=MODELS)
    for model in MODELS:
        writer.put(record(model))
    writer.finish()
    return known


@pytest.fixture(params=["run.jsonl", "run.jsonl.gz"])
def whole(tmp_path, request):
    """A finished run's file."""
    path = tmp_path / request.param
    decided(path, resume=False)
    return path


def read_or_refused(path: Path) -> Run | None:
    """Any other exception is the test's failure."""
    try:
        return read_run(path)
    except BrokenRecord:
        return None


def test_a_finished_file_that_is_cut_at_any_byte_is_no_run(whole):
    content = whole.read_bytes()
    for end in range(len(content)):
        whole.write_bytes(content[:end])
        assert read_or_refused(whole) is None, end


@pytest.mark.parametrize("damage", [0x00, 0x01, 0xFF], ids=["zeroed", "lowest", "all"])
def test_a_byte_that_is_another_gives_a_run_as_valid_as_any_or_none(whole, tmp_path, damage):
    content = bytearray(whole.read_bytes())
    for place, byte in enumerate(content):
        content[place] = byte ^ damage if damage else 0
        whole.write_bytes(content)
        content[place] = byte
        run = read_or_refused(whole)
        if run is not None:  # a letter of a text, say
            again = tmp_path / "again.jsonl"
            again.write_bytes(packed(run, compressed=False))
            assert read_run(again) == run, place


def test_a_compressed_file_does_not_hide_that_a_byte_is_another(tmp_path):
    path = tmp_path / "run.jsonl.gz"
    decided(path, resume=False)
    run, content = read_run(path), bytearray(path.read_bytes())
    for place, byte in enumerate(content):
        content[place] = byte ^ 0xFF
        path.write_bytes(content)
        content[place] = byte
        assert read_or_refused(path) in (None, run), place


def test_an_unfinished_file_that_is_cut_at_any_byte_is_gone_on_with_from_its_last_whole_line(tmp_path):
    path, partial = tmp_path / "run.jsonl", tmp_path / "run.jsonl.partial"
    decided(path, resume=False)
    whole = path.read_bytes()
    path.unlink()
    lines = [encode(HEADER), *(encode(record(model)) for model in MODELS)]
    content = b"".join(lines)
    for end in range(len(content) + 1):
        partial.write_bytes(content[:end])
        assert len(decided(path, resume=True)) == max(content[:end].count(b"\n") - 1, 0), end
        assert path.read_bytes() == whole, end
        assert [file.name for file in tmp_path.iterdir()] == ["run.jsonl"]
        path.unlink()


def test_an_unfinished_file_with_a_byte_that_is_another_is_gone_on_with_or_refused_and_left_as_it_is(tmp_path):
    path, partial = tmp_path / "run.jsonl", tmp_path / "run.jsonl.partial"
    content = bytearray(encode(HEADER) + encode(record("a")))
    for place, byte in enumerate(content):
        content[place] = byte ^ 0x01
        partial.write_bytes(content)
        writer = Writer(path)
        try:
            known = writer.start(HEADER, resume=True, models=MODELS)
        except OtherRun:
            assert partial.read_bytes() == content, place
        else:
            assert known <= set(MODELS), place
        writer.leave()
        content[place] = byte


def test_a_file_that_was_cut_is_never_written_over_unasked(tmp_path):
    path, partial = tmp_path / "run.jsonl", tmp_path / "run.jsonl.partial"
    header, first = encode(HEADER), encode(record("a"))
    for end in range(len(header) + len(first), len(header) + len(first) * 2):
        content = (header + first * 2)[:end]
        partial.write_bytes(content)
        with pytest.raises(UnfinishedRun, match=r"--resume, or delete it"):
            decided(path, resume=False)
        assert partial.read_bytes() == content


def test_trailing_bytes_after_the_compressed_run_are_refused(tmp_path):
    path = tmp_path / "run.jsonl.gz"
    decided(path, resume=False)
    content = path.read_bytes()
    for tail in (b"x", gzip.compress(encode(msgspec.structs.replace(HEADER, subjects=0))), content):
        path.write_bytes(content + tail)
        assert read_or_refused(path) is None, tail
