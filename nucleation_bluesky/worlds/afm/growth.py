"""Growth of a hemispherical nucleus behind a spreading and an interfacial resistance.

With radius a, overpotential eta, conductivity sigma and interface resistance rho,
``I = eta / [1/(4 sigma a) + rho/(2 pi a^2)]`` and ``d(2/3 pi a^3)/dt = yield I Vm/F`` give
``(pi a/(2 sigma) + rho) da = (yield Vm/F) eta dt``. So ``W = pi a^2/(4 sigma) + rho a`` grows with
the integral of eta, whatever the waveform.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.constants import physical_constants

from nucleation_bluesky.worlds.afm.path import Drive

FARADAY = physical_constants["Faraday constant"][0]
_MAX_EPISODES = 1000
_BEFORE = 1e-9  # s


@dataclass(frozen=True)
class GrowthLaw:
    """Growth of a nucleus at one site.

    Parameters
    ----------
    conductivity : float
        sigma, S/m.
    interface_resistance : float
        rho, ohm m^2.
    volume_per_charge : float
        yield Vm/F, m^3/C.
    """

    conductivity: float
    interface_resistance: float
    volume_per_charge: float

    def extent(self, radius: float) -> float:
        """W of a radius, ohm m^3."""
        return math.pi * radius**2 / (4 * self.conductivity) + self.interface_resistance * radius

    def radius(self, extent: np.ndarray) -> np.ndarray:
        """Radius of W, m."""
        rho, sigma = self.interface_resistance, self.conductivity
        extent = np.maximum(extent, 0.0)
        # 2 W / (rho + sqrt(...)): the root that keeps its precision for small W
        return 2 * extent / (rho + np.sqrt(rho**2 + math.pi / sigma * extent))

    def conductance(self, radius: np.ndarray) -> np.ndarray:
        """Conductance of a nucleus, S."""
        radius = np.asarray(radius, dtype=float)
        sigma, rho = self.conductivity, self.interface_resistance
        return 4 * math.pi * sigma * radius**2 / (math.pi * radius + 2 * rho * sigma)


@dataclass(frozen=True)
class Episode:
    """Life of a nucleus within an exposure: from ``start`` (W = ``extent``) to ``stop`` (s)."""

    start: float
    stop: float
    extent: float
    fresh: bool


def evolve(
    drive: Drive,
    law: GrowthLaw,
    threshold: Callable[[int], float],
    *,
    begin: float,
    initial: float,
    start_radius: float,
    can_nucleate: bool,
) -> list[Episode]:
    """Lives of the nuclei at a site along a bias path.

    Parameters
    ----------
    drive : Drive
        The bias path as the site feels it.
    law : GrowthLaw
        Growth at the site.
    threshold : callable
        Integrated hazard at which the n-th nucleus forms (n from 0), unit exponential variates.
    begin : float
        Time from which the tip is in contact, s.
    initial : float
        W of a deposit that is there already, 0 if none.
    start_radius : float
        Radius at birth, m.
    can_nucleate : bool
        False on AlPO4.
    """
    episodes: list[Episode] = []
    time, extent, born = begin, initial, 0
    for _ in range(_MAX_EPISODES):
        fresh = extent <= 0
        if fresh:
            if not can_nucleate:
                break
            time = drive.time_of_hazard(drive.hazard_integral(time) + threshold(born))
            if math.isnan(time):
                break
            born += 1
            extent = law.extent(start_radius)
        stop = drive.time_of_loss(extent / law.volume_per_charge, time)
        # an older deposit is there before the path begins: its life must include the first instant
        start = time if fresh else time - _BEFORE
        episodes.append(Episode(start, math.inf if math.isnan(stop) else stop, extent, fresh))
        if math.isnan(stop):
            break
        time, extent = stop, 0.0
    return episodes
