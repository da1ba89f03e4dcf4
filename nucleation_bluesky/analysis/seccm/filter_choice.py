"""Choice of the Savitzky-Golay filter and calibration of its errors, from the film itself.

The film's own noise is added once more to a sample of records. How far their maxima move tells the
error at each ratio of noise to curvature, outliers included; the filter with the smallest error is
taken. What another filter would have found, beyond noise, is the error of the choice.
"""

from dataclasses import dataclass

import numpy as np

from nucleation_bluesky.analysis.seccm.optical_time import MIN_WINDOW, odd
from nucleation_bluesky.analysis.seccm.peaks import Peaks, find_peaks_in, vertex_noise
from nucleation_bluesky.analysis.seccm.savgol import savgol_operator

REPEATS = 6
TRIALS = 2  # repeats while filters are compared
BINS = 8
TWO_SIGMA = 95.45
WINDOWS = (
    (3, 2),
    (5, 2),
    (7, 2),
    (9, 2),
    (13, 2),
    (11, 4),
    (15, 4),
    (21, 4),
    (29, 4),
    (39, 4),
    (53, 4),
    (71, 4),
)


@dataclass(frozen=True)
class Sample:
    """Some records of a film around the time searched.

    Parameters
    ----------
    values : ndarray, shape (m, p)
    time : ndarray, shape (m,)
        s.
    rows : (int, int)
        Samples searched.
    frames : int
        Of the whole film after contact.
    expected : (float, float)
        Centre and standard deviation of the times of the whole footprint, s.
    """

    values: np.ndarray
    time: np.ndarray
    rows: tuple[int, int]
    frames: int
    expected: tuple[float, float]

    def peaks(self, window: int, order: int, noise: np.ndarray | None = None) -> Peaks:
        """Maxima found with a filter, ``noise`` added to the records."""
        values = self.values if noise is None else self.values + noise
        operator = savgol_operator(self.time, window, order)
        blocks = [(0, values.astype(np.float32))]
        return find_peaks_in(
            blocks, operator, self.time, *self.rows, self.penalty(window, order, self.time)
        )

    def penalty(self, window: int, order: int, time: np.ndarray) -> np.ndarray:
        """Return what a maximum at each time must exceed others by, per s.

        Twice the log odds against a time are weighed by the noise of the derivative over its
        typical height: the log likelihood ratio of a maximum of that height.
        """
        operator = savgol_operator(self.time, window, order)
        middle = operator[[len(self.time) // 2]]
        size = float(np.sqrt(middle.multiply(middle).sum()))
        third = np.diff(self.values, 3, axis=0)
        noise = size * float(np.median(np.std(third, axis=0))) / np.sqrt(20.0)
        rate = operator @ self.values
        typical = float(np.median(rate[slice(*self.rows)].max(axis=0)))
        centre, sd = self.expected
        return noise**2 / max(typical, noise) * 0.5 * ((time - centre) / sd) ** 2

    def fits(self, window: int) -> bool:
        """Whether the stretch holds a window."""
        return window <= len(self.time) - 2


@dataclass(frozen=True)
class Calibration:
    """A filter with its errors.

    Parameters
    ----------
    window, order : int
    predicted, found : ndarray
        Error by noise over curvature, and what it is really, s.
    model : float
        Error by the choice of the filter, s.
    """

    window: int
    order: int
    predicted: np.ndarray
    found: np.ndarray
    model: float = 0.0

    def error(self, peaks: Peaks, slope_noise: np.ndarray) -> np.ndarray:
        """Error of every maximum that noise makes, s; NaN where there is no maximum."""
        linear = peaks.noise * slope_noise[peaks.index] / np.maximum(-peaks.curvature, 1e-30)
        error = np.interp(linear, self.predicted, self.found)
        return np.where(np.isfinite(peaks.curvature), error, np.nan)


def calibrate(
    sample: Sample, window: int | None, order: int | None, rng: np.random.Generator
) -> Calibration:
    """Choose a filter, or take the one given, and calibrate its errors."""
    if window is None:
        window, chosen = _choose(sample, order, rng)
        order = chosen
    else:
        window = min(window, len(sample.time) - 1 - len(sample.time) % 2)
        order = (4 if window >= 11 else 2) if order is None else order
    own = sample.peaks(window, order)
    others = [(w, o) for w, o in _alternatives(window, order) if sample.fits(w)]
    other = [sample.peaks(w, o).time for w, o in others]
    moved, relative = [], [[] for _ in others]
    for _ in range(REPEATS):
        added = own.noise * rng.normal(size=sample.values.shape)
        move = sample.peaks(window, order, added).time - own.time
        moved.append(move)
        for k, (w, o) in enumerate(others):
            relative[k].append(sample.peaks(w, o, added).time - other[k] - move)
    model = 0.0
    for apart, noise in zip(other, relative, strict=True):
        excess = two_sigma(apart - own.time) ** 2 - two_sigma(np.array(noise)) ** 2
        model = max(model, float(np.sqrt(max(excess, 0.0))))
    predicted, found = _curve(sample, own, np.array(moved), window, order)
    return Calibration(window, order, predicted, found, model)


def _choose(sample: Sample, order: int | None, rng: np.random.Generator) -> tuple[int, int]:
    candidates = [
        (w, o if order is None else order)
        for w, o in WINDOWS
        if sample.fits(w) and w <= max(MIN_WINDOW, sample.frames // 3) and w > (order or 0)
    ] or [(MIN_WINDOW, 2)]
    best, least = candidates[0], np.inf
    for window, degree in candidates:
        own = sample.peaks(window, degree)
        moves = [
            sample.peaks(window, degree, own.noise * rng.normal(size=sample.values.shape)).time
            - own.time
            for _ in range(TRIALS)
        ]
        lost = float(np.mean(~np.isfinite(own.time)))
        # outliers matter here: the root mean square
        error = float(np.sqrt(np.nanmean(np.array(moves) ** 2))) * (1 + lost)
        # a wider filter must be clearly better: growth displaces its maxima
        if error < 0.9 * least:
            best, least = (window, degree), error
    return best


def _curve(
    sample: Sample, own: Peaks, moved: np.ndarray, window: int, order: int
) -> tuple[np.ndarray, np.ndarray]:
    """Error really made against the one predicted, in bins of the latter."""
    slope = vertex_noise(savgol_operator(sample.time, window, order), sample.time)
    predicted = own.noise * slope[own.index] / np.maximum(-own.curvature, 1e-30)
    usable = np.isfinite(predicted) & np.isfinite(own.time)
    if usable.sum() < 4 * BINS:
        overall = two_sigma(moved)
        return np.array([0.0, 1e9]), np.array([overall, overall])
    edges = np.quantile(predicted[usable], np.linspace(0, 1, BINS + 1))
    slot = np.clip(np.searchsorted(edges, predicted) - 1, 0, BINS - 1)
    groups = [g for b in range(BINS) if (g := usable & (slot == b)).any()]
    centre = np.array([np.median(predicted[g]) for g in groups])
    error = np.array([two_sigma(moved[:, g]) for g in groups])
    return centre, np.maximum.accumulate(error)


def _alternatives(window: int, order: int) -> list[tuple[int, int]]:
    """Return filters one might have chosen as well: half as wide again, and of lower order."""
    wider = (odd(1.5 * window, window + 2, 10 * window), order)
    lower = (odd(0.6 * window, MIN_WINDOW, window), 2)
    return [wider, lower] if lower != (window, order) else [wider]


def two_sigma(values: np.ndarray) -> float:
    """Half of the distance from the median that holds 95 %: outliers count."""
    good = values[np.isfinite(values)]
    if good.size == 0:
        return 0.0
    return float(np.percentile(np.abs(good - np.median(good)), TWO_SIGMA) / 2)
