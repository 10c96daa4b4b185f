"""This module decides items inside one process: subject by subject, each step written down and watched.

What a model does to its process is met here. What raises, short of ending the process, `conformance.decide` turns
into a verdict; the rest (exits, interrupts, memory, hangs) ends the step, and if there is a controller to start a
fresh process, the step is repeated there once.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import resource
import signal
import stat
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType

import psutil

from conformance.claims import CLAIMS
from conformance.claims.claim import undecided
from conformance.decide import Examination, Shapes, cell_of, leave_out_threads
from conformance.record import Cell, Record, Verdict, printable
from conformance.run import blackbox, peak
from conformance.run.crashes import GAVE_UP, Entry, Reader
from conformance.run.parcel import Parcel, clipped
from conformance.subject.sentinels import is_sentinel, registered
from conformance.subject.surroundings import Surroundings


@dataclass(frozen=True)
class Post:
    """Where a worker of xdist leaves word and reads of the dead: its name, and the directory that it shares."""

    directory: Path
    worker: str


def receivers() -> set[int]:
    """Threads that bring this worker its work: they wait for xdist's controller, and none serves a model."""

    def is_receiver(frame: FrameType | None) -> bool:
        while frame is not None:
            if frame.f_code.co_name == "_thread_receiver" and frame.f_globals.get("__name__") == "execnet.gateway_base":
                return True
            frame = frame.f_back
        return False

    return {thread for thread, frame in sys._current_frames().items() if is_receiver(frame)}


def pipes() -> list[int]:
    """Descriptors of pipes that are open now, standard streams apart: in a worker, those to xdist's controller."""
    found = []
    for descriptor in map(int, os.listdir("/dev/fd")):  # noqa: PTH208  # numbers, and no files
        with suppress(OSError):  # the one that listed them
            if descriptor > 2 and stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                found.append(descriptor)
    return found


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        with suppress(OSError):
            os.close(descriptor)


class Examiner:
    """Decides cells of one subject after another. `timeout` is in seconds for each step, `memory` in GB or None."""

    def __init__(self, *, timeout: float, memory: float | None, post: Post | None, watch: int) -> None:
        self._timeout = timeout
        self._deaths = Reader(post.directory) if post else None
        self._box = blackbox.BlackBox(post.directory, post.worker) if post else None
        self._trace = self._box.trace if self._box else watch
        self._model = ""
        self._shapes = Shapes()
        self._examination: Examination | None = None
        self._entered = ExitStack()
        """The sentinel at hand in timm's registry."""
        self._surroundings = Surroundings()
        self.changed: list[str] = []
        """What a subject changed of what all share; it is put back as far as that can be done."""
        self._changed_by = ""
        self.is_as_before = True
        """Whether it could be."""
        self._interrupted = False
        self._out_of_memory = cell_of(MemoryError()).cause
        if self._box is not None:
            self._settle_in()
        self._room = None if memory is None else _room(memory)
        self._note(blackbox.Entry(step=blackbox.IDLE))

    def _settle_in(self) -> None:
        """What is done to a process that is a worker's own, and not to one that runs other people's tests."""
        leave_out_threads(receivers())
        # Or what a model forks and leaves behind would keep the controller from seeing this process end.
        os.register_at_fork(after_in_child=partial(_close, pipes()))
        if not faulthandler.is_enabled():
            faulthandler.enable(file=self._trace, all_threads=True)
        # What is alive now stays alive: hundreds of thousands of objects that no later collection looks at again.
        gc.collect()
        gc.freeze()

    def parcel(self, model: str, claim_id: str, *, describe: bool) -> Parcel:
        """Decide one claim of a subject; with `describe`, gather its facts as well."""
        entry = self._deaths.entry(model) if self._deaths else Entry()
        examination = self._opened(model, entry)
        before = dict(examination.cost)
        cell = self._settled(examination, claim_id, entry)
        facts = self._described(examination, entry) if describe else None
        self._note(blackbox.Entry(step=blackbox.IDLE))
        cost = {step: seconds for step, seconds in examination.cost.items() if before.get(step) != seconds}
        cost = {step: round(seconds, 3) for step, seconds in cost.items()}
        cost["peak_mb"] = peak.megabytes()
        return Parcel(model=model, claim=claim_id, cell=clipped(cell), facts=facts, cost=cost)

    def close(self) -> None:
        """Let go of the subject at hand, if there is one."""
        examination, self._examination = self._examination, None
        if examination is not None:
            with self._watched(blackbox.CLOSING):
                examination.close()
                del examination
                self._entered.close()
                gc.enable()
                gc.collect()
            if changed := self._surroundings.changed():
                self.changed, self._changed_by = changed, self._model
                self._surroundings.put_back()
                self.is_as_before = not self._surroundings.changed()
            self._note(blackbox.Entry(step=blackbox.IDLE))

    def _opened(self, model: str, entry: Entry) -> Examination:
        if self._examination is not None and self._model == model:
            # Another worker may have died of this subject since it was opened here.
            self._examination.cells.update(entry.cells)
            return self._examination
        self.close()
        if self._surroundings.changed():  # by others, between two subjects, or for good
            self._surroundings = Surroundings()
        self._model = model
        peak.forget()
        with self._watched(next(iter(CLAIMS))):
            # Subjects are what lies in cycles: they are collected when they are closed, not while they are decided.
            gc.disable()
            if is_sentinel(model):
                self._entered.enter_context(registered(model))
            self._examination = Examination(model, known=entry.cells, shapes=self._shapes)
        return self._examination

    @property
    def is_replaced(self) -> bool:
        """Whether a fresh process takes over from one that ends."""
        return self._box is not None

    def leave(self) -> None:
        """Have a fresh process go on after a subject that changed what all share.

        Putting it back is not enough: modules that changed it when they were imported do not do so again here, which
        others of theirs rely on.
        """
        note = f"came after {self._changed_by}, which changed {' and '.join(self.changed[:3])} in its process"
        self._note(blackbox.Entry(step=blackbox.CLOSING, model=self._changed_by, note=note))
        os._exit(GAVE_UP)

    def _settled(self, examination: Examination, claim_id: str, entry: Entry) -> Cell:
        """The cell of a claim, its prerequisites one by one before it, so that a death is laid to the right one."""
        if claim_id not in examination.cells:
            for need in CLAIMS[claim_id].needs:
                if self._settled(examination, need, entry).verdict is not Verdict.HOLDS:
                    break
            try:
                with self._watched(claim_id):
                    cell = examination.cell(claim_id)
                if cell.cause == self._out_of_memory:
                    self._try_elsewhere(claim_id, "ran out of memory", entry)
            except BaseException as error:  # noqa: BLE001  # what is no Exception passes `decide`, and is met here
                examination.cells[claim_id] = self._given_up(claim_id, error, entry)
        return examination.cells[claim_id]

    def _described(self, examination: Examination, entry: Entry) -> Record:
        if not entry.is_settled(blackbox.DESCRIBING):
            try:
                with self._watched(blackbox.DESCRIBING):
                    return examination.describe()
            except BaseException as error:  # noqa: BLE001  # as above
                self._given_up(blackbox.DESCRIBING, error, entry)
        return Record(model=self._model)

    def _given_up(self, step: str, error: BaseException, entry: Entry) -> Cell:
        """What to say of a step that let through what `decide` does not catch: once, let a fresh process try."""
        if self._interrupted:
            raise KeyboardInterrupt from error
        if isinstance(error, Exception) and not isinstance(error, MemoryError):
            raise error  # a fault of the suite, which must be loud
        note = f"raised {_in_words(error)}"
        # A run that is interrupted may reach its workers as well: then they answer nothing that would be believed.
        self._try_elsewhere(step, note, Entry() if isinstance(error, KeyboardInterrupt) else entry)
        return undecided(f"deciding it {note}{', and again in a fresh process' if self._box else ''}")

    def _try_elsewhere(self, step: str, note: str, entry: Entry) -> None:
        """End this process, so that the step is repeated in a fresh one, unless it was or there is nobody to do so."""
        if self._box is not None and not entry.deaths.get(step):
            self._note(blackbox.Entry(step=step, model=self._model, note=note))
            os._exit(GAVE_UP)

    @contextmanager
    def _watched(self, step: str) -> Iterator[None]:
        """Write down what begins, end the process if it does not end, and tell a user's interrupt from a model's."""
        self._note(blackbox.Entry(step=step, model=self._model))
        faulthandler.dump_traceback_later(self._timeout, exit=True, file=self._trace)
        listening = threading.current_thread() is threading.main_thread()
        previous = signal.signal(signal.SIGINT, self._interrupt) if listening else None
        room = resource.getrlimit(resource.RLIMIT_AS)
        try:
            if self._room is not None:  # for the model alone: without memory, pytest could not tell of it
                resource.setrlimit(resource.RLIMIT_AS, (_at_most(self._room, room[1]), room[1]))
            # Under warnings-as-errors a deprecation would become a verdict.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        finally:
            with suppress(ValueError):  # the model lowered what nobody may raise again
                resource.setrlimit(resource.RLIMIT_AS, room)
            if listening:
                signal.signal(signal.SIGINT, previous)
            faulthandler.cancel_dump_traceback_later()
        if self._interrupted:  # and the model swallowed it
            raise KeyboardInterrupt

    def _interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        # Who interrupts a run interrupts its controller, which ends its workers: one alone is interrupted by a model.
        self._interrupted = self._box is None
        raise KeyboardInterrupt

    def _note(self, entry: blackbox.Entry) -> None:
        if self._box is not None:
            try:
                self._box.note(entry)
            except OSError:  # a model has lowered a limit, or closed what was not its own: others need a fresh process
                os._exit(GAVE_UP)


def _room(memory: float) -> int:
    """Bytes of address space: `memory` GB more than is mapped now, for importing torch maps gigabytes."""
    allowed: int = psutil.Process().memory_info().vms + int(memory * 2**30)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    return _at_most(allowed, hard)


def _at_most(wanted: int, hard: int) -> int:
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def _in_words(error: BaseException) -> str:
    """`SystemExit(3)`, with nothing that its author could have put in to harm whoever prints it."""
    try:
        return printable(repr(error))[:200]
    except Exception:  # noqa: BLE001  # a hostile __repr__ may raise whatever it likes
        return type(error).__name__
