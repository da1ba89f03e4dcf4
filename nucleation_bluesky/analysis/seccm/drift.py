"""Lateral drift of the surface under the objective, and the lamp's drift.

Averages of successive stretches are registered on the dry surface around the footprint (inside it
the scene changes) by a masked least-squares fit of the shift; a smooth polynomial, fitted
robustly, is the drift at every frame; where the shifts wander more than their noise, a smoothing
spline follows them.
"""

from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage
from scipy.interpolate import make_smoothing_spline
from scipy.optimize import least_squares
from skimage.registration import phase_cross_correlation

from nucleation_bluesky.analysis.seccm.contact import mask_traces, surroundings
from nucleation_bluesky.analysis.seccm.film import Survey, bin_frames

SIDE = 400  # px: larger images are binned before registration
RESOLUTION = 160e-9  # m, smoothing before the fit: texture finer than the optics is the camera's
MIN_WIDTH = 1.5  # px
MARGIN = 600e-9  # m around the footprint that its blurred edge reaches
LAMP_ORDER = 4  # of the polynomial in the lamp's profile
MIN_PIXELS = 100
SETTLED = 2e-3  # px
ROUNDS = 12
MAX_ORDER = 3
MIN_WANDER = 8  # averages from which a spline may follow the shifts
OUTLIER = 6.0  # median deviations that a single shift may pull
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
    outside = surroundings(mask, max(6, round(MARGIN / film.pixel_size)))
    if len(seen.averages) < 3 or outside.mean() < 0.05:
        return nothing
    size = max(1, -(-max(film.shape) // SIDE))
    images = bin_frames(seen.averages, size).astype(np.float64)
    allowed = bin_frames(outside[None].astype(np.float32), size)[0] > 0.99
    allowed &= _interior(allowed.shape, 8)
    if allowed.sum() < MIN_PIXELS:
        return nothing
    width = max(RESOLUTION / (film.pixel_size * size), MIN_WIDTH)
    shifts, sigma = _register(images, allowed, width)
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


def _register(images: np.ndarray, allowed: np.ndarray, width: float) -> tuple[np.ndarray, float]:
    """Shifts of all images against their aligned mean, px, and the typical uncertainty.

    The lamp's profile and the pixels' own gains stay with the camera and would hold the shift
    back: the profile is divided out, the pull expected of the gains is taken off.
    """
    inner = _eroded(allowed, int(np.ceil(2 * width)))
    if inner.sum() < MIN_PIXELS:
        inner = allowed
    flat = _flat(images, allowed)
    gains = _gain_variance(flat, allowed)
    smooth = _smoothed(flat, allowed, width)
    shifts = _rough(smooth)
    moves = _Moves(smooth.shape[1:])
    spectra = fft.rfft2(smooth)
    sigma = np.inf
    for _ in range(ROUNDS):
        back = [f * moves.phase(s).conj() for f, s in zip(spectra, shifts, strict=True)]
        mean = moves.image(np.mean(back, axis=0))
        gy, gx = np.gradient(mean)
        design = np.stack([-gy[inner], -gx[inner], mean[inner], np.ones(inner.sum())])
        normal = np.linalg.inv(design @ design.T + 1e-12 * np.eye(4))
        pull = inner.sum() * _pull(shifts, gains, width)
        spread = []
        change = np.zeros_like(shifts)
        for k, moved in enumerate(back):
            residual = (moves.image(moved) - mean)[inner]
            solution = normal @ (design @ residual)
            spread.append(np.std(residual - solution @ design))
            # d(image)/d(shift) = -gradient: the scene moves by +shift
            change[k] = solution[:2] - normal[:2, :2] @ pull[k]
        # smoothing correlates neighbours: so many pixels count as one
        effective = 4 * np.pi * width**2
        sigma = float(np.median(spread) * np.sqrt(effective * max(normal[0, 0], normal[1, 1])))
        shifts = shifts + np.clip(change, -1, 1)
        if np.abs(change - change.mean(axis=0)).max() < SETTLED:
            break
    return shifts, sigma


def _flat(images: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Relative texture of the dry surface without the lamp's profile; 0 elsewhere."""
    columns = _profile(allowed.shape)
    here = columns[allowed.ravel()]
    fit = np.linalg.lstsq(here, images.mean(axis=0)[allowed], rcond=None)[0]
    texture = images[:, allowed] / (columns @ fit)[allowed.ravel()]
    out = np.zeros(images.shape)
    out[:, allowed] = texture / texture.mean(axis=1, keepdims=True) - 1
    return out


def _gain_variance(flat: np.ndarray, allowed: np.ndarray) -> float:
    """Variance of the pixels' own gains: what is finer than any image can be, and stays."""
    third = np.array([1.0, -3.0, 3.0, -1.0]) / np.sqrt(20.0)
    kernel = np.outer(third, third)
    where = _eroded(allowed, 3)
    if where.sum() < MIN_PIXELS:
        return 0.0
    fine = np.stack([np.asarray(ndimage.convolve(image, kernel))[where] for image in flat])
    noise = np.mean(np.diff(fine, axis=0) ** 2) / 2
    return max(0.0, float(np.mean(fine.mean(axis=0) ** 2) - noise / len(flat)))


def _eroded(mask: np.ndarray, by: int) -> np.ndarray:
    return np.asarray(ndimage.binary_erosion(mask, iterations=by), dtype=bool)


def _pull(shifts: np.ndarray, gains: float, width: float) -> np.ndarray:
    """Return the expected product, a pixel, of gains in an image and in the mean's gradient.

    White noise of variance ``gains``, smoothed: its correlation falls as
    ``exp(-u^2 / 4 width^2)``, so the pull ends where the scene has moved beyond the smoothing.
    """
    apart = shifts[None, :, :] - shifts[:, None, :]
    correlation = np.exp(-np.sum(apart**2, axis=2) / (4 * width**2)) / (4 * np.pi * width**2)
    return gains * np.mean(apart / (2 * width**2) * correlation[:, :, None], axis=1)


def _smoothed(flat: np.ndarray, allowed: np.ndarray, width: float) -> np.ndarray:
    """Smooth within the dry surface: what happens in the footprint must not leak out."""
    weight = np.maximum(ndimage.gaussian_filter(allowed.astype(float), width), 1e-3)
    return np.stack(
        [np.where(allowed, ndimage.gaussian_filter(i, width) / weight, 0.0) for i in flat]
    )


class _Moves:
    """Shifts of images by their Fourier transforms."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._y = -2j * np.pi * fft.fftfreq(shape[0])[:, None]
        self._x = -2j * np.pi * fft.rfftfreq(shape[1])[None, :]

    def phase(self, shift: np.ndarray) -> np.ndarray:
        """Factor on a transform that moves its image by ``shift``, px."""
        return np.exp(self._y * shift[0]) * np.exp(self._x * shift[1])

    def image(self, spectrum: np.ndarray) -> np.ndarray:
        """Image of a transform."""
        return np.asarray(fft.irfft2(spectrum, s=self._shape))


def _profile(shape: tuple[int, ...]) -> np.ndarray:
    """Polynomials over the frame, shape (pixels, terms)."""
    y, x = (np.linspace(-1, 1, n) for n in shape)
    powers = [(i, j) for i in range(LAMP_ORDER + 1) for j in range(LAMP_ORDER + 1 - i)]
    return np.stack([np.outer(y**i, x**j).ravel() for i, j in powers], axis=1)


def _rough(smooth: np.ndarray) -> np.ndarray:
    """Shifts by phase correlation, for the start: drift may exceed the texture's width."""
    shifts = np.zeros((len(smooth), 2))
    for k in range(1, len(smooth)):
        found = phase_cross_correlation(
            smooth[k - 1],
            smooth[k],
            normalization=None,  # pyright: ignore[reportArgumentType]
        )[0]
        step = -np.asarray(found, dtype=float)
        shifts[k] = shifts[k - 1] + (step if np.abs(step).max() <= 8 else 0.0)
    return shifts


def _smooth(time: np.ndarray, shifts: np.ndarray, sigma: float):
    """Drift over time as far as the data support it, fitted robustly; and its uncertainty, px."""
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

    assert best is not None  # noqa: S101 - at least order 1 was fitted
    kept, mean = best, float(time.mean())

    def trend(at: np.ndarray) -> np.ndarray:
        v = (np.asarray(at) - mean) / span
        return (v[:, None] ** np.arange(kept.shape[1])) @ kept.T

    rest = shifts - trend(time)
    if len(time) < MIN_WANDER or np.std(rest) < sigma:
        return trend, float(scatter)
    limit = OUTLIER * np.median(np.abs(rest), axis=0)
    wander = make_smoothing_spline(time, np.clip(rest, -limit, limit))
    inside = float(time[0]), float(time[-1])
    left = np.clip(rest, -limit, limit) - wander(time)

    def model(at: np.ndarray) -> np.ndarray:
        return trend(at) + wander(np.clip(at, *inside))

    return model, float(np.hypot(sigma, np.std(left)))
