"""Figures of compliance: how far it was exceeded."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from nucleation_bluesky.report.figures import style


@style.styled
def fig_overshoot(current: np.ndarray | None = None, height: np.ndarray | None = None) -> Figure:
    """Draw how far the compliance was exceeded (ratios to compliance).

    Raises
    ------
    ValueError
        If neither channel has a finite value.
    """
    panels = [
        (v, color, name, paper)
        for v, color, name, paper in (
            (current, style.BLUE, "Current", "literature: about 4×"),
            (height, style.GREEN, "Height change", "literature: up to 2×"),
        )
        if v is not None and np.isfinite(v).any()
    ]
    if not panels:
        raise ValueError("no site was ended by compliance")
    figure = style.new_figure(style.WIDTH if len(panels) == 2 else style.WIDTH * 0.58, 2.7)
    for axes, (values, color, name, paper) in zip(
        np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True
    ):
        _overshoot_panel(axes, np.asarray(values, float), color, name, paper)
    return figure


def _overshoot_panel(axes: Axes, values: np.ndarray, color: str, name: str, paper: str) -> None:
    finite = values[np.isfinite(values)]
    high = max(float(np.percentile(finite, 99.7)), 1.05)
    edges = np.linspace(min(1.0, float(np.percentile(finite, 0.5))), high, 41)
    axes.hist(
        np.clip(finite, edges[0], edges[-1]),
        bins=edges.tolist(),
        color=color,
        alpha=0.85,
        edgecolor="white",
        linewidth=0.3,
    )
    for percentile, dash in ((50, "--"), (99, ":")):
        value = float(np.percentile(finite, percentile))
        name_p = "median" if percentile == 50 else "99th percentile"
        axes.axvline(value, 0, 0.7, color=style.INK, lw=1, ls=dash, label=f"{name_p} {value:.2f}×")
    axes.set_xlabel(f"{name} at trip / compliance")
    axes.set_ylabel("Sites")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_ylim(0, axes.get_ylim()[1] * 1.4)
    axes.legend(loc="upper right", title=f"n = {len(finite)}; {paper}", title_fontsize=7.5)


@style.styled
def fig_overshoot_rates(
    groups: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> Figure:
    """Draw overshoot against sample rate.

    Parameters
    ----------
    groups : mapping
        Label to (sample rate in Hz, median, 99th percentile) of the overshoot ratio.
    """
    figure = style.new_figure(style.WIDTH * 0.6, 3.0)
    axes = figure.subplots()
    for color, (label, (rate, median, high)) in zip(style.SERIES, groups.items(), strict=False):
        order = np.argsort(rate)
        axes.plot(
            rate[order] / 1e3, median[order], "o-", ms=4, color=color, label=f"{label}: median"
        )
        axes.plot(
            rate[order] / 1e3,
            high[order],
            "^--",
            ms=4,
            color=color,
            lw=0.9,
            label=f"{label}: 99th percentile",
        )
    axes.axhline(1, color=style.FAINT, lw=0.8)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axes.set_xlabel("Sample rate (kHz)")
    axes.set_ylabel("Value at trip / compliance")
    axes.legend(loc="upper right")
    axes.margins(y=0.2)
    return figure
