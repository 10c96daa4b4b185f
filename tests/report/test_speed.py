"""How fast the page is, with as many models and claims as timm has: measured, printed, and hardly asserted."""

from __future__ import annotations

import statistics
import time

import msgspec

from conformance.report.page import page as rendered
from tests.report.conftest import until
from tests.report.synthetic import before, entries, run_of

MODELS, CLAIMS = 1371, 34
QUESTION = "vit params<30M scripts:holds"
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
KEYSTROKE = """() => new Promise(done => {
    const asked = document.getElementById("q");
    asked.addEventListener("input", () => {
        const begun = performance.now();
        requestAnimationFrame(() => setTimeout(() => done(performance.now() - begun)));
    }, { once: true, capture: true });
})"""


def test_a_whole_run_is_rendered_and_answers_at_once(opened, record_property):
    claims = entries()
    more = [msgspec.structs.replace(one, id=f"{one.id}_again") for one in claims[: CLAIMS - len(claims)]]
    run = run_of(MODELS, (*claims, *more))
    earlier = before(run)
    begun = time.perf_counter()
    text = rendered(run, [earlier])
    rendering = time.perf_counter() - begun
    tab = opened(run, earlier=[earlier])
    until(tab, PAINT)
    paint = tab.evaluate(PAINT)
    tab.focus("#q")
    strokes = []
    for letter in QUESTION:
        answered = tab.evaluate_handle(f"() => {{ window.answered = ({KEYSTROKE})(); }}")
        tab.keyboard.type(letter)
        strokes.append(tab.evaluate("window.answered"))
        answered.dispose()
    megabytes, usual, longest = len(text.encode()) / 2**20, statistics.median(strokes), max(strokes)
    record_property(
        "measured",
        f"a page of {MODELS} models and {len(run.header.claims)} claims: rendered in {rendering:.2f} s, "
        f"{megabytes:.2f} MiB, first paint {paint:.0f} ms, a keystroke {usual:.0f} ms, at most {longest:.0f} ms",
    )
    assert megabytes < 3
    assert rendering < 20
    assert paint < 10_000
    assert usual < 1_000
