"""What a tip of finite radius does to the picture of a particle, and how to take it back.

A tip that ends in a sphere of radius R traces the surface of a spherical particle of radius s as
a sphere of radius s + R. A spherical cap of height h therefore appears with its height right, but
with a larger base and a volume larger by pi R h^2 (for contact angles up to 90 degrees); exact for
an isolated cap on a flat surface.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class Tip:
    """Shape of a tip, as its maker states it or as it was measured.

    Parameters
    ----------
    radius : float
        Of the spherical apex, m.
    half_angle : float or None
        Of the cone above, rad; None leaves the flanks out of account.
    """

    radius: float
    half_angle: float | None = None

    def corrected(self, volume: np.ndarray, height: np.ndarray) -> np.ndarray:
        """Volume of an isolated particle from its apparent volume and height, m3."""
        if self.half_angle is None:
            return correct_volume(volume, height, self.radius)
        return correct_hemisphere(volume, height, self.radius, self.half_angle)


def dilated_cap_volume(volume: np.ndarray, height: np.ndarray, tip_radius: float) -> np.ndarray:
    """Apparent volume of an isolated spherical cap, m3: V + pi R h^2."""
    return np.asarray(volume) + np.pi * tip_radius * np.asarray(height) ** 2


def correct_volume(
    apparent_volume: np.ndarray, height: np.ndarray, tip_radius: float
) -> np.ndarray:
    """Volume of an isolated cap from its apparent volume and height, m3 (never below 0)."""
    return np.maximum(
        np.asarray(apparent_volume) - np.pi * tip_radius * np.asarray(height) ** 2, 0.0
    )


def hemisphere_picture(
    radius: np.ndarray | float, tip_radius: float, half_angle: float
) -> np.ndarray:
    """Apparent volume of an isolated hemisphere under a cone with a spherical apex, m3.

    Down to the angle at which the flank takes over, the picture is the sphere of radius
    ``radius + tip_radius``; from there a straight flank of the cone's slope. A 28 degree cone
    inflates a large hemisphere by 6.6 %, a 5 nm apex one of 10 nm by about 1.8.

    Parameters
    ----------
    radius : array_like
        Of the hemisphere, m.
    tip_radius : float
        Of the apex, m.
    half_angle : float
        Of the cone, rad.
    """
    s = np.asarray(radius, dtype=float) + tip_radius
    sin, cos = np.sin(half_angle), np.cos(half_angle)
    turn, height = s * cos, s * sin - tip_radius
    flanked = height > 0  # else the apex alone touches the particle
    turn = np.where(flanked, turn, np.sqrt(np.maximum(s**2 - tip_radius**2, 0.0)))
    cap = 2 * np.pi / 3 * (s**3 - (s**2 - turn**2) ** 1.5) - np.pi * tip_radius * turn**2
    foot = turn + np.maximum(height, 0.0) * sin / cos
    flank = 2 * np.pi * cos / sin * (foot * (foot**2 - turn**2) / 2 - (foot**3 - turn**3) / 3)
    return cap + np.where(flanked, flank, 0.0)


def correct_hemisphere(
    apparent_volume: np.ndarray, height: np.ndarray, tip_radius: float, half_angle: float
) -> np.ndarray:
    """Volume of an isolated hemisphere-like particle from its apparent volume and height, m3."""
    h = np.maximum(np.asarray(height, dtype=float), 1e-12)
    true = 2 * np.pi / 3 * h**3
    return np.asarray(apparent_volume) * true / hemisphere_picture(h, tip_radius, half_angle)


def correct_radius(
    apparent_radius: np.ndarray, height: np.ndarray, tip_radius: float
) -> np.ndarray:
    """Return the base radius of an isolated cap from its apparent base radius and height, m.

    sqrt(r'^2 - 2 R h), exact for a cap; 0 where the tip alone explains the width.
    """
    squared = np.asarray(apparent_radius) ** 2 - 2 * tip_radius * np.asarray(height)
    return np.sqrt(np.maximum(squared, 0.0))


def hemisphere_inflation(radius: np.ndarray, tip_radius: float) -> np.ndarray:
    """Apparent over true volume of a hemisphere: 1 + 3 R / (2 a)."""
    return 1.0 + 1.5 * tip_radius / np.asarray(radius, dtype=float)


def hemisphere_from_apparent_volume(apparent_volume: np.ndarray, tip_radius: float) -> np.ndarray:
    """Radius of the hemisphere whose picture has this volume, m.

    Solves 2/3 a^3 + R a^2 = V' / pi by Newton's method from above (monotone convergence).
    """
    target = np.asarray(apparent_volume, dtype=float) / np.pi
    a = np.cbrt(1.5 * np.maximum(target, 0.0))
    for _ in range(60):
        slope = 2 * a * a + 2 * tip_radius * a
        step = (2 / 3 * a**3 + tip_radius * a * a - target) / np.where(slope > 0, slope, 1.0)
        a = np.maximum(a - step, 0.0)
    return a


def erode_tip(
    image: np.ndarray, pixel_size: float, tip_radius: float, *, reach: float | None = None
) -> np.ndarray:
    """Best reconstruction of the surface under an image taken with a spherical tip, m.

    Grey-scale erosion with the tip's shape. It is exact wherever the tip touched and an upper
    bound elsewhere; noise is eroded too, so smooth the image to its noise first.

    Parameters
    ----------
    image : ndarray, shape (rows, cols)
        Height, m.
    pixel_size, tip_radius : float
        m.
    reach : float or None
        Half width of the tip that can touch, m; None: where the tip rises above the image's range.
    """
    array = np.asarray(image, dtype=float)
    span = float(np.nanmax(array) - np.nanmin(array))
    widest = np.sqrt(max(2 * tip_radius * span - span**2, 0.0)) if span < tip_radius else tip_radius
    half = max(1, int(np.ceil((widest if reach is None else min(reach, tip_radius)) / pixel_size)))
    yy, xx = np.mgrid[-half : half + 1, -half : half + 1] * pixel_size
    squared = tip_radius**2 - xx**2 - yy**2
    shape = np.where(squared >= 0, tip_radius - np.sqrt(np.maximum(squared, 0.0)), np.inf)
    touching = np.isfinite(shape)
    return ndimage.grey_erosion(
        array, footprint=touching, structure=np.where(touching, -shape, 0.0), mode="nearest"
    )
