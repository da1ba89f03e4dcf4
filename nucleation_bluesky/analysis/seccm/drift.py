"""Lateral drift of the surface under the objective, and the lamp's drift.

Averages of successive stretches are registered on the dry surface around the footprint (inside it
the scene changes) by a masked least-squares fit of the shift; a smooth polynomial, fitted
robustly, is the drift at every frame.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.optimize import least_squares
from skimage.registration import phase_cross_correlation

from nucleation_bluesky.analysis.seccm.contact import mask_traces, surroundings
from nucleation_bluesky.analysis.seccm.film import Survey, bin_frames

SIDE = 400  # px: larger images are binned before registration
WIDTH = 1.5  # px, smoothing before the fit
ROUNDS = 4
MAX_ORDER = 3
SIGNIFICANT = 5.0  # sigma of the whole drift, below which none is assumed


@dataclass(frozen=True)
class Drift:
    """Displacement of the scene against the frame of contact.

    Parameters
    ----------
    shift : ndarray, shape (k, 2)
        px along y and x for each frame in use: content at ``p`` on the frame of contact lies at
        ``p + shift``.
    uncertainty : float
        Of a shift, px.
    measured_time, measured : ndarray
        Of the registered averages, s and px (m, 2).
    significant : bool
        Whether the film shows a drift at all; if not ``shift`` is zero.
    """

    shift: np.ndarray
    uncertainty: float
    measured_time: np.ndarray
    measured: np.ndarray
    significant: bool


def lamp_factor(seen: Survey, mask: np.ndarray, reference: int) -> tuple[np.ndarray, bool]:
    """Brightness of the lamp at every frame relative to ``reference``, from the dry surface.

    Returns
    -------
    ndarray, shape (k,), and whether there was dry surface to measure it on (else all ones)
    """
    _, dry = mask_traces(seen, mask)
    if not (dry > 0).all():
        return np.ones(len(seen.film)), False
    near = dry[max(0, reference - 2) : reference + 3]
    return dry / float(np.mean(near)), True


def find_drift(seen: Survey, mask: np.ndarray, reference_time: float) -> Drift:
    """Measure the drift of a film.

    Parameters
    ----------
    seen : Survey
    mask : ndarray of bool, shape (y, x)
        Footprint.
    reference_time : float
        Time at which the drift is zero, s.
    """
    film = seen.film
    nothing = Drift(
        np.zeros((len(film), 2)),
        np.inf,
        seen.average_time,
        np.zeros((len(seen.averages), 2)),
        False,
    )
    outside = surroundings(mask, 6)
    if len(seen.averages) < 3 or outside.mean() < 0.05:
        return nothing
    size = max(1, -(-max(film.shape) // SIDE))
    images = bin_frames(seen.averages, size).astype(np.float64)
    allowed = bin_frames(outside[None].astype(np.float32), size)[0] > 0.99
    allowed &= _interior(allowed.shape, 8)
    if allowed.sum() < 100:
        return nothing
    shifts, sigma = _register(images, allowed)
    shifts, sigma = shifts * size, sigma * size
    model, noise = _smooth(seen.average_time, shifts, sigma)
    drift = model(film.time) - model(np.array([reference_time]))
    extent = np.abs(drift).max() if len(drift) else 0.0
    if not extent > SIGNIFICANT * noise:
        return Drift(nothing.shift, noise, seen.average_time, shifts, False)
    return Drift(drift, noise, seen.average_time, shifts, True)


def _interior(shape: tuple[int, ...], margin: int) -> np.ndarray:
    inside = np.zeros(shape, dtype=bool)
    inside[margin:-margin, margin:-margin] = True
    return inside


def _register(images: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, float]:
    """Shifts of all images against their aligned mean, px, and the typical uncertainty."""
    smooth = np.stack([ndimage.gaussian_filter(i / i[allowed].mean(), WIDTH) for i in images])
    # phase correlation for the start: drift may exceed the texture's width
    rough = np.where(allowed, smooth - 1, 0.0)
    shifts = np.zeros((len(images), 2))
    for k in range(1, len(images)):
        found = phase_cross_correlation(
            rough[k - 1],
            rough[k],
            normalization=None,  # pyright: ignore[reportArgumentType]
        )[0]
        step = -np.asarray(found, dtype=float)
        shifts[k] = shifts[k - 1] + (step if np.abs(step).max() <= 8 else 0.0)
    sigma = np.inf
    for _ in range(ROUNDS):
        moved = np.stack(
            [
                ndimage.shift(i, -s, order=3, mode="nearest")
                for i, s in zip(smooth, shifts, strict=True)
            ]
        )
        mean = moved.mean(axis=0)
        gy, gx = np.gradient(mean)
        design = np.stack([-gy[allowed], -gx[allowed], mean[allowed], np.ones(allowed.sum())])
        normal = np.linalg.inv(design @ design.T + 1e-12 * np.eye(4))
        spread = []
        change = np.zeros_like(shifts)
        for k, image in enumerate(moved):
            residual = (image - mean)[allowed]
            solution = normal @ (design @ residual)
            # d(image)/d(shift) = -gradient: the scene moves by +shift
            change[k] = solution[:2]
            spread.append(np.std(residual - solution @ design))
        shifts = shifts + np.clip(change, -1, 1)
        # smoothing correlates neighbours: so many pixels count as one
        effective = 4 * np.pi * WIDTH**2
        sigma = float(np.median(spread) * np.sqrt(effective * max(normal[0, 0], normal[1, 1])))
        if np.abs(change - change.mean(axis=0)).max() < 2e-3:
            break
    return shifts, sigma


def _smooth(time: np.ndarray, shifts: np.ndarray, sigma: float):
    """Polynomial of the order that the data support, fitted robustly; and the scatter, px."""
    span = max(float(np.ptp(time)), 1e-9)
    u = (time - time.mean()) / span
    best, best_score, scatter = None, np.inf, sigma
    for order in range(1, min(MAX_ORDER, len(time) - 2) + 1):
        columns = u[:, None] ** np.arange(order + 1)
        coefficients, cost = [], 0.0
        for axis in range(2):
            y = shifts[:, axis]
            start = np.linalg.lstsq(columns, y, rcond=None)[0]
            scale = max(sigma, 1e-6)
            fit = least_squares(
                lambda c, y=y, columns=columns, scale=scale: (columns @ c - y) / scale,
                start,
                loss="soft_l1",
            )
            coefficients.append(fit.x)
            cost += 2 * float(fit.cost)
        dof = max(2 * len(time) - 2 * (order + 1), 1)
        inflation = max(1.0, cost / dof)
        score = cost / inflation + 2 * (order + 1) * np.log(2 * len(time))
        score += 2 * len(time) * np.log(inflation)
        if score < best_score:
            best, best_score = np.array(coefficients), score
            scatter = sigma * np.sqrt(inflation * 2 * (order + 1) / len(time) / 2)

    def model(at: np.ndarray) -> np.ndarray:
        v = (np.asarray(at) - time.mean()) / span
        assert best is not None  # noqa: S101 - at least order 1 was fitted
        return (v[:, None] ** np.arange(best.shape[1])) @ best.T

    return model, float(scatter)
