"""Fixtures of the claims' tests."""

from __future__ import annotations

import pytest
from timm.models import list_models

from tests.miniatures.registration import PREFIX


@pytest.fixture(autouse=True)
def registry_is_left_alone():
    yield
    assert not list_models(f"{PREFIX}*")
