"""What the microscope sees of one landing: fields in the frame of the sample, and their sum."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csc_matrix

from nucleation_bluesky.worlds.seccm.footprint import Footprint
from nucleation_bluesky.worlds.seccm.particles import Particles
from nucleation_bluesky.worlds.seccm.settings import FARADAY, SeccmSettings
from nucleation_bluesky.worlds.seccm.substrate import Protrusions

MARGIN = 16  # px of sample around the frame, for drift


@dataclass(frozen=True)
class Patch:
    """What an earlier landing left behind: relative reflectance, placed in the sample frame."""

    x: float  # centre of the first pixel, m
    y: float
    image: np.ndarray


@dataclass(frozen=True)
class Film:
    """Charge of the film per area, C/m2, with its moments of local efficiency.

    Where the plating strength deviates by ``u``, there is more SEI and less alloy.
    """

    sei: float = 0.0
    sei_u: float = 0.0
    alloy: float = 0.0
    alloy_u: float = 0.0

    @staticmethod
    def names() -> tuple[str, ...]:
        """Names of the fields, as in the history."""
        return "sei", "sei_u", "alloy", "alloy_u"

    def mixed(self, sei: float, alloy: float) -> tuple[float, float]:
        """Sum with these factors, where ``u`` is 0, and its slope with ``u``."""
        return sei * self.sei + alloy * self.alloy, sei * self.sei_u - alloy * self.alloy_u


@dataclass(frozen=True)
class Scene:
    """State of a landing at one instant, as the microscope needs it.

    Parameters
    ----------
    wet : float
        Contrast of liquid present, 0..1.
    spread : float
        Radius of the wetted area over its final radius.
    film : Film
        SEI and alloy.
    diameters : ndarray, shape (n,)
        Of the particles, m; 0 where there is none.
    born : ndarray of bool, shape (n,)
    """

    wet: float
    spread: float
    film: Film
    diameters: np.ndarray
    born: np.ndarray


class Picture:
    """Rendered reflectance of one landing.

    Parameters
    ----------
    settings : SeccmSettings
        The world.
    footprint : Footprint
        Wetted area.
    protrusions : Protrusions
        Of the gold.
    older : list of Patch
        Left by earlier landings, relative to this one.
    """

    def __init__(
        self,
        settings: SeccmSettings,
        footprint: Footprint,
        protrusions: Protrusions,
        older: list[Patch],
    ) -> None:
        p = self._p = settings
        n = p.frame_size + 2 * MARGIN
        self.axis = (np.arange(n) - (n - 1) / 2) * p.pixel_size
        self.blur = math.hypot(p.psf, p.defocus)
        self._footprint = footprint
        x, y = np.meshgrid(self.axis, self.axis)
        self._x, self._y = x, y
        self._mask = footprint.wetted(footprint.distance(x, y), self.blur)
        self._strength, self._deviation = (
            v.astype(np.float32) for v in footprint.strength_grid(self.axis, self.axis)
        )
        self._bare = 1 + protrusions.image(self.axis, self.blur, p.protrusion_contrast)
        for patch in older:
            _paste(self._bare, self.axis, patch)
        self._matrix: csc_matrix | None = None
        self._uneven = False

    @property
    def deviation(self) -> np.ndarray:
        """Deviation of plating strength on the grid (margin included)."""
        return self._deviation

    @property
    def strength(self) -> np.ndarray:
        """Plating strength on the grid, mean 1."""
        return self._strength

    @property
    def mask(self) -> np.ndarray:
        """Blurred final footprint on the grid, 0..1."""
        return self._mask

    def populate(self, particles: Particles, *, uneven: bool) -> None:
        """Precompute the blurred spot of every particle (sum of a spot: its share of 1 / pixel)."""
        self._uneven = uneven
        self._matrix = spots(self.axis, particles.x, particles.y, self.blur)

    def spread_of(self, amplitude: np.ndarray) -> np.ndarray:
        """Blurred sum of point sources on the grid, per area, in units of amplitude/m2."""
        n = len(self.axis)
        if self._matrix is None:
            return np.zeros((n, n), dtype=np.float32)
        return (self._matrix @ amplitude.astype(np.float32)).reshape(n, n)

    def amplitude(self, diameters: np.ndarray, born: np.ndarray) -> np.ndarray:
        """Optical strength of particles: ``alpha V cos((pi/2)(d/d0)^2)`` and the nucleus' step."""
        p = self._p
        phase = (diameters / p.inversion_diameter) ** 2
        volume = math.pi / 6 * diameters**3
        step = math.pi / 6 * p.nucleus_step**3
        if self._uneven:
            step *= p.potentiodynamic_step
        return p.contrast * (volume * np.cos(np.pi / 2 * phase) + step * born)

    def render(self, scene: Scene) -> np.ndarray:
        """Relative reflectance on the grid, float32."""
        p = self._p
        image = self._bare.copy()
        if scene.wet > 0:
            mask = self._mask
            if scene.spread < 0.999:
                distance = self._footprint.distance(self._x, self._y, scene.spread)
                mask = self._footprint.wetted(distance, self.blur)
            image += np.float32(p.contact_contrast * scene.wet) * mask
        level, slope = scene.film.mixed(p.sei_contrast, p.alloy_contrast)
        if level > 0:
            per_charge = p.contrast * p.molar_volume / FARADAY
            film = self._deviation * np.float32(per_charge * slope)
            film += np.float32(per_charge * level)
            film *= self._mask
            if self._uneven:
                film *= self._strength
            image += film
        if self._matrix is not None and scene.born.any():
            image += self.spread_of(self.amplitude(scene.diameters, scene.born))
        return image

    def shifted(self, image: np.ndarray, dx: float, dy: float) -> np.ndarray:
        """Cut the frame out of the grid after the sample moved by (dx, dy), m; new array."""
        size = self._p.frame_size
        fy, y0 = math.modf(min(max(MARGIN - dy / self._p.pixel_size, 0), 2 * MARGIN - 1e-6))
        fx, x0 = math.modf(min(max(MARGIN - dx / self._p.pixel_size, 0), 2 * MARGIN - 1e-6))
        i, j = int(y0), int(x0)
        rows = image[i : i + size] * np.float32(1 - fy)
        rows += image[i + 1 : i + 1 + size] * np.float32(fy)
        out = rows[:, j : j + size] * np.float32(1 - fx)
        out += rows[:, j + 1 : j + 1 + size] * np.float32(fx)
        return out

    def remainder(self, image: np.ndarray, x: float, y: float) -> Patch:
        """Return what stays behind of ``image`` where the footprint is, in the sample frame."""
        change = image - self._bare
        inside = self._mask > 1e-3
        rows, cols = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        if not len(rows):
            return Patch(x, y, np.zeros((0, 0), dtype=np.float32))
        part = change[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1].copy()
        return Patch(x + float(self.axis[cols[0]]), y + float(self.axis[rows[0]]), part)


def spots(axis: np.ndarray, x: np.ndarray, y: np.ndarray, blur: float) -> csc_matrix:
    """Sparse matrix from point sources to pixels, shape (len(axis)**2, n), per area of a pixel."""
    pixel = float(axis[1] - axis[0])
    size = len(axis)
    reach = math.ceil(3.2 * blur / pixel)
    offsets = np.arange(-reach, reach + 1)

    def line(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        place = (at - axis[0]) / pixel
        nearest = np.rint(place).astype(np.int64)
        index = nearest[:, None] + offsets
        weight = np.exp(-(((index - place[:, None]) * pixel) ** 2) / (2 * blur**2))
        weight /= weight.sum(axis=1, keepdims=True) * pixel
        weight[(index < 0) | (index >= size)] = 0
        return np.clip(index, 0, size - 1), weight

    ix, wx = line(x)
    iy, wy = line(y)
    data = (wy[:, :, None] * wx[:, None, :]).astype(np.float32).reshape(-1)
    rows = (iy[:, :, None] * size + ix[:, None, :]).astype(np.int32).reshape(-1)
    per = (2 * reach + 1) ** 2
    pointer = np.arange(len(x) + 1, dtype=np.int32) * per
    return csc_matrix((data, rows, pointer), shape=(size * size, len(x)))


def _paste(image: np.ndarray, axis: np.ndarray, patch: Patch) -> None:
    pixel = float(axis[1] - axis[0])
    i, j = round((patch.y - axis[0]) / pixel), round((patch.x - axis[0]) / pixel)
    rows, cols = patch.image.shape
    n = len(axis)
    i0, i1, j0, j1 = max(i, 0), min(i + rows, n), max(j, 0), min(j + cols, n)
    if i0 < i1 and j0 < j1:
        image[i0:i1, j0:j1] += patch.image[i0 - i : i1 - i, j0 - j : j1 - j]
