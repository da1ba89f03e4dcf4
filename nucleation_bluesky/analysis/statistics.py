"""Summaries of site results: histograms, robust widths, bootstrap intervals, overshoot."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from nucleation_bluesky.analysis.spatial import block_labels

IQR_TO_SIGMA = 1 / 1.3489795


@dataclass(frozen=True)
class Summary:
    """Robust and plain figures of one quantity (its own unit).

    Parameters
    ----------
    n : int
        Finite values.
    mean, sd, median : float
    p01, p25, p75, p99 : float
        Percentiles.
    robust_sd : float
        Interquartile range / 1.349.
    median_interval : tuple of float
        95 % bootstrap interval of the median.
    """

    n: int
    mean: float
    sd: float
    median: float
    p01: float
    p25: float
    p75: float
    p99: float
    robust_sd: float
    median_interval: tuple[float, float]


@dataclass(frozen=True)
class VolumeHistogram:
    """Histogram of particle volumes on logarithmic bins.

    Parameters
    ----------
    edges : ndarray, shape (bins + 1,)
        m3.
    counts : ndarray of int, shape (bins,)
    median : float
        m3.
    log_width : float
        Robust standard deviation of ln(volume): 0.1 is a 10 % spread.
    log_width_interval : tuple of float
        95 % bootstrap interval.
    median_diameter : float
        Diameter of the hemisphere of the median volume, m.
    n, n_not_positive : int
        Volumes used, and finite ones that are not positive (no particle).
    """

    edges: np.ndarray
    counts: np.ndarray
    median: float
    log_width: float
    log_width_interval: tuple[float, float]
    median_diameter: float
    n: int
    n_not_positive: int


def bootstrap_interval(
    values: np.ndarray,
    statistic: Callable[..., np.ndarray],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    x: np.ndarray | None = None,
    y: np.ndarray | None = None,
    block_size: float | None = None,
) -> tuple[float, float]:
    """Percentile bootstrap interval; by spatial blocks where neighbours are correlated.

    Parameters
    ----------
    values : ndarray, shape (n,)
        NaN ignored.
    statistic : callable
        Called as ``statistic(samples, axis=-1)`` (e.g. ``numpy.median``).
    level : float
        Confidence level.
    resamples, seed : int
        Number of resamples and seed: the same input gives the same interval.
    x, y : ndarray or None
        Positions, m; with ``block_size`` (m) whole squares are resampled.

    Returns
    -------
    tuple of float
        NaN with fewer than two values.
    """
    values = np.asarray(values, dtype=float)
    use = np.isfinite(values)
    data = values[use]
    if data.size < 2:
        return (float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    if block_size is None or x is None or y is None:
        chunk = max(1, 2_000_000 // data.size)
        parts = []
        for first in range(0, resamples, chunk):
            size = (min(chunk, resamples - first), data.size)
            parts.append(statistic(data[rng.integers(0, data.size, size)], axis=-1))
        samples = np.concatenate(parts)
    else:
        labels = block_labels(np.asarray(x)[use], np.asarray(y)[use], block_size)
        groups = [data[labels == k] for k in range(labels.max() + 1)]
        picks = rng.integers(0, len(groups), (resamples, len(groups)))
        samples = np.array(
            [statistic(np.concatenate([groups[k] for k in row]), axis=-1) for row in picks]
        )
    tail = 50 * (1 - level)
    low, high = np.nanpercentile(samples, [tail, 100 - tail])
    return float(low), float(high)


def summarise(values: np.ndarray) -> Summary:
    """Summarise a quantity over sites, e.g. a map (NaN ignored)."""
    data = np.asarray(values, dtype=float).ravel()
    data = data[np.isfinite(data)]
    if data.size == 0:
        nan = float("nan")
        return Summary(0, nan, nan, nan, nan, nan, nan, nan, nan, (nan, nan))
    p01, p25, median, p75, p99 = (float(v) for v in np.percentile(data, [1, 25, 50, 75, 99]))
    return Summary(
        n=data.size,
        mean=float(data.mean()),
        sd=float(data.std(ddof=1)) if data.size > 1 else float("nan"),
        median=median,
        p01=p01,
        p25=p25,
        p75=p75,
        p99=p99,
        robust_sd=(p75 - p25) * IQR_TO_SIGMA,
        median_interval=bootstrap_interval(data, np.median),
    )


def wilson_interval(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson interval of a proportion; (nan, nan) without trials.

    Raises
    ------
    ValueError
        If successes are negative or exceed trials.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials is not possible")
    if trials == 0:
        return (float("nan"), float("nan"))
    found = stats.binomtest(int(successes), int(trials)).proportion_ci(level, method="wilson")
    return float(found.low), float(found.high)


def log_width(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Robust standard deviation of the logarithm (interquartile range / 1.349)."""
    low, high = np.percentile(np.log(values), [25, 75], axis=axis)
    return (high - low) * IQR_TO_SIGMA


def volume_histogram(
    volume: np.ndarray, *, bins: int = 40, limits: tuple[float, float] | None = None
) -> VolumeHistogram:
    """Histogram and robust width of particle volumes.

    Parameters
    ----------
    volume : ndarray
        m3; NaN ignored, values of 0 or less counted apart.
    bins : int
        Logarithmic bins.
    limits : tuple of float or None
        Ends of the histogram, m3; give the same to compare sets. None: the data's range.

    Raises
    ------
    ValueError
        If no volume is positive.
    """
    data = np.asarray(volume, dtype=float).ravel()
    data = data[np.isfinite(data)]
    positive = data[data > 0]
    if positive.size == 0:
        raise ValueError("there is no particle with a positive volume")
    low, high = limits or (float(positive.min()), float(positive.max()))
    if not high > low:
        low, high = low / 2, low * 2
    edges = np.geomspace(low, high, bins + 1)
    edges[0], edges[-1] = low, high  # geomspace may round the ends inwards
    median = float(np.median(positive))
    return VolumeHistogram(
        edges=edges,
        counts=np.histogram(positive, edges)[0],
        median=median,
        log_width=float(log_width(positive)) if positive.size > 1 else float("nan"),
        log_width_interval=bootstrap_interval(positive, log_width),
        median_diameter=float(2 * np.cbrt(1.5 * median / np.pi)),
        n=positive.size,
        n_not_positive=data.size - positive.size,
    )


def compare_volumes(
    normal: np.ndarray, compliance: np.ndarray, *, bins: int = 40
) -> dict[str, VolumeHistogram]:
    """Histograms of normal sweeps and sweeps with compliance on common bins."""
    both = [np.asarray(v, dtype=float).ravel() for v in (normal, compliance)]
    positive = np.concatenate([v[np.isfinite(v) & (v > 0)] for v in both])
    if positive.size == 0:
        raise ValueError("there is no particle with a positive volume")
    limits = (float(positive.min()), float(positive.max()))
    return {
        name: volume_histogram(v, bins=bins, limits=limits)
        for name, v in zip(("normal", "compliance"), both, strict=True)
    }


def overshoot_statistics(ratio: np.ndarray) -> dict[str, float]:
    """Median, 95th and 99th percentile and maximum of overshoot ratios over tripped sites.

    Parameters
    ----------
    ratio : ndarray
        Measured extreme over compliance, per site; NaN where the channel did not trip.

    Returns
    -------
    dict
        ``n``, ``median``, ``median_low``, ``median_high`` (95 % bootstrap), ``p95``, ``p99``,
        ``max``.
    """
    data = np.asarray(ratio, dtype=float).ravel()
    data = data[np.isfinite(data)]
    if data.size == 0:
        nan = float("nan")
        keys = ("median", "median_low", "median_high", "p95", "p99", "max")
        return {"n": 0.0} | dict.fromkeys(keys, nan)
    low, high = bootstrap_interval(data, np.median)
    median, p95, p99 = (float(v) for v in np.percentile(data, [50, 95, 99]))
    return {
        "n": float(data.size),
        "median": median,
        "median_low": low,
        "median_high": high,
        "p95": p95,
        "p99": p99,
        "max": float(data.max()),
    }
