"""Runs made up for tests: lawful, of any size, the same at every call."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

import msgspec

from conformance.record import (
    Cell,
    ClaimEntry,
    Evidence,
    Footer,
    Header,
    Level,
    Record,
    Run,
    Tier,
    Verdict,
    count,
    encode,
)

CLAIMS = {
    "head": "builds forward_features_runs features_width pre_logits_supported pre_logits_pooled head_composes "
    "classifier_consistent head_is_pure pooled_width_is_num_features",
    "classifier": "reset_to_pooled built_headless "
    " reset_to_classes reset_keeps_placement unpooled_reset classifier_named",
    "torchscript": "scripts script_matches script_pre_logits script_round_trips",
    "properties": "deterministic_in_eval uses_all_parameters keeps_dtype batch_independent accepts_sizes fx_traces",
}
MUST = {name for names in CLAIMS.values() for name in names.split()} - {"pooled_width_is_num_features"}
REASONS = (
    ("RuntimeError: Expected a proper Tensor but got None for argument 'self' in attention_pool.py", "c0ffee12"),
    ("forward_head applies the norm a second time, so route 2 differs from route 1", "0badcafe"),
    (
        "NotSupportedError: Compiled functions can't take variable number of arguments: forward_intermediates(*args)",
        "feed1234",
    ),
    ("get_classifier() returns a tuple of two heads, which cannot be called", "ab12cd34"),
)
FAMILIES = ("vit", "resnet", "convnext", "swin", "levit", "efficientnet", "hgnet", "mobilenetv4", "tiny_vit", "beit3")


def entries(ids: Iterable[str] | None = None) -> tuple[ClaimEntry, ...]:
    """The header's claims; all of the made-up ones, or those called `ids`."""
    wanted = None if ids is None else set(ids)
    return tuple(
        ClaimEntry(
            id=claim_id,
            text=f"The model keeps what `{claim_id}` says, with `forward_head(features, pre_logits=True)`.",
            group=group,
            level=Level.SIGNAL if claim_id == "pooled_width_is_num_features" else Level.MUST,
            tier=Tier.CORE,
            needs=() if claim_id == "builds" else ("builds",),
            source="timm documentation: feature extraction",
            why=f"Whoever serves a model calls `{claim_id}`.",
        )
        for group, names in CLAIMS.items()
        for claim_id in names.split()
        if wanted is None or claim_id in wanted
    )


def finished(records: Iterable[Record], claims: tuple[ClaimEntry, ...]) -> Run:
    """A whole run of these records."""
    records = tuple(sorted(records, key=lambda record: record.model))
    header = Header(
        suite="0.1.0", timm="1.0.31", torch="2.14.1", python="3.11.7", tier=Tier.CORE,
        started="2026-11-24T03:42:00+00:00", subjects=len(records), claims=claims,
    )  # fmt: skip
    return Run(header=header, records=records, footer=Footer(subjects=len(records), verdicts=count(records)))


def one_cell(cell: Cell, model: str = "shvit_s1", claim_id: str = "scripts") -> Run:
    """The smallest run: one model, one claim."""
    return finished(
        [Record(model=model, module="shvit", class_name="SHViT", cells={claim_id: cell})], entries([claim_id])
    )


def run_of(models: int, claims: tuple[ClaimEntry, ...] | None = None) -> Run:
    """A run of the shape that a real one has: most cells hold, faults come in families."""
    claims = entries() if claims is None else claims
    chance = random.Random(5)
    records = []
    for number in range(models):
        family = FAMILIES[number % len(FAMILIES)]
        cells = {entry.id: _cell(entry.id, family, chance) for entry in claims}
        records.append(
            Record(
                model=f"{family}_{('tiny', 'small', 'base', 'large')[number % 4]}_patch16_{number}.augreg_in21k",
                module=family, class_name=family.title().replace("_", ""), params=chance.randrange(10**6, 10**9),
                input_size=(3, 224, 224), batch_size=2, num_features=768, head_hidden_size=768,
                fingerprints={name: f"{number:08x}{name}" for name in ("features", "pre_logits", "logits")},
                shapes={"features": ((2, 197, 768),), "pre_logits": ((2, 768),), "logits": ((2, 1000), (2, 10))},
                source=f"timm/models/{family}.py:{number + 1}", cost={"builds": 0.1}, cells=cells,
            )
        )  # fmt: skip
    return finished(records, claims)


def before(run: Run, timm: str = "1.0.25") -> Run:
    """A run of an earlier timm, made of a later one: of the first models one was not there, one kept a claim that the
    later breaks, one broke a claim that the later keeps, one computed something else and one had another width; and
    there was a model that is gone.
    """
    new, broken, mended, drifted, wider, *others = run.records
    broken = _with(broken, Verdict.VIOLATED, Cell(verdict=Verdict.HOLDS, evidence=Evidence.PROVED))
    mended = _with(
        mended, Verdict.HOLDS, Cell(verdict=Verdict.VIOLATED, evidence=Evidence.OBSERVED, reason="it was bad")
    )
    drifted = msgspec.structs.replace(drifted, fingerprints={**drifted.fingerprints, "features": "another"})
    wider = msgspec.structs.replace(wider, num_features=1024)
    gone = msgspec.structs.replace(new, model="gone_model")
    earlier = finished([gone, broken, mended, drifted, wider, *others], run.header.claims)
    return msgspec.structs.replace(earlier, header=msgspec.structs.replace(earlier.header, timm=timm))


def _with(record: Record, verdict: Verdict, cell: Cell) -> Record:
    """The record with another first must cell of those that have a verdict."""
    claim_id = next(name for name, one in record.cells.items() if one.verdict is verdict and name in MUST)
    return msgspec.structs.replace(record, cells={**record.cells, claim_id: cell})


def _cell(claim_id: str, family: str, chance: random.Random) -> Cell:
    draw = chance.random()
    if draw < 0.05:
        reason, cause = REASONS[(FAMILIES.index(family) + len(claim_id)) % len(REASONS)]
        witness = {"max_relative_error": round(chance.random(), 3)} if draw < 0.02 else None
        return Cell(
            verdict=Verdict.VIOLATED, evidence=Evidence.OBSERVED, reason=f"{claim_id}: {reason}",
            cause=f"{cause}{claim_id}", witness=witness,
        )  # fmt: skip
    if draw < 0.07:
        return Cell(verdict=Verdict.UNDECIDED, reason="the value numbers differ and nothing was measured", cause="u1")
    if draw < 0.12:
        return Cell(verdict=Verdict.NOT_APPLICABLE, reason="needs builds, which does not hold")
    return Cell(verdict=Verdict.HOLDS, evidence=Evidence.PROVED if draw < 0.9 else Evidence.OBSERVED)


def write(run: Run, path: Path) -> Path:
    """The run as a record file at `path`."""
    path.write_bytes(b"".join(map(encode, (run.header, *run.records, run.footer))))
    return path
