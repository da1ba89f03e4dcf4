"""Throughput of the film analysis against a loop over pixels, and a film larger than memory.

Run: ``python -m benchmarks.film_throughput [--frames 260] [--size 700] [--loop-pixels N]``.
The loop is what a researcher writes: per pixel `numpy.interp` to even times,
`scipy.signal.savgol_filter` with ``deriv=1``, the largest local maximum, a parabola through it.
Both smooth every frame first. ``--loop-pixels`` times the loop on some pixels only and scales its
time up (said in the result). The large film is written in chunks, analysed through dask in a child
process that may not hold more than ``--cap`` bytes, and deleted.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from nucleation_bluesky.analysis.seccm.film import open_film
from nucleation_bluesky.analysis.seccm.peaks import find_peaks_in
from nucleation_bluesky.analysis.seccm.savgol import interpolation_operator, savgol_operator
from nucleation_bluesky.analysis.seccm.smooth import Corrected
from rich.console import Console
from scipy import ndimage
from scipy.signal import savgol_filter

RESULTS = Path(__file__).parent / "results"
PIXEL, SIGMA, WINDOW, ORDER = 40e-9, 4.0, 21, 4
BIRTH, CONTACT = 0.35, 0.06  # shares of the film's duration


def scene(size: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Static parts of a film: footprint, times of birth, texture."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    wet = np.hypot(y - 0.51 * size, x - 0.48 * size) < 0.39 * size
    births = ndimage.gaussian_filter(rng.normal(size=(size, size)), 0.04 * size)
    births /= births.std()
    texture = 60 * ndimage.gaussian_filter(rng.normal(size=(size, size)), 2.5)
    return {
        "wet": wet.astype(np.float32),
        "births": births.astype(np.float32),
        "texture": (1800 + 6 * texture).astype(np.float32),
        "noise": (22 * rng.standard_normal((16, size, size))).astype(np.float32),
    }


def frame(parts: dict[str, np.ndarray], t: float, span: float, k: int) -> np.ndarray:
    """One frame at time ``t`` of a film of ``span`` seconds."""
    image = parts["texture"].copy()
    after = t - CONTACT * span
    if after > 0:
        age = after - BIRTH * span - 0.016 * span * parts["births"]
        born = np.clip(age / (0.01 * span) + 0.5, 0, 1)
        image += parts["wet"] * (-170 + 60 * born + 4 * np.clip(age, 0, None))
    noise = parts["noise"][k % len(parts["noise"])]
    image += np.roll(noise, (37 * k) % noise.shape[0], axis=k % 2)
    return np.clip(image, 0, 4095).astype(np.uint16)


def times(count: int, interval: float, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.cumsum(interval * np.clip(1 + 0.08 * rng.normal(size=count), 0.5, 1.5))


def loop(
    smooth: np.ndarray, time_: np.ndarray, even: np.ndarray, rows: tuple[int, int]
) -> np.ndarray:
    """Time of the largest local maximum of dI/dt, pixel by pixel; smooth is (frames, pixels)."""
    low, high = rows
    step = even[1] - even[0]
    out = np.full(smooth.shape[1], np.nan)
    for p in range(smooth.shape[1]):
        record = np.interp(even, time_, smooth[:, p])
        rate = savgol_filter(record, WINDOW, ORDER, deriv=1, delta=step)
        best, at = -np.inf, -1
        inner = rate[low:high]
        local = (inner > rate[low - 1 : high - 1]) & (inner >= rate[low + 1 : high + 1])
        candidates = np.flatnonzero(local)
        if len(candidates):
            at = int(candidates[np.argmax(inner[candidates])]) + low
            best = rate[at]
            left, right = rate[at - 1], rate[at + 1]
            out[p] = even[at] + 0.5 * step * (left - right) / (left - 2 * best + right)
    return out


def compare(frames: int, size: int, loop_pixels: int | None) -> dict[str, float]:
    """Time both ways on one film in memory."""
    parts, stamps = scene(size), times(frames, 0.23)
    span = float(stamps[-1])
    movie = np.stack([frame(parts, t, span, k) for k, t in enumerate(stamps)])
    even = np.linspace(stamps[0], stamps[-1], frames)
    rows = tuple(np.searchsorted(even, [s * span for s in (0.3, 0.55)]))
    rows = (int(rows[0]), int(rows[1]))
    film = open_film(movie, stamps, PIXEL)
    recipe = Corrected(
        film, np.ones(frames), np.zeros((frames, 2)), SIGMA, np.ones((size, size), dtype=bool)
    )

    start = time.perf_counter()
    resampled = savgol_operator(even, WINDOW, ORDER) @ interpolation_operator(stamps, even)
    resampled = resampled.tocsr()
    used = resampled[rows[0] - 1 : rows[1] + 1].indices
    span_ = int(used.min()), int(used.max()) + 1
    ours = find_peaks_in(recipe.records(*span_), resampled, even, *rows).time
    ours_seconds = time.perf_counter() - start

    start = time.perf_counter()
    smooth = np.stack(
        [ndimage.gaussian_filter(f.astype(float), SIGMA, mode="nearest", truncate=3.75)
         for f in movie]
    ).reshape(frames, -1)  # fmt: skip
    smoothing_seconds = time.perf_counter() - start
    chosen = np.arange(size * size)
    if loop_pixels is not None and loop_pixels < len(chosen):
        chosen = np.sort(np.random.default_rng(0).permutation(len(chosen))[:loop_pixels])
    start = time.perf_counter()
    theirs = loop(smooth[:, chosen], stamps, even, rows)
    loop_seconds = (time.perf_counter() - start) * size * size / len(chosen)

    irregular = savgol_operator(stamps, WINDOW, ORDER)
    low, high = np.searchsorted(stamps, [even[rows[0]], even[rows[1]]])
    real = find_peaks_in(recipe.records(0, frames), irregular, stamps, int(low), int(high)).time
    wet = parts["wet"].ravel()[chosen] > 0
    both = np.isfinite(theirs) & np.isfinite(ours[chosen]) & wet
    apart = np.abs(theirs - ours[chosen])[both]
    nearby = np.abs(real[chosen] - theirs)[both & np.isfinite(real[chosen])]
    return {
        "frames": frames,
        "size": size,
        "loop_pixels": len(chosen),
        "loop_seconds": loop_seconds,
        "smoothing_seconds": smoothing_seconds,
        "researcher_seconds": loop_seconds + smoothing_seconds,
        "ours_seconds": ours_seconds,
        "speedup": (loop_seconds + smoothing_seconds) / ours_seconds,
        "same_within_1ms": float(np.mean(apart < 1e-3)),
        "difference_median_s": float(np.median(apart)),
        "difference_p999_s": float(np.percentile(apart, 99.9)),
        "found_by_both": float(np.mean(both[wet])),
        "real_times_against_resampled_median_s": float(np.median(nearby)),
    }


CHILD = """
import json, resource, sys, time
import dask.array as da, h5py, numpy as np
from nucleation_bluesky.analysis.seccm.landing import analyse_film
cap = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_DATA, (cap, cap))
start = time.perf_counter()
with h5py.File(sys.argv[1]) as file:
    frames = da.from_array(file["movie/frames"], chunks=(16, -1, -1))
    stamps, pixel = file["movie/timestamps"][()], float(file["movie"].attrs["pixel_size"])
    result = analyse_film(frames, stamps, pixel)
valid = result["nucleation_time_valid"].values
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"seconds": time.perf_counter() - start, "peak_rss_bytes": peak,
    "footprint_area": result.attrs["footprint_area"], "t_nuc_irm": result.attrs["t_nuc_irm"],
    "map_interval": result.attrs["map_interval"], "map_window": result.attrs["map_window"],
    "valid": float(valid[result["footprint"].values].mean()),
    "map_sd": float(np.nanstd(result["nucleation_time"].values[valid]))}))
"""


def large(gigabytes: float, size: int, cap: int, folder: Path) -> dict[str, float]:
    """Write a large film, analyse it in a child of bounded memory, delete it."""
    import h5py  # noqa: PLC0415

    count = int(gigabytes * 1e9 / (2 * size * size))
    span = 60.0
    stamps = times(count, span / count)
    parts = scene(size)
    path = folder / "large.h5"
    try:
        with h5py.File(path, "w") as file:
            file.attrs["format"] = "nucleation-seccm"
            movie = file.create_group("movie")
            movie.attrs["pixel_size"] = PIXEL
            movie["timestamps"] = stamps
            data = movie.create_dataset(
                "frames", (count, size, size), np.uint16, chunks=(1, size, size)
            )
            for k, t in enumerate(stamps):
                data[k] = frame(parts, float(t), float(stamps[-1]), k)
        written = path.stat().st_size
        del parts
        child = subprocess.run(
            [sys.executable, "-c", CHILD, str(path), str(cap)],
            capture_output=True, text=True, timeout=1800, check=False,
        )  # fmt: skip
        if child.returncode:
            raise SystemExit(child.stderr)
        out = json.loads(child.stdout.splitlines()[-1])
    finally:
        path.unlink(missing_ok=True)
    expected = BIRTH * float(stamps[-1])
    return {
        "film_bytes": written,
        "frames": count,
        "cap_bytes": cap,
        "t_nuc_true": expected,
        **out,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=260)
    parser.add_argument("--size", type=int, default=700)
    parser.add_argument("--loop-pixels", type=int, default=None)
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--cap", type=float, default=1e9)
    parser.add_argument("--skip-large", action="store_true")
    parser.add_argument("--skip-loop", action="store_true")
    parser.add_argument("--save", action="store_true", help="write results/film_throughput.json")
    options = parser.parse_args()
    out: dict[str, dict[str, float]] = {}
    if not options.skip_large:
        with tempfile.TemporaryDirectory() as folder:
            out["large"] = large(options.gigabytes, options.size, int(options.cap), Path(folder))
    if not options.skip_loop:
        out["throughput"] = compare(options.frames, options.size, options.loop_pixels)
    out["peak"] = {"rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0}
    Console().print_json(json.dumps(out))
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "film_throughput.json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
