"""Split particles that touch, by the necks of their outline.

A neck is judged by its width against the smaller of the two parts it joins, so the rule has no
length in it and does not depend on magnification.
"""

import numpy as np
from scipy import ndimage
from skimage import feature, measure, segmentation

# a neck narrower than this share of the smaller part separates two particles
NECK = 0.78
MIN_RADIUS = 2.0
# a hollow particle is this solid once filled; what is less solid is a cluster around a gap
SOLID = 0.93
# share of the region under which a hole is noise
SMALL_HOLE = 0.01


def fill_hollow(region: np.ndarray) -> np.ndarray:
    """Fill the holes of a particle but not the gaps that a cluster of particles encloses."""
    filled = np.asarray(ndimage.binary_fill_holes(region))
    holes = filled & np.logical_not(region)
    if not holes.any() or measure.regionprops(filled.astype(np.uint8))[0].solidity > SOLID:
        return filled
    pieces = np.asarray(measure.label(holes, connectivity=1))
    small = np.bincount(pieces.ravel()) < SMALL_HOLE * np.count_nonzero(region)
    small[0] = False
    return np.asarray(region | small[pieces])


def split_touching(labels: np.ndarray, neck: float = NECK) -> np.ndarray:
    """Split every labelled region at its necks.

    Parameters
    ----------
    labels : ndarray of int, shape (rows, cols)
        0 outside.
    neck : float
        Largest ratio of a neck's width to the width of the smaller part it joins.

    Returns
    -------
    ndarray of int, shape (rows, cols)
        Labels 1..n.
    """
    out = np.zeros(labels.shape, dtype=np.int32)
    count = 0
    for k, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        region = np.pad(fill_hollow(labels[box] == k), 1)
        parts = split_region(region, neck)[1:-1, 1:-1]
        here = parts > 0
        # a filled hole may hold another particle
        here &= (labels[box] == 0) | (labels[box] == k)
        out[box][here] = parts[here] + count
        count += int(parts.max())
    return out


def split_region(region: np.ndarray, neck: float = NECK) -> np.ndarray:
    """Split one region; labels 1..n."""
    depth = np.asarray(ndimage.distance_transform_edt(region))
    radius = float(depth.max())
    whole = region.astype(np.int32)
    if radius < MIN_RADIUS:
        return whole
    # ripples of the outline make false summits; smooth in proportion to the region
    smooth = np.asarray(ndimage.gaussian_filter(depth, max(0.5, 0.08 * radius)))
    smooth[~region] = 0
    summits = feature.peak_local_max(
        smooth, min_distance=1, threshold_abs=MIN_RADIUS * 0.75, exclude_border=False
    )
    if len(summits) < 2:
        return whole
    markers = np.zeros(region.shape, dtype=np.int32)
    markers[tuple(summits.T)] = np.arange(1, len(summits) + 1)
    parts = np.asarray(segmentation.watershed(-smooth, markers, mask=region))
    return _join_wide(parts, depth, neck)


def _join_wide(parts: np.ndarray, depth: np.ndarray, neck: float) -> np.ndarray:
    """Join neighbouring parts whose border is nearly as wide as the smaller of them."""
    n = int(parts.max())
    height = np.asarray(ndimage.maximum(depth, parts, np.arange(n + 1)))
    saddle: dict[tuple[int, int], float] = {}
    for a, b, d in _borders(parts, depth):
        saddle[(a, b)] = max(saddle.get((a, b), 0.0), d)
    root = np.arange(n + 1)
    # highest saddles first, as parts that are joined grow in height
    for (a, b), d in sorted(saddle.items(), key=lambda item: -item[1]):
        ra, rb = _find(root, a), _find(root, b)
        if ra == rb:
            continue
        if d > neck * min(height[ra], height[rb]):
            root[rb] = ra
            height[ra] = max(height[ra], height[rb])
    final = np.array([_find(root, k) for k in range(n + 1)])
    unique, index = np.unique(final, return_inverse=True)
    index = index if unique[0] == 0 else index + 1
    return index.astype(np.int32)[parts]


def _borders(parts: np.ndarray, depth: np.ndarray) -> list[tuple[int, int, float]]:
    """Pairs of neighbouring parts with the largest depth on their common border."""
    found: dict[tuple[int, int], float] = {}
    for first, second in (
        ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
        ((slice(None, -1), slice(None)), (slice(1, None), slice(None))),
    ):
        a, b = parts[first], parts[second]
        d = np.minimum(depth[first], depth[second])
        meet = (a != b) & (a > 0) & (b > 0)
        low, high = np.minimum(a[meet], b[meet]), np.maximum(a[meet], b[meet])
        for i, j, v in zip(low.tolist(), high.tolist(), d[meet].tolist(), strict=True):
            found[(i, j)] = max(found.get((i, j), 0.0), v)
    return [(i, j, v) for (i, j), v in found.items()]


def _find(root: np.ndarray, k: int) -> int:
    while root[k] != k:
        k = int(root[k])
    return k
