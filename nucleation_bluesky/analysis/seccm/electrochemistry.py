"""The electrochemical results of one landing, whatever its technique."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from nucleation_bluesky.analysis.seccm.cycles import (
    Cycle,
    Peak,
    anodic_peaks,
    cycle_charges,
    plating_onset,
)
from nucleation_bluesky.analysis.seccm.galvanostatic import Plating, plating_step
from nucleation_bluesky.analysis.seccm.minimum import MinimumSettings
from nucleation_bluesky.analysis.seccm.steps import (
    Planned,
    PlateStrip,
    StepSummary,
    find_steps,
    jumps,
    plate_strip_cycles,
)
from nucleation_bluesky.analysis.seccm.sweeps import Sweep, find_sweeps
from nucleation_bluesky.analysis.seccm.trace import Trace

TECHNIQUES = ("galvanostatic", "cv", "chronoamperometry", "pulse", "cycling")
MIN_BASELINE = 8  # samples without contact that make a baseline


@dataclass(frozen=True)
class ElectrochemistryOptions:
    """Choices of the electrochemical analysis.

    Parameters
    ----------
    minimum : MinimumSettings
        Of the search for the nucleation potential.
    capacitance : float
        Double layer whose charging is subtracted from a voltammogram, F.
    baseline : float or None
        Current of the open electrometer, A; None takes what was recorded before contact, 0 where
        nothing was.
    """

    minimum: MinimumSettings = field(default_factory=MinimumSettings)
    capacitance: float = 0.0
    baseline: float | None = None


@dataclass(frozen=True)
class Electrochemistry:
    """Results of one landing; parts that its technique does not have are None or empty.

    Parameters
    ----------
    technique : str
        One of TECHNIQUES.
    plating : Plating or None
        Of the (first) galvanostatic plating.
    cycles : tuple of Cycle
        Of a voltammogram.
    onset, peaks : float or None, tuple of Peak
        Plating onset of the first, stripping peaks of the last voltammetric cycle.
    scan_rate : float or None
        Measured, V/s.
    steps : tuple of StepSummary
        Of every other technique.
    plate_strip : tuple of PlateStrip
        CE by cycle of steps, where anything was plated.
    charge : float
        Net charge of the program, C, signed.
    baseline : float
        Subtracted from the current of a voltammogram, A.
    missing : mapping
        Why a part is not there.
    """

    technique: str
    plating: Plating | None = None
    cycles: tuple[Cycle, ...] = ()
    onset: float | None = None
    peaks: tuple[Peak, ...] = ()
    scan_rate: float | None = None
    steps: tuple[StepSummary, ...] = ()
    plate_strip: tuple[PlateStrip, ...] = ()
    charge: float = 0.0
    baseline: float = 0.0
    missing: Mapping[str, str] = field(default_factory=dict)

    def cycle_columns(self) -> dict[str, np.ndarray]:
        """Per cycle: ``number``, ``ce``, ``charge_cathodic``, ``charge_anodic`` (C)."""
        source = self.cycles or self.plate_strip
        names = ("number", "ce", "charge_cathodic", "charge_anodic")
        return {name: np.array([getattr(c, name) for c in source], dtype=float) for name in names}


def analyse_electrochemistry(
    trace: Trace,
    technique: str,
    planned: Mapping[int, Planned] | None = None,
    options: ElectrochemistryOptions | None = None,
) -> Electrochemistry:
    """Analyse one landing's electrochemistry.

    Parameters
    ----------
    trace : Trace
        The whole landing, approach and withdrawal included where they were recorded.
    technique : str
        One of TECHNIQUES.
    planned : mapping of int to Planned, optional
        The program by step number.
    options : ElectrochemistryOptions or None

    Raises
    ------
    ValueError
        If the technique is unknown.
    """
    if technique not in TECHNIQUES:
        raise ValueError(f"'{technique}' is not one of {', '.join(TECHNIQUES)}")
    options = options or ElectrochemistryOptions()
    program = trace.in_program().finite()
    if len(program) < 2:
        reason = {"electrochemistry": "the landing has no samples of a program"}
        return Electrochemistry(technique, missing=reason)
    if program.step is not None and not planned and len(np.unique(program.step)) == 1:
        program = replace(program, step=None)  # one line of a program may hold several steps
    charge = float(program.charge()[-1])
    if technique == "cv":
        baseline = open_circuit_current(trace) if options.baseline is None else options.baseline
        return _voltammogram(program, charge, baseline, options)
    plating = None
    missing: dict[str, str] = {}
    if technique != "chronoamperometry":
        plating = plating_step(_first_plating(program, planned or {}), options.minimum)
        missing = {} if plating.nucleated else {"e_nuc": plating.reason}
        if plating.nucleated and plating.e_growth is None:
            missing["e_growth"] = plating.growth_reason
    steps = find_steps(program, planned)
    return Electrochemistry(
        technique,
        plating=plating,
        steps=tuple(steps),
        plate_strip=tuple(plate_strip_cycles(steps)) if technique != "galvanostatic" else (),
        charge=charge,
        missing=missing,
    )


def guess_technique(trace: Trace) -> str:
    """Tell the technique of a record that does not say it.

    A potential that sweeps linearly in both directions is a voltammogram; else the quantity that
    stays the same between jumps was controlled: the current ("galvanostatic", or "cycling" where
    it also strips) or the potential ("chronoamperometry").
    """
    trace = trace.finite()
    if len(trace) < 16:
        return "chronoamperometry"
    try:
        sweeps = find_sweeps(trace)
    except ValueError:
        return "chronoamperometry"
    spread = np.percentile(trace.current, [5, 95])
    steady = float(np.ptp(spread)) < 0.1 * float(np.max(np.abs(spread)))
    if not steady and all(_is_linear(trace, sweep) for sweep in sweeps):
        return "cv"
    _places, by_current = jumps(trace.current)
    _places, by_potential = jumps(trace.potential)
    if by_potential > by_current and not steady:
        return "chronoamperometry"
    return "cycling" if spread[0] < 0 < spread[1] and not steady else "galvanostatic"


def _is_linear(trace: Trace, sweep: Sweep) -> bool:
    """Tell whether the potential follows a line within a fiftieth of the sweep's span."""
    part = slice(sweep.start, sweep.stop)
    time = np.asarray(trace.time[part]) - trace.time[sweep.start]
    potential = np.asarray(trace.potential[part], dtype=float)
    if len(time) < 8:
        return False
    rest = potential - np.polyval(np.polyfit(time, potential, 1), time)
    return float(np.std(rest)) < 0.02 * float(np.ptp(potential))


def open_circuit_current(trace: Trace) -> float:
    """Mean current before contact, A: the electrometer's offset; 0 where it was not recorded.

    A pipette above the surface carries no current; spikes of false contacts do not enter the
    median.
    """
    if trace.step is None:
        return 0.0
    before = np.asarray(trace.current, dtype=float)[np.asarray(trace.step) == -1]
    before = before[np.isfinite(before)]
    before = before[: max(0, len(before) - MIN_BASELINE)]  # the last ones are the contact
    return float(np.median(before)) if len(before) >= MIN_BASELINE else 0.0


def _voltammogram(
    program: Trace, charge: float, baseline: float, options: ElectrochemistryOptions
) -> Electrochemistry:
    try:
        cycles, sweeps = cycle_charges(program, baseline=baseline, capacitance=options.capacitance)
    except ValueError as exc:
        return Electrochemistry("cv", charge=charge, missing={"cycles": str(exc)})
    cathodic = [s for s in sweeps if s.direction < 0]
    anodic = [s for s in sweeps if s.direction > 0]
    missing = {}
    onset = plating_onset(program, cathodic[0])
    if onset is None:
        missing["onset"] = "the first cathodic sweep shows no onset of plating"
    return Electrochemistry(
        "cv",
        cycles=tuple(cycles),
        onset=onset,
        peaks=tuple(anodic_peaks(program, anodic[-1])) if anodic else (),
        scan_rate=float(np.median([s.rate for s in sweeps])),
        charge=charge,
        baseline=baseline,
        missing=missing,
    )


def _first_plating(program: Trace, planned: Mapping[int, Planned]) -> Trace:
    """Return the samples of the first step that plates, all where the program does not say."""
    if program.step is None:
        return program
    for number in sorted(planned):
        if planned[number].kind == "plate" and np.any(program.step == number):
            return program.part(np.asarray(program.step) == number)
    return program
