"""Ranges of the writable PVs, and the ramp and compliance they describe."""

import math
from typing import Any

from nucleation_bluesky.contract.enums import (
    AbortLocation,
    Background,
    ContractEnum,
    Fault,
    SafeState,
)
from nucleation_bluesky.contract.pvs import PV, Kind
from nucleation_bluesky.contract.ramp import MAX_SEGMENTS, Compliance, RampSpec, Window
from nucleation_bluesky.iocs.backend import AfmBackend, Capabilities
from nucleation_bluesky.iocs.pvdb import Channels
from nucleation_bluesky.iocs.state import Refusal
from nucleation_bluesky.segments import MAX_ROW_SAMPLES, MAX_ROWS

SI = {
    "pA": 1e-12,
    "nm": 1e-9,
    "um": 1e-6,
    "um/s": 1e-6,
}  # every other unit of the contract is SI already
MAX_TIME = 3600.0
TINY = 1e-9
LARGE = 1e9
FIRST_POLICIES = (
    SafeState.OPEN_CIRCUIT,
    SafeState.RETRACT_THEN_ZERO,
    SafeState.ZERO,
    SafeState.ZERO_CURRENT,
    SafeState.HOLD,
)


def default_policy(capabilities: Capabilities, family: str = "afm") -> SafeState:
    """Return the safe state in force at boot: the first supported one of FIRST_POLICIES.

    A pipette is withdrawn first of all: 0 V would strip what was plated.
    """
    first = (SafeState.RETRACT_THEN_ZERO,) if family == "seccm" else ()
    return next(p for p in (*first, *FIRST_POLICIES) if p in capabilities.safe_states)


def capability_values(caps: Capabilities) -> dict[str, Any]:
    """Return the CAP: PVs in their own units."""
    mask = sum(1 << int(policy) for policy in caps.safe_states)
    return {
        "CAP:ABORT": AbortLocation(caps.abort),
        "CAP:LATENCY": caps.latency,
        "CAP:CURRENT:BANDWIDTH": caps.current_bandwidth,
        "CAP:HEIGHT:BANDWIDTH": caps.height_bandwidth,
        "CAP:CURRENT:RANGE": caps.current_range / SI["pA"],
        "CAP:RATE:MIN": caps.sample_rate_range[0],
        "CAP:RATE:MAX": caps.sample_rate_range[1],
        "CAP:BIAS:MIN": caps.bias_range[0],
        "CAP:BIAS:MAX": caps.bias_range[1],
        "CAP:SAFE": mask,
        "CAP:FILES": int(caps.files),
        "CAP:RAMP": int(caps.ramp),
        "CAP:SOFTWARE": int(caps.software_ramp),
    }


def shared_ranges(caps: Capabilities) -> dict[str, tuple[float, float]]:
    """Return the accepted ranges that controllers of every family have."""
    return {
        "SAFE:BIAS": caps.bias_range,
        "FILE:ROWS": (1, MAX_ROWS),
        "FILE:MAX_SAMPLES": (1, MAX_ROW_SAMPLES),
        "FILE:CAPTURE": (0, 1),
    }


def ranges(backend: AfmBackend) -> dict[str, tuple[float, float]]:
    """Return the accepted range of every writable number, in the PV's unit, ends included."""
    caps = backend.controller.capabilities
    flag = (0, 1)
    found = shared_ranges(caps) | {
        "RAMP:START": caps.bias_range,
        "RAMP:VERTICES": caps.bias_range,
        "RAMP:RATES": (TINY, 1e6),
        "RAMP:SAMPLE_RATE": caps.sample_rate_range,
        "BIAS": caps.bias_range,
        "COMP:CURRENT:ON": flag,
        "COMP:CURRENT:LOW": (-LARGE, -TINY),
        "COMP:CURRENT:HIGH": (TINY, LARGE),
        "COMP:HEIGHT:ON": flag,
        "COMP:HEIGHT:LOW": (-LARGE, -TINY),
        "COMP:HEIGHT:HIGH": (TINY, LARGE),
        "COMP:BLANKING": (0.0, MAX_TIME),
        "COMP:CONFIRM": (1, 1_000_000),
        "COMP:BACKGROUND:TIME": (TINY, MAX_TIME),
        "AFTER:TIME": (0.0, MAX_TIME),
        "AFTER:SAMPLES": (0, MAX_ROW_SAMPLES),
        "AMP:GAIN": (1e3, 1e15),
        "AMP:FILTER": (1e-3, 1e9),
        "Z:FEEDBACK": flag,
        "STAGE:SETTLE": (0.0, 60.0),
        "TOPO:SIZE": (1e-3, 1e4),
        "TOPO:PIXELS": (2, 4096),
    }
    if backend.stage is not None:
        for axis in ("x", "y"):
            low, high = (v / SI["um"] for v in backend.stage.limits[axis])
            found[f"STAGE:{axis.upper()}"] = found[f"TOPO:{axis.upper()}"] = (low, high)
    return found


def clean(pv: PV, value: Any, limits: tuple[float, float] | None) -> Any:
    """Return a client's value in the PV's own type.

    Raises
    ------
    Refusal
        BAD_PARAMETER if it is not finite, out of range or not one of the choices.
    """
    if pv.kind is Kind.ENUM and pv.enum is not None:
        return _choice(pv.enum, value)
    if pv.kind in {Kind.STRING, Kind.CHARS}:
        return str(value).split("\0", 1)[0]
    if pv.kind is Kind.DOUBLES:
        values = [float(v) for v in value]
        if not values:
            raise Refusal(Fault.BAD_PARAMETER, f"{pv.suffix} needs at least one value")
        return [_in_range(pv, v, limits) for v in values]
    number = _in_range(pv, float(value), limits)
    return int(number) if pv.kind is Kind.INT else number


def _choice(enum: type[ContractEnum], value: Any) -> ContractEnum:
    try:
        return enum.from_label(value) if isinstance(value, str) else enum(int(value))
    except ValueError:
        raise Refusal(
            Fault.BAD_PARAMETER, f"{value!r} is not one of {', '.join(enum.labels())}"
        ) from None


def _in_range(pv: PV, value: float, limits: tuple[float, float] | None) -> float:
    if not math.isfinite(value):
        raise Refusal(Fault.BAD_PARAMETER, f"{pv.suffix} must be a finite number, got {value}")
    if limits is not None and not limits[0] <= value <= limits[1]:
        raise Refusal(
            Fault.BAD_PARAMETER,
            f"{pv.suffix} = {value:g} {pv.egu} is outside {limits[0]:g} to {limits[1]:g} {pv.egu}",
        )
    return value


def si(channels: Channels, suffix: str) -> float:
    """Value of a number PV in SI units."""
    return channels.value(suffix) * SI.get(channels.pvs[suffix].egu, 1.0)


def ramp_spec(channels: Channels) -> RampSpec:
    """Return the ramp that the RAMP: and AFTER: PVs describe.

    Raises
    ------
    Refusal
        BAD_PARAMETER if they do not fit together.
    """
    vertices, rates = channels.value("RAMP:VERTICES"), channels.value("RAMP:RATES")
    try:
        return RampSpec(
            start=channels.value("RAMP:START"),
            vertices=tuple(vertices[:MAX_SEGMENTS]),
            rates=tuple(rates[:MAX_SEGMENTS]),
            sample_rate=channels.value("RAMP:SAMPLE_RATE"),
            after_trip=channels.value("AFTER:ACTION"),
            after_time=channels.value("AFTER:TIME"),
            n_post=channels.value("AFTER:SAMPLES"),
        )
    except ValueError as error:
        raise Refusal(Fault.BAD_PARAMETER, str(error)) from None


def compliance(channels: Channels) -> Compliance:
    """Return the compliance that the COMP: PVs describe.

    Raises
    ------
    Refusal
        BAD_PARAMETER if they do not fit together.
    """
    windows: dict[str, Window | None] = {}
    try:
        for name in ("CURRENT", "HEIGHT"):
            windows[name] = None
            if channels.value(f"COMP:{name}:ON"):
                low, high = (si(channels, f"COMP:{name}:{edge}") for edge in ("LOW", "HIGH"))
                windows[name] = Window(low, high)
        return Compliance(
            current=windows["CURRENT"],
            height=windows["HEIGHT"],
            blanking=channels.value("COMP:BLANKING"),
            confirm_samples=channels.value("COMP:CONFIRM"),
            subtract_background=channels.value("COMP:BACKGROUND") is Background.SUBTRACT,
            background_time=channels.value("COMP:BACKGROUND:TIME"),
        )
    except ValueError as error:
        raise Refusal(Fault.BAD_PARAMETER, str(error)) from None


def check_width(channels: Channels, width: int, what: str, instead: str) -> None:
    """Refuse an exposure that may not fit in a row of the open capture.

    Parameters
    ----------
    channels : Channels
        Where the FILE: PVs live.
    width : int
        Most samples that it can have.
    what, instead : str
        For the message: "the ramp", and what may be changed besides the width of a row.

    Raises
    ------
    Refusal
        BAD_PARAMETER.
    """
    limit = channels.value("FILE:MAX_SAMPLES")
    if channels.value("FILE:CAPTURE") and width > limit:
        raise Refusal(
            Fault.BAD_PARAMETER,
            f"{what} has up to {width} samples, a row {limit}: raise FILE:MAX_SAMPLES before "
            f"capture, or {instead}",
        )
    if width > MAX_ROW_SAMPLES:
        raise Refusal(Fault.BAD_PARAMETER, f"{what} has {width} samples: more than allowed")
