"""Where the sites lie in an image: stage and image differ by drift and by the scanner's offset."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates

from nucleation_bluesky.analysis.grains import Grains, signed_distance_map

MIN_CLASS = 20  # inert and active sites needed, each
STEPS = 41  # trial shifts per axis


@dataclass(frozen=True)
class SiteOffset:
    """Shift that takes sites into an image's frame.

    Parameters
    ----------
    dx, dy : float
        Add to the sites' positions, m.
    uncertainty : float
        Standard uncertainty of either, m.
    agreement : float
        Share of sites whose inertness agrees with the grains after the shift.
    agreement_before : float
        The same without a shift.
    """

    dx: float
    dy: float
    uncertainty: float
    agreement: float
    agreement_before: float


def align_sites(
    x: np.ndarray,
    y: np.ndarray,
    inert: np.ndarray,
    grains: Grains,
    pixel_size: float,
    origin: tuple[float, float],
    *,
    reach: float,
) -> SiteOffset | None:
    """Find the shift at which inert sites fall on grains and the others beside them.

    The paper's insulating grains do not nucleate at all (Kumar et al. 2013, Fig. 4), so each map
    carries the outline of the grains in itself.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        Sites, m.
    inert : ndarray of bool, shape (n,)
        Sites that did not nucleate though their ramp ran to its end.
    grains : Grains
        As segmented.
    pixel_size : float
        m.
    origin : tuple of float
        Position of the centre of pixel (0, 0), m.
    reach : float
        Largest shift that is tried, m.

    Returns
    -------
    SiteOffset or None
        None if there are too few sites of either kind, or the shift explains the sites no better
        than none, at two standard errors of the agreement.
    """
    inert = np.asarray(inert, dtype=bool)
    if min(np.count_nonzero(inert), np.count_nonzero(~inert)) < MIN_CLASS:
        return None
    distance = signed_distance_map(grains.labels > 0, pixel_size)
    shifts = np.linspace(-reach, reach, STEPS)
    score = np.empty((STEPS, STEPS))
    for i, dy in enumerate(shifts):
        for j, dx in enumerate(shifts):
            score[i, j] = np.mean(_on_grain(distance, x + dx, y + dy, pixel_size, origin) == inert)
    before = float(np.mean(_on_grain(distance, x, y, pixel_size, origin) == inert))
    best = float(score.max())
    error = np.sqrt(max(best * (1 - best), 1 / len(inert)) / len(inert))
    if best - before < 2 * error:
        return None
    weight = np.where(score >= best - error, score - (best - error) + 1e-12, 0.0)
    weight /= weight.sum()
    dx, dy = float(np.sum(weight * shifts)), float(np.sum(weight * shifts[:, None]))
    spread = np.sum(weight * ((shifts - dx) ** 2 + (shifts[:, None] - dy) ** 2)) / 2
    step = shifts[1] - shifts[0]
    return SiteOffset(dx, dy, float(np.sqrt(spread + step**2 / 12)), best, before)


def _on_grain(
    distance: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    pixel_size: float,
    origin: tuple[float, float],
) -> np.ndarray:
    pixels = [(y - origin[1]) / pixel_size, (x - origin[0]) / pixel_size]
    return map_coordinates(distance, pixels, order=1, mode="nearest") < 0
