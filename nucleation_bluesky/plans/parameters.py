"""From a plan's plain arguments to a checked ramp and compliance."""

import math
from dataclasses import dataclass
from typing import Any

from nucleation_bluesky.contract.enums import AfterTrip
from nucleation_bluesky.contract.ramp import Compliance, RampSpec, Window

MODES = ("current", "height", "both", "none")
COLLAPSE = 1e-6  # m; a height this far below the start of the ramp is no deposit but a lost tip


@dataclass(frozen=True)
class RampParameters:
    """One bias ramp as a user gives it.

    Parameters
    ----------
    start, stop : float
        Ends of the ramp, V, signed (negative reduces).
    rate : float
        Sweep rate (magnitude), V/s.
    sample_rate : float
        Samples per second, Hz.
    compliance : str
        "current", "height", "both" or "none".
    current_compliance : float
        A, with the sign of the ramp's direction (negative for a ramp to negative bias).
    height_compliance : float
        m, above 0.
    blanking, confirm_samples, subtract_background, background_time
        As `contract.ramp.Compliance`.
    after_trip : str
        "safe_state", "hold" or "reverse_sweep".
    after_time, n_post
        As `contract.ramp.RampSpec`.

    Raises
    ------
    ValueError
        If a number is out of range, a sign is wrong, or a name is unknown.
    """

    start: float = 0.0
    stop: float = -4.2
    rate: float = 1.2
    sample_rate: float = 1000.0
    compliance: str = "current"
    current_compliance: float = -10e-12
    height_compliance: float = 8e-9
    blanking: float = 0.005
    confirm_samples: int = 1
    subtract_background: bool = True
    background_time: float = 0.05
    after_trip: str = "safe_state"
    after_time: float = 0.0
    n_post: int = 0

    def __post_init__(self) -> None:
        if self.compliance not in MODES:
            raise ValueError(f"compliance '{self.compliance}' is not one of {', '.join(MODES)}")
        self.spec()
        self.limits()

    def spec(
        self, vertices: tuple[float, ...] | None = None, rates: tuple[float, ...] | None = None
    ) -> RampSpec:
        """Ramp as one segment, or with other segments."""
        return RampSpec(
            start=self.start,
            vertices=vertices or (self.stop,),
            rates=rates or (self.rate,),
            sample_rate=self.sample_rate,
            after_trip=AfterTrip(AfterTrip.from_label(self.after_trip)),
            after_time=self.after_time,
            n_post=self.n_post,
        )

    def limits(self) -> Compliance:
        """Compliance windows."""
        current = height = None
        if self.compliance in ("current", "both"):
            current = self._current_window()
        if self.compliance in ("height", "both"):
            if not (math.isfinite(self.height_compliance) and self.height_compliance > 0):
                raise ValueError(
                    f"height_compliance must be above 0 m (got {self.height_compliance:g}); "
                    "a deposit raises the tip"
                )
            height = Window(-max(COLLAPSE, self.height_compliance), self.height_compliance)
        return Compliance(
            current=current,
            height=height,
            blanking=self.blanking,
            confirm_samples=self.confirm_samples,
            subtract_background=self.subtract_background,
            background_time=self.background_time,
        )

    def _current_window(self) -> Window:
        limit = self.current_compliance
        if not math.isfinite(limit) or limit == 0:
            raise ValueError(f"current_compliance must be finite and not 0 A (got {limit:g})")
        if math.copysign(1.0, limit) != math.copysign(1.0, self.stop - self.start):
            raise ValueError(
                f"current_compliance of {limit:g} A has the wrong sign for a ramp from "
                f"{self.start:g} to {self.stop:g} V: a ramp to negative bias reduces and its "
                "current is negative"
            )
        return Window(-abs(limit), abs(limit))


def ramp_metadata(spec: RampSpec) -> dict[str, Any]:
    """Entry ``ramp`` of the start document."""
    return {
        "start": spec.start,
        "vertices": list(spec.vertices),
        "rates": list(spec.rates),
        "sample_rate": spec.sample_rate,
        "measuring_segment": len(spec.vertices) - 1,
    }


def compliance_metadata(limits: Compliance) -> dict[str, Any]:
    """Entry ``compliance`` of the start document."""
    windows = {
        name: None if window is None else [window.low, window.high]
        for name, window in (("current", limits.current), ("height", limits.height))
    }
    return {
        **windows,
        "blanking": limits.blanking,
        "confirm_samples": limits.confirm_samples,
        "subtract_background": limits.subtract_background,
        "background_time": limits.background_time,
    }
