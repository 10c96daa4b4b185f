"""This module writes a run for programs: one JSON document with a summary and every cell."""

from __future__ import annotations

import msgspec

from conformance.record import Run
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
