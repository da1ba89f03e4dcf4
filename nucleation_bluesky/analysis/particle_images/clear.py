"""Clear images: particles and ground are two levels of grey, and what is left is to part them.

Where the grey values form two classes, one threshold outlines every particle, also those that
touch, of which the search by outline and shape sees only the group. Both segmentations are made,
and the image decides: by how distinct the classes are, by the shapes that come out, and by the
contrast along their outlines.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage import filters, measure, morphology, segmentation

# share of the variance that two classes explain; an even or a normal distribution gives 0.64-0.75
# for any image, the textured ground of a micrograph not more
DISTINCT = 0.72
SOLID = 0.88  # of the particles, weighted by area
ALIKE = 0.3  # effective number of particles by area over their number: else fragments and debris
GAIN = 1.5  # how much better the threshold must explain the image
SADDLE = 0.015  # a saddle this much (relative) narrower than both sides parts two particles
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
    """

    evidence: float = 0.0
    distinct: float = 0.0
    solid: float = 0.0
    alike: float = 0.0


def choose(image: np.ndarray, valid: np.ndarray, labels: np.ndarray, min_area: float) -> np.ndarray:
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
    """
    smooth = np.asarray(ndimage.gaussian_filter(image, SMOOTH))
    other = by_threshold(smooth, valid, min_area)
    found = quality(smooth, valid, other)
    if found.distinct < DISTINCT or found.solid < SOLID or found.alike < ALIKE:
        return labels
    before = quality(smooth, valid, labels).evidence
    return other if found.evidence > GAIN * before else labels


def by_threshold(smooth: np.ndarray, valid: np.ndarray, min_area: float) -> np.ndarray:
    """Label what lies above Otsu's threshold, parted where it narrows.

    A saddle of the depth below the outline is judged against the depths that it joins, so the
    rule has no length in it.
    """
    mask = (smooth > filters.threshold_otsu(smooth[valid])) & valid
    mask = np.asarray(ndimage.binary_opening(mask))
    mask = morphology.remove_small_objects(mask, max_size=int(min_area))
    mask = morphology.remove_small_holes(mask, max_size=int(min_area))
    depth = np.asarray(ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), SMOOTH))
    low = 0.5
    level = np.log(np.where(mask, np.maximum(depth, low), low))
    rest = level - morphology.reconstruction(level - SADDLE, level)
    summits = np.asarray(measure.label((rest > 0.999 * SADDLE) & mask))
    return np.asarray(segmentation.watershed(-depth, summits, mask=mask), dtype=np.int32)


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
    gradient = np.hypot(ndimage.sobel(smooth, 0), ndimage.sobel(smooth, 1)) / 8
    noise = max(float(np.median(gradient[valid])) / 1.177, 0.003)
    strength = gradient**2 / (gradient**2 + (3 * noise) ** 2)
    edge = np.asarray(segmentation.find_boundaries(labels, mode="inner"))
    outline = np.asarray(ndimage.mean(np.where(edge, strength, 0.0), labels, which))
    outline /= np.maximum(ndimage.mean(edge.astype(float), labels, which), 1e-9)
    score = outline * props["solidity"] ** 4 * np.sqrt(round_)
    levels = np.where(inside, smooth[inside].mean(), smooth[valid & ~inside].mean())
    return Quality(
        evidence=float(np.sum(area * score * np.clip(contrast, 0, None))),
        distinct=float(1 - np.var((smooth - levels)[valid]) / np.var(smooth[valid])),
        solid=float(np.average(props["solidity"], weights=area)),
        alike=float(area.sum() ** 2 / (area.size * np.sum(area**2))),
    )
