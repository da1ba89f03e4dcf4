"""Charges and Coulombic efficiency by cycle (S20; Martin-Yerga et al. 2024, Fig 2b).

The current is integrated with its sign over whole windows. A cycle is a cathodic sweep with the
anodic sweep that follows it. Metal goes on plating for a while after the potential has turned, so
the cathodic window ends where the accumulated charge is lowest within the anodic sweep; likewise
the anodic window ends where it is highest within the next cathodic sweep. Each window is one
stretch: noise is never rectified, as it would be by a sign test sample by sample, nor cut off.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nucleation_bluesky.analysis.seccm.sweeps import Sweep, find_sweeps
from nucleation_bluesky.analysis.seccm.trace import Trace, sample_noise


@dataclass(frozen=True)
class Cycle:
    """One cycle.

    Parameters
    ----------
    number : int
        From 1.
    start, turn, stop : int
        Samples: the cathodic window is ``start:turn``, the anodic one ``turn:stop``.
    charge_cathodic, charge_anodic : float
        Magnitudes, C; the anodic one is NaN where the record ends before it.
    ce : float
        Their ratio; NaN where it is not known.
    ce_uncertainty : float
        Standard uncertainty from the current's noise alone.
    complete : bool
        Whether both sweeps are there from vertex to vertex.
    """

    number: int
    start: int
    turn: int
    stop: int
    charge_cathodic: float
    charge_anodic: float
    ce: float
    ce_uncertainty: float
    complete: bool


def cycle_charges(
    trace: Trace, *, baseline: float = 0.0, capacitance: float = 0.0
) -> tuple[list[Cycle], list[Sweep]]:
    """Return cycles and sweeps of a voltammogram.

    Parameters
    ----------
    trace : Trace
        The record; samples that are not finite are left out, so indices count finite samples.
    baseline : float
        The electrometer's current without contact, A, subtracted.
    capacitance : float
        Of the double layer, F: its charging is subtracted. 0 leaves it in, as the paper does; it
        adds the same charge to either direction.

    Raises
    ------
    ValueError
        If the potential does not sweep, or never towards negative potentials.
    """
    trace = trace.finite()
    sweeps = find_sweeps(trace)
    if not any(s.direction < 0 for s in sweeps):
        raise ValueError("there is no cathodic sweep: nothing was plated in this record")
    charge = trace.charge(baseline) - capacitance * (
        np.asarray(trace.potential, dtype=float) - float(trace.potential[0])
    )
    noise = sample_noise(trace.current)
    step = noise * trace.period
    typical = float(np.median([abs(s.potential_stop - s.potential_start) for s in sweeps]))
    cycles = []
    for k, cathodic in enumerate(sweeps):
        if cathodic.direction > 0:
            continue
        anodic = sweeps[k + 1] if k + 1 < len(sweeps) else None
        following = sweeps[k + 2] if k + 2 < len(sweeps) else None
        start = _extreme(charge, cathodic, step)
        if anodic is None:
            turn = stop = cathodic.stop - 1
        else:
            turn = _extreme(charge, anodic, step)
            stop = anodic.stop - 1 if following is None else _extreme(charge, following, step)
        whole = anodic is not None and all(
            abs(s.potential_stop - s.potential_start) > 0.9 * typical for s in (cathodic, anodic)
        )
        cycles.append(
            _cycle(len(cycles) + 1, (start, turn, stop), charge, noise, trace, anodic, whole)
        )
    return cycles, sweeps


def _extreme(charge: np.ndarray, sweep: Sweep, step: float) -> int:
    """Where the sweep before this one has ended as far as charge is concerned.

    The extreme of the charge in this sweep; where no current flows the charge only wanders, by
    ``step`` per square root of samples: then the first place that is as good as the extreme.
    """
    towards = charge[sweep.start : sweep.stop] * sweep.direction
    at = int(np.argmin(towards))
    wander = step * np.sqrt(at - np.arange(at + 1))
    return sweep.start + int(np.argmax(towards[: at + 1] - towards[at] <= wander))


def _cycle(
    number: int,
    window: tuple[int, int, int],
    charge: np.ndarray,
    noise: float,
    trace: Trace,
    anodic: Sweep | None,
    complete: bool,
) -> Cycle:
    start, turn, stop = window
    q_c = float(charge[start] - charge[turn])
    q_a = float(charge[stop] - charge[turn]) if anodic is not None else float("nan")
    ce = q_a / q_c if q_c > 0 else float("nan")
    step = trace.period
    sigma_c, sigma_a = (noise * step * np.sqrt(max(n, 1)) for n in (turn - start, stop - turn))
    spread = float(np.hypot(sigma_a, ce * sigma_c) / q_c) if q_c > 0 else float("nan")
    return Cycle(number, start, turn, stop, q_c, q_a, ce, spread, complete)


@dataclass(frozen=True)
class Peak:
    """An anodic peak: potential (V), current (A) and its prominence (A)."""

    potential: float
    current: float
    prominence: float


def anodic_peaks(trace: Trace, sweep: Sweep, *, window: float = 0.02) -> list[Peak]:
    """Return the stripping and dealloying peaks of an anodic sweep, in order of potential.

    Parameters
    ----------
    trace : Trace
        Finite samples.
    sweep : Sweep
        Of it.
    window : float
        Means over so many volts are compared, V.
    """
    from scipy.signal import find_peaks  # noqa: PLC0415 - slow to import, rarely used

    potential, current, width = _smoothed(trace, sweep, window)
    if len(current) < 5:
        return []
    noise = sample_noise(trace.current[sweep.start : sweep.stop]) / np.sqrt(width)
    least = max(6 * noise, 0.02 * float(np.ptp(current)))
    found, details = find_peaks(current, prominence=least)
    return [
        Peak(float(potential[k]), float(current[k]), float(p))
        for k, p in zip(found, details["prominences"], strict=True)
    ]


def plating_onset(trace: Trace, sweep: Sweep, *, window: float = 0.01) -> float | None:
    """Potential at which plating sets in on a cathodic sweep, V; None where it does not.

    The tangent at the steepest rise of the cathodic current near the sweep's end is followed back
    to the current's level before it (the mean over the tenth of the sweep that ends two windows
    ahead of the rise).
    """
    potential, current, width = _smoothed(trace, sweep, window)
    if sweep.direction > 0 or len(current) < 20:
        return None
    slope = np.gradient(current, potential)  # positive where reduction grows
    late = slice(len(slope) // 2, len(slope) - 1)
    k = late.start + int(np.argmax(slope[late]))
    ahead = current[max(0, k - 2 - len(current) // 10) : max(1, k - 2)]
    base = float(np.median(ahead))
    noise = sample_noise(trace.current[sweep.start : sweep.stop]) / np.sqrt(width)
    if base - current[-1] < max(6 * noise, 0.1 * float(np.ptp(current))) or slope[k] <= 0:
        return None
    return float(potential[k] + (base - current[k]) / slope[k])


def _smoothed(trace: Trace, sweep: Sweep, window: float) -> tuple[np.ndarray, np.ndarray, int]:
    """Means of potential and current over ``window`` volts, in order of the sweep."""
    part = slice(sweep.start, sweep.stop)
    potential, current = (
        np.asarray(v[part], dtype=float) for v in (trace.potential, trace.current)
    )
    span = abs(sweep.potential_stop - sweep.potential_start)
    width = max(1, round(len(current) * window / span)) if span > 0 else 1
    blocks = len(current) // width
    shape = (blocks, width)
    used = blocks * width
    return (
        potential[:used].reshape(shape).mean(axis=1),
        current[:used].reshape(shape).mean(axis=1),
        width,
    )


def cycle_table(cycles: Sequence[Cycle]) -> dict[str, np.ndarray]:
    """Columns ``number``, ``charge_cathodic``, ``charge_anodic``, ``ce``, ``ce_uncertainty``."""
    names = ("number", "charge_cathodic", "charge_anodic", "ce", "ce_uncertainty")
    return {name: np.array([getattr(c, name) for c in cycles]) for name in names}
