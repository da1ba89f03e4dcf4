"""Figures of single sites: current and height against bias."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nucleation_bluesky.report.figures import style


def _traces(axes: Axes, bias: np.ndarray, values: np.ndarray, unit: str, color: str) -> float:
    factor, prefix = style.prefix_for(values, 100)
    axes.plot(bias, values * factor, color=color, lw=0.9, zorder=2)
    name = "Current" if unit == "A" else "Height change ΔZ"
    axes.set_ylabel(f"{name} ({prefix}{unit})")
    axes.set_xlabel("Tip bias (V)")
    return factor


def _marks(axes: Axes, onset: float, error: float, stop: float) -> None:
    if np.isfinite(onset):
        if np.isfinite(error) and error > 0:
            axes.axvspan(onset - error, onset + error, color=style.BLUE, alpha=0.2, lw=0)
        axes.axvline(
            onset,
            color=style.BLUE,
            lw=1.0,
            ls=(0, (4, 2)),
            label=f"onset {_number(onset)} V",
        )
    if np.isfinite(stop):
        axes.axvline(stop, color=style.RED, lw=1.0, ls=":", label=f"cut-off {_number(stop)} V")


@style.styled
def fig_iv_zv(
    bias: np.ndarray,
    current: np.ndarray,
    height: np.ndarray,
    *,
    onset: float,
    onset_uncertainty: float = float("nan"),
    stop: float = float("nan"),
    current_compliance: float | None = None,
    height_compliance: float | None = None,
    n_post: int = 0,
    title: str = "",
    letters: tuple[str, str] = ("c", "d"),
) -> Figure:
    """Draw I-V and Z-V of one site with onset and cut-off (Kumar et al. 2013, Fig. 3c,d).

    Parameters
    ----------
    bias, current, height : ndarray, shape (n,)
        V, A, m.
    onset, onset_uncertainty, stop : float
        V; NaN where there is none.
    current_compliance, height_compliance : float or None
        Magnitudes of the limits, A and m.
    n_post : int
        Samples at the end that were taken after the trip; drawn apart where the bias was still
        that of the sweep (in a safe state such as open circuit it is not).
    title : str
        Names the site.
    letters : tuple of str
        Panel letters.
    """
    figure = style.new_figure(style.WIDTH, 3.1)
    panels = figure.subplots(1, 2)
    main = slice(0, len(bias) - n_post)
    base = np.asarray(height, dtype=float)
    base = base - np.nanmedian(base[: max(10, len(base) // 50)])
    for axes, values, unit, color, limit, letter in (
        (panels[0], np.asarray(current, float), "A", style.INK, current_compliance, letters[0]),
        (panels[1], base, "m", style.INK, height_compliance, letters[1]),
    ):
        if not np.isfinite(values).any():
            axes.text(0.5, 0.5, "not recorded", ha="center", transform=axes.transAxes)
            continue
        factor = _traces(axes, bias[main], values[main], unit, color)
        late = _late(bias, n_post)
        if len(late):
            axes.plot(
                bias[late],
                values[late] * factor,
                "o",
                ms=2.2,
                color=style.FAINT,
                label="after the trip",
            )
        if limit is not None:
            sign = np.sign(np.nansum(values[main][-3:])) or 1.0
            axes.axhline(
                sign * limit * factor, color=style.FAINT, lw=0.8, ls="--", label="compliance"
            )
        _marks(axes, onset, onset_uncertainty, stop)
        _inset(axes, bias, values * factor, onset, stop)
        style.panel(axes, letter, title)
    handles = {
        text: handle
        for axes in panels
        for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4)
    for axes in panels:
        axes.invert_xaxis()  # the sweep runs from left to right
    return figure


def _late(bias: np.ndarray, n_post: int) -> np.ndarray:
    """Return the samples after the trip whose bias belongs to the sweep."""
    index = np.arange(len(bias) - n_post, len(bias))
    if not 0 < n_post < len(bias):
        return index[:0]
    trip = bias[len(bias) - n_post - 1]
    return index[np.abs(bias[index] - trip) <= 0.05 * np.ptp(bias)]


def _number(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")


def _falls(values: np.ndarray) -> bool:
    finite = values[np.isfinite(values)]
    return bool(finite.size and abs(finite.min()) > abs(finite.max()))


def _inset(axes: Axes, bias: np.ndarray, values: np.ndarray, onset: float, stop: float) -> None:
    """Show the last stretch around the onset, which the whole sweep compresses to a line."""
    if not (np.isfinite(onset) and np.isfinite(stop)) or abs(stop - onset) > 0.15 * np.ptp(bias):
        return
    width = max(3 * abs(stop - onset), 0.01)
    near = np.abs(bias - onset) <= width
    if np.count_nonzero(near) < 8:
        return
    box = (0.16, 0.12, 0.56, 0.56) if _falls(values) else (0.16, 0.32, 0.56, 0.56)
    inset = axes.inset_axes(box)
    inset.plot(bias[near], values[near], ".-", ms=2.5, lw=0.7, color=style.INK)
    inset.axvline(onset, color=style.BLUE, lw=0.9, ls=(0, (4, 2)))
    inset.axvline(stop, color=style.RED, lw=0.9, ls=":")
    inset.invert_xaxis()
    inset.tick_params(labelsize=6.5, length=2)
    inset.locator_params(nbins=3)
    inset.patch.set_alpha(0.92)
