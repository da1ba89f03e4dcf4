"""Gold film with protrusions, the same for every landing that sees a place."""

import math

import numpy as np

from nucleation_bluesky.worlds.afm.keyed import keyed_generator
from nucleation_bluesky.worlds.seccm.settings import SeccmSettings

_TILE = 20e-6  # m


class Protrusions:
    """Hemispherical caps: position relative to a landing, diameter and height.

    Parameters
    ----------
    settings : SeccmSettings
        The world.
    seed : int
        Of the sample.
    centre : tuple of float
        Landing in the sample frame, m.
    half : float
        Half the edge of the square that is needed, m.
    """

    def __init__(
        self, settings: SeccmSettings, seed: int, centre: tuple[float, float], half: float
    ) -> None:
        parts: list[np.ndarray] = [np.empty((4, 0))]
        first = [math.floor((c - half) / _TILE) for c in centre]
        last = [math.floor((c + half) / _TILE) for c in centre]
        for i in range(first[0], last[0] + 1):
            for j in range(first[1], last[1] + 1):
                rng = keyed_generator(seed, "protrusions", i, j)
                n = rng.poisson(settings.protrusion_density * _TILE**2)
                rows = rng.random((4, n))
                rows[0] = (i + rows[0]) * _TILE - centre[0]
                rows[1] = (j + rows[1]) * _TILE - centre[1]
                rows[2] = 400e-9 + 600e-9 * rows[2]
                rows[3] = 10e-9 + 30e-9 * rows[3]
                parts.append(rows)
        table = np.concatenate(parts, axis=1)
        near = (np.abs(table[:2]) < half).all(axis=0)
        self.x, self.y, self.diameter, self.height = table[:, near]

    def index(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the number of the protrusion at each point, -1 on flat gold."""
        found = np.full(np.shape(x), -1)
        for k, (cx, cy, d) in enumerate(zip(self.x, self.y, self.diameter, strict=True)):
            found[np.hypot(x - cx, y - cy) < d / 2] = k
        return found

    def image(self, axis: np.ndarray, blur: float, contrast: float) -> np.ndarray:
        """Relative change of reflectance on the grid of ``axis`` (both ways), float32."""
        result = np.zeros((len(axis), len(axis)), dtype=np.float32)
        for cx, cy, d, h in zip(self.x, self.y, self.diameter, self.height, strict=True):
            sd = math.hypot(d / 4, blur)
            reach = 4 * sd
            lx, hx = np.searchsorted(axis, [cx - reach, cx + reach])
            ly, hy = np.searchsorted(axis, [cy - reach, cy + reach])
            gx = np.exp(-((axis[lx:hx] - cx) ** 2) / (2 * sd**2))
            gy = np.exp(-((axis[ly:hy] - cy) ** 2) / (2 * sd**2))
            peak = contrast * h / 40e-9 * (d / 4) ** 2 / sd**2
            result[ly:hy, lx:hx] += (peak * np.multiply.outer(gy, gx)).astype(np.float32)
        return result
