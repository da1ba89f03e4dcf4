"""A whole queue for tests and benchmarks: IOC, Redis, RE manager, gateway, worker, Tiled.

The IOC is a process of its own, as a laboratory's is: it outlives the worker, and its trace tells
what was energised, whatever anyone else recorded.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from nucleation_bluesky.callbacks.journal_reader import JournalReader, journals
from nucleation_bluesky.session.channel_access import free_port, loopback_environment, use_loopback
from nucleation_bluesky.session.queue.files import QueueFiles
from nucleation_bluesky.storage.server import connect, ensure_server

from benchmarks.fault_stack import ROOT, START_TIMEOUT, Trace

CONFIG = """\
data_directory = "{data}"
[instrument.virtual]
enabled = false
[sample]
name = "queue-sample"
[environment]
watch = "on"
settle = "1 s"
period = "0.2 s"
[queue]
control_port = 0
info_port = 0
"""


class QueueStack:
    """Everything that a queue needs, on free ports.

    Parameters
    ----------
    directory : Path
        For data, logs and configuration.
    seed : int
        Of the virtual sample.
    speed : str
        Of the virtual instrument.
    more : str
        Further sections of the configuration.
    """

    def __init__(
        self, directory: Path, seed: int = 1, *, speed: str = "max", more: str = ""
    ) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.config = directory / "nucleation.toml"
        self.config.write_text(CONFIG.format(data=self.data) + more)
        self.trace = Trace(directory / "trace.jsonl")
        use_loopback()  # answers repeater requests in this process
        self.environment = os.environ | loopback_environment(free_port())
        for name in list(self.environment):
            if name.startswith("QSERVER_"):
                del self.environment[name]
        self.files = QueueFiles(self.data)
        self._options = seed, speed
        self._environment_of_site = "none"
        self.ioc = self._start_ioc(seed, speed)

    def restart_ioc(self) -> None:
        """Start the IOC again after it was killed."""
        self.ioc = self._start_ioc(*self._options)

    def _start_ioc(self, seed: int, speed: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "nucleation_bluesky", "ioc", "afm"]
        command += ["--speed", speed, "--seed", str(seed), "--trace", str(self.trace.path)]
        command += ["--end-with", str(os.getpid())]
        log = self.directory / "ioc.log"
        with log.open("wb") as sink:
            process = subprocess.Popen(
                command, env=self.environment, stdout=sink, stderr=subprocess.STDOUT,
                start_new_session=True, cwd=ROOT,
            )  # fmt: skip
        wait_for(lambda: "ready" in log.read_text(), "the IOC", START_TIMEOUT)
        return process

    def command(self, *words: str, timeout: float = 300.0) -> "subprocess.CompletedProcess[str]":
        """Run ``nucleation-bluesky`` with this configuration."""
        return subprocess.run(
            [sys.executable, "-m", "nucleation_bluesky", *words, "--config", str(self.config)],
            env=self.environment, cwd=self.directory, capture_output=True, text=True,
            timeout=timeout, check=False,
        )  # fmt: skip

    def up(self) -> None:
        """Start the queue."""
        done = self.command("queue", "up")
        if done.returncode:
            raise RuntimeError(f"{done.stdout}{done.stderr}{self.files.log_tail('manager', 60)}")

    def make_ready(self) -> None:
        """Have everything up, idle and empty, whatever was left behind."""
        fit = self.ioc.poll() is None
        if not fit:
            self.restart_ioc()
        if self._environment_of_site != "none":
            self.disturb("none")
        if not fit or not self._is_idle():
            self.command("queue", "down", "--now")
            self.up()
        with self.api() as client:
            client.queue_clear()

    def _is_idle(self) -> bool:
        worker = self.files.worker()
        if set(self.processes()) != {"redis", "manager", "gateway"}:
            return False
        if worker is None or not worker.alive():
            return False
        with self.api() as client:
            told = client.status()
        return told["manager_state"] == "idle" and told["worker_environment_exists"]

    def told(self) -> str:
        """What one wants to know where something has failed."""
        lines = [f"parts: {sorted(self.processes())}, worker {self.files.worker()}"]
        lines.append(f"IOC: {'ended' if self.ioc.poll() is not None else 'running'}")
        try:
            with self.api() as client:
                status = client.status()
                history = client.history_get()["items"][-6:]
        except Exception as error:  # noqa: BLE001 - this is told beside a failure, not instead
            return "\n".join([*lines, f"the manager: {error}"])
        lines.append(f"manager: {status['manager_state']}, RE {status['re_state']}, "
                     f"environment {status['worker_environment_state']}")  # fmt: skip
        for item in history:
            result = item["result"]
            lines.append(f"{item['name']}: {result['exit_status']} {result['msg'][:200]}")
        return "\n".join([*lines, self.files.log_tail("manager", 8)])

    @property
    def client_variables(self) -> dict[str, str]:
        """What a client's shell takes from ``client.env``."""
        lines = self.files.client_environment.read_text().splitlines()
        pairs = [line.removeprefix("export ").split("=", 1) for line in lines]
        return {name: value.strip("'") for name, value in pairs}

    def qserver(self, *words: str) -> str:
        """Run the stock command line client; returns what it printed."""
        program = Path(sys.executable).parent / "qserver"
        done = subprocess.run(
            [program, *words], env=self.environment | self.client_variables, capture_output=True,
            text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr

    @contextlib.contextmanager
    def api(self) -> Iterator[Any]:
        """The stock Python client."""
        from bluesky_queueserver_api.zmq import REManagerAPI  # noqa: PLC0415

        variables = self.client_variables
        client = REManagerAPI(
            zmq_control_addr=variables["QSERVER_ZMQ_CONTROL_ADDRESS"],
            zmq_info_addr=variables["QSERVER_ZMQ_INFO_ADDRESS"],
            zmq_public_key=variables["QSERVER_ZMQ_PUBLIC_KEY"],
            timeout_recv=10.0,
            request_fail_exceptions=False,
        )
        try:
            yield client
        finally:
            client.close()

    def kill_worker(self) -> int:
        """kill -9 of the worker; returns its process id."""
        worker = self.files.worker()
        if worker is None:
            raise RuntimeError("there is no worker")
        os.kill(worker.pid, signal.SIGKILL)
        wait_for(lambda: not worker.alive(), "the worker's end", 10.0)
        return worker.pid

    def processes(self) -> dict[str, psutil.Process]:
        """The queue's processes by part."""
        state = self.files.state()
        found = {n: state.process(n) for n in ("redis", "manager", "gateway")} if state else {}
        return {name: process for name, process in found.items() if process is not None}

    def disturb(self, quantity: str) -> None:
        """Have the virtual environment leave its limits in a quantity; "none" ends it."""
        self._environment_of_site = "unknown"
        # its default wait, 1 s, is short where a machine is busy
        command = [sys.executable, "-m", "caproto.commandline.put", "--timeout", "30"]
        subprocess.run(
            [*command, "NB:ENV:TRAIN", quantity], env=self.environment, timeout=60, check=True,
            capture_output=True,
        )  # fmt: skip
        self._environment_of_site = quantity

    def close(self) -> None:
        """End what this stack started."""
        if self.processes():
            self.command("queue", "down", "--now")
        self.ioc.terminate()
        try:
            self.ioc.wait(10)
        except subprocess.TimeoutExpired:
            self.ioc.kill()
            self.ioc.wait(10)


def wait_for(reached: Callable[[], bool], what: str, timeout: float) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + timeout
    while not reached():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come within {timeout:g} s")
        time.sleep(0.05)


def wait_idle(api: Any, timeout: float = 300.0) -> None:
    """Wait until the queue has nothing to do."""
    wait_for(lambda: api.status(reload=True)["manager_state"] == "idle", "the queue's end", timeout)


def tiled_against_journals(data: Path) -> dict[str, Any]:
    """Compare every run in Tiled with its journal: start, stop and each scalar of each event."""
    client = connect(ensure_server(data))
    result = {"runs": 0, "events": 0, "differ": []}
    for path in journals(data / "journal"):
        with JournalReader(path) as reader:
            documents = [pair for batch in iter(reader.read, []) for pair in batch]
        starts = [doc for name, doc in documents if name == "start"]
        stops = [doc for name, doc in documents if name == "stop"]
        uid = starts[0]["uid"]
        run = client[uid]
        result["runs"] += 1
        kept = json.loads(json.dumps([starts[0]["plan_name"], stops[0]["exit_status"]]))
        found = [run.metadata["start"]["plan_name"], run.metadata["stop"]["exit_status"]]
        if kept != found:
            result["differ"].append(f"{uid}: {kept} in the journal, {found} in Tiled")
        streams = {doc["uid"]: doc["name"] for name, doc in documents if name == "descriptor"}
        events: dict[str, list[dict[str, Any]]] = {}
        for name, doc in documents:
            if name == "event":
                events.setdefault(streams[doc["descriptor"]], []).append(doc)
        for stream, docs in events.items():
            result["events"] += len(docs)
            result["differ"] += [f"{uid} {stream}: {d}" for d in _differences(run, stream, docs)]
    return result


def _differences(run: Any, stream: str, docs: list[dict[str, Any]]) -> list[str]:
    node = run[stream]
    frame = getattr(node, "base", node)["internal"].read().sort_values("seq_num")
    if [int(n) for n in frame["seq_num"]] != [doc["seq_num"] for doc in docs]:
        return [f"{len(frame)} rows, {len(docs)} events"]
    wrong = []
    for key in docs[0]["data"]:
        if key not in frame or isinstance(docs[0]["data"][key], (list, np.ndarray)):
            continue
        for ours, theirs in zip((d["data"][key] for d in docs), frame[key], strict=True):
            same = ours == theirs or (ours != ours and theirs != theirs)
            if not same:
                wrong.append(f"{key} is {theirs}, {ours} in the journal")
    return wrong
