"""Topography images with their place on the sample."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Topography:
    """One height image.

    Parameters
    ----------
    height : ndarray, shape (rows, cols)
        m; row index along +y, NaN where not measured.
    pixel_size : float
        Edge of a pixel, m.
    x, y : float
        Centre of the image in the sample frame, m.
    """

    height: np.ndarray
    pixel_size: float
    x: float = 0.0
    y: float = 0.0

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top edge in the sample frame, m."""
        rows, cols = self.height.shape
        half_x, half_y = cols * self.pixel_size / 2, rows * self.pixel_size / 2
        return self.x - half_x, self.x + half_x, self.y - half_y, self.y + half_y

    def pixel_of(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Fractional (row, col) of positions in the sample frame (m); pixel centres are whole."""
        left, _, bottom, _ = self.extent
        return (
            (np.asarray(y) - bottom) / self.pixel_size - 0.5,
            (np.asarray(x) - left) / self.pixel_size - 0.5,
        )


@dataclass(frozen=True)
class Topographies:
    """Images taken before and after the ramps; None where there is none."""

    before: Topography | None = None
    after: Topography | None = None
