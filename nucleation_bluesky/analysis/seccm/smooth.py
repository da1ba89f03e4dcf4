"""Frames smoothed, moved back by their drift and divided by the lamp, in one separable filter."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from nucleation_bluesky.analysis.seccm.film import Film

SHIFT_STEP = 0.1  # px: frames shifted alike to this are one
REACH = 3.5  # standard deviations of the Gaussian kept


def shifted_gaussian(sigma: float, shift: float) -> np.ndarray:
    """Odd kernel for `scipy.ndimage.correlate1d` that smooths and samples at ``+ shift`` px.

    A sampled Gaussian carries a sub-pixel shift exactly enough from ``sigma`` of about 0.7 px on.
    """
    half = int(np.ceil(REACH * sigma + abs(shift)))
    kernel = np.exp(-0.5 * ((np.arange(-half, half + 1) - shift) / sigma) ** 2)
    return (kernel / kernel.sum()).astype(np.float32)


@dataclass(frozen=True)
class Corrected:
    """Recipe that turns frames as stored into smoothed frames on the grid of contact.

    Parameters
    ----------
    film : Film
    lamp : ndarray, shape (k,)
        Brightness of the lamp by frame.
    shift : ndarray, shape (k, 2)
        Drift by frame, px (y, x).
    sigma : float
        Gaussian smoothing, px; 0 for none (then drift is corrected to whole pixels only).
    mask : ndarray of bool, shape (y, x)
        Pixels wanted.
    """

    film: Film
    lamp: np.ndarray
    shift: np.ndarray
    sigma: float
    mask: np.ndarray

    def pixels(self) -> np.ndarray:
        """Flat indices of the wanted pixels in a frame."""
        return np.flatnonzero(self.mask)

    def records(self, first: int, last: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield ``(position, intensities float32 (frames, pixels))`` for frames first:last."""
        rows, cols = self._box()
        inner = np.flatnonzero(self.mask[rows, cols])
        # both ndimage and the disk leave the interpreter free
        with ThreadPoolExecutor(max(1, min(4, os.cpu_count() or 1))) as pool:
            for start, block in self.film.blocks(first, last):
                part = list(
                    pool.map(
                        lambda k, block=block, start=start: self._one(
                            block[k], start + k, rows, cols
                        ).ravel()[inner],
                        range(len(block)),
                    )
                )
                yield start, np.stack(part)

    def mean(self, frames: np.ndarray) -> np.ndarray:
        """Mean of some frames, shape (pixels,): those shifted alike are smoothed together."""
        rows, cols = self._box()
        inner = np.flatnonzero(self.mask[rows, cols])
        total = np.zeros(len(inner))
        steps = np.round(self.shift[frames] / SHIFT_STEP).astype(int)
        order = np.lexsort(steps.T)
        groups = np.split(
            frames[order],
            1 + np.flatnonzero(np.any(np.diff(steps[order], axis=0) != 0, axis=1)),
        )
        for group in groups:
            added = np.zeros(self.film.shape, dtype=np.float32)
            for k in group:
                added += self.film.block(int(k), int(k) + 1)[0] * np.float32(1 / self.lamp[k])
            shift = self.shift[group].mean(axis=0)
            total += self._smoothed(added, shift, rows, cols).ravel()[inner]
        return total / max(len(frames), 1)

    def _box(self) -> tuple[slice, slice]:
        found = ndimage.find_objects(self.mask.astype(np.int8))[0]
        return found[0], found[1]

    def _one(self, frame: np.ndarray, k: int, rows: slice, cols: slice) -> np.ndarray:
        image = self._smoothed(frame, self.shift[k], rows, cols)
        return image * np.float32(1 / self.lamp[k])

    def _smoothed(
        self, frame: np.ndarray, shift: np.ndarray, rows: slice, cols: slice
    ) -> np.ndarray:
        whole = np.round(shift).astype(int)
        rest = (shift - whole).tolist()
        half = 0 if self.sigma == 0 else int(np.ceil(REACH * self.sigma + 0.5)) + 1
        image = _crop(frame, rows, cols, whole, half).astype(np.float32)
        if self.sigma > 0:
            for axis in (0, 1):
                kernel = shifted_gaussian(self.sigma, rest[axis])
                image = np.asarray(ndimage.correlate1d(image, kernel, axis=axis, mode="nearest"))
            image = image[half:-half, half:-half]
        return image


def _crop(frame: np.ndarray, rows: slice, cols: slice, offset: np.ndarray, half: int) -> np.ndarray:
    """Cut a box out of a frame, moved by ``offset``, the frame's edge repeated outside."""
    top, bottom = rows.start + offset[0] - half, rows.stop + offset[0] + half
    left, right = cols.start + offset[1] - half, cols.stop + offset[1] + half
    if top >= 0 and left >= 0 and bottom <= frame.shape[0] and right <= frame.shape[1]:
        return frame[top:bottom, left:right]
    row = np.clip(np.arange(top, bottom), 0, frame.shape[0] - 1)
    col = np.clip(np.arange(left, right), 0, frame.shape[1] - 1)
    return frame[np.ix_(row, col)]
