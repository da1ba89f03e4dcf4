"""Adaptive ramps against a constant rate: time in ramps, onset, flagged sites.

Two sessions with virtual samples of the same seed visit the same sites, once with a constant rate
and once with the plan's adaptive approach. The virtual sample's chance is tied to seed, site and
visit, so the same nuclei would form at the same integrated hazard; what differs is what the
approach does. Onsets are those of the analysis; the truth stands beside them.

Run: ``python -m benchmarks adaptive``. Each half runs in a process of its own.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from nucleation_bluesky.plans.nucleation_map import nucleation_map

from benchmarks.bench_session import bench_session
from benchmarks.report import show, write_json


def measure(seed: int, rows: int, mode: str, adaptive: bool) -> dict[str, Any]:
    """Map once; per-site results, ordered by site."""
    with bench_session(seed) as bench:
        instrument: Any = bench.session.instrument
        plan = nucleation_map(
            instrument,
            rows=rows, cols=rows, order="snake", compliance=mode, adaptive=adaptive,
            image_before_after=False, n_post=5,
        )  # fmt: skip
        uid = bench.measure(plan)
        sites, truth = bench.analyse(uid)
        order = np.argsort(bench.events(uid, "site"))
        columns = {
            "duration": bench.events(uid, "duration"),
            "fast_end": bench.events(uid, "fast_segment_end"),
            "trip_segment": bench.events(uid, "trip_segment"),
            "onset": sites["onset_bias"].to_numpy(),
            "nucleated": sites["nucleated"].to_numpy().astype(float),
            "in_fast": sites["in_fast_segment"].to_numpy().astype(float),
            "true_onset": truth["nucleation_bias"],
            "true_nucleated": truth["nucleated"].astype(float),
            "glitch": truth["glitch"].astype(float),
        }
    return {name: values[order].tolist() for name, values in columns.items()}


def difference(constant: np.ndarray, adaptive: np.ndarray) -> dict[str, float]:
    """How much later (in magnitude) the onset comes on adaptive ramps, V."""
    delta = np.abs(adaptive) - np.abs(constant)
    delta = delta[np.isfinite(delta)]
    return {
        "sites": len(delta),
        "mean": float(np.mean(delta)),
        "standard_error": float(np.std(delta) / np.sqrt(len(delta))),
        "median": float(np.median(delta)),
        "p01": float(np.percentile(delta, 1)),
        "p99": float(np.percentile(delta, 99)),
        "within_1_mV": float(np.mean(np.abs(delta) <= 1e-3)),
    }


def compare(constant: dict[str, Any], adaptive: dict[str, Any]) -> dict[str, Any]:
    """Figures of merit of the pair."""
    a = {k: np.array(v, dtype=float) for k, v in adaptive.items()}
    c = {k: np.array(v, dtype=float) for k, v in constant.items()}
    n = len(c["duration"])
    both = (c["nucleated"] > 0) & (a["nucleated"] > 0)
    clean = both & (c["glitch"] == 0) & (a["glitch"] == 0)
    flagged = (a["trip_segment"] == 0) & np.isfinite(a["fast_end"])
    shortened = np.isfinite(a["fast_end"])
    return {
        "sites": n,
        "ramp_time_constant": float(np.nansum(c["duration"])),
        "ramp_time_adaptive": float(np.nansum(a["duration"])),
        "saved": 1 - float(np.nansum(a["duration"]) / np.nansum(c["duration"])),
        "shortened_sites": int(shortened.sum()),
        "flagged_by_plan": int(flagged.sum()),
        "flagged_share": float(flagged.mean()),
        "onset_in_fast_by_analysis": int(np.sum(a["in_fast"] > 0)),
        "true_onset_in_fast": int(np.sum(np.abs(a["true_onset"]) < np.abs(a["fast_end"]))),
        "nucleated_constant": int(np.sum(c["nucleated"])),
        "nucleated_adaptive": int(np.sum(a["nucleated"])),
        "true_nucleated_constant": int(np.sum(c["true_nucleated"])),
        "true_nucleated_adaptive": int(np.sum(a["true_nucleated"])),
        "added_onset": difference(c["onset"][clean], a["onset"][clean]),
        "added_true_onset": difference(c["true_onset"][clean], a["true_onset"][clean]),
        "onset_error_constant": float(
            np.sqrt(np.nanmean((c["onset"] - c["true_onset"])[clean] ** 2))
        ),
        "onset_error_adaptive": float(
            np.sqrt(np.nanmean((a["onset"] - a["true_onset"])[clean] ** 2))
        ),
        "remaining_margin": float(np.nanmean(np.abs(a["true_onset"]) - np.abs(a["fast_end"]))),
    }


def half(seed: int, rows: int, mode: str, adaptive: bool) -> dict[str, Any]:
    """`measure` in a process of its own: one Channel Access context per instrument."""
    command = [sys.executable, "-m", "benchmarks.adaptive", "--half"]
    command += ["--seed", str(seed), "--rows", str(rows), "--mode", mode]
    command += ["--adaptive"] if adaptive else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=1800)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure both, compare, store."""
    parser = argparse.ArgumentParser(prog="adaptive", description=__doc__)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--rows", type=int, default=70)
    parser.add_argument("--mode", default="current", choices=["current", "height"])
    parser.add_argument("--half", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--adaptive", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--keep", type=Path, help="write the per-site columns here")
    options = parser.parse_args()
    seed, rows, mode = options.seed, options.rows, options.mode
    if options.half:
        print(json.dumps(measure(seed, rows, mode, options.adaptive)))
        return
    constant = half(seed, rows, mode, adaptive=False)
    adaptive = half(seed, rows, mode, adaptive=True)
    if options.keep:
        options.keep.write_text(json.dumps({"constant": constant, "adaptive": adaptive}))
    result = compare(constant, adaptive)
    table = [
        [k, json.dumps({a: float(f"{b:.4g}") for a, b in v.items()})
            if isinstance(v, dict) else f"{v:.6g}"]
        for k, v in result.items()
    ]  # fmt: skip
    show(f"Adaptive ramps, {rows} x {rows} sites, {mode} compliance", ["", ""], table)
    write_json(f"adaptive_{mode}", {"seed": seed, "rows": rows, "mode": mode, "result": result})


if __name__ == "__main__":
    main()
