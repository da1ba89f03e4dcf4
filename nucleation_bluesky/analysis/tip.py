"""What a tip of finite radius does to the picture of a particle, and how to take it back.

A tip that ends in a sphere of radius R traces the surface of a spherical particle of radius s as
a sphere of radius s + R. A spherical cap of height h therefore appears with its height right, but
with a larger base and a volume larger by pi R h^2 (for contact angles up to 90 degrees); exact for
an isolated cap on a flat surface.
"""

import numpy as np
from scipy import ndimage


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
