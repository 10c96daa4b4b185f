"""This module runs audits on a cluster of Ray: chunks go out, records come back as they are decided, one writer each.

Ray schedules, notices what is lost and carries results (ray.io, streaming generators). Here it is only said what to
do when a chunk is lost: the rest of it goes out again, then the model that was at hand alone, and at the third time
its cells say so.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import msgspec

from conformance.claims.claim import undecided
from conformance.claims.raised import MEMORY
from conformance.record import Broken, Footer, Header, PartialLine, Record, printable
from conformance.run import ray_cluster
from conformance.run.chosen import Chosen, header
from conformance.run.chunks import Chunk, cut
from conformance.run.display import Display
from conformance.run.expected import Expected
from conformance.run.local import FAILED, INTERRUPTED, WRITTEN, Selection
from conformance.run.ray_cluster import Cluster, HeadLost, Lost, NoCluster, OtherSuite
from conformance.run.remote import Facts, Order, Refused
from conformance.run.tally import Tally
from conformance.run.wheels import packed
from conformance.run.writer import OtherRun, OutputTaken, OutputUnwritable, UnfinishedRun, Writer

MOST_LOSSES = 3
"""Of one model: in its chunk, at the head of what was left of it, and alone."""


@dataclass
class _Run:
    """One of the runs that are decided together."""

    selection: Selection
    chosen: Chosen
    header: Header
    writer: Writer
    archive: object | None
    """Where the cluster keeps its timm."""


@dataclass
class _Piece:
    """What is left of a chunk."""

    run: _Run
    left: dict[str, None]
    """Models in their order."""
    is_checked: bool = False
    """Whether its header was compared."""


def audit(selections: Sequence[Selection], choices: Sequence[Chosen], address: str) -> int:
    """Decide what is chosen of each selection and write its record file, whatever the verdicts.

    Returns:
        WRITTEN, FAILED with a sentence on standard error, or INTERRUPTED after Ctrl-C or SIGTERM: then what was
        decided is in `PATH.partial`.
    """
    first = selections[0]
    with_timm = any(one.release is None or one.release.path is None for one in selections)
    try:
        with (
            ray_cluster.joined(address, first.workers, first.imports, with_timm=with_timm) as cluster,
            ExitStack() as stack,
        ):
            _listen()
            runs = [_begun(*one, cluster, stack) for one in zip(selections, choices, strict=True)]
            try:
                _Audit(cluster, runs).decide()
            except HeadLost as error:
                stack.close()
                _say(str(error))
                os._exit(FAILED)  # leaving a cluster waits for its head, until Ray ends this process
            for run in runs:
                run.writer.finish()
    except (KeyboardInterrupt, SystemExit):  # the latter from Ray's own handler of SIGTERM, while it starts
        _say("interrupted; what was decided is in the files that end with .partial, for --resume")
        return INTERRUPTED
    except (NoCluster, Refused, OtherSuite, OtherRun, OutputTaken, OutputUnwritable, UnfinishedRun) as error:
        _say(str(error))
        return FAILED
    return WRITTEN


def _begun(selection: Selection, chosen: Chosen, cluster: Cluster, stack: ExitStack) -> _Run:
    release = selection.release
    content = packed(release) if release is not None else None
    head = header(chosen, release.version if release is not None else None)
    writer = Writer(selection.output)
    stack.callback(writer.leave)
    decided = writer.start(head, resume=selection.resume, models=chosen.models)
    archive = None if content is None else cluster.keep(content)
    return _Run(selection, chosen.without(decided), head, writer, archive)


class _Audit:
    """The chunks of some runs on their way through a cluster."""

    def __init__(self, cluster: Cluster, runs: Sequence[_Run]) -> None:
        self._cluster = cluster
        self._runs = runs
        self._expected = Expected.of(runs[0].chosen.claims)
        chunks = cut([run.chosen.models for run in runs], cluster.processes, self._expected.seconds)
        self._waiting = deque(self._piece(chunk) for chunk in chunks)
        self._flying: dict[Any, _Piece] = {}
        self._losses: Counter[tuple[str, str]] = Counter()
        models = [model for run in runs for model in run.chosen.models]
        self._display = Display(Tally(models, runs[0].chosen.claims), cluster.in_words)

    def _piece(self, chunk: Chunk) -> _Piece:
        return _Piece(self._runs[chunk.run], dict.fromkeys(chunk.models))

    def decide(self) -> None:
        """Send all chunks out and write what comes, until nothing is left."""
        self._display.begin(self._opening())
        try:
            while self._waiting or self._flying:
                while self._waiting and len(self._flying) < self._cluster.window:
                    self._send(self._waiting.popleft())
                for stream in self._cluster.ready(list(self._flying)):
                    self._hear(stream)
        except BaseException:
            self._display.stop()
            raise
        self._display.end()

    def _opening(self) -> str:
        chosen = self._runs[0].chosen
        decided = sum(len(run.chosen.models) for run in self._runs)
        resumed = sum(run.header.subjects for run in self._runs) - decided
        before = f", {resumed} models decided before" if resumed else ""
        releases = ", ".join(run.header.timm for run in self._runs)
        return (
            f"timm-conformance: {decided} models, {len(chosen.claims)} claims{before}; timm {releases}, "
            f"torch {self._runs[0].header.torch}, python {self._runs[0].header.python}; "
            f"{self._cluster.in_words()}, {self._cluster.processes} process{'es' * (self._cluster.processes != 1)}"
        )

    def _send(self, piece: _Piece) -> None:
        selection, piece.is_checked = piece.run.selection, False
        order = Order(
            models=tuple(piece.left),
            claims=piece.run.chosen.claims,
            tier=piece.run.chosen.tier,
            imports=selection.imports,
            timeout=selection.timeout,
            memory=selection.memory,
            version=piece.run.header.timm,
        )
        memory = max(self._expected.megabytes(model) for model in piece.left) * 2**20
        self._flying[self._cluster.send(order, piece.run.archive, memory)] = piece

    def _hear(self, stream: Any) -> None:
        piece = self._flying[stream]
        try:
            lines = self._cluster.next_of(stream)
        except Lost as error:
            del self._flying[stream]
            self._lost(piece, error)
            return
        if lines is None:
            del self._flying[stream]
            if piece.left:
                raise Refused(f"a chunk ended without a word of {next(iter(piece.left))!r}; go on with --resume")
            return
        if isinstance(lines, Facts):
            self._cluster.compare(lines)
            return
        for text in lines.splitlines():
            line = msgspec.json.decode(text, type=PartialLine)
            if isinstance(line, Header):
                _check(piece.run.header, line)
                piece.is_checked = True
            elif isinstance(line, Record) and line.model in piece.left and piece.is_checked:
                self._take(piece, line)
            else:
                self._mark(piece, line)

    def _mark(self, piece: _Piece, line: PartialLine) -> None:
        """Hand on what a chunk says of its sentinels: as it comes, or with its end."""
        said = (line.said,) if isinstance(line, Broken) else line.broken if isinstance(line, Footer) else ()
        for wrong in said:
            piece.run.writer.mark(wrong)
            self._display.say(f"broken: {wrong}")

    def _take(self, piece: _Piece, record: Record) -> None:
        del piece.left[record.model]
        if piece.run.writer.put(record):
            self._display.at(record.model)
            for cell in record.cells.values():
                self._display.add(record.model, cell.verdict)

    def _lost(self, piece: _Piece, why: Lost) -> None:
        """Send what is left out again, and of a model that was at hand too often say so."""
        if not piece.left:
            return
        model = next(iter(piece.left))
        key = (piece.run.header.timm, model)
        self._losses[key] += 1
        self._display.say(f"again: {model} and {len(piece.left) - 1} more; {why}")
        if self._losses[key] >= MOST_LOSSES:
            reason = f"the process that decided it on the cluster was lost {MOST_LOSSES} times, at last alone: {why}"
            cell = undecided(reason, cause=MEMORY if why.is_of_memory else None)
            self._take(piece, Record(model=model, cells=dict.fromkeys(piece.run.chosen.claims, cell)))
        elif self._losses[key] == MOST_LOSSES - 1 and len(piece.left) > 1:
            del piece.left[model]
            self._waiting.appendleft(_Piece(piece.run, {model: None}))
        if piece.left:
            self._waiting.appendleft(piece)


def _check(ours: Header, theirs: Header) -> None:
    for fact in ("schema", "suite", "timm", "torch", "python", "machine", "claims"):
        if getattr(ours, fact) != getattr(theirs, fact):
            told = "" if fact == "claims" else f": {getattr(ours, fact)} here, {getattr(theirs, fact)} there"
            raise OtherSuite(
                f"a machine of the cluster decides by another {fact}{told}; "
                "have the same timm-conformance, torch and Python everywhere, and go on with --resume"
            )


def _listen() -> None:
    """Take SIGTERM as Ctrl-C. Ray has set handlers of its own."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _say(sentence: str) -> None:
    sys.stderr.write(f"timm-conformance: {printable(sentence)}\n")
