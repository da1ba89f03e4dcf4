"""A landing of a pipette: approach, contact, program of steps, withdrawal.

Potentials are raw volts between the electrodes as the instrument applies them; what they are
against a reference electrode belongs to the start document. Currents and charges are signed:
negative reduces (plates). All values are SI.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nucleation_bluesky.contract.enums import ContactMode, OnLimit, StepKind, StepMode

MAX_STEPS = 512
UNLIMITED = 1e30  # stands for "no limit" in tables: EPICS values have to be finite
COLUMNS: dict[str, tuple[str, str]] = {
    # name: (SI unit, meaning); the order is the layout of a row of the PROGRAM waveform
    "mode": ("", "StepMode: what is controlled"),
    "start": ("V or A", "setpoint at the start of the step (0 at open circuit)"),
    "end": ("V or A", "setpoint at its end; linear in between"),
    "duration": ("s", "duration; at least one sample"),
    "kind": ("", "StepKind: label for analysis"),
    "cycle": ("", "number of the cycle, counted from 1; 0 outside cycles"),
    "potential_low": ("V", "lower potential limit, -1e30 without"),
    "potential_high": ("V", "upper potential limit, 1e30 without"),
    "current_low": ("A", "lower current limit, -1e30 without"),
    "current_high": ("A", "upper current limit, 1e30 without"),
    "charge_low": ("C", "lower limit of the net charge since the step's start, -1e30 without"),
    "charge_high": ("C", "upper limit of it, 1e30 without"),
    "on_limit": ("", "OnLimit: what follows when a limit is reached"),
    "blanking": ("s", "after the step's start potential and current are not compared"),
    "confirm_samples": ("", "consecutive samples outside potential or current limits that count"),
}
N_COLUMNS = len(COLUMNS)


@dataclass(frozen=True)
class Limits:
    """A signed range; reaching beyond either end is the limit. Infinite ends do not limit.

    Parameters
    ----------
    low, high : float
        Ends, V, A or C.

    Raises
    ------
    ValueError
        If an end is NaN, or ``low`` is not below ``high``.
    """

    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if not self.low < self.high:  # NaN as well
            raise ValueError(f"a limit range needs low < high (got {self.low:g} to {self.high:g})")

    @property
    def active(self) -> bool:
        """Whether either end limits."""
        return math.isfinite(self.low) or math.isfinite(self.high)


@dataclass(frozen=True)
class Step:
    """One step of a landing's program.

    Sample ``k`` of a step (k = 0, 1, ...) is taken with the setpoint
    ``start + (end - start) * k / n``, where ``n`` is the number of samples of the whole step.

    Parameters
    ----------
    mode : StepMode
        What is controlled.
    start, end : float
        Setpoint at both ends, V (potential) or A (current); 0 at open circuit.
    duration : float
        Longest duration, s.
    kind : StepKind
        Label for analysis.
    cycle : int
        Number of the cycle from 1, 0 outside cycles.
    potential, current, charge : Limits or None
        Limits on the measured potential (V), the measured current (A) and the net charge since
        the step's start (C, current times sample period); None for none.
    on_limit : OnLimit
        What follows when any of them is reached.
    blanking : float
        Time after the step's start in which potential and current are not compared, s.
    confirm_samples : int
        Consecutive samples outside the limits of potential or current that count. Charge needs no
        confirmation.

    Raises
    ------
    ValueError
        If a value is not finite or out of range, or a charge limit would be reached at once.
    """

    mode: StepMode
    start: float
    end: float
    duration: float
    kind: StepKind = StepKind.HOLD
    cycle: int = 0
    potential: Limits | None = None
    current: Limits | None = None
    charge: Limits | None = None
    on_limit: OnLimit = OnLimit.ABORT
    blanking: float = 0.0
    confirm_samples: int = 1

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.start, self.end, self.duration, self.blanking))):
            raise ValueError("a step holds a number that is not finite (NaN or infinity)")
        if self.duration <= 0:
            raise ValueError(f"a step must last longer than 0 s (got {self.duration:g} s)")
        if self.mode is StepMode.OPEN_CIRCUIT and (self.start or self.end):
            raise ValueError("a step at open circuit has no setpoint: start and end must be 0")
        if self.cycle < 0 or self.blanking < 0 or self.confirm_samples < 1:
            raise ValueError("cycle and blanking must be 0 or more, confirm_samples 1 or more")
        if self.charge is not None and not self.charge.low < 0 < self.charge.high:
            raise ValueError(
                f"charge limits must enclose zero (got {self.charge.low:g} to "
                f"{self.charge.high:g} C): the charge of a step starts at 0"
            )

    def n_samples(self, period: float) -> int:
        """Return the number of samples of the complete step."""
        return max(1, round(self.duration / period))

    def setpoints(self, period: float) -> np.ndarray:
        """Setpoint of each sample, V or A, shape (n_samples,)."""
        n = self.n_samples(period)
        return self.start + (self.end - self.start) * np.arange(n) / n


@dataclass(frozen=True)
class Approach:
    """Approach of the pipette until its meniscus touches the surface.

    Parameters
    ----------
    speed : float
        Speed, m/s.
    z_max : float
        Extension at which an approach without contact ends, m (larger is nearer the sample).
    mode : ContactMode
        How contact is recognised.
    potential : float
        Potential applied, V (mode CURRENT).
    current : float
        Current applied, A (mode OVERLOAD).
    threshold : float
        Mode CURRENT: magnitude of current, A. Mode OVERLOAD: drop of the magnitude of the
        potential, V.
    confirm_samples : int
        Consecutive samples beyond the threshold that make a contact.

    Raises
    ------
    ValueError
        If a value is not finite or out of range.
    """

    speed: float = 2e-6
    z_max: float = 50e-6
    mode: ContactMode = ContactMode.CURRENT
    potential: float = 0.0
    current: float = 0.0
    threshold: float = 5e-12
    confirm_samples: int = 2

    def __post_init__(self) -> None:
        numbers = (self.speed, self.z_max, self.potential, self.current, self.threshold)
        if not all(map(math.isfinite, numbers)):
            raise ValueError("the approach holds a number that is not finite (NaN or infinity)")
        if self.speed <= 0:
            raise ValueError("the approach speed must be greater than 0 m/s")
        if self.threshold <= 0:
            raise ValueError("the contact threshold is a magnitude and must be greater than 0")
        if self.confirm_samples < 1:
            raise ValueError("confirm_samples must be 1 or more")
        if self.mode is ContactMode.OVERLOAD and self.current == 0:
            raise ValueError(
                "an approach by overload needs a current other than 0 A: without one the "
                "potential does not go to its overload"
            )


@dataclass(frozen=True)
class Program:
    """Everything that the controller does in one landing.

    Parameters
    ----------
    approach : Approach or None
        None runs the steps where the pipette is.
    steps : tuple of Step
        Program after contact; empty for contact only.
    sample_period : float
        Time between samples, s.
    retract_distance, retract_speed : float
        Withdrawal at the end, m and m/s.

    Raises
    ------
    ValueError
        If there is nothing to do, too many steps, or a value is out of range.
    """

    approach: Approach | None
    steps: tuple[Step, ...] = ()
    sample_period: float = 2.57e-3
    retract_distance: float = 8e-6
    retract_speed: float = 2e-6

    def __post_init__(self) -> None:
        if self.approach is None and not self.steps:
            raise ValueError("a landing needs an approach, steps, or both")
        if len(self.steps) > MAX_STEPS:
            raise ValueError(f"a program has at most {MAX_STEPS} steps (got {len(self.steps)})")
        for value, what in (
            (self.sample_period, "the sample period"),
            (self.retract_distance, "the retract distance"),
            (self.retract_speed, "the retract speed"),
        ):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{what} must be greater than 0 (got {value:g})")

    @property
    def duration(self) -> float:
        """Duration of all steps without a limit being reached, s."""
        return self.n_program_samples * self.sample_period

    @property
    def n_program_samples(self) -> int:
        """Samples of all steps."""
        return sum(step.n_samples(self.sample_period) for step in self.steps)

    def max_samples(self, z: float) -> int:
        """Upper bound of the samples of the whole landing, withdrawal included.

        Parameters
        ----------
        z : float
            Extension of the pipette before the approach, m.
        """
        way = max(self.approach.z_max - z, 0.0) if self.approach else 0.0
        down = way / self.approach.speed if self.approach else 0.0
        up = max(self.retract_distance, way) / self.retract_speed
        margin = 64  # latency of contact, safe state and settling
        return math.ceil((down + up) / self.sample_period) + self.n_program_samples + margin

    def table(self) -> np.ndarray:
        """Return the steps as numbers, float64, shape (n_steps, N_COLUMNS)."""
        rows = np.zeros((len(self.steps), N_COLUMNS))
        for row, step in zip(rows, self.steps, strict=True):
            ends: list[float] = []
            for limits in (step.potential, step.current, step.charge):
                low, high = (limits.low, limits.high) if limits else (-math.inf, math.inf)
                ends += [max(low, -UNLIMITED), min(high, UNLIMITED)]
            row[:] = [
                step.mode, step.start, step.end, step.duration, step.kind, step.cycle, *ends,
                step.on_limit, step.blanking, step.confirm_samples,
            ]  # fmt: skip
        return rows

    def document(self) -> dict[str, Any]:
        """Return a plain mapping for the start document (see `program_from_document`)."""
        approach = None
        if self.approach is not None:
            approach = {**vars(self.approach), "mode": self.approach.mode.label}
        return {
            "columns": list(COLUMNS),
            "table": self.table().tolist(),
            "approach": approach,
            "sample_period": self.sample_period,
            "retract_distance": self.retract_distance,
            "retract_speed": self.retract_speed,
        }


def program_from_document(document: dict[str, Any]) -> Program:
    """Return the program that `Program.document` described.

    Raises
    ------
    ValueError
        If the table cannot be read.
    """
    approach = document["approach"]
    if approach is not None:
        approach = Approach(**{**approach, "mode": ContactMode.from_label(approach["mode"])})
    return Program(
        approach,
        steps_from_table(np.asarray(document["table"], dtype=float).reshape(-1, N_COLUMNS)),
        document["sample_period"],
        document["retract_distance"],
        document["retract_speed"],
    )


def steps_from_table(table: np.ndarray) -> tuple[Step, ...]:
    """Return the steps of a table.

    Parameters
    ----------
    table : ndarray, shape (n_steps, N_COLUMNS)
        As made by `Program.table`.

    Raises
    ------
    ValueError
        If the shape, an enumeration or a value is wrong; the message names the step.
    """
    table = np.asarray(table, dtype=float)
    if table.ndim != 2 or table.shape[1] != N_COLUMNS:
        raise ValueError(
            f"a program table has {N_COLUMNS} columns ({', '.join(COLUMNS)}), "
            f"got an array of shape {table.shape}"
        )
    steps = []
    for number, row in enumerate(table):
        value = dict(zip(COLUMNS, row.tolist(), strict=True))
        try:
            limits = {
                name: _limits(value[f"{name}_low"], value[f"{name}_high"])
                for name in ("potential", "current", "charge")
            }
            steps.append(
                Step(
                    StepMode(_integer(value, "mode")),
                    value["start"],
                    value["end"],
                    value["duration"],
                    StepKind(_integer(value, "kind")),
                    _integer(value, "cycle"),
                    on_limit=OnLimit(_integer(value, "on_limit")),
                    blanking=value["blanking"],
                    confirm_samples=_integer(value, "confirm_samples"),
                    **limits,
                )
            )
        except ValueError as error:
            raise ValueError(f"step {number} of the program: {error}") from None
    return tuple(steps)


def _integer(value: dict[str, float], name: str) -> int:
    number = value[name]
    if not number.is_integer():  # False for NaN and infinity too
        raise ValueError(f"{name} must be a whole number (got {number:g})")
    return int(number)


def _limits(low: float, high: float) -> Limits | None:
    limits = Limits(
        -math.inf if low <= -UNLIMITED else low, math.inf if high >= UNLIMITED else high
    )
    return limits if limits.active else None


def concatenate(*parts: Iterable[Step]) -> tuple[Step, ...]:
    """Return the steps of several builders one after the other."""
    return tuple(step for part in parts for step in part)
