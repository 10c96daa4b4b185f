"""This module decides claims by example: hypothesis chooses the images, and shrinks those that break a claim."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from random import Random
from typing import Any

from conformance.claims.claim import holds
from conformance.record import Cell, Evidence, Verdict
from conformance.subject.samples import Sample, Sizes

MOST_IMAGES = 3
"""Images in the largest batch that is tried."""
UNSWAYED = "timm-conformance"
"""The name under which hypothesis knows who chooses."""


def of_every(
    sizes: Sizes,
    named: Iterable[Sample],
    decide: Callable[[Sample], Cell],
    *,
    fewest_images: int = 1,
    chosen: int,
    evidence: Evidence,
) -> Cell:
    """The cell of a claim that must hold of the `named` samples and of so many `chosen` ones.

    If one breaks it, the cell is that of the smallest that breaks it: of few images, small, and contiguous.

    Raises:
        Exception: what `decide` raises of the smallest sample, with a note and a `witness` that say which that is.
    """
    known: dict[Sample, Cell | Exception] = {}

    def outcome(sample: Sample) -> Cell | Exception:
        if sample not in known:
            try:
                known[sample] = decide(sample)
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001  # kept, and raised if no smaller sample raises
                known[sample] = error.with_traceback(error.__traceback__)
        return known[sample]

    def breaks(sample: Sample) -> bool:
        found = outcome(sample)
        return isinstance(found, Exception) or found.verdict is not Verdict.HOLDS

    broken = next(filter(breaks, named), None)
    smallest = _smallest(sizes, breaks, fewest_images, chosen)
    broken = smallest if smallest is not None else broken
    if broken is None:
        return holds(evidence)
    found = outcome(broken)
    if isinstance(found, Exception):
        found.add_note(f"given {broken}")
        found.witness = {"sample": asdict(broken)}  # type: ignore[attr-defined]  # for its cell
        raise found
    return found


def _smallest(sizes: Sizes, breaks: Callable[[Sample], bool], fewest_images: int, chosen: int) -> Sample | None:
    """The smallest sample that breaks a claim, if one of `chosen` does."""
    # Imported late: whoever decides other claims does not wait for it.
    from hypothesis import HealthCheck, Phase, find, settings
    from hypothesis import strategies as st
    from hypothesis.errors import NoSuchExample
    from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, HypothesisProvider

    class Unswayed(HypothesisProvider):
        """Chooses by its generator alone.

        Hypothesis also draws numbers that it finds in the sources of whatever else the process has imported, and keeps
        them in the working directory. Here equal models must meet equal images everywhere.
        """

        def _maybe_draw_constant(self, *_: Any, **__: Any) -> None:
            return None

    AVAILABLE_PROVIDERS.setdefault(UNSWAYED, Unswayed)

    batches, formats, seeds = st.integers(fewest_images, MOST_IMAGES), st.booleans(), st.integers(0, 9)
    if sizes.is_fixed:
        strategy = st.builds(
            lambda size, *rest: Sample(rest[0], *size, *rest[1:]), st.sampled_from(sizes.named), batches, formats, seeds
        )
    else:
        heights, widths = st.sampled_from(sizes.heights), st.sampled_from(sizes.widths)
        strategy = st.builds(Sample, batches, heights, widths, formats, seeds)
    try:
        return find(
            strategy,
            breaks,
            random=Random(0),  # noqa: S311  # chooses examples
            settings=settings(
                backend=UNSWAYED,
                max_examples=chosen,
                database=None,
                deadline=None,
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
            ),
        )
    except NoSuchExample:
        return None
