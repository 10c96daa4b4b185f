"""This module holds mutants that count their calls where the globals of a file lead: in what functions keep, in arrays.

As in `tests.miniatures.mutants`, each was, or might have been, judged `holds`.
"""

import array
import contextvars
from collections.abc import Callable

from tests.miniatures.hidden import FewCalls
from tests.miniatures.mutants import breaks


def count_in_a_default(calls: list[int] = [0]) -> int:  # noqa: B006  # what this is about
    calls[0] += 1
    return calls[0]


def counting() -> Callable[[], int]:
    calls = 0

    def count() -> int:
        nonlocal calls
        calls += 1
        return calls

    return count


count_in_a_closure = counting()
CALLS: contextvars.ContextVar[int] = contextvars.ContextVar("CALLS", default=0)
WHOLE = array.array("q", [0])
BYTES = bytearray(1)


@breaks("head_composes")
class features_count_in_a_global_functions_default(FewCalls):
    def count(self) -> int:
        return count_in_a_default()


@breaks("head_composes")
class features_count_in_a_global_functions_closure(FewCalls):
    def count(self) -> int:
        return count_in_a_closure()


@breaks("head_composes")
class features_count_in_a_context_variable(FewCalls):
    def count(self) -> int:
        CALLS.set(CALLS.get() + 1)
        return CALLS.get()


@breaks("head_composes")
class features_count_in_a_global_array(FewCalls):
    def count(self) -> int:
        WHOLE[0] += 1
        return WHOLE[0]


@breaks("head_composes")
class features_count_in_global_bytes(FewCalls):
    def count(self) -> int:
        BYTES[0] += 1
        return BYTES[0]
