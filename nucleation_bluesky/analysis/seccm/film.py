"""IRM films that need not fit into memory: times, doubled frames, one pass for all overviews."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

BLOCK_BYTES = 48 * 2**20  # of float32 pixels held at a time
OVERVIEW_BYTES = 48 * 2**20  # of the binned film
AVERAGES = 24  # block averages kept for registration
MAX_DOUBLED = 0.3  # more identical neighbours than this: a film without noise, not a camera fault
GAP = 1.6  # intervals beyond which a frame is missing


class NoFootprintError(ValueError):
    """The film shows no wetted area."""


@dataclass(frozen=True)
class Film:
    """Frames with their true times.

    Parameters
    ----------
    frames : array_like, shape (n, y, x)
        numpy, h5py or dask; read in blocks, never as a whole.
    time : ndarray, shape (k,)
        s, strictly increasing, of the frames in ``index``.
    index : ndarray of int, shape (k,)
        Frames in use (doubled ones left out).
    pixel_size : float
        m.
    doubled : ndarray of int
        Frames left out because they repeat the frame before.
    missing : int
        Frames that the camera dropped, by gaps in ``frame_ids`` where given, else in the times.
    """

    frames: Any
    time: np.ndarray
    index: np.ndarray
    pixel_size: float
    doubled: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=int))
    missing: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a frame."""
        return int(self.frames.shape[1]), int(self.frames.shape[2])

    @property
    def interval(self) -> float:
        """Median time between frames, s."""
        return float(np.median(np.diff(self.time)))

    def __len__(self) -> int:
        return len(self.index)

    def block(self, first: int, last: int) -> np.ndarray:
        """Frames ``first:last`` of those in use, as stored."""
        chosen = self.index[first:last]
        if len(chosen) == 0:
            return np.zeros((0, *self.shape))
        low, high = int(chosen[0]), int(chosen[-1]) + 1
        block = np.asarray(self.frames[low:high])
        return block if len(block) == len(chosen) else block[chosen - low]

    def blocks(self, first: int = 0, last: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """Yield ``(position of the block's first frame, frames)``, bounded in memory."""
        last = len(self) if last is None else last
        rows, cols = self.shape
        step = max(1, BLOCK_BYTES // (4 * rows * cols))
        for start in range(first, last, step):
            yield start, self.block(start, min(start + step, last))

    def without(self, repeated: np.ndarray) -> "Film":
        """Leave out the frames where ``repeated`` (boolean, per frame in use) is set."""
        return replace(
            self,
            time=self.time[~repeated],
            index=self.index[~repeated],
            doubled=np.sort(np.concatenate([self.doubled, self.index[repeated]])),
        )


def open_film(
    frames: Any,
    timestamps: np.ndarray,
    pixel_size: float,
    *,
    frame_ids: np.ndarray | None = None,
) -> Film:
    """Check a film and its times.

    Parameters
    ----------
    frames : array_like, shape (n, y, x)
        numpy, h5py or dask array.
    timestamps : array_like, shape (n,)
        s, irregular; time of each frame on the camera's clock.
    pixel_size : float
        m.
    frame_ids : array_like of int or None
        The camera's frame counter: gaps are dropped frames, repeats are doubled ones.

    Raises
    ------
    ValueError
        If shapes do not fit, times run backwards, or the pixel size is not positive.
    """
    shape = tuple(getattr(frames, "shape", ()))
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"a film is an array of (frames, rows, columns), not of shape {shape}")
    time = np.asarray(timestamps, dtype=float)
    if time.shape != (shape[0],):
        raise ValueError(
            f"{shape[0]} frames but {time.size} timestamps: give the time of every frame"
        )
    if not np.isfinite(time).all():
        raise ValueError("some timestamps are not numbers: leave out the frames without a time")
    if not (np.isfinite(pixel_size) and pixel_size > 0):
        raise ValueError(f"the pixel size must be greater than 0 m (got {pixel_size})")
    step = np.diff(time)
    if (step < 0).any():
        k = int(np.argmax(step < 0))
        raise ValueError(
            f"the timestamps are not monotonic: frame {k + 1} ({time[k + 1]:.6g} s) is earlier "
            f"than frame {k} ({time[k]:.6g} s); sort the frames or correct the clock"
        )
    repeated = np.concatenate([[False], step == 0])
    missing = 0
    if frame_ids is not None:
        ids = np.asarray(frame_ids, dtype=np.int64)
        if ids.shape != time.shape or (np.diff(ids) < 0).any():
            raise ValueError("frame_ids must be one non-decreasing number for every frame")
        repeated |= np.concatenate([[False], np.diff(ids) == 0])
        missing = int(ids[-1] - ids[0] + 1 - len(np.unique(ids)))
    use = np.flatnonzero(~repeated)
    if len(use) < 3:
        raise ValueError(
            f"the film has {len(use)} frame(s) at different times; at least 3 are needed"
        )
    if frame_ids is None:
        step = np.diff(time[use])
        usual = np.median(step)
        missing = int(np.sum(np.round(step[step > GAP * usual] / usual) - 1))
    return Film(
        frames=frames,
        time=time[use],
        index=use,
        pixel_size=float(pixel_size),
        doubled=np.flatnonzero(repeated),
        missing=missing,
    )


@dataclass(frozen=True)
class GroupedFilm(Film):
    """A film whose frames are means of successive frames of ``source``; see `group_frames`."""

    source: Film | None = None
    first: int = 0
    size: int = 1

    def block(self, first: int, last: int) -> np.ndarray:
        """Means of the groups ``first:last``."""
        assert self.source is not None  # noqa: S101 - set by group_frames
        low = self.first + first * self.size
        out = np.empty((last - first, *self.shape), dtype=np.float32)
        for k in range(last - first):
            part = self.source.block(low + k * self.size, low + (k + 1) * self.size)
            out[k] = part.mean(axis=0, dtype=np.float32)
        return out


@dataclass(frozen=True)
class MirroredFilm(Film):
    """A film that its deposit darkens, mirrored about a level so that it brightens.

    Parameters
    ----------
    level : ndarray, shape (k,)
        Counts, of the frames in use.
    """

    level: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def block(self, first: int, last: int) -> np.ndarray:
        """Frames ``first:last`` of those in use, mirrored, float32."""
        level = self.level[first:last, None, None].astype(np.float32)
        return 2 * level - super().block(first, last).astype(np.float32)


def mirrored(film: Film, level: np.ndarray) -> MirroredFilm:
    """Return the film mirrored about ``level`` (counts, one for each frame in use)."""
    return MirroredFilm(
        film.frames, film.time, film.index, film.pixel_size, film.doubled, film.missing, level
    )


def group_frames(film: Film, first: int, last: int, size: int) -> GroupedFilm:
    """Average the frames ``first:last`` in groups of ``size``, read when needed."""
    count = (last - first) // size
    time = film.time[first : first + count * size].reshape(count, size).mean(axis=1)
    return GroupedFilm(
        frames=film.frames,
        time=time,
        index=np.arange(count),
        pixel_size=film.pixel_size,
        source=film,
        first=first,
        size=size,
    )


@dataclass(frozen=True)
class Survey:
    """What one pass over the film keeps.

    Parameters
    ----------
    film : Film
        Without the frames whose content repeats the frame before.
    binned : ndarray of float32, shape (k, y // bin, x // bin)
        Means over squares of ``bin`` pixels.
    bin : int
        px.
    averages : ndarray of float32, shape (m, y, x)
        Means of successive stretches of frames, at full resolution.
    average_time : ndarray, shape (m,)
        s.
    average_count : ndarray of int, shape (m,)
    top : float
        Largest value found; a camera's saturation shows as many pixels at it.
    saturated : float
        Share of pixels at the largest value.
    """

    film: Film
    binned: np.ndarray
    bin: int
    averages: np.ndarray
    average_time: np.ndarray
    average_count: np.ndarray
    top: float
    saturated: float


def bin_frames(block: np.ndarray, size: int) -> np.ndarray:
    """Means over squares of ``size`` pixels, edges that do not fill a square cut off."""
    rows, cols = (n // size * size for n in block.shape[1:])
    # every size-th column at once: far faster than a reduction over short axes
    part = np.zeros((len(block), rows, cols // size), dtype=np.float32)
    for k in range(size):
        part += block[:, :rows, k:cols:size]
    out = np.zeros((len(block), rows // size, cols // size), dtype=np.float32)
    for k in range(size):
        out += part[:, k::size]
    return out * np.float32(1 / size**2)


def survey(film: Film, *, bin_size: int | None = None) -> Survey:
    """Read a film once: binned copy, stretch averages, frames that repeat the one before.

    A camera cannot take the same noise twice, so two frames that agree in every pixel are one
    frame delivered twice; the second, with its wrong time, is left out.

    Parameters
    ----------
    film : Film
    bin_size : int or None
        px; None: 4, more for films of which that would keep more than 48 MB.
    """
    rows, cols = film.shape
    if bin_size is None:
        wanted = np.sqrt(4.0 * len(film) * rows * cols / OVERVIEW_BYTES)
        bin_size = int(max(min(4, min(rows, cols) // 16), np.ceil(wanted), 1))
    stretch = int(max(1, np.ceil(len(film) / AVERAGES)))
    count = -(-len(film) // stretch)
    averages = np.zeros((count, rows, cols), dtype=np.float32)
    number = np.zeros(count, dtype=int)
    moment = np.zeros(count)
    binned = np.empty((len(film), rows // bin_size, cols // bin_size), dtype=np.float32)
    repeated = np.zeros(len(film), dtype=bool)
    before: np.ndarray | None = None
    top, at_top = -np.inf, 0
    for start, block in film.blocks():
        for k, frame in enumerate(block):
            position = start + k
            repeated[position] = before is not None and np.array_equal(frame, before)
            before = frame
            if not repeated[position]:
                slot = position // stretch
                averages[slot] += frame
                number[slot] += 1
                moment[slot] += film.time[position]
        binned[start : start + len(block)] = bin_frames(block, bin_size)
        high = float(block.max())
        if high > top:
            top, at_top = high, 0
        at_top += int(np.count_nonzero(block == high)) if high == top else 0
        before = before.copy() if before is not None else None
    if repeated.mean() > MAX_DOUBLED:
        # noise-free images of a scene at rest: nothing tells a repeat from a new frame
        return _without_repeats(film, binned, bin_size, stretch, top)
    kept = number > 0
    number_kept = number[kept]
    averages = averages[kept] / number_kept[:, None, None].astype(np.float32)
    return Survey(
        film=film.without(repeated),
        binned=binned[~repeated],
        bin=bin_size,
        averages=averages,
        average_time=moment[kept] / number_kept,
        average_count=number_kept,
        top=top,
        saturated=at_top / (len(film) * rows * cols),
    )


def _without_repeats(
    film: Film, binned: np.ndarray, bin_size: int, stretch: int, top: float
) -> Survey:
    edges = np.arange(0, len(film), stretch)
    counts = np.diff(np.append(edges, len(film)))
    averages = np.stack(
        [
            film.block(a, a + n).mean(axis=0, dtype=np.float32)
            for a, n in zip(edges.tolist(), counts.tolist(), strict=True)
        ]
    )
    times = np.add.reduceat(film.time, edges) / counts
    return Survey(film, binned, bin_size, averages, times, counts, top, 0.0)
