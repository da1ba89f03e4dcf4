"""Spatial correlation between sites, and blocks that respect it."""

import numpy as np
from scipy.spatial import KDTree


def correlation_length(
    x: np.ndarray, y: np.ndarray, values: np.ndarray, *, bins: int = 40
) -> float:
    """Distance at which the correlation of a site quantity has fallen to 1/e of its short range.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        Positions, m.
    values : ndarray, shape (n,)
        Quantity; NaN ignored.
    bins : int
        Distance bins, each one median site spacing wide.

    Returns
    -------
    float
        m; 0 where no correlation stands out of its noise.
    """
    use = np.isfinite(x) & np.isfinite(y) & np.isfinite(values)
    points = np.stack([np.asarray(x)[use], np.asarray(y)[use]], axis=1)
    z = np.asarray(values, dtype=float)[use]
    if z.size < 30 or np.std(z) == 0:
        return 0.0
    z = (z - z.mean()) / z.std()
    tree = KDTree(points)
    spacing = float(np.median(tree.query(points, k=2)[0][:, 1]))
    if spacing == 0:
        return 0.0
    limit = min(bins * spacing, 0.5 * float(np.ptp(points, axis=0).max()))
    if len(points) * np.pi * (limit / spacing) ** 2 > 2e7:  # bounded work on very large maps
        limit = spacing * np.sqrt(2e7 / (np.pi * len(points)))
    pairs = tree.query_pairs(limit, output_type="ndarray")
    if len(pairs) == 0:
        return 0.0
    lag = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    bin_index = np.minimum((lag / spacing - 0.5).astype(int), bins - 1).clip(0)
    count = np.bincount(bin_index, minlength=bins)
    total = np.bincount(bin_index, z[pairs[:, 0]] * z[pairs[:, 1]], minlength=bins)
    distance = np.bincount(bin_index, lag, minlength=bins)
    filled = count >= 20
    if not filled.any():
        return 0.0
    correlation, lags = (
        (total / np.maximum(count, 1))[filled],
        (distance / np.maximum(count, 1))[filled],
    )
    noise = 1 / np.sqrt(count[filled])
    if correlation[0] < 3 * noise[0]:
        return 0.0
    below = np.flatnonzero(correlation < correlation[0] / np.e)
    return float(lags[below[0]] if below.size else lags[-1])


def block_labels(x: np.ndarray, y: np.ndarray, size: float) -> np.ndarray:
    """Assign each site to a square block; ``size`` 0 gives every site its own.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        m.
    size : float
        Edge of the blocks, m.
    """
    if size <= 0:
        return np.arange(len(x))
    cells = np.stack([np.floor((v - np.min(v)) / size) for v in (x, y)], axis=1)
    return np.unique(cells, axis=0, return_inverse=True)[1].ravel()
