"""Examples are chosen alike everywhere, and the one that is told is the smallest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conformance.claims.claim import holds, violated
from conformance.claims.examples import of_every
from conformance.record import Evidence, Verdict
from conformance.subject.samples import Sample, Sizes

ANY = Sizes(((224, 224), (256, 256)), range(128, 321, 32), range(128, 321, 32))
FIXED = Sizes(((224, 224),), range(0), range(0))

CHOSEN = """
import mine
from conformance.claims.claim import holds
from conformance.claims.examples import of_every
from conformance.record import Evidence
from conformance.subject.samples import Sizes

def decide(sample):
    print(sample, sample.seed)
    return holds(Evidence.OBSERVED)

of_every(Sizes(((224, 224),), range(32, 2049, 32), range(32, 2049, 32)), [], decide, chosen=200,
         evidence=Evidence.OBSERVED)
"""


def told(keeps, sizes=ANY, chosen=20):
    """The cell, and the samples that were tried."""
    tried = []

    def decide(sample):
        tried.append(sample)
        return holds(Evidence.OBSERVED) if keeps(sample) else violated(f"breaks for {sample}")

    named = [Sample(batch, *size) for size in sizes.named for batch in (1, 2)]
    return of_every(sizes, named, decide, chosen=chosen, evidence=Evidence.OBSERVED), tried


@pytest.mark.parametrize(
    ("keeps", "smallest"),
    [
        (lambda sample: sample.height <= 224, Sample(1, 256, 128)),
        (lambda sample: sample.height == sample.width, Sample(1, 128, 160)),
        (lambda sample: sample.batch < 3, Sample(3, 128, 128)),
        (lambda sample: not sample.channels_last, Sample(1, 128, 128, channels_last=True)),
    ],
    ids=["large", "oblong", "many", "channels_last"],
)
def test_the_smallest_that_breaks_the_claim_is_told(keeps, smallest):
    cell, _ = told(keeps)
    assert cell.verdict is Verdict.VIOLATED
    assert cell.reason == f"breaks for {smallest}"


def test_an_exception_is_that_of_the_smallest_and_says_which_it_is():
    def decide(sample):
        if sample.width > 160:
            raise ValueError(f"too wide: {sample.width}")
        return holds(Evidence.OBSERVED)

    with pytest.raises(ValueError, match="too wide: 192") as raised:
        of_every(ANY, [Sample(2, 224, 224)], decide, chosen=20, evidence=Evidence.OBSERVED)
    assert raised.value.witness == {
        "sample": {"batch": 1, "height": 128, "width": 192, "channels_last": False, "seed": 0}
    }


def test_where_the_size_is_fixed_no_other_is_tried():
    cell, tried = told(lambda _: True, FIXED)
    assert cell.verdict is Verdict.HOLDS
    assert {(sample.height, sample.width) for sample in tried} == {(224, 224)}
    assert {sample.channels_last for sample in tried} == {True, False}


def test_what_the_users_modules_hold_changes_no_choice_and_nothing_is_written(tmp_path):
    """Hypothesis draws constants from the sources that it finds imported, and keeps them beside them."""
    said = []
    for numbers in ("", "A, B, C = 7, 13, 29\n"):
        directory = tmp_path / str(len(said))
        directory.mkdir()
        (directory / "mine.py").write_text(numbers)
        ended = subprocess.run(
            [sys.executable, "-B", "-c", CHOSEN], cwd=directory, capture_output=True, text=True, check=True,
            env={"PATH": "", "PYTHONPATH": f"{directory}:{Path(__file__).parents[2]}"},
        )  # fmt: skip
        said.append(ended.stdout)
        assert [path.name for path in directory.iterdir()] == ["mine.py"]
    assert said[0] == said[1]
    assert said[0].count("\n") > 100
