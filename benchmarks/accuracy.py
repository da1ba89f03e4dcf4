"""Accuracy of whole nucleation maps, from the plan to the analysis, against ground truth.

Run: ``python -m benchmarks.accuracy [--seeds 1 2 3] [--worlds nominal hard] [--rows 70]``.
Every map is measured through a session on the virtual AFM, delivered to Tiled and analysed from
there; the truth is read only to compare.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from nucleation_bluesky.plans.nucleation_map import nucleation_map
from nucleation_bluesky.storage.analyse import AnalysisResult, analyse_ramps
from rich.console import Console
from rich.table import Table

from benchmarks.virtual_runs import WORLDS, Measured, environment, measured, peak_memory

RESULTS = Path(__file__).parent / "results"
NUCLEATED, FALSE_TRIP = 1, 2


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2))) if len(values) else float("nan")


def _share(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def compare(sites: xr.Dataset, truth: dict[str, np.ndarray]) -> dict[str, float]:
    """Figures of merit of one map.

    A genuine trip was caused by growth of a nucleus born at this site; a false trip by a glitch
    before any nucleus was born. Trips by an older deposit under the tip are counted apart.
    """
    verdict = sites["classification"].values
    nucleated = verdict == NUCLEATED
    cause = truth["trip_cause"]
    trip_time = truth["trip_index"] / truth["sample_rate"]
    born_before = truth["nucleation_time"] <= trip_time  # False where NaN
    genuine = cause == "growth"
    false = (cause == "glitch") & ~born_before
    older = truth["radius_before"] > 0
    found = genuine & nucleated & np.isfinite(sites["onset_bias"].values)
    error = (sites["onset_bias"].values - truth["nucleation_bias"])[found]
    z = np.abs(error / sites["onset_bias_uncertainty"].values[found])
    fresh = found & ~older
    volume = 2.0 / 3.0 * np.pi * truth["final_radius"][fresh] ** 3
    ratio = sites["particle_volume"].values[fresh] / volume - 1.0
    onset = sites["onset_bias"].values[nucleated]
    distance = truth["boundary_distance"]
    near, far = found & (distance < 20e-9), found & (distance > 100e-9)
    by_onset = sites["onset_bias"].values
    current, height = (sites[name].values[found] for name in ("current_overshoot", "height_excess"))
    height = sites["height_change"].values[found] if np.isnan(height).all() else height
    return {
        "sites": len(verdict),
        "genuine_trips": int(genuine.sum()),
        "genuine_with_onset": _share(found[genuine]),
        "onset_rmse_mV": 1e3 * _rms(error),
        "onset_bias_mV": 1e3 * float(np.mean(error)),
        "coverage_1_sigma": _share(z < 1.0),
        "coverage_2_sigma": _share(z < 2.0),
        "nucleated_on_alpo4": int(np.sum(nucleated & truth["on_alpo4"].astype(bool) & ~older)),
        "on_older_deposits": int(np.sum(older)),
        "false_trips": int(false.sum()),
        "false_trips_found": int(np.sum(false & (verdict == FALSE_TRIP))),
        "false_trip_sensitivity": _share(verdict[false] == FALSE_TRIP),
        "others": int(np.sum(~false)),
        "others_called_false": int(np.sum(~false & (verdict == FALSE_TRIP))),
        "false_trip_specificity": _share(verdict[~false] != FALSE_TRIP),
        "volume_relative_rmse": _rms(ratio),
        "volume_relative_bias": float(np.mean(ratio)),
        "mean_onset_V": float(np.mean(onset)),
        "onset_within_20_nm_V": float(np.mean(by_onset[near])) if near.any() else float("nan"),
        "onset_beyond_100_nm_V": float(np.mean(by_onset[far])) if far.any() else float("nan"),
        "current_overshoot_median": float(np.median(current)),
        "current_overshoot_p99": float(np.quantile(current, 0.99)),
        "height_at_trip_median_nm": 1e9 * float(np.median(height)),
        "height_at_trip_p99_nm": 1e9 * float(np.quantile(height, 0.99)),
    }


def one_map(seed: int, world: str, rows: int) -> dict[str, Any]:
    """Measure, analyse and compare one map."""
    arguments = {"rows": rows, "cols": rows, "n_post": 5}
    with measured(nucleation_map, arguments, seed=seed, world=world) as run:
        return {"seed": seed, "world": world, "rows": rows, **judge(run)}


def judge(run: Measured) -> dict[str, Any]:
    """Analyse a measured map and compare."""
    began = time.perf_counter()
    result: AnalysisResult = analyse_ramps(run.ramps, run.topographies)
    seconds = time.perf_counter() - began
    figures = compare(result.sites, run.truth)
    return {
        **figures,
        "measured_s": run.seconds,
        "analysed_s": seconds,
        "peak_memory_MB": peak_memory(),
    }


def show(results: list[dict[str, Any]], title: str) -> None:
    """Print one column per map."""
    table = Table("", *(f"{r['world']} {r['seed']}" for r in results), title=title)
    for key in results[0]:
        if key in ("seed", "world", "rows"):
            continue
        cells = [r[key] for r in results]
        table.add_row(key, *(f"{c:.4g}" if isinstance(c, float) else str(c) for c in cells))
    Console(width=40 + 14 * len(results)).print(table)


def save(name: str, results: list[dict[str, Any]]) -> Path:
    """Write results with versions to ``benchmarks/results``."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    content = {"environment": environment(), "results": results}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def main() -> None:
    """Run the maps that were asked for; results are written after each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS))
    parser.add_argument("--rows", type=int, default=70)
    args = parser.parse_args()
    results: list[dict[str, Any]] = []
    for world in args.worlds:
        for seed in args.seeds:
            results.append(one_map(seed, world, args.rows))
            save("accuracy", results)
    show(results, f"nucleation maps of {args.rows} x {args.rows} sites")


if __name__ == "__main__":
    main()
