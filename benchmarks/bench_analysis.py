"""Time and memory of the site analysis on a full map, beside a per-site scipy fit.

Run: ``python -m benchmarks bench_analysis [--sites 4900] [--samples 3500]``.
"""

import argparse
import resource
import time

import numpy as np
from nucleation_bluesky.analysis.ramps import RampSet
from nucleation_bluesky.analysis.site_results import analyse_sites
from scipy.optimize import curve_fit

from benchmarks.report import write_json


def make_map(sites: int, samples: int, seed: int = 0) -> RampSet:
    """A map at 1 kHz and 1.2 V/s whose ramps trip within the last ten per cent."""
    rng = np.random.default_rng(seed)
    rate, period = 1.2, 1e-3
    counts = rng.integers(int(0.9 * samples), samples + 1, sites)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    total = int(offsets[-1])
    current = rng.normal(0, 0.5e-12, total).astype(np.float32) - np.float32(9.6e-12)
    height = rng.normal(0, 45e-12, total).astype(np.float32)
    born = rng.uniform(1.4, 2.4, sites)
    speed = 4.2e-9 * rng.lognormal(0, 0.3, sites)
    for k in range(sites):
        age = np.maximum(born[k] - np.arange(8), 0)[::-1]
        end = offsets[k + 1]
        height[end - 8 : end] += (speed[k] * age).astype(np.float32)
        current[end - 8 : end] -= (4e-12 * (speed[k] / 4.2e-9) ** 3 * age**2).astype(np.float32)
    side = int(np.ceil(np.sqrt(sites)))
    index = np.arange(sites)
    return RampSet(
        offsets=offsets,
        current=current,
        height=height,
        sample_period=period,
        bias_start=np.zeros(sites),
        bias_stop=np.full(sites, -rate * period * samples - 0.01),
        ramp_rate=np.full(sites, rate),
        x=20e-9 * (index % side),
        y=20e-9 * (index // side),
        n_post=np.zeros(sites, dtype=int),
        mode="current",
        current_compliance=10e-12,
        row=index // side,
        col=index % side,
        grid_shape=(side, side),
    )


def fit_site(ramps: RampSet, site: int) -> float:
    """Onset of one site the plain way: a hinge in the height by scipy."""
    part = slice(int(ramps.offsets[site]), int(ramps.offsets[site + 1]))
    z = ramps.height[part][-200:].astype(float) * 1e9
    t = np.arange(len(z), dtype=float)

    def hinge(x: np.ndarray, a: float, b: float, c: float, x0: float) -> np.ndarray:
        return a + b * x + c * np.maximum(x - x0, 0.0)

    popt, _ = curve_fit(hinge, t, z, p0=(z[0], 0.0, 3.0, len(z) - 3.0), maxfev=2000)
    return float(popt[3])


def main() -> None:
    """Print wall time, peak memory and the ratio to a per-site loop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=4900)
    parser.add_argument("--samples", type=int, default=3500)
    parser.add_argument("--loop-sites", type=int, default=100)
    args = parser.parse_args()
    analyse_sites(make_map(9, 500))  # xarray imports dask at its first use
    ramps = make_map(args.sites, args.samples)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cpu = time.process_time()
    began = time.perf_counter()
    ds = analyse_sites(ramps)
    elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began = time.perf_counter()
    for site in range(args.loop_sites):
        fit_site(ramps, site)
    loop = (time.perf_counter() - began) / args.loop_sites * args.sites
    write_json(
        "analysis",
        {
            "sites": args.sites, "samples": int(ramps.offsets[-1]), "seconds": elapsed,
            "cpu_seconds": cpu, "peak_mb": peak, "peak_before_mb": before,
            "scipy_hinge_loop_seconds": loop,
        },
    )  # fmt: skip
    print(f"sites {args.sites}, samples {ramps.offsets[-1]:,}")
    print(f"nucleated {int(ds['nucleated'].sum())}")
    print(f"analyse_sites CPU {cpu:.2f} s")
    print(
        f"analyse_sites {elapsed:.2f} s; peak memory {peak:.0f} MB (input and start {before:.0f})"
    )
    print(f"per-site scipy loop {loop:.1f} s, ratio {loop / elapsed:.1f}")


if __name__ == "__main__":
    main()
