"""What a ramp returns to the plan that asked for it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from nucleation_bluesky.contract.enums import Termination

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
        found: dict[str, Any] = {}
        for entry in fields(cls):
            key = roles.get(entry.name)
            if key is not None and key in reading:
                value = reading[key]["value"]
                found[entry.name] = _TYPES[entry.name](value)
        if "termination" not in found:
            raise ValueError("the ramp device reported no termination; check its roles")
        return cls(**found)


def _whole(value: float) -> int:
    return int(value) if math.isfinite(value) else -1


_INTEGERS = ("n_samples", "n_post", "trip_index", "trip_segment")
_TYPES: dict[str, Callable[[Any], Any]] = {
    entry.name: _whole if entry.name in _INTEGERS else float for entry in fields(RampResult)
}
_TYPES |= {"termination": lambda value: Termination(int(value)), "exposure": str}
