"""Layout of AlPO4 grains on an unbounded plane, and the distance to their boundary."""

import math
from functools import lru_cache

import numpy as np

from nucleation_bluesky.worlds.afm.keyed import keyed_generator
from nucleation_bluesky.worlds.afm.parameters import AfmWorldParameters

_FAR = 1e-6  # distances are not followed beyond this, m
_JITTER = 0.36  # of the cell, to either side
_RASTER = (np.arange(48) + 0.5) / 48 * 3 - 1.5  # for the area of a grain of unit radius


class Grains:
    """AlPO4 grains: each a union of three discs, one grain per cell of a jittered lattice.

    The signed distance to a union of discs is exact outside the grains; inside it is a lower
    bound of the depth where discs overlap, which nothing depends on.
    """

    def __init__(self, seed: int, parameters: AfmWorldParameters) -> None:
        self._seed = seed
        self._p = parameters
        mean_area = math.pi * parameters.grain_radius**2 * (1 + parameters.grain_radius_spread**2)
        fraction = parameters.grain_fraction
        self._cell = math.sqrt(mean_area / fraction) if fraction > 0 else math.inf
        self._discs_of = lru_cache(maxsize=16384)(self._make)

    def _make(self, i: int, j: int) -> np.ndarray:
        """Discs (x, y, radius) of the grain of cell (i, j), scaled to its equivalent radius."""
        rng = keyed_generator(self._seed, "grain", i, j)
        centre = (np.array([i, j]) + 0.5 + rng.uniform(-_JITTER, _JITTER, 2)) * self._cell
        spread = self._p.grain_radius_spread
        radius = self._p.grain_radius * float(np.clip(rng.normal(1, spread), 0.5, 1.5))
        angle = rng.uniform(0, 2 * math.pi) + np.array([0.0, math.pi * rng.uniform(0.5, 1.5)])
        offset = rng.uniform(0.35, 0.6, 2)
        discs = np.zeros((3, 3))
        discs[0, 2] = 0.8
        discs[1:, 0] = offset * np.cos(angle)
        discs[1:, 1] = offset * np.sin(angle)
        discs[1:, 2] = rng.uniform(0.55, 0.8, 2)
        dx, dy = (_RASTER[:, None] - discs[:, k] for k in (0, 1))
        inside = dx[None] ** 2 + dy[:, None] ** 2 < discs[:, 2] ** 2
        area = inside.any(axis=-1).mean() * 9.0
        discs *= radius / math.sqrt(area / math.pi)
        discs[:, :2] += centre
        return discs

    def _near(self, x0: float, x1: float, y0: float, y1: float, reach: float) -> np.ndarray:
        if not math.isfinite(self._cell):
            return np.empty((0, 3))
        margin = reach + 2.5 * self._p.grain_radius
        low_i, high_i, low_j, high_j = (
            math.floor(v / self._cell) for v in (x0 - margin, x1 + margin, y0 - margin, y1 + margin)
        )
        cells = [
            self._discs_of(i, j) for i in range(low_i, high_i + 1) for j in range(low_j, high_j + 1)
        ]
        return np.concatenate(cells)

    def distance(self, x: float, y: float) -> float:
        """Signed distance to the nearest grain boundary, m; negative on AlPO4."""
        discs = self._near(x, x, y, y, _FAR)
        if not len(discs):
            return _FAR
        found = np.hypot(discs[:, 0] - x, discs[:, 1] - y) - discs[:, 2]
        return float(min(found.min(), _FAR))

    def distance_grid(self, x: np.ndarray, y: np.ndarray, reach: float = 150e-9) -> np.ndarray:
        """Signed distance on a grid, shape (len(y), len(x)), clipped at ``reach``, m."""
        result = np.full((len(y), len(x)), reach)
        for cx, cy, radius in self._near(x[0], x[-1], y[0], y[-1], reach):
            i0, i1 = np.searchsorted(x, [cx - radius - reach, cx + radius + reach])
            j0, j1 = np.searchsorted(y, [cy - radius - reach, cy + radius + reach])
            if i1 > i0 and j1 > j0:
                window = np.hypot(x[None, i0:i1] - cx, y[j0:j1, None] - cy) - radius
                np.minimum(result[j0:j1, i0:i1], window, out=result[j0:j1, i0:i1])
        return result
