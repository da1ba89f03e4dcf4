"""Kinetics from a sweep-rate series on a fresh area, against the world's own parameters.

Run: ``python -m benchmarks.kinetics [--seeds 1 2 3] [--rows 70]``. Grains are segmented in the
topography by the analysis; only sites further than 60 nm from them are fitted.
"""

import argparse
from typing import Any

import numpy as np
from nucleation_bluesky.plans.sweep_rate_series import sweep_rate_series
from nucleation_bluesky.storage.analyse import analyse_ramps

from benchmarks.accuracy import save, show
from benchmarks.virtual_runs import Measured, measured

RATES = (0.3, 1.2, 4.8, 19.2)
DISTANCE = 60e-9


def judge(run: Measured) -> dict[str, Any]:
    """Analyse a series and compare B with the median and A with the value of the world."""
    result = analyse_ramps(run.ramps, run.topographies)
    if result.kinetics is None:
        raise RuntimeError(f"no kinetics: {result.missing.get('kinetics')}")
    fit, world = result.kinetics, run.header["parameters"]
    matrix = run.truth["boundary_distance"] > DISTANCE
    area_b = float(np.median(run.truth["barrier"][matrix]))
    error = result.sites["onset_bias"].values - run.truth["nucleation_bias"]
    genuine = (run.truth["trip_cause"] == "growth") & np.isfinite(error)
    return {
        "B_V2": fit.b,
        "B_low": fit.b_interval[0],
        "B_high": fit.b_interval[1],
        "A_per_s": fit.a,
        "A_low": fit.a_interval[0],
        "A_high": fit.a_interval[1],
        "spread": fit.spread,
        "world_B": world["barrier"],
        "area_median_B": area_b,
        "world_A": world["hazard_prefactor"],
        "B_ratio_world": fit.b / world["barrier"],
        "B_ratio_area": fit.b / area_b,
        "A_ratio": fit.a / world["hazard_prefactor"],
        "fitted_sites": fit.n_sites,
        "onset_rmse_mV": 1e3 * float(np.sqrt(np.mean(error[genuine] ** 2))),
        "measured_s": run.seconds,
    }


def main() -> None:
    """Run one series per seed; results are written after each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--rows", type=int, default=70)
    args = parser.parse_args()
    arguments = {
        "rows": args.rows,
        "cols": args.rows,
        "rates": RATES,
        "stop": -4.6,
        "samples_per_volt": 1000.0,
        "blanking": 1e-3,
        "background_time": 20e-3,
        "n_post": 5,
    }
    results: list[dict[str, Any]] = []
    for seed in args.seeds:
        with measured(sweep_rate_series, arguments, seed=seed, world="nominal") as run:
            results.append(
                {"seed": seed, "world": "nominal", "rows": args.rows, "sites": run.ramps.n_sites}
                | judge(run)
            )
        save("kinetics", results)
    show(results, f"sweep-rate series of {args.rows} x {args.rows} sites")


if __name__ == "__main__":
    main()
