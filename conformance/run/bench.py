"""This module is what a process needs to decide items, each made when it is first asked for."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from conformance.run import chosen as choice
from conformance.run.chosen import Chosen
from conformance.run.sentinels import Sentinels

if TYPE_CHECKING:
    from conformance.claims import Claim
    from conformance.gate.expectations import Expectation, Expectations
    from conformance.run.examiner import Examiner
    from conformance.run.parcel import Parcel

INPUT = "timm_conformance"
"""The key in xdist's `workerinput`: what the controller chose, and the directory it shares with its workers."""


class WorkerInput(msgspec.Struct, frozen=True):
    """What a controller tells its workers, so that all collect the same."""

    chosen: Chosen
    directory: str
    controller: int
    """Process id."""


class Bench:
    """Everything that items of one pytest session share."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._chosen: Chosen | None = None

    @cached_property
    def worker_input(self) -> WorkerInput | None:
        """What the controller said, in a worker; None in a process that decides alone."""
        sent: dict[str, Any] = getattr(self._config, "workerinput", {})
        return msgspec.json.decode(sent[INPUT], type=WorkerInput) if INPUT in sent else None

    def chosen(self) -> Chosen:
        """What is decided in this session.

        Raises:
            pytest.UsageError: An option names something that does not exist.
        """
        if self._chosen is None:
            if self.worker_input is None:
                self._chosen = choice.choose(self._config)
            else:
                _end_with(self.worker_input.controller)
                choice.prepare(self._config)
                self._chosen = self.worker_input.chosen
        return self._chosen

    def narrow(self, chosen: Chosen) -> None:
        """Decide less than the options choose: what is left of an unfinished run."""
        self._chosen = chosen

    def prepare(self) -> None:
        """Import what deciding needs, now."""
        assert self.examiner is not None

    def parcel(self, model: str, claim_id: str) -> Parcel:
        """The cell, decided now; with a subject's last claim come its facts, when what they need is mostly traced."""
        broken = self._before(model)
        parcel = self.examiner.parcel(model, claim_id, describe=claim_id == self.chosen().claims[-1])
        return msgspec.structs.replace(parcel, broken=broken) if broken else parcel

    def _before(self, model: str) -> tuple[str, ...]:
        """What came out wrong of sentinels, if it was time to look before this model.

        After a model that changed what all share they are decided as at an end, and a fresh process goes on.
        """
        if self.sentinels.is_at(model):
            return ()
        self.examiner.close()
        if self.examiner.changed and self.examiner.is_replaced:
            broken = self._decided_last()
            if not broken:  # or it would not be told
                self.examiner.leave()
            self.examiner.changed.clear()
            return broken + self.sentinels.before(model)
        return self.sentinels.before(model)

    def _decided_last(self) -> tuple[str, ...]:
        """What came out wrong of sentinels after a model; a process that is not what it was vouches for nothing."""
        return self.sentinels.heard() if self.examiner.is_as_before else ()

    @cached_property
    def sentinels(self) -> Sentinels:
        """Those that this process decides."""
        return Sentinels(
            self.chosen().claims, lambda name, claim_id: self.examiner.parcel(name, claim_id, describe=False).cell
        )

    def last_words(self) -> tuple[str, ...] | None:
        """What came out wrong of sentinels that are decided after the last model; None where no model was decided.

        One that ends a process in which a model left something for good that changes others is heard no more.
        """
        if "sentinels" not in self.__dict__:
            return None
        self.examiner.close()
        return self._decided_last() if self.sentinels.are_due else ()

    def claim(self, claim_id: str) -> Claim:
        """The claim of that id."""
        from conformance.claims import CLAIMS

        return CLAIMS[claim_id]

    def expectation(self, model: str, claim_id: str) -> Expectation | None:
        """What is expected of the cell, or None for `holds`."""
        return self.expectations.for_cell(model, claim_id, **self._versions)

    @cached_property
    def expectations(self) -> Expectations:
        """The expectations in force."""
        return choice.expectations(self._config)

    @cached_property
    def _versions(self) -> dict[str, str]:
        return choice.versions()

    @cached_property
    def examiner(self) -> Examiner:
        """The one who decides, made after everything is imported."""
        from conformance.run.examiner import Examiner, Post

        post = None
        if self.worker_input is not None:
            worker: str = self._config.workerinput["workerid"]  # type: ignore[attr-defined]  # xdist sets it
            post = Post(Path(self.worker_input.directory), worker)
        return Examiner(
            timeout=self._config.getoption("timm_timeout"),
            memory=self._config.getoption("timm_memory"),
            post=post,
            watch=_real_stderr(self._config) if post is None else -1,
        )

    def close(self) -> None:
        """Let go of the subject at hand."""
        if "examiner" in self.__dict__:
            self.examiner.close()


def _real_stderr(config: pytest.Config) -> int:
    """A descriptor of the standard error behind pytest's capture: what the watchdog writes there outlives us."""
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is None:
        return os.dup(sys.__stderr__.fileno() if sys.__stderr__ else 2)
    with capture.global_and_fixture_disabled():
        return os.dup(2)


def _end_with(controller: int) -> None:
    """Have the system end this worker when its controller is no more, even if it is lost in a C call."""
    if os.getppid() != controller:
        return  # started by way of another process, which execnet looks after
    end_with_parent(controller)


def end_with_parent(parent: int) -> None:
    """Ask Linux to kill this process when its parent ends; elsewhere nothing can be asked."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes
    import signal

    set_parent_death_signal = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(set_parent_death_signal, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it ended before we asked
        os.kill(os.getpid(), signal.SIGKILL)
