"""The growing map and the last curves as a figure: PNG files without a screen, or a window."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from nucleation_bluesky.contract.enums import Termination
from nucleation_bluesky.live.follower import LiveRun, last_curves
from nucleation_bluesky.live.state import UNITS
from nucleation_bluesky.report.figures import style

QUIET = (Termination.COMPLETED.label, Termination.NONE.label, "")


def draw(figure: Figure, run: LiveRun) -> None:
    """Draw the run's state on an empty figure."""
    grid = figure.add_gridspec(2, 2, width_ratios=(1.25, 1))
    _map(figure.add_subplot(grid[:, 0]), run)
    curves = last_curves(run)
    names = list(curves)
    for number, name in enumerate(names[1:3]):
        axes = figure.add_subplot(grid[number, 1])
        factor, prefix = style.prefix_for(curves[name], 100)
        axes.plot(curves[names[0]], curves[name] * factor, color=style.SERIES[number], lw=0.9)
        axes.set_xlabel(f"{names[0].capitalize()} ({UNITS.get(names[0], '1')})")
        axes.set_ylabel(f"{name.capitalize()} ({prefix}{UNITS.get(name, '1')})")
        if number == 0:
            axes.set_title("Last site")
    sample = str((run.start.get("nucleation") or {}).get("sample", ""))
    figure.suptitle(f"{sample}  {run.summary.sentence()}", fontsize=9, x=0.01, ha="left")


def _map(axes: Axes, run: LiveRun) -> None:
    points = [p for p in run.points if np.isfinite(p.x) and np.isfinite(p.y)]
    x, y = np.array([p.x for p in points]), np.array([p.y for p in points])
    values = np.array([p.value for p in points], dtype=float)
    kinds = [p.termination for p in points]
    tripped = np.array([kind not in QUIET for kind in kinds], dtype=bool)
    role, unit = run.shown
    block = run.start.get("nucleation") or {}
    pitch = float((block.get("grid") or {}).get("pitch") or _nearest(x, y))
    if len(x):
        corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * 0.46 * pitch
        squares = np.stack([x, y], axis=1)[:, None, :] + corners
        quiet = ~tripped | ~np.isfinite(values)
        grey = PolyCollection(list(squares[quiet]), facecolors=style.NEUTRAL, linewidths=0)
        axes.add_collection(grey)
        shown = ~quiet
        if shown.any():
            prefixed = unit != "V"
            factor, prefix = style.prefix_for(values[shown]) if prefixed else (1.0, "")
            low, high = style.robust_limits(values[shown] * factor)
            drawn = PolyCollection(
                list(squares[shown]),
                array=values[shown] * factor,
                cmap=style.BIAS_MAP,
                linewidths=0,
            )
            drawn.set_clim(low, high)
            axes.add_collection(drawn)
            label = role.replace("_", " ").capitalize()
            style.color_bar(axes, drawn, f"{label} ({prefix}{unit})", values[shown] * factor)
        axes.set_xlim(x.min() - 0.7 * pitch, x.max() + 0.7 * pitch)
        axes.set_ylim(y.min() - 0.7 * pitch, y.max() + 0.7 * pitch)
    axes.set_aspect("equal")
    counts = Counter(kind or "unknown" for kind in kinds)
    axes.set_title(", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in counts.most_common(3)))
    factor, prefix = style.prefix_for(max(np.ptp(x), np.ptp(y))) if len(x) > 1 else (1e6, "µ")
    for axis, name in ((axes.xaxis, "x"), (axes.yaxis, "y")):
        axis.set_major_formatter(lambda v, _, f=factor: f"{v * f:g}")
        axis.set_label_text(f"{name} ({prefix}m)")


def _nearest(x: np.ndarray, y: np.ndarray) -> float:
    """Typical distance of neighbours, m; 1 um for a single site."""
    if len(x) < 2:
        return 1e-6
    some = slice(0, 200)
    distance = np.hypot(x[some, None] - x[None, some], y[some, None] - y[None, some])
    distance[distance <= 0] = np.inf
    return float(np.median(distance.min(axis=1)))


@style.styled
def live_figure(run: LiveRun) -> Figure:
    """Return the state as a figure with a canvas of its own."""
    figure = style.new_figure(style.WIDTH, 3.9)
    draw(figure, run)
    return figure


def picture(run: LiveRun) -> bytes:
    """Return the state as PNG."""
    drawn = io.BytesIO()
    style.save_png(live_figure(run), drawn)
    return drawn.getvalue()


def write_picture(path: Path, run: LiveRun) -> Path:
    """Write the state as PNG; the file under this name is always complete."""
    partial = path.with_name(f".{path.name}.part.png")
    partial.write_bytes(picture(run))
    return partial.replace(path)
