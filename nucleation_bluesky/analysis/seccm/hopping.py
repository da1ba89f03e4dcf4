"""Landings of a continuous hopping record: approach, contact, measurement, retract.

The record says at every sample what the motion feedback does: 1 first approach, 2 later
approaches, 3 retract, 0 moving or measuring (convention of the Warwick software).
"""

import itertools
from dataclasses import dataclass

import numpy as np

MOVE_OR_MEASURE, FIRST_APPROACH, APPROACH, RETRACT = 0, 1, 2, 3
APPROACHES = (FIRST_APPROACH, APPROACH)


@dataclass(frozen=True)
class Hop:
    """One landing as sample ranges (first:last) of the record; a part may be empty.

    Parameters
    ----------
    number : int
        In order of time, from 0.
    line : int or None
        Line number in the record.
    approach, measurement, retract : tuple of int
        First sample and one past the last one.
    contact : int or None
        Sample at which the approach stopped; None where the approach did not end in a measurement.
    """

    number: int
    line: int | None
    approach: tuple[int, int]
    measurement: tuple[int, int]
    retract: tuple[int, int]
    contact: int | None


@dataclass(frozen=True)
class Motion:
    """Speeds (m/s, magnitudes) of a hop; NaN where there are too few samples."""

    approach: float
    retract: float


def split_hops(feedback: np.ndarray, line: np.ndarray | None = None) -> list[Hop]:
    """Split a record at its approaches.

    A measurement is what follows an approach without motion feedback, up to the retract. Where
    there is no retract it goes on to the next approach. Samples before the first approach belong
    to no landing.

    Parameters
    ----------
    feedback : ndarray of int, shape (n,)
        Type of feedback per sample.
    line : ndarray, shape (n,), or None
        Line number per sample; numbers may be missing.

    Raises
    ------
    ValueError
        If the record has no approach.
    """
    feedback = np.asarray(feedback).astype(int)
    if feedback.size == 0 or not np.isin(feedback, APPROACHES).any():
        raise ValueError("the record has no approach (feedback 1 or 2): it is no hopping scan")
    phase = np.where(np.isin(feedback, APPROACHES), APPROACH, feedback)
    cuts = np.flatnonzero(np.diff(phase)) + 1
    bounds = [0, *cuts.tolist(), len(phase)]
    runs = [(int(phase[a]), a, b) for a, b in itertools.pairwise(bounds)]
    starts = [k for k, run in enumerate(runs) if run[0] == APPROACH]
    hops = []
    for number, k in enumerate(starts):
        until = starts[number + 1] if number + 1 < len(starts) else len(runs)
        _, first, last = runs[k]
        measurement, retract = (last, last), (last, last)
        for kind, a, b in runs[k + 1 : until]:
            if kind == MOVE_OR_MEASURE and retract[0] == retract[1] and a == last:
                measurement, retract = (a, b), (b, b)
            elif kind == RETRACT and retract[0] == retract[1]:
                retract = (a, b)
        contact = last - 1 if measurement[1] > measurement[0] else None
        name = None if line is None else int(np.asarray(line)[first])
        hops.append(Hop(number, name, (first, last), measurement, retract, contact))
    return hops


def motion(hop: Hop, time: np.ndarray, z: np.ndarray) -> Motion:
    """Speeds of approach and retract from heights, m/s.

    Parameters
    ----------
    time : ndarray, shape (n,)
        s.
    z : ndarray, shape (n,)
        Height, m.
    """

    def speed(window: tuple[int, int]) -> float:
        part = slice(*window)
        t, h = np.asarray(time[part], dtype=float), np.asarray(z[part], dtype=float)
        good = np.isfinite(h)
        if np.count_nonzero(good) < 3:
            return float("nan")
        return float(abs(np.polyfit(t[good] - t[good][0], h[good], 1)[0]))

    return Motion(speed(hop.approach), speed(hop.retract))
