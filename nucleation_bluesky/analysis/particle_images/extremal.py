"""Extremal regions of an image: the connected sets above each of many grey levels, as a tree.

A particle is a connected set that stands out from what surrounds it, whatever the level of its
neighbourhood is; so no threshold for the whole image has to be chosen. The idea of choosing the
best set of disjoint extremal regions follows C. Arteta et al., "Learning to detect cells using
non-overlapping extremal regions", MICCAI 2012; the score here is not learnt but made of the
contrast along the outline and of the outline's shape.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage import measure

LEVELS = 40
FOUR = ((0, 1), (0, -1), (1, 0), (-1, 0))


@dataclass(frozen=True)
class Regions:
    """A tree of extremal regions; every array has shape (n,), parents come before children.

    Parameters
    ----------
    level : ndarray of int
        Index of the grey level.
    seed : ndarray of int
        Flat index of one pixel of the region; with `level` it says which region is meant.
    parent : ndarray of int
        Index of the region that contains it one level below; -1 at the root.
    area : ndarray
        px.
    score : ndarray
        How much the region looks like one particle, 0 to 1.
    """

    level: np.ndarray
    seed: np.ndarray
    parent: np.ndarray
    area: np.ndarray
    score: np.ndarray


def grey_levels(image: np.ndarray, count: int = LEVELS) -> np.ndarray:
    """Levels at which the image is cut: half spaced evenly in grey, half in rank."""
    low, high = np.percentile(image, [0.2, 99.8])
    even = np.linspace(low, high, count // 2 + 2)[1:-1]
    rank = np.percentile(image, np.linspace(1, 99, count - count // 2))
    return np.unique(np.concatenate([even, rank]))


def region_tree(
    image: np.ndarray,
    *,
    noise: float,
    valid: np.ndarray | None = None,
    min_area: float = 12.0,
    levels: np.ndarray | None = None,
    by_shape: bool = True,
) -> tuple[Regions, np.ndarray]:
    """Build and score the tree of bright regions.

    Parameters
    ----------
    image : ndarray, shape (rows, cols)
        Smoothed; for dark particles give the negative.
    noise : float
        Standard deviation of the noise left in the gradient of the image.
    valid : ndarray of bool or None
        Pixels that belong to the picture (not to labels drawn on it).
    min_area : float
        Smaller regions are ignored, px.
    levels : ndarray or None
        None: see `grey_levels`.
    by_shape : bool
        Score by outline and shape; else by the contrast along the outline alone, for clusters.

    Returns
    -------
    regions : Regions
    levels : ndarray
    """
    valid = np.ones(image.shape, dtype=bool) if valid is None else valid
    levels = grey_levels(image[valid]) if levels is None else levels
    gradient = np.hypot(ndimage.sobel(image, 0), ndimage.sobel(image, 1)) / 8
    strength = gradient**2 / (gradient**2 + (3 * noise) ** 2)
    # the frame and drawn labels cut a region: that part of its outline shows no contrast
    strength = np.where(_rim(valid), 0.0, strength)
    rows, cols = (a.ravel() for a in np.indices(image.shape, dtype=np.float32))
    flat_strength = strength.ravel()
    columns: list[tuple[np.ndarray, ...]] = []
    previous, offset = None, 0
    for k, level in enumerate(levels):
        mask = (image > level) & valid
        labels = np.asarray(measure.label(mask, connectivity=1))
        inside = np.flatnonzero(labels)
        if inside.size == 0:
            break
        owner = labels.ravel()[inside]
        area = np.bincount(owner)
        keep = area >= min_area
        keep[0] = False
        if not keep.any():
            break
        index = np.cumsum(keep) - 1 + offset
        index[~keep] = -1
        n = area.size
        x, y = cols[inside], rows[inside]
        moments = [np.bincount(owner, w, n) for w in (x, y, x * x, y * y, x * y)]
        edge = inside[_edge(labels).ravel()[inside]]
        edge_owner = labels.ravel()[edge]
        length = np.bincount(edge_owner, minlength=n)
        contrast = np.bincount(edge_owner, flat_strength[edge], n) / np.maximum(length, 1)
        seed = np.zeros(n, dtype=int)
        seed[owner[::-1]] = inside[::-1]
        parent = np.full(n, -1) if previous is None else previous[seed]
        with np.errstate(divide="ignore", invalid="ignore"):
            score = contrast * _shape(area, moments, length) if by_shape else contrast**2
        columns.append(tuple(a[keep] for a in (np.full(n, k), seed, parent, area, score)))
        previous = index[labels.ravel()]
        offset += int(keep.sum())
    if not columns:
        empty = np.zeros(0)
        return Regions(
            empty.astype(int), empty.astype(int), empty.astype(int), empty, empty
        ), levels
    level_, seed, parent, area, score = (np.concatenate(c) for c in zip(*columns, strict=True))
    return Regions(level_, seed, parent, area.astype(float), np.nan_to_num(score)), levels


def best_disjoint(regions: Regions) -> np.ndarray:
    """Choose the disjoint regions with the largest sum of score times area.

    Returns
    -------
    ndarray of int
        Indices of the chosen regions.
    """
    n = regions.area.size
    own = regions.score * regions.area
    below = np.zeros(n)
    best = np.zeros(n)
    take = np.zeros(n, dtype=bool)
    for k in range(n - 1, -1, -1):
        take[k] = own[k] >= below[k]
        best[k] = max(own[k], below[k])
        if regions.parent[k] >= 0:
            below[regions.parent[k]] += best[k]
    covered = np.zeros(n, dtype=bool)
    for k in range(n):
        p = regions.parent[k]
        if p >= 0 and (covered[p] or take[p]):
            covered[k], take[k] = True, False
    return np.flatnonzero(take & (regions.score > 0))


def paint(
    image: np.ndarray, regions: Regions, chosen: np.ndarray, levels: np.ndarray, valid: np.ndarray
) -> np.ndarray:
    """Draw the chosen regions as labels 1..n in the order of ``chosen``."""
    out = np.zeros(image.shape, dtype=np.int32)
    for level in np.unique(regions.level[chosen]):
        labels = np.asarray(measure.label((image > levels[level]) & valid, connectivity=1))
        which = np.flatnonzero(regions.level[chosen] == level)
        table = np.zeros(labels.max() + 1, dtype=np.int32)
        table[labels.ravel()[regions.seed[chosen[which]]]] = which + 1
        painted = table[labels]
        out[painted > 0] = painted[painted > 0]
    return out


def _shape(area: np.ndarray, moments: list[np.ndarray], length: np.ndarray) -> np.ndarray:
    """1 for an ellipse or a convex block, towards 0 for branched, ring-like or ragged regions."""
    sx, sy, sxx, syy, sxy = moments
    mx, my = sx / area, sy / area
    vx, vy = sxx / area - mx**2 + 1 / 12, syy / area - my**2 + 1 / 12
    cov = sxy / area - mx * my
    determinant = np.maximum(vx * vy - cov**2, 1e-12)
    filled = np.clip(area / (4 * np.pi * np.sqrt(determinant)), 0, 1)
    # perimeter of the ellipse of the same moments (Ramanujan), against the outline in edge pixels
    root = np.sqrt(np.maximum(((vx - vy) / 2) ** 2 + cov**2, 0))
    a = 2 * np.sqrt((vx + vy) / 2 + root)
    b = 2 * np.sqrt(np.maximum((vx + vy) / 2 - root, 1 / 12))
    ellipse = np.pi * (3 * (a + b) - np.sqrt((3 * a + b) * (a + 3 * b)))
    # 4-connected edge pixels count 2 sqrt(2) / pi of the length of a smooth outline
    smooth = np.clip(ellipse * 0.9 / np.maximum(length, 1), 0, 1)
    return filled**4 * smooth**2


def _edge(labels: np.ndarray) -> np.ndarray:
    """Pixels of a region with a 4-neighbour outside it; the frame counts as outside."""
    padded = np.pad(labels, 1)
    core = padded[1:-1, 1:-1]
    edge = np.zeros(labels.shape, dtype=bool)
    for dr, dc in FOUR:
        edge |= padded[1 + dr : labels.shape[0] + 1 + dr, 1 + dc : labels.shape[1] + 1 + dc] != core
    return edge


def _rim(valid: np.ndarray) -> np.ndarray:
    """Return the valid pixels next to the frame or to an invalid pixel."""
    return valid & np.logical_not(ndimage.binary_erosion(valid, border_value=0))
