"""Noise as the data before the growth show it: windows, alikeness of sites, resolution."""

import numpy as np

from nucleation_bluesky.analysis.background import Noise, fill_missing, find_glitches
from nucleation_bluesky.analysis.windows import Anchors, window

WINDOW = 96  # bins; growth may fill half of them


def null_windows(
    values: np.ndarray, anchors: Anchors, binning: int, error_rate: float
) -> np.ndarray:
    """Windows before the growth, (m, WINDOW), gaps and glitches filled."""
    n = len(anchors.last)
    chosen = np.unique(np.linspace(0, n - 1, min(n, 500)).astype(int))
    parts = []
    for k in range(4):
        # well away from the growth, which may be longer than a window of this binning
        length = anchors.last[chosen] - anchors.first[chosen] + 1
        back = np.maximum(binning * WINDOW // 2, (0.2 + 0.18 * k) * length)
        end = anchors.last[chosen] - back.astype(np.int64)
        enough = end - anchors.first[chosen] + 1 >= binning * 8
        part = chosen[enough]
        if len(part):
            parts.append(window(values, anchors.first[part], end[enough], WINDOW, binning))
    if not parts:
        # records too short to spare a window: the head of each
        parts.append(window(values, anchors.first, anchors.last, WINDOW, binning)[:, : WINDOW // 2])
    data = np.concatenate(parts)
    data = data[np.isfinite(data).sum(axis=1) >= 4]
    bad = find_glitches(data, error_rate)
    hollow = ~np.isfinite(data)
    leading = np.logical_and.accumulate(hollow, axis=1)
    filled = fill_missing(np.where(bad, np.nan, data), bad | hollow)
    return np.where(leading, np.nan, filled)


def scale_dof(data: np.ndarray, noise: Noise) -> float:
    """How alike the sites' noise levels are, as degrees of freedom of a chi-squared prior."""
    whole = data[np.isfinite(data).all(axis=1)]
    w = data.shape[1]
    if len(whole) < 8 or w < 8:
        return 8.0
    reduced = np.einsum("nw,wv,nv->n", whole, noise.precision, whole) / (w - 2)
    middle = np.median(reduced)
    spread = (1.4826 * np.median(np.abs(reduced - middle)) / max(middle, 1e-9)) ** 2
    return float(np.clip(2.0 / max(spread - 2.0 / (w - 2), 1e-3), 8.0, 400.0))


def quantum(values: np.ndarray) -> float:
    """Smallest step between different values, 0 where all are equal.

    A converter's code, or the rounding of the numbers themselves.
    """
    part = values[:: max(1, len(values) // 200_000)]
    part = np.unique(part[np.isfinite(part)].astype(np.float64))
    steps = np.diff(part)
    if not len(steps):
        return 0.0
    return float(max(np.min(steps), 1e-9 * (part[-1] - part[0])))
