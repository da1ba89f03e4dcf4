"""Optical nucleation time of one record: the footprint's mean or a region's.

The time derivative has a local maximum where nucleation is fastest (Martin-Yerga et al. 2024,
Fig 5b). Particles that are born already grow, which makes the derivative larger afterwards and its
maximum late. Times of birth follow a normal distribution (Fig S27), so the record is
also fitted with a rounded step and a rounded kink at one time: that time is free of the growth.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import least_squares
from scipy.signal import find_peaks, peak_widths
from scipy.special import ndtr

from nucleation_bluesky.analysis.seccm.peaks import vertex_noise
from nucleation_bluesky.analysis.seccm.savgol import peak_time, savgol_operator

RIVAL = 0.25
SIGNIFICANT = 5.0  # prominence of the maximum over the derivative's noise
MIN_WINDOW = 3
MIN_FRAMES = 9  # after contact
FIT_REACH = 2.0  # full widths on either side of the maximum
QUANTISED = 1 / np.sqrt(12.0)


class FilmTooShortError(ValueError):
    """Too few frames for the derivative."""


@dataclass(frozen=True)
class OpticalTime:
    """Nucleation of one record.

    Parameters
    ----------
    time : float
        s on the record's time, growth accounted for.
    uncertainty : float
        Standard uncertainty, s: noise, frame interval, and half of what the growth moves it by.
    peak : float
        Maximum of dI/dt itself, s.
    width : float
        Full width of the maximum at half its prominence, s.
    prominence : float
        Of the maximum, per s.
    significance : float
        Prominence over its noise.
    rivals : int
        Further significant maxima at least a quarter as prominent.
    window, order : int
        Savitzky-Golay filter used: frames and order of the polynomial.
    rate : ndarray, shape (n,)
        dI/dt at every sample, per s.
    """

    time: float
    uncertainty: float
    peak: float
    width: float
    prominence: float
    significance: float
    rivals: int
    window: int
    order: int
    rate: np.ndarray


def trace_noise(values: np.ndarray) -> float:
    """Estimate the standard deviation of a record's white noise, from third differences."""
    third = np.diff(np.asarray(values, dtype=float), 3)
    if third.size == 0:
        return 0.0
    return float(1.4826 * np.median(np.abs(third)) / np.sqrt(20.0))


def optical_nucleation(
    time: np.ndarray,
    values: np.ndarray,
    *,
    window: int | None = None,
    order: int = 2,
    near: tuple[float, float] | None = None,
) -> OpticalTime | None:
    """Find the nucleation time of a mean intensity.

    Parameters
    ----------
    time, values : ndarray, shape (n,)
        s and intensity, of the frames after contact.
    window : int or None
        Frames of the Savitzky-Golay filter; None: the shortest odd one in which a maximum stands
        out from noise, then about the width of that maximum.
    order : int
        Of its polynomial.
    near : (float, float) or None
        Search only between these times, s.

    Returns
    -------
    OpticalTime or None
        None where no local maximum stands out.

    Raises
    ------
    FilmTooShortError
        If there are too few frames for the window.
    """
    time, values = np.asarray(time, dtype=float), np.asarray(values, dtype=float)
    n = len(time)
    if n < max(MIN_FRAMES, (window or MIN_WINDOW) + 2):
        raise FilmTooShortError(
            f"the film is too short: {n} frames after contact, and a derivative by "
            f"Savitzky-Golay filter over {window or MIN_WINDOW} frames needs at least "
            f"{max(MIN_FRAMES, (window or MIN_WINDOW) + 2)}; film longer or faster"
        )
    if window is not None:
        found = _maximum(time, values, window, order, near)
        return None if found is None else _refined(time, values, found)
    found = None
    for size in _windows(max(MIN_WINDOW, n // 3)):
        candidate = _maximum(time, values, size, order, near)
        found = candidate or found
        if candidate is not None and candidate.rivals == 0:
            break  # one maximum for all births, however they cluster
    return None if found is None else _refined(time, values, found)


def _windows(limit: int) -> Iterator[int]:
    """Odd numbers up to a limit, about a sixth apart."""
    size = MIN_WINDOW
    while size <= limit:
        yield size
        size = max(size + 2, odd(1.17 * size, size, 2 * size))


def odd(value: float, low: int, high: int) -> int:
    """Nearest odd number within limits."""
    size = 2 * round((value - 1) / 2) + 1
    high = high if high % 2 else high - 1
    return int(np.clip(size, low, max(high, low)))


def _maximum(
    time: np.ndarray,
    values: np.ndarray,
    window: int,
    order: int,
    near: tuple[float, float] | None,
) -> OpticalTime | None:
    """Return the most prominent local maximum of the derivative that noise does not explain."""
    operator = savgol_operator(time, window, order)
    rate = operator @ values
    sigma = trace_noise(values)
    noise = sigma * np.sqrt(np.asarray(operator.multiply(operator).sum(axis=1)).ravel())
    found, details = find_peaks(rate, prominence=0)
    if near is not None and len(found):
        inside = (time[found] >= near[0]) & (time[found] <= near[1])
        found, details = found[inside], {k: v[inside] for k, v in details.items()}
    if len(found) == 0:
        return None
    floor = float(np.ptp(rate)) * 1e-9
    significance = details["prominences"] / np.maximum(noise[found], floor)
    best = int(np.argmax(details["prominences"]))
    top = float(details["prominences"][best])
    k = int(found[best])
    if significance[best] < SIGNIFICANT:
        return None
    _, _, left, right = peak_widths(
        rate,
        found[best : best + 1],
        0.5,
        tuple(
            v[best : best + 1]
            for v in (details["prominences"], details["left_bases"], details["right_bases"])
        ),
    )
    samples = np.arange(len(time))
    width = float(np.interp(right[0], samples, time) - np.interp(left[0], samples, time))
    at, curvature = peak_time(
        time, rate[k - 1 : k], rate[k : k + 1], rate[k + 1 : k + 2], np.array([k])
    )
    around = slice(k - 1, k + 2)
    slope = sigma * vertex_noise(operator[around], time[around])[1]
    interval = float(np.median(np.diff(time)))
    spread = float(np.hypot(slope / max(-curvature[0], 1e-30), interval * QUANTISED))
    return OpticalTime(
        time=float(at[0]),
        uncertainty=min(spread, width),
        peak=float(at[0]),
        width=width,
        prominence=top,
        significance=float(significance[best]),
        rivals=int(
            np.sum((significance > SIGNIFICANT) & (details["prominences"] > RIVAL * top)) - 1
        ),
        window=window,
        order=order,
        rate=rate,
    )


def _refined(time: np.ndarray, values: np.ndarray, found: OpticalTime) -> OpticalTime:
    """Take the growth of particles already born into account."""
    reach = max(FIT_REACH * found.width, 6 * float(np.median(np.diff(time))))
    use = np.abs(time - found.peak) <= reach
    if use.sum() < 10:
        return found
    t, y = time[use] - found.peak, values[use]
    scale = float(np.ptp(y)) or 1.0

    def design(p: np.ndarray) -> np.ndarray:
        u = (t - p[0]) / np.exp(p[1])
        step = ndtr(u)
        bell = np.exp(-0.5 * u**2) / np.sqrt(2 * np.pi)
        ramp = np.exp(p[1]) * (u * step + bell)
        return np.column_stack([np.ones_like(t), t, step, ramp])

    def misfit(p: np.ndarray) -> np.ndarray:
        columns = design(p)
        return (y - columns @ np.linalg.lstsq(columns, y, rcond=None)[0]) / scale

    interval = float(np.median(np.diff(time)))
    low, high = np.log(0.2 * interval), np.log(max(found.width, interval))
    start = np.clip(np.log(found.width / 2.355 + 1e-12), low + 1e-3, high - 1e-3)
    fit = least_squares(
        misfit, [0.0, start], bounds=([-found.width, low], [found.width, max(high, low + 0.01)])
    )
    amplitude = np.linalg.lstsq(design(fit.x), y, rcond=None)[0]
    moved = float(fit.x[0])
    at_edge = abs(moved) > 0.98 * found.width
    if amplitude[2] <= 0 or at_edge:
        return found
    return replace(
        found,
        time=found.peak + moved,
        uncertainty=float(np.hypot(found.uncertainty, 0.5 * moved)),
    )
