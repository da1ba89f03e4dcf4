"""Nucleation and growth in a galvanostatic transient (S21; Martin-Yerga et al. 2024, Fig 3d)."""

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import curve_fit

from nucleation_bluesky.analysis.seccm.minimum import (
    Minimum,
    MinimumSettings,
    first_minimum,
    growing_means,
)
from nucleation_bluesky.analysis.seccm.trace import Trace, sample_noise

OVERLOAD_DROP = 5.0  # V: a galvanostat without contact sits at overload (S2)
MAX_FIT_POINTS = 2000
NEVER = (
    "no cathodic current flowed",
    "the record ended before the meniscus made contact",
)


@dataclass(frozen=True)
class Plating:
    """What one galvanostatic plating step shows. None: it does not exist in this record.

    Parameters
    ----------
    start : float
        When current began to flow through the meniscus, s on the record's own time.
    duration : float
        Of the step from then on, s.
    current : float
        Mean applied current, A (negative plates).
    charge : float
        Passed in the step, C, magnitude.
    e_nuc, e_nuc_uncertainty : float or None
        First local minimum of the potential, V.
    t_nuc, t_nuc_uncertainty : float or None
        Its time after ``start``, s.
    charge_nuc : float or None
        Charge passed until then, C, magnitude.
    e_growth, e_growth_uncertainty : float or None
        Plateau after the minimum, V.
    growth_observed : float or None
        Share of the way from e_nuc to e_growth that the record shows; below 1 the plateau is
        extrapolated.
    second_fall : float or None
        When the potential fell again for good after its plateau, s after ``start``.
    reason : str
        Why there is no nucleation; empty where there is.
    growth_reason : str
        Why there is no plateau; empty where there is.
    settings : MinimumSettings
        Of the search.
    """

    start: float
    duration: float
    current: float
    charge: float
    e_nuc: float | None = None
    e_nuc_uncertainty: float | None = None
    t_nuc: float | None = None
    t_nuc_uncertainty: float | None = None
    charge_nuc: float | None = None
    e_growth: float | None = None
    e_growth_uncertainty: float | None = None
    growth_observed: float | None = None
    second_fall: float | None = None
    reason: str = ""
    growth_reason: str = ""
    settings: MinimumSettings = field(default_factory=MinimumSettings)

    @property
    def nucleated(self) -> bool:
        """Whether the potential reached a local minimum."""
        return self.e_nuc is not None


def plating_step(trace: Trace, settings: MinimumSettings | None = None) -> Plating:
    """Find nucleation and growth in a galvanostatic record.

    The record may begin before contact (at overload, or without current) and end after the
    current was switched off.

    Parameters
    ----------
    trace : Trace
        Of one step, or a whole record with one plating step; of several the first is taken.
    settings : MinimumSettings or None
        Of the search for the minimum.
    """
    settings = settings or MinimumSettings()
    trace = trace.finite()
    window, reason = plating_window(trace)
    if window is None:
        return Plating(float("nan"), 0.0, 0.0, 0.0, reason=reason, settings=settings)
    step = trace.part(window)
    start = float(step.time[0])
    time = np.asarray(step.time, dtype=float) - start
    potential = np.asarray(step.potential, dtype=float)
    passed = -step.charge()
    head = Plating(
        start=start,
        duration=float(time[-1]),
        current=float(np.mean(step.current)),
        charge=float(passed[-1]),
        settings=settings,
    )
    minimum, reason = first_minimum(time, potential, settings)
    if minimum is None:
        return Plating(**{**vars(head), "reason": reason, "growth_reason": "nothing nucleated"})
    found = {
        "e_nuc": minimum.value,
        "e_nuc_uncertainty": minimum.value_uncertainty,
        "t_nuc": minimum.time,
        "t_nuc_uncertainty": minimum.time_uncertainty,
        "charge_nuc": float(np.interp(minimum.time, time, passed)),
    }
    return Plating(**{**vars(head), **found, **_growth(time, potential, minimum, settings)})


def plating_window(trace: Trace) -> tuple[slice | None, str]:
    """Find the samples of the first stretch of cathodic current through a meniscus.

    Returns
    -------
    window : slice or None
    reason : str
        Why there is none.
    """
    current = np.asarray(trace.current, dtype=float)
    potential = np.asarray(trace.potential, dtype=float)
    if len(current) == 0:
        return None, "the record is empty"
    first = 0
    settled = float(np.median(potential[len(potential) // 2 :]))
    above = np.abs(potential - settled) > OVERLOAD_DROP
    if above[0]:
        calm = ~above[:-1] & ~above[1:]  # one sample alone is a spike, not contact
        if not calm.any():
            return None, NEVER[1]
        first = int(np.argmax(calm))
    level = float(np.percentile(-current[first:], 95))
    noise = sample_noise(current[first:])
    if level <= 4 * noise or level <= 0:
        return None, NEVER[0]
    on = -current[first:] > 0.5 * level
    begin = int(np.argmax(on))
    # a lone sample below half the level is noise, a run of them is the end of the step
    off = np.convolve(~on[begin:], np.ones(3), mode="valid") == 3
    end = begin + int(np.argmax(off)) if off.any() else len(on)
    return slice(first + begin, first + end), ""


def _growth(
    time: np.ndarray, potential: np.ndarray, minimum: Minimum, settings: MinimumSettings
) -> dict[str, object]:
    """Plateau after a minimum: asymptote of an exponential relaxation."""
    means, noise = growing_means(potential, settings.window)
    after = np.flatnonzero(time > minimum.time)
    if after.size < 16:
        return {"growth_reason": "the record ends at the minimum"}
    peak = after[int(np.argmax(means[after]))]
    need = np.maximum(settings.z * np.sqrt(2) * noise, settings.least_fall)
    need = np.maximum(need, 0.1 * (means[peak] - minimum.value))
    fallen = np.flatnonzero(means[peak:] < means[peak] - need[peak:])
    second = None
    last = len(time)
    # half the time between minimum and the highest potential is a plateau's own business
    if fallen.size and np.all(means[peak + fallen[0] :] < means[peak]):
        second = float(time[peak + fallen[0]])
        last = peak + 1
    part = slice(after[0], max(last, after[0] + 8))
    result: dict[str, object] = {"second_fall": second}
    fit = _relaxation(time[part], potential[part], minimum)
    if fit is None:
        return result | {"growth_reason": "the potential after the minimum follows no relaxation"}
    level, sigma, observed = fit
    if observed < 0.6:
        return result | {
            "growth_reason": f"the record shows {observed:.0%} of the rise: no plateau was reached"
        }
    return result | {
        "e_growth": level,
        "e_growth_uncertainty": sigma,
        "growth_observed": observed,
    }


def _relaxation(
    time: np.ndarray, potential: np.ndarray, minimum: Minimum
) -> tuple[float, float, float] | None:
    """Asymptote, its uncertainty, and the share of the rise that was seen."""
    every = max(1, len(time) // MAX_FIT_POINTS)
    blocks = len(time) // every
    t, e = (
        v[: blocks * every].reshape(blocks, every).mean(axis=1)
        for v in (time - minimum.time, potential)
    )
    if blocks < 8:
        return None
    tail = max(3, blocks // 10)
    end = float(np.mean(e[-tail:]))
    rise = end - float(np.mean(e[: min(3, blocks)]))
    if rise <= 0:
        return None

    def model(x: np.ndarray, level: float, height: float, rate: float) -> np.ndarray:
        return level - height * np.exp(-x * rate)

    guess = (end, rise, 3.0 / t[-1])
    try:
        values, covariance = curve_fit(
            model, t, e, guess, bounds=([-np.inf, 0, 0.01 / t[-1]], [np.inf, np.inf, np.inf])
        )
    except RuntimeError:
        return None
    level, height, rate = (float(v) for v in values)
    observed = 1.0 - float(np.exp(-rate * t[-1]))
    sigma = float(np.sqrt(max(covariance[0, 0], 0)))
    misfit = e[-tail:] - model(t[-tail:], *values)
    if observed > 0.95:  # the plateau itself is there: believe it rather than the model
        level += float(np.mean(misfit))
    # the part that was not seen rests on the model: half of it is in doubt
    unseen = 0.5 * (1.0 - observed) * height
    return level, float(np.sqrt(sigma**2 + np.mean(misfit) ** 2 + unseen**2)), observed
