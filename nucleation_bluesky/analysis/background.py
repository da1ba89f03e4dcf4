"""What a channel does when nothing grows: glitches, noise and its correlation, baseline.

The background of a window of samples is a straight line (leakage and C dV/dt; drift) plus noise
with stationary increments. Its structure function, measured on stretches without growth and
pooled over the sites of one instrument, covers white and filtered noise, random walk and mains
hum alike; generalised least squares with it is universal kriging (Matheron 1973).
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import null_space, toeplitz
from scipy.optimize import nnls
from scipy.stats import norm


def robust_scale(values: np.ndarray) -> float:
    """Return the standard deviation from the median absolute value, or a trimmed rms.

    A coarse converter repeats codes, so that more than half of the differences may be zero.
    """
    sizes = np.abs(values[np.isfinite(values)])
    if not len(sizes):
        return float("nan")
    scale = 1.4826 * float(np.median(sizes))
    trimmed = sizes[sizes <= np.quantile(sizes, 0.99)]
    rms = float(np.sqrt(np.mean(trimmed**2)))
    # a normal distribution cut at its 99 % quantile keeps 0.965 of its standard deviation
    return max(scale, 0.5 * rms / 0.965) if scale > 0 else rms / 0.965


def sample_noise(values: np.ndarray, offsets: np.ndarray, sites: int = 256) -> float:
    """Pooled standard deviation of one sample, from first differences; NaN without data."""
    n = len(offsets) - 1
    chosen = np.unique(np.linspace(0, n - 1, min(n, sites)).astype(int)) if n else []
    parts = []
    for site in chosen:
        record = values[offsets[site] : offsets[site + 1]][:4096]
        if len(record) > 2:
            parts.append(np.diff(record[: max(3, 3 * len(record) // 4)].astype(np.float64)))
    if not parts:
        return float("nan")
    return robust_scale(np.concatenate(parts)) / np.sqrt(2.0)


def find_glitches(data: np.ndarray, error_rate: float) -> np.ndarray:
    """Find isolated one-sample outliers.

    Parameters
    ----------
    data : ndarray, shape (n, w)
        Windows, NaN where missing.
    error_rate : float
        Expected number of false alarms over the whole array under normal noise.

    Returns
    -------
    ndarray of bool, shape (n, w)
        Samples that leave both neighbours by more than the noise allows while the neighbours
        agree. The first and last samples have one neighbour only and are never marked.
    """
    marked = np.zeros(data.shape, dtype=bool)
    if data.shape[1] < 3 or not len(data):
        return marked
    left, mid, right = data[:, :-2], data[:, 1:-1], data[:, 2:]
    jump = mid - 0.5 * (left + right)
    scale = robust_scale(jump)
    if not np.isfinite(scale) or scale == 0.0:
        return marked
    limit = norm.isf(error_rate / (2.0 * max(data.size, 1))) * scale
    with np.errstate(invalid="ignore"):
        marked[:, 1:-1] = (np.abs(jump) > limit) & (np.abs(right - left) < 0.5 * np.abs(jump))
    return marked


def fill_missing(data: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Replace missing samples by linear interpolation along each row (a copy is returned)."""
    out = data.copy()
    index = np.arange(data.shape[1])
    for row in np.flatnonzero(missing.any(axis=1)):
        good = ~missing[row]
        if good.any():
            out[row, ~good] = np.interp(index[~good], index[good], data[row, good])
        else:
            out[row] = 0.0
    return out


def structure_function(data: np.ndarray) -> tuple[np.ndarray, int]:
    """Mean squared increment by lag, pooled over windows.

    A line in the data adds a term in lag**2, which the projection in `fit_noise` removes exactly.

    Parameters
    ----------
    data : ndarray, shape (n, w)
        Windows without growth, NaN where missing (at the left only).

    Returns
    -------
    increments : ndarray, shape (w,)
        D(0) = 0, D(1), ...; NaN where no pair exists.
    windows : int
        Windows used.
    """
    w = data.shape[1]
    out = np.full(w, np.nan)
    out[0] = 0.0
    spread = np.nanmean(np.diff(data, axis=1) ** 2, axis=1) if len(data) else np.zeros(0)
    good = np.isfinite(spread)
    if good.any():
        good &= spread <= 6.0 * np.median(spread[good])
    kept = data[good]
    if not len(kept):
        return out, 0
    for lag in range(1, w):
        step = (kept[:, lag:] - kept[:, :-lag]) ** 2
        if np.isfinite(step).sum() >= 8:
            out[lag] = np.nanmean(step)
    return out, len(kept)


def pole_from_noise(increments: np.ndarray) -> float | None:
    """Time constant of a channel from the colour of its noise, samples.

    White noise behind one pole is correlated as ``rho**lag`` with ``rho = exp(-1 / pole)``.

    Parameters
    ----------
    increments : ndarray
        Structure function.

    Returns
    -------
    float or None
        None where the noise is (nearly) white or is not that of one pole.
    """
    if len(increments) < 4 or not np.all(np.isfinite(increments[:4])) or increments[1] <= 0:
        return None
    rho = float(increments[2] / increments[1]) - 1.0
    third = float(increments[3] / increments[1])
    if not 0.15 < rho < 0.98 or abs(third - (1.0 + rho + rho**2)) > 0.1 * third:
        return None
    return -1.0 / float(np.log(rho))


@dataclass(frozen=True)
class Noise:
    """Noise of one channel on windows of one length and binning.

    Parameters
    ----------
    precision : ndarray, shape (w, w)
        Inverse covariance with constant and line projected out (P of the generalised least
        squares): ``y' P y`` is chi-squared with ``w - 2`` degrees of freedom.
    sigma : float
        Standard deviation of one (binned) sample.
    """

    precision: np.ndarray
    sigma: float


def fit_noise(increments: np.ndarray, windows: int, samples: int, floor: float) -> Noise:
    """Precision matrix of windows of ``samples`` from a structure function.

    Parameters
    ----------
    increments : ndarray
        D by lag; missing lags follow a straight line (random walk).
    windows : int
        Windows it was measured on; few windows lean on white noise plus random walk.
    samples : int
        Length of the windows wanted.
    floor : float
        Smallest variance of a sample that is credible (quantisation), same unit squared.
    """
    lag = np.arange(samples, dtype=float)
    floor = max(floor, 1e-12)
    model = _model_curve(np.maximum(increments, 2.0 * floor), lag)
    curve = model.copy()
    known = np.flatnonzero(np.isfinite(increments[:samples]))
    known = known[known > 0]
    trust = windows / (windows + 20.0)
    measured = np.maximum(increments[known], 2.0 * floor)
    curve[known] = (1.0 - trust) * curve[known] + trust * measured
    sigma2 = max(0.5 * float(curve[min(1, samples - 1)]), floor)
    if samples < 3:
        return Noise(np.zeros((samples, samples)), float(np.sqrt(sigma2)))
    line = np.stack([np.ones(samples), lag], axis=1)
    basis = null_space(line.T)
    values, vectors = np.linalg.eigh(basis.T @ toeplitz(-0.5 * curve) @ basis)
    rotated = basis @ vectors
    # a curve measured on few windows belongs to no noise at all: the fitted one bounds it
    bound = np.einsum("ij,ik,kj->j", rotated, toeplitz(-0.5 * model), rotated, optimize=True)
    share = float(np.clip(20.0 / max(windows, 1), 0.05, 0.7))
    values = np.maximum(values, np.maximum(share * bound, floor))
    values = np.maximum(values, 0.01 * float(np.median(values)))
    return Noise((rotated / values) @ rotated.T, float(np.sqrt(sigma2)))


def _model_curve(increments: np.ndarray, lag: np.ndarray) -> np.ndarray:
    """White noise, noise behind poles and a random walk, fitted to a structure function.

    Every part is a valid structure function and no weight is negative, hence so is the sum. The
    line in the data is fitted along (lag**2) and left out.
    """
    where = np.flatnonzero(np.isfinite(increments))
    where = where[where > 0]
    if not len(where):
        return np.where(lag > 0, 2.0, 0.0)
    poles = np.array([1.0, 3.0, 10.0, 30.0])

    def parts(x: np.ndarray) -> np.ndarray:
        rise = -np.expm1(-x[:, None] / poles)
        return np.column_stack([x > 0, x, rise])

    root = 1.0 / (np.sqrt(where) * increments[where])
    design = np.column_stack([parts(where.astype(float)), where**2.0]) * root[:, None]
    size = np.linalg.norm(design, axis=0)
    weights = nnls(design / size, increments[where] * root)[0] / size
    return parts(lag) @ weights[:-1]
