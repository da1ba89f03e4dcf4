"""Traits of the cuts between regions that meet: whether image and shape show them.

Across a straight cut through one particle the grey neither dips nor steps, and both sides together
are as convex as each of them. The gradient along such a cut is no evidence: near its ends the
outline of the particle itself makes it steep.
"""

import numpy as np

from nucleation_bluesky.analysis.particle_images.hulls import hull_of

# of a region that meets no other
ALONE = {"united": 0.0, "united dip": 1.0, "united step": 1.0, "united neck": 0.0}


def cuts(
    own: np.ndarray,
    other: np.ndarray,
    fall: np.ndarray,
    low: np.ndarray,
    regions: dict[str, np.ndarray],
    hulls: list[np.ndarray],
) -> dict[str, np.ndarray]:
    """Describe each region beside the neighbour with which it makes up the most convex shape.

    Parameters
    ----------
    own, other : ndarray of int, shape (sides,)
        Region of each pixel side where one ends, and what is on the other side; 0: ground.
    fall, low : ndarray, shape (sides,)
        Fall of the grey across the side, and the lower grey of the two.
    regions : dict of ndarray, shape (n,)
        ``area``, px; ``mean`` grey; ``unit`` of its contrast.
    hulls : list of ndarray of int, shape (k, 2)
        Pixels at the corners of the convex hull of each region.

    Returns
    -------
    dict of ndarray, shape (n,)
        ``united``: solidity of both together; ``united dip``, ``united step``: of the grey where
        they meet, in units of the contrast; ``united neck``: length of the cut beside the diameter
        of the smaller one. `ALONE` where a region meets no other.
    """
    n = regions["area"].size
    found = {name: np.full(n, value) for name, value in ALONE.items()}
    meet = other > 0
    if not meet.any():
        return found
    key = own[meet].astype(np.int64) * (n + 1) + other[meet]
    pair, index, length = np.unique(key, return_inverse=True, return_counts=True)
    a, b = pair // (n + 1) - 1, pair % (n + 1) - 1
    step = np.bincount(index, fall[meet]) / length
    saddle = np.full(pair.size, -np.inf)
    np.maximum.at(saddle, index, low[meet])
    area, mean, unit = regions["area"], regions["mean"], regions["unit"]
    united = np.zeros(pair.size)
    known: dict[tuple[int, int], float] = {}
    for k, (i, j) in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
        if (j, i) in known:
            united[k] = known[j, i]
            continue
        hull = hull_of(np.concatenate([hulls[i], hulls[j]]))
        united[k] = known[i, j] = float((area[i] + area[j]) / hull.pixels)
    order = np.lexsort((b, united, a))
    last = order[np.append(a[order][1:] != a[order][:-1], True)]
    one, two = a[last], b[last]
    scale = np.minimum(unit[one], unit[two])
    found["united"][one] = united[last]
    found["united dip"][one] = (np.minimum(mean[one], mean[two]) - saddle[last]) / scale
    found["united step"][one] = np.abs(step[last]) / scale
    width = 2 * np.sqrt(np.minimum(area[one], area[two]) / np.pi)
    # sides of pixels make a slanting cut longer by 4 / pi on average
    found["united neck"][one] = length[last] * np.pi / 4 / width
    return found
