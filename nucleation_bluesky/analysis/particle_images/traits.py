"""Traits of candidate regions: what a learned score sees of them.

No trait is a length or a grey value as such: shapes, contrasts along the outline and inside in
units of the contrast of the region, sizes and contrasts in units of those of the typical region of
the same labels, or of the image.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage import segmentation

from nucleation_bluesky.analysis.particle_images.cuts import cuts
from nucleation_bluesky.analysis.particle_images.hulls import Hull, ends, hull_of

# how far the ground around a region is looked at, px
RING = 4
# px under the outline from which on a region's inside is looked at
CORE = 2
LEAST_CONTRAST = 0.01
LEAST_NOISE = 0.003
# bits of a value where values are ranked
FINE = 24
# convex hulls by place and pixels of what they are around
Hulls = dict[tuple[int, int, int, bytes], Hull]


@dataclass(frozen=True)
class Field:
    """An image with what all its regions are judged against.

    Parameters
    ----------
    grey : ndarray, shape (rows, cols)
        Smoothed, scaled to about 0..1, particles bright.
    valid : ndarray of bool
        Pixels of the picture itself.
    slope, shown : ndarray, shape (rows, cols)
        Gradient, and how clearly it stands out of the noise, 0 to 1.
    noise, middle, variance : float
        Of the gradient; median and variance of the grey values.
    """

    grey: np.ndarray
    valid: np.ndarray
    slope: np.ndarray
    shown: np.ndarray
    noise: float
    middle: float
    variance: float

    @classmethod
    def of(cls, grey: np.ndarray, valid: np.ndarray) -> "Field":
        """Look at an image."""
        slope = np.hypot(ndimage.sobel(grey, 0), ndimage.sobel(grey, 1)) / 8
        noise = max(float(np.median(slope[valid])) / 1.177, LEAST_NOISE)
        return cls(
            grey, valid, slope, slope**2 / (slope**2 + (3 * noise) ** 2), noise,
            float(np.median(grey[valid])), float(np.var(grey[valid])) or 1.0,
        )  # fmt: skip


class _Sums:
    """Sums and ranks over the pixels of each of n regions."""

    def __init__(self, n: int) -> None:
        self.n = n

    def total(self, owner: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
        return np.bincount(owner, weight, self.n + 1)[1:].astype(float)

    def mean(self, owner: np.ndarray, values: np.ndarray) -> np.ndarray:
        return self.total(owner, values) / np.maximum(self.total(owner), 1)

    def ranks(self, owner: np.ndarray, values: np.ndarray, shares: tuple[float, ...]) -> np.ndarray:
        """Return the values at these shares of each region's, shape (len(shares), n)."""
        found = np.zeros((len(shares), self.n))
        if values.size == 0:
            return found
        # one sort of whole numbers, the region before the value, is many times faster than two
        low, span = float(values.min()), float(np.ptp(values)) or 1.0
        key = owner.astype(np.int64) << FINE
        key += np.rint((values - low) * (((1 << FINE) - 1) / span)).astype(np.int64)
        key.sort()
        count = np.bincount(owner, minlength=self.n + 1)[1:]
        start = np.cumsum(count) - count
        for i, share in enumerate(shares):
            at = start + np.floor(share * (count - 1) + 0.5).astype(int)
            whole = key[np.clip(at, 0, key.size - 1)] & ((1 << FINE) - 1)
            found[i] = np.where(count > 0, low + whole * (span / ((1 << FINE) - 1)), 0)
        return found


def traits(field: Field, labels: np.ndarray, hulls: Hulls) -> dict[str, np.ndarray]:
    """Describe every region of a label map.

    Parameters
    ----------
    field : Field
    labels : ndarray of int, shape (rows, cols)
        1..n, each present; 0 outside.
    hulls : dict
        Convex hulls already known; added to.

    Returns
    -------
    dict of ndarray, shape (n,)
    """
    sums = _Sums(int(labels.max()))
    flat = np.flatnonzero(labels)
    owner = labels.ravel()[flat]
    area = sums.total(owner)
    radius = np.sqrt(area / np.pi)
    found, outer, around = _shape(sums, labels, flat, owner, area, hulls)
    own, other, fall, clear, picture, low = _sides(field, labels)
    sides = np.maximum(sums.total(own), 1)
    length = outline(labels)
    mean, spread, ground, rough, ring = _greys(sums, field, labels, flat, owner)
    contrast = mean - ground
    unit = np.maximum(np.abs(contrast), LEAST_CONTRAST)
    found["rough"] = outer / np.maximum(length, 1)
    found["round"] = np.clip(4 * np.pi * area / np.maximum(length, 1) ** 2, 0, 1.3)
    found["framed"] = sums.mean(own, (~picture).astype(float))
    found["shared"] = sums.mean(own, (other > 0).astype(float))
    found["shown"] = sums.mean(own, clear * picture)
    shares = sums.ranks(own, clear * picture, (0.1, 0.25, 0.5))
    found |= dict(zip(("shown10", "shown25", "shown50"), shares, strict=True))
    falls = sums.ranks(own, fall * picture, (0.1, 0.25, 0.5)) / unit
    found |= dict(zip(("fall10", "fall25", "fall50"), falls, strict=True))
    found["contrast"], found["signal"] = contrast, np.log(unit / field.noise)
    found["spread"], found["ground spread"] = spread / unit, rough / unit
    greys = sums.ranks(owner, field.grey.ravel()[flat], (0.1, 0.5, 0.9))
    found |= dict(zip(("grey10", "grey50", "grey90"), (greys - ground) / unit, strict=True))
    found["seen"] = ring / np.maximum(sides * RING, 1)
    meets = other > 0
    common = sums.total(own[meets])
    found["gap"] = np.where(common > 0, (mean - sums.mean(own[meets], low[meets])) / unit, 1.0)
    found["gap shown"] = np.where(common > 0, sums.mean(own[meets], clear[meets]), 1.0)
    found |= cuts(
        own, other, fall, low,
        {"area": area, "mean": mean, "unit": unit}, around,
    )  # fmt: skip
    deepest, cored, texture = _inside(sums, field, labels, flat, owner)
    found["depth"] = (deepest + 0.5) / radius
    found["texture"] = np.where(cored > 0, texture, found["shown"])
    found["over texture"] = found["shown"] - found["texture"]
    found["share"] = np.log(area / field.valid.sum())
    found |= _beside_the_typical(area, mean, ground, found)
    found |= _of_the_whole(field, labels, area)
    return {name: np.nan_to_num(values) for name, values in found.items()}


def typical(values: np.ndarray, weight: np.ndarray) -> float:
    """Weighted median."""
    order = np.argsort(values)
    at = np.searchsorted(np.cumsum(weight[order]), weight.sum() / 2)
    return float(values[order][min(int(at), values.size - 1)])


def _shape(
    sums: _Sums,
    labels: np.ndarray,
    flat: np.ndarray,
    owner: np.ndarray,
    area: np.ndarray,
    hulls: Hulls,
) -> tuple[dict[str, np.ndarray], np.ndarray, list[np.ndarray]]:
    """Traits of the shape, and the outlines and corners of the convex hulls."""
    rows, cols = (a.astype(float) for a in np.divmod(flat, labels.shape[1]))
    dx = cols - (sums.total(owner, cols) / area)[owner - 1]
    dy = rows - (sums.total(owner, rows) / area)[owner - 1]
    vx = sums.total(owner, dx * dx) / area + 1 / 12
    vy = sums.total(owner, dy * dy) / area + 1 / 12
    cov = sums.total(owner, dx * dy) / area
    half, root = (vx + vy) / 2, np.sqrt(((vx - vy) / 2) ** 2 + cov**2)
    axes = np.sqrt(half + root), np.sqrt(np.maximum(half - root, 1 / 12))
    determinant = np.maximum(vx * vy - cov**2, 1e-9)
    hull, around = np.ones((sums.n, 2)), []
    for k, box in enumerate(ndimage.find_objects(labels)):
        region = labels[box] == k + 1
        key = (box[0].start, box[1].start, region.shape[1], np.packbits(region).tobytes())
        if key not in hulls:
            hulls[key] = hull_of(ends(region) + np.array([box[0].start, box[1].start]))
        hull[k] = hulls[key][:2]
        around.append(hulls[key].vertices)
    return (
        {
            "axes": axes[1] / axes[0],
            "filled": np.clip(area / (4 * np.pi * np.sqrt(determinant)), 0, 1.2),
            "solid": area / hull[:, 0],
        },
        hull[:, 1],
        around,
    )


def _beside_the_typical(
    area: np.ndarray, mean: np.ndarray, ground: np.ndarray, own: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Compare each region with the typical one of the same labels."""
    weight = area * np.clip(own["contrast"], 1e-3, None) * np.clip(own["shown"], 0.05, 1)
    weight = weight * np.clip(own["solid"], 0, 1) ** 4
    radius, contrast = np.sqrt(area / np.pi), typical(own["contrast"], weight)
    unit = max(abs(contrast), LEAST_CONTRAST)
    return {
        "beside size": np.log(radius / typical(radius, weight)),
        "beside contrast": own["contrast"] / max(contrast, 1e-3),
        "beside ground": (ground - typical(ground, weight)) / unit,
        "beside grey": (mean - typical(mean, weight)) / unit,
        "beside shown": own["shown"] - typical(own["shown"], weight),
        "beside solid": own["solid"] - typical(own["solid"], weight),
        "beside texture": own["texture"] - typical(own["texture"], weight),
    }


def _of_the_whole(field: Field, labels: np.ndarray, area: np.ndarray) -> dict[str, np.ndarray]:
    """Traits of all regions of the labels together."""
    n, inside = area.size, labels > 0
    levels = np.zeros(labels.shape)
    for where in (inside, ~inside):
        seen = field.grey[where & field.valid]
        levels[where] = seen.mean() if seen.size else 0.0
    left = float(np.var((field.grey - levels)[field.valid]))
    return {
        "number": np.full(n, np.log(n)),
        "distinct": np.full(n, 1 - left / field.variance),
        "covered": np.full(n, inside.mean()),
        "alike": np.full(n, area.sum() ** 2 / (n * np.sum(area**2))),
    }


def _sides(field: Field, labels: np.ndarray) -> tuple[np.ndarray, ...]:
    """Every side of a pixel where a region ends.

    Returns the region, what is on the other side, the fall of the grey across it, how clearly it
    is shown, whether the other side is picture, and the lower grey of the two.
    """
    lab, img = np.pad(labels, 2), np.pad(field.grey, 2, mode="edge")
    shown, valid = np.pad(field.shown, 2), np.pad(field.valid, 2)
    columns: list[tuple[np.ndarray, ...]] = []
    for axis in (0, 1):
        window = [slice(2, 2 + n) for n in labels.shape]
        at = []
        for k in range(4):  # the pixels before, at both sides of, and behind each side
            window[axis] = slice(k, k + labels.shape[axis] + 1)
            at.append(tuple(window))
        first, second = lab[at[1]], lab[at[2]]
        meet = first != second
        first, second = first[meet], second[meet]
        fall = (img[at[0]] - img[at[3]])[meet]
        clear = np.maximum(shown[at[1]], shown[at[2]])[meet]
        low = np.minimum(img[at[1]], img[at[2]])[meet]
        for own, other, down, picture in (
            (first, second, fall, valid[at[2]][meet]),
            (second, first, -fall, valid[at[1]][meet]),
        ):
            held = own > 0
            columns.append(tuple(c[held] for c in (own, other, down, clear, picture, low)))
    own, other, down, clear, picture, low = (np.concatenate(c) for c in zip(*columns, strict=True))
    return own, other, down, clear, picture, low


def _greys(
    sums: _Sums, field: Field, labels: np.ndarray, flat: np.ndarray, owner: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Mean grey of each region and of the ground around it, spread of both, pixels of the ring."""
    grey = field.grey.ravel()[flat]
    mean = sums.mean(owner, grey)
    spread = np.sqrt(sums.mean(owner, (grey - mean[owner - 1]) ** 2))
    around = np.asarray(segmentation.expand_labels(labels, RING))
    ring = (around > 0) & (labels == 0) & field.valid
    near, outside = around[ring], field.grey[ring]
    count = sums.total(near)
    ground = np.where(count > 0, sums.mean(near, outside), field.middle)
    rough = np.sqrt(sums.mean(near, (outside - ground[near - 1]) ** 2))
    return mean, spread, ground, rough, count


def _inside(
    sums: _Sums, field: Field, labels: np.ndarray, flat: np.ndarray, owner: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Largest depth of each region under its outline, and outlines shown in its inside."""
    edge = np.asarray(segmentation.find_boundaries(labels, mode="inner"))
    depth = np.asarray(ndimage.distance_transform_edt(np.pad((labels > 0) & ~edge, 1)))
    depth = depth[1:-1, 1:-1].ravel()[flat]
    deepest = np.zeros(sums.n + 1)
    np.maximum.at(deepest, owner, depth)
    core = depth > CORE
    return deepest[1:], sums.total(owner[core]), sums.mean(
        owner[core], field.shown.ravel()[flat][core]
    )  # fmt: skip


def outline(labels: np.ndarray) -> np.ndarray:
    """Length of the outline of each region from crossings in four directions (Crofton), px."""
    lab, n = np.pad(labels, 1), int(labels.max()) + 1
    whole = np.zeros(n)
    for a, b, weight in (
        (lab[1:], lab[:-1], 1.0), (lab[:, 1:], lab[:, :-1], 1.0),
        (lab[1:, 1:], lab[:-1, :-1], np.sqrt(0.5)), (lab[1:, :-1], lab[:-1, 1:], np.sqrt(0.5)),
    ):  # fmt: skip
        meet = a != b
        whole += weight * (np.bincount(a[meet], minlength=n) + np.bincount(b[meet], minlength=n))
    return whole[1:] * np.pi / 8
