"""Particles by zone: centre and edge of a footprint, protrusions of the electrode and flats."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, stats

from nucleation_bluesky.analysis.particle_images.measure import ParticleTable
from nucleation_bluesky.analysis.statistics import bootstrap_interval


@dataclass(frozen=True)
class Zone:
    """Particles of one zone.

    Parameters
    ----------
    name : str
    area : float
        m2 (px2).
    count : int
    density : float
        1/m2 (1/px2).
    density_interval : tuple of float
        95 % interval of the density for particles placed at random (exact Poisson).
    mean_diameter, sd_diameter : float
        m (px); NaN without particles.
    mean_interval : tuple of float
        95 % bootstrap interval of the mean diameter.
    members : ndarray of bool, shape (n,)
        Which particles of the table lie in the zone.
    """

    name: str
    area: float
    count: int
    density: float
    density_interval: tuple[float, float]
    mean_diameter: float
    sd_diameter: float
    mean_interval: tuple[float, float]
    members: np.ndarray


@dataclass(frozen=True)
class ZoneComparison:
    """Sizes in two zones.

    Parameters
    ----------
    ratio : float
        Median diameter in the first over that in the second.
    p_value : float
        Of equal distributions (Mann and Whitney, two-sided); NaN with fewer than three particles
        in a zone.
    """

    ratio: float
    p_value: float

    def differs(self, level: float = 0.05) -> bool:
        """Whether the sizes differ at the given level."""
        return bool(self.p_value < level)


def centre_and_edge(footprint: np.ndarray, edge_share: float = 0.5) -> dict[str, np.ndarray]:
    """Split a footprint into an inner and an outer zone by the distance to its rim.

    Parameters
    ----------
    footprint : ndarray of bool, shape (rows, cols)
    edge_share : float
        Share of the footprint's area that is edge.

    Returns
    -------
    dict of str to ndarray of bool
        ``centre`` and ``edge``.

    Raises
    ------
    ValueError
        If the footprint is empty or the share is not between 0 and 1.
    """
    mask = np.asarray(footprint, dtype=bool)
    if not mask.any():
        raise ValueError("the footprint mask is empty")
    if not 0 < edge_share < 1:
        raise ValueError(f"edge_share {edge_share!r}: give a share between 0 and 1")
    depth = np.asarray(ndimage.distance_transform_edt(np.pad(mask, 1)))[1:-1, 1:-1]
    limit = np.quantile(depth[mask], edge_share)
    return {"centre": mask & (depth > limit), "edge": mask & (depth <= limit)}


def by_zone(table: ParticleTable, zones: Mapping[str, np.ndarray]) -> dict[str, Zone]:
    """Count and size the particles of each zone; a particle belongs where its centroid lies.

    Parameters
    ----------
    table : ParticleTable
    zones : mapping of str to ndarray of bool, shape (rows, cols)
        E.g. from `centre_and_edge`, or the protrusions of the electrode and the flats.

    Raises
    ------
    ValueError
        If a zone has another shape than the image or is empty.
    """
    scale = 1.0 if table.pixel_size is None else table.pixel_size
    row = np.clip(np.round(table.centroid_y / scale).astype(int), 0, table.labels.shape[0] - 1)
    col = np.clip(np.round(table.centroid_x / scale).astype(int), 0, table.labels.shape[1] - 1)
    result = {}
    for name, mask in zones.items():
        if np.shape(mask) != table.labels.shape:
            raise ValueError(f"zone {name!r} and the image differ in shape")
        zone = np.asarray(mask, dtype=bool)
        if not zone.any():
            raise ValueError(f"zone {name!r} is empty")
        members = zone[row, col]
        d = table.equivalent_diameter[members]
        area = float(zone.sum()) * scale**2
        low = stats.chi2.ppf(0.025, 2 * d.size) / 2 if d.size else 0.0
        high = stats.chi2.ppf(0.975, 2 * d.size + 2) / 2
        result[name] = Zone(
            name,
            area,
            int(d.size),
            d.size / area,
            (float(low) / area, float(high) / area),
            float(d.mean()) if d.size else float("nan"),
            float(d.std(ddof=1)) if d.size > 1 else float("nan"),
            bootstrap_interval(d, np.mean),
            members,
        )
    return result


def compare_zones(table: ParticleTable, first: Zone, second: Zone) -> ZoneComparison:
    """Compare the sizes of two zones (e.g. on protrusions against flat, Fig 8 of the paper)."""
    a = table.equivalent_diameter[first.members]
    b = table.equivalent_diameter[second.members]
    ratio = float(np.median(a) / np.median(b)) if a.size and b.size else float("nan")
    if min(a.size, b.size) < 3:
        return ZoneComparison(ratio, float("nan"))
    return ZoneComparison(ratio, float(stats.mannwhitneyu(a, b).pvalue))
