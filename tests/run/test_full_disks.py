"""Disks that fill up or may only be read, under an audit and under whatever else writes a file."""

import msgspec
import pytest

from conformance.record import Shard
from tests.commands import command, complaint
from tests.report.synthetic import run_of, write
from tests.run.conftest import lines, start_audit, without_what_varies
from tests.run.faults import CHOICE, all_have_ended, disk, left_in

PAGE = 4096
OLD = b"what was there before\n"


def end(audit):
    """Wait for it; gives what it said that is not about its progress."""
    audit.wait()
    return [line for line in audit.said.splitlines() if "cannot" in line or "Error" in line or "Traceback" in line]


def test_an_audit_whose_disk_is_full_says_so_keeps_what_it_decided_and_is_gone_on_with(tmp_path, undisturbed):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    size = undisturbed.stat().st_size
    pages = -(-size // PAGE)
    with disk(tmp_path / "disk") as full:

        def start(**more):
            return start_audit(
                full.place / "run.jsonl", environ={"TMPDIR": str(scratch)}, limits=full.limits, **CHOICE, **more
            )

        (full.place / "run.jsonl").write_bytes(OLD)
        full.fill()
        nothing_fits = start()
        (sentence,) = end(nothing_fits)
        assert nothing_fits.process.returncode == 2
        assert f"cannot write {nothing_fits.partial} (" in sentence
        assert full.files() == ["run.jsonl"]

        header, first, *_, footer = undisturbed.read_bytes().splitlines(keepends=True)
        assert len(header + first) + 20 < PAGE < size - len(footer), "one page is to hold some records and not all"
        full.fill(leaving=PAGE)
        some_fits = start()
        (sentence,) = end(some_fits)
        assert some_fits.process.returncode == 2
        assert f"cannot write {some_fits.partial} (" in sentence
        assert "--resume" in sentence
        assert full.files() == ["run.jsonl", "run.jsonl.partial"]

        full.fill(leaving=(pages - 1) * PAGE if full.limits == {} else size - 50)
        all_but_the_end_fits = start(resume=True)
        (sentence,) = end(all_but_the_end_fits)
        assert all_but_the_end_fits.process.returncode == 2
        assert f"cannot write {all_but_the_end_fits.output} (" in sentence
        assert "--resume" in sentence
        assert full.files() == ["run.jsonl", "run.jsonl.partial"]
        assert (full.place / "run.jsonl").read_bytes() == OLD
        assert len(lines(all_but_the_end_fits.partial)) == 4

        full.free()
        resumed = start(resume=True)
        assert resumed.wait() == 0, resumed.said
        assert "3 models decided before" in resumed.said
        assert full.files() == ["run.jsonl"]
        assert without_what_varies(resumed.output) == without_what_varies(undisturbed)
    assert left_in(scratch) == []
    assert all_have_ended(scratch)


@pytest.fixture
def inputs(tmp_path):
    """A run that is the whole of an audit and its only shard."""
    run = run_of(20)
    shard = Shard(number=1, of=1, subjects=20, models="all of them")
    write(msgspec.structs.replace(run, header=msgspec.structs.replace(run.header, shard=shard)), tmp_path / "run.jsonl")
    return tmp_path / "run.jsonl"


WRITERS = {
    "report": ("page.html", lambda run, target: ("report", run, "--output", target)),
    "merge": ("whole.jsonl", lambda run, target: ("merge", run, "--output", target)),
    "gate": (
        "changes.md",
        lambda run, target: ("gate", "--baseline", run, "--candidate", run, "--format", "markdown", "--output", target),
    ),
    "expectations": ("mine.toml", lambda run, target: ("expectations", "update", target, "--from", run)),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("state", ["full", "closed"])
def test_what_cannot_be_written_is_refused_in_a_sentence_and_what_was_there_stays(tmp_path, inputs, name, state):
    file, words = WRITERS[name]
    old = b"" if name == "expectations" else OLD
    with disk(tmp_path / "disk") as place:
        target = place.place / file
        target.write_bytes(old)
        if state == "full":
            place.fill()
        else:
            place.close()
        refused = command(*words(inputs, target), cwd=tmp_path, **place.limits)
        assert f"{str(target)!r} cannot be written" in complaint(refused)
        assert place.files() == [file]
        assert target.read_bytes() == old


@pytest.mark.parametrize("output", ["folder", "nowhere/run.jsonl", "disk/run.jsonl"])
def test_an_audit_that_could_write_nowhere_does_not_begin(tmp_path, output):
    (tmp_path / "folder").mkdir()
    with disk(tmp_path / "disk") as closed:
        closed.close()
        refused = command("audit", "resnet18", "--claim", "builds", "--output", output, cwd=tmp_path)
        assert repr(output.partition("/")[0])[:-1] in complaint(refused)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "folder"]


def test_an_audit_without_room_for_scratch_says_so(tmp_path):
    with disk(tmp_path / "disk") as full:
        full.fill()
        nowhere = tmp_path / "nowhere"
        nowhere.mkdir()
        # As where all of the machine's directories for scratch are on one full disk.
        (nowhere / "sitecustomize.py").write_text(
            f"import tempfile\ntempfile._candidate_tempdir_list = lambda: [{str(full.place)!r}]\n"
        )
        refused = command(
            *("audit", "resnet18", "--claim", "builds", "--output", "run.jsonl"),
            cwd=tmp_path, PYTHONPATH=str(nowhere), **full.limits,
        )  # fmt: skip
        assert "No usable temporary directory" in complaint(refused)
        assert not (tmp_path / "run.jsonl.partial").exists()
