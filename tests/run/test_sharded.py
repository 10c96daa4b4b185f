"""Shards audited one by one and merged are what one audit would have written."""

from __future__ import annotations

from conformance.merging import merge
from conformance.record_file import packed, read_run
from tests.run.conftest import without_what_varies

MODELS = ("test_vit*", "test_resnet", "test_efficientnet*")


def test_shards_merged_equal_one_audit(audit, tmp_path):
    runs = {}
    for number in (1, 2):
        shard = audit(models=MODELS, claims=("builds",), shard=(number, 2), output=tmp_path / f"{number}.jsonl")
        shard.wait()
        runs[f"{number}.jsonl"] = read_run(tmp_path / f"{number}.jsonl")
    whole = audit(models=MODELS, claims=("builds",), output=tmp_path / "whole.jsonl")
    whole.wait()
    (tmp_path / "merged.jsonl").write_bytes(packed(merge(runs), compressed=False))
    assert all(run.records for run in runs.values())
    assert without_what_varies(tmp_path / "merged.jsonl") == without_what_varies(tmp_path / "whole.jsonl")
