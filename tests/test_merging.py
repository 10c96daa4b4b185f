"""Joining shards: what one audit would have written, or a sentence on why these files are not its shards."""

from __future__ import annotations

import msgspec
import pytest

from conformance.merging import NotOneAudit, merge
from conformance.record import Record, Run, Tier
from conformance.record_file import packed, read_run
from conformance.run.shards import part, shard_of
from tests.report.synthetic import finished, run_of

WHOLE = run_of(30)
NAMES = [record.model for record in WHOLE.records]


def shards(of=3, whole=WHOLE, **facts):
    """The run as shards of one audit would have written it, by the names of their files."""
    names = [record.model for record in whole.records]
    made = {}
    for number in range(1, of + 1):
        models = part(names, number, of, len)
        run = finished([record for record in whole.records if record.model in models], whole.header.claims)
        header = msgspec.structs.replace(run.header, shard=shard_of(names, number, of), **facts)
        made[f"{number}.jsonl"] = msgspec.structs.replace(run, header=header)
    return made


@pytest.mark.parametrize("of", [1, 2, 3, 7, 30, 40])
def test_shards_become_what_one_audit_would_have_written(of):
    assert packed(merge(shards(of)), compressed=False) == packed(WHOLE, compressed=False)


def test_the_order_of_the_files_does_not_matter():
    assert merge(dict(reversed(shards().items()))) == WHOLE


def test_the_whole_began_when_the_first_shard_did():
    runs = shards()
    for number, run in enumerate(runs.values()):
        header = msgspec.structs.replace(run.header, started=f"2026-11-2{5 - number}T00:00:00+00:00")
        runs[f"{number + 1}.jsonl"] = msgspec.structs.replace(run, header=header)
    assert merge(runs).header.started.startswith("2026-11-23")


def test_a_hole_is_told_with_the_shard_that_fills_it():
    runs = shards(4)
    del runs["2.jsonl"], runs["4.jsonl"]
    with pytest.raises(NotOneAudit, match=r"2/4, 4/4 .*missing; audit with --shard 2/4"):
        merge(runs)


def test_shards_that_are_there_twice_are_told():
    runs = shards()
    with pytest.raises(NotOneAudit, match=r"1\.jsonl and again\.jsonl are both shard 1/3"):
        merge(runs | {"again.jsonl": runs["1.jsonl"]})


def test_what_is_no_shard_is_told():
    with pytest.raises(NotOneAudit, match=r"whole\.jsonl is no shard"):
        merge(shards() | {"whole.jsonl": WHOLE})


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("timm", "1.0.30"),
        ("torch", "2.13.0"),
        ("python", "3.12.1"),
        ("suite", "0.0.9"),
        ("tier", Tier.FULL),
        ("machine", "x"),
    ],
)
def test_shards_of_other_audits_are_told_with_the_fact(fact, value):
    runs = shards()
    with pytest.raises(NotOneAudit, match=rf"1\.jsonl and 2\.jsonl are of different audits \({fact} differ"):
        merge(runs | {"2.jsonl": shards(**{fact: value})["2.jsonl"]})


def test_shards_of_other_claims_or_lists_are_told():
    runs = shards()
    fewer = finished(WHOLE.records, WHOLE.header.claims)
    fewer = msgspec.structs.replace(
        fewer, header=msgspec.structs.replace(fewer.header, claims=WHOLE.header.claims[:-1])
    )
    with pytest.raises(NotOneAudit, match="claims differ"):
        merge(runs | {"2.jsonl": shards(whole=fewer)["2.jsonl"]})
    others = shards(whole=run_of(29))
    with pytest.raises(NotOneAudit, match=r"a shard of 30 models in 3, 2\.jsonl one of 29"):
        merge(runs | {"2.jsonl": others["2.jsonl"]})
    with pytest.raises(NotOneAudit, match=r"a shard of 30 models in 3, x\.jsonl one of 30 in 4"):
        merge(runs | {"x.jsonl": shards(4)["4.jsonl"]})


def test_a_subject_in_two_shards_or_in_none_is_told():
    runs = shards()
    stolen = runs["1.jsonl"].records[0]
    runs["2.jsonl"] = with_records(runs["2.jsonl"], (*runs["2.jsonl"].records, stolen))
    with pytest.raises(NotOneAudit, match=rf"'{stolen.model}' is in 1\.jsonl and in 2\.jsonl"):
        merge(runs)
    runs["2.jsonl"] = with_records(runs["2.jsonl"], runs["2.jsonl"].records[:-2])
    with pytest.raises(NotOneAudit, match="29 of 30 models"):
        merge(runs)


def with_records(run: Run, records: tuple[Record, ...]) -> Run:
    return msgspec.structs.replace(run, records=records)


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_a_shard_survives_its_file(tmp_path, suffix):
    for name, run in shards().items():
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes(packed(run, compressed=suffix.endswith("gz")))
        assert read_run(path) == run
