"""Bring a picture of another instrument onto a map: control points, or intensities."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize
from skimage.transform import AffineTransform, EuclideanTransform, SimilarityTransform, warp

from nucleation_bluesky.exchange.fields import ExchangeError, Field

MODELS = {
    "euclidean": (EuclideanTransform, 2),
    "similarity": (SimilarityTransform, 2),
    "affine": (AffineTransform, 3),
}
BINS = 32
LEVELS = (8.0, 4.0, 2.0, 1.0)  # Gaussian widths, px of the map, coarse to fine


@dataclass(frozen=True)
class Alignment:
    """How a picture lies on a map.

    Parameters
    ----------
    matrix : ndarray, shape (3, 3)
        From picture pixels (column, row) to the sample frame (x, y), m.
    residual : float
        Root mean square distance of the control points after the fit, m; NaN without points or
        where the points determine the model exactly.
    score : float
        Normalised mutual information after registration by intensity; NaN without.
    """

    matrix: np.ndarray
    residual: float = float("nan")
    score: float = float("nan")


def align_points(pixels: np.ndarray, positions: np.ndarray, model: str = "similarity") -> Alignment:
    """Fit a transform to control points.

    Parameters
    ----------
    pixels : ndarray, shape (n, 2)
        Column and row in the picture (row index along +y).
    positions : ndarray, shape (n, 2)
        x and y on the sample, m.
    model : str
        "euclidean" (pixels of 1 m: rarely wanted), "similarity" or "affine".

    Raises
    ------
    ExchangeError
        If there are too few points, or they do not determine the transform.
    """
    if model not in MODELS:
        raise ExchangeError(f"'{model}' is not one of {', '.join(MODELS)}")
    kind, needed = MODELS[model]
    pixels, positions = np.asarray(pixels, dtype=float), np.asarray(positions, dtype=float)
    if pixels.shape != positions.shape or pixels.ndim != 2 or pixels.shape[1] != 2:
        raise ExchangeError("control points are pairs of (column, row) and (x, y)")
    if len(pixels) < needed:
        raise ExchangeError(f"a transform '{model}' needs {needed} control points or more")
    centre = positions.mean(axis=0)
    scale = float(np.ptp(positions, axis=0).max()) or 1.0
    spread = np.linalg.svd(pixels - pixels.mean(axis=0), compute_uv=False)
    if spread[needed - 2] <= 1e-9 * spread[0] or spread[0] == 0:
        raise ExchangeError(
            "the control points do not determine a transform: they coincide or lie on a line"
        )
    found = kind.from_estimate(pixels, (positions - centre) / scale)
    if not found or not np.all(np.isfinite(found.params)):
        raise ExchangeError("the control points do not determine a transform")
    back = np.array([[scale, 0, centre[0]], [0, scale, centre[1]], [0, 0, 1.0]])
    matrix = back @ found.params
    miss = (np.c_[pixels, np.ones(len(pixels))] @ matrix.T)[:, :2] - positions
    exact = len(pixels) == needed
    residual = float("nan") if exact else float(np.sqrt((miss**2).sum(axis=1).mean()))
    return Alignment(matrix, residual)


def resample(picture: np.ndarray, alignment: Alignment, onto: Field) -> np.ndarray:
    """Return the picture on the cells of a map; NaN outside of it.

    Parameters
    ----------
    picture : ndarray, shape (rows, cols)
        Row index along +y.
    alignment : Alignment
        Where it lies.
    onto : Field
        The map.
    """
    dx, dy = onto.pitch
    cells = np.array(
        [[dx, 0, onto.origin[0] + dx / 2], [0, dy, onto.origin[1] + dy / 2], [0, 0, 1]]
    )
    to_picture = np.linalg.inv(alignment.matrix) @ cells
    return warp(
        np.asarray(picture, dtype=float),
        AffineTransform(matrix=to_picture),
        output_shape=onto.values.shape,
        order=1,
        cval=np.nan,
        preserve_range=True,
    )


def mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    """Normalised mutual information of two pictures over the pixels both know; 1 if unrelated.

    (H(a) + H(b)) / H(a, b), Studholme et al., Pattern Recognition 32 (1999) 71.
    """
    known = np.isfinite(a) & np.isfinite(b)
    if known.sum() < 16:
        return 1.0
    counts, _, _ = np.histogram2d(_ranked(a[known]), _ranked(b[known]), bins=BINS)
    joint = counts / counts.sum()
    entropies = [_entropy(joint.sum(axis=1)), _entropy(joint.sum(axis=0)), _entropy(joint.ravel())]
    return (entropies[0] + entropies[1]) / entropies[2] if entropies[2] > 0 else 1.0


def _ranked(values: np.ndarray) -> np.ndarray:
    low, high = np.percentile(values, [1, 99])
    return np.clip(values, low, high)


def _entropy(p: np.ndarray) -> float:
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def refine(picture: np.ndarray, onto: Field, start: Alignment) -> Alignment:
    """Refine an alignment by intensity: shift, rotation and scale that share most information.

    The two need not look alike (SEM against an onset map); a region that is bright in one may be
    dark in the other.

    Parameters
    ----------
    picture : ndarray, shape (rows, cols)
        Row index along +y.
    onto : Field
        The map.
    start : Alignment
        From control points, or from a guess within a few cells and degrees.

    Raises
    ------
    ExchangeError
        If picture and map overlap by less than a tenth of the map.
    """
    reference = np.asarray(onto.values, dtype=float)
    if np.isfinite(resample(picture, start, onto)).mean() < 0.1:
        raise ExchangeError("picture and map hardly overlap: give better control points")
    span = max(onto.size)
    centre = np.array([onto.origin[0] + onto.size[0] / 2, onto.origin[1] + onto.size[1] / 2])
    best = np.zeros(4)
    for width in LEVELS:
        fixed = _smooth(reference, width)

        def cost(p: np.ndarray, width: float = width, fixed: np.ndarray = fixed) -> float:
            moved = resample(picture, Alignment(_moved(start.matrix, p, centre, span)), onto)
            overlap = np.isfinite(moved).mean()
            return -mutual_information(fixed, _smooth(moved, width)) + 0.1 * (1 - overlap)

        step = width * max(onto.pitch) / span
        simplex = best + np.vstack([np.zeros(4), np.eye(4) * step])
        found = minimize(
            cost,
            best,
            method="Nelder-Mead",
            options={"initial_simplex": simplex, "maxiter": 200, "xatol": 1e-5, "fatol": 1e-6},
        )
        best = found.x
    matrix = _moved(start.matrix, best, centre, span)
    score = mutual_information(reference, resample(picture, Alignment(matrix), onto))
    return Alignment(matrix, start.residual, score)


def _moved(matrix: np.ndarray, p: np.ndarray, centre: np.ndarray, span: float) -> np.ndarray:
    """Shift (fractions of the map), rotation (rad) and log scale about the map's centre."""
    change = SimilarityTransform(scale=float(np.exp(p[3])), rotation=float(p[2]))
    shift, back = np.eye(3), np.eye(3)
    shift[:2, 2], back[:2, 2] = -centre, centre + p[:2] * span
    return back @ change.params @ shift @ matrix


def _smooth(values: np.ndarray, width: float) -> np.ndarray:
    """Gaussian mean of the known pixels."""
    known = np.isfinite(values)
    weight = gaussian_filter(known.astype(float), width)
    total = gaussian_filter(np.where(known, values, 0.0), width)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known, total / weight, np.nan)
