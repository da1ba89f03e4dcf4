"""Largest local maximum of dI/dt of many records at once, streamed over time."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from nucleation_bluesky.analysis.seccm.savgol import peak_time

CHUNK = 24  # evaluation times at once


@dataclass(frozen=True)
class Peaks:
    """Maxima of the derivative, one per record; NaN where there is none.

    Parameters
    ----------
    time : ndarray, shape (p,)
        s.
    height, curvature : ndarray, shape (p,)
        Derivative there (per s) and its second derivative (per s3, negative).
    index : ndarray of int, shape (p,)
        Sample of the maximum.
    noise : ndarray, shape (p,)
        Standard deviation of a record's white noise.
    """

    time: np.ndarray
    height: np.ndarray
    curvature: np.ndarray
    index: np.ndarray
    noise: np.ndarray


def find_peaks_in(
    blocks: Iterable[tuple[int, np.ndarray]],
    operator: sparse.csr_array,
    time: np.ndarray,
    first: int,
    last: int,
    penalty: np.ndarray | None = None,
) -> Peaks:
    """Find each record's largest local maximum of the derivative at samples ``first:last``.

    Parameters
    ----------
    blocks : iterable of (int, ndarray of float32 (samples, p))
        Records by stretches of time, ``(first sample, values)``, in order; they cover all
        samples that the operator's rows ``first - 1:last + 1`` use.
    operator : sparse array, shape (len(time), n)
        Derivative as a linear operation on the samples.
    time : ndarray
        Of the operator's rows, s.
    first, last : int
        Rows searched; the rows next to them must exist.
    penalty : ndarray or None
        Of the operator's rows, subtracted while maxima are compared (per s): improbable times
        need a higher maximum. It does not move a maximum.
    """
    first, last = max(first, 1), min(last, len(time) - 1)
    starts = list(range(first, last, CHUNK))
    state: _State | None = None
    held: np.ndarray | None = None
    origin = 0
    for position, block in blocks:
        if state is None:
            state = _State(block.shape[1], block[0].copy(), time)
        state.add_noise(block)
        fresh = block - state.reference
        held = fresh if held is None else np.concatenate([held, fresh])
        origin = position + len(block) - len(held)
        while starts:
            row = starts[0]
            rows = slice(row - 1, min(row + CHUNK, last) + 1)
            part = operator[rows]
            low, high = int(np.min(part.indices)), int(np.max(part.indices)) + 1
            if high > origin + len(held):
                break
            dense = part[:, low:high].toarray().astype(np.float32)
            state.consider(
                dense @ held[low - origin : high - origin],
                row,
                None if penalty is None else penalty[rows][1:-1].astype(np.float32),
            )
            starts.pop(0)
            if starts:
                needed = int(operator[starts[0] - 1 : starts[0]].indices.min())
                held = held[max(0, needed - origin) :]
                origin = max(origin, needed)
    if state is None or starts:
        raise ValueError("the film ends before the stretch that is searched for nucleation")
    return state.result()


class _State:
    """Running maximum with its neighbours."""

    def __init__(self, records: int, reference: np.ndarray, time: np.ndarray) -> None:
        self.reference = reference
        self.time = time
        self.best = np.full(records, -np.inf, dtype=np.float32)
        self.height = np.zeros(records, dtype=np.float32)
        self.before = np.zeros(records, dtype=np.float32)
        self.after = np.zeros(records, dtype=np.float32)
        self.index = np.ones(records, dtype=np.int32)
        self.energy = np.zeros(records, dtype=np.float64)
        self.terms = 0
        self.tail: np.ndarray | None = None

    def add_noise(self, block: np.ndarray) -> None:
        """Accumulate second differences: white noise of sd 1 gives them a variance of 6."""
        joined = block if self.tail is None else np.concatenate([self.tail, block])
        if len(joined) >= 3:
            second = joined[2:] - 2 * joined[1:-1] + joined[:-2]
            self.energy += np.einsum("kp,kp->p", second, second)
            self.terms += len(second)
        self.tail = joined[-2:].copy()

    def consider(self, derivative: np.ndarray, row: int, penalty: np.ndarray | None) -> None:
        """Take over local maxima of ``derivative[1:-1]``, rows ``row`` and on."""
        inner = derivative[1:-1]
        local = np.where(
            (inner > derivative[:-2]) & (inner >= derivative[2:]), inner, np.float32(-np.inf)
        )
        if penalty is not None:
            local -= penalty[:, None]
        k = np.argmax(local, axis=0)
        score = np.take_along_axis(local, k[None], axis=0)[0]
        better = np.flatnonzero(score > self.best)
        k = k[better]
        self.best[better] = score[better]
        self.height[better] = derivative[k + 1, better]
        self.before[better] = derivative[k, better]
        self.after[better] = derivative[k + 2, better]
        self.index[better] = k + row

    def result(self) -> Peaks:
        found = np.isfinite(self.best)
        at, curvature = peak_time(
            self.time,
            self.before.astype(float),
            self.height.astype(float),
            self.after.astype(float),
            self.index,
        )
        return Peaks(
            time=np.where(found, at, np.nan),
            height=np.where(found, self.height, np.nan),
            curvature=np.where(found, curvature, np.nan),
            index=self.index,
            noise=np.sqrt(self.energy / max(self.terms, 1) / 6),
        )


def vertex_noise(operator: sparse.csr_array, time: np.ndarray) -> np.ndarray:
    """Noise of the derivative's slope at every row, for white noise of sd 1, shape (n,).

    The slope is that of the parabola through three neighbouring rows, the one that places the
    maximum: a slope error divided by the curvature is an error of time.
    """
    rows = operator.toarray() if len(time) <= 512 else operator
    left, right = np.diff(time)[:-1], np.diff(time)[1:]
    weights = (right / left / (left + right), left / right / (left + right))
    if isinstance(rows, np.ndarray):
        rise = (rows[1:-1] - rows[:-2]) * weights[0][:, None]
        fall = (rows[2:] - rows[1:-1]) * weights[1][:, None]
        size = np.sqrt(((rise + fall) ** 2).sum(axis=1))
    else:
        scale = [sparse.diags_array(w).tocsr() for w in weights]
        slope = scale[0] @ (rows[1:-1] - rows[:-2]) + scale[1] @ (rows[2:] - rows[1:-1])
        size = np.sqrt(np.asarray(slope.multiply(slope).sum(axis=1)).ravel())
    return np.concatenate([[np.nan], size, [np.nan]])
