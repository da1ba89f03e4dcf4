"""Ranges of the SECCM family's PVs, and the program that they describe."""

import numpy as np

from nucleation_bluesky.contract.enums import ContactMode, Fault, StepMode
from nucleation_bluesky.contract.program import (
    MAX_STEPS,
    N_COLUMNS,
    UNLIMITED,
    Approach,
    Program,
    Step,
    steps_from_table,
)
from nucleation_bluesky.iocs.backend import Capabilities
from nucleation_bluesky.iocs.parameters import LARGE, SI, TINY, shared_ranges, si
from nucleation_bluesky.iocs.pvdb import Channels
from nucleation_bluesky.iocs.seccm_backend import SeccmBackend
from nucleation_bluesky.iocs.state import Refusal

UM = SI["um"]


def ranges(backend: SeccmBackend) -> dict[str, tuple[float, float]]:
    """Return the accepted range of every writable number, in the PV's unit, ends included."""
    caps = backend.controller.capabilities
    rates = caps.sample_rate_range
    current = caps.current_range / SI["pA"]
    found = shared_ranges(caps) | {
        "PROGRAM": (-UNLIMITED, UNLIMITED),
        "PROGRAM:STEPS": (0, MAX_STEPS),
        "SAMPLE:PERIOD": (1 / rates[1], 1 / rates[0]),
        "APPROACH:ON": (0, 1),
        "APPROACH:SPEED": (TINY, LARGE),
        "APPROACH:Z_MAX": (-LARGE, LARGE),
        "APPROACH:POTENTIAL": caps.bias_range,
        "APPROACH:CURRENT": (-current, current),
        "APPROACH:THRESHOLD": (1e-18, 1e3),
        "APPROACH:CONFIRM": (1, 1_000_000),
        "RETRACT:DISTANCE": (TINY, LARGE),
        "RETRACT:SPEED": (TINY, LARGE),
        "ELM:RANGE": (TINY, LARGE),
        "ELM:FILTER": (TINY, LARGE),
        "PIP:CLEARANCE": (0.0, LARGE),
    }
    if backend.pipette is not None:
        for axis, limits in backend.pipette.limits.items():
            low, high = (v / UM for v in limits)
            found[f"PIP:{axis.upper()}"] = (low, high)
            found[f"PIP:{axis.upper()}:SPEED"] = (TINY, backend.pipette.max_speed[axis] / UM)
            if axis == "z":
                found["PIP:Z:SOFT_LIMIT"] = found["PIP:Z:SAFE"] = (low, high)
                found["APPROACH:Z_MAX"] = (low, high)
                fastest = backend.pipette.max_speed["z"] / UM
                found["APPROACH:SPEED"] = found["RETRACT:SPEED"] = (TINY, fastest)
    return found


def program(channels: Channels) -> Program:
    """Return the program that the PVs describe.

    Raises
    ------
    Refusal
        BAD_PARAMETER if they do not fit together.
    """
    steps, table = channels.value("PROGRAM:STEPS"), np.atleast_1d(channels.value("PROGRAM"))
    if steps * N_COLUMNS > len(table):
        raise Refusal(
            Fault.BAD_PARAMETER,
            f"PROGRAM holds {len(table)} numbers, {steps} steps need {steps * N_COLUMNS}: write "
            "PROGRAM and PROGRAM:STEPS together",
        )
    try:
        return Program(
            _approach(channels) if channels.value("APPROACH:ON") else None,
            steps_from_table(table[: steps * N_COLUMNS].reshape(steps, N_COLUMNS)),
            channels.value("SAMPLE:PERIOD"),
            si(channels, "RETRACT:DISTANCE"),
            si(channels, "RETRACT:SPEED"),
        )
    except ValueError as error:
        raise Refusal(Fault.BAD_PARAMETER, str(error)) from None


def _approach(channels: Channels) -> Approach:
    return Approach(
        speed=si(channels, "APPROACH:SPEED"),
        z_max=si(channels, "APPROACH:Z_MAX"),
        mode=channels.value("APPROACH:MODE"),
        potential=si(channels, "APPROACH:POTENTIAL"),
        current=si(channels, "APPROACH:CURRENT"),
        threshold=channels.value("APPROACH:THRESHOLD"),
        confirm_samples=channels.value("APPROACH:CONFIRM"),
    )


def check_program(program: Program, capabilities: Capabilities) -> None:
    """Refuse a program that the instrument cannot run.

    Raises
    ------
    Refusal
        BAD_PARAMETER.
    """
    low, high = capabilities.bias_range
    for number, step in enumerate(program.steps):
        if text := _out_of_range(step, low, high, capabilities.current_range):
            raise Refusal(Fault.BAD_PARAMETER, f"step {number} of the program: {text}")
    approach = program.approach
    if approach is not None and approach.mode is ContactMode.CURRENT:
        if approach.threshold >= capabilities.current_range:
            raise Refusal(
                Fault.BAD_PARAMETER,
                f"the contact threshold {approach.threshold:g} A is not below full scale "
                f"({capabilities.current_range:g} A): contact could not be seen",
            )
    elif approach is not None and approach.threshold >= max(abs(low), abs(high)):
        raise Refusal(
            Fault.BAD_PARAMETER,
            f"APPROACH:THRESHOLD {approach.threshold:g} V is not below the overload of "
            f"{max(abs(low), abs(high)):g} V: contact could not be seen",
        )


def _out_of_range(step: Step, low: float, high: float, current: float) -> str:
    values = (step.start, step.end)
    if step.mode is StepMode.POTENTIAL and not all(low <= v <= high for v in values):
        return f"potential {step.start:g} to {step.end:g} V is outside {low:g} to {high:g} V"
    if step.mode is StepMode.CURRENT and max(map(abs, values)) > current:
        return f"current {step.start:g} to {step.end:g} A is beyond full scale, {current:g} A"
    return ""
