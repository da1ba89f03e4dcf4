"""Clear images: particles and ground are two levels of grey, and what is left is to part them.

Where the grey values form two classes, a threshold half-way between the two, in each
neighbourhood, outlines every particle, also those that touch, of which the search by outline and
shape sees only the group. Both segmentations are made, and the image decides: by how distinct the
classes are, by the shapes that come out, and by the contrast along their outlines.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage import filters, measure, morphology, segmentation, transform

from nucleation_bluesky.analysis.particle_images.parting import part
from nucleation_bluesky.analysis.particle_images.selection import without_debris

# share of the variance that two classes explain; an even or a normal distribution gives 0.64-0.75
# for any image, the textured ground of a micrograph not more
DISTINCT = 0.72
SOLID = 0.88  # of the particles, weighted by area
ALIKE = 0.3  # effective number of particles by area over their number: else fragments and debris
GAIN = 0.9  # evidence of the threshold that counts as good as that of the search: a near tie is its
REVERSE = 1 / 3  # labels that explain less than this part of what the other polarity does are wrong
FRAMED = 0.5  # what owes more than the rest of its outline to the frame of the picture is ground
NEIGHBOURHOOD = 4.0  # standard deviation of it, in depths of what is above the threshold
FEW = 0.02  # share of a neighbourhood under which its particles do not tell their grey value
ROUNDS = 4
LIKE = 0.5  # particles that look like particles by more than this need no comparison
MORE_ALIKE = 0.67  # those of the other polarity win where these look less like particles than this
SMOOTH = 1.0  # px


@dataclass(frozen=True)
class Quality:
    """How well labels explain an image as particles.

    Parameters
    ----------
    evidence : float
        Sum over the particles of area, contrast, contrast along the outline and shape.
    distinct : float
        Share of the image's variance that particles and ground, as two levels, explain.
    solid : float
        Mean solidity, weighted by area.
    alike : float
        Effective number of particles by area over their number.
    likeness : float
        How much the particles look like particles, by outline and shape; mean weighted by area.
    in_view : float
        The same with the frame of the picture as an outline that is not shown: ground is framed.
    """

    evidence: float = 0.0
    distinct: float = 0.0
    solid: float = 0.0
    alike: float = 0.0
    likeness: float = 0.0
    in_view: float = 0.0


@dataclass(frozen=True)
class Choice:
    """Which labels explain the image better.

    Parameters
    ----------
    labels : ndarray of int, shape (rows, cols)
    by_threshold : bool
        Whether they are those of a threshold.
    counts : tuple of int
        Particles in the labels given and in those of the threshold, where both are plausible.
    above : ndarray of int or None, shape (rows, cols)
        All that lies above the threshold, parted, in the polarity of ``labels``; None where it is
        texture.
    reversed : bool
        Whether the particles have the other polarity than the labels given.
    """

    labels: np.ndarray
    by_threshold: bool
    counts: tuple[int, ...]
    above: np.ndarray | None
    reversed: bool = False


def choose(
    image: np.ndarray,
    valid: np.ndarray,
    labels: np.ndarray,
    min_area: float,
    *,
    may_reverse: bool = False,
) -> Choice:
    """Return the labels that explain the image better: those given, or those of a threshold.

    Parameters
    ----------
    image : ndarray, shape (rows, cols)
        Grey values scaled to about 0..1, particles bright.
    valid : ndarray of bool
        Pixels of the picture itself.
    labels : ndarray of int
        1..n; 0 outside.
    min_area : float
        px.
    may_reverse : bool
        Dark particles may be taken instead, where those given explain next to nothing.
    """
    smooth = np.asarray(ndimage.gaussian_filter(image, SMOOTH))
    before = quality(smooth, valid, labels)
    count = int(np.unique(labels[labels > 0]).size)
    above, found = _clear_particles(smooth, valid, min_area)
    taken = found is not None and found[1].evidence >= GAIN * before.evidence
    # what is not clearly particles may be the ground between particles of the other polarity
    doubtful = found is None or (taken and found[1].likeness < LIKE)
    if may_reverse and doubtful:
        everything, other = _clear_particles(-smooth, valid, min_area)
        if other is not None and _reverses(before, found and found[1], other[1]):
            return Choice(other[0], True, (int(other[0].max()),), everything, reversed=True)
    counts = (count,) if found is None else (count, int(found[0].max()))
    if found is not None and taken:
        return Choice(found[0], True, counts, above)
    return Choice(labels, False, counts, above)


def _reverses(before: Quality, found: Quality | None, other: Quality) -> bool:
    """Whether particles of the other polarity are the better explanation."""
    if found is not None:  # both sides look like particles: one of them may be ground
        return found.likeness < MORE_ALIKE * other.in_view
    ground = other.in_view < FRAMED * other.likeness
    better = other.likeness >= LIKE and not ground and other.evidence >= before.evidence
    return better or before.distinct < REVERSE * other.distinct


def _clear_particles(
    smooth: np.ndarray, valid: np.ndarray, min_area: float
) -> tuple[np.ndarray | None, tuple[np.ndarray, Quality] | None]:
    """Return what a threshold gives, and its particles if they look like some."""
    labels = by_threshold(smooth, valid, min_area)
    if labels is None:
        return None, None
    for tried in (labels, without_debris(smooth, valid, labels)):
        kept = _of_size(tried, min_area)
        found = quality(smooth, valid, kept)
        if found.distinct >= DISTINCT and found.solid >= SOLID and found.alike >= ALIKE:
            return labels, (kept, found)
    return labels, None


def _of_size(labels: np.ndarray, min_area: float) -> np.ndarray:
    keep = np.bincount(labels.ravel()) >= min_area
    keep[0] = False
    return np.where(keep, np.cumsum(keep), 0).astype(np.int32)[labels]


def by_threshold(smooth: np.ndarray, valid: np.ndarray, min_area: float) -> np.ndarray | None:
    """Label what lies above a local threshold, groups parted; None where it is texture."""
    # letters on a particle are no notch of it: what is under them counts for the shape
    seen = valid | segmentation.clear_border(~valid)
    mask = (smooth > local_threshold(smooth, valid)) & seen
    mask = np.asarray(ndimage.binary_opening(mask))
    mask = morphology.remove_small_objects(mask, max_size=int(min_area))
    mask = morphology.remove_small_holes(mask, max_size=int(min_area)) & seen
    if not (mask & valid).any():
        return None
    # what a tilted ground explains better than two levels do is not two levels
    if explained(smooth, valid, mask & valid) < max(DISTINCT, _tilt(smooth, valid)):
        return None
    rim = mask & np.logical_not(ndimage.binary_erosion(mask))
    slope = _slope(smooth)
    # an outline is clear beside the noise and beside the other outlines
    shown = _shown(slope, max(3 * _noise(slope, valid), 0.5 * float(np.median(slope[rim]))))
    labels = part(mask, np.asarray(ndimage.maximum_filter(shown, 3)))
    return None if labels is None else np.where(valid, labels, 0)


def local_threshold(smooth: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Half-way between the particles and the ground of the neighbourhood.

    Otsu's threshold for the image is the start; how far the neighbourhood reaches follows from how
    deep what lies above it is. Where no particle is near, those of the whole image stand in.
    """
    level = np.full(smooth.shape, filters.threshold_otsu(smooth[valid]))
    for _ in range(ROUNDS):
        above = (smooth > level) & valid
        below = (smooth <= level) & valid
        if not above.any() or not below.any():
            break
        depth = np.asarray(ndimage.distance_transform_edt(above))
        reach = NEIGHBOURHOOD * max(3.0, float(np.percentile(depth[above], 90)))
        share, high = _local_mean(smooth, above, reach)
        _, low = _local_mean(smooth, below, reach)
        everywhere = np.maximum(float(smooth[above].mean()), low)
        weight = share / (share + FEW)
        level = (weight * high + (1 - weight) * everywhere + low) / 2
    return level


def _local_mean(
    smooth: np.ndarray, where: np.ndarray, reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """Share of a neighbourhood that a mask takes, and the mean grey value there."""
    step = max(1, int(reach / 4))

    def spread(values: np.ndarray) -> np.ndarray:
        coarse = transform.downscale_local_mean(values.astype(float), (step, step))
        coarse = np.asarray(ndimage.gaussian_filter(coarse, reach / step, mode="nearest"))
        fine = transform.resize(coarse, tuple(step * n for n in coarse.shape), order=1, mode="edge")
        return np.asarray(fine)[: smooth.shape[0], : smooth.shape[1]]

    share = spread(where)
    floor = 1e-4 * float(where.mean())
    mean = (spread(np.where(where, smooth, 0.0)) + floor * float(smooth[where].mean())) / (
        share + floor
    )
    return share, mean


def _slope(smooth: np.ndarray) -> np.ndarray:
    return np.asarray(np.hypot(ndimage.sobel(smooth, 0), ndimage.sobel(smooth, 1))) / 8


def _noise(slope: np.ndarray, valid: np.ndarray) -> float:
    """Noise of the slope; half of the pixels at least are taken to lie off any outline."""
    return max(float(np.median(slope[valid])) / 1.177, 0.003)


def _shown(slope: np.ndarray, scale: float) -> np.ndarray:
    return slope**2 / (slope**2 + scale**2)


def explained(smooth: np.ndarray, valid: np.ndarray, inside: np.ndarray) -> float:
    """Share of the image's variance that particles and ground, as two levels, explain."""
    if not inside.any() or not (valid & ~inside).any():
        return 0.0
    levels = np.where(inside, smooth[inside].mean(), smooth[valid & ~inside].mean())
    return float(1 - np.var((smooth - levels)[valid]) / np.var(smooth[valid]))


def _tilt(smooth: np.ndarray, valid: np.ndarray) -> float:
    """Share of the variance that a plane explains."""
    rows, cols = np.nonzero(valid)
    grey = smooth[valid]
    if rows.size < 3 or np.ptp(grey) == 0:
        return 0.0
    sides = np.stack([rows - rows.mean(), cols - cols.mean()])
    with_grey = sides @ (grey - grey.mean())
    slope = np.linalg.lstsq(sides @ sides.T, with_grey, rcond=None)[0]
    return float(with_grey @ slope / (grey.size * np.var(grey)))


def quality(smooth: np.ndarray, valid: np.ndarray, labels: np.ndarray) -> Quality:
    """Judge labels by the image."""
    if not labels.any():
        return Quality()
    names = ("label", "area", "solidity", "perimeter_crofton")
    props = measure.regionprops_table(labels, properties=names)
    which, area = props["label"], props["area"].astype(float)
    round_ = np.clip(4 * np.pi * area / np.maximum(props["perimeter_crofton"], 1.0) ** 2, 0, 1)
    inside = labels > 0
    around = np.asarray(segmentation.expand_labels(labels, 3))
    ring = (around > 0) & ~inside & valid
    size = int(labels.max()) + 1
    count = np.bincount(around[ring], minlength=size)[which]
    ground = np.bincount(around[ring], smooth[ring], size)[which] / np.maximum(count, 1)
    contrast = np.asarray(ndimage.mean(smooth, labels, which)) - ground
    slope = _slope(smooth)
    strength = _shown(slope, 3 * _noise(slope, valid))
    edge = np.asarray(segmentation.find_boundaries(labels, mode="inner"))
    seen = np.bincount(labels[edge], strength[edge], size)[which]
    length = np.bincount(labels[edge], minlength=size)[which]
    rim = np.logical_not(ndimage.binary_erosion(valid))
    framed = inside & ~edge & rim
    whole = length + np.bincount(labels[framed], minlength=size)[which]
    shape = props["solidity"] ** 4 * np.sqrt(round_)
    score = seen / np.maximum(length, 1) * shape
    return Quality(
        evidence=float(np.sum(area * score * np.clip(contrast, 0, None))),
        distinct=explained(smooth, valid, inside),
        solid=float(np.average(props["solidity"], weights=area)),
        alike=float(area.sum() ** 2 / (area.size * np.sum(area**2))),
        likeness=float(np.average(score, weights=area)),
        in_view=float(np.average(seen / np.maximum(whole, 1) * shape, weights=area)),
    )
