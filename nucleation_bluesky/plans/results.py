"""What a ramp returns to the plan that asked for it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from nucleation_bluesky.contract.enums import Termination

R = TypeVar("R")
TRIPPED = (
    Termination.CURRENT_COMPLIANCE,
    Termination.HEIGHT_COMPLIANCE,
    Termination.CHARGE_LIMIT,
    Termination.POTENTIAL_LIMIT,
    Termination.STOPPED_BY_PLAN,
)
BAD_SAMPLE = (Termination.SATURATED, Termination.NONFINITE, Termination.STALE)
INTERRUPTED = (Termination.KILLED, Termination.HEARTBEAT_LOST, Termination.BACKEND_FAULT)


@dataclass(frozen=True)
class RampResult:
    """Summary of one exposure, SI units; fields as in `contract.pvs.RESULT_FIELDS`.

    A number that the device does not report is NaN, an integer -1.
    """

    termination: Termination
    stop_bias: float = math.nan
    stop_current: float = math.nan
    height_change: float = math.nan
    peak_current: float = math.nan
    charge: float = math.nan
    latency: float = math.nan
    duration: float = math.nan
    x: float = math.nan
    y: float = math.nan
    n_samples: int = -1
    n_post: int = -1
    trip_index: int = -1
    trip_segment: int = -1
    exposure: str = ""

    @property
    def tripped(self) -> bool:
        """Whether compliance ended the ramp."""
        return self.termination in TRIPPED

    @property
    def interrupted(self) -> bool:
        """Whether the instrument, not the sample, ended the ramp for good."""
        return self.termination in INTERRUPTED

    @classmethod
    def from_reading(
        cls, reading: Mapping[str, Mapping[str, Any]], roles: Mapping[str, str]
    ) -> "RampResult":
        """Pick the result out of a device's reading.

        Parameters
        ----------
        reading : mapping
            As from ``read()``: data key to ``{"value": ..., "timestamp": ...}``.
        roles : mapping
            Role to data key.

        Raises
        ------
        ValueError
            If the reading holds no termination.
        """
        return pick(cls, reading, roles)


def _whole(value: float) -> int:
    return int(value) if math.isfinite(value) else -1


_TYPES: dict[Any, Callable[[Any], Any]] = {
    int: _whole,
    float: float,
    str: str,
    Termination: lambda value: Termination(int(value)),
}


def pick(kind: type[R], reading: Mapping[str, Mapping[str, Any]], roles: Mapping[str, str]) -> R:
    """Make a result, a dataclass whose fields are roles, of a device's reading.

    Parameters
    ----------
    kind : type
        The dataclass; it has a field ``termination``.
    reading : mapping
        As from ``read()``: data key to ``{"value": ..., "timestamp": ...}``.
    roles : mapping
        Role to data key.

    Raises
    ------
    ValueError
        If the reading holds no termination.
    """
    found: dict[str, Any] = {}
    for entry in fields(kind):  # type: ignore[arg-type] - a dataclass, see above
        key = roles.get(entry.name)
        if key is not None and key in reading:
            found[entry.name] = _TYPES[entry.type](reading[key]["value"])
    if "termination" not in found:
        raise ValueError("the device reported no termination; check its roles")
    return kind(**found)
