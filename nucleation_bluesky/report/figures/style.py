"""One look for all figures: type, colours, units with prefixes, scale bars, colour bars."""

import functools
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

Target = TypeVar("Target", Path, BytesIO)
DPI = 200
WIDTH = 7.0  # inches, a text column and a half; half of it for single panels
# Okabe & Ito's palette, distinguishable with any colour vision
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
)
INK, FAINT, NEUTRAL = "#222222", "#8a8a8a", "#bdbdbd"
SERIES = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY)
TOPOGRAPHY_MAP = "afmhot"
BIAS_MAP, CURRENT_MAP, HEIGHT_MAP = "viridis", "inferno_r", "cividis"
ROBUST = (1.0, 99.0)  # percentiles that bound a colour scale
PREFIXES = {-18: "a", -15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M"}

STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica Neue", "Arial", "DejaVu Sans"],
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.labelsize": 8.5,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.direction": "out",
    "ytick.direction": "out",
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "lines.linewidth": 1.2,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "mathtext.default": "regular",
    "mathtext.fontset": "dejavusans",
    "image.interpolation": "nearest",
    "image.origin": "lower",
}

P = ParamSpec("P")


@functools.cache
def _fonts() -> list[str]:
    # matplotlib warns for every preferred font that is not installed
    installed = set(font_manager.get_font_names())
    return [f for f in STYLE["font.sans-serif"] if f in installed] or ["DejaVu Sans"]


def styled(function: Callable[P, Figure]) -> Callable[P, Figure]:
    """Run a figure function under the common style."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context({**STYLE, "font.sans-serif": _fonts()}):  # type: ignore[arg-type]
            return function(*args, **kwargs)

    return wrapper


def new_figure(width: float = WIDTH, height: float = 3.0, *, images: bool = False) -> Figure:
    """Return an empty figure (inches) with its own Agg canvas; ``images`` packs square panels."""
    layout = "compressed" if images else "constrained"
    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def save_png(figure: Figure, path: Target) -> Target:
    """Write a figure as PNG at 200 dpi."""
    # generic font names are looked up when a figure is drawn
    with mpl.rc_context({**STYLE, "font.sans-serif": _fonts()}):  # type: ignore[arg-type]
        figure.savefig(path, dpi=DPI)
    return path


def prefix_for(values: np.ndarray | float, percentile: float = 95) -> tuple[float, str]:
    """Return the factor and prefix in which large magnitudes (a percentile) read 1 to 1000."""
    finite = np.abs(np.asarray(values, dtype=float).ravel())
    finite = finite[np.isfinite(finite) & (finite > 0)]
    if finite.size == 0:
        return 1.0, ""
    exponent = int(3 * np.floor(np.log10(np.percentile(finite, percentile)) / 3 + 1e-9))
    exponent = min(max(exponent, min(PREFIXES)), max(PREFIXES))
    return 10.0**-exponent, PREFIXES[exponent]


def robust_limits(
    values: np.ndarray, percentiles: tuple[float, float] = ROBUST
) -> tuple[float, float]:
    """Colour limits that outliers do not move; never of zero width."""
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(finite, percentiles)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        spread = 0.05 * abs(high) or 1.0
        return float(low - spread), float(high + spread)
    return float(low), float(high)


def nice_length(width: float) -> float:
    """Return a length of 1, 2 or 5 times a power of ten, at most 0.28 of ``width``."""
    target = 0.28 * width
    decade = 10.0 ** np.floor(np.log10(target))
    return float(max(f * decade for f in (1, 2, 5) if f * decade <= target * 1.0001))


def scale_bar(axes: Axes, *, light: bool = True) -> None:
    """Draw a scale bar in the lower left; the axes' data unit is the metre."""
    left, right = sorted(axes.get_xlim())
    bottom, top = sorted(axes.get_ylim())
    length = nice_length(right - left)
    factor, prefix = prefix_for(length)
    pad, thick = 0.045 * (right - left), 0.016 * (top - bottom)
    ink, paper = ("white", "black") if light else (INK, "white")
    axes.add_patch(
        Rectangle(
            (left + pad - 0.02 * (right - left), bottom + pad - 0.02 * (top - bottom)),
            max(length, 0.16 * (right - left)) + 0.04 * (right - left),
            0.115 * (top - bottom),
            facecolor=paper,
            alpha=0.5,
            linewidth=0,
            zorder=5,
        )
    )
    axes.add_patch(
        Rectangle((left + pad, bottom + pad), length, thick, facecolor=ink, lw=0, zorder=6)
    )
    axes.text(
        left + pad + max(length, 0.16 * (right - left)) / 2,
        bottom + pad + 1.6 * thick,
        f"{length * factor:g} {prefix}m",
        color=ink,
        ha="center",
        va="bottom",
        fontsize=7.5,
        zorder=6,
    )


def bare(axes: Axes) -> None:
    """Take ticks and spines off an image."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_aspect("equal")


def color_bar(axes: Axes, mappable: ScalarMappable, label: str, values: np.ndarray) -> None:
    """Add a colour bar at the right whose ends tell where values lie beyond the scale."""
    low, high = mappable.get_clim()
    finite = np.asarray(values)[np.isfinite(values)]
    below = bool(finite.size and finite.min() < low)
    above = bool(finite.size and finite.max() > high)
    extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[below, above]
    bar = axes.figure.colorbar(
        mappable,
        ax=axes,
        extend=extend,
        fraction=0.05,
        pad=0.02,
        aspect=18,
        ticks=MaxNLocator(5),
    )
    bar.outline.set_linewidth(0.5)  # type: ignore[operator]
    bar.ax.tick_params(width=0.5, length=2.5, labelsize=7.5)
    bar.set_label(label, fontsize=8)


def chemical(name: str) -> str:
    """Set the charges of a couple's name as superscripts: Li/Li+ with a raised sign."""
    return re.sub(r"(?<=[A-Za-z0-9])([0-9]*[+-])(?=$|[/ ])", r"$^{\1}$", name)


def panel(axes: Axes, letter: str, title: str = "") -> None:
    """Title a panel with its bold letter."""
    text = rf"$\bf{{{letter}}}$" if letter else ""
    axes.set_title(f"{text}  {title}".strip(), pad=5)
