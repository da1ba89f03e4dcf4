"""The fit of a registration: heights of one topography against another, with outliers in both."""

import numpy as np
from scipy import ndimage

from nucleation_bluesky.analysis.topography import MAD_TO_SIGMA, TUKEY

TILES = 5  # per axis, for the cluster-robust uncertainty
MAX_PIXELS = 70_000  # of the fit


def refine(
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
            rows, cols = (f[stride] for f in coordinates(shape, parameters))
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
            quality = correlation(
                a[inside] - surface, moved[inside], np.asarray(weights > 0.1, dtype=float)
            )
            if np.max(np.abs(step[:n_move])) < (1e-3 if width == 1.0 else 1e-2):
                break
        if width > 1.0 and mask is None:
            allowed = _unchanged(a_full, b, parameters)
    return parameters, sigma, quality


def coordinates(shape: tuple[int, ...], parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns in the image of every reference pixel; parameters in px."""
    rows, cols = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    v = np.linspace(-1, 1, shape[0])[:, None]
    return (
        rows + parameters[1] + parameters[3] * v,
        cols + parameters[0] + parameters[2] * v,
    )


def overlap(first: np.ndarray, second: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    """Return the second image sampled on the reference's pixels, NaN outside."""
    rows, cols = coordinates(first.shape, parameters)
    return ndimage.map_coordinates(second, (rows, cols), order=1, cval=np.nan)


def correlation(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> float:
    """Weighted correlation coefficient, 0 where one of the two is flat."""
    total = weights.sum()
    if total <= 0:
        return 0.0
    a = a - (weights * a).sum() / total
    b = b - (weights * b).sum() / total
    norm = np.sqrt((weights * a * a).sum() * (weights * b * b).sum())
    return float((weights * a * b).sum() / norm) if norm > 0 else 0.0


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


def _unchanged(first: np.ndarray, second: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    """Regions of the reference whose local residual is like that of the quietest fifth.

    Pixelwise weights cannot tell that a region is new when half of the frame is.
    """
    residual = first - overlap(first, second, parameters)
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
