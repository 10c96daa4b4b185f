"""This package is the gate: what was declared to be expected, and what of a run was not."""

from conformance.gate.expectations import (
    BrokenExpectations,
    Expectation,
    Expectations,
    OverlappingExpectations,
    UnknownClaim,
    load,
)
from conformance.gate.judgement import Finding, Judgement, StaleExpectation, judge, stale

__all__ = [
    "BrokenExpectations",
    "Expectation",
    "Expectations",
    "Finding",
    "Judgement",
    "OverlappingExpectations",
    "StaleExpectation",
    "UnknownClaim",
    "judge",
    "load",
    "stale",
]
