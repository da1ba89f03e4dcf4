"""The sample: what a point of the surface is like, and what earlier exposures left there."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from nucleation_bluesky.worlds.afm.grains import Grains
from nucleation_bluesky.worlds.afm.growth import FARADAY, GrowthLaw
from nucleation_bluesky.worlds.afm.keyed import SmoothField
from nucleation_bluesky.worlds.afm.parameters import AfmWorldParameters

_ROOM = 32_768  # deposits
_PART = 4_096  # deposits looked at in one go


@dataclass(frozen=True)
class Site:
    """Properties of a point: truth that no analysis sees."""

    x: float
    y: float
    distance: float
    on_alpo4: bool
    equilibrium: float
    barrier: float
    law: GrowthLaw


class Deposits:
    """Positions and radii of what has been plated; grows in amortised constant time.

    There is room for a long session from the start, in memory that is written to: the controller of
    a night's map does not grow.
    """

    def __init__(self) -> None:
        self._data = np.full((_ROOM, 3), np.nan)
        self._n = 0

    def __len__(self) -> int:
        return self._n

    @property
    def table(self) -> np.ndarray:
        """Columns x, y, radius (m), shape (n, 3)."""
        return self._data[: self._n]

    def find(self, x: float, y: float, reach: float) -> int:
        """Index of the deposit that a tip at (x, y) touches, the deepest one; -1 if none."""
        best, deepest = -1, 0.0
        for first in range(0, self._n, _PART):
            at_x, at_y, radius = self.table[first : first + _PART].T
            gap = np.hypot(at_x - x, at_y - y) - radius - reach
            gap[radius <= 0] = np.inf
            index = int(np.argmin(gap))
            if gap[index] <= 0 and (best < 0 or gap[index] < deepest):
                best, deepest = first + index, float(gap[index])
        return best

    def put(self, index: int, x: float, y: float, radius: float) -> None:
        """Set the radius of deposit ``index``, or add one when it is -1 and has a radius."""
        if index >= 0:
            self._data[index, 2] = radius
        elif radius > 0:
            if self._n == len(self._data):
                self._data = np.concatenate([self._data, np.empty_like(self._data)])
            self._data[self._n] = x, y, radius
            self._n += 1


class Sample:
    """Li-ion conducting glass ceramic with AlPO4 grains.

    Everything is a deterministic function of seed and position; only the deposits have a history.
    """

    def __init__(self, seed: int, parameters: AfmWorldParameters) -> None:
        p = self._p = parameters
        self.grains = Grains(seed, p)
        self.deposits = Deposits()
        self._ln_barrier = SmoothField(seed, "barrier", p.correlation_length)
        self._ln_sigma = SmoothField(seed, "conductivity", p.correlation_length)
        self._ln_rho = SmoothField(seed, "interface", p.correlation_length)
        self._rough = SmoothField(seed, "roughness", p.roughness_length)
        self._patches = SmoothField(seed, "swelling", 300e-9)

    def site(self, x: float, y: float) -> Site:
        """Properties at (x, y), m, in the sample's frame."""
        p = self._p
        distance = self.grains.distance(x, y)
        near = math.exp(-max(distance, 0.0) / p.boundary_length)
        barrier = p.barrier * (1 - p.barrier_reduction * near)
        return Site(
            x=x,
            y=y,
            distance=distance,
            on_alpo4=distance < 0,
            equilibrium=p.equilibrium_potential - p.equilibrium_shift * near,
            barrier=barrier * math.exp(p.barrier_spread * self._ln_barrier.at(x, y)),
            law=GrowthLaw(
                p.conductivity * math.exp(p.conductivity_spread * self._ln_sigma.at(x, y)),
                p.interface_resistance
                * math.exp(p.interface_resistance_spread * self._ln_rho.at(x, y)),
                p.faradaic_yield * p.molar_volume / FARADAY,
            ),
        )

    def bare_height(self, x: float, y: float) -> float:
        """Height of the pristine surface at a point, m."""
        p = self._p
        step = p.grain_relief * _step(self.grains.distance(x, y), p.grain_edge)
        return float(step) + p.roughness * self._rough.at(x, y)

    def surface(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Height of the surface with deposits and swelling on an even grid, m.

        Parameters
        ----------
        x, y : ndarray
            Even, ascending axes in the sample's frame, m.

        Returns
        -------
        ndarray, shape (len(y), len(x))
        """
        p = self._p
        height = p.grain_relief * _step(self.grains.distance_grid(x, y), p.grain_edge)
        height += p.roughness * self._rough.grid(x, y)
        height += self._swelling(x, y)
        height += self._hemispheres(x, y)
        return height

    def _hemispheres(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        caps = np.zeros((len(y), len(x)))
        for cx, cy, radius in self.deposits.table:
            i0, i1 = np.searchsorted(x, [cx - radius, cx + radius])
            j0, j1 = np.searchsorted(y, [cy - radius, cy + radius])
            if radius > 0 and i1 > i0 and j1 > j0:
                square = radius**2 - (x[None, i0:i1] - cx) ** 2 - (y[j0:j1, None] - cy) ** 2
                cap = np.sqrt(np.maximum(square, 0.0))
                np.maximum(caps[j0:j1, i0:i1], cap, out=caps[j0:j1, i0:i1])
        return caps

    def _swelling(self, x: np.ndarray, y: np.ndarray) -> np.ndarray | float:
        """Smooth swelling where many deposits lie within reach of each other, in patches."""
        p = self._p
        table = self.deposits.table
        table = table[table[:, 2] > 0]
        if not len(table) or p.swelling == 0:
            return 0.0
        step = x[1] - x[0]
        edges = [np.append(axis - step / 2, axis[-1] + step / 2) for axis in (y, x)]
        counts = np.histogram2d(table[:, 1], table[:, 0], bins=edges)[0]
        sigma = p.swelling_length / step
        near = gaussian_filter(counts, sigma, mode="constant") * 2 * math.pi * sigma**2
        load = (near / p.swelling_density) ** 2
        field = self._patches.grid(x, y)
        amplitude = (p.swelling + p.swelling_spread * np.tanh(field)) / (1 + np.exp(-field / 0.2))
        return amplitude * load / (1 + load)


def _step(distance: np.ndarray | float, width: float) -> np.ndarray:
    """Smooth step from 1 (inside a grain) to 0 (in the matrix)."""
    return 1 / (1 + np.exp(np.clip(distance / width * 2, -50, 50)))
