"""Wetted area of one landing: outline, and fields over it."""

import math
from functools import cached_property

import numpy as np
from scipy.special import erfc

from nucleation_bluesky.worlds.afm.keyed import SmoothField, keyed_generator
from nucleation_bluesky.worlds.seccm.settings import SeccmSettings

_CLIP = 2.2


class Footprint:
    """Outline ``R(phi)`` about a centre, and the local strength of plating.

    Parameters
    ----------
    settings : SeccmSettings
        The world.
    key : tuple of int
        Key of the landing.
    """

    def __init__(self, settings: SeccmSettings, key: tuple[int, ...]) -> None:
        p = settings
        rng = keyed_generator(*key, "footprint")
        draw = float(np.clip(rng.standard_normal(), -2.5, 2.5))
        ratio = p.wetting_ratio * (1 + p.wetting_scatter * draw)
        self._amplitude = p.footprint_shape * rng.standard_normal(4) / (1 + np.arange(4))
        self._phase = rng.uniform(0, 2 * math.pi, 4)
        equal = float(p.pipette_opening * max(ratio, 0.1) / 2)  # radius of the circle of equal area
        self.radius = equal / math.sqrt(1 + float((self._amplitude**2).sum()) / 2)
        self.area = math.pi * equal**2
        self.centre = rng.normal(0, p.footprint_offset, 2)
        self._strength = SmoothField(key[0], f"strength {key}", p.ce_length, 128)
        self._spread = p.strength_spread

    def outline(self, phi: np.ndarray) -> np.ndarray:
        """Radius at angle ``phi``, m."""
        n = np.arange(2, 6)
        waves = np.cos(np.multiply.outer(phi, n) + self._phase) @ self._amplitude
        return self.radius * (1 + waves)

    def distance(self, x: np.ndarray, y: np.ndarray, scale: float = 1.0) -> np.ndarray:
        """Radial distance beyond the outline (scaled), m; negative inside."""
        dx, dy = x - self.centre[0], y - self.centre[1]
        return np.hypot(dx, dy) - scale * self.outline(np.arctan2(dy, dx))

    def relative_radius(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Distance from the centre over that of the outline in this direction."""
        dx, dy = x - self.centre[0], y - self.centre[1]
        return np.hypot(dx, dy) / self.outline(np.arctan2(dy, dx))

    def wetted(self, distance: np.ndarray, blur: float) -> np.ndarray:
        """Blurred mask from a distance map, 0..1, float32."""
        return (0.5 * erfc(distance / (math.sqrt(2) * blur))).astype(np.float32)

    @cached_property
    def _moments(self) -> tuple[float, float, float]:
        """Mean and sd of the raw strength, and the strength-weighted mean of its deviation."""
        axis = np.linspace(-1.1, 1.1, 129) * self.radius
        x, y = np.meshgrid(axis + self.centre[0], axis + self.centre[1])
        inside = self.distance(x, y) < 0
        raw = np.exp(self._spread * self._strength.points(x[inside], y[inside]))
        mean, sd = float(raw.mean()), max(float(raw.std()), 1e-12)
        u = np.clip((raw - mean) / sd, -_CLIP, _CLIP)
        return mean, sd, float((raw * u).sum() / raw.sum())

    def strength(self, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Plating strength (mean 1) and its deviation (about unit variance, weighted mean 0)."""
        mean, sd, shift = self._moments
        value = np.exp(self._spread * raw)
        return value / mean, np.clip((value - mean) / sd, -_CLIP, _CLIP) - shift

    def strength_at(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Strength and deviation at points."""
        return self.strength(self._strength.points(x, y))

    def strength_grid(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Strength and deviation on a grid, shape (len(y), len(x))."""
        return self.strength(self._strength.grid(x, y))
