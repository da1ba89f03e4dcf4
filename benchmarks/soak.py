"""One session that exposes very many sites at speed: what grows, and does a site take longer?

Memory of their own, file handles and threads of session, controller, courier and Tiled are sampled
along the run; so are processor time and wall time of a site. A slope is told with its standard
error, from the means of ten parts of the run after its first third, which may fill caches (samples
beside each other are not independent).

Two verdicts on memory: whether its slopes are within two errors of nothing, and whether it gains
2 % at the most, at the upper end of its slope (two errors above it). They are part of the results.

``python -m benchmarks soak [--sites 30000] [--minutes 20]``; results in results/soak.json.
"""

import argparse
import math
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fault_machine import Canary
from benchmarks.fault_stack import Stack, stack, write_result
from benchmarks.report import environment
from benchmarks.watchdog import ALARMS, RAMP, SAMPLE_PERIOD, watch

PROCESSES = ("run_engine", "ioc", "courier", "tiled")
WARM = 1 / 3  # share of the run that may still fill caches
BLOCKS = 10  # of the run after that
# share of its memory that a process may gain, at the upper end of its slope: a page now and then
# is no growth, though no noise hides it
CEILING = 0.02
TIME_LIMIT = 0.05  # by which a site at the end may take longer
AGAIN = 20  # runs after the first, at most
FRESH_SIDE = 45  # sites along a side of the map of the fresh session
STARTED = 200  # of its sites that are not counted: imports and first files


def trend(sites: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    """Mean of each block, slope per 1,000 sites and its standard error.

    The error is that of a line through the means of ``BLOCKS`` blocks.
    """
    parts = [p for p in np.array_split(np.arange(len(sites)), BLOCKS) if len(p)]
    x = np.array([sites[p].mean() for p in parts]) / 1000
    y = np.array([values[p].mean() for p in parts])
    found = {"first": float(y[0]), "last": float(y[-1]), "blocks": y.tolist()}
    if len(x) < 4 or np.ptp(x) == 0:
        return found | {"per_1000_sites": math.nan, "standard_error": math.nan}
    slope, error = _line(x, y)
    return found | {"per_1000_sites": slope, "standard_error": error}


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope of a line and its standard error."""
    design = np.column_stack([x - x.mean(), np.ones_like(x)])
    (slope, level), *_ = np.linalg.lstsq(design, y, rcond=None)
    rest = y - design @ (slope, level)
    error = math.sqrt(float(rest @ rest) / (len(x) - 2) / float(np.sum((x - x.mean()) ** 2)))
    return float(slope), error


def trends(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """What grows, process by process, after the warm-up."""
    total = samples[-1]["sites"]
    # after the last site it is the end of the session that is seen
    late = [s for s in samples if WARM * total <= s["sites"] < total]
    found: dict[str, Any] = {}
    for process in PROCESSES:
        seen = [s for s in late if process in s]
        if len(seen) < BLOCKS:
            continue
        sites = np.array([s["sites"] for s in seen], dtype=float)
        found[process] = {
            key: trend(sites, np.array([s[process][key] for s in seen], dtype=float))
            for key in ("own_mb", "uss_mb", "rss_mb", "fds", "threads")
        }
        new = np.diff(sites)
        cpu = np.diff([s[process]["cpu_s"] for s in seen])
        some = new > 0
        found[process]["cpu_ms_per_site"] = trend(sites[1:][some], 1e3 * cpu[some] / new[some])
    return found


def site_times(made: Stack, canary: Canary) -> dict[str, Any]:
    """Wall time from one result to the next, ms, along the run."""
    at = np.array([e["monotonic"] for e in made.trace.named("result")])
    between = 1e3 * np.diff(at)
    number = np.arange(len(between), dtype=float)
    late = number >= WARM * len(between)
    tenths = np.array_split(between, 10)
    return {
        "median_ms_by_tenth": [float(np.median(part)) for part in tenths],
        "lowest_decile_ms_by_tenth": [float(np.percentile(part, 10)) for part in tenths],
        "trend_ms": trend(number[late], between[late]),
        "machine_stalls": len(canary.stalls),
        "longest_machine_stall": max((s for _, s in canary.stalls), default=0.0),
    }


def fresh_times(directory: Path) -> np.ndarray:
    """Wall time from one result to the next of a session that begins now, ms."""
    with stack(directory) as made:
        child = made.run("map", arguments=_map_of(FRESH_SIDE), wait=900.0, again=AGAIN)
        made.trace.wait("result", timeout=300)
        child.report(1200)
        made.trace.update()
        at = np.array([e["monotonic"] for e in made.trace.named("result")])
    return 1e3 * np.diff(at)[STARTED:]


def _map_of(side: int) -> dict[str, Any]:
    arguments = {"rows": side, "cols": side, "pitch": 20e-9, **RAMP}
    return arguments | {"image_before_after": False, "order": "snake"}


def growth(found: dict[str, Any]) -> dict[str, Any]:
    """Whether memory grows by no more than twice the error of its slope, and by how much at most.

    It may shrink. Without the first block it must not grow either: a fall there may hide a growth.
    Less than a page between the blocks is no growth: memory is counted in pages. ``at_most`` is the
    upper end of the slope, from the first block to the last, as a share of the memory.
    """
    blocks = np.array(found["blocks"])
    number = np.arange(len(blocks), dtype=float)
    lines = [_line(number[first:], blocks[first:]) for first in (0, 1)]
    within = np.ptp(blocks) < resource.getpagesize() / 2**20
    return {
        "within_noise": bool(within or all(slope <= 2 * error for slope, error in lines)),
        "at_most": max(slope + 2 * error for slope, error in lines) * number[-1] / blocks[0],
    }


def verdict(result: dict[str, Any]) -> dict[str, Any]:
    """Hold the figures against what was demanded, each with what it rests on.

    Handles and threads are counts: constant if over the run they move by less than one. A site at
    the end may take 5 % longer than one of a fresh session right after.
    """
    done, asked, trends_ = result["sites"], result["asked"], result["trends_after_warm_up"]
    thousands = (1 - WARM) * done / 1000
    memory = {
        process: {
            **growth(found["own_mb"]),
            "kb_per_site": found["own_mb"]["per_1000_sites"] * 1024 / 1000,
            "standard_error": found["own_mb"]["standard_error"] * 1024 / 1000,
        }
        for process, found in trends_.items()
    }
    constant = {
        process: all(
            abs(found[key]["per_1000_sites"]) * thousands < 1 for key in ("fds", "threads")
        )
        for process, found in trends_.items()
    }
    times = result["site_times"]
    change = times["median_ms_of_the_last"] / times["median_ms_of_fresh"] - 1
    met = {
        "all_sites": done >= asked,
        "one_run": result["outcome"]["outcome"] == "success" and not result["interrupted"],
        "memory_slopes_within_noise": all(one["within_noise"] for one in memory.values()),
        "memory_gains_2_percent_at_most": all(one["at_most"] <= CEILING for one in memory.values()),
        "handles_and_threads_constant": all(constant.values()),
        "time_of_a_site_within_5_percent": change <= TIME_LIMIT,
    }
    return {"met": met, "memory": memory, "constant": constant, "time_change": change}


def measure(directory: Path, sites: int, minutes: float) -> dict[str, Any]:
    """Run the sites and collect the figures."""
    arguments = _map_of(math.ceil(math.sqrt(sites)))
    canary = Canary()
    with stack(directory / "long") as made:
        # what ends a run early, as a beat held up by a busy machine, is told; the session goes on
        child = made.run("map", arguments=arguments, wait=900.0, again=AGAIN)
        made.trace.wait("result", timeout=300)
        deadline = time.monotonic() + 60 * minutes
        samples = watch(made, child, until=deadline)
        if child.alive:
            child.interrupt()
            samples += watch(made, child)
        report = child.report(1200)
        made.trace.update()
        canary.close()
        results = made.trace.named("result")
        seconds = results[-1]["monotonic"] - results[0]["monotonic"]
        result = {
            "environment": environment(),
            "sites": len(results),
            "asked": sites,
            "outcome": report,
            "interrupted": report.get("interrupted", []),
            "seconds": seconds,
            "ms_per_site": 1e3 * seconds / len(results),
            "alarms": {name: len(made.trace.named(name)) for name in ALARMS},
            "site_times": site_times(made, canary),
            "trends_after_warm_up": trends(samples),
            "samples": len(samples),
            "sample_period": SAMPLE_PERIOD,
        }
    fresh = fresh_times(directory / "fresh")
    last = np.diff([e["monotonic"] for e in results])[-fresh.size :]
    result["site_times"] |= {
        "median_ms_of_the_last": 1e3 * float(np.median(last)),
        "median_ms_of_fresh": float(np.median(fresh)),
        "compared": int(fresh.size),
    }
    return result | {"verdict": verdict(result)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=30_000)
    parser.add_argument("--minutes", type=float, default=1e4, help="end after so long")
    parser.add_argument("--directory", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nucleation-soak-") as name:
        directory = options.directory or Path(name)
        write_result("soak", measure(directory, options.sites, options.minutes))


if __name__ == "__main__":
    main()
