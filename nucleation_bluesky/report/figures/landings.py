"""Electrochemistry of landings: voltammograms, efficiencies, transients, screens."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nucleation_bluesky.analysis.seccm.screen import mean_curve
from nucleation_bluesky.report.figures import style

UAH_CM2 = 36.0  # C/m2 per uAh/cm2
MA_CM2 = 10.0  # A/m2 per mA/cm2
MAX_POINTS = 4000
SEQUENCE = "viridis"


def thinned(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Every n-th sample, so that a curve has at most a drawable number of points."""
    step = max(1, len(arrays[0]) // MAX_POINTS)
    return tuple(np.asarray(a)[::step] for a in arrays)


def potential_label(scale: str) -> str:
    """Axis label of a potential with its reference scale."""
    return f"Potential (V vs {style.chemical(scale)})" if scale else "Potential (V, raw)"


def _colours(n: int) -> list:
    # the bright end of the map is too pale for lines
    return [mpl.colormaps[SEQUENCE](v) for v in np.linspace(0, 0.88, max(n, 1))]


@style.styled
def fig_voltammogram(
    cycles: Sequence[tuple[np.ndarray, np.ndarray]], *, area: float | None, scale: str, title: str
) -> Figure:
    """Draw current against potential by cycle.

    Parameters
    ----------
    cycles : sequence of (potential, current)
        V and A by cycle.
    area : float or None
        Footprint, m2: current is shown as density on it.
    scale, title : str
        Reference scale; heading.

    Raises
    ------
    ValueError
        If there are no cycles.
    """
    if not cycles:
        raise ValueError("the record has no complete cycle")
    figure = style.new_figure(4.6, 3.2)
    axes = figure.subplots()
    every = np.concatenate([current for _, current in cycles])
    factor, prefix = style.prefix_for(every, 99.5)
    unit = f"Current ({prefix}A)"
    if area:
        factor, unit = 1 / area / MA_CM2, "Current density (mA cm$^{-2}$)"
    for k, ((potential, current), colour) in enumerate(
        zip(cycles, _colours(len(cycles)), strict=True), start=1
    ):
        e, i = thinned(potential, current)
        labelled = k in (1, len(cycles)) or len(cycles) <= 5
        axes.plot(e, i * factor, color=colour, lw=0.8, label=f"cycle {k}" if labelled else None)
    axes.axhline(0, color=style.FAINT, lw=0.5)
    axes.set_xlabel(potential_label(scale))
    axes.set_ylabel(unit)
    axes.set_title(title)
    axes.legend(loc="lower right")
    return figure


@style.styled
def fig_efficiency(landing: xr.Dataset) -> Figure:
    """Coulombic efficiency and charges against cycle number.

    Raises
    ------
    ValueError
        If the landing has no cycles.
    """
    if "cycle_ce" not in landing or not np.isfinite(landing["cycle_ce"]).any():
        raise ValueError("no cycle has both a cathodic and an anodic charge")
    figure = style.new_figure(3.6, 3.6)
    top, bottom = figure.subplots(2, 1, sharex=True)
    cycle = landing["cycle"].values
    error = landing["cycle_ce_uncertainty"].values if "cycle_ce_uncertainty" in landing else None
    top.errorbar(
        cycle, landing["cycle_ce"].values, yerr=error, marker="o", ms=4, color=style.BLUE, capsize=2
    )
    top.set_ylim(0, max(1.0, 1.05 * float(np.nanmax(landing["cycle_ce"]))))
    top.set_ylabel("Coulombic efficiency")
    names = {"cathodic": style.RED, "anodic": style.GREEN}
    charges = {n: landing[f"cycle_charge_{n}"].values for n in names}
    factor, prefix = style.prefix_for(np.concatenate(list(charges.values())))
    for name, colour in names.items():
        bottom.plot(cycle, charges[name] * factor, marker="o", ms=4, color=colour, label=name)
    bottom.set_ylim(bottom=0)
    bottom.set_ylabel(f"Charge ({prefix}C)")
    bottom.set_xlabel("Cycle")
    bottom.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))  # type: ignore[attr-defined]
    bottom.legend()
    return figure


@style.styled
def fig_transient(
    time: np.ndarray,
    potential: np.ndarray,
    *,
    scale: str,
    marks: Mapping[str, float],
    film: xr.Dataset | None = None,
    potentials: Mapping[str, float] | None = None,
) -> Figure:
    """Potential against time, with the film's intensity and its time derivative.

    Parameters
    ----------
    time, potential : ndarray, shape (n,)
        s after contact and V.
    scale : str
        Reference scale.
    marks : mapping of str to float
        Times to mark by name, s.
    film : Dataset or None
        With ``frame_time``, ``intensity`` and ``intensity_rate``.
    potentials : mapping of str to float
        Potentials to mark by name, V.

    Raises
    ------
    ValueError
        If there are no samples.
    """
    if len(time) < 2:
        raise ValueError("the landing has no electrochemistry")
    rows = 1 if film is None else 3
    figure = style.new_figure(4.6, 1.6 + 1.1 * rows)
    panels = np.atleast_1d(figure.subplots(rows, 1, sharex=True))
    t, e = thinned(time, potential)
    panels[0].plot(t, e, color=style.INK, lw=0.9)
    panels[0].set_ylabel(f"Potential\n(V vs {style.chemical(scale)})" if scale else "Potential (V)")
    low, high = np.percentile(e[len(e) // 50 :], [0.1, 99.5])
    panels[0].set_ylim(low - 0.08 * (high - low) - 0.01, high + 0.08 * (high - low) + 0.01)
    marked = potentials or {}
    for name, value in marked.items():
        panels[0].axhline(value, color=style.FAINT, lw=0.6, ls=":")
        # the lowest is told below its line: two that lie close do not cover each other
        below = len(marked) > 1 and value == min(marked.values())
        side = "top" if below else "bottom"
        panels[0].text(t[-1], value, f" {name}", fontsize=7, va=side, ha="right")
    if marked:
        bottom, top = panels[0].get_ylim()
        panels[0].set_ylim(min(bottom, min(marked.values()) - 0.16 * (top - bottom)), top)
    if film is not None:
        when = film["frame_time"].values
        panels[1].plot(when, 100 * film["intensity"].values, color=style.RED, lw=0.9)
        panels[1].set_ylabel("IRM intensity\nchange (%)")
        panels[2].plot(when, 100 * film["intensity_rate"].values, color=style.BLUE, lw=0.9)
        panels[2].set_ylabel("dI/dt (% s$^{-1}$)")
    for (name, value), colour in zip(marks.items(), (style.ORANGE, style.GREEN), strict=False):
        for k, axes in enumerate(panels):
            axes.axvline(value, color=colour, lw=0.9, ls="--", label=name if k == 0 else None)
    if marks:
        panels[0].legend(loc="upper right")
    panels[-1].set_xlim(t[0], t[-1])
    panels[-1].set_xlabel("Time after contact (s)")
    return figure


@style.styled
def fig_charge_intensity(
    time: np.ndarray, charge: np.ndarray, film: xr.Dataset, *, correlation: float | None
) -> Figure:
    """Accumulated charge and mean intensity of the footprint over time."""
    figure = style.new_figure(5.2, 2.7)
    left = figure.subplots()
    right = left.twinx()
    right.spines["right"].set_visible(True)
    t, q = thinned(time, -charge)
    factor, prefix = style.prefix_for(q, 100)
    left.plot(t, q * factor, color=style.BLUE, lw=0.9)
    left.set_ylabel(f"Cathodic charge ({prefix}C)", color=style.BLUE)
    left.set_xlabel("Time after contact (s)")
    right.plot(film["frame_time"].values, 100 * film["intensity"].values, color=style.RED, lw=0.8)
    right.set_ylabel("Change of IRM intensity (%)", color=style.RED)
    left.set_xlim(t[0], t[-1])
    if correlation is not None:
        left.set_title(f"correlation {correlation:.3f}")
    return figure


def condition_names(screen: xr.Dataset) -> list[str]:
    """Name of each condition: its current density where measured, else its label."""
    if "current_density" in screen and np.isfinite(screen["current_density"]).all():
        return [f"{abs(v) / MA_CM2:.2f} mA cm$^{{-2}}$" for v in screen["current_density"].values]
    if "label" in screen:
        return [str(v) for v in screen["label"].values]
    return [f"condition {v}" for v in screen["condition"].values]


@style.styled
def fig_screen_curves(
    groups: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]], *, scale: str
) -> Figure:
    """Mean potential against time and charge density by condition, with the spread of repeats.

    Parameters
    ----------
    groups : mapping of str to sequence of (time, charge density, potential)
        s, C/m2 (NaN where the footprint is unknown) and V, one for each repeat.
    scale : str
        Reference scale.

    Raises
    ------
    ValueError
        If there are no curves.
    """
    if not groups:
        raise ValueError("no landing has a plating step")
    with_charge = all(np.isfinite(q).all() for curves in groups.values() for _, q, _ in curves)
    figure = style.new_figure(style.WIDTH, 3.1)
    panels = np.atleast_1d(figure.subplots(1, 2 if with_charge else 1, sharey=True))
    for (name, curves), colour in zip(groups.items(), _colours(len(groups)), strict=True):
        for axes, k, factor in zip(panels, (0, 1), (1.0, 1 / UAH_CM2), strict=False):
            axis, mean, sd = mean_curve([(c[k], c[2]) for c in curves])
            axes.plot(axis * factor, mean, color=colour, lw=1.0, label=name)
            axes.fill_between(axis * factor, mean - sd, mean + sd, color=colour, alpha=0.18, lw=0)
    panels[0].set_xlabel("Time (s)")
    panels[0].set_ylabel(potential_label(scale))
    style.panel(panels[0], "a" if with_charge else "")
    if with_charge:
        panels[1].set_xlabel("Charge (µAh cm$^{-2}$)")
        style.panel(panels[1], "b")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")
    return figure


@style.styled
def fig_screen(screen: xr.Dataset, *, scale: str) -> Figure:
    """Nucleation and growth potential, time and charge, share nucleated, against condition.

    Error bars are standard deviations over repeats.

    Raises
    ------
    ValueError
        If there is but one condition.
    """
    if screen.sizes["condition"] < 2:
        raise ValueError("there is only one condition")
    known = "current_density" in screen and np.isfinite(screen["current_density"]).all()
    x = np.abs(screen["current_density"].values) / MA_CM2 if known else screen["condition"].values
    label = "Current density (mA cm$^{-2}$)" if known else "Condition"
    figure = style.new_figure(style.WIDTH, 2.9)
    panels = figure.subplots(1, 3)
    _with_spread(panels[0], x, screen, "e_nuc", "E$_{nuc}$", style.BLUE)
    _with_spread(panels[0], x, screen, "e_growth", "E$_{growth}$", style.ORANGE)
    panels[0].set_ylabel(potential_label(scale))
    panels[0].legend()
    _with_spread(panels[1], x, screen, "t_nuc", "t$_{nuc}$", style.RED)
    panels[1].set_ylabel("t$_{nuc}$ (s)", color=style.RED)
    if "q_nuc" in screen:
        twin = panels[1].twinx()
        twin.spines["right"].set_visible(True)
        _with_spread(twin, x, screen, "q_nuc", "Q$_{nuc}$", style.BLUE, 1 / UAH_CM2)
        twin.set_ylabel("Q$_{nuc}$ (µAh cm$^{-2}$)", color=style.BLUE)
    share = screen["fraction_nucleated"].values
    # an interval of zero hits starts a rounding error above zero
    low = np.maximum(share - screen["fraction_nucleated_low"].values, 0)
    high = np.maximum(screen["fraction_nucleated_high"].values - share, 0)
    panels[2].errorbar(x, share, yerr=(low, high), fmt="o", ms=4, color=style.GREEN, capsize=2)
    panels[2].set_ylim(-0.05, 1.05)
    panels[2].set_ylabel("Share of repeats that nucleated")
    for axes, letter in zip(panels, "abc", strict=True):
        axes.set_xlabel(label)
        style.panel(axes, letter)
    return figure


def _with_spread(
    axes: Axes, x: np.ndarray, screen: xr.Dataset, name: str, label: str, colour, factor: float = 1
) -> None:
    if name in screen:
        value, spread = screen[name].values * factor, screen[f"{name}_sd"].values * factor
        spread = np.where(np.isfinite(spread), spread, 0)
        axes.errorbar(x, value, yerr=spread, fmt="o-", ms=4, color=colour, capsize=2, label=label)
        place = axes.get_xaxis_transform()
        for without in x[~np.isfinite(value)] if name in ("e_nuc", "t_nuc") else ():
            axes.text(without, 0.02, "none", transform=place, rotation=90, ha="center", fontsize=7)


@style.styled
def fig_landing_map(table: xr.Dataset, names: Sequence[str]) -> Figure:
    """Where the pipette landed, by condition; open circles did not nucleate, crosses found nothing.

    Raises
    ------
    ValueError
        If positions are not known.
    """
    x, y = table["x"].values, table["y"].values
    if len(x) < 2 or not (np.isfinite(x) & np.isfinite(y)).all():
        raise ValueError("the positions of the landings are not known")
    figure = style.new_figure(4.8, 3.6)
    axes = figure.subplots()
    conditions = table["condition"].values
    nucleated, contact = table["nucleated"].values.astype(bool), table["contact"].values != 0
    kinds = [k for k in np.unique(conditions) if k >= 0] or [-1]
    for kind, colour in zip(kinds, _colours(len(kinds)), strict=True):
        here = conditions == kind
        name = names[kind] if 0 <= kind < len(names) else "landing"
        hit = here & nucleated
        axes.scatter(x[hit] * 1e6, y[hit] * 1e6, s=42, color=colour, label=name)
        dull = here & contact & ~nucleated
        axes.scatter(x[dull] * 1e6, y[dull] * 1e6, s=42, facecolor="none", edgecolor=colour)
        lost = here & ~contact
        axes.scatter(x[lost] * 1e6, y[lost] * 1e6, s=30, marker="x", color=style.RED)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel("x (µm)")
    axes.set_ylabel("y (µm)")
    figure.legend(loc="outside right center")
    return figure
