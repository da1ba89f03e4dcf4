"""The first local minimum of a noisy potential transient, and where exactly it lies.

Features of a galvanostatic transient scale with the time since its start, so the record is
compared by means over windows that grow with time. A minimum counts when the means before and
after it stand above it by a multiple of their noise and do not come back below it soon. Its
place is then refined by two branches that meet there, one falling and one rising: the fall may end
in a kink, which plain smoothing would shift.
"""

from dataclasses import dataclass, replace

import numpy as np

from nucleation_bluesky.analysis.seccm.trace import noise_of_means, running_mean, sample_noise

_SPANS = (0.35, 0.25, 0.18, 0.125, 0.09, 0.0625, 0.044)  # of the time since the start
_KNOTS = 31
_FINE = 8
MAX_FIT_POINTS = 400


@dataclass(frozen=True)
class MinimumSettings:
    """How a minimum is looked for.

    Parameters
    ----------
    window : float
        Half width of the means, as a share of the time since the start.
    z : float
        A minimum stands out by so many standard deviations of the means.
    persistence : float
        The potential stays above its minimum at least until this multiple of its time.
    least_fall : float
        V; smaller excursions are no minima whatever their significance.
    """

    window: float = 0.01
    z: float = 6.0
    persistence: float = 1.25
    least_fall: float = 0.5e-3


@dataclass(frozen=True)
class Minimum:
    """A local minimum.

    Parameters
    ----------
    time, time_uncertainty : float
        s since the start.
    value, value_uncertainty : float
        V.
    index : int
        Sample nearest to it.
    span : float
        Half width of the fit, s.
    """

    time: float
    time_uncertainty: float
    value: float
    value_uncertainty: float
    index: int
    span: float


def first_minimum(
    time: np.ndarray, values: np.ndarray, settings: MinimumSettings | None = None
) -> tuple[Minimum | None, str]:
    """Find the first local minimum.

    Parameters
    ----------
    time : ndarray, shape (n,)
        s since the start of the transient, increasing.
    values : ndarray, shape (n,)
        V, finite.
    settings : MinimumSettings or None

    Returns
    -------
    minimum : Minimum or None
        None where the record has none.
    reason : str
        Why there is none; empty otherwise.
    """
    settings = settings or MinimumSettings()
    if len(values) < 16:
        return None, f"{len(values)} samples are too few to look for a minimum"
    means, noise = growing_means(values, settings.window)
    found = _significant(time, means, noise, settings)
    if found is None:
        fall = means[-1] < np.min(means[:-1], initial=np.inf) + settings.z * noise[-1]
        return None, (
            "the potential was still falling at the end: it reached no local minimum"
            if fall
            else "the potential has no significant local minimum"
        )
    return _refined(time, values, found), ""


def growing_means(values: np.ndarray, window: float) -> tuple[np.ndarray, np.ndarray]:
    """Means over windows of ``2 * window * index`` samples, and the noise of each."""
    n = len(values)
    half = np.maximum(1, (window * np.arange(n)).astype(int))
    half = np.minimum(np.minimum(half, np.arange(n)), np.arange(n)[::-1])
    width = 2 * half + 1
    means = running_mean(values, half)
    sizes = np.unique(np.geomspace(1, width.max(), 12).astype(int))
    levels = [noise_of_means(values, int(size)) for size in sizes]
    return means, np.exp(
        np.interp(np.log(width), np.log(sizes), np.log(np.maximum(levels, 1e-300)))
    )


def _significant(
    time: np.ndarray, means: np.ndarray, noise: np.ndarray, settings: MinimumSettings
) -> int | None:
    """Index of the first minimum that has a fall before it and a lasting rise after it."""
    need = np.maximum(settings.z * np.sqrt(2) * noise, settings.least_fall)
    low = high = 0
    falling = False
    levels, needs = means.tolist(), need.tolist()
    for k, level in enumerate(levels):
        if not falling:
            if level > levels[high]:
                high = k
            elif levels[high] - level > needs[k]:
                falling, low = True, k
        elif level < levels[low]:
            low = k
        elif level - levels[low] > needs[k]:
            until = np.searchsorted(time, settings.persistence * time[low])
            if np.all(means[k : max(until, k + 1)] > levels[low]):
                return low
            falling, high = False, k
    return None


def _refined(time: np.ndarray, values: np.ndarray, at: int) -> Minimum:
    """Fit two branches in the widest window in which they describe the data within the noise.

    What a narrower window says otherwise counts as uncertainty.
    """
    noise = sample_noise(values)
    center = float(time[at])
    best: Minimum | None = None
    good = False
    for span in _SPANS:
        part = np.flatnonzero(np.abs(time - center) <= span * center)
        if part.size < 12:
            break
        found, residual = _two_branches(time[part], values[part], span * center)
        if good and best is not None:
            best = replace(
                best,
                time_uncertainty=float(np.hypot(best.time_uncertainty, found.time - best.time)),
                value_uncertainty=float(np.hypot(best.value_uncertainty, found.value - best.value)),
            )
            break
        best = found
        dof = part.size - 7
        good = noise > 0 and residual / noise**2 < dof + 2 * np.sqrt(2 * dof)
    if best is None:
        period = float(np.median(np.diff(time)))
        return Minimum(center, period, float(values[at]), noise, at, period)
    return replace(best, index=int(np.argmin(np.abs(time - best.time))))


def _two_branches(time: np.ndarray, values: np.ndarray, span: float) -> tuple[Minimum, float]:
    """Fit both branches with a knot at every place in the window; the knot is the minimum."""
    every = max(1, len(time) // MAX_FIT_POINTS)
    used = len(time) // every * every
    t, v = (a[:used].reshape(-1, every).mean(axis=1) for a in (time, values))
    knots = np.linspace(t[3], t[-4], _KNOTS)
    residuals = np.array([_fit(t, v, knot)[1] for knot in knots])
    k = int(np.argmin(residuals))
    step = (knots[1] - knots[0]) / _FINE
    fine = knots[k] + step * np.arange(-2 * _FINE, 2 * _FINE + 1)
    fine = fine[(fine >= t[3]) & (fine <= t[-4])]
    fits = [_fit(t, v, knot) for knot in fine]
    residuals = np.array([fit[1] for fit in fits])
    k = int(np.argmin(residuals))
    variance = residuals[k] / max(len(t) - 7, 1)
    likely = np.exp(-0.5 * np.clip((residuals - residuals[k]) / max(variance, 1e-300), 0, 700))
    likely /= likely.sum()
    levels = np.array([fit[0] for fit in fits])
    spread, shift = (np.sqrt(likely @ (x - likely @ x) ** 2) for x in (fine, levels))
    period = float(np.median(np.diff(time)))
    own = np.sqrt(variance * 7 / len(t))  # of a fit with seven parameters, on average
    found = Minimum(
        time=float(fine[k]),
        time_uncertainty=float(np.hypot(spread, period / np.sqrt(12))),
        value=float(levels[k]),
        value_uncertainty=float(np.hypot(shift, own)),
        index=0,
        span=span,
    )
    return found, float(residuals[k]) * every


def _fit(time: np.ndarray, values: np.ndarray, knot: float) -> tuple[float, float]:
    """Level at the knot and sum of squares; falling before the knot, rising after it."""
    scale = time[-1] - time[0]
    before = np.maximum(knot - time, 0) / scale
    after = np.maximum(time - knot, 0) / scale
    columns = [np.ones_like(time), before, before**2, after, after**2, after**3]
    bound = [False, True, True, True, False, False]  # must not be negative
    while True:
        basis = np.column_stack(columns)
        found = np.linalg.lstsq(basis, values, rcond=None)[0]
        wrong = [k for k in range(len(columns)) if bound[k] and found[k] < 0]
        if not wrong:
            return float(found[0]), float(np.sum((values - basis @ found) ** 2))
        worst = wrong[-1]
        del columns[worst], bound[worst]
