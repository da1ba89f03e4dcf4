"""A real IOC process on free ports, for any test that needs one."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VIRTUAL = "nucleation_bluesky.iocs.backends.virtual_afm:make_virtual_afm"
VIRTUAL_SECCM = "nucleation_bluesky.iocs.backends.virtual_seccm:make_virtual_seccm"
DEMO_SECCM = "nucleation_bluesky.iocs.backends.demo_seccm:make_demo_seccm"
DEMO = "nucleation_bluesky.iocs.backends.demo:make_demo"
_CHILD = """
import json, logging, os, sys
from pathlib import Path
logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
from nucleation_bluesky.iocs import run
options = json.loads(sys.argv[1])
for key in ("truth", "trace"):
    options[key] = Path(options[key]) if options[key] else None
getattr(run, sys.argv[2])(**options, ready=lambda: os.write(1, b"ready\\n"))
"""


def free_port() -> int:
    """A port free for both TCP and UDP on the loopback."""
    for _ in range(100):
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            port = tcp.getsockname()[1]
            with contextlib.suppress(OSError):
                udp.bind(("127.0.0.1", port))
                return port
    raise OSError("no free port")


def channel_access_environment(server: int | None = None) -> dict[str, str]:
    """Variables that keep Channel Access on the loopback, for servers and clients."""
    server = server or free_port()
    return {
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CA_ADDR_LIST": "127.0.0.1",
        "EPICS_CA_SERVER_PORT": str(server),
        "EPICS_CAS_INTF_ADDR_LIST": "127.0.0.1",
        "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
        "EPICS_CAS_BEACON_ADDR_LIST": "127.0.0.1",
        "EPICS_CA_REPEATER_PORT": str(free_port()),
        "EPICS_CA_MAX_ARRAY_BYTES": "10000000",
    }


@dataclass
class RunningIoc:
    """A running IOC."""

    prefix: str
    environment: dict[str, str]
    process: subprocess.Popen
    trace: Path | None
    truth: Path | None
    _log: Path | None = field(default=None)

    @property
    def pid(self) -> int:
        return self.process.pid

    def events(self, *names: str) -> list[dict[str, Any]]:
        """Lines of the trace, all or those of the named events."""
        if self.trace is None or not self.trace.exists():
            return []
        lines = [json.loads(line) for line in self.trace.read_text().splitlines() if line]
        return [line for line in lines if not names or line["event"] in names]

    def wait_event(self, name: str, timeout: float = 10.0, count: int = 1) -> dict[str, Any]:
        """The ``count``-th event of this name, once it is there."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            found = self.events(name)
            if len(found) >= count:
                return found[count - 1]
            time.sleep(0.01)
        raise TimeoutError(f"no event {name!r} in {[e['event'] for e in self.events()]}")

    def log(self) -> str:
        """What the process logged."""
        return self._log.read_text() if self._log else ""

    def stop(self, timeout: float = 5.0) -> int:
        """SIGTERM, then SIGKILL; return the exit code."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGCONT)
                os.kill(self.pid, signal.SIGTERM)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(timeout)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return self.process.returncode


@contextlib.contextmanager
def afm_ioc(
    directory: Path,
    *,
    prefix: str = "NB:AFM:",
    seed: int = 0,
    speed: str | float = "max",
    truth: Path | None = None,
    trace: Path | bool = True,
    world: Mapping[str, Any] | None = None,
    factory: str = VIRTUAL,
    environment: Mapping[str, str] | None = None,
    timeout: float = 60.0,
) -> Iterator[RunningIoc]:
    """Start a virtual AFM as its own process; stop it on leaving.

    ``directory`` takes the log and, with ``trace=True``, ``trace.jsonl``. ``factory=DEMO`` serves
    the deterministic resistor instead of the virtual AFM.
    """
    variables = dict(environment or channel_access_environment())
    path = directory / "trace.jsonl" if trace is True else (trace or None)
    options = {
        "prefix": prefix,
        "seed": seed,
        "speed": speed,
        "truth": str(truth) if truth else None,
        "trace": str(path) if path else None,
        "world": dict(world or {}),
        "factory": factory,
    }
    with _running("run_afm_ioc", options, directory, variables, path, truth, timeout) as ioc:
        yield ioc


@contextlib.contextmanager
def seccm_ioc(
    directory: Path,
    *,
    prefix: str = "NB:SECCM:",
    camera_prefix: str = "NB:IRM:",
    seed: int = 0,
    speed: str | float = "max",
    truth: Path | None = None,
    trace: Path | bool = True,
    world: Mapping[str, Any] | None = None,
    factory: str = VIRTUAL_SECCM,
    camera: str = "virtual",
    camera_settings: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float = 60.0,
) -> Iterator[RunningIoc]:
    """Start a virtual SECCM with its camera as its own process; stop it on leaving."""
    variables = dict(environment or channel_access_environment())
    path = directory / "trace.jsonl" if trace is True else (trace or None)
    options = {
        "prefix": prefix,
        "camera_prefix": camera_prefix,
        "seed": seed,
        "speed": speed,
        "truth": str(truth) if truth else None,
        "trace": str(path) if path else None,
        "world": dict(world or {}),
        "factory": factory,
        "camera": camera,
        "camera_settings": dict(camera_settings or {}),
    }
    with _running("run_seccm_ioc", options, directory, variables, path, truth, timeout) as ioc:
        yield ioc


@contextlib.contextmanager
def _running(
    entry: str,
    options: Mapping[str, Any],
    directory: Path,
    variables: dict[str, str],
    path: Path | None,
    truth: Path | None,
    timeout: float,
) -> Iterator[RunningIoc]:
    prefix = options["prefix"]
    log = directory / "ioc.log"
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, json.dumps(options), entry],
            stdout=subprocess.PIPE,
            stderr=sink,
            env=os.environ | variables,
        )
    ioc = RunningIoc(prefix, variables, process, path, truth, log)
    try:
        readable, _, _ = select.select([process.stdout], [], [], timeout)
        if not readable or process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"the IOC did not start:\n{log.read_text()}")
        yield ioc
    finally:
        ioc.stop()
