"""Frames for looking at (S22; Martin-Yerga et al. 2024, Methods): not for measuring times."""

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from nucleation_bluesky.analysis.seccm.film import Film


def display_frames(
    film: Film,
    background: int,
    *,
    group: int = 2,
    sigma: float = 1e-6,
    lamp: np.ndarray | None = None,
    last: int | None = None,
) -> Iterator[tuple[float, np.ndarray]]:
    """Yield ``(time, image)``: background subtracted, frames averaged in groups, smoothed.

    Parameters
    ----------
    film : Film
    background : int
        Frame subtracted and first shown: that of contact.
    group : int
        Frames averaged; the paper takes pairs.
    sigma : float
        Gaussian, m; the paper says 1 um, 0 leaves it out.
    lamp : ndarray or None, shape (k,)
        Brightness of the lamp by frame, divided out.
    last : int or None
        Frame to stop before.

    Raises
    ------
    ValueError
        If the background is not a frame of the film or the group is empty.
    """
    last = len(film) if last is None else min(last, len(film))
    if not 0 <= background < last:
        raise ValueError(f"frame {background} is not in the film of {last} frames")
    if group < 1:
        raise ValueError(f"a group holds at least one frame, not {group}")
    factor = np.ones(len(film)) if lamp is None else np.asarray(lamp, dtype=float)
    below = film.block(background, background + 1)[0] / factor[background]
    for first in range(background, last - group + 1, group):
        part = film.block(first, first + group) / factor[first : first + group, None, None]
        image = np.mean(part, axis=0) - below
        if sigma > 0:
            image = np.asarray(ndimage.gaussian_filter(image, sigma / film.pixel_size))
        yield float(film.time[first : first + group].mean()), image.astype(np.float32)
