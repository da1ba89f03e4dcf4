"""What a site costs outside its ramp, beside stock ``bluesky.plans.list_scan``.

One session, one controller, the same devices. Short runs alternate between three variants: our
``nucleation_map``, stock ``list_scan`` over the same ramp and stage, and our map without the
journal (and so with an idle courier). The time between the ends of two ramps, as the controller's
own trace has it, minus the time between ``energised`` and ``safe`` of the second one (the virtual
instrument's computing of the ramp) is the cost of a site: what the controller does after the safe
state (row, RESULT), the documents, the journal, the ledger, the next move, claim, arm and go.

Where the time goes is then measured in a further run with timers around the parts.

Run: ``python -m benchmarks site_cost``.
"""

import argparse
import functools
import os
import time
from collections import defaultdict
from typing import Any

import numpy as np
from bluesky.plans import list_scan
from nucleation_bluesky.callbacks.journal import Journal
from nucleation_bluesky.plans.nucleation_map import nucleation_map
from nucleation_bluesky.plans.parameters import RampParameters

from benchmarks.bench_session import Bench, bench_session
from benchmarks.report import show, write_json

PITCH = 20e-9
ORIGIN = -6e-6
VARIANTS = ("map", "list_scan", "map without journal")


class Sites:
    """Fresh sites, row after row; every variant makes the same moves."""

    def __init__(self, per_run: int) -> None:
        self.per_run, self.row = per_run, 0

    def take(self) -> tuple[list[float], list[float]]:
        """x and y of the next run."""
        n = self.per_run
        side = max(1, n // 5)
        number = np.arange(n)
        x = ORIGIN + PITCH * (number % side)
        y = ORIGIN + PITCH * (self.row + number // side)
        self.row += -(-n // side)
        return x.tolist(), y.tolist()


def run(bench: Bench, variant: str, sites: Sites) -> dict[str, np.ndarray]:
    """One run; cost and ramp of every site but the first, s."""
    session = bench.session
    x, y = sites.take()
    instrument: Any = session.instrument
    known = len(bench.trace())
    if variant == "list_scan":
        ramp = RampParameters(n_post=5)
        instrument.ramp.configure_exposure(ramp.spec(), ramp.limits())
        axes: tuple[Any, ...] = (instrument.stage_xy.y, y, instrument.stage_xy.x, x)
        plan = list_scan([instrument.ramp], *axes)
    else:
        plan = nucleation_map(
            instrument,
            sites=list(zip(x, y, strict=True)), order="given", image_before_after=False, n_post=5,
        )  # fmt: skip
    if variant == "map without journal":
        subscribe(bench, journal=False)
    cpu = time.process_time()
    bench.measure(plan)
    cpu = time.process_time() - cpu
    if variant == "map without journal":
        subscribe(bench, journal=True)
    energised, safe = phases(bench.trace()[known:])
    ramp = safe - energised
    return {"cost": np.diff(safe) - ramp[1:], "ramp": ramp[1:], "cpu": np.full(1, cpu / len(x))}


def subscribe(bench: Bench, *, journal: bool) -> None:
    """Subscribe what the session does, with or without its journal."""
    session = bench.session
    session.RE.dispatcher.unsubscribe_all()
    if journal:
        session.journal.attach(session.RE)
    session.RE.subscribe(session.guard.recorded)


def phases(trace: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Times of ``energised`` and of the safe state that followed, of each exposure, s."""
    energised: list[float] = []
    safe: list[float] = []
    for event in trace:
        if event["event"] == "energised":
            energised.append(event["monotonic"])
        elif event["event"] == "safe" and len(safe) < len(energised):
            safe.append(event["monotonic"])
    return np.array(energised), np.array(safe)


class Timers:
    """Wall time spent in methods, per call."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = defaultdict(list)
        self._undo: list[tuple[Any, str, Any]] = []

    def around(self, owner: Any, method: str, name: str) -> None:
        """Time a method of an object or a class."""
        original = getattr(owner, method)
        own = method in vars(owner)

        @functools.wraps(original)
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                self.spent[name].append(time.perf_counter() - began)

        setattr(owner, method, timed)
        self._undo.append((owner, method, original if own else None))

    def remove(self) -> None:
        """Put the methods back."""
        for owner, method, original in reversed(self._undo):
            if original is None:
                delattr(owner, method)
            else:
                setattr(owner, method, original)


def breakdown(bench: Bench, sites: Sites) -> dict[str, float]:
    """Median time per site of each part, s."""
    session = bench.session
    instrument, timers = session.instrument, Timers()
    stage, ramp, controller = instrument.stage_xy, instrument.ramp, instrument.controller
    timers.around(type(stage.x), "_move", "move (one axis: put, readback)")
    timers.around(stage, "measured_position", "guard: position read back (one round trip)")
    timers.around(session.ledger, "claim", "ledger: claim, committed")
    timers.around(session.ledger, "energise", "ledger: energised, committed")
    timers.around(session.ledger, "finish", "ledger: done, committed")
    timers.around(controller, "arm", "arm and verify")
    timers.around(controller, "read_result", "RESULT read and checked")
    timers.around(type(controller.go_signal), "command", "put")
    timers.around(ramp, "_publish", "reading built")
    timers.around(ramp, "_expose", "exposure, worker thread, all")
    timers.around(Journal, "__call__", "journal: one document")
    token = len(bench.trace())
    subscribe(bench, journal=True)
    try:
        run_once = run(bench, "map", sites)
    finally:
        timers.remove()
    n = sites.per_run
    found = {
        name: float(np.sum(np.sort(values)[: max(1, int(0.98 * len(values)))])) / n
        for name, values in timers.spent.items()
    }
    found |= controller_parts(bench.trace()[token:])
    found["cost of a site"] = float(np.median(run_once["cost"]))
    found["ramp, computed"] = float(np.median(run_once["ramp"]))
    return found


def controller_parts(trace: list[dict[str, Any]]) -> dict[str, float]:
    """Medians between the controller's trace events, s."""
    steps: dict[str, list[float]] = defaultdict(list)
    last: dict[str, float] = {}
    for event in trace:
        name, now = event["event"], event["monotonic"]
        for before, name_here, what in (
            ("armed", "energised", "controller: armed to energised (ledger, GO)"),
            ("energised", "safe", "controller: energised to safe (the ramp)"),
            ("safe", "result", "controller: safe to RESULT (summary, file row, posts)"),
            ("result", "armed", "controller: RESULT to armed (documents, move, claim, ARM)"),
        ):
            if name == name_here and before in last:
                steps[what].append(now - last[before])
        last[name] = now
    return {name: float(np.median(values)) for name, values in steps.items()}


def main() -> None:
    """Alternate the variants, show, store."""
    parser = argparse.ArgumentParser(prog="site_cost", description=__doc__)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--sites", type=int, default=60, help="sites per run")
    parser.add_argument("--repeats", type=int, default=8)
    options = parser.parse_args()
    sites = Sites(options.sites)
    found: dict[str, dict[str, list[np.ndarray]]] = {
        v: {"cost": [], "ramp": [], "cpu": []} for v in VARIANTS
    }
    with bench_session(options.seed) as bench:
        run(bench, "map", sites)  # warm up
        for repeat in range(options.repeats):
            # the order turns, so that no variant always follows the same one
            turned = [VARIANTS[(repeat + k) % len(VARIANTS)] for k in range(len(VARIANTS))]
            for variant in turned:
                for key, values in run(bench, variant, sites).items():
                    found[variant][key].append(values)
        parts = breakdown(bench, sites)
    medians = {v: [float(np.median(r)) for r in found[v]["cost"]] for v in VARIANTS}
    summary = {
        v: {
            "sites": int(sum(len(r) for r in found[v]["cost"])),
            "median": float(np.median(np.concatenate(found[v]["cost"]))),
            "quiet": float(np.percentile(np.concatenate(found[v]["cost"]), 10)),
            "mean": float(np.mean(np.concatenate(found[v]["cost"]))),
            "p99": float(np.percentile(np.concatenate(found[v]["cost"]), 99)),
            "run_medians": medians[v],
            "client_cpu": float(np.median(np.concatenate(found[v]["cpu"]))),
            "ramp_median": float(np.median(np.concatenate(found[v]["ramp"]))),
        }
        for v in VARIANTS
    }
    ratio = np.array(medians["map"]) / np.array(medians["list_scan"])
    journal = np.array(medians["map"]) - np.array(medians["map without journal"])
    verdict = {
        "ratio_of_medians": summary["map"]["median"] / summary["list_scan"]["median"],
        "ratio_per_repeat_median": float(np.median(ratio)),
        "ratio_per_repeat_range": [float(ratio.min()), float(ratio.max())],
        "ratio_of_cpu": summary["map"]["client_cpu"] / summary["list_scan"]["client_cpu"],
        "journal_and_courier": summary["map"]["median"] - summary["map without journal"]["median"],
        "journal_and_courier_per_repeat_median": float(np.median(journal)),
    }
    show(
        f"Cost of a site outside its ramp, ms ({os.getloadavg()[0]:.1f} load)",
        ["", "sites", "median", "10th pct", "mean", "99th pct", "client CPU", "ramp computed"],
        [
            [
                v, str(s["sites"]),
                *(f"{s[k] * 1e3:.1f}"
                  for k in ("median", "quiet", "mean", "p99", "client_cpu", "ramp_median")),
            ]
            for v, s in summary.items()
        ],
    )  # fmt: skip
    show("Comparison", ["", ""], [[k, str(v)] for k, v in verdict.items()])
    show(
        "Where the time goes, ms a site",
        ["", ""],
        [[k, f"{v * 1e3:.2f}"] for k, v in parts.items()],
    )
    write_json(
        "site_cost",
        {"seed": options.seed, "summary": summary, "comparison": verdict, "parts": parts},
    )


if __name__ == "__main__":
    main()
