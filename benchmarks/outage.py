"""Tiled killed, and frozen, in mid-map: does any step of the RunEngine wait for it?

Stretches with and without a fault alternate within one run, so that both meet the same machine.
A step is what passes between two messages of the plan. Each step is held against the median of
its kind in the stretches without fault.

``python -m benchmarks.outage [--sites 3000]``; results in benchmarks/results/outage.json.
"""

import argparse
import contextlib
import itertools
import json
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from nucleation_bluesky.callbacks.journal_reader import JournalReader, journals
from nucleation_bluesky.storage.courier_files import CourierFiles
from nucleation_bluesky.storage.runs import open_run
from nucleation_bluesky.storage.server import connect, ensure_server, is_healthy, release_server
from nucleation_bluesky.storage.server_files import ServerFiles
from tiled.queries import Eq

from benchmarks.fault_stack import Child, Stack, stack, write_result

RAMP = {"start": 0.0, "stop": -4.2, "rate": 12.0, "sample_rate": 1000.0}
CONTROL, FROZEN, KILLED, RECOVERING = "control", "frozen", "killed", "recovering"


def healthy(made: Stack) -> bool:
    state = ServerFiles(made.data).state()
    return state is not None and is_healthy(f"http://127.0.0.1:{state.port}", 1.0)


def pause(child: Child, seconds: float) -> None:
    end = time.monotonic() + seconds
    while child.alive and time.monotonic() < end:
        time.sleep(0.05)


def wait_healthy(made: Stack, child: Child, timeout: float = 60.0) -> None:
    end = time.monotonic() + timeout
    while child.alive and time.monotonic() < end and not healthy(made):
        time.sleep(0.1)


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def alternate(made: Stack, child: Child, control: float, fault: float) -> list[tuple[float, str]]:
    """Alternate stretches until the child ends; returns when each began, and which it was.

    The time a server takes to come back (its start loads the machine) is a stretch of its own.
    """
    marks = [(time.monotonic(), CONTROL)]
    which = 0
    while child.alive:
        pause(child, control)
        if not child.alive:
            break
        if which % 2 == 0:
            marks.append((time.monotonic(), FROZEN))
            with frozen(made.tiled_pid):
                pause(child, fault)
        else:
            marks.append((time.monotonic(), KILLED))
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(made.tiled_pid).kill()
            pause(child, fault)
        marks.append((time.monotonic(), RECOVERING))
        wait_healthy(made, child)
        pause(child, 2.0)
        marks.append((time.monotonic(), CONTROL))
        which += 1
    return marks


# -- figures -------------------------------------------------------------------------------------


def kinds_at(times: np.ndarray, marks: list[tuple[float, str]]) -> np.ndarray:
    """Stretch that each time falls into."""
    began = np.array([mark[0] for mark in marks])
    names = np.array([mark[1] for mark in marks])
    return names[np.clip(np.searchsorted(began, times, side="right") - 1, 0, None)]


def percentiles(values: np.ndarray) -> dict[str, float]:
    if not len(values):
        return {"n": 0}
    return {
        "n": len(values),
        "median": float(np.median(values)),
        "p99": float(np.percentile(values, 99)),
        "p99.9": float(np.percentile(values, 99.9)),
        "max": float(values.max()),
    }


def step_delays(steps: list[list[Any]], marks: list[tuple[float, str]]) -> dict[str, Any]:
    """Seconds by which steps exceed the control's median step of the same kind."""
    times = np.array([step[0] for step in steps])
    commands = np.array([f"{a[1]}>{b[1]}" for a, b in itertools.pairwise(steps)])
    seconds = np.diff(times)
    where = kinds_at(times[:-1], marks)
    delay = np.full(len(seconds), np.nan)
    for command in np.unique(commands):
        mine = commands == command
        usual = seconds[mine & (where == CONTROL)]
        if len(usual) >= 20:  # steps of a map's sites, not of its beginning and end
            delay[mine] = seconds[mine] - np.median(usual)
    known = np.isfinite(delay)
    return {
        name: percentiles(delay[known & (where == name)])
        for name in (CONTROL, FROZEN, KILLED, RECOVERING)
    }


def bias_held(made: Stack, marks: list[tuple[float, str]]) -> dict[str, Any]:
    """Seconds from energised to the safe state, by the IOC's own trace."""
    began: dict[str, Any] | None = None
    times, held = [], []
    for event in made.trace.events:
        if event["event"] == "energised":
            began = event
        elif event["event"] == "safe" and began is not None:
            times.append(began["monotonic"])
            held.append(event["monotonic"] - began["monotonic"])
            began = None
    where, seconds = kinds_at(np.array(times), marks), np.array(held)
    return {name: percentiles(seconds[where == name]) for name in np.unique(where)}


# -- Tiled against the journal -------------------------------------------------------------------


def same(a: Any, b: Any) -> bool:
    return bool(np.array_equal(np.asarray(a), np.asarray(b))) or bool(
        np.array_equal(np.asarray(a, dtype=float), np.asarray(b, dtype=float), equal_nan=True)
    )


def compare(client: Any, path: Path) -> dict[str, Any]:
    """Compare a run in Tiled with its journal, value by value; counts of what differs."""
    with JournalReader(path) as reader:
        documents = []
        while block := reader.read():
            documents += block
    start = documents[0][1]
    names = {d["uid"]: d["name"] for n, d in documents if n == "descriptor"}
    external = {
        key
        for n, d in documents
        if n == "descriptor"
        for key, entry in d["data_keys"].items()
        if "external" in entry
    }
    streams: dict[str, list[dict[str, Any]]] = {}
    for name, doc in documents:
        if name == "event":
            streams.setdefault(names[doc["descriptor"]], []).append(doc)
    run = open_run(client, start["uid"])
    result = {"runs": len(client.search(Eq("start.uid", start["uid"]))), "rows": 0, "cells": 0}
    result |= {"differing_cells": 0, "wrong_sequences": 0, "wrong_file_rows": 0}
    result["stop_equal"] = run.metadata["stop"]["uid"] == documents[-1][1]["uid"]
    for stream, events in streams.items():
        data = run[stream].read()
        order = np.asarray(data["seq_num"]) if "seq_num" in data else np.arange(1, len(events) + 1)
        expected = np.array([event["seq_num"] for event in events])
        result["rows"] += len(order)
        result["wrong_sequences"] += not np.array_equal(order, expected)
        for key in events[0]["data"]:
            column = np.asarray(data[key])
            for got, event in zip(column, events, strict=False):
                result["cells"] += 1
                result["differing_cells"] += not same(got, event["data"][key])
        for key in external & set(run[stream]):
            result["wrong_file_rows"] += int(run[stream][key].shape[0]) != len(events)
    result["events"] = sum(len(events) for events in streams.values())
    return result


def equal(found: dict[str, Any]) -> bool:
    """Tell whether the run is in Tiled exactly once and as journalled."""
    return (
        found["runs"] == 1
        and found["rows"] == found["events"]
        and found["stop_equal"]
        and not found["differing_cells"]
        and not found["wrong_sequences"]
        and not found["wrong_file_rows"]
    )


def verify_twice(made: Stack) -> list[dict[str, Any]]:
    """Compare; have the courier deliver everything once more; compare again."""
    files = CourierFiles(made.data / "journal")
    (path,) = journals(made.data / "journal")
    found = []
    try:
        client = connect(ensure_server(made.data))
        found.append(compare(client, path))
        files.forget_delivery(path)
        child = made.run("nothing")
        child.report(180)
        found[-1]["delivered_again"] = files.delivered(path)
        found.append(compare(client, path))
    finally:
        release_server(made.data)
    return found


def measure(directory: Path, sites: int, control: float = 6.0, fault: float = 8.0) -> dict:
    side = int(np.ceil(np.sqrt(sites)))
    arguments = {"rows": side, "cols": side, "pitch": 20e-9, "image_before_after": False, **RAMP}
    with stack(directory) as made:
        log = directory / "steps.json"
        child = made.run("map", arguments=arguments, steps=str(log), wait=300.0)
        made.trace.wait("result", timeout=180)
        wait_healthy(made, child)
        marks = alternate(made, child, control, fault)
        (directory / "marks.json").write_text(json.dumps(marks))
        report = child.report(600)
        made.trace.update()
        steps = step_delays(json.loads(log.read_text()), marks)
        result = {
            "outcome": report,
            "sites": len(made.trace.named("result")),
            "stretches": {
                name: sum(mark[1] == name for mark in marks)
                for name in (CONTROL, FROZEN, KILLED, RECOVERING)
            },
            "step_delay_s": steps,
            "added_p99.9_s": {
                name: steps[name]["p99.9"] - steps[CONTROL]["p99.9"]
                for name in (FROZEN, KILLED, RECOVERING)
                if steps[name]["n"]
            },
            "bias_held_s": bias_held(made, marks),
            "tiled_against_journal": verify_twice(made),
            "load_average": os.getloadavg()[0],
        }
    result["equal_twice"] = [equal(found) for found in result["tiled_against_journal"]]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=3000)
    parser.add_argument("--directory", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nucleation-outage-") as name:
        write_result("outage", measure(options.directory or Path(name), options.sites))


if __name__ == "__main__":
    main()
