"""Processes that need not import again: one process imports everything, and forks on request.

A session that starts anew takes seconds of processor time for its imports; forked from here, a
tenth of that. libca is started after the fork, so nothing but imported modules is shared.

What runs in a fork is named ``module:function`` and takes the words of its command line.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LAYER = "OPHYD_CONTROL_LAYER"
FORK = "NUCLEATION_FAULT_FORK"  # set where sessions fork their couriers
ROOT = Path(__file__).resolve().parents[1]
START = 120.0  # s
IMPORTS = (
    "benchmarks.fault_child", "benchmarks.fault_block", "nucleation_bluesky.cli",
    "nucleation_bluesky.devices.afm", "nucleation_bluesky.devices.seccm",
    "nucleation_bluesky.callbacks.journal", "nucleation_bluesky.callbacks.journal_recovery",
    "nucleation_bluesky.session.access", "nucleation_bluesky.session.baseline",
    "nucleation_bluesky.session.environment_watch", "nucleation_bluesky.storage.courier_process",
    "nucleation_bluesky.iocs.run", "nucleation_bluesky.iocs.backends.virtual_afm",
    "nucleation_bluesky.iocs.backends.virtual_seccm", "nucleation_bluesky.storage.read",
    "ophyd._pyepics_shim", "epicscorelibs.path.pyepics", "bluesky.suspenders",
    # what reading from Tiled imports on its way, and the courier for its first run
    "bluesky_tiled_plugins.clients.bluesky_run", "nucleation_bluesky.storage.courier_job",
    "bluesky_tiled_plugins.clients.bluesky_event_stream", "dask.array", "dask.dataframe",
    "sparse", "sqlalchemy", "h2.connection", "httpcore", "websockets.sync.client", "IPython",
    "tiled.client.array", "tiled.client.dataframe", "tiled.client.stream", "lz4.frame",
    "tiled.serialization.table", "encodings.ascii",
)  # fmt: skip


@dataclass
class Forked:
    """A process that the zygote forked, with the interface of `subprocess.Popen`."""

    pid: int
    exit_file: Path
    returncode: int | None = None
    cpu: float = 0.0  # s of processor time, once it has ended

    def __post_init__(self) -> None:
        self.args = f"fork {self.pid}"
        try:
            self._fd: int | None = os.pidfd_open(self.pid)
        except ProcessLookupError:  # it was very short
            self._fd = None

    def poll(self) -> int | None:
        """Return its exit code, None while it lives."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""
        if self.returncode is not None:
            return self.returncode
        if self._fd is not None:
            if not select.select([self._fd], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            os.close(self._fd)
            self._fd = None
        deadline = time.monotonic() + 5  # the zygote tells a moment later
        while not self.exit_file.exists() and time.monotonic() < deadline:
            time.sleep(0.002)
        told = self.exit_file.read_text().split() if self.exit_file.exists() else ["-1", "0"]
        self.returncode, self.cpu = int(told[0]), float(told[1])
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, if it lives."""
        if self._fd is not None and self.poll() is None:
            signal.pidfd_send_signal(self._fd, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Spare:
    """A process forked in advance, to become the courier of the session that forked it.

    It has the interface of `subprocess.Popen`, and like what that starts it is the session's child.
    While it has nothing to do it ends with the session.
    """

    def __init__(self) -> None:
        self.returncode: int | None = None
        listening, self._job = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            # nothing else is open yet but other spares' pipes, which must end with the session
            os.dup2(listening, 3)
            os.closerange(4, 64)
            with os.fdopen(3) as stream:
                line = stream.readline()
            if line:
                _courier(json.loads(line))
            os._exit(0)
        os.close(listening)

    def start(self, words: Sequence[str], log: Path) -> "Spare":
        """Give it its command line."""
        job = {"words": list(words), "environment": dict(os.environ), "log": str(log)}
        with os.fdopen(self._job, "w") as stream:
            stream.write(json.dumps(job) + "\n")
        return self

    def poll(self) -> int | None:
        """Return its exit code, None while it lives."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, if it lives."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def wait(self, timeout: float) -> int:
        """Wait for its end."""
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("courier", timeout)
            time.sleep(0.02)
        return self.returncode or 0


def _courier(job: dict[str, Any]) -> None:
    """Be the courier, as ``python -m`` would."""
    from nucleation_bluesky.storage import courier  # noqa: PLC0415 - in a fork, it is there
    from tiled.client import utils as requests  # noqa: PLC0415

    os.setsid()
    fd = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number in (1, 2):
        os.dup2(fd, number)
    os.environ.clear()
    os.environ.update(job["environment"])
    sys.argv = job["words"]
    # the courier sets these two for an import that has been made here already
    requests.TILED_RETRY_ATTEMPTS, requests.TILED_RETRY_TIMEOUT = 1, courier.REQUEST
    courier.main()


@dataclass(frozen=True)
class Zygote:
    """Where the zygote listens."""

    address: str

    def fork(
        self,
        target: str,
        words: Sequence[str],
        environment: dict[str, str],
        log: Path,
        nice: int | None = None,
    ) -> Forked:
        """Run ``module:function`` in a new process."""
        exit_file = log.with_name(f"{log.name}.exit-{time.monotonic_ns()}")
        job = {"target": target, "words": list(words), "environment": environment}
        job |= {"log": str(log), "exit": str(exit_file), "nice": nice}
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(START)
            client.connect(self.address)
            with client.makefile("rw") as stream:
                stream.write(json.dumps(job) + "\n")
                stream.flush()
                return Forked(int(stream.readline()), exit_file)


@contextlib.contextmanager
def zygote() -> Iterator[Zygote]:
    """Run a zygote; what it forked ends with it."""
    with tempfile.TemporaryDirectory(prefix="nucleation-zygote-") as name:
        address = str(Path(name) / "socket")
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.fault_zygote", address],
            stdin=subprocess.PIPE, cwd=ROOT, env=os.environ | {LAYER: "dummy"},
        )  # fmt: skip
        try:
            deadline = time.monotonic() + START
            while not Path(address).exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("the zygote did not start")
                time.sleep(0.05)
            yield Zygote(address)
        finally:
            if process.stdin is not None:
                process.stdin.close()
            process.wait(60)


# -- in the zygote -------------------------------------------------------------------------------


def _reap(running: dict[int, str]) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status, used = os.wait4(-1, os.WNOHANG)
            if not pid:
                return
            path = Path(running.pop(pid, os.devnull))
            text = f"{os.waitstatus_to_exitcode(status)} {used.ru_utime + used.ru_stime}"
            with contextlib.suppress(OSError):  # its directory may be gone already
                path.with_name(f".{path.name}").write_text(text)
                path.with_name(f".{path.name}").rename(path)


def _become(job: dict[str, Any]) -> None:
    """Make this fork the process that was asked for."""
    os.setsid()
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    nice = os.nice(0) if job["nice"] is None else job["nice"]
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, nice)
        # where sessions share processors as groups, a process is nice within its group only
        Path("/proc/self/autogroup").write_text(str(nice))
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for number, path, mode in ((0, os.devnull, os.O_RDONLY), (1, job["log"], flags)):
        fd = os.open(path, mode, 0o600)
        os.dup2(fd, number)
        os.close(fd)
    os.dup2(1, 2)
    os.environ.clear()
    os.environ.update(job["environment"])
    os.environ.pop(LAYER, None)


def serve(address: str) -> dict[str, Any] | None:
    """Fork until standard input is closed; returns in every fork, with its job."""
    running: dict[int, str] = {}
    wake, woken = os.pipe()
    for fd in (wake, woken):
        os.set_blocking(fd, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address + "~")
    listener.listen(64)
    Path(address + "~").rename(address)
    while True:
        ready, _, _ = select.select([0, wake, listener], [], [])
        if wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(wake, 4096)
            _reap(running)
        if listener in ready:
            client, _ = listener.accept()
            with client, client.makefile("rw") as stream:
                job = json.loads(stream.readline())
                pid = os.fork()
                if not pid:
                    for fd in (wake, woken):
                        os.close(fd)
                    listener.detach()
                    client.detach()
                    os.closerange(3, 64)
                    _become(job)
                    return job
                running[pid] = job["exit"]
                stream.write(f"{pid}\n")
                stream.flush()
        if 0 in ready and not os.read(0, 4096):
            for pid in list(running):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + 25
            while running and time.monotonic() < deadline:
                time.sleep(0.05)
                _reap(running)
            return None


def main() -> None:
    """Import, then fork."""
    for module in IMPORTS:
        importlib.import_module(module)
    # reads the table of units
    importlib.import_module("nucleation_bluesky.devices._units").si_unit("V")
    # else each fork's first collections go through, and so copy, all that was imported
    gc.collect()
    gc.freeze()
    job = serve(sys.argv[1])
    if job is None:
        return
    module, _, name = job["target"].partition(":")
    sys.argv = [module, *job["words"]]
    getattr(importlib.import_module(module), name)()
    # as an interpreter ends, but for freeing everything that was imported, which takes a second
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join(30)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
