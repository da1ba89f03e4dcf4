"""The interference reflection film: frames, nucleation-time and efficiency maps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.ndimage import gaussian_filter
from scipy.stats import norm

from nucleation_bluesky.report.figures import style

FILM_MAP, TIME_MAP, CE_MAP = "inferno", "viridis", "cividis"
DISPLAY_SIGMA = 1e-6  # m, as in the paper's display chain (S22)


def display_frame(
    frames: Any, index: int, reference: np.ndarray, pixel_size: float, sigma: float = 160e-9
) -> np.ndarray:
    """Return a frame as the display chain shows it, relative change against the contact frame.

    Two consecutive frames are averaged and smoothed (the paper's own 1 um blurs 25 pixels; the
    default is the optical resolution).
    """
    return displayed(np.asarray(frames[index : index + 2]), reference, pixel_size, sigma)


def displayed(
    pair: np.ndarray, reference: np.ndarray, pixel_size: float, sigma: float = 160e-9
) -> np.ndarray:
    """Return two consecutive frames, shape (2, y, x), as `display_frame` does."""
    mean = pair.astype(np.float32).mean(axis=0)
    return gaussian_filter((mean - reference) / np.median(reference), sigma / pixel_size)


def _extent(shape: tuple[int, ...], pixel_size: float) -> tuple[float, float, float, float]:
    return 0.0, shape[1] * pixel_size, 0.0, shape[0] * pixel_size


def _outline(axes, footprint: np.ndarray | None, extent) -> None:
    if footprint is not None and footprint.any():
        axes.contour(footprint, [0.5], colors="white", linewidths=0.6, extent=extent)


@style.styled
def fig_frames(
    images: Sequence[np.ndarray], labels: Sequence[str], pixel_size: float,
    footprint: np.ndarray | None = None, *, columns: int = 4,
) -> Figure:  # fmt: skip
    """Frames on one colour scale, with times and a scale bar.

    Raises
    ------
    ValueError
        If there are none.
    """
    if not images:
        raise ValueError("the film has no frame in that time")
    rows = -(-len(images) // columns)
    figure = style.new_figure(style.WIDTH, 0.35 + 1.75 * rows, images=True)
    panels = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    inside = [i[footprint] if footprint is not None and footprint.any() else i for i in images]
    low, high = style.robust_limits(100 * np.concatenate([i.ravel() for i in inside]))
    drawn: Any = None
    for k, axes in enumerate(panels):
        style.bare(axes)
        if k >= len(images):
            axes.set_visible(False)
            continue
        extent = _extent(images[k].shape, pixel_size)
        drawn = axes.imshow(100 * images[k], cmap=FILM_MAP, vmin=low, vmax=high, extent=extent)
        _outline(axes, footprint, extent)
        axes.set_title(labels[k], fontsize=8)
        if k == 0:
            style.scale_bar(axes)
    bar = figure.colorbar(drawn, ax=panels.tolist(), fraction=0.02, pad=0.01, aspect=30)
    bar.set_label("Change of intensity (%)")
    return figure


@style.styled
def fig_nucleation_map(landing: xr.Dataset, pixel_size: float) -> Figure:
    """Optical nucleation times: the map and their distribution.

    Raises
    ------
    ValueError
        If no pixel has a valid time.
    """
    if "nucleation_time" not in landing:
        raise ValueError("there is no map of nucleation times")
    valid = landing["nucleation_time_valid"].values.astype(bool)
    verdict = str(landing.attrs.get("map_verdict", ""))
    if not valid.any():
        raise ValueError(verdict or "no pixel has a valid nucleation time")
    if not landing.attrs.get("map_resolved", 1):
        raise ValueError(verdict or "local spread not resolved")
    time = np.where(valid, landing["nucleation_time"].values, np.nan)
    figure = style.new_figure(style.WIDTH, 2.8, images=False)
    left, right = figure.subplots(1, 2, width_ratios=(1.1, 1))
    low, high = style.robust_limits(time)
    extent = _extent(time.shape, pixel_size)
    left.set_facecolor("#f4f1ea")
    drawn = left.imshow(time, cmap=TIME_MAP, vmin=low, vmax=high, extent=extent)
    style.bare(left)
    style.scale_bar(left, light=False)
    style.color_bar(left, drawn, "t$_{nuc(IRM)}$ (s after contact)", time)
    values = time[valid]
    kept = values[(values >= low) & (values <= high)]
    right.hist(kept, bins=50, density=True, color=style.SKY)
    mean, sd = norm.fit(kept)
    axis = np.linspace(kept.min(), kept.max(), 200)
    right.plot(axis, norm.pdf(axis, mean, sd), color=style.INK, lw=1)
    sigma = float(np.nanmedian(landing["nucleation_time_uncertainty"].values[valid]))
    right.set_title(f"{mean:.2f} ± {sd:.2f} s; uncertainty of a pixel {sigma:.2f} s", fontsize=8)
    right.set_xlabel("t$_{nuc(IRM)}$ (s after contact)")
    right.set_ylabel("Density (s$^{-1}$)")
    return figure


@style.styled
def fig_efficiency_maps(landing: xr.Dataset, pixel_size: float) -> Figure:
    """Efficiency maps of up to four cycles, and the distribution by cycle.

    Where the spread between pixels is not resolved, the panel says so and shows the median.

    Raises
    ------
    ValueError
        If there are none.
    """
    if "ce" not in landing:
        raise ValueError("the film gives no efficiency maps")
    ce = np.where(landing["ce_valid"].values.astype(bool), landing["ce"].values, np.nan)
    there = [k for k in range(len(ce)) if np.isfinite(ce[k]).any()]
    if not there:
        raise ValueError("no pixel has a valid efficiency")
    some = sorted({there[round(v)] for v in np.linspace(0, len(there) - 1, 4)})
    cycles = landing["cycle"].values
    known = "ce_resolved" in landing
    resolved = landing["ce_resolved"].values.astype(bool) if known else np.ones(len(ce), dtype=bool)
    error = np.where(np.isfinite(ce), landing["ce_uncertainty"].values, np.nan)
    sigma = [float(np.nanmedian(e)) if np.isfinite(e).any() else np.nan for e in error]
    figure = style.new_figure(style.WIDTH, 3.9)
    grid = figure.add_gridspec(2, len(some), height_ratios=(1.15, 1))
    extent = _extent(ce.shape[1:], pixel_size)
    drawn: Any = None
    panels = []
    # one scale for all cycles, as wide as what is shown
    low, high = style.robust_limits(np.stack([ce[k] for k in some]))
    for column, k in enumerate(some):
        axes = figure.add_subplot(grid[0, column])
        axes.set_facecolor("#f4f1ea")
        shown = ce[k] if resolved[k] else np.where(np.isfinite(ce[k]), np.nanmedian(ce[k]), np.nan)
        drawn = axes.imshow(shown, cmap=CE_MAP, vmin=low, vmax=high, extent=extent)
        if not resolved[k]:
            said = f"local spread\nnot resolved\n(pixel ± {sigma[k]:.2f})"
            axes.text(
                0.5, 0.5, said, transform=axes.transAxes, ha="center", va="center", fontsize=7
            )
        axes.set_title(f"cycle {cycles[k]}", fontsize=8)
        style.bare(axes)
        panels.append(axes)
    style.scale_bar(panels[0], light=False)
    bar = figure.colorbar(drawn, ax=panels, fraction=0.02, pad=0.01)
    bar.set_label("CE$_{(IRM)}$")
    below = figure.add_subplot(grid[1, :])
    for k in there:
        number = cycles[k]
        quartiles = np.percentile(ce[k][np.isfinite(ce[k])], [5, 25, 50, 75, 95])
        color = style.BLUE if resolved[k] else "#9a9a9a"
        below.plot([number] * 2, quartiles[[0, 4]], color=color, lw=1)
        below.plot([number] * 2, quartiles[[1, 3]], color=color, lw=5, solid_capstyle="butt")
        below.plot(number, quartiles[2], "o", ms=4, color="white", mec=color)
    if "cycle_ce" in landing:
        below.plot(
            cycles, landing["cycle_ce"].values, "x", color=style.RED, label="electrochemical"
        )
        below.legend(loc="lower right")
    below.set_xlabel(
        "Cycle (thin 5 to 95 %, thick 25 to 75 % of the pixels, circle median; grey: not resolved)"
    )
    below.set_ylabel("Coulombic efficiency")
    below.set_ylim(0, 1.05)
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure
