"""What was fuzzed is told at the end, by surface."""

from __future__ import annotations

import functools

import pytest

from conformance.report import index, page
from tests.hostile.attacks import tried


@pytest.fixture(autouse=True)
def told(record_property):
    """Says with each test that fuzzes how many inputs it tried; the terminal's summary prints what is `measured`."""
    tried.clear()
    yield
    for surface, number in tried.items():
        record_property("measured", f"{number} hostile inputs: {surface}")
        print(f"{number} hostile inputs: {surface}")


@pytest.fixture(autouse=True)
def templates_are_compiled_once(monkeypatch):
    """A command renders a page or two; a test hundreds."""
    made = functools.cache(page.environment)
    for module in (page, index):
        monkeypatch.setattr(module, "environment", made)


def pytest_collection_modifyitems(items):
    """What fails is told whole, though it is long."""
    for item in items:
        if "hostile" in item.path.parts:
            item.add_marker(pytest.mark.filterwarnings("ignore:Generating overly large repr"))
