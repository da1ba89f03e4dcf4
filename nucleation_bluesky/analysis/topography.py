"""Topography images: levelling, difference of registered images, swelling, roughness.

Images are heights in m, shape (rows, cols), row index along +y (the slow scan axis), NaN where
nothing was measured.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

TUKEY = 4.685  # Tukey biweight: 95 % efficiency for Gaussian errors
MAD_TO_SIGMA = 1.4826
BLOCKS = 24  # per axis, blocks whose medians start the robust fit


@dataclass(frozen=True)
class Difference:
    """Difference of two registered, levelled images.

    Parameters
    ----------
    height : ndarray, shape (rows, cols)
        After minus before, m; NaN where either is missing.
    noise : float
        Robust standard deviation of the unchanged surface, m.
    unchanged : ndarray of bool
        Pixels the common level was taken from.
    """

    height: np.ndarray
    noise: float
    unchanged: np.ndarray


def as_image(image: np.ndarray) -> np.ndarray:
    """Return the image as float64.

    Raises
    ------
    ValueError
        If it is not two-dimensional, smaller than 8 x 8 or holds no finite pixel.
    """
    array = np.asarray(image, dtype=float)
    if array.ndim != 2 or min(array.shape) < 8:
        raise ValueError(
            f"a topography needs two dimensions of at least 8 pixels (got shape {array.shape})"
        )
    if not np.isfinite(array).any():
        raise ValueError("the topography holds no finite height")
    return array


def robust_sigma(values: np.ndarray) -> float:
    """Return the standard deviation from the median absolute deviation (NaN ignored)."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return float("nan")
    return float(MAD_TO_SIGMA * np.median(np.abs(finite - np.median(finite))))


def polynomial_terms(shape: tuple[int, int], order: int) -> np.ndarray:
    """Monomials u^i v^j, i + j <= order, on u, v in [-1, 1], shape (rows * cols, terms)."""
    v, u = np.meshgrid(np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij")
    terms = [u**i * v**j for i in range(order + 1) for j in range(order + 1 - i)]
    return np.stack([t.ravel() for t in terms], axis=1)


def fit_background(
    image: np.ndarray,
    *,
    order: int = 1,
    mask: np.ndarray | None = None,
    iterations: int = 30,
) -> np.ndarray:
    """Fit a polynomial surface that particles, pits and steps do not pull.

    The start is the least median of squares over random subsets of block medians (up to half of
    the frame may be off the surface); then iteratively reweighted least squares with Tukey's
    biweight (a redescending estimator: pixels far from the surface get no weight at all).

    Parameters
    ----------
    image : ndarray, shape (rows, cols)
        Height, m.
    order : int
        Total order of the polynomial; 1 is a plane, 0 an offset.
    mask : ndarray of bool or None
        Pixels to use; None uses every finite pixel.
    iterations : int
        Upper bound on reweighting steps.

    Returns
    -------
    ndarray, shape (rows, cols)
        The surface, m, also where the image has no value.

    Raises
    ------
    ValueError
        If fewer pixels than coefficients may be used.
    """
    array = as_image(image)
    terms = polynomial_terms(array.shape, order)
    use = np.isfinite(array).ravel()
    if mask is not None:
        use &= np.asarray(mask, dtype=bool).ravel()
    if np.count_nonzero(use) < 3 * terms.shape[1]:
        raise ValueError(
            f"{np.count_nonzero(use)} usable pixels do not fix {terms.shape[1]} coefficients; "
            "use a lower order or a wider mask"
        )
    design, values = terms[use], array.ravel()[use]
    coefficients = _median_squares_start(array, terms, use)
    weights = _biweight(values - design @ coefficients)
    for _ in range(iterations):
        weighted = design * weights[:, None]
        updated = np.linalg.lstsq(weighted.T @ design, weighted.T @ values, rcond=None)[0]
        residual = values - design @ updated
        sigma = MAD_TO_SIGMA * np.median(np.abs(residual))
        if sigma == 0 or np.max(np.abs(updated - coefficients)) < 1e-6 * sigma:
            coefficients = updated
            break
        coefficients = updated
        weights = _biweight(residual)
    return (terms @ coefficients).reshape(array.shape)


def _biweight(residual: np.ndarray) -> np.ndarray:
    sigma = MAD_TO_SIGMA * np.median(np.abs(residual))
    if sigma == 0:
        return (residual == 0).astype(float)
    return np.clip(1 - (residual / (TUKEY * sigma)) ** 2, 0, None) ** 2


def _median_squares_start(
    array: np.ndarray, terms: np.ndarray, use: np.ndarray, trials: int = 400
) -> np.ndarray:
    """Coefficients with the least median absolute residual over random subsets of blocks."""
    rows, cols = (np.minimum(np.arange(n) * BLOCKS // n, BLOCKS - 1) for n in array.shape)
    block = (rows[:, None] * BLOCKS + cols[None, :]).ravel()
    labels = np.unique(block[use])
    kept = np.where(use, array.ravel(), np.nan)
    heights = np.asarray(ndimage.median(kept[use], block[use], labels))
    centres = np.stack([ndimage.mean(t[use], block[use], labels) for t in terms.T], axis=1)
    n, k = centres.shape
    if n < 2 * k:
        return np.linalg.lstsq(terms[use], array.ravel()[use], rcond=None)[0]
    rng = np.random.default_rng(0)  # deterministic: the same image always gives the same surface
    picks = np.stack([rng.choice(n, k, replace=False) for _ in range(trials)])
    systems = centres[picks]
    solvable = np.abs(np.linalg.det(systems)) > 1e-6
    solutions = np.linalg.solve(systems[solvable], heights[picks[solvable]][..., None])[..., 0]
    ordinary = np.linalg.lstsq(centres, heights, rcond=None)[0]
    solutions = np.vstack([ordinary, solutions])
    scores = np.median(np.abs(heights - solutions @ centres.T), axis=1)
    return solutions[np.argmin(scores)]


def level(
    image: np.ndarray,
    *,
    order: int = 1,
    lines: bool = False,
    mask: np.ndarray | None = None,
) -> np.ndarray:
    """Remove tilt (and bow), and optionally the offsets between scan lines.

    Parameters
    ----------
    image : ndarray, shape (rows, cols)
        Height, m.
    order : int
        Order of the robust polynomial surface.
    lines : bool
        Also align consecutive scan lines by the median of their pixelwise difference, which real
        steps and particles do not pull (as long as they cover less than half of a line). Slow
        trends that this adds are removed with the surface.
    mask : ndarray of bool or None
        Pixels of the substrate to level on.

    Returns
    -------
    ndarray, shape (rows, cols)
        Levelled height, m; its substrate lies at about 0.
    """
    array = as_image(image)
    if lines:
        source = array if mask is None else np.where(mask, array, np.nan)
        array = array - line_offsets(source)[:, None]
    return array - fit_background(array, order=order, mask=mask)


def line_offsets(image: np.ndarray) -> np.ndarray:
    """Offset of each scan line against its neighbours, m, shape (rows,), without slow trend.

    The median of the differences between adjacent lines is summed up; the low-frequency part of
    the sum (surface shape rather than line jumps) is left in the image.
    """
    step = np.diff(image, axis=0)
    valid = np.isfinite(step).any(axis=1)
    jumps = np.zeros(step.shape[0])
    jumps[valid] = np.nanmedian(step[valid], axis=1)
    walk = np.concatenate([[0.0], np.cumsum(jumps)])
    smooth = ndimage.gaussian_filter1d(walk, max(2.0, image.shape[0] / 16), mode="nearest")
    return walk - smooth


def difference(
    before: np.ndarray, after: np.ndarray, *, order: int = 1, mask: np.ndarray | None = None
) -> Difference:
    """Height change between two images of one pixel grid, on the level of the unchanged surface.

    Parameters
    ----------
    before, after : ndarray, shape (rows, cols)
        Registered heights, m (see ``registration.align``); NaN where an image does not reach.
    order : int
        Order of the robust surface removed from the difference (tilt differs between images).
    mask : ndarray of bool or None
        Pixels known to be unchanged, e.g. outside the mapped area; strongly recommended where
        more than a third of the frame changed.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    first, second = as_image(before), as_image(after)
    if first.shape != second.shape:
        raise ValueError(
            f"the images differ in shape ({first.shape}, {second.shape}); align them first"
        )
    change = second - first
    change = change - fit_background(change, order=order, mask=mask)
    where = np.isfinite(change) if mask is None else np.isfinite(change) & mask
    noise = robust_sigma(change[where])
    unchanged = where & (np.abs(change) < 3 * noise)
    return Difference(change, noise, unchanged)


def swelling(
    change: np.ndarray, pixel_size: float, *, window: float, percentile: float = 20.0
) -> np.ndarray:
    """Smooth rise of the surface beneath the particles, m, shape (rows, cols).

    A low percentile in a moving window follows the ground between particles; it is then smoothed
    over the same window. Lithium below the surface lifts whole regions by nm to tens of nm.

    Parameters
    ----------
    change : ndarray, shape (rows, cols)
        Height change, m.
    pixel_size : float
        m.
    window : float
        Edge of the window, m: a few particle pitches.
    percentile : float
        Percentile taken as the ground, %.
    """
    array = as_image(change)
    size = max(3, round(window / pixel_size))
    filled = np.where(np.isfinite(array), array, np.nanmedian(array))
    ground = np.zeros(array.shape)
    for _ in range(2):  # the second pass takes out the slope within a window
        ground += _moving_percentile(filled - ground, size, percentile)
    return ground


def _moving_percentile(image: np.ndarray, size: int, percentile: float) -> np.ndarray:
    """Smoothed percentile in a moving square, on a coarse grid (the ground is smooth)."""
    stride, half = max(1, size // 8), size // 2
    rows, cols = (np.arange(0, n, stride) for n in image.shape)
    ground = np.empty((rows.size, cols.size))
    for i, r in enumerate(rows):
        band = image[max(0, r - half) : r + half + 1]
        for j, c in enumerate(cols):
            ground[i, j] = np.percentile(band[:, max(0, c - half) : c + half + 1], percentile)
    grid = np.meshgrid(*(np.arange(n) / stride for n in image.shape), indexing="ij")
    smooth = ndimage.gaussian_filter(ground, size / stride / 4, mode="nearest")
    return ndimage.map_coordinates(smooth, grid, order=1, mode="nearest")


def roughness(image: np.ndarray, mask: np.ndarray | None = None) -> dict[str, float]:
    """Roughness of a levelled image: Ra, Rq, robust Rq (m), skewness and excess kurtosis.

    Parameters
    ----------
    image : ndarray, shape (rows, cols)
        Levelled height, m.
    mask : ndarray of bool or None
        Pixels to use.
    """
    array = as_image(image)
    values = array[np.isfinite(array) if mask is None else np.isfinite(array) & mask]
    if values.size == 0:
        raise ValueError("the mask leaves no pixel to take the roughness of")
    centred = values - values.mean()
    rq = float(np.sqrt(np.mean(centred**2)))
    scale = rq if rq > 0 else 1.0
    return {
        "ra": float(np.mean(np.abs(centred))),
        "rq": rq,
        "rq_robust": robust_sigma(values),
        "skewness": float(np.mean((centred / scale) ** 3)),
        "kurtosis": float(np.mean((centred / scale) ** 4) - 3),
    }
