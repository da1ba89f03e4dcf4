"""Figures of many particles: atoms against electrons, histograms of volume."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nucleation_bluesky.report.figures import style


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


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
