"""This module holds what a stretch of Python leaves when it is recorded: why nothing is proved by it, if so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from conformance.engine.operands import Strayed

_MARK = "_strayed"
"""What an exception is given that is raised for straying."""

WROTE_BEFORE = "memory from before the call was written"
"""A model that writes to its parameters, buffers or input computes something else at its next call."""

RANDOM = "random: "
"""How the reason begins why what a random operation gives is unknown."""


@dataclass
class Recording:
    """What became of one recorded stretch of Python: anything listed in `unprovable` voids its numbers as proofs."""

    unprovable: list[str] = field(default_factory=list)
    operations: int = 0
    known_before: int = 0
    """How many storages the ledger knew when the recording began."""
    writable: frozenset[int] = frozenset()
    """Addresses of storages from before that may be written: those of the call's own arguments."""
    made_here: dict[int, torch.UntypedStorage] = field(default_factory=dict)
    """Real memory that came up during the recording, by address."""
    is_numbered: bool = True
    """Whether results are numbered; if not, whatever is made or written is unknown."""
    strays: str | None = None
    """What real tensors may not do, where that is known: dtypes and shapes may be other ones too."""

    def void(self, why: str) -> None:
        """Say that nothing can be proved from this recording."""
        if why not in self.unprovable:
            self.unprovable.append(why)

    def stray(self, why: str, error: Exception | None = None) -> None:
        """Say that real tensors may go another way, so that not even dtypes and shapes are known.

        `error` is what is raised for that reason.
        """
        self.void(why)
        if self.strays is not None:
            return  # what is raised now may have come of that
        self.strays = why
        if error is not None:
            BaseException.__setattr__(error, _MARK, True)  # kept here, it would keep all that its traceback has

    @contextmanager
    def telling_what_came_of_straying(self) -> Iterator[None]:
        """Run the body, and take what it raises for what came of straying, if it had strayed before.

        Raises:
            Strayed: in place of that.
        """
        try:
            yield
        except Strayed:
            raise
        except Exception as error:
            if self.strays is None or _MARK in BaseException.__getattribute__(error, "__dict__"):
                raise
            raise Strayed(self.strays) from error
