"""Fixtures of the subject's tests: subjects of miniatures, closed and unregistered afterwards."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.miniatures.registration import examining


@pytest.fixture
def subject_of():
    """Makes the subject of a miniature."""
    with ExitStack() as stack:
        yield lambda make, name=None: stack.enter_context(examining(make, name)).subject
