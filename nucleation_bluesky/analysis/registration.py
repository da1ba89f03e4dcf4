"""Sub-pixel registration of two topographies of one area.

The second image may be tilted, offset, drifted and covered with new particles. Phase correlation
of band-passed, clipped images gives the start; a robust Gauss-Newton fit of the heights with
tilt, offset and gain as nuisance parameters gives the sub-pixel shift, and the scatter of its
scores between tiles the uncertainty.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.signal.windows import tukey
from skimage.registration import phase_cross_correlation

from nucleation_bluesky.analysis.topography import (
    MAD_TO_SIGMA,
    TUKEY,
    as_image,
    level,
    robust_sigma,
)

TILES = 5  # per axis, for the cluster-robust uncertainty
MAX_PIXELS = 70_000  # of the fit
APART = 1.0  # px between two starts that are worth a fit each
SURE = (0.05, 0.9)  # px and correlation: a fit that needs no second one
BAND = (1.0, 8.0)  # px, Gaussian widths of the band-pass for the coarse correlation


class Shift(NamedTuple):
    """Displacement of an image's content against the reference.

    A feature at (x, y) in the reference lies at (x + dx, y + dy) in the image.

    Parameters
    ----------
    dx, dy : float
        m, along columns and rows.
    uncertainty : float
        Standard uncertainty per axis, m (the larger of the two axes).
    quality : float
        Correlation of the aligned images over the pixels they agree on, -1 to 1. Below about 0.3
        the shift should not be trusted.
    """

    dx: float
    dy: float
    uncertainty: float
    quality: float


@dataclass(frozen=True)
class Registration:
    """A shift that may change along the slow scan axis (drift during the image).

    Parameters
    ----------
    dx, dy : float
        Displacement at the centre row, m (sign as in `Shift`).
    drift_x, drift_y : float
        Change of the displacement per m along +y (dimensionless).
    uncertainty : float
        Standard uncertainty of the displacement at the centre, m.
    quality : float
        As in `Shift`.
    pixel_size : float
        m.
    """

    dx: float
    dy: float
    drift_x: float
    drift_y: float
    uncertainty: float
    quality: float
    pixel_size: float


def estimate_shift(
    reference: np.ndarray,
    image: np.ndarray,
    pixel_size: float,
    *,
    mask: np.ndarray | None = None,
) -> Shift:
    """Estimate the constant displacement between two topographies.

    Parameters
    ----------
    reference, image : ndarray, shape (rows, cols)
        Heights, m, same shape and pixel size; NaN allowed.
    pixel_size : float
        m.
    mask : ndarray of bool or None
        Pixels of the reference to register on, e.g. outside the area that has been plated
        densely; None: regions that changed as a whole are found and left out.

    Returns
    -------
    Shift
        ``(dx, dy, uncertainty, quality)``; unpack as a tuple.

    Raises
    ------
    ValueError
        If the shapes differ or the pixel size is not positive.
    """
    found = register(reference, image, pixel_size, drift=False, mask=mask)
    return Shift(found.dx, found.dy, found.uncertainty, found.quality)


def register(
    reference: np.ndarray,
    image: np.ndarray,
    pixel_size: float,
    *,
    drift: bool = True,
    mask: np.ndarray | None = None,
) -> Registration:
    """Register ``image`` to ``reference``, optionally with linear drift along the slow axis.

    Parameters
    ----------
    reference, image : ndarray, shape (rows, cols)
        Heights, m, same shape and pixel size.
    pixel_size : float
        m.
    drift : bool
        Fit a displacement that changes linearly with the row.
    mask : ndarray of bool or None
        As in `estimate_shift`.

    Raises
    ------
    ValueError
        If the shapes differ or the pixel size is not positive.
    """
    first, second = as_image(reference), as_image(image)
    if first.shape != second.shape:
        raise ValueError(
            f"the images differ in shape ({first.shape}, {second.shape}); "
            "take both with the same settings or resample one"
        )
    if not pixel_size > 0:
        raise ValueError(f"the pixel size must be greater than 0 m (got {pixel_size})")
    first, second = _flat(first), _flat(second)
    scale = robust_sigma(first) or 1.0  # numbers near 1: metres would underflow in the fit
    first, second = first / scale, second / scale
    # the fit sees full heights: clipping would move the edges of tall features
    starts = _coarse(_clipped(first), _clipped(second), mask)[: None if mask is not None else 1]
    parameters, sigma, quality = _best_refined(first, second, starts, mask, drift=drift)
    half = (first.shape[0] - 1) / 2
    return Registration(
        dx=float(parameters[0] * pixel_size),
        dy=float(parameters[1] * pixel_size),
        drift_x=float(parameters[2] / half),
        drift_y=float(parameters[3] / half),
        uncertainty=float(sigma * pixel_size),
        quality=quality,
        pixel_size=pixel_size,
    )


def align(image: np.ndarray, registration: Registration | Shift, pixel_size: float) -> np.ndarray:
    """Resample an image onto the reference's pixel grid (cubic), NaN where it does not reach.

    Parameters
    ----------
    image : ndarray, shape (rows, cols)
        Height, m.
    registration : Registration or Shift
        From `register` or `estimate_shift`.
    pixel_size : float
        m.
    """
    array = as_image(image)
    drift = (0.0, 0.0)
    if isinstance(registration, Registration):
        drift = (registration.drift_x, registration.drift_y)
    half = (array.shape[0] - 1) / 2
    parameters = np.array(
        [
            registration.dx / pixel_size,
            registration.dy / pixel_size,
            drift[0] * half,
            drift[1] * half,
        ]
    )
    missing = ~np.isfinite(array)
    rows, cols = _coordinates(array.shape, parameters)
    moved = ndimage.map_coordinates(
        np.where(missing, np.nanmedian(array), array), (rows, cols), order=3, mode="nearest"
    )
    outside = (rows < 0) | (rows > array.shape[0] - 1) | (cols < 0) | (cols > array.shape[1] - 1)
    if missing.any():
        spread = ndimage.map_coordinates(missing.astype(float), (rows, cols), order=1, cval=1.0)
        outside |= spread > 1e-6
    return np.where(outside, np.nan, moved)


def _flat(image: np.ndarray) -> np.ndarray:
    """Levelled, missing pixels filled with the level."""
    flat = level(image)
    return np.where(np.isfinite(flat), flat, 0.0)


def _clipped(flat: np.ndarray) -> np.ndarray:
    """Outliers (new particles) clipped at 4 robust sigma."""
    sigma = robust_sigma(flat)
    return flat if sigma == 0 else np.clip(flat, -4 * sigma, 4 * sigma)


def _coordinates(shape: tuple[int, ...], parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns in the image of every reference pixel; parameters in px."""
    rows, cols = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    v = np.linspace(-1, 1, shape[0])[:, None]
    return (
        rows + parameters[1] + parameters[3] * v,
        cols + parameters[0] + parameters[2] * v,
    )


def _coarse(first: np.ndarray, second: np.ndarray, mask: np.ndarray | None) -> list[np.ndarray]:
    """Shifts to about a pixel by phase correlation, the one that explains most first.

    A densely plated area outweighs the ground around it, so it takes no part.
    """
    window = np.outer(*(tukey(n, 0.3) for n in first.shape))
    ground = np.ones(first.shape, dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
    candidates = [np.zeros(4)]  # where both were asked for
    for low in (BAND[0], 3 * BAND[0]):
        taper = window * (1.0 if ground.all() else ndimage.gaussian_filter(ground * 1.0, low))
        band = [
            (ndimage.gaussian_filter(a, low) - ndimage.gaussian_filter(a, BAND[1] * low)) * taper
            for a in (first, second)
        ]
        for normalization in ("phase", None):
            shift, _, _ = phase_cross_correlation(
                band[0],
                band[1],
                normalization=normalization,  # pyright: ignore[reportArgumentType]
                upsample_factor=10,
            )
            candidates.append(np.array([-shift[1], -shift[0], 0.0, 0.0]))
    smooth = [ndimage.gaussian_filter(a, BAND[0]) for a in (first, second)]
    scores = [_agreement(smooth[0], smooth[1], c, ground) for c in candidates]
    apart: list[np.ndarray] = []
    for index in np.argsort(scores)[::-1]:
        if all(np.hypot(*(candidates[index] - other)[:2]) > APART for other in apart):
            apart.append(candidates[index])
    return apart


def _best_refined(
    first: np.ndarray,
    second: np.ndarray,
    starts: list[np.ndarray],
    mask: np.ndarray | None,
    *,
    drift: bool,
) -> tuple[np.ndarray, float, float]:
    """Refine from one start after the other until the result leaves no doubt."""
    found: list[tuple[np.ndarray, float, float]] = []
    for start in starts:
        found.append(_refine(first, second, start, mask, drift=drift))
        if found[-1][1] < SURE[0] and found[-1][2] > SURE[1]:
            return found[-1]
    best = max(quality for _, _, quality in found)
    return min((f for f in found if f[2] > best - 0.02), key=lambda f: f[1])


def _overlap(first: np.ndarray, second: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    """Return the second image sampled on the reference's pixels, NaN outside."""
    rows, cols = _coordinates(first.shape, parameters)
    return ndimage.map_coordinates(second, (rows, cols), order=1, cval=np.nan)


def _interior(
    shape: tuple[int, ...],
    stride: tuple[slice, slice],
    rows: np.ndarray,
    cols: np.ndarray,
    margin: float,
) -> np.ndarray:
    """Pixels whose smoothing reached over the edge of neither image."""
    own = [f[stride] for f in np.indices(shape)]
    inside = np.ones(rows.shape, dtype=bool)
    for r, c in (own, (rows, cols)):
        inside &= (r >= margin) & (r <= shape[0] - 1 - margin)
        inside &= (c >= margin) & (c <= shape[1] - 1 - margin)
    return inside


def _agreement(
    first: np.ndarray, second: np.ndarray, parameters: np.ndarray, ground: np.ndarray
) -> float:
    moved = _overlap(first, second, parameters)
    inside = np.isfinite(moved) & ground
    wanted = np.count_nonzero(ground)
    if np.count_nonzero(inside) < 0.1 * wanted:
        return -1.0
    a, b = first[inside], moved[inside]
    return _correlation(a, b, np.ones(a.size)) * np.sqrt(a.size / wanted)


def _correlation(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> float:
    total = weights.sum()
    if total <= 0:
        return 0.0
    a = a - (weights * a).sum() / total
    b = b - (weights * b).sum() / total
    norm = np.sqrt((weights * a * a).sum() * (weights * b * b).sum())
    return float((weights * a * b).sum() / norm) if norm > 0 else 0.0


def _refine(
    first: np.ndarray,
    second: np.ndarray,
    start: np.ndarray,
    mask: np.ndarray | None,
    *,
    drift: bool,
    iterations: int = 25,
) -> tuple[np.ndarray, float, float]:
    """Robust Gauss-Newton on heights, coarse to fine; returns px parameters, sigma (px), quality.

    Both images are smoothed alike, so that noise biases neither the gradient nor the shift.
    Regions that changed as a whole (densely plated) are left out from the second scale on.
    """
    parameters = start.copy()
    n_move = 4 if drift else 2
    shape = first.shape
    v, u = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    tile = (np.minimum((v + 1) / 2 * TILES, TILES - 1).astype(int) * TILES) + np.minimum(
        (u + 1) / 2 * TILES, TILES - 1
    ).astype(int)
    allowed = np.ones(shape, dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
    sigma, quality = float("inf"), 0.0
    for width in (4.0, 2.0, 1.0):
        a_full = ndimage.gaussian_filter(first, width)
        b = ndimage.gaussian_filter(second, width)
        by, bx = np.gradient(b)
        splines = [ndimage.spline_filter(f, order=3, mode="mirror") for f in (b, by, bx)]
        # smoothed pixels repeat each other, and more than MAX_PIXELS add nothing
        step_px = max(int(width), int(np.ceil(np.sqrt(first.size / MAX_PIXELS))))
        stride = (slice(None, None, step_px), slice(None, None, step_px))
        a, us, vs, tiles, may = (f[stride] for f in (a_full, u, v, tile, allowed))
        basis = [np.ones(a.shape), us, vs, us * us, us * vs, vs * vs]
        for _ in range(iterations):
            rows, cols = (f[stride] for f in _coordinates(shape, parameters))
            moved, gy, gx = (
                ndimage.map_coordinates(f, (rows, cols), order=3, cval=np.nan, prefilter=False)
                for f in splines
            )
            inside = np.isfinite(moved) & may & _interior(shape, stride, rows, cols, 3 * width)
            if np.count_nonzero(inside) < 0.03 * a.size:
                return start, float("inf"), 0.0
            columns = [*[gx, gy, gx * vs, gy * vs][:n_move], *basis, moved]
            design = np.stack([c[inside] for c in columns], axis=1)
            # reference = image(p + dp) (1 + gain) + surface: linear in dp, surface and gain
            target = (a - moved)[inside]
            step, residual, weights = _robust_solve(design, target)
            parameters[:n_move] += np.clip(step[:n_move], -2, 2)
            sigma = _cluster_sigma(design, residual, weights, tiles[inside])
            surface = design[:, n_move:-1] @ step[n_move:-1]
            quality = _correlation(
                a[inside] - surface, moved[inside], np.asarray(weights > 0.1, dtype=float)
            )
            if np.max(np.abs(step[:n_move])) < (1e-3 if width == 1.0 else 1e-2):
                break
        if width > 1.0 and mask is None:
            allowed = _unchanged(a_full, b, parameters)
    return parameters, sigma, quality


def _unchanged(first: np.ndarray, second: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    """Regions of the reference whose local residual is like that of the quietest fifth.

    Pixelwise weights cannot tell that a region is new when half of the frame is.
    """
    residual = first - _overlap(first, second, parameters)
    inside = np.isfinite(residual)
    residual = np.where(inside, residual, 0.0)
    local = 8.0  # px
    share = ndimage.gaussian_filter(inside.astype(float), local)
    mean = ndimage.gaussian_filter(residual, local) / np.maximum(share, 1e-3)
    energy = ndimage.gaussian_filter(residual**2, local) / np.maximum(share, 1e-3) - mean**2
    quiet = float(np.percentile(energy[inside], 20))
    # a shift that is still a pixel off explains this much at edges: no sign of change
    slope = sum(g**2 for g in np.gradient(first))
    changed = energy > 6 * quiet + ndimage.gaussian_filter(slope, local)
    return ~changed if np.mean(inside & ~changed) > 0.1 else inside


def _robust_solve(
    design: np.ndarray, target: np.ndarray, iterations: int = 6
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tukey-weighted least squares; returns coefficients, residuals, weights."""
    weights = np.ones(target.size)
    solution = np.zeros(design.shape[1])
    residual = target
    for _ in range(iterations):
        weighted = design * weights[:, None]
        solution = np.linalg.lstsq(weighted.T @ design, weighted.T @ target, rcond=None)[0]
        residual = target - design @ solution
        scale = MAD_TO_SIGMA * np.median(np.abs(residual))
        if scale == 0:
            break
        weights = np.clip(1 - (residual / (TUKEY * scale)) ** 2, 0, None) ** 2
    return solution, residual, weights


def _cluster_sigma(
    design: np.ndarray, residual: np.ndarray, weights: np.ndarray, tile: np.ndarray
) -> float:
    """Return the shift's standard uncertainty (px) from score sums per tile (sandwich)."""
    bread = np.linalg.pinv((design * weights[:, None]).T @ design)
    scores = design * (weights * residual)[:, None]
    sums = np.stack([np.bincount(tile, s, minlength=TILES * TILES) for s in scores.T], axis=1)
    n = np.count_nonzero(np.bincount(tile, minlength=TILES * TILES))
    covariance = bread @ (sums.T @ sums) @ bread * n / max(n - design.shape[1], 1)
    return float(np.sqrt(np.max(np.diag(covariance)[:2])))
