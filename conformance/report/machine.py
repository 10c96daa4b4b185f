"""This module writes a run for programs: one JSON document with a summary and every cell, or a badge."""

from __future__ import annotations

import msgspec

from conformance.record import Run, printable
from conformance.report.overview import overview


def as_json(run: Run) -> bytes:
    """The run as one line of JSON: `header`, `summary` (counts and causes) and `models` with their cells by claim."""
    seen = overview(run)
    document = {
        "header": run.header,
        "summary": {
            "models": len(run.records),
            "faultless": seen.faultless,
            "verdicts": seen.verdicts,
            "evidence": seen.evidence,
            "levels": seen.by_level,
            "claims": seen.by_claim,
            "causes": [
                {
                    "cause": cause.digest,
                    "verdict": cause.verdict,
                    "claims": cause.claim_ids,
                    "models": cause.models,
                    "reason": cause.reason,
                }
                for cause in seen.causes
            ],
        },
        "models": run.records,
    }
    return msgspec.json.encode(document, order="sorted") + b"\n"


def badge(run: Run) -> bytes:
    """What shields.io draws a badge from (https://shields.io/badges/endpoint-badge): how many models are faultless."""
    faultless, models = overview(run).faultless, len(run.records)
    share = faultless / models if models else 0.0
    colour = "brightgreen" if share == 1 else "green" if share >= 0.9 else "yellow" if share >= 0.5 else "red"
    drawn = {
        "schemaVersion": 1,
        "label": printable(f"timm {run.header.timm} contract"),
        "message": f"{faultless} of {models} models keep it",
        "color": colour,
    }
    return msgspec.json.encode(drawn, order="sorted") + b"\n"
