"""Programs that electrochemists ask for, as steps of a landing. SI; negative currents plate.

Charges given to builders are magnitudes; the sign of the limit follows from the current's.
"""

import math

from nucleation_bluesky.contract.enums import OnLimit, StepKind, StepMode
from nucleation_bluesky.contract.program import Limits, Step

_FOREVER = 24 * 3600.0


def _magnitude(value: float, what: str, unit: str) -> float:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{what} is a magnitude and must be greater than 0 {unit} (got {value:g})")
    return value


def _count(value: int, what: str) -> int:
    if value < 1:
        raise ValueError(f"{what} must be 1 or more (got {value})")
    return value


def _charge_limit(charge: float | None, sign: float) -> Limits | None:
    if charge is None:
        return None
    charge = _magnitude(charge, "a charge limit", "C")
    return Limits(low=-charge) if sign < 0 else Limits(high=charge)


def cv(
    initial: float,
    vertex: float,
    rate: float,
    cycles: int = 1,
    *,
    hold: float = 0.0,
    current: Limits | None = None,
    blanking: float = 0.0,
    confirm_samples: int = 1,
) -> tuple[Step, ...]:
    """Cyclic voltammetry: sweeps from ``initial`` to ``vertex`` and back.

    Parameters
    ----------
    initial, vertex : float
        Raw potentials, V.
    rate : float
        Sweep rate, V/s.
    cycles : int
        Cycles, numbered from 1.
    hold : float
        Time at ``initial`` before the first sweep, s.
    current : Limits or None
        Limits that abort, A.
    blanking, confirm_samples
        As in `Step`.

    Raises
    ------
    ValueError
        If the potentials are equal, or rate or cycles are not positive.
    """
    _magnitude(rate, "the sweep rate", "V/s")
    _count(cycles, "cycles")
    if initial == vertex:
        raise ValueError("a cycle needs two different potentials")
    duration = abs(vertex - initial) / rate
    common = {"current": current, "blanking": blanking, "confirm_samples": confirm_samples}
    steps = []
    if hold:
        steps.append(Step(StepMode.POTENTIAL, initial, initial, hold, StepKind.HOLD, **common))
    for cycle in range(1, cycles + 1):
        for a, b in ((initial, vertex), (vertex, initial)):
            steps.append(Step(StepMode.POTENTIAL, a, b, duration, StepKind.SWEEP, cycle, **common))
    return tuple(steps)


def chronopotentiometry(
    current: float,
    duration: float,
    *,
    potential: Limits | None = None,
    charge: float | None = None,
    on_limit: OnLimit = OnLimit.ABORT,
    blanking: float = 0.0,
    confirm_samples: int = 1,
    cycle: int = 0,
) -> tuple[Step, ...]:
    """Constant current, labelled plate (negative), strip (positive) or rest (zero).

    Parameters
    ----------
    current : float
        Signed current, A.
    duration : float
        Longest duration, s.
    potential : Limits or None
        Potential limits, raw V.
    charge : float or None
        Charge (magnitude) at which the step ends, C.
    on_limit, blanking, confirm_samples, cycle
        As in `Step`.

    Raises
    ------
    ValueError
        If the duration or the charge is not positive.
    """
    kind = StepKind.REST if current == 0 else StepKind.PLATE if current < 0 else StepKind.STRIP
    return (
        Step(
            StepMode.CURRENT, current, current, duration, kind, cycle,
            potential=potential,
            charge=_charge_limit(charge, current),
            on_limit=on_limit, blanking=blanking, confirm_samples=confirm_samples,
        ),
    )  # fmt: skip


def chronoamperometry(
    potential: float,
    duration: float,
    *,
    current: Limits | None = None,
    charge: Limits | None = None,
    on_limit: OnLimit = OnLimit.ABORT,
    blanking: float = 0.0,
    confirm_samples: int = 1,
    kind: StepKind = StepKind.HOLD,
    cycle: int = 0,
) -> tuple[Step, ...]:
    """Constant potential (raw V) for ``duration`` s; limits as in `Step`."""
    return (
        Step(
            StepMode.POTENTIAL, potential, potential, duration, kind, cycle,
            current=current, charge=charge,
            on_limit=on_limit, blanking=blanking, confirm_samples=confirm_samples,
        ),
    )  # fmt: skip


def open_circuit(duration: float, *, cycle: int = 0) -> tuple[Step, ...]:
    """Rest at open circuit for ``duration`` s."""
    return (Step(StepMode.OPEN_CIRCUIT, 0.0, 0.0, duration, StepKind.REST, cycle),)


def pulses(
    on: float,
    on_time: float,
    off_time: float,
    count: int,
    *,
    mode: StepMode = StepMode.CURRENT,
    off: float = 0.0,
    potential: Limits | None = None,
    current: Limits | None = None,
    blanking: float = 0.0,
) -> tuple[Step, ...]:
    """Pulse plating: ``count`` pulses, numbered as cycles.

    Parameters
    ----------
    on, off : float
        Setpoint in the pulse and between pulses, A or V according to ``mode``.
    on_time, off_time : float
        Durations, s.
    count : int
        Number of pulses.
    mode : StepMode
        CURRENT or POTENTIAL.
    potential, current : Limits or None
        Limits that abort, V and A.
    blanking : float
        As in `Step`.

    Raises
    ------
    ValueError
        If the mode is open circuit, or a time or the count is not positive.
    """
    if mode is StepMode.OPEN_CIRCUIT:
        raise ValueError("pulses need mode CURRENT or POTENTIAL")
    _count(count, "the number of pulses")
    kind = StepKind.PLATE if on < off else StepKind.STRIP
    steps = []
    for cycle in range(1, count + 1):
        for level, time, label in ((on, on_time, kind), (off, off_time, StepKind.REST)):
            steps.append(
                Step(
                    mode, level, level, time, label, cycle,
                    potential=potential, current=current, blanking=blanking,
                )
            )  # fmt: skip
    return tuple(steps)


def plate_rest_strip(
    plate_current: float,
    charge: float,
    *,
    strip_current: float | None = None,
    strip_potential: float | None = None,
    rest: float = 1.0,
    cycles: int = 1,
    potential: Limits | None = None,
    strip_time: float | None = None,
    blanking: float = 0.0,
) -> tuple[Step, ...]:
    """Plate a charge, rest, strip to a potential limit, rest; repeated.

    Plating lasts charge / current and aborts at the limits in ``potential``. Stripping ends
    (next step) at ``strip_potential``, or when the plated charge is back.

    Parameters
    ----------
    plate_current, strip_current : float
        Magnitudes, A; ``strip_current`` is ``plate_current`` by default.
    charge : float
        Charge plated in each cycle, magnitude, C.
    strip_potential : float or None
        Raw potential at which stripping is over, V; None for charge alone.
    rest : float
        Rest at zero current after plating and after stripping, s; 0 for none.
    cycles : int
        Cycles, numbered from 1.
    potential : Limits or None
        Potential limits that abort while plating, raw V.
    strip_time : float or None
        Longest stripping, s; 1.5 times what the charge needs by default.
    blanking : float
        As in `Step`.

    Raises
    ------
    ValueError
        If a magnitude or the number of cycles is not positive.
    """
    _magnitude(plate_current, "the plating current", "A")
    _magnitude(charge, "the charge", "C")
    back = _magnitude(strip_current or plate_current, "the stripping current", "A")
    _count(cycles, "cycles")
    if strip_time is None:
        strip_time = 1.5 * charge / back
    stripped = None if strip_potential is None else Limits(high=strip_potential)
    steps: list[Step] = []
    for cycle in range(1, cycles + 1):
        pause = chronopotentiometry(0.0, rest, potential=potential, cycle=cycle) if rest > 0 else ()
        plating = chronopotentiometry(
            -plate_current, charge / plate_current,
            potential=potential, blanking=blanking, cycle=cycle,
        )  # fmt: skip
        stripping = chronopotentiometry(
            back, min(strip_time, _FOREVER), potential=stripped, charge=charge,
            on_limit=OnLimit.NEXT_STEP, blanking=blanking, cycle=cycle,
        )  # fmt: skip
        steps += [*plating, *pause, *stripping, *pause]
    return tuple(steps)
