"""Real processes for fault runs: an IOC that outlives the RunEngine, and a RunEngine to kill.

The IOC's trace and CLOCK_MONOTONIC, which all processes of a machine share, tell when things
happened.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from nucleation_bluesky.session.channel_access import (
    free_port,
    loopback_environment,
    use_loopback,
)

from benchmarks.fault_machine import SmallDisk, make_clock
from benchmarks.fault_proxy import Proxy
from benchmarks.fault_zygote import FORK, Forked, Zygote

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results"
START_TIMEOUT = 90.0
CONTROLLER_NICE = -10  # a controller has a processor of its own: here it comes before all others


def put_first(pid: int, nice: int = CONTROLLER_NICE) -> None:
    """Let a process come before others, where we may."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, nice)
        # where sessions share processors as groups, a process is nice within its group only
        Path(f"/proc/{pid}/autogroup").write_text(str(nice))


def write_result(name: str, result: dict[str, Any], *, show: bool = True) -> None:
    """Keep a benchmark's figures."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(result, indent=1, default=float)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    if show:
        print(text)


def holds(process: psutil.Process, data: Path) -> bool:
    """Whether a process works for a data directory: a number may long be another's."""
    return any(str(data) in word for word in process.cmdline()) or any(
        file.path.startswith(str(data)) for file in process.open_files()
    )


@dataclass
class Trace:
    """The IOC's trace, followed while it grows."""

    path: Path
    events: list[dict[str, Any]] = field(default_factory=list)
    _offset: int = 0

    def update(self) -> list[dict[str, Any]]:
        """Read what is new; returns the new events."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._offset)
            block = file.read()
        end = block.rfind(b"\n") + 1
        self._offset += end
        new = [json.loads(line) for line in block[:end].splitlines()]
        self.events.extend(new)
        return new

    def named(self, *names: str) -> list[dict[str, Any]]:
        """Events of these names so far."""
        return [event for event in self.events if event["event"] in names]

    def wait(self, name: str, *, after: int = 0, timeout: float = 200.0) -> dict[str, Any]:
        """First event of this name at or after an index."""
        deadline = time.monotonic() + timeout
        while True:
            self.update()
            for event in self.events[after:]:
                if event["event"] == name:
                    return event
            if time.monotonic() > deadline:
                raise TimeoutError(f"no '{name}' in the trace within {timeout:g} s")
            time.sleep(0.002)


@dataclass
class Stack:
    """One data directory, one IOC, RunEngines one after another.

    With ``hostile`` a network, a disk and a wall clock that faults can reach lie between. Processes
    are forked from ``zygote``, if there is one.
    """

    directory: Path
    speed: str = "max"
    seed: int = 1
    heartbeat: float = 1.0
    sample: str = "fault-sample"
    family: str = "afm"
    sections: str = ""  # further sections of the configuration
    world: dict[str, float] = field(default_factory=dict)
    truth: Path | None = None
    hostile: bool = False
    zygote: Zygote | None = None

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.data = self.directory / "data"
        self.clock = self.directory / "clock"
        self.disk = SmallDisk(self.data) if self.hostile else None
        self.trace = Trace(self.directory / "trace.jsonl")
        self.config = self.directory / "nucleation.toml"
        self.write_config(self.heartbeat)
        port = free_port()
        self.environment = os.environ | use_loopback(port)
        self.environment["EPICS_CA_REPEATER_PORT"] = os.environ["EPICS_CA_REPEATER_PORT"]
        self._client = dict(self.environment)
        self._network: Proxy | None = None
        if self.hostile:
            self.environment |= make_clock(self.clock)
            self._network = Proxy(port)
            self._client = self.environment | loopback_environment(self._network.port)
        if self.zygote is not None:
            self._client = self._client | {FORK: "1"}
        self._children = 0
        self._processes: list[subprocess.Popen[bytes] | Forked] = []
        self._controllers: list[subprocess.Popen[bytes] | Forked] = []
        self.ioc = self._start_ioc()

    @property
    def network(self) -> Proxy:
        """Between sessions and controller."""
        if self._network is None:
            raise RuntimeError("this stack has no network that can fail: make it hostile")
        return self._network

    def write_config(self, heartbeat: float, sample: str = "") -> None:
        """(Re)write the configuration that the next RunEngine reads."""
        self.config.write_text(
            f'data_directory = "{self.data}"\n'
            f'[instrument]\nfamily = "{self.family}"\n'
            "[instrument.virtual]\nenabled = false\n"
            f"[safety]\nheartbeat_timeout = {heartbeat}\n"
            f'[sample]\nname = "{sample or self.sample}"\n{self.sections}'
        )

    def _start(
        self, words: list[str], log: Path, environment: dict[str, str], *, ioc: bool = False
    ) -> "subprocess.Popen[bytes] | Forked":
        if self.zygote is not None:
            target = "benchmarks.fault_child:controller" if ioc else "benchmarks.fault_child:main"
            nice = CONTROLLER_NICE if ioc else None
            return self.zygote.fork(target, words, environment, log, nice)
        module = "nucleation_bluesky" if ioc else "benchmarks.fault_child"
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *words],
                env=environment, stdout=sink, stderr=subprocess.STDOUT,
                start_new_session=True, cwd=ROOT,
            )  # fmt: skip
        if ioc:
            put_first(process.pid)
        return process

    def _start_ioc(self) -> "subprocess.Popen[bytes] | Forked":
        command = ["ioc", self.family]
        command += ["--speed", self.speed, "--seed", str(self.seed)]
        command += [f"--set={name}={value!r}" for name, value in self.world.items()]
        command += ["--truth", str(self.truth)] if self.truth is not None else []
        command += ["--trace", str(self.trace.path), "--end-with", str(os.getpid())]
        log = self.directory / "ioc.log"
        log.unlink(missing_ok=True)
        process = self._start(command, log, self.environment, ioc=True)
        self._processes.append(process)
        self._controllers.append(process)
        deadline = time.monotonic() + START_TIMEOUT
        while not log.exists() or "ready" not in log.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the IOC did not start: {log.read_text()}")
            time.sleep(0.05)
        return process

    def restart_ioc(self) -> None:
        """kill -9 of the IOC, and its next life on the same port."""
        self.ioc.kill()
        self.ioc.wait(10)
        self.ioc = self._start_ioc()

    def run(self, plan: str, **job: Any) -> "Child":
        """Start a RunEngine in a process of its own (see `fault_child`)."""
        self._children += 1
        report = self.directory / f"child-{self._children}.json"
        job |= {"plan": plan, "config": str(self.config), "report": str(report)}
        log = self.directory / f"child-{self._children}.log"
        process = self._start([json.dumps(job)], log, self._client)
        self._processes.append(process)
        return Child(process, report, log)

    def put(self, suffix: str, value: float) -> None:
        """Write a PV as another client would."""
        command = [
            sys.executable,
            "-m",
            "caproto.commandline.put",
            f"NB:{self.family.upper()}:{suffix}",
            str(value),
        ]
        subprocess.run(command, env=self.environment, timeout=60, check=True, capture_output=True)

    @property
    def tiled_pid(self) -> int:
        """Process of the embedded Tiled server."""
        return int(json.loads((self.data / "tiled" / "server.json").read_text())["owner"]["pid"])

    @property
    def courier_pid(self) -> int:
        """Process of the courier."""
        return int(json.loads((self.data / "journal" / ".courier.json").read_text())["pid"])

    def processor_seconds(self, part: str) -> float:
        """Processor time of the forked "controllers" or "sessions" that have ended, s."""
        of = [p for p in self._processes if (p in self._controllers) == (part == "controllers")]
        return sum(p.cpu for p in of if isinstance(p, Forked))

    def close(self) -> None:
        """End what this stack started."""
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        for name in ("courier_pid", "tiled_pid"):  # they would leave by themselves a little later
            with contextlib.suppress(OSError, ValueError, KeyError, psutil.Error):
                process = psutil.Process(getattr(self, name))
                if holds(process, self.data):
                    process.terminate()
                    process.wait(10)
        if self._network is not None:
            self._network.close()
        if self.disk is not None:
            self.disk.close()


@dataclass
class Child:
    """A RunEngine process."""

    process: "subprocess.Popen[bytes] | Forked"
    path: Path
    log: Path

    def kill(self) -> float:
        """kill -9; returns the time."""
        when = time.monotonic()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        return when

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def wait_quiet(self, seconds: float) -> None:
        """Let it run, unless it ends."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def report(self, timeout: float = 120.0) -> dict[str, Any]:
        """Wait for the end; returns what the process reported."""
        self.process.wait(timeout)
        if not self.path.exists():
            raise RuntimeError(f"no report; the log says:\n{self.log.read_text()[-3000:]}")
        return json.loads(self.path.read_text())

    def wait_log(self, text: str, timeout: float = 60.0) -> None:
        """Wait until the process has said something."""
        deadline = time.monotonic() + timeout
        while text not in self.log.read_text():
            if time.monotonic() > deadline or not self.alive:
                raise RuntimeError(f"'{text}' was not said:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.01)


@contextlib.contextmanager
def stack(directory: Path, **options: Any) -> Iterator[Stack]:
    """Run a stack; everything is ended on leaving."""
    made = Stack(directory, **options)
    try:
        yield made
    finally:
        made.close()
