"""Grains of a second phase in a topography: segmentation, statistics, distance to the boundary.

Nothing here knows the instrument: contrast, polarity, roughness and grain size are taken from the
image. Positions are in the sample frame; pixel (row, col) is centred at
``origin + (col, row) * pixel_size``.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree
from skimage import measure, morphology, segmentation

from nucleation_bluesky.analysis.grain_mixture import Mixture, best_scale
from nucleation_bluesky.analysis.topography import as_image, fit_background

POLARITIES = ("auto", "bright", "dark")
MIN_SEPARATION = 2.0  # Ashman's D: two populations are distinct above 2


@dataclass(frozen=True)
class Grains:
    """Segmented grains.

    Parameters
    ----------
    labels : ndarray of int, shape (rows, cols)
        0 in the matrix, 1..n in the grains.
    confidence : float
        0 to 1: how well the two phases separate and how little the mask depends on the scale of
        smoothing. Below 0.5 look at the picture.
    polarity : str
        "bright" (grains stand out) or "dark" (grains are recessed).
    contrast : float
        Median height of grains minus matrix, m.
    separation : float
        Ashman's D of the two height populations after smoothing.
    smoothing : float
        Width of the smoothing that separates best, px.
    """

    labels: np.ndarray
    confidence: float
    polarity: str
    contrast: float
    separation: float
    smoothing: float

    @property
    def mask(self) -> np.ndarray:
        """True on grains, shape (rows, cols)."""
        return self.labels > 0


def segment_grains(
    image: np.ndarray,
    *,
    polarity: str = "auto",
    order: int = 1,
    min_pixels: int | None = None,
) -> Grains:
    """Segment grains which stand above or below their matrix.

    The image is levelled (the surface is fitted again on the matrix alone), smoothed at the scale
    that separates two populations of heights best, and thresholded half way up the step; the
    outline is then refined on the lightly smoothed image by a random walk from the
    certain pixels of both phases.

    Parameters
    ----------
    image : ndarray, shape (rows, cols)
        Height, m (tilted, noisy; NaN allowed).
    polarity : str
        "bright", "dark" or "auto": the phase that forms isolated, compact regions within the
        other is the grain phase.
    order : int
        Order of the levelling surface.
    min_pixels : int or None
        Smaller regions are dropped; None: the area of a disc whose radius is twice the smoothing.

    Returns
    -------
    Grains
        Without distinct phases the mask is empty and the confidence 0.

    Raises
    ------
    ValueError
        If the polarity is not known.
    """
    if polarity not in POLARITIES:
        raise ValueError(f"polarity '{polarity}' is not one of {', '.join(POLARITIES)}")
    array = as_image(image)
    flat = array - fit_background(array, order=order)
    flat = np.where(np.isfinite(flat), flat, np.nanmedian(flat))
    best: tuple[float, np.ndarray, Mixture] | None = None
    for _ in range(3):  # level, segment, level again on the larger phase
        best = best_scale(flat)
        width, smooth, mixture = best
        high = smooth > mixture.threshold()
        matrix = high if high.mean() > 0.5 else ~high
        matrix = ndimage.binary_erosion(matrix, iterations=max(1, round(width)))
        if mixture.separation < MIN_SEPARATION or matrix.mean() < 0.1:
            break
        surface = fit_background(flat, order=order, mask=matrix)
        flat = flat - surface
        if np.ptp(surface) < 0.02 * (mixture.means[1] - mixture.means[0]):
            break
    assert best is not None  # noqa: S101 - the loop runs at least once
    width, smooth, mixture = best_scale(flat)
    if mixture.separation < MIN_SEPARATION:
        return Grains(
            np.zeros(flat.shape, dtype=int), 0.0, polarity, 0.0, mixture.separation, width
        )
    high = smooth > mixture.threshold()
    if polarity == "auto":
        polarity = "bright" if _inclusion_score(high) >= _inclusion_score(~high) else "dark"
    mask = _refine(flat, smooth, mixture, width)
    mask = mask if polarity == "bright" else ~mask
    size = min_pixels if min_pixels is not None else round(np.pi * (2 * width) ** 2)
    mask = _clean(mask, size, width)
    return _result(flat, mask, polarity, mixture.separation, width, mixture)


def refine_with_sites(
    grains: Grains,
    x: np.ndarray,
    y: np.ndarray,
    inert: np.ndarray,
    pixel_size: float,
    origin: tuple[float, float] = (0.0, 0.0),
    *,
    reach: float | None = None,
    min_sites: int = 4,
) -> Grains:
    """Correct a segmentation with sites at which no nucleation happened although biased fully.

    A grain whose interior sites mostly nucleated is dropped; a compact region of inert sites
    outside the grains is added. The result must not be used for the fraction of sites on grains
    that nucleate, which would then be circular.

    Parameters
    ----------
    grains : Grains
        From `segment_grains`.
    x, y : ndarray, shape (n,)
        Sites, m.
    inert : ndarray of bool, shape (n,)
        True: biased to the end of the ramp, no nucleation. Leave out sites whose ramp was cut.
    pixel_size : float
        m.
    origin : tuple of float
        Position of pixel (0, 0), m.
    reach : float or None
        Distance over which a site speaks for its surroundings, m; None: the median distance
        between neighbouring sites.
    min_sites : int
        Inert neighbours that make a new region.
    """
    points = np.stack([np.asarray(x, float), np.asarray(y, float)], axis=1)
    if len(points) < 2:
        return grains
    inert = np.asarray(inert, dtype=bool)
    reach = reach or float(np.median(KDTree(points).query(points, k=2)[0][:, 1]))
    rows, cols = site_pixels(x, y, pixel_size, origin)
    shape = grains.labels.shape
    inside = (rows >= 0) & (rows < shape[0]) & (cols >= 0) & (cols < shape[1])
    mask = grains.mask.copy()
    depth = np.asarray(ndimage.distance_transform_edt(mask)) * pixel_size
    at = np.where(inside, grains.labels[rows.clip(0, shape[0] - 1), cols.clip(0, shape[1] - 1)], 0)
    deep = inside & (depth[rows.clip(0, shape[0] - 1), cols.clip(0, shape[1] - 1)] > reach)
    for label in range(1, grains.labels.max() + 1):
        own = deep & (at == label)
        if np.count_nonzero(own) >= min_sites and np.mean(inert[own]) < 0.5:
            mask[grains.labels == label] = False
    # pixels nearest to inert sites, within reach of one
    yy, xx = np.indices(shape)
    pixels = np.stack([origin[0] + xx.ravel() * pixel_size, origin[1] + yy.ravel() * pixel_size], 1)
    lag, nearest = KDTree(points).query(pixels, distance_upper_bound=reach)
    near = np.isfinite(lag)
    dead = np.zeros(mask.size, dtype=bool)
    dead[near] = inert[np.asarray(nearest)[near]]
    dead = dead.reshape(shape)
    at_pixel = (rows.clip(0, shape[0] - 1), cols.clip(0, shape[1] - 1))
    # keep only where most of the surrounding sites are inert too: single failures are no grain
    width = 1.5 * reach / pixel_size
    support = ndimage.gaussian_filter(dead.astype(float), width)
    known = ndimage.gaussian_filter(near.reshape(shape).astype(float), width)
    region = (support > 0.6 * np.maximum(known, 1e-9)) & (known > 0.2)
    extra = np.asarray(measure.label(region & ~mask))
    for prop in measure.regionprops(extra):
        sites = inside & (extra[at_pixel] == prop.label)
        if np.count_nonzero(sites & inert) >= min_sites and np.mean(inert[sites]) > 0.7:
            mask[extra == prop.label] = True
    return replace(grains, labels=np.asarray(measure.label(mask)))


def grain_statistics(grains: Grains, pixel_size: float) -> dict[str, float]:
    """Area fraction, number, number density and equivalent radii (m) of the grains.

    Radii (mean, median, sd) are of grains that do not touch the border; NaN without any.
    """
    mask = grains.mask
    area = mask.size * pixel_size**2
    inner = segmentation.clear_border(grains.labels)
    counts = np.bincount(np.asarray(inner).ravel())[1:]
    radii = np.sqrt(counts[counts > 0] / np.pi) * pixel_size
    empty = radii.size == 0
    return {
        "area_fraction": float(mask.mean()),
        "count": float(grains.labels.max()),
        "number_density": float(grains.labels.max() / area),
        "mean_radius": float("nan") if empty else float(radii.mean()),
        "median_radius": float("nan") if empty else float(np.median(radii)),
        "sd_radius": float(radii.std(ddof=1)) if radii.size > 1 else float("nan"),
    }


def signed_distance_map(mask: np.ndarray, pixel_size: float) -> np.ndarray:
    """Distance of every pixel's centre to the grain boundary, m: positive in the matrix.

    The boundary is the sub-pixel contour of the lightly smoothed mask. Without a boundary the
    distance is infinite.
    """
    rows, cols = np.indices(mask.shape)
    return distance_to_boundary(
        cols.ravel() * pixel_size, rows.ravel() * pixel_size, mask, pixel_size
    ).reshape(mask.shape)


def distance_to_boundary(
    x: np.ndarray,
    y: np.ndarray,
    grains: Grains | np.ndarray,
    pixel_size: float,
    origin: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """Signed distance of sites to the nearest grain boundary, m.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        Sites, m.
    grains : Grains or ndarray of bool
        Segmentation, or a mask that is True on grains.
    pixel_size : float
        m.
    origin : tuple of float
        Position of pixel (0, 0), m.

    Returns
    -------
    ndarray, shape (n,)
        Positive in the matrix, negative on grains; NaN outside the image; +inf (or -inf) where
        there is no boundary at all. A site nearer to the image's edge than to a boundary may have
        an unseen, nearer boundary beyond it.
    """
    mask = grains.mask if isinstance(grains, Grains) else np.asarray(grains, dtype=bool)
    soft = ndimage.gaussian_filter(mask.astype(float), 1.0, mode="nearest")
    col = (np.asarray(x, dtype=float) - origin[0]) / pixel_size
    row = (np.asarray(y, dtype=float) - origin[1]) / pixel_size
    on_grain = ndimage.map_coordinates(soft, (row, col), order=1, mode="nearest") > 0.5
    contours = measure.find_contours(soft, 0.5)
    if contours:
        points = np.concatenate([_densify(c) for c in contours])
        distance = KDTree(points).query(np.stack([row, col], axis=-1))[0] * pixel_size
    else:
        distance = np.full(col.shape, np.inf)
    half = 0.5
    inside = (
        (row >= -half)
        & (row <= mask.shape[0] - half)
        & (col >= -half)
        & (col <= mask.shape[1] - half)
    )
    return np.where(inside, np.where(on_grain, -distance, distance), np.nan)


def site_pixels(
    x: np.ndarray, y: np.ndarray, pixel_size: float, origin: tuple[float, float] = (0.0, 0.0)
) -> tuple[np.ndarray, np.ndarray]:
    """Row and column (int) of the pixel each site lies in; may lie outside the image."""
    col = np.floor((np.asarray(x, dtype=float) - origin[0]) / pixel_size + 0.5).astype(int)
    row = np.floor((np.asarray(y, dtype=float) - origin[1]) / pixel_size + 0.5).astype(int)
    return row, col


def _densify(contour: np.ndarray, step: float = 0.1) -> np.ndarray:
    """Points along a contour no more than ``step`` px apart."""
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(contour, axis=0), axis=1))])
    at = np.linspace(0, length[-1], max(2, int(length[-1] / step) + 1))
    return np.stack([np.interp(at, length, contour[:, k]) for k in (0, 1)], axis=1)


def _inclusion_score(phase: np.ndarray) -> float:
    """How much a phase looks like isolated inclusions: small share, compact, not percolating."""
    share = phase.mean()
    if share in (0.0, 1.0):
        return -1.0
    labels = np.asarray(measure.label(phase))
    areas = np.bincount(labels.ravel())[1:]
    largest = areas.max() / areas.sum()
    props = [p for p in measure.regionprops(labels) if p.area >= 0.1 * areas.max()]
    solidity = float(np.average([p.solidity for p in props], weights=[p.area for p in props]))
    return float((1 - share) + 0.5 * (1 - largest) + solidity)


def _refine(flat: np.ndarray, smooth: np.ndarray, mixture: Mixture, width: float) -> np.ndarray:
    """Place the outline of the higher phase on a lightly smoothed image."""
    high = smooth > mixture.midpoint()
    band = max(2, round(1.5 * width))
    uncertain = ndimage.binary_dilation(high, iterations=band) & ~np.asarray(
        ndimage.binary_erosion(high, iterations=band), dtype=bool
    )
    if width <= 1.0 or not uncertain.any():
        return high
    seeds = np.where(high, 2, 1)
    seeds[uncertain] = 0
    if not ((seeds == 1).any() and (seeds == 2).any()):
        return high
    light = ndimage.gaussian_filter(flat, max(1.0, width / 2), mode="nearest")
    step = mixture.means[1] - mixture.means[0]
    clipped = np.clip((light - mixture.means[0]) / step, -0.5, 1.5)
    walked = segmentation.random_walker(
        clipped, seeds, beta=60, mode="cg_j", tol=1e-4, prob_tol=0.05
    )
    return np.asarray(walked) == 2


def _clean(mask: np.ndarray, size: int, width: float) -> np.ndarray:
    """Drop specks, fill pin-holes, smooth the outline."""
    disc = morphology.disk(max(1, round(width / 2)))
    opened = ndimage.binary_opening(mask, disc)
    opened = np.asarray(morphology.remove_small_objects(opened, max_size=max(0, size - 1)))
    return np.asarray(morphology.remove_small_holes(opened, max_size=max(0, size - 1)))


def _result(
    flat: np.ndarray,
    mask: np.ndarray,
    polarity: str,
    separation: float,
    width: float,
    mixture: Mixture,
) -> Grains:
    labels = np.asarray(measure.label(mask))
    if not mask.any() or mask.all():
        return Grains(np.zeros(mask.shape, dtype=int), 0.0, polarity, 0.0, separation, width)
    contrast = float(np.median(flat[mask]) - np.median(flat[~mask]))
    # stability: the masks at half and at twice the smoothing agree with this one
    agreement = []
    for factor in (0.5, 2.0):
        other = ndimage.gaussian_filter(flat, width * factor, mode="nearest") > mixture.threshold()
        other = other if polarity == "bright" else ~other
        agreement.append(np.sum(mask & other) / max(1, np.sum(mask | other)))
    stable = float(np.mean(agreement))
    distinct = float(np.clip((separation - MIN_SEPARATION) / 2 + 0.5, 0, 1))
    return Grains(labels, stable * distinct, polarity, contrast, separation, width)
