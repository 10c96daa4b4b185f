"""The page, in a real browser: it opens from disk, answers mouse and keyboard, and runs nobody's text."""

from __future__ import annotations

import shutil
import time

import msgspec
import pytest
from playwright.sync_api import Error, sync_playwright

from conformance.record import Cell, Evidence, Record, Remedy, Verdict
from conformance.report.page import page as rendered
from tests.report.synthetic import entries, finished, one_cell, run_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = (
    "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">'\"&amp;\x00\u202e"
)


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
            )
        except Error as error:
            pytest.skip(f"needs Chromium ({error.message.splitlines()[0]})")
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, tmp_path):
    """Opens a run's page; afterwards nothing may have been asked for, complained of or raised."""
    contexts, heard = [], []

    def open_run(run, **options):
        path = tmp_path / "page.html"
        path.write_text(rendered(run), encoding="utf-8")
        contexts.append(chromium.new_context(**options))
        tab = contexts[-1].new_page()
        tab.on("request", lambda request: request.url.startswith("file:") or heard.append(request.url))
        tab.on("pageerror", lambda error: heard.append(str(error)))
        tab.on("console", lambda message: heard.append(message.text))
        tab.goto(path.as_uri())
        return tab

    yield open_run
    for context in contexts:
        context.close()
    assert heard == []


def shown(tab):
    return tab.locator("#cells tbody tr:not([hidden])")


def test_words_find_models_by_name_module_and_class(opened):
    tab = opened(run_of(40))
    assert shown(tab).count() == 40
    tab.fill("#words", "VIT tiny")
    names = tab.locator("#cells tbody tr:not([hidden]) th").all_text_contents()
    assert names
    assert all("vit" in name and "tiny" in name for name in names)
    assert tab.text_content("#shown") == f"{len(names)} of 40 models"
    tab.fill("#words", "TinyVit")
    assert shown(tab).count() == 4
    tab.fill("#words", ".*[(")
    assert shown(tab).count() == 0
    assert tab.is_visible(".none")
    tab.click("text=Clear")
    tab.wait_for_selector("#cells tbody tr[hidden]", state="detached")
    assert tab.text_content("#shown") == "40 models"


def test_verdicts_filter_by_one_claim_or_any(opened):
    run = run_of(40)
    tab = opened(run)
    tab.select_option("#verdict", "v")
    faulty = [
        record.model for record in run.records if any(c.verdict is Verdict.VIOLATED for c in record.cells.values())
    ]
    assert tab.locator("#cells tbody tr:not([hidden]) th").all_text_contents() == faulty
    claim = next(name for name, cell in run.records[7].cells.items() if cell.verdict is Verdict.HOLDS)
    tab.select_option("#claim", claim)
    faulty = [record.model for record in run.records if record.cells[claim].verdict is Verdict.VIOLATED]
    assert tab.locator("#cells tbody tr:not([hidden]) th").all_text_contents() == faulty


def test_a_cell_says_its_reason_when_clicked_and_when_pointed_at(opened):
    cell = Cell(
        verdict=Verdict.VIOLATED, evidence=Evidence.MEASURED, reason="it is off", cause="c1", witness={"error": 0.5}
    )
    tab = opened(one_cell(cell))
    spot = tab.locator("#cells tbody td.vm")
    spot.hover()
    assert spot.get_attribute("title") == "scripts: violated (measured). it is off"
    spot.click()
    said = tab.text_content("#said")
    for words in ("shvit_s1: scripts", "violated (measured)", "it is off", "error: 0.5", "Claim (must)", "Cause c1"):
        assert words in said
    tab.click("#close")
    assert tab.is_hidden("#details")


def test_a_remedy_is_shown_as_code_to_copy(opened):
    code = "with hook:\n    logits = model(x)"
    remedy = Remedy(text="Do it by hand.", code=code, evidence=Evidence.PROVED)
    tab = opened(one_cell(Cell(verdict=Verdict.VIOLATED, evidence=Evidence.OBSERVED, reason="r", remedy=remedy)))
    tab.click("#cells tbody td.vo")
    assert "Instead (proved): Do it by hand." in tab.text_content("#said")
    assert tab.text_content("#said pre") == code
    tab.click("#cells tbody th")
    assert "Instead (proved): Do it by hand." in tab.text_content("#said .all")


def test_a_models_name_says_its_facts_and_all_of_its_claims_faults_first(opened):
    run = run_of(1)
    cells = {**run.records[0].cells, "keeps_dtype": Cell(verdict=Verdict.UNDECIDED, reason="who knows")}
    cells["builds"] = Cell(verdict=Verdict.HOLDS, evidence=Evidence.PROVED)
    tab = opened(finished([msgspec.structs.replace(run.records[0], cells=cells)], run.header.claims))
    tab.click("#cells tbody th")
    assert "3\N{MULTIPLICATION SIGN}224" in tab.text_content("#said .facts")
    items = tab.locator("#said .all code").all_text_contents()
    assert sorted(items) == sorted(cells)
    assert items.index("keeps_dtype") < items.index("builds")


def test_the_keyboard_alone_reaches_every_reason(opened):
    run = run_of(3)
    tab = opened(run)
    tab.focus("#cells tbody [tabindex='0']")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Enter")
    model, claim = run.records[1].model, run.header.claims[1].id
    assert tab.text_content("#said h3") == f"{model}: {claim}"
    tab.keyboard.press("End")  # the details follow
    assert tab.text_content("#said h3") == f"{model}: {run.header.claims[-1].id}"
    tab.keyboard.press("Home")
    assert tab.text_content("#said h3") == model
    tab.keyboard.press("Escape")
    assert tab.is_hidden("#details")
    assert tab.evaluate("document.activeElement.textContent") == model


def test_no_text_of_a_record_runs(opened):
    remedy = Remedy(text=HOSTILE, code=HOSTILE, evidence=Evidence.PROVED)
    cell = Cell(
        verdict=Verdict.VIOLATED, evidence=Evidence.OBSERVED, reason=HOSTILE, cause=HOSTILE, remedy=remedy,
        witness={HOSTILE: HOSTILE},
    )  # fmt: skip
    claim = msgspec.structs.replace(
        entries(["scripts"])[0], id=f"s{HOSTILE}", text=f"`{HOSTILE}` {HOSTILE}", group=HOSTILE
    )
    record = Record(model=f"m{HOSTILE}", module=HOSTILE, class_name=HOSTILE, cells={claim.id: cell})
    run = finished([record], (claim,))
    run = msgspec.structs.replace(
        run,
        header=msgspec.structs.replace(
            run.header, timm=HOSTILE, torch=HOSTILE, python=HOSTILE, started=HOSTILE, suite=HOSTILE
        ),
    )
    tab = opened(run)
    tab.click("#cells tbody td.vo")
    tab.hover("#cells tbody td.vo")
    tab.click("#cells tbody th")
    tab.fill("#words", HOSTILE.replace("\x00", ""))
    assert "owned" not in tab.title().replace("document.title='owned'", "")
    assert tab.locator("img").count() == 0
    assert tab.locator("script").count() == 2
    assert "<img src=x" in tab.text_content("#said")


def test_the_policy_forbids_scripts_that_are_not_the_pages_own(chromium, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(rendered(run_of(1)).replace("</body>", "<script>document.title='owned'</script></body>"))
    tab = chromium.new_page()
    tab.goto(path.as_uri())
    assert tab.title() != "owned"
    tab.close()


def test_without_javascript_the_table_and_the_causes_are_there(opened):
    run = run_of(5)
    tab = opened(run, java_script_enabled=False)
    assert tab.locator("#cells tbody tr").count() == 5
    assert tab.locator("#cells tbody td:not(.t)").count() == 5 * 25
    assert tab.is_hidden("form")
    assert tab.is_hidden("#details")
    assert "the value numbers differ" in tab.text_content(".causes")
    assert "for every weight" in tab.text_content("main")


@pytest.mark.parametrize("width", [360, 800, 1400])
def test_the_page_itself_never_scrolls_sideways(opened, width):
    tab = opened(run_of(20), viewport={"width": width, "height": 800})
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.locator("#cells tbody td.h, #cells tbody td.hp").first.click()
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_the_header_and_the_names_stay_in_sight(opened):
    tab = opened(run_of(200), viewport={"width": 700, "height": 800})
    tab.evaluate("document.querySelector('.matrix').scrollTo(300, 2000)")
    box = tab.locator(".matrix").bounding_box()
    assert tab.locator("#cells thead").bounding_box()["y"] == pytest.approx(box["y"], abs=2)
    assert tab.locator("#cells tbody th").nth(100).bounding_box()["x"] == pytest.approx(box["x"], abs=2)


def luminance(color):
    channels = [int(part) / 255 for part in color[color.index("(") + 1 : -1].split(",")[:3]]
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_verdicts_can_be_read_in_light_and_in_dark(opened, scheme):
    tab = opened(run_of(40), color_scheme=scheme)
    for kind in ("hp", "ho", "vo", "u", "n"):
        spot = tab.locator(f"#cells tbody td.{kind}").first
        color, ground = spot.evaluate("node => [getComputedStyle(node).color, getComputedStyle(node).backgroundColor]")
        light, dark = sorted((luminance(color), luminance(ground)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (kind, color, ground)
    ground = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (luminance(ground) > 0.5) is (scheme == "light")


def test_a_whole_run_renders_in_seconds_and_fits_in_three_megabytes():
    run = run_of(1371)
    begun = time.perf_counter()
    text = rendered(run)
    seconds = time.perf_counter() - begun
    assert len(text.encode()) < 3 * 2**20
    assert seconds < 10  # 0.2 s when nothing else runs


def test_equal_runs_give_equal_pages():
    assert rendered(run_of(10)) == rendered(run_of(10))
