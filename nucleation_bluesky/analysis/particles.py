"""Particles grown at the sites: volume, height and width from the difference of topographies.

Positions are in the sample frame; pixel (row, col) is centred at
``origin + (col, row) * pixel_size``.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree
from skimage import feature, measure, segmentation

from nucleation_bluesky.analysis.grains import site_pixels
from nucleation_bluesky.analysis.tip import Tip
from nucleation_bluesky.analysis.topography import as_image, robust_sigma

# Why a site's topographic volume is not to be used; flag_meanings of `SiteParticles.flag`.
FLAGS = ("valid", "no_particle", "overlapping", "at_edge", "uncertain_ground")
VALID, NO_PARTICLE, OVERLAPPING, AT_EDGE, UNCERTAIN_GROUND = range(5)


@dataclass(frozen=True)
class Segments:
    """Segmented particles of a height change.

    Parameters
    ----------
    labels : ndarray of int, shape (rows, cols)
        0 outside particles.
    x, y : ndarray, shape (n,)
        Height-weighted centre, m.
    volume : ndarray, shape (n,)
        m3, over the ground.
    height : ndarray, shape (n,)
        m.
    radius : ndarray, shape (n,)
        Equivalent radius of the outline, m.
    merged : ndarray of bool, shape (n,)
        The particle shares a border with another.
    touches_edge : ndarray of bool, shape (n,)
    """

    labels: np.ndarray
    x: np.ndarray
    y: np.ndarray
    volume: np.ndarray
    height: np.ndarray
    radius: np.ndarray
    merged: np.ndarray
    touches_edge: np.ndarray


@dataclass(frozen=True)
class SiteParticles:
    """Particles at the sites; every array has shape (n,).

    Parameters
    ----------
    volume : ndarray
        m3, corrected for the tip where its radius was given; NaN unless ``valid``.
    volume_apparent : ndarray
        m3, as imaged; also where not valid.
    uncertainty : ndarray
        Of the volume, from the noise of the image and of the ground, m3.
    height, radius : ndarray
        Apparent height over the ground and equivalent radius, m.
    flag : ndarray of int
        Index into `FLAGS`; `volume` is to be used where it is ``valid`` (0).
    """

    volume: np.ndarray
    volume_apparent: np.ndarray
    uncertainty: np.ndarray
    height: np.ndarray
    radius: np.ndarray
    flag: np.ndarray

    @property
    def valid(self) -> np.ndarray:
        """Sites whose volume stands on its own."""
        return self.flag == VALID


def segment_particles(
    change: np.ndarray,
    pixel_size: float,
    *,
    noise: float | None = None,
    threshold: float = 5.0,
    origin: tuple[float, float] = (0.0, 0.0),
    min_separation: float | None = None,
) -> Segments:
    """Segment particles by threshold and watershed.

    Parameters
    ----------
    change : ndarray, shape (rows, cols)
        Height change, m, with the ground (swelling) removed.
    pixel_size : float
        m.
    noise : float or None
        Standard deviation of the change where nothing grew, m; None: robust estimate.
    threshold : float
        Outline in units of the noise.
    origin : tuple of float
        Position of pixel (0, 0), m.
    min_separation : float or None
        Summits closer than this belong to one particle, m; None: 2 pixels.
    """
    array = np.where(np.isfinite(change), as_image(change), 0.0)
    sigma = robust_sigma(array) if noise is None else noise
    mask = array > threshold * sigma
    # a speck of one or two pixels is noise or a glitch of the scan
    mask = ndimage.binary_opening(mask, structure=np.ones((2, 2))) if mask.any() else mask
    smooth = ndimage.gaussian_filter(array, 1.0)
    distance = max(1, round((min_separation or 2 * pixel_size) / pixel_size))
    summits = feature.peak_local_max(
        smooth, min_distance=distance, labels=mask.astype(int), exclude_border=False
    )
    markers = np.zeros(array.shape, dtype=int)
    markers[tuple(summits.T)] = np.arange(1, len(summits) + 1)
    # a dip between summits that noise could make does not split a particle
    labels = _merge_shallow(smooth, segmentation.watershed(-smooth, markers, mask=mask), 3 * sigma)
    return _measure(array, labels, pixel_size, origin)


def site_particles(
    change: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    pixel_size: float,
    *,
    origin: tuple[float, float] = (0.0, 0.0),
    noise: float | None = None,
    reach: float | None = None,
    tip: Tip | None = None,
    threshold: float = 5.0,
) -> SiteParticles:
    """Volume, height and radius of the particle at each site.

    A particle belongs to the site nearest to its centre, within ``reach``. Its volume is
    integrated inside its outline grown by a margin (what lies under the threshold), over the
    median of a ring around it that no other particle enters. Particles that have grown together,
    or that reach into a neighbour's territory, cannot be told apart: they are flagged and their
    volume is NaN (use the charge there).

    Parameters
    ----------
    change : ndarray, shape (rows, cols)
        Height change, m.
    x, y : ndarray, shape (n,)
        Sites, m.
    pixel_size : float
        m.
    origin : tuple of float
        Position of pixel (0, 0), m.
    noise : float or None
        See `segment_particles`.
    reach : float or None
        Largest distance of a particle's centre from its site, m; None: half of the median
        distance between neighbouring sites.
    tip : Tip or None
        Corrects the volume for the tip's shape (see `tip`).
    threshold : float
        Outline in units of the noise.
    """
    array = as_image(change)
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    n = x.size
    sigma = robust_sigma(array) if noise is None else noise
    points = np.stack([x, y], axis=1)
    spacing = np.full(n, np.inf)
    if n > 1:
        spacing = KDTree(points).query(points, k=2)[0][:, 1]
    if reach is None:
        reach = 0.5 * float(np.median(spacing)) if n > 1 else 10 * pixel_size
    segments = segment_particles(array, pixel_size, noise=sigma, threshold=threshold, origin=origin)
    result = {k: np.full(n, np.nan) for k in ("volume", "sd", "height", "radius")}
    flag = np.full(n, NO_PARTICLE)
    rows, cols = site_pixels(x, y, pixel_size, origin)
    outside = (rows < 0) | (cols < 0) | (rows >= array.shape[0]) | (cols >= array.shape[1])
    flag[outside] = AT_EDGE
    if segments.x.size == 0:
        return _site_result(result, flag, tip)
    centres = np.stack([segments.x, segments.y], axis=1)
    _, owner = KDTree(points).query(centres)
    # several sites under one particle: their volumes are merged
    per_particle = np.bincount(
        _labels_at(segments.labels, rows, cols, outside), minlength=len(centres) + 1
    )[1:]
    order = np.asarray(
        np.argsort(segments.volume)
    )  # the largest claimant of a site comes last and stays
    slices = ndimage.find_objects(segments.labels)
    for k in order:
        site = int(np.asarray(owner)[k])
        if np.hypot(*(centres[k] - points[site])) > max(reach, 0.5 * segments.radius[k]):
            continue
        if flag[site] != NO_PARTICLE:
            flag[site] = OVERLAPPING if flag[site] != AT_EDGE else AT_EDGE
        shared = per_particle[k] > 1 or segments.merged[k]
        volume, sd, height, ground_ok = _integrate(
            array, segments.labels, k + 1, slices[k], pixel_size, sigma
        )
        result["volume"][site], result["sd"][site] = volume, sd
        result["height"][site], result["radius"][site] = height, segments.radius[k]
        if segments.touches_edge[k]:
            flag[site] = AT_EDGE
        elif shared or flag[site] == OVERLAPPING:
            flag[site] = OVERLAPPING
        else:
            flag[site] = VALID if ground_ok else UNCERTAIN_GROUND
    return _site_result(result, flag, tip)


def _site_result(result: dict[str, np.ndarray], flag: np.ndarray, tip: Tip | None) -> SiteParticles:
    volume = np.where(flag == VALID, result["volume"], np.nan)
    if tip is not None:
        volume = tip.corrected(volume, result["height"])
    return SiteParticles(
        volume, result["volume"], result["sd"], result["height"], result["radius"], flag
    )


def _labels_at(
    labels: np.ndarray, rows: np.ndarray, cols: np.ndarray, outside: np.ndarray
) -> np.ndarray:
    found = labels[rows.clip(0, labels.shape[0] - 1), cols.clip(0, labels.shape[1] - 1)]
    return np.where(outside, 0, found)


def _integrate(
    array: np.ndarray,
    labels: np.ndarray,
    label: int,
    where: tuple[slice, ...],
    pixel_size: float,
    sigma: float,
    *,
    margin: int = 3,
    ring: int = 4,
) -> tuple[float, float, float, bool]:
    """Volume, its uncertainty and height of one particle, and whether the ground was seen."""
    pad = margin + ring
    box = tuple(
        slice(max(0, s.start - pad), min(size, s.stop + pad))
        for s, size in zip(where, array.shape, strict=True)
    )
    own = labels[box] == label
    other = (labels[box] > 0) & ~own
    lag = np.asarray(ndimage.distance_transform_edt(~own))
    lag_other = np.full(own.shape, np.inf)
    if other.any():
        lag_other = np.asarray(ndimage.distance_transform_edt(~other))
    body = (lag <= margin) & (lag < lag_other)
    around = (lag > margin) & (lag <= pad) & (lag_other > margin)
    values = array[box]
    ground_pixels = values[around & np.isfinite(values)]
    ground_ok = ground_pixels.size >= max(12, 0.25 * np.count_nonzero(around | (lag > margin)))
    ground_ok = bool(ground_ok and np.count_nonzero(other & (lag <= 1.5)) == 0)
    ground = float(np.median(ground_pixels)) if ground_pixels.size >= 5 else 0.0
    over = np.where(np.isfinite(values), values - ground, 0.0)
    count = np.count_nonzero(body)
    volume = float(over[body].sum()) * pixel_size**2
    # the ground's error is common to all pixels; 1.25 is the median's loss against the mean
    ground_sd = 1.25 * sigma / np.sqrt(max(1, ground_pixels.size))
    sd = pixel_size**2 * np.sqrt(count * sigma**2 + (count * ground_sd) ** 2)
    return volume, float(sd), float(over[own].max()), ground_ok


def _merge_shallow(smooth: np.ndarray, labels: np.ndarray, depth: float) -> np.ndarray:
    """Join neighbours whose saddle lies less than ``depth`` below the lower summit."""
    count = int(labels.max())
    if count < 2:
        return labels
    summit = np.concatenate([[0.0], ndimage.maximum(smooth, labels, np.arange(1, count + 1))])
    pairs: list[np.ndarray] = []
    saddles: list[np.ndarray] = []
    for a, b in (
        ((slice(None, -1), slice(None)), (slice(1, None), slice(None))),
        ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
    ):
        border = (labels[a] != labels[b]) & (labels[a] > 0) & (labels[b] > 0)
        pairs.append(np.sort(np.stack([labels[a][border], labels[b][border]], axis=1), axis=1))
        saddles.append(np.minimum(smooth[a][border], smooth[b][border]))
    pair, saddle = np.concatenate(pairs), np.concatenate(saddles)
    if len(pair) == 0:
        return labels
    unique, index = np.unique(pair, axis=0, return_inverse=True)
    highest = np.full(len(unique), -np.inf)
    np.maximum.at(highest, index.ravel(), saddle)
    parent = np.arange(count + 1)

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = int(parent[k])
        return k

    for k in np.argsort(-highest):
        first, second = root(int(unique[k, 0])), root(int(unique[k, 1]))
        if first != second and min(summit[first], summit[second]) - highest[k] < depth:
            keep, drop = (first, second) if summit[first] >= summit[second] else (second, first)
            parent[drop] = keep
    roots = np.array([root(k) for k in range(count + 1)])
    return np.asarray(np.unique(roots, return_inverse=True)[1])[labels]


def _measure(
    array: np.ndarray, labels: np.ndarray, pixel_size: float, origin: tuple[float, float]
) -> Segments:
    props = measure.regionprops(labels, intensity_image=array)
    n = len(props)
    merged = np.zeros(n + 1, dtype=bool)
    for axis in (0, 1):
        first = labels[:-1] if axis == 0 else labels[:, :-1]
        second = labels[1:] if axis == 0 else labels[:, 1:]
        border = (first != second) & (first > 0) & (second > 0)
        merged[first[border]] = merged[second[border]] = True
    edge = np.zeros(n + 1, dtype=bool)
    for line in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        edge[line] = True
    centres = np.array([p.centroid_weighted for p in props]).reshape(n, 2)
    area = np.array([p.area for p in props], dtype=float)
    index = np.arange(1, n + 1)
    return Segments(
        labels=labels,
        x=origin[0] + centres[:, 1] * pixel_size,
        y=origin[1] + centres[:, 0] * pixel_size,
        volume=np.asarray(ndimage.sum(array, labels, index)).reshape(n) * pixel_size**2,
        height=np.array([p.intensity_max for p in props], dtype=float),
        radius=np.sqrt(area / np.pi) * pixel_size,
        merged=merged[1:],
        touches_edge=edge[1:],
    )
