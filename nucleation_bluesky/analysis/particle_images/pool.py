"""A pool of candidate regions from several segmentations of one image.

Each layer is one segmentation. That a region is found again in other layers, that others see it as
a part of something larger, or as several, is told by its traits.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from nucleation_bluesky.analysis.particle_images.parting import fragments, join
from nucleation_bluesky.analysis.particle_images.traits import Field, Hulls, traits

# powers of the solidity with which the pieces of a mask are joined: more joined, more parted
JOINED, PARTED = 3.0, 20.0
SMALLEST = 12  # px
# share of a region that may lie in another one chosen before
OVERLAP = 0.3


@dataclass(frozen=True)
class Pool:
    """Candidate regions; arrays have shape (n,), layer after layer.

    Parameters
    ----------
    layers : tuple of ndarray of int, shape (rows, cols)
        1..k each; 0 outside.
    first : ndarray of int
        Index of the first region of each layer.
    area : ndarray
        px.
    meets : tuple of ndarray
        Pairs of regions of different layers that overlap, and how much: index, index, px. Each
        pair is listed once.
    traits : dict of ndarray
    """

    layers: tuple[np.ndarray, ...]
    first: np.ndarray
    area: np.ndarray
    meets: tuple[np.ndarray, np.ndarray, np.ndarray]
    traits: dict[str, np.ndarray]


def layers_of(field: Field, found: list[np.ndarray], parted: list[np.ndarray]) -> list[np.ndarray]:
    """Return segmentations and what joining and parting their particles gives.

    Parameters
    ----------
    field : Field
    found, parted : list of ndarray of int, shape (rows, cols)
        Segmentations; those of ``parted`` are also joined and parted anew.
    """
    layers, joined, finer = [*found, *parted], [], []
    for labels in parted:
        mask = labels > 0
        pieces = fragments(mask) if mask.any() else None
        if pieces is None or not pieces.any():
            continue
        rim = mask & np.logical_not(ndimage.binary_erosion(mask))
        scale = max(3 * field.noise, 0.5 * float(np.median(field.slope[rim])))
        shown = field.slope**2 / (field.slope**2 + scale**2)
        shown = np.asarray(ndimage.maximum_filter(shown, 3))
        whole, small = join(pieces, shown, JOINED, PARTED)
        joined.append(whole)
        finer.append(small)
    layers = [_of_size(labels) for labels in (*layers, *joined, *finer)]
    return [labels for labels in layers if labels.any()]


def pool_of(field: Field, layers: list[np.ndarray]) -> Pool:
    """Describe the regions of some segmentations (see `layers_of`), at least one."""
    hulls: Hulls = {}
    described: list[dict[str, np.ndarray]] = []
    for k, labels in enumerate(layers):
        # several ways often see the same
        same = (d for d, other in zip(described, layers[:k], strict=True) if _equal(labels, other))
        described.append(next(same, None) or traits(field, labels, hulls))
    areas = [np.bincount(labels.ravel())[1:].astype(float) for labels in layers]
    first = np.concatenate([[0], np.cumsum([a.size for a in areas])])
    area = np.concatenate(areas)
    meets, agreed = agreement(layers, first, area)
    together = {name: np.concatenate([d[name] for d in described]) for name in described[0]}
    together |= agreed
    together |= cut_by_others(first, area, meets, together)
    return Pool(tuple(layers), first[:-1], area, meets, together)


def cut_by_others(
    first: np.ndarray,
    area: np.ndarray,
    meets: tuple[np.ndarray, np.ndarray, np.ndarray],
    found: dict[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Describe what speaks for the cuts that other layers make through each region.

    Of the parts of a region that another layer has, the one whose cut is shown best counts; the
    mean over the layers that cut it.
    """
    n, layers = area.size, first.size - 1
    layer = np.searchsorted(first, np.arange(n), side="right") - 1
    a, b, common = meets
    whole, part = np.concatenate([a, b]), np.concatenate([b, a])
    held = (np.concatenate([common, common]) > 0.5 * area[part]) & (area[part] < 0.9 * area[whole])
    whole, part = whole[held], part[held]
    cell = whole.astype(np.int64) * layers + layer[part]
    several = np.bincount(cell, minlength=n * layers) >= 2
    cutting = np.maximum(several.reshape(n, layers).sum(axis=1), 1)

    def told(values: np.ndarray, most: np.ufunc, start: float) -> np.ndarray:
        best = np.full(n * layers, start)
        most.at(best, cell, values[part])
        return np.where(several, best, 0.0).reshape(n, layers).sum(axis=1) / cutting

    return {
        "parts' dip": told(np.minimum(found["united dip"], 1), np.maximum, -np.inf),
        "parts' step": told(np.minimum(found["united step"], 1), np.maximum, -np.inf),
        "parts united": told(found["united"], np.minimum, np.inf),
    }


def disjoint(pool: Pool, worth: np.ndarray) -> np.ndarray:
    """Choose regions that hardly overlap, the worthiest first.

    Returns
    -------
    ndarray of int
        Indices, in the order of the choice.
    """
    a, b, common = pool.meets
    one, other = np.concatenate([a, b]), np.concatenate([b, a])
    order = np.argsort(one, kind="stable")
    one, other, common = one[order], other[order], np.concatenate([common, common])[order]
    start = np.searchsorted(one, np.arange(pool.area.size + 1))
    covered = np.zeros(pool.area.size)
    barred = np.zeros(pool.area.size, dtype=bool)
    chosen = []
    for i in np.argsort(-worth, kind="stable"):
        if barred[i] or covered[i] > OVERLAP * pool.area[i]:
            continue
        chosen.append(i)
        rest = slice(start[i], start[i + 1])
        covered[other[rest]] += common[rest]
        barred[other[rest]] |= common[rest] > OVERLAP * pool.area[i]
    return np.array(chosen, dtype=int)


def overlap_before(pool: Pool, chosen: np.ndarray) -> np.ndarray:
    """Share of each chosen region that lies in those chosen before it."""
    rank = np.full(pool.area.size, chosen.size)
    rank[chosen] = np.arange(chosen.size)
    a, b, common = pool.meets
    later = np.where(rank[a] > rank[b], a, b)
    both = (rank[a] < chosen.size) & (rank[b] < chosen.size)
    held = np.bincount(later[both], common[both], pool.area.size)
    return held[chosen] / pool.area[chosen]


def drawn(pool: Pool, chosen: np.ndarray) -> np.ndarray:
    """Draw chosen regions as labels 1..n in their order; where two meet, the former stays."""
    out = np.zeros(pool.layers[0].shape, dtype=np.int32)
    number = np.zeros(pool.area.size, dtype=np.int32)
    number[chosen] = np.arange(1, chosen.size + 1)
    for labels, first in zip(pool.layers, pool.first, strict=True):
        own = np.concatenate([[0], number[first : first + int(labels.max())]])[labels]
        out = np.where((own > 0) & ((out == 0) | (own < out)), own, out).astype(np.int32)
    return out


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return a is b or np.array_equal(a, b)


def _of_size(labels: np.ndarray) -> np.ndarray:
    area = np.bincount(labels.ravel())
    keep = area >= SMALLEST
    keep[0] = False
    return np.where(keep, np.cumsum(keep), 0).astype(np.int32)[labels]


def _overlaps(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of labels of two maps that overlap, from 0 on, and how much."""
    width = int(b.max()) + 1
    both = (a > 0) & (b > 0)
    common = np.bincount(a[both].astype(np.int64) * width + b[both])
    key = np.flatnonzero(common)
    return key // width - 1, key % width - 1, common[key].astype(float)


def agreement(
    layers: list[np.ndarray], first: np.ndarray, area: np.ndarray
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], dict[str, np.ndarray]]:
    """Overlaps of the regions, and how far the other layers agree with each."""
    n, others = area.size, max(1, len(layers) - 1)
    same = np.zeros((3, n))  # mean, largest and smallest likeness to what another layer has
    same[2] = 1.0 if len(layers) > 1 else 0.0
    within = np.zeros((2, n))  # how many regions another layer has inside: mean, largest
    part = np.zeros((2, n))  # share in the region of another layer it lies in: mean, smallest
    part[1] = 1.0
    found: list[tuple[np.ndarray, ...]] = []
    for i, a in enumerate(layers):
        for j, b in enumerate(layers[:i]):
            p, q, common = _overlaps(a, b)
            p, q = p + first[i], q + first[j]
            found.append((p, q, common))
            for one, other, layer in ((p, q, i), (q, p, j)):
                own = slice(first[layer], first[layer + 1])
                like = np.zeros(n)
                np.maximum.at(like, one, common / (area[one] + area[other] - common))
                held = np.bincount(one[common > 0.5 * area[other]], minlength=n)
                most = common > 0.5 * area[one]
                share = np.ones(n)
                np.minimum.at(share, one[most], np.minimum(1, area[one[most]] / area[other[most]]))
                same[0, own] += like[own] / others
                same[1, own] = np.maximum(same[1, own], like[own])
                same[2, own] = np.minimum(same[2, own], like[own])
                within[0, own] += held[own] / others
                within[1, own] = np.maximum(within[1, own], held[own])
                part[0, own] += share[own] / others
                part[1, own] = np.minimum(part[1, own], share[own])
    if len(layers) == 1:
        part[0] = 1.0
    empty = np.zeros(0, dtype=int), np.zeros(0, dtype=int), np.zeros(0)
    a, b, common = (np.concatenate(c) for c in zip(*found, strict=True)) if found else empty
    named = {
        "found again": same[0], "found best": same[1], "found worst": same[2],
        "holds": within[0], "holds most": within[1], "part": part[0], "part least": part[1],
    }  # fmt: skip
    return (a, b, common), named
