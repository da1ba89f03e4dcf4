"""Steps of a program in a record: what each one passed, and plate-strip cycles (S13).

The controller's step numbers are used where they were recorded; else steps are found where the
controlled quantity jumps.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nucleation_bluesky.analysis.seccm.trace import Trace, sample_noise

REST, PLATE, STRIP = "rest", "plate", "strip"
LIMITS = ("time", "charge", "potential", "current", "unknown")
MIN_STEP = 3  # samples


@dataclass(frozen=True)
class Planned:
    """What the program said of a step; None where it said nothing.

    Parameters
    ----------
    kind : str or None
        "rest", "plate", "strip", "sweep" or "hold".
    duration : float or None
        s, of the full step.
    potential, current, charge : tuple of float or None
        Limits (low, high), V, A, C; NaN for an open side. Charge counts from the step's start.
    cycle : int or None
        Number of its cycle.
    """

    kind: str | None = None
    duration: float | None = None
    potential: tuple[float, float] | None = None
    current: tuple[float, float] | None = None
    charge: tuple[float, float] | None = None
    cycle: int | None = None


@dataclass(frozen=True)
class StepSummary:
    """One step as measured.

    Parameters
    ----------
    number : int
        In the program, or in order of time.
    kind : str
        "plate" (net reduction), "strip" (net oxidation) or "rest", or what the program says.
    cycle : int
        From 1; 0 for a step that belongs to none.
    start, duration : float
        s, on the record's own time.
    charge : float
        Signed, C.
    mean_current : float
        A.
    potential_start, potential_end, potential_min, potential_max : float
        V, over the means of the noise.
    ended_by : str
        "time", "charge", "potential", "current", or "unknown" without a program.
    first, last : int
        Samples ``first:last``.
    """

    number: int
    kind: str
    cycle: int
    start: float
    duration: float
    charge: float
    mean_current: float
    potential_start: float
    potential_end: float
    potential_min: float
    potential_max: float
    ended_by: str
    first: int
    last: int


@dataclass(frozen=True)
class PlateStrip:
    """One cycle of plating and stripping.

    Parameters
    ----------
    number : int
        From 1.
    charge_cathodic, charge_anodic : float
        Magnitudes, C.
    ce : float
        Their ratio; NaN where nothing was plated or nothing stripped yet.
    steps : tuple of int
        Indices into the list of steps.
    """

    number: int
    charge_cathodic: float
    charge_anodic: float
    ce: float
    steps: tuple[int, ...]


def find_steps(trace: Trace, planned: Mapping[int, Planned] | None = None) -> list[StepSummary]:
    """Summarise every step of a record.

    Parameters
    ----------
    trace : Trace
        The record.
    planned : mapping of int to Planned, optional
        The program by step number.
    """
    trace = trace.finite()
    if len(trace) < 2:
        return []
    edges, numbers = _by_number(trace) if trace.step is not None else _byjumps(trace)
    charge = trace.charge()
    noise = sample_noise(trace.current)
    scale = float(np.percentile(np.abs(trace.current), 95))
    found: list[StepSummary] = []
    for (first, last), number in zip(edges, numbers, strict=True):
        plan = (planned or {}).get(number, Planned())
        found.append(_summary(trace, charge, (first, last), number, plan, noise, scale))
    return _with_cycles(found, planned or {})


def _by_number(trace: Trace) -> tuple[list[tuple[int, int]], list[int]]:
    step = np.asarray(trace.step)
    cuts = np.flatnonzero(np.diff(step)) + 1
    bounds = [0, *cuts.tolist(), len(step)]
    pairs = [(a, b) for a, b in itertools.pairwise(bounds) if step[a] >= 0]
    return pairs, [int(step[a]) for a, _ in pairs]


def _byjumps(trace: Trace) -> tuple[list[tuple[int, int]], list[int]]:
    """Cut where the controlled quantity (the one that is constant between jumps) jumps."""
    current, potential = (np.asarray(v, dtype=float) for v in (trace.current, trace.potential))
    cuts = max((jumps(v) for v in (current, potential)), key=lambda found: found[1])[0]
    bounds = [0, *cuts, len(current)]
    pairs = list(itertools.pairwise(bounds))
    return pairs, list(range(len(pairs)))


def jumps(values: np.ndarray) -> tuple[list[int], float]:
    """Find the jumps of a controlled quantity.

    Returns
    -------
    places : list of int
        First sample after each jump.
    described : float
        Share of the variance that constants between the jumps describe, 0 to 1.
    """
    noise = sample_noise(values)
    span = float(np.ptp(np.percentile(values, [1, 99])))
    if span <= 10 * noise or span == 0:
        return [], 1.0 if span == 0 or noise > 0.1 * span else 0.0
    least = max(8 * noise, 0.05 * span)
    ahead = np.abs(values[2:] - values[:-2]) > least  # a transition may take one sample
    places: list[int] = []
    index = np.flatnonzero(ahead) + 1
    for group in np.split(index, np.flatnonzero(np.diff(index) > 1) + 1):
        if group.size == 0:
            continue
        steps = np.abs(np.diff(values[group[0] - 1 : group[-1] + 2]))
        at = int(group[0] + np.argmax(steps))
        if at - (places[-1] if places else 0) >= MIN_STEP and len(values) - at >= MIN_STEP:
            places.append(at)
    bounds = [0, *places, len(values)]
    rest = np.concatenate(
        [values[a:b] - np.median(values[a:b]) for a, b in itertools.pairwise(bounds)]
    )
    total = float(np.sum((values - np.mean(values)) ** 2))
    return places, max(0.0, 1 - float(np.sum(rest**2)) / total) if total else 1.0


def _summary(
    trace: Trace,
    charge: np.ndarray,
    window: tuple[int, int],
    number: int,
    plan: Planned,
    noise: float,
    scale: float,
) -> StepSummary:
    first, last = window
    time = trace.time
    end = min(last, len(time) - 1)
    passed = float(charge[end] - charge[first])
    duration = float(time[end] - time[first])
    current = np.asarray(trace.current[first:last], dtype=float)
    mean = float(current.mean())
    potential = np.asarray(trace.potential[first:last], dtype=float)
    width = max(1, min(9, len(potential) // 10))
    used = len(potential) // width * width
    means = potential[:used].reshape(-1, width).mean(axis=1)
    still = max(4 * noise / np.sqrt(len(current)), 0.02 * scale)
    kind = plan.kind or (REST if abs(mean) <= still else PLATE if mean < 0 else STRIP)
    return StepSummary(
        number=number,
        kind=kind,
        cycle=plan.cycle or 0,
        start=float(time[first]),
        duration=duration,
        charge=passed,
        mean_current=mean,
        potential_start=float(means[0]),
        potential_end=float(means[-1]),
        potential_min=float(means.min()),
        potential_max=float(means.max()),
        ended_by=_ended_by(plan, duration, passed, potential, current, trace.period),
        first=first,
        last=last,
    )


def _ended_by(
    plan: Planned,
    duration: float,
    charge: float,
    potential: np.ndarray,
    current: np.ndarray,
    period: float,
) -> str:
    """Which limit ended the step: time where it ran its length, else the limit it reached."""
    if plan.duration is None:
        return "unknown"
    if duration > plan.duration - 1.5 * period:
        return "time"
    step = abs(float(current[-1])) * 2 * period
    margin = 2e-3 + 3 * sample_noise(potential)
    near = {
        "charge": _reached(plan.charge, charge, step),
        "potential": _reached(plan.potential, float(potential[-1]), margin),
        "current": _reached(plan.current, float(current[-1]), 3 * sample_noise(current)),
    }
    return next((name for name, reached in near.items() if reached), "unknown")


def _reached(limits: tuple[float, float] | None, value: float, margin: float) -> bool:
    if limits is None:
        return False
    low, high = limits
    return bool(value <= low + margin or value >= high - margin)


def _with_cycles(steps: list[StepSummary], planned: Mapping[int, Planned]) -> list[StepSummary]:
    """Count cycles where the program does not: a plating after a stripping begins one."""
    if any(p.cycle for p in planned.values()):
        return steps
    cycle, stripped = 1, False
    numbered = []
    for step in steps:
        if step.charge < 0 and step.kind != REST and stripped:
            cycle, stripped = cycle + 1, False
        stripped |= step.charge > 0 and step.kind != REST
        numbered.append(StepSummary(**{**vars(step), "cycle": cycle}))
    return numbered


def plate_strip_cycles(steps: Sequence[StepSummary]) -> list[PlateStrip]:
    """Coulombic efficiency by cycle of plating and stripping steps; rests count for nothing.

    Parameters
    ----------
    steps : sequence of StepSummary
        As `find_steps` gives them.
    """
    cycles: dict[int, list[int]] = {}
    for index, step in enumerate(steps):
        cycles.setdefault(step.cycle, []).append(index)
    found = []
    for number, members in sorted(cycles.items()):
        active = [steps[k] for k in members if steps[k].kind != REST]
        cathodic = -sum(s.charge for s in active if s.charge < 0)
        anodic = sum(s.charge for s in active if s.charge > 0)
        there = cathodic > 0 and any(s.charge > 0 for s in active)
        ce = anodic / cathodic if there else float("nan")
        found.append(PlateStrip(number, cathodic, anodic, ce, tuple(members)))
    return found
