"""Overshoot of current and height against sample rate, and of the ramp stepped by a plan.

One virtual sample, one session. The sites of one grid are dealt at random to sample rates, to
compliance modes and to the stepped (software) ramp, so that all meet the same material. Measured
values come from the analysis of the runs in Tiled, true ones from the world's ground truth: the
current and height of the nucleus when the abort has taken effect (trip plus latency).

Run: ``python -m benchmarks overshoot``.
"""

import argparse
import math
import time
from typing import Any

import numpy as np
import xarray as xr
from bluesky.plan_stubs import mv
from nucleation_bluesky.contract.enums import Termination
from nucleation_bluesky.plans.adaptive import TRIPS
from nucleation_bluesky.plans.nucleation_map import nucleation_map
from nucleation_bluesky.plans.sites import grid
from nucleation_bluesky.report.figures import style
from nucleation_bluesky.report.figures.style import save_png

from benchmarks.bench_session import RESULTS, Bench, bench_session
from benchmarks.report import show, write_json

CURRENT, HEIGHT = 10e-12, 8e-9  # compliance
GAIN, COARSE_GAIN = 1e11, 1e10  # V/A: ranges of 100 pA and 1 nA
POST_TIME = 1e-3  # s recorded after a trip, beyond the abort and the poles of the channels
MIN_POST = 5
PITCH = 20e-9
ENDED = (*TRIPS, Termination.SATURATED)
MODES = ("current", "height")


def groups(sites: int, fast_sites: int, stepped: int) -> list[dict[str, Any]]:
    """What is measured: rate (None for the stepped ramp), mode and number of sites."""
    counts = {1e3: sites, 5e3: sites, 20e3: sites, 50e3: fast_sites, None: stepped}
    return [{"rate": r, "mode": m, "sites": n} for m in MODES for r, n in counts.items() if n]


def deal(wanted: list[dict[str, Any]], seed: int) -> list[list[tuple[float, float]]]:
    """Sites of one grid at random to the groups, each in raster order."""
    total = sum(g["sites"] for g in wanted)
    side = math.ceil(math.sqrt(total))
    half = (side - 1) * PITCH / 2
    area = grid(side, side, PITCH, origin=(-half, -half))
    order = np.random.default_rng(seed).permutation(len(area))
    dealt, begin = [], 0
    for group in wanted:
        index = np.sort(order[begin : begin + group["sites"]])
        begin += group["sites"]
        dealt.append([(float(area.x[i]), float(area.y[i])) for i in index])
    return dealt


def measure(bench: Bench, group: dict[str, Any], sites: list[tuple[float, float]]) -> dict:
    """Measure one group and summarise its overshoot."""
    rate = group["rate"]
    arguments: dict[str, Any] = {"sites": sites, "order": "given", "compliance": group["mode"]}
    if rate is None:
        arguments |= {"software": True}
    else:
        arguments |= {"sample_rate": rate, "n_post": max(MIN_POST, math.ceil(POST_TIME * rate))}
    session = bench.session
    instrument: Any = session.instrument
    # where current does not end the ramp, or only late, the fine range would saturate first
    coarse = rate is None or group["mode"] == "height"
    session.RE(mv(instrument.amplifier.gain, COARSE_GAIN if coarse else GAIN))
    began = time.monotonic()
    uid = bench.measure(nucleation_map(instrument, image_before_after=False, **arguments))
    seconds = time.monotonic() - began
    analysed, truth = bench.analyse(uid)
    return group | {"seconds": seconds} | summarise(analysed, truth, group["mode"])


def quantiles(values: np.ndarray) -> dict[str, float]:
    """Median, 99th percentile and largest."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return {"median": math.nan, "p99": math.nan, "max": math.nan}
    return {
        "median": float(np.median(finite)),
        "p99": float(np.percentile(finite, 99)),
        "max": float(finite.max()),
    }


def summarise(sites: xr.Dataset, truth: dict[str, np.ndarray], mode: str) -> dict[str, Any]:
    """Overshoot of the sites that a nucleus ended, and no glitch; the truth says which.

    Current: ratio to compliance; height: excess over compliance, m. The true values are the
    nucleus' own at the moment when the abort has taken effect; for the stepped ramp, whose
    controller does not abort by itself, the largest of the whole exposure.
    """
    nucleated = sites["nucleated"].to_numpy()
    ended = np.isin(sites["termination"].to_numpy(), [int(t) for t in ENDED])
    glitch = truth["trip_cause"] == "glitch"
    used = ended & ~glitch & truth["nucleated"].astype(bool)
    saturated = sites["termination"].to_numpy() == int(Termination.SATURATED)
    stepped = truth["exposure_kind"] == "software"
    measured = {
        "current": np.abs(sites["current_overshoot"].to_numpy()),
        "height": sites["height_excess"].to_numpy(),
    }[mode][used]
    # the last sample before the abort took effect; "measured" includes what followed it
    at_stop = np.full(int(used.sum()), np.nan)
    if mode == "height":
        at_stop = sites["height_change"].to_numpy()[used] - HEIGHT
    current = np.where(stepped, truth["peak_current"], truth["end_current"])
    true = {
        "current": np.abs(current) / CURRENT,
        "height": truth["end_radius"] - truth["radius_before"] - HEIGHT,
    }[mode][used]
    onset = sites["onset_bias"].to_numpy()[used]
    found = np.isfinite(onset)
    error = (onset - truth["nucleation_bias"][used])[found]
    return {
        "used": int(used.sum()),
        "ended_by_glitch": int(glitch.sum()),
        "saturated": int(saturated.sum()),
        "nucleated_analysis": int(nucleated.sum()),
        "nucleated_truth": int(truth["nucleated"].sum()),
        "onsets": int(found.sum()),
        "onset_rmse": float(np.sqrt(np.mean(error**2))) if len(error) else math.nan,
        "onset_median_error": float(np.median(error)) if len(error) else math.nan,
        "unit": "ratio to compliance" if mode == "current" else "m beyond compliance",
        "measured": quantiles(measured),
        "measured_at_stop": quantiles(at_stop),
        "true": quantiles(true),
    }


def label(rate: float | None) -> str:
    """Name of a row."""
    return "stepped by plan" if rate is None else f"{rate / 1e3:g} kHz"


@style.styled
def figure(results: list[dict[str, Any]]) -> Any:
    """Draw median and 99th percentile, measured and true, of both modes."""
    made = style.new_figure(style.WIDTH, 3.0)
    axes = made.subplots(1, 2)
    for ax, mode, letter in zip(axes, MODES, "ab", strict=True):
        rows = [r for r in results if r["mode"] == mode]
        scale = 1.0 if mode == "current" else 1e9
        for kind, color in (("measured", style.BLUE), ("true", style.ORANGE)):
            for quantile, line in (("median", "-"), ("p99", "--")):
                ramps = [r for r in rows if r["rate"] is not None]
                ax.plot(
                    [r["rate"] for r in ramps],
                    [r[kind][quantile] * scale for r in ramps],
                    line, marker="o", ms=3, color=color,
                    label=f"{kind}, {'median' if quantile == 'median' else '99th percentile'}",
                )  # fmt: skip
                for r in rows:
                    if r["rate"] is None:
                        ax.plot(
                            [200], [r[kind][quantile] * scale], color=color, ls="none",
                            marker="o" if quantile == "median" else "^", mfc="none", ms=5,
                        )  # fmt: skip
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xticks([200, 1e3, 5e3, 20e3, 50e3])
        ax.set_xticklabels(["stepped", "1k", "5k", "20k", "50k"])
        ax.minorticks_off()
        ax.set_xlabel("Sample rate (Hz)")
        if mode == "current":
            ax.axhline(1.5, color=style.FAINT, lw=0.7, ls=":")
            ax.axhline(4.0, color=style.FAINT, lw=0.7)
            ax.set_ylabel("Largest current / compliance")
        else:
            ax.axhline(1.0, color=style.FAINT, lw=0.7, ls=":")
            ax.set_ylabel("Height beyond compliance (nm)")
        style.panel(ax, letter, f"{mode} compliance")
    axes[0].legend(loc="upper right")
    return made


def main() -> None:
    """Measure, show, store."""
    parser = argparse.ArgumentParser(prog="overshoot", description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--sites", type=int, default=400)
    parser.add_argument("--fast-sites", type=int, default=150, help="at 50 kHz")
    parser.add_argument("--stepped", type=int, default=50)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    options = parser.parse_args()
    wanted = groups(options.sites, options.fast_sites, options.stepped)
    wanted = [group for group in wanted if group["mode"] in options.modes]
    results = []
    with bench_session(options.seed) as bench:
        for group, sites in zip(wanted, deal(wanted, options.seed), strict=True):
            results.append(measure(bench, group, sites))
            row = results[-1]
            print(label(row["rate"]), row["mode"], f"{row['seconds']:.0f} s", flush=True)
    rows = []
    for r in results:
        scale = 1.0 if r["mode"] == "current" else 1e9
        numbers = [
            f"{r[kind][q] * scale:.3f}"
            for kind in ("measured", "true")
            for q in ("median", "p99", "max")
        ] + [f"{r['measured_at_stop']['p99'] * scale:.3f}"]
        rows.append([r["mode"], label(r["rate"]), str(r["used"]), *numbers])
    show(
        "Overshoot: current / compliance, or nm beyond height compliance",
        [
            "mode",
            "ramp",
            "sites",
            "measured median",
            "p99",
            "max",
            "true median",
            "p99",
            "max",
            "measured at stop p99",
        ],
        rows,
    )
    write_json("overshoot", {"seed": options.seed, "results": results})
    save_png(figure(results), RESULTS / "overshoot.png")


if __name__ == "__main__":
    main()
