"""Fault-free sites under load: no false heartbeat loss, and nothing that grows.

``python -m benchmarks.watchdog [--sites 20000]``; results in benchmarks/results/watchdog.json.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.fault_stack import Child, Stack, stack, write_result

# 350 samples a site
RAMP = {"start": 0.0, "stop": -4.2, "rate": 12.0, "sample_rate": 1000.0}
SAMPLE_PERIOD = 5.0
ALARMS = ("heartbeat_lost", "stalled", "killed", "backend_fault", "unsafe", "expired")


def burners(count: int) -> list[subprocess.Popen[bytes]]:
    """Processes that each keep a core busy."""
    code = "while True: sum(range(100000))"
    return [subprocess.Popen([sys.executable, "-c", code]) for _ in range(count)]


class BeatAges:
    """Gaps between beats as the controller received them (its own time stamps)."""

    def __init__(self) -> None:
        import epics  # noqa: PLC0415 - the environment of Channel Access must be set first

        self.stamps: list[float] = []
        self._pv = epics.PV("NB:AFM:HEARTBEAT", callback=self._beat, form="time")

    def _beat(self, timestamp: float = 0.0, **_: Any) -> None:
        self.stamps.append(timestamp)

    def gaps(self, first: float, last: float) -> np.ndarray:
        """Gaps within a span of UTC, s."""
        return np.diff([stamp for stamp in self.stamps if first <= stamp <= last])


OWN = ("RssAnon", "RssShmem", "VmSwap")


def own_memory(process: psutil.Process) -> float:
    """Memory that is no file's, a process's own or shared, in use or swapped out, MB.

    Libraries are mapped from files, and count in full or in part with every other process of the
    machine that starts or ends with the same ones.
    """
    status = Path(f"/proc/{process.pid}/status")
    try:
        lines = status.read_text().splitlines()
    except OSError as error:
        raise psutil.NoSuchProcess(process.pid) from error
    held = dict(line.split(":", 1) for line in lines)
    return sum(int(held[key].split()[0]) for key in OWN if key in held) / 1024


def usage(processes: dict[str, psutil.Process]) -> dict[str, dict[str, float]]:
    found = {}
    for name, process in processes.items():
        try:
            with process.oneshot():
                memory = process.memory_full_info()
                found[name] = {
                    "own_mb": own_memory(process),
                    "rss_mb": memory.rss / 2**20,
                    "uss_mb": memory.uss / 2**20,
                    "fds": process.num_fds(),
                    "threads": process.num_threads(),
                    "cpu_s": sum(process.cpu_times()[:2]),
                }
        except psutil.Error:
            continue
    return found


def watch(made: Stack, child: Child, until: float = float("inf")) -> list[dict[str, Any]]:
    """Sample all processes until the child ends, or until a moment (`time.monotonic`)."""
    made.trace.wait("result", timeout=180)
    processes = {
        "run_engine": psutil.Process(child.process.pid),
        "ioc": psutil.Process(made.ioc.pid),
    }
    samples: list[dict[str, Any]] = []
    done = 0
    for event in made.trace.events:
        done += event["event"] == "result"
    while child.alive and time.monotonic() < until:
        for name in ("courier", "tiled"):  # the courier may take a while to start under load
            with contextlib.suppress(OSError, psutil.Error):
                processes.setdefault(name, psutil.Process(getattr(made, f"{name}_pid")))
        samples.append({"time": time.monotonic(), "sites": done, **usage(processes)})
        end = time.monotonic() + SAMPLE_PERIOD
        while child.alive and time.monotonic() < end:
            time.sleep(0.25)
        done += sum(event["event"] == "result" for event in made.trace.update())
    return samples


def slopes(samples: list[dict[str, Any]], last: float = 2 / 3) -> dict[str, dict[str, Any]]:
    """First and last value, and slope per 1000 sites over the last part of the run."""
    total = samples[-1]["sites"]
    late = [s for s in samples if s["sites"] >= (1 - last) * total]
    result: dict[str, dict[str, Any]] = {}
    for process in ("run_engine", "ioc", "courier", "tiled"):
        seen = [s for s in late if process in s]
        if len(seen) < 3:
            continue
        result[process] = {}
        sites = np.array([s["sites"] for s in seen]) / 1000
        for key in ("own_mb", "rss_mb", "uss_mb", "fds", "threads"):
            values = np.array([s[process][key] for s in seen], dtype=float)
            result[process][key] = {
                "first": next(s[process][key] for s in samples if process in s),
                "last": values[-1],
                "per_1000_sites": float(np.polyfit(sites, values, 1)[0]),
            }
        result[process]["cpu_s_per_site"] = (
            seen[-1][process]["cpu_s"] - seen[0][process]["cpu_s"]
        ) / max(seen[-1]["sites"] - seen[0]["sites"], 1)
    return result


def measure(directory: Path, sites: int, *, load: bool = True) -> dict[str, Any]:
    """Run the sites and collect the figures."""
    side = int(np.ceil(np.sqrt(sites)))
    arguments = {"rows": side, "cols": side, "pitch": 20e-9, **RAMP}
    arguments |= {"image_before_after": False, "order": "snake"}
    with stack(directory) as made:
        busy = burners(os.cpu_count() or 1) if load else []
        try:
            child = made.run("map", arguments=arguments, wait=600.0)
            beats = BeatAges()
            samples = watch(made, child)
            report = child.report(900)
        finally:
            for process in busy:
                process.kill()
                process.wait()
        made.trace.update()
        results = made.trace.named("result")
        terminations: dict[str, int] = {}
        for event in results:
            label = event["termination"]
            terminations[label] = terminations.get(label, 0) + 1
        gaps = beats.gaps(results[0]["utc"], results[-1]["utc"])
        seconds = results[-1]["monotonic"] - results[0]["monotonic"]
        return {
            "sites": len(results),
            "outcome": report,
            "seconds": seconds,
            "ms_per_site": 1e3 * seconds / len(results),
            "heartbeat_timeout": made.heartbeat,
            "heartbeat_period": made.heartbeat / 5,
            "alarms": {name: len(made.trace.named(name)) for name in ALARMS},
            "beats": len(gaps) + 1,
            "beat_gap": {
                "median": float(np.median(gaps)),
                "p99": float(np.percentile(gaps, 99)),
                "p99.9": float(np.percentile(gaps, 99.9)),
                "max": float(gaps.max()),
            },
            "terminations": terminations,
            "stress_processes": len(busy),
            "load_average_end": os.getloadavg()[0],
            "slopes_last_two_thirds": slopes(samples),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=20_000)
    parser.add_argument("--directory", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nucleation-watchdog-") as name:
        directory = options.directory or Path(name)
        write_result("watchdog", measure(directory, options.sites))


if __name__ == "__main__":
    main()
