"""This module is the terminal that commands write to, or whatever stands in its place."""

from __future__ import annotations

from rich.console import Console


class Terminal(Console):
    """A console that raises where its reader is gone, as other streams do: rich would end the process with 1."""

    def on_broken_pipe(self) -> None:
        """Say so to the caller.

        Raises:
            BrokenPipeError: Always.
        """
        raise BrokenPipeError
