"""Equal inputs give equal bytes: however many processes decide, in whatever order, under any seed, locale or clock."""

from __future__ import annotations

import functools
import gzip
import json
import random
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from conformance.claims import in_tier
from conformance.decide import Examination, Shapes
from conformance.record import Cell, Tier
from conformance.record_file import packed, read_run
from conformance.run.kept import run_of
from tests.run.conftest import environment, without_what_varies

MODELS = ("test_vit", "test_resnet", "test_byobnet", "test_mambaout", "dla46x_c", "lcnet_035")
"""Models of several shapes, two of which break claims, by proof, by measuring and by raising."""
PUBLISHED = Path(__file__).parents[2] / "reports" / "timm-1.0.31.jsonl.gz"


def run(directory, *arguments, **environ):
    done = subprocess.run(
        [sys.executable, "-m", "conformance", *map(str, arguments)],
        cwd=directory,
        env=environment(PYTHONPATH="") | environ,
        capture_output=True,
        timeout=600,
    )
    assert done.returncode in (0, 1), done.stderr.decode(errors="replace")
    return done.stdout


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """The records of an audit under circumstances, made once for each."""

    @functools.cache
    def records(workers, models, environ):
        directory = tmp_path_factory.mktemp("audited")
        run(directory, "audit", *models, "-n", workers, "--output", "run.jsonl", **dict(environ))
        return tuple(without_what_varies(directory / "run.jsonl"))

    return records


@pytest.mark.parametrize(
    ("workers", "models", "environ"),
    [
        (3, MODELS, {}),
        (
            1,
            MODELS[::-1],
            {"PYTHONHASHSEED": "1", "PYTHONUTF8": "0", "LC_ALL": "POSIX"}
            | {"COLUMNS": "20", "HOME": "/nonexistent", "TERM": "dumb"},
        ),
        (
            2,
            MODELS,
            {"PYTHONHASHSEED": "4242", "LC_ALL": "C", "LANG": "tr_TR.UTF-8", "TZ": "Pacific/Kiritimati"}
            | {"OMP_NUM_THREADS": "7", "MKL_NUM_THREADS": "7", "PYTHONOPTIMIZE": "2", "NO_COLOR": "1"},
        ),
    ],
    ids=["three workers", "other order and no locale", "other locale and threads"],
)
def test_records_do_not_depend_on_who_decides_and_where(audited, workers, models, environ):
    usual = audited(1, MODELS, (("PYTHONHASHSEED", "0"),))
    assert audited(workers, models, tuple(environ.items())) == usual


def test_cells_are_those_that_are_published(audited):
    lines = [json.loads(line) for line in audited(3, MODELS, ())]
    cells = {line["model"]: line["cells"] for line in lines if line["kind"] == "record"}
    published = {record.model: msgspec.to_builtins(record.cells) for record in read_run(PUBLISHED).records}
    assert cells.keys() == set(MODELS)
    for model, decided in cells.items():
        assert decided == {claim: published[model][claim] for claim in decided}


def test_a_cell_does_not_depend_on_what_was_decided_before_it():
    """One process, one memory of shapes, other orders of models and claims."""
    claims = [claim.id for claim in in_tier(Tier.CORE)]
    chance = random.Random(0)
    known: dict[tuple[str, str], Cell] = {}
    for attempt in range(3):
        shapes = Shapes()
        models = list(MODELS)
        chance.shuffle(models)
        for model in models:
            if attempt:
                chance.shuffle(claims)
            examination = Examination(model, shapes=shapes)
            for claim in claims:
                cell = examination.cell(claim)
                assert known.setdefault((model, claim), cell) == cell, (model, claim, attempt)
            examination.close()
    assert len(known) == len(MODELS) * len(claims)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A run of the first published models."""
    whole = read_run(PUBLISHED)
    file = tmp_path_factory.mktemp("small") / "run.jsonl"
    file.write_bytes(packed(run_of(whole.header, whole.records[:80]), compressed=False))
    return file


@pytest.mark.parametrize("form", ["html", "markdown", "json", "junit", "badge"])
def test_reports_of_a_run_are_the_same_bytes(small, tmp_path, form):
    seen = set()
    for seed, locale, zone in (("0", "C.UTF-8", "UTC"), ("1", "C", "Asia/Kathmandu"), ("77", "POSIX", "UTC")):
        page = tmp_path / f"page-{seed}"
        run(
            tmp_path,
            *("report", small, "--format", form, "--output", page),
            PYTHONHASHSEED=seed,
            LC_ALL=locale,
            TZ=zone,
            PYTHONUTF8="0",
            COLUMNS=str(40 + int(seed)),
        )
        seen.add(page.read_bytes())
    assert len(seen) == 1


def test_a_compressed_run_carries_no_time_and_no_name(small, tmp_path):
    run_read = read_run(small)
    first = packed(run_read, compressed=True)
    assert first == packed(run_read, compressed=True)
    assert first[3] == 0, "no name"
    assert first[4:8] == bytes(4), "no time"
    assert gzip.decompress(first) == small.read_bytes()
