"""Figures of many sites: transference, volumes, distance to boundaries, kinetics, overshoot."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from nucleation_bluesky.report.figures import style
from nucleation_bluesky.storage.analysis_result import Survival


@style.styled
def fig_transference(
    electrons: np.ndarray,
    atoms: np.ndarray,
    *,
    slope: float,
    interval: tuple[float, float],
    atoms_uncertainty: np.ndarray | None = None,
    intercept: float = 0.0,
) -> Figure:
    """Draw atoms plated against electrons transferred, with slope and interval (Fig. 1b).

    Parameters
    ----------
    electrons, atoms : ndarray, shape (n,)
        N(e-) from charge and N(Li) from the volume in the topography.
    slope : float
        Transference number.
    interval : tuple of float
        Its 95 % confidence interval.
    atoms_uncertainty : ndarray or None
        Standard uncertainty of ``atoms``.
    intercept : float
        Of the fitted line.
    """
    known = np.isfinite(electrons) & np.isfinite(atoms)
    x, y = electrons[known], atoms[known]
    exponent = int(np.floor(np.log10(np.max(np.abs(x)))))
    scale = 10.0**-exponent
    figure = style.new_figure(style.WIDTH * 0.58, 3.2)
    axes = figure.subplots()
    if atoms_uncertainty is not None:
        axes.errorbar(
            x * scale,
            y * scale,
            atoms_uncertainty[known] * scale,
            fmt="none",
            ecolor=style.NEUTRAL,
            elinewidth=0.6,
            zorder=1,
        )
    axes.plot(
        x * scale,
        y * scale,
        "o",
        ms=3.2,
        mfc=style.BLUE,
        mec="white",
        mew=0.3,
        zorder=2,
        label=f"particles (n = {len(x)})",
    )
    line = np.array([0.0, x.max() * 1.05])
    low, high = interval
    axes.fill_between(
        line * scale,
        (intercept + low * line) * scale,
        (intercept + high * line) * scale,
        color=style.RED,
        alpha=0.18,
        lw=0,
    )
    axes.plot(
        line * scale,
        (intercept + slope * line) * scale,
        color=style.RED,
        label=f"slope {slope:.3f} (95 % CI {low:.3f} to {high:.3f})",
    )
    axes.plot(line * scale, line * scale, color=style.FAINT, lw=0.8, ls="--", label="one to one")
    axes.set_xlabel(rf"$N(e^-)$ transferred ($10^{{{exponent}}}$)")
    axes.set_ylabel(rf"$N(Li)$ plated ($10^{{{exponent}}}$)")
    axes.legend(loc="upper left")
    axes.set_xlim(0, None)
    axes.set_ylim(min(0, np.min(y) * scale * 1.05), max(y.max(), x.max()) * scale * 1.32)
    return figure


@style.styled
def fig_volume_histograms(groups: Mapping[str, np.ndarray], *, relative: bool = False) -> Figure:
    """Draw histograms of particle volume, one panel per kind of sweep (Fig. 1d,e).

    Parameters
    ----------
    groups : mapping of str to ndarray
        Volumes (m3) by label.
    relative : bool
        Draw volume relative to the group's median, which compares widths.
    """
    cleaned = {k: np.asarray(v)[np.isfinite(v) & (np.asarray(v) > 0)] for k, v in groups.items()}
    cleaned = {k: v for k, v in cleaned.items() if v.size}
    if not cleaned:
        raise ValueError("no particle has a volume")
    figure = style.new_figure(min(style.WIDTH, 3.6 * len(cleaned)), 2.7)
    panels = np.atleast_1d(figure.subplots(1, len(cleaned)))
    letters = "de" if len(cleaned) == 2 else ""
    for i, (axes, (label, volumes)) in enumerate(zip(panels, cleaned.items(), strict=True)):
        if relative:
            values, unit = volumes / np.median(volumes), "relative to median"
        else:
            micro = np.median(volumes) > 1e-20
            values, unit = volumes * (1e18 if micro else 1e27), "µm³" if micro else "nm³"
        spread = np.percentile(values, 99) / max(np.percentile(values, 1), 1e-300)
        if spread > 30:
            bins = np.geomspace(values.min(), values.max(), 31)
            axes.set_xscale("log")
        else:
            bins = np.linspace(0, np.percentile(values, 99.5) * 1.1, 31)
        axes.hist(
            np.clip(values, bins[0], bins[-1]),
            bins=bins.tolist(),
            color=style.SERIES[i],
            alpha=0.85,
            edgecolor="white",
            linewidth=0.3,
        )
        median = float(np.median(values))
        q = np.percentile(values, [25, 75])
        axes.axvline(median, 0, 0.72, color=style.INK, lw=1.0, ls="--")
        axes.text(
            0.98,
            0.96,
            f"n = {len(values)}\nmedian {_count(median)}\n"
            f"quartiles {_count(q[0])} to {_count(q[1])}",
            transform=axes.transAxes,
            ha="right",
            va="top",
            fontsize=7.5,
        )
        axes.set_xlabel(f"Particle volume ({unit})")
        axes.set_ylabel("Particles")
        axes.set_ylim(0, axes.get_ylim()[1] * 1.3)
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        style.panel(axes, letters[i] if i < len(letters) else "", label)
    return figure


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


def _rate_label(rate: float) -> str:
    return f"{rate * 1e3:.3g} mV/s" if rate < 1 else f"{rate:.3g} V/s"


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


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _volts(value: float, error: float | None) -> str:
    if error is None or not np.isfinite(error):
        return f"{value:.3f} V".replace("-", "−")
    return f"{value:.3f} ± {error:.3f} V".replace("-", "−")
