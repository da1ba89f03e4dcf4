"""Particles of one landing: where and when they nucleate, and how strongly each grows."""

import math
from dataclasses import dataclass

import numpy as np

from nucleation_bluesky.worlds.afm.keyed import SmoothField, keyed_generator
from nucleation_bluesky.worlds.seccm.footprint import Footprint
from nucleation_bluesky.worlds.seccm.kinetics import interpolate
from nucleation_bluesky.worlds.seccm.settings import SeccmSettings
from nucleation_bluesky.worlds.seccm.substrate import Protrusions

_EDGE = 0.7  # relative radius between centre and edge


@dataclass(frozen=True)
class Particles:
    """Particles in order of nucleation.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        Position relative to the landing, m.
    progress : ndarray, shape (n,)
        Progress of the nucleation clock at which each appears, rising.
    weight : ndarray, shape (n,)
        Share of all growth; sums to 1.
    deviation : ndarray, shape (n,)
        Local deviation of the plating strength; weighted mean 0.
    on_protrusion : ndarray of bool, shape (n,)
    edge : ndarray of bool, shape (n,)
        Nearer to the edge of the footprint than to its centre.
    share : list of float, length n + 1
        Sum of the weights of the first 0, 1, ... n particles.
    """

    x: np.ndarray
    y: np.ndarray
    progress: np.ndarray
    weight: np.ndarray
    deviation: np.ndarray
    on_protrusion: np.ndarray
    edge: np.ndarray
    share: list[float]

    def __len__(self) -> int:
        return len(self.x)


def _profile(rho: np.ndarray, ratio: float) -> np.ndarray:
    """1 in the centre, ``ratio`` at the edge."""
    return 1 + (ratio - 1) / (1 + np.exp(-(rho - _EDGE) / 0.05))


def _positions(
    footprint: Footprint, density: float, ratio: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw positions with the wanted mean density and its edge over centre."""
    grid = (np.arange(200) + 0.5) / 200
    mean = float((_profile(grid, ratio) * 2 * grid).sum() / 200)
    peak = max(1.0, ratio) / mean
    half = footprint.radius * 1.3
    n = rng.poisson(density * peak * (2 * half) ** 2)
    x, y = rng.uniform(-half, half, (2, n)) + footprint.centre[:, None]
    rho = footprint.relative_radius(x, y)
    keep = (rho < 1) & (rng.random(n) * peak < _profile(rho, ratio) / mean)
    return x[keep], y[keep], rho[keep]


def draw_particles(
    settings: SeccmSettings,
    footprint: Footprint,
    protrusions: Protrusions,
    key: tuple[int, ...],
    density: float,
    *,
    potentiodynamic: bool,
) -> Particles:
    """Draw the particles of a landing.

    Parameters
    ----------
    settings, footprint, protrusions
        The world and the place.
    key : tuple of int
        Key of the landing.
    density : float
        Current density that decides, A/m2.
    potentiodynamic : bool
        Whether the potential was controlled.
    """
    p = settings
    rng = keyed_generator(*key, "particles")
    number = interpolate(p, "density", density, log=True)
    if potentiodynamic:
        number = p.potentiodynamic_density
    number *= max(1 + p.density_scatter * rng.standard_normal(), 0.1)
    x, y, rho = _positions(footprint, number, interpolate(p, "edge_density", density), rng)
    n = len(x)
    on = protrusions.index(x, y) >= 0
    size = interpolate(p, "size_scatter", density)
    weight = np.exp(3 * size * rng.standard_normal(n))
    weight *= _profile(rho, interpolate(p, "edge_volume", density, log=True))
    boost = interpolate(p, "protrusion", density, log=True)
    weight *= np.where(on, np.where(rho > _EDGE, boost, math.sqrt(boost)), 1.0)
    strength, deviation = footprint.strength_at(x, y)
    if potentiodynamic:
        weight *= strength
    field = SmoothField(key[0], f"nucleation {key}", p.time_length, 256)
    share = min(p.time_correlated, 1.0)
    z = math.sqrt(share) * field.points(x, y) + math.sqrt(1 - share) * rng.standard_normal(n)
    progress = np.maximum(1 - p.lead + p.time_spread * z, 0.62)
    order = np.argsort(progress)
    total = float(weight.sum()) or 1.0
    weight = weight[order] / total
    deviation = deviation[order]
    if n:
        deviation = deviation - float((weight * deviation).sum())
    return Particles(
        x[order],
        y[order],
        progress[order],
        weight,
        deviation,
        on[order],
        rho[order] > _EDGE,
        np.concatenate([[0.0], np.cumsum(weight)]).tolist(),
    )
