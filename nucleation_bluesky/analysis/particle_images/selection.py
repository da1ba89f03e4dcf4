"""Choose the particles among the extremal regions of several scales, and the polarity."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage import measure, segmentation

from nucleation_bluesky.analysis.particle_images.extremal import best_disjoint, paint, region_tree
from nucleation_bluesky.analysis.particle_images.outlines import refine_outlines
from nucleation_bluesky.analysis.particle_images.splitting import split_touching

# how much better one region must score than the several it would replace
CLUSTER_GAIN = 1.25
# a region this much less solid than the typical one, and under `RAGGED`, is debris
RAGGED = 0.75
LESS_SOLID = 0.15
# standard deviations of the smoothing, px; a scale is computed on a grid as coarse as itself
SCALES = (1.0, 2.0, 4.0, 8.0)
MIN_SCORE = 0.15
# of a cluster, which is judged by the contrast along its outline alone
MIN_CLUSTER_SCORE = 0.4
# a part of a cluster is a particle if it fills this share of its convex hull
MIN_SOLIDITY = 0.85
# of the contrast of the typical particle: what is fainter is texture of the ground
MIN_CONTRAST = 0.3
# of the contrast times the diameter of the typical particle
MIN_SIGNAL = 0.12
# the same for what only the second search finds
MIN_SECOND_CONTRAST = 0.35
MIN_SECOND_SIGNAL = 0.2


@dataclass(frozen=True)
class Candidates:
    """Disjoint regions of one polarity.

    Parameters
    ----------
    labels : ndarray of int, shape (rows, cols)
        1..n, 0 outside.
    score, contrast : ndarray, shape (n,)
    evidence : float
        How well these regions explain the image as particles.
    """

    labels: np.ndarray
    score: np.ndarray
    contrast: np.ndarray
    evidence: float


def candidates(image: np.ndarray, valid: np.ndarray, min_area: float = 12.0) -> Candidates:
    """Find bright particles; give the negative for dark ones.

    Parameters
    ----------
    image : ndarray, shape (rows, cols)
        Grey values scaled to about 0..1.
    valid : ndarray of bool
        Pixels of the picture itself.
    min_area : float
        px.
    """
    labels, scores = _all_scales(image, valid, min_area)
    return _weighed(image, valid, labels, scores)


def with_clusters(
    image: np.ndarray, valid: np.ndarray, found: Candidates, min_area: float = 12.0
) -> Candidates:
    """Add what the first search cannot see: the particles of clusters.

    A cluster has no shape of its own: it is found by the contrast along its outline alone and
    split at its necks; of the parts, those not found before are kept if they are like the others.
    """
    more, more_scores = _all_scales(image, valid, min_area, clusters=True)
    parts, part_scores = _split_clusters(more, more_scores, min_area)
    parts, part_scores = _like_the_others(image, valid, found, parts, part_scores)
    labels, scores = _add(found.labels, found.score, parts, part_scores)
    return _weighed(image, valid, labels, scores)


def _like_the_others(
    image: np.ndarray,
    valid: np.ndarray,
    found: Candidates,
    parts: np.ndarray,
    scores: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Leave out the parts that are far fainter or smaller than the particles already found.

    What remains after the clear particles is mostly debris and texture.
    """
    if found.score.size == 0 or scores.size == 0:
        return parts, scores
    smooth = np.asarray(ndimage.gaussian_filter(image, 1.0))
    reference = _typical(found.labels, found.score, found.contrast)
    everything = np.where(parts > 0, parts + found.score.size, found.labels)
    contrast = region_contrast(smooth, everything, valid)
    own = np.zeros(scores.size)
    listed = contrast[found.score.size :]
    own[: listed.size] = listed
    area = np.bincount(parts.ravel(), minlength=scores.size + 1)[1:]
    keep = own > MIN_SECOND_CONTRAST * reference[0]
    keep &= own * np.sqrt(area) > MIN_SECOND_SIGNAL * reference[1]
    table = np.concatenate([[False], keep])
    kept, kept_scores = _compact(np.where(table[parts], parts, 0), scores)
    return kept, kept_scores


def _typical(labels: np.ndarray, scores: np.ndarray, contrast: np.ndarray) -> tuple[float, float]:
    """Contrast, and contrast times diameter, of the particles that carry most of the evidence."""
    area = np.bincount(labels.ravel(), minlength=scores.size + 1)[1:]
    signal = np.clip(contrast, 0, None) * np.sqrt(area)
    weight = scores * signal**2
    total = max(float(weight.sum()), 1e-12)
    return float(np.sum(weight * contrast)) / total, float(np.sum(weight * signal)) / total


def _weighed(
    image: np.ndarray, valid: np.ndarray, labels: np.ndarray, scores: np.ndarray
) -> Candidates:
    """Leave out what is faint and sum up the evidence."""
    contrast = region_contrast(ndimage.gaussian_filter(image, 1.0), labels, valid)
    labels, scores, contrast = _drop_faint(labels, scores, contrast)
    area = np.bincount(labels.ravel(), minlength=scores.size + 1)[1:]
    return Candidates(labels, scores, contrast, float(np.sum(area * scores * contrast)))


def without_debris(image: np.ndarray, valid: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Leave out what is faint, tiny or ragged beside the rest, now that every outline stands."""
    n = int(labels.max())
    if n < 2:
        return labels
    labels = _compact(labels)[0]
    props = measure.regionprops_table(labels, properties=("area", "solidity"))
    labels, solidity, contrast = _drop_faint(
        labels, props["solidity"], region_contrast(image, labels, valid)
    )
    area = np.bincount(labels.ravel(), minlength=solidity.size + 1)[1:]
    typical = np.average(solidity, weights=area * np.clip(contrast, 1e-9, None))
    keep = solidity >= min(RAGGED, typical - LESS_SOLID)
    return _compact(np.where(np.concatenate([[False], keep])[labels], labels, 0))[0]


def _all_scales(
    image: np.ndarray, valid: np.ndarray, min_area: float, *, clusters: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Regions of all scales, disjoint, with their scores."""
    labels = np.zeros(image.shape, dtype=np.int32)
    scores = np.zeros(0)
    for scale in SCALES[:3] if clusters else SCALES:
        if min(image.shape) / scale < 24:
            break
        coarse_labels, coarse_scores = _at_scale(image, valid, scale, min_area, clusters=clusters)
        if scale > SCALES[0]:
            # what is one blob only because it is blurred falls apart at its half-height
            sharper = np.asarray(ndimage.gaussian_filter(image, scale / 3))
            coarse_labels = refine_outlines(sharper, coarse_labels, valid, reject=True)
            coarse_labels, coarse_scores = _compact(coarse_labels, coarse_scores)
        labels, scores = _merge(labels, scores, coarse_labels, coarse_scores)
    return labels, scores


def _split_clusters(
    labels: np.ndarray, scores: np.ndarray, min_area: float
) -> tuple[np.ndarray, np.ndarray]:
    """Split clusters at their necks and keep the parts that are convex enough."""
    parts = split_touching(labels)
    props = measure.regionprops_table(parts, properties=("label", "area", "solidity"))
    keep = (props["solidity"] > MIN_SOLIDITY) & (props["area"] >= min_area)
    table = np.zeros(int(parts.max()) + 1, dtype=np.int32)
    table[props["label"][keep]] = np.arange(1, keep.sum() + 1)
    parts = table[parts]
    if not keep.any():
        return parts, np.zeros(0)
    owner = ndimage.maximum(labels, parts, np.arange(1, keep.sum() + 1))
    return parts, scores[np.maximum(np.asarray(owner, dtype=int) - 1, 0)]


def _add(
    labels: np.ndarray, scores: np.ndarray, more: np.ndarray, more_scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Add the regions of a second search that are not remains of those of the first."""
    if more_scores.size == 0:
        return labels, scores
    area = np.bincount(more.ravel(), minlength=more_scores.size + 1)[1:]
    covered = np.bincount(more[labels > 0], minlength=more_scores.size + 1)[1:]
    keep = covered < 0.3 * area
    extra = np.where(np.concatenate([[False], keep])[more] & (labels == 0), more, 0)
    both = np.where(extra > 0, extra + scores.size, labels)
    all_labels, all_scores = _compact(both, np.concatenate([scores, more_scores]))
    return all_labels, all_scores


def region_contrast(image: np.ndarray, labels: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Mean grey value of each region above that of the ground around it, shape (n,)."""
    n = int(labels.max())
    if n == 0:
        return np.zeros(0)
    around = np.asarray(segmentation.expand_labels(labels, 4))
    near = np.asarray(segmentation.expand_labels(labels, 1))
    ring = (around > 0) & (near == 0) & valid
    with np.errstate(invalid="ignore"):  # a number that no pixel has: NaN
        inside = ndimage.mean(image, labels, np.arange(1, n + 1))
    outer = np.bincount(around[ring], image[ring], n + 1)[1:]
    count = np.bincount(around[ring], minlength=n + 1)[1:]
    ground = float(np.median(image[(labels == 0) & valid])) if np.any((labels == 0) & valid) else 0
    return np.asarray(inside) - np.where(count > 0, outer / np.maximum(count, 1), ground)


def _at_scale(
    image: np.ndarray, valid: np.ndarray, scale: float, min_area: float, *, clusters: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Regions of one scale, painted on the full grid."""
    step = max(1, int(scale))
    smooth = np.asarray(ndimage.gaussian_filter(image, scale))[::step, ::step]
    usable = valid[::step, ::step]
    if not usable.any():  # a part so narrow that this grid steps over it
        return np.zeros(image.shape, dtype=np.int32), np.zeros(0)
    gradient = np.hypot(ndimage.sobel(smooth, 0), ndimage.sobel(smooth, 1)) / 8
    noise = max(float(np.median(gradient[usable])) / 1.177, 0.003)
    regions, levels = region_tree(
        smooth,
        noise=noise,
        valid=usable,
        min_area=max(12.0, min_area / step**2),
        by_shape=not clusters,
    )
    chosen = best_disjoint(regions)
    chosen = chosen[regions.score[chosen] > (MIN_CLUSTER_SCORE if clusters else MIN_SCORE)]
    painted = paint(smooth, regions, chosen, levels, usable)
    if step > 1:
        rows = np.minimum(np.arange(image.shape[0]) // step, painted.shape[0] - 1)
        cols = np.minimum(np.arange(image.shape[1]) // step, painted.shape[1] - 1)
        painted = painted[np.ix_(rows, cols)]
    return painted, regions.score[chosen]


def _merge(
    labels: np.ndarray, scores: np.ndarray, coarse: np.ndarray, coarse_scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Let coarse regions replace the fine ones inside them where they explain more."""
    if scores.size == 0:
        return coarse.copy(), coarse_scores
    n, m = scores.size, coarse_scores.size
    area = np.bincount(labels.ravel(), minlength=n + 1)
    wide = np.bincount(coarse.ravel(), minlength=m + 1)
    pairs = np.bincount(labels.ravel().astype(np.int64) * (m + 1) + coarse.ravel())
    common = np.flatnonzero(pairs)
    fine_of, coarse_of, overlap = common // (m + 1), common % (m + 1), pairs[common]
    value = np.concatenate([[0.0], scores]) * area
    out, result = labels.copy(), list(scores)
    for j in range(1, m + 1):
        mine = (coarse_of == j) & (fine_of > 0)
        members, shares = fine_of[mine], overlap[mine]
        inside = shares > 0.5 * area[members]
        if shares[~inside].sum() > 0.3 * wide[j]:
            continue
        # one particle seen at both scales: the finer outline, unless it is clearly the worse
        same = inside.sum() == 1 and wide[j] < 4 * area[members[inside]][0]
        if same and coarse_scores[j - 1] < 1.25 * scores[members[inside] - 1][0]:
            continue
        worth = value[members[inside]].sum()
        if coarse_scores[j - 1] * wide[j] < 1.1 * worth:
            continue
        # several good ones that fill most of it are a cluster, whose gaps must not count for it
        held = area[members[inside]].sum()
        cluster = inside.sum() > 1 and held > 0.5 * wide[j]
        if cluster and coarse_scores[j - 1] * held < CLUSTER_GAIN * worth:
            continue
        region = coarse == j
        out[np.isin(out, members[inside])] = 0
        result.append(coarse_scores[j - 1])
        out[region & (out == 0)] = len(result)
    merged, kept = _compact(out, np.array(result))
    return merged, kept


def _compact(labels: np.ndarray, *values: np.ndarray) -> tuple[np.ndarray, ...]:
    """Renumber the labels 1..n and keep the values of those that are left."""
    present = np.unique(labels)
    present = present[present > 0]
    table = np.zeros(max(int(labels.max()), 0) + 1, dtype=np.int32)
    table[present] = np.arange(1, present.size + 1)
    return (table[labels], *(v[present - 1] for v in values))


def _drop_faint(
    labels: np.ndarray, scores: np.ndarray, contrast: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Drop regions much fainter than those that make up most of the evidence."""
    if scores.size == 0:
        return labels, scores, contrast
    area = np.bincount(labels.ravel(), minlength=scores.size + 1)[1:]
    typical, typical_signal = _typical(labels, scores, contrast)
    keep = contrast > MIN_CONTRAST * typical
    keep &= contrast * np.sqrt(area) > MIN_SIGNAL * typical_signal
    table = np.concatenate([[False], keep])
    labels, scores, contrast = _compact(np.where(table[labels], labels, 0), scores, contrast)
    return labels, scores, contrast
