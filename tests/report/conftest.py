"""Chromium, and pages opened in it: nothing may have been asked for, complained of or raised."""

from __future__ import annotations

import pytest

from conformance.report.page import page as rendered


@pytest.fixture
def opened(chromium, tmp_path):
    """Opens a run's page, perhaps at an address in it, perhaps with earlier runs; checks that it kept to itself."""
    contexts, heard = [], []

    def open_run(run, at="", *, earlier=(), **options):
        path = tmp_path / "page.html"
        path.write_text(rendered(run, earlier), encoding="utf-8")
        contexts.append(chromium.new_context(**options))
        tab = contexts[-1].new_page()
        tab.on("request", lambda request: request.url.startswith("file:") or heard.append(request.url))
        tab.on("pageerror", lambda error: heard.append(str(error)))
        tab.on("console", lambda message: heard.append(message.text))
        tab.goto(path.as_uri() + at)
        return tab

    yield open_run
    for context in contexts:
        context.close()
    assert heard == []


def until(tab, expression):
    """Wait until an expression is true in the page, whose policy forbids what Playwright's own waiting does."""
    for _ in range(600):
        if tab.evaluate(expression):
            return
        tab.wait_for_timeout(50)
    raise AssertionError(f"never true: {expression}")


MODELS = "#cells tbody tr:not(.f):not(.rest)"
"""Rows of models: neither of families nor the one at the end, which more rows take the place of."""


def shown(tab):
    """The names of the models whose rows are laid out."""
    return tab.locator(f"{MODELS} th").all_text_contents()


def focused(tab):
    """The text of what has the focus."""
    return tab.evaluate("document.activeElement.textContent.trim()")
