"""Find particles on a micrograph: from grey values to labelled particles."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from scipy import ndimage

from nucleation_bluesky.analysis.particle_images.annotations import annotation_mask
from nucleation_bluesky.analysis.particle_images.clear import choose, explained
from nucleation_bluesky.analysis.particle_images.doubts import doubts
from nucleation_bluesky.analysis.particle_images.learned import explain
from nucleation_bluesky.analysis.particle_images.outlines import refine_outlines
from nucleation_bluesky.analysis.particle_images.selection import (
    Candidates,
    candidates,
    with_clusters,
    without_debris,
)
from nucleation_bluesky.analysis.particle_images.splitting import split_touching

Polarity = Literal["auto", "bright", "dark"]
# a larger image is searched on a coarser grid first; the outlines are placed on the full one
SEARCH_PIXELS = 1.0e5
# particles this small, or this narrow, on a coarse grid call for a finer one, px: a neck must stay
# visible
COARSE_DIAMETER, COARSE_WIDTH = 12.0, 8.0
MIN_DIAMETER = 4.0
# the less likely polarity is followed up where its evidence reaches this share of the other's
CLOSE = 0.5


@dataclass(frozen=True)
class Segmentation:
    """Particles of one image.

    Parameters
    ----------
    labels : ndarray of int, shape (rows, cols)
        1..n; 0 outside particles.
    polarity : str
        ``bright`` or ``dark``.
    polarity_margin : float
        0 where both polarities explain the image equally well, towards 1 where one does; NaN
        where the polarity was given.
    valid : ndarray of bool, shape (rows, cols)
        False on information bars, scale bars and text.
    doubts : tuple of str
        Why the count is not to be trusted without a look at the outlines; empty where nothing
        speaks against it. See `doubts`.
    """

    labels: np.ndarray
    polarity: str
    polarity_margin: float
    valid: np.ndarray
    doubts: tuple[str, ...] = ()


def segment_image(
    image: np.ndarray,
    *,
    colour: np.ndarray | None = None,
    polarity: Polarity = "auto",
    min_diameter: float | None = None,
    valid: np.ndarray | None = None,
) -> Segmentation:
    """Segment the particles of a micrograph.

    Extremal regions of four scales are scored by the contrast along their outline and by their
    shape; the best disjoint ones are kept, split at their necks, and outlined at their own
    half-height. Where grey values form two classes, a threshold gives others; see `clear`. From
    all of these, joined and parted in several ways, the particles are chosen by scores fitted to
    labelled micrographs; see `learned`. What was drawn on the image is left out. Where the result
    is uncertain, `Segmentation.doubts` says why.

    Parameters
    ----------
    image : ndarray, shape (rows, cols)
        Grey values in any unit.
    colour : ndarray or None, shape (rows, cols, 3)
        Where the file has colours: coloured marks on a grey image are left out.
    polarity : {"auto", "bright", "dark"}
        Particles brighter or darker than the ground; auto: what explains the image better.
    min_diameter : float or None
        Smaller particles are left out, px; those under `MIN_DIAMETER` always are.
    valid : ndarray of bool or None
        The part of the image to use; None: found by `annotation_mask`.

    Raises
    ------
    ValueError
        If the image is not 2-D, is too small, holds what is no real and finite number, or what
        goes with it has another shape.
    """
    array = as_grey(image, polarity)
    for name, other, size in (("colour", colour, (*array.shape, 3)), ("valid", valid, array.shape)):
        if other is not None and np.shape(other) != size:
            raise ValueError(f"{name} has the shape {np.shape(other)}: give {size}")
    usable = ~annotation_mask(array, colour) if valid is None else np.asarray(valid, dtype=bool)
    smallest = max(MIN_DIAMETER, min_diameter or 0.0)
    if usable.sum() < 64 or np.ptp(array[usable]) == 0:
        return Segmentation(np.zeros(array.shape, dtype=np.int32), "bright", 0.0, usable)
    seen = look(as_unit(array, usable), usable, polarity, smallest)
    labels = explain(seen.grey, usable, [seen.first], [seen.second, *seen.above])
    labels = _drop_small(labels, smallest)
    share = explained(seen.grey, usable, labels > 0)
    counts = (*seen.counts, int(labels.max()))
    margin = seen.margin if polarity == "auto" else float("nan")
    return Segmentation(
        labels,
        "bright" if seen.sign > 0 else "dark",
        margin,
        usable,
        doubts(labels, counts, share, margin),
    )


@dataclass(frozen=True)
class Seen:
    """What several ways of looking see on an image, in one polarity.

    Parameters
    ----------
    grey : ndarray, shape (rows, cols)
        Smoothed, particles bright.
    sign : int
        1 for bright particles, -1 for dark ones.
    first, second : ndarray of int, shape (rows, cols)
        Particles by outline and shape, and with those of clusters.
    above : tuple of ndarray of int
        What a threshold gives, parted, if it is not texture.
    counts : tuple of int
        Particles that each way gives, where it is plausible.
    margin : float
        See `Segmentation`.
    """

    grey: np.ndarray
    sign: int
    first: np.ndarray
    second: np.ndarray
    above: tuple[np.ndarray, ...]
    counts: tuple[int, ...]
    margin: float


def look(unit: np.ndarray, usable: np.ndarray, polarity: Polarity, smallest: float) -> Seen:
    """Search an image, scaled to about 0..1, in several ways, and decide on the polarity."""
    signs = {"auto": (1, -1), "bright": (1,), "dark": (-1,)}[polarity]
    searches = {s: _Search(s * unit, usable, smallest) for s in signs}
    first = {s: search.first() for s, search in searches.items()}
    found = dict(first)
    best = max(found, key=lambda s: found[s].evidence)
    for sign, seen in first.items():
        # clusters can turn a close decision only
        if seen.evidence >= CLOSE * found[best].evidence:
            found[sign] = searches[sign].second(seen)
    best = max(found, key=lambda s: found[s].evidence)
    evidence = [f.evidence for f in found.values()]
    margin = (max(evidence) - min(evidence)) / max(*evidence, 1e-12)
    second = searches[best].outlined(found[best])
    choice = choose(
        best * unit,
        usable,
        second,
        np.pi / 4 * smallest**2,
        may_reverse=polarity == "auto",
    )
    if choice.reversed:
        best = -best
        if found[best] is first[best]:
            found[best] = searches[best].second(first[best])
        second = searches[best].outlined(found[best])
    return Seen(
        searches[best].smooth,
        best,
        searches[best].within(second, first[best]),
        second,
        () if choice.above is None else (choice.above,),
        choice.counts,
        float(margin),
    )


def as_grey(image: np.ndarray, polarity: str) -> np.ndarray:
    """Return the image as float, or say why it cannot be used."""
    raw = np.asarray(image)
    if raw.dtype.kind not in "buif":
        raise ValueError(f"values of type {raw.dtype} are no grey values; give real numbers")
    array = raw.astype(float)
    if polarity not in ("auto", "bright", "dark"):
        raise ValueError(f"polarity {polarity!r}: give auto, bright or dark")
    if array.ndim != 2:
        raise ValueError(f"an image of {array.ndim} dimensions: give one grey image (rows, cols)")
    if min(array.shape) < 16:
        raise ValueError(f"an image of {array.shape[1]} x {array.shape[0]} pixels is too small")
    if not np.isfinite(array).all():
        raise ValueError("the image holds values that are not finite; fill or crop them first")
    if array.max() / 2 - array.min() / 2 > np.finfo(float).max / 2:
        raise ValueError("the grey values differ by more than a number can hold; scale them first")
    return array


def as_unit(array: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Scale the picture to about 0..1 and fill what was drawn on it from its surroundings."""
    low, high = np.percentile(array[usable], [0.1, 99.9])
    if not high > low:
        low, high = float(array[usable].min()), float(array[usable].max())
    unit = np.clip((array - low) / (high - low), -1, 2)
    if not usable.all():
        nearest = ndimage.distance_transform_edt(
            ~usable, return_distances=False, return_indices=True
        )
        unit = unit[tuple(np.asarray(nearest))]
    return unit


class _Search:
    """The search for one polarity, on a coarser grid where image and particles are large."""

    def __init__(self, unit: np.ndarray, usable: np.ndarray, smallest: float) -> None:
        self._full = (unit, usable)
        self._min_area = np.pi / 4 * smallest**2
        self._smallest = smallest
        self._factor = int(np.ceil(np.sqrt(unit.size / SEARCH_PIXELS)))

    @cached_property
    def smooth(self) -> np.ndarray:
        """The image on the full grid, lightly smoothed."""
        return np.asarray(ndimage.gaussian_filter(self._full[0], 1.0))

    def outlined(self, found: Candidates) -> np.ndarray:
        """Particles with their outlines on the full grid, debris left out."""
        labels = self._on_full_grid(split_touching(found.labels))
        labels = refine_outlines(self.smooth, labels, self._full[1])
        return without_debris(self.smooth, self._full[1], _drop_small(labels, self._smallest))

    def first(self) -> Candidates:
        found = candidates(*self._grid())
        while self._factor > 1 and _tiny(found.labels):
            self._factor //= 2
            found = candidates(*self._grid())
        return replace(found, evidence=found.evidence * self._factor**2)

    def second(self, found: Candidates) -> Candidates:
        image, usable, min_area = self._grid()
        more = with_clusters(image, usable, found, min_area)
        return replace(more, evidence=more.evidence * self._factor**2)

    def within(self, labels: np.ndarray, found: Candidates) -> np.ndarray:
        """Return those of the outlined particles that candidates had seen."""
        seen = self._on_full_grid(found.labels) > 0
        area = np.bincount(labels.ravel())
        keep = 2 * np.bincount(labels[seen], minlength=area.size) > area
        keep[0] = False
        return np.where(keep, np.cumsum(keep), 0).astype(np.int32)[labels]

    def _on_full_grid(self, labels: np.ndarray) -> np.ndarray:
        if self._factor == 1:
            return labels
        index = [
            np.minimum(np.arange(n) // self._factor, m - 1)
            for n, m in zip(self._full[0].shape, labels.shape, strict=True)
        ]
        return labels[np.ix_(*index)]

    def _grid(self) -> tuple[np.ndarray, np.ndarray, float]:
        unit, usable = self._full
        if self._factor == 1:
            return unit, usable, self._min_area
        # a mean over blocks keeps the signal that a stride would throw away
        every = slice(self._factor // 2, None, self._factor)
        coarse = np.asarray(ndimage.uniform_filter(unit, self._factor))[every, every]
        return coarse, usable[every, every], max(9.0, self._min_area / self._factor**2)


def _tiny(labels: np.ndarray) -> bool:
    """Whether most particles are too small on this grid to be told apart, or none is seen."""
    area = np.bincount(labels.ravel())[1:]
    if area.size == 0 or 2 * np.sqrt(np.median(area) / np.pi) < COARSE_DIAMETER:
        return True
    # across the largest disc in each; the ground beside it is half a pixel further away
    depth = np.asarray(ndimage.distance_transform_edt(np.pad(labels > 0, 1)))[1:-1, 1:-1]
    deepest = ndimage.maximum(depth, labels, np.arange(1, area.size + 1))
    return bool(2 * np.median(deepest) - 1 < COARSE_WIDTH)


def _drop_small(labels: np.ndarray, smallest: float) -> np.ndarray:
    """Leave out particles under the smallest diameter and number the rest 1..n."""
    area = np.bincount(labels.ravel())
    keep = 2 * np.sqrt(area / np.pi) >= smallest
    keep[0] = False
    table = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    return table[labels]
