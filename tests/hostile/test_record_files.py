"""A file of records that was tampered with: a run, or one sentence; never another exception, never without end."""

from __future__ import annotations

import gzip
import json
import os
import socket
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from conformance import record_file
from conformance.record import Run, encode
from conformance.record_file import BrokenRecord, read_run
from tests.hostile.attacks import ALL, assert_one_sentence, fuzzed, runs, texts, tried
from tests.report.synthetic import entries, run_of, write

RUN = run_of(3, entries(["builds", "scripts"]))
LINES = [encode(RUN.header), *map(encode, RUN.records), encode(RUN.footer)]
CHUNKS = [
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\r\n",
    b"\n",
    b"\x00",
    b"\xed\xa0\x80",
    b"\\ud800",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"-0.0",
    b"9" * 5000,
    b"[" * 2000,
    b'{"a":' * 2000,
    b'"',
    b"\\",
    b"{",
    b"}",
    b",",
    b":",
    b"null",
    b"true",
    b'"kind":"footer",',
    b'{"kind":"header"}',
    b"\x1f\x8b",
    b"\x1b[31m",
    "\u202e".encode(),
    b"/*",
    b"'",
    b'{"verdict":"holds","evidence":"proved"}',
]
ODD = st.sampled_from(
    [None, True, False, 0, -1, 1.5, 2**63, 2**70, "", [], {}, [[]], {"": None}, "\ufffe", 10**4000, *ALL[:40]]
)


@st.composite
def bitten(draw):
    """The bytes of a run with some flipped, left out, repeated or put in; lines swapped; perhaps compressed before."""
    lines = list(LINES)
    for _ in range(draw(st.integers(0, 2))):
        one, other = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, len(lines) - 1))
        lines[one], lines[other] = lines[other], draw(st.sampled_from([lines[one], lines[other], b"", lines[one][:-1]]))
    content = b"".join(lines)
    if draw(st.booleans()):
        content = gzip.compress(content, mtime=0)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        length = draw(st.integers(0, 12))
        middle = draw(
            st.sampled_from([b"", *CHUNKS])
            | st.binary(max_size=6)
            | st.just(bytes(byte ^ 1 << place % 8 for byte in content[place : place + 1]))
        )
        content = content[:place] + middle + content[place + length :]
    return content


def replaced(draw, value):
    """The JSON value with something in it taken away, or replaced by something of another type."""
    if isinstance(value, dict) and value and draw(st.integers(0, 3)):
        key = draw(st.sampled_from(sorted(value)))
        kind = draw(st.integers(0, 5))
        others = {name: part for name, part in value.items() if name != key}
        if kind == 0:
            return others
        if kind == 1:
            return {**others, draw(texts): value[key]}
        return {**value, key: replaced(draw, value[key])}
    if isinstance(value, list) and value and draw(st.integers(0, 3)):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], replaced(draw, value[place]), *value[place + 1 :]]
    return draw(ODD | texts)


@st.composite
def retyped(draw):
    """The lines of a run, one of which says something of another type."""
    place = draw(st.integers(0, len(LINES) - 1))
    value = replaced(draw, json.loads(LINES[place]))
    return b"".join([*LINES[:place], json.dumps(value).encode() + b"\n", *LINES[place + 1 :]])


def read(path):
    """The run, or None for what was refused in a sentence."""
    try:
        run = read_run(path)
    except BrokenRecord as error:
        sentence = str(error)
    else:
        assert isinstance(run, Run)
        return run
    assert sentence.startswith(f"{path}: ")
    assert_one_sentence(sentence.removeprefix(f"{path}: "))
    return None


@fuzzed
@given(content=bitten() | retyped())
def any_bytes(path, content):
    path.write_bytes(content)
    tried["record files, bitten"] += 1
    tried["record files, bitten, that are runs all the same"] += read(path) is not None


@fuzzed
@given(run=runs())
def any_run(path, run):
    tried["record files with hostile texts"] += 1
    assert read(write(run, path)) == run


def test_bytes_that_were_tampered_with_are_a_run_or_one_sentence(tmp_path):
    any_bytes(tmp_path / "run.jsonl")
    assert 0 < tried["record files, bitten"] > 2 * tried["record files, bitten, that are runs all the same"]


def test_hostile_texts_come_back_as_they_were_written(tmp_path):
    any_run(tmp_path / "run.jsonl")


@pytest.mark.parametrize("line_end", [b"\r\n", b"\r"])
def test_other_ends_of_lines_and_a_byte_order_mark_are_no_reason_for_a_traceback(tmp_path, line_end):
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"".join(LINES).replace(b"\n", line_end))
    assert read(path) == (RUN if line_end == b"\r\n" else None)
    path.write_bytes(b"\xef\xbb\xbf" + b"".join(LINES))
    assert read(path) is None


def test_of_keys_that_stand_twice_one_counts_and_the_counts_must_fit(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"".join(LINES).replace(b'"evidence":', b'"evidence":"proved","evidence":'))
    assert read(path) == RUN
    path.write_bytes(b"".join(LINES).replace(b'"verdict":"holds"', b'"verdict":"holds","verdict":"undecided"', 1))
    assert read(path) is None


@pytest.fixture
def special(tmp_path):
    """Makes what is no regular file."""

    def make(kind):
        path = tmp_path / "run.jsonl"
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "socket":
            with socket.socket(socket.AF_UNIX) as one:
                here = Path.cwd()
                os.chdir(tmp_path)  # its address has a hundred characters at most
                try:
                    one.bind(path.name)
                finally:
                    os.chdir(here)
        elif kind == "circle":
            path.symlink_to(path)
        else:
            path.symlink_to(kind)
        return path

    return make


@pytest.mark.parametrize("kind", ["pipe", "socket", "circle", "/dev/zero", "/dev/null", "/dev/tty", "/proc/self", "/"])
def test_what_is_no_regular_file_is_refused_and_never_waited_for(special, kind):
    with pytest.raises(record_file.UnreadableFile, match="cannot be read"):
        read_run(special(kind))


@pytest.mark.parametrize("name", ["a\0b", "a" * 5000, "\udcff", "\x1b[31m"])
def test_names_that_no_file_has_are_refused(tmp_path, name):
    with pytest.raises(record_file.UnreadableFile) as caught:
        read_run(tmp_path / name)
    assert_one_sentence(str(caught.value), longest=6000)


CLAIM = encode(RUN.header.claims[0]).rstrip() + b","


def member(content, times):
    """A gzip file of the content many times over: small, and long when it is unpacked."""
    return gzip.compress(content, compresslevel=9, mtime=0) * times


BOMBS = {
    "a line without end": ("LineTooLong", lambda: member(b"\0" * 2**25, 64)),
    "a long line": (
        "LineTooLong",
        lambda: gzip.compress(LINES[0] + b'{"kind":"record","model":"' + b"a" * 10**8 + b'"}\n', compresslevel=1),
    ),
    "lines without end": (
        "DuplicateSubject",
        lambda: gzip.compress(LINES[0]) + member(LINES[1].rstrip() + b" " * 2**23 + b"\n", 300),
    ),
    "nesting": ("NestedTooDeeply", lambda: gzip.compress(b'{"kind":' + b"[" * 10**7 + b"\n")),
    "claims": (
        "DuplicateClaim",
        lambda: gzip.compress(
            LINES[0].replace(b'"claims":[', b'"claims":[' + CLAIM * 20_000),
        ),
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_that_unpacks_to_a_large_one_is_refused_in_little_memory(tmp_path, name):
    kind, made = BOMBS[name]
    path = tmp_path / "bomb.jsonl.gz"
    path.write_bytes(made())
    assert path.stat().st_size < 5 * 2**20
    code = textwrap.dedent(
        """
        import resource, sys
        from conformance.record_file import BrokenRecord, read_run
        resource.setrlimit(resource.RLIMIT_AS, (2**29, 2**29))
        try:
            read_run(sys.argv[1])
        except BrokenRecord as error:
            print(type(error).__name__)
        """
    )
    ended = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.strip() == kind


def test_lines_that_are_longer_together_than_any_honest_run_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(record_file, "LARGEST_RUN", 2**20)
    path = tmp_path / "bomb.jsonl.gz"
    others = (LINES[1].replace(b'"model":"', b'"model":"%d' % number) for number in range(10_000))
    path.write_bytes(gzip.compress(LINES[0] + b"".join(others) + LINES[-1]))
    with pytest.raises(record_file.RunTooLarge, match="more than 1 MiB of lines"):
        read_run(path)


def test_the_largest_published_run_is_far_from_the_limits():
    sizes = []
    for file in Path("reports").glob("*.jsonl.gz"):
        content = zlib.decompress(file.read_bytes(), wbits=31)
        sizes.append(len(content))
        assert max(map(len, content.splitlines())) * 20 < record_file.LONGEST_LINE
    assert max(sizes) * 20 < record_file.LARGEST_RUN
