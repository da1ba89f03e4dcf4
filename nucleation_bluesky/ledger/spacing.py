"""Distances between sites: what is the same site, and what is too near to another."""

import math

import numpy as np

from nucleation_bluesky.ledger.database import Database
from nucleation_bluesky.ledger.errors import SiteTooCloseError, SiteUsedError
from nucleation_bluesky.ledger.records import Mount, SiteClaim

_EDGE = 1e-12  # m: sites at exactly the minimum distance pass in spite of rounding


def _window(db: Database, mount: Mount, uncertainty: float, min_distance: float) -> float:
    """Half width outside which no earlier exposure can matter, m."""
    rows = db.query(
        "SELECT max(uncertainty) FROM exposures WHERE sample = ? AND area = ?",
        mount.sample,
        mount.area,
    )
    return min_distance + math.hypot(uncertainty, rows[0][0] or 0.0) + _EDGE


def classify(
    distance: np.ndarray, combined: np.ndarray, min_distance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Tell the same site and too near neighbours.

    Parameters
    ----------
    distance, combined : numpy.ndarray
        Distance to each earlier exposure and the root sum of squares of both positions'
        uncertainties, m, shape (n,).
    min_distance : float
        Nearest other exposure that is tolerated, m.

    Returns
    -------
    same, near : numpy.ndarray
        Boolean, shape (n,). An exposure is of the same site if it cannot be told apart (distance
        within the combined uncertainty) or lies within half the minimum distance; of the others
        those are near whose distance, less the combined uncertainty, is below the minimum.
    """
    same = distance <= np.maximum(combined, min_distance / 2) + _EDGE
    near = ~same & (distance - combined < min_distance - _EDGE)
    return same, near


def check(
    db: Database, site: SiteClaim, mount: Mount, point: tuple[float, float], uncertainty: float
) -> None:
    """Refuse a site that is used or too near to a used one.

    Raises
    ------
    SiteUsedError, SiteTooCloseError
        Naming the exposure, its distance in nm and what to do.
    """
    reach = _window(db, mount, uncertainty, site.min_distance)
    u, v = point
    rows = db.query(
        "SELECT id, u, v, uncertainty, x, y FROM exposures WHERE sample = ? AND area = ? "
        "AND u BETWEEN ? AND ? AND v BETWEEN ? AND ?",
        mount.sample,
        mount.area,
        u - reach,
        u + reach,
        v - reach,
        v + reach,
    )
    if not rows:
        return
    table = np.array(rows, dtype=float)
    distance = np.hypot(table[:, 1] - u, table[:, 2] - v)
    combined = np.hypot(table[:, 3], uncertainty)
    same, near = classify(distance, combined, site.min_distance)
    here = f"({site.x * 1e6:.4f}, {site.y * 1e6:.4f}) um"
    if same.sum() >= site.exposures_per_site:
        which = int(np.flatnonzero(same)[np.argmin(distance[same])])
        raise SiteUsedError(
            f"the site at {here} of '{site.sample}' has been exposed {int(same.sum())} time(s) "
            f"(exposure {int(table[which, 0])}, {distance[which] * 1e9:.1f} nm away) and is "
            f"allowed {site.exposures_per_site}; choose a fresh site, or resume the map over its "
            "free sites"
        )
    if near.any():
        which = int(np.flatnonzero(near)[np.argmin((distance - combined)[near])])
        raise SiteTooCloseError(
            f"the site at {here} of '{site.sample}' lies {distance[which] * 1e9:.1f} nm from "
            f"exposure {int(table[which, 0])}, with a position uncertainty of "
            f"{combined[which] * 1e9:.1f} nm; the minimum distance is "
            f"{site.min_distance * 1e9:.1f} nm: use a larger pitch, another area, or re-register "
            "to lower the uncertainty"
        )


def free(
    db: Database,
    mount: Mount,
    points: np.ndarray,
    uncertainty: float,
    min_distance: float,
    exposures_per_site: int,
) -> np.ndarray:
    """Vectorised counterpart of `check`: mask of shape (n,) for points (n, 2) in the area."""
    reach = _window(db, mount, uncertainty, min_distance)
    low, high = points.min(axis=0) - reach, points.max(axis=0) + reach
    rows = db.query(
        "SELECT u, v, uncertainty FROM exposures WHERE sample = ? AND area = ? "
        "AND u BETWEEN ? AND ? AND v BETWEEN ? AND ?",
        mount.sample,
        mount.area,
        low[0],
        high[0],
        low[1],
        high[1],
    )
    result = np.ones(len(points), dtype=bool)
    if not rows:
        return result
    used = np.array(rows, dtype=float)
    from scipy.spatial import KDTree  # noqa: PLC0415 - slow import, which reading needs not

    pairs = KDTree(points).sparse_distance_matrix(
        KDTree(used[:, :2]), reach, output_type="coo_matrix"
    )
    # a distance of exactly 0 is kept by the coo format as an explicit entry
    same, near = classify(pairs.data, np.hypot(used[pairs.col, 2], uncertainty), min_distance)
    visits = np.bincount(pairs.row[same], minlength=len(points))
    result[visits >= exposures_per_site] = False
    result[pairs.row[near]] = False
    return result
