"""Sweeps of a voltammogram, found in the recorded potential alone.

Nothing is assumed of the start potential, the order of the vertices, holds at them, or whether
the first and last sweep are complete.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import median_filter

from nucleation_bluesky.analysis.seccm.trace import Trace, sample_noise

MAX_BLOCKS = 20_000
TURN_SHARE = 0.1  # of the potential range: smaller reversals are no vertices


@dataclass(frozen=True)
class Sweep:
    """A stretch in which the potential runs one way.

    Parameters
    ----------
    start, stop : int
        Samples ``start:stop``.
    direction : int
        -1 towards negative potentials (cathodic), +1 towards positive ones.
    potential_start, potential_stop : float
        V, at its ends.
    rate : float
        Magnitude of its slope, V/s.
    """

    start: int
    stop: int
    direction: int
    potential_start: float
    potential_stop: float
    rate: float


def find_sweeps(trace: Trace) -> list[Sweep]:
    """Return the sweeps of a voltammogram in order.

    A hold at the very beginning or end of the record belongs to no sweep; holds at vertices in
    between belong to the sweep they follow or precede.

    Parameters
    ----------
    trace : Trace
        Finite samples.

    Raises
    ------
    ValueError
        If the potential does not sweep.
    """
    potential = np.asarray(trace.potential, dtype=float)
    if len(potential) < 8:
        raise ValueError(f"{len(potential)} samples are too few for a sweep")
    low, high = np.percentile(potential, [0.5, 99.5])
    noise = sample_noise(potential)
    if not high - low > 20 * noise or high == low:
        raise ValueError(
            f"the potential spans {high - low:.3g} V at a noise of {noise:.2g} V: it does not sweep"
        )
    width = max(1, len(potential) // MAX_BLOCKS)
    blocks = len(potential) // width
    coarse = potential[: blocks * width].reshape(blocks, width).mean(axis=1)
    coarse = median_filter(coarse, min(5, blocks))  # a lone spike is no vertex
    coarse = np.clip(coarse, low - noise, high + noise)
    turns = _turning_points(coarse, max(TURN_SHARE * (high - low), 8 * noise))
    edges = [int(t * width + width // 2) for t in turns]
    edges[0], edges[-1] = _without_holds(potential, edges, noise)
    sweeps = []
    for first, last in itertools.pairwise(edges):
        part = slice(first, last + 1)
        slope = np.polyfit(trace.time[part] - trace.time[first], potential[part], 1)[0]
        sweeps.append(
            Sweep(
                start=first,
                stop=last,
                direction=1 if potential[last] > potential[first] else -1,
                potential_start=float(potential[first]),
                potential_stop=float(potential[last]),
                rate=float(abs(slope)),
            )
        )
    sweeps[-1] = Sweep(**{**vars(sweeps[-1]), "stop": sweeps[-1].stop + 1})
    return sweeps


def _turning_points(values: np.ndarray, threshold: float) -> list[int]:
    """Find the indices of first sample, significant extremes in between, and last sample."""
    turns = [0]
    low = high = 0
    direction = 0
    levels = values.tolist()
    for k, value in enumerate(levels):
        if direction >= 0 and value > levels[high]:
            high = k
        if direction <= 0 and value < levels[low]:
            low = k
        if direction >= 0 and levels[high] - value > threshold:
            if direction > 0 or high > 0:
                turns.append(high)
            direction, low = -1, k
        elif direction <= 0 and value - levels[low] > threshold:
            if direction < 0 or low > 0:
                turns.append(low)
            direction, high = 1, k
    last = high if direction > 0 else low
    if direction == 0:
        raise ValueError("the potential does not sweep")
    turns.append(last if last > turns[-1] else len(levels) - 1)
    if len(turns) > 2 and abs(levels[turns[1]] - levels[0]) < threshold:
        turns.pop(0)  # a hold or a wobble before the first sweep
    return turns


def _without_holds(potential: np.ndarray, edges: list[int], noise: float) -> tuple[int, int]:
    """First and last edge moved to where the potential leaves and reaches its end levels."""
    begin = edges[0] + _ramp_begins(potential[edges[0] : edges[1] + 1], noise)
    backwards = potential[edges[-2] : edges[-1] + 1][::-1]
    end = edges[-1] - _ramp_begins(backwards, noise)
    return begin, max(end, begin + 1)


def _ramp_begins(values: np.ndarray, noise: float) -> int:
    """Index at which a ramp leaves the level of its first samples: its line followed back.

    Without a hold that is 0; a hold is recognised by the samples it adds.
    """
    level = float(np.median(values[: max(1, min(9, len(values) // 50))]))
    share = (values - level) / (values[-1] - level)
    middle = np.flatnonzero((share > 0.25) & (share < 0.75))
    if middle.size < 3:
        return 0
    slope, offset = np.polyfit(middle, values[middle], 1)
    begin = round((level - offset) / slope)
    wobble = 2 + 5 * noise / abs(slope)
    return int(begin) if wobble < begin < len(values) - 2 else 0
