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

from nucleation_bluesky.analysis.registration_fit import coordinates, correlation, overlap, refine
from nucleation_bluesky.analysis.topography import as_image, level, robust_sigma

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
    rows, cols = coordinates(array.shape, parameters)
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
        found.append(refine(first, second, start, mask, drift=drift))
        if found[-1][1] < SURE[0] and found[-1][2] > SURE[1]:
            return found[-1]
    best = max(quality for _, _, quality in found)
    return min((f for f in found if f[2] > best - 0.02), key=lambda f: f[1])


def _agreement(
    first: np.ndarray, second: np.ndarray, parameters: np.ndarray, ground: np.ndarray
) -> float:
    moved = overlap(first, second, parameters)
    inside = np.isfinite(moved) & ground
    wanted = np.count_nonzero(ground)
    if np.count_nonzero(inside) < 0.1 * wanted:
        return -1.0
    a, b = first[inside], moved[inside]
    return correlation(a, b, np.ones(a.size)) * np.sqrt(a.size / wanted)
