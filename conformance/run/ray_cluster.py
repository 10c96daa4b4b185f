"""This module is Ray: a cluster that is started or joined, what is sent to it, and what it says when something is lost.

Whatever is said of Ray here was read in its documentation (docs.ray.io: ray.init, streaming generators, exceptions,
runtime environments) and tried with version 2.60.
"""

from __future__ import annotations

import math
import os
import secrets
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from conformance.record import printable
from conformance.run.local import processors
from conformance.run.remote import Facts, Order, Refused, Stopped, decided, facts

if TYPE_CHECKING:
    from types import ModuleType

LOCAL = "local"
"""The word for a cluster of this machine alone, that begins and ends with the audit."""
_IN_FLIGHT = 64
"""Chunks that are handed to Ray at least, so that a cluster that can grow sees that there is work."""
_PATIENCE = 10.0
"""Seconds for a connection."""
_PATIENCE_WITH_RAY = 60.0
_PATIENCE_WITH_A_NODE = 300.0
"""Seconds for a machine to say what it has; its first process starts then."""
_PATIENCE_WITH_THE_HEAD = 20.0
_CONTROLLER = 800 * 2**20
"""Bytes that a chunk takes besides the process that decides: pytest's own, which imports torch too."""
_BETWEEN_LOOKS = 0.2
_BETWEEN_CENSUSES = 5.0
_TOKEN = (".ray", "auth_token")
"""Where it lies below the home directory."""
_TEMPORARY = "timm-ray-"
_LONGEST_ROOT = 16


class NoCluster(Exception):
    """There is no cluster that could decide this. Its text is one sentence."""


class HeadLost(Exception):
    """The head of the cluster answers no more. Its text is one sentence."""


class OtherSuite(Exception):
    """A machine decides by something else. Its text is one sentence."""


class Lost(Exception):
    """A chunk's process is no more. Its text says how, and names no machine: equal runs give equal records."""

    def __init__(self, how: str, *, is_of_memory: bool = False) -> None:
        super().__init__(how)
        self.is_of_memory = is_of_memory


class Cluster:
    """A cluster of Ray that this process has joined, whose machines decide as this one does."""

    def __init__(self, ray: ModuleType, most: int | None, *, with_timm: bool) -> None:
        self._ray = ray
        self._most = most or sys.maxsize
        # Lost chunks are looked into here: Ray would decide again what has come already.
        self._decided = ray.remote(num_cpus=1, max_retries=0)(decided)
        self._with_timm = with_timm
        self._here = facts()
        self._head = ray.get_runtime_context().gcs_address
        self._heard = time.monotonic()
        self._looked, self._machines, self._largest, self._cpus = -math.inf, 0, 0.0, 0
        self._look()

    @property
    def processes(self) -> int:
        """How many chunks it decides at a time, as far as is known now."""
        return min(self._cpus or _IN_FLIGHT, self._most)

    @property
    def window(self) -> int:
        """How many chunks it is handed at a time: more as it grows."""
        return min(max(_IN_FLIGHT, 2 * self._cpus), self._most)

    def check(self) -> None:
        """Compare the machines that are there with this one.

        Raises:
            NoCluster: One lacks the suite.
            OtherSuite: One has another, or another torch or timm.
        """
        ray, here = self._ray, self._here
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        asked = ray.remote(num_cpus=0, max_retries=2)(facts)
        answers = [
            (
                node["NodeManagerHostname"],
                asked.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(),
            )
            for node in self._nodes()
            if node["Resources"].get("CPU")
        ]
        for name, answer in answers:
            try:
                there = ray.get(answer, timeout=_PATIENCE_WITH_A_NODE)
            except ray.exceptions.RayError as error:
                raise NoCluster(
                    f"{name} of the cluster cannot run timm-conformance {here.suite} ({_last_line(error)}); "
                    "install the same there as here"
                ) from error
            self.compare(there, name)

    def compare(self, there: Facts, name: str = "a machine") -> None:
        """Hold what a machine has against what this one has; its own timm only if that is audited.

        Raises:
            OtherSuite: They differ.
        """
        for fact in Facts.__struct_fields__:
            ours, theirs = getattr(self._here, fact), getattr(there, fact)
            if ours != theirs and (fact != "timm" or self._with_timm):
                what = "other files of timm-conformance" if fact == "code" else fact
                raise OtherSuite(
                    f"{name} of the cluster has {what} {theirs}, and here is {ours}; have the same everywhere"
                )

    def in_words(self) -> str:
        """How many machines it has now."""
        return f"{self._machines} node{'s' * (self._machines != 1)}"

    def _look(self) -> None:
        """See which machines there are, now and then.

        Raises:
            HeadLost: The head has not answered for a while. Ray would end this process, a minute after it did last.
        """
        now = time.monotonic()
        if now - self._looked < _BETWEEN_CENSUSES:
            return
        self._looked = now
        try:
            host, _, port = self._head.rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE / 2).close()
        except OSError:
            if now - self._heard > _PATIENCE_WITH_THE_HEAD:
                raise HeadLost(
                    f"the head of the cluster at {self._head} answers no more; go on with --resume when there is one"
                ) from None
            return
        self._heard = now
        nodes = [node["Resources"] for node in self._nodes()]
        self._machines, self._cpus = len(nodes), int(sum(node.get("CPU", 0) for node in nodes))
        self._largest = max((node.get("memory", 0.0) for node in nodes if node.get("CPU")), default=0.0)

    def keep(self, content: bytes) -> object:
        """Put bytes where every machine finds them."""
        return self._ray.put(content)

    def send(self, order: Order, archive: object | None, memory: float) -> Any:
        """Have a chunk decided, by a machine with as many bytes of memory left as it is expected to need."""
        needed = int(min(memory + _CONTROLLER, self._largest)) or None
        return self._decided.options(num_returns="streaming", memory=needed).remote(order, archive)

    def ready(self, streams: list[Any]) -> list[Any]:
        """Those of which something came, or that ended, after a moment.

        Raises:
            HeadLost: see above.
        """
        self._look()
        found, _ = self._ray.wait(streams, num_returns=len(streams), timeout=_BETWEEN_LOOKS)
        return list(found)

    def next_of(self, stream: Any) -> Facts | bytes | None:
        """What came: what the machine has, then whole lines; None at the end.

        Raises:
            Lost: Its process or machine is no more.
            Refused: It cannot be decided there.
        """
        errors = self._ray.exceptions
        try:
            reference = next(stream, None)
            came: Facts | bytes | None = None if reference is None else self._ray.get(reference)
        except errors.RayTaskError as error:
            if isinstance(error.cause, Stopped):
                raise Lost(str(error.cause)) from None
            if isinstance(error.cause, Refused):
                raise Refused(str(error.cause)) from None
            raise Refused(f"a machine of the cluster could not decide a chunk ({_last_line(error)})") from error
        except errors.OutOfMemoryError:
            raise Lost("the memory of its machine ran out", is_of_memory=True) from None
        except (errors.NodeDiedError, errors.LocalRayletDiedError):
            raise Lost("its machine was lost") from None
        except errors.RuntimeEnvSetupError as error:
            raise NoCluster(f"the cluster could not take the modules of --import ({_last_line(error)})") from error
        except errors.RayError:
            raise Lost("its process was killed") from None
        return came

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]


@contextmanager
def joined(
    address: str, workers: int | Literal["auto"], imports: Sequence[str], *, with_timm: bool = True
) -> Iterator[Cluster]:
    """A cluster of this machine's own, with so many processes, or the one at an address; it is left at the end.

    `with_timm` says whether the timm of the environments is audited, which must be the same then.

    Raises:
        NoCluster: There is none, Ray is not installed, or a machine decides by something else.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A module of the user's is what it is here, generated files included.
    os.environ.setdefault("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "1")
    _authenticate(address)
    try:
        import ray
    except ImportError:
        raise NoCluster("--cluster needs Ray; pip install 'timm-conformance[ray]'") from None
    sources = [source for name in imports if (source := _source(name)) is not None]
    environment: dict[str, Any] = {"py_modules": sources} if sources else {}
    options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    with ExitStack() as stack:
        if address == LOCAL:
            directory = stack.enter_context(_temporary())
            options |= {
                "num_cpus": processors() if workers == "auto" else workers,
                "include_dashboard": False,
                "_temp_dir": directory,
                "runtime_env": environment | {"env_vars": {"TMPDIR": directory}},
            }
        else:
            _refuse_unreachable(address)
            options |= {"runtime_env": environment}
        stack.callback(ray.shutdown)
        try:
            with _quiet():
                ray.init(address=address, **options)
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise NoCluster(f"--cluster {address!r} cannot be had ({_last_line(error)})") from error
        most = None if address == LOCAL or workers == "auto" else workers
        cluster = Cluster(ray, most, with_timm=with_timm)
        cluster.check()
        yield cluster


def _authenticate(address: str) -> None:
    """See to it that nobody else gives work to a cluster of ours, and that others take ours if we have their token.

    Ray asks for tokens by default where it finds one, but does not show its own by default when it joins (2.60).
    """
    if "RAY_AUTH_MODE" in os.environ:
        return
    if address == LOCAL:  # else it would write one into the home directory
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    elif not ({"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys() or Path.home().joinpath(*_TOKEN).exists()):
        return
    os.environ["RAY_AUTH_MODE"] = "token"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Ray's native code writes on standard error from people: of what fails it raises besides."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _refuse_unreachable(address: str) -> None:
    """Say at once what Ray would say after minutes."""
    if address.startswith("ray://"):
        raise NoCluster(
            f"--cluster {address!r} is an address of Ray Client, which cannot carry this; "
            "start the audit on a machine of the cluster, with the HOST:PORT of its head or auto"
        )
    if address != "auto":
        _refuse_closed(address)
    # One that listens and is no cluster is waited for without end, in native code.
    code = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False)"
    try:
        ended = subprocess.run(  # noqa: S603  # our own command
            [sys.executable, "-c", code, address],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE_WITH_RAY,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NoCluster(
            f"--cluster {address!r} does not answer as Ray does within {_PATIENCE_WITH_RAY:.0f} seconds; "
            "see that `ray start --head` runs there"
        ) from None
    if ended.returncode:
        lines = [line for line in ended.stderr.splitlines() if line.strip()] or ["it did not say why"]
        raise NoCluster(f"--cluster {address!r} cannot be joined ({printable(lines[-1])[:300]})")


def _refuse_closed(address: str) -> None:
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 2**16):
        raise NoCluster(f"--cluster {address!r} is no address; give HOST:PORT of the head, auto, or local")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
    except OSError as error:
        raise NoCluster(
            f"--cluster {address!r} does not answer ({error.strerror or error}); see that `ray start --head` runs there"
        ) from error


def _source(name: str) -> str | None:
    """Where the package or module of that name lies, unless it is installed: then machines must have it themselves."""
    top = name.partition(".")[0]
    spec = PathFinder.find_spec(top, [*sys.path, str(Path.cwd())])
    if spec is None:
        return None
    places = list(spec.submodule_search_locations or ()) or [spec.origin or ""]
    installed = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    is_file = Path(places[0]).is_dir() or (places[0].endswith(".py") and Path(places[0]).is_file())
    is_installed = any(Path(places[0]).is_relative_to(directory) for directory in installed)
    return places[0] if is_file and not is_installed else None


@contextmanager
def _temporary() -> Iterator[str]:
    """A directory for all that Ray and its processes write. Those of audits that were killed are removed.

    Sockets lie in it, whose paths have 107 bytes at most, and Ray's own part of them is long.
    """
    root = Path(tempfile.gettempdir())
    if len(os.fsencode(root)) > _LONGEST_ROOT:
        root = Path("/tmp")  # noqa: S108  # where Ray itself goes; mkdtemp takes no directory of others
    ours = f"{_TEMPORARY}{zlib.crc32(socket.gethostname().encode()):08x}-"
    for left in root.glob(f"{ours}*-*"):
        process = left.name.removeprefix(ours).partition("-")[0]
        if process.isdigit() and not Path("/proc", process).exists():
            shutil.rmtree(left, ignore_errors=True)
    directory = tempfile.mkdtemp(prefix=f"{ours}{os.getpid()}-", dir=root)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return printable(lines[-1])[:300] if lines else type(error).__name__
