"""Convex hulls of pixels.

A convex shape on a grid of pixels is all the pixels whose centres its hull holds, however small it
is and whatever its direction: counting these (Pick's theorem) tells its solidity without the bias
of an outline made of steps.
"""

from typing import NamedTuple

import numpy as np
from scipy.spatial import ConvexHull, QhullError


class Hull(NamedTuple):
    """The convex hull of pixels.

    Parameters
    ----------
    pixels : float
        Pixels whose centres it holds: those of the convex shape.
    outline : float
        Length around the pixels, px.
    vertices : ndarray, shape (k, 2)
        Centres of the pixels at its corners: row, column.
    """

    pixels: float
    outline: float
    vertices: np.ndarray


def ends(region: np.ndarray) -> np.ndarray:
    """First and last pixel of each row, shape (k, 2); their hull is that of all pixels.

    Parameters
    ----------
    region : ndarray of bool, shape (rows, cols)
        At least one pixel.
    """
    held = np.flatnonzero(region.any(axis=1))
    left = region[held].argmax(axis=1)
    right = region.shape[1] - 1 - region[held][:, ::-1].argmax(axis=1)
    return np.stack([np.concatenate([held, held]), np.concatenate([left, right])], axis=1)


def hull_of(points: np.ndarray) -> Hull:
    """Return the hull of pixels.

    Parameters
    ----------
    points : ndarray of int, shape (k, 2)
        Rows and columns, k at least 1.
    """
    try:
        found = ConvexHull(points)
    except (QhullError, ValueError):  # fewer than three, or all on one line
        order = np.lexsort((points[:, 1], points[:, 0]))
        vertices = points[order[[0, -1]]]
        step = vertices[1] - vertices[0]
        return Hull(float(np.gcd(*step) + 1), 2 * float(np.hypot(*step)) + 4, vertices)
    vertices = points[found.vertices]
    steps = np.abs(vertices - np.roll(vertices, 1, axis=0))
    on_outline = float(np.gcd(steps[:, 0], steps[:, 1]).sum())
    area = round(2 * found.volume) / 2  # that of a polygon between whole numbers
    # the squares around the centres add one pixel in each direction
    return Hull(area + on_outline / 2 + 1, found.area + 4, vertices)
