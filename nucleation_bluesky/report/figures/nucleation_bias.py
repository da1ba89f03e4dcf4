"""Figures of the nucleation bias: near boundaries, at sweep rates, and what it consists of."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from nucleation_bluesky.report.figures import style
from nucleation_bluesky.storage.analysis_result import Survival


@style.styled
def fig_boundary(
    distance: np.ndarray,
    onset: np.ndarray,
    *,
    bin_center: np.ndarray | None = None,
    bin_value: np.ndarray | None = None,
    bin_low: np.ndarray | None = None,
    bin_high: np.ndarray | None = None,
    statistic: str = "mean",
) -> Figure:
    """Draw nucleation bias against distance to the nearest grain boundary.

    Parameters
    ----------
    distance, onset : ndarray, shape (n,)
        m (outside grains) and V.
    bin_center, bin_value, bin_low, bin_high : ndarray or None
        Binned profile with the bounds of its 95 % confidence interval.
    statistic : str
        What ``bin_value`` is.
    """
    known = np.isfinite(distance) & np.isfinite(onset) & (distance >= 0)
    if not known.any():
        raise ValueError("no nucleated site has a distance to a boundary")
    figure = style.new_figure(style.WIDTH * 0.62, 3.1)
    axes = figure.subplots()
    axes.plot(
        distance[known] * 1e9,
        onset[known],
        ".",
        ms=3,
        color=style.SKY,
        alpha=0.6,
        mew=0,
        label=f"sites (n = {np.count_nonzero(known)})",
        rasterized=True,
    )
    if bin_center is not None and bin_value is not None:
        if bin_low is not None and bin_high is not None:
            axes.fill_between(
                bin_center * 1e9,
                bin_low,
                bin_high,
                color=style.BLUE,
                alpha=0.25,
                lw=0,
                label="95 % confidence",
            )
        axes.plot(bin_center * 1e9, bin_value, "o-", ms=3.5, color=style.BLUE, label=statistic)
    axes.set_xlabel("Distance to nearest grain boundary (nm)")
    axes.set_ylabel("Nucleation bias (V)")
    low, high = style.robust_limits(onset[known], (0.3, 99.7))
    pad = 0.12 * (high - low)
    axes.set_ylim(low - pad, high + pad)
    axes.set_xlim(0, np.percentile(distance[known], 99.5) * 1e9 * 1.03)
    axes.legend(loc="upper right", markerscale=1.6)
    return figure


@style.styled
def fig_kinetics(curves: Sequence[Survival], *, caption: str = "") -> Figure:
    """Draw the survival at every sweep rate with the fit, and the median onset against log rate.

    Parameters
    ----------
    curves : sequence of Survival
        One per rate.
    caption : str
        Fitted parameters, written into the second panel.
    """
    figure = style.new_figure(style.WIDTH, 3.1)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    colors = [style.SERIES[i % len(style.SERIES)] for i in range(len(curves))]
    for color, curve in zip(colors, curves, strict=True):
        left.step(
            curve.bias,
            curve.survival,
            where="post",
            color=color,
            lw=1.1,
            label=_rate_label(curve.rate),
        )
        if curve.low is not None and curve.high is not None:
            left.fill_between(
                curve.bias, curve.low, curve.high, step="post", color=color, alpha=0.18, lw=0
            )
        if curve.model is not None and curve.model_bias is not None:
            left.plot(curve.model_bias, curve.model, color=style.INK, lw=0.8, ls="--")
    left.plot([], [], color=style.INK, lw=0.8, ls="--", label="fit")
    left.set_xlabel("Tip bias (V)")
    left.set_ylabel("Share of sites not yet nucleated")
    left.set_ylim(0, 1.02)
    left.invert_xaxis()
    left.legend(loc="lower left")
    style.panel(left, "a", "Survival during the sweep")
    rates, median, low, high, model = np.array(
        [(c.rate, c.median, c.median_low, c.median_high, c.model_median) for c in curves]
    ).T
    errors = np.nan_to_num(np.abs(np.vstack([median - low, high - median])))
    right.errorbar(
        rates,
        median,
        errors,
        fmt="o",
        ms=4,
        color=style.BLUE,
        capsize=2,
        lw=1,
        label="median, 95 % CI",
    )
    if np.isfinite(model).any():
        right.plot(rates, model, color=style.INK, lw=0.8, ls="--", label="fit")
    right.set_xscale("log")
    right.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    right.set_xlabel("Sweep rate (V/s)")
    right.set_ylabel("Median nucleation bias (V)")
    right.legend(loc="upper right", title=caption or None, title_fontsize=7.5)
    right.margins(y=0.35)
    style.panel(right, "b", "Rate dependence")
    return figure


def _rate_label(rate: float) -> str:
    return f"{rate * 1e3:.3g} mV/s" if rate < 1 else f"{rate:.3g} V/s"


@style.styled
def fig_split(
    parts: Mapping[str, tuple[float, float | None]], *, total: tuple[float, float | None]
) -> Figure:
    """Draw the nucleation bias as equilibrium potential, overpotential and IR drop.

    Parameters
    ----------
    parts : mapping of str to (value, uncertainty)
        Signed contributions, V.
    total : (value, uncertainty)
        Nucleation bias, V.
    """
    figure = style.new_figure(style.WIDTH, 1.75)
    axes = figure.subplots()
    colors = (style.NEUTRAL, style.BLUE, style.ORANGE, style.GREEN)
    edge = 0.0
    scale = abs(total[0]) or 1.0
    tips = []
    for color, (name, (value, error)) in zip(colors, parts.items(), strict=False):
        axes.barh(1, value, left=edge, height=0.55, color=color, edgecolor="white", lw=0.8)
        text = f"{name}\n{_volts(value, error)}"
        if abs(value) > 0.2 * scale:
            axes.text(
                edge + value / 2,
                1,
                text,
                ha="center",
                va="center",
                fontsize=8,
                color="white" if color == style.BLUE else style.INK,
            )
        else:
            tips.append((edge + value / 2, text))
        edge += value
    for i, (x, text) in enumerate(tips):
        aside = -np.sign(edge) * (0.16 * len(tips) - 0.26 * i) * scale
        axes.annotate(
            text,
            (x, 1.28),
            xytext=(x + aside, 1.62),
            ha="center",
            va="bottom",
            fontsize=8,
            arrowprops={"arrowstyle": "-", "lw": 0.6, "color": style.FAINT},
        )
    axes.errorbar(
        total[0],
        0.4,
        xerr=total[1],
        fmt="D",
        ms=5,
        color=style.INK,
        capsize=3,
        lw=1,
    )
    aside = total[0] - np.sign(total[0]) * ((total[1] or 0) + 0.02 * scale)
    axes.text(
        aside,
        0.4,
        f"measured nucleation bias {_volts(*total)}",
        va="center",
        ha="right",
        fontsize=8,
    )
    axes.set_ylim(0.1, 2.25)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("Bias (V)")
    if total[0] < 0:
        axes.invert_xaxis()
    return figure


def _volts(value: float, error: float | None) -> str:
    if error is None or not np.isfinite(error):
        return f"{value:.3f} V".replace("-", "−")
    return f"{value:.3f} ± {error:.3f} V".replace("-", "−")
