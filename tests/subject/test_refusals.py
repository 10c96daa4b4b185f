"""Reading exceptions: who raised one, and what it says, however hostile it is."""

from __future__ import annotations

import pytest
import torch

from conformance.subject.refusals import LONGEST_SAID, is_raised_by_a_statement, said


def raised(call):
    with pytest.raises(Exception) as caught:
        call()
    return caught.value


def refuse_the_device():
    raise RuntimeError("only the device that I know")


@pytest.mark.parametrize(
    "call", [refuse_the_device, lambda: torch._check(False, lambda: "only that device"), lambda: [][0] or int("x")]
)
def test_a_statement_of_python_raises_and_what_it_calls_does_not(call):
    error = raised(call)
    assert is_raised_by_a_statement(error) is not isinstance(error, IndexError)


@pytest.mark.parametrize(
    "call",
    [
        lambda: torch.empty(2, 3, device="meta") @ torch.empty(2, 3, device="meta"),
        lambda: torch.empty(2, 3, device="meta") + torch.empty(4, device="meta"),
        lambda: torch.cat([torch.empty(1, 2, device="meta"), torch.empty(1, 3, device="meta")]),
        lambda: torch.ones(2, 3) @ torch.ones(2, 3),
        lambda: torch.nn.functional.conv2d(
            torch.empty(1, 3, 2, 2, device="meta"), torch.empty(1, 4, 1, 1, device="meta")
        ),
    ],
)
def test_a_kernel_is_no_statement_in_whatever_language_it_is_written(call):
    assert not is_raised_by_a_statement(raised(call))


class Hostile(Exception):
    def __str__(self):
        raise SystemError("no")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("one\ntwo\x1b[31m \ud800"), r"ValueError: one two\x1b[31m \ud800"),
        (Hostile(), "Hostile: a message that raises SystemError"),
        (KeyError(), "KeyError:"),
    ],
)
def test_what_an_exception_says_is_one_line_that_can_be_printed(error, words):
    assert said(error) == words
    assert said(error).encode()


def test_a_page_of_text_is_cut():
    assert len(said(ValueError("x" * 10_000))) == LONGEST_SAID
