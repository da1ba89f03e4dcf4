"""The bias waveform of one exposure: what a device asks for and a controller runs."""

import math
from dataclasses import dataclass

import numpy as np

from nucleation_bluesky.contract.enums import AfterTrip

MAX_SEGMENTS = 16


@dataclass(frozen=True)
class RampSpec:
    """A piecewise linear bias ramp, sampled at a constant rate.

    Parameters
    ----------
    start : float
        Bias at sample 0, V.
    vertices : tuple of float
        Bias at the end of each segment, V.
    rates : tuple of float
        Magnitude of the sweep rate of each segment, V/s.
    sample_rate : float
        Samples per second, Hz.
    after_trip : AfterTrip
        What happens between a trip and the safe state.
    after_time : float
        Duration of that action, s.
    n_post : int
        Samples recorded after the trip.

    Raises
    ------
    ValueError
        If a number is not finite, a rate is not positive, or the lists do not match.
    """

    start: float
    vertices: tuple[float, ...]
    rates: tuple[float, ...]
    sample_rate: float
    after_trip: AfterTrip = AfterTrip.SAFE_STATE
    after_time: float = 0.0
    n_post: int = 0

    def __post_init__(self) -> None:
        numbers = (self.start, *self.vertices, *self.rates, self.sample_rate, self.after_time)
        if not all(math.isfinite(v) for v in numbers):
            raise ValueError("the ramp holds a number that is not finite (NaN or infinity)")
        if not self.vertices or len(self.vertices) != len(self.rates):
            raise ValueError(
                f"a ramp needs one rate per segment: {len(self.vertices)} vertices, "
                f"{len(self.rates)} rates"
            )
        if len(self.vertices) > MAX_SEGMENTS:
            raise ValueError(f"a ramp has at most {MAX_SEGMENTS} segments")
        if any(rate <= 0 for rate in self.rates):
            raise ValueError("sweep rates are magnitudes and must be greater than 0 V/s")
        if self.sample_rate <= 0:
            raise ValueError("the sample rate must be greater than 0 Hz")
        if self.after_time < 0 or self.n_post < 0:
            raise ValueError("after_time and n_post must not be negative")
        if any(b == a for a, b in zip(self._bounds()[:-1], self._bounds()[1:], strict=True)):
            raise ValueError("a ramp segment must change the bias")

    def _bounds(self) -> tuple[float, ...]:
        return (self.start, *self.vertices)

    @property
    def segment_ends(self) -> np.ndarray:
        """Time at the end of each segment, s, shape (n_segments,)."""
        return np.cumsum(np.abs(np.diff(self._bounds())) / np.asarray(self.rates))

    @property
    def duration(self) -> float:
        """Duration of the complete ramp without a trip, s."""
        return float(self.segment_ends[-1])

    @property
    def n_samples(self) -> int:
        """Samples of the complete ramp, both ends included."""
        return math.floor(self.duration * self.sample_rate * (1 + 1e-12) + 1e-9) + 1

    def bias_at(self, index: np.ndarray | int) -> np.ndarray:
        """Commanded bias at sample ``index``, V (clipped to the ends of the ramp)."""
        time = np.asarray(index, dtype=float) / self.sample_rate
        return np.interp(time, np.concatenate([[0.0], self.segment_ends]), self._bounds())

    def segment_at(self, index: np.ndarray | int) -> np.ndarray:
        """Return the number of the segment that sample ``index`` belongs to."""
        time = np.asarray(index, dtype=float) / self.sample_rate
        found = np.searchsorted(self.segment_ends, time, side="left")
        return np.minimum(found, len(self.vertices) - 1)


@dataclass(frozen=True)
class Window:
    """A signed compliance window: a value below ``low`` or above ``high`` trips."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise ValueError("compliance limits must be finite")
        if not self.low < 0 < self.high:
            raise ValueError(
                f"a compliance window must enclose zero (got {self.low:g} to {self.high:g}); "
                "a limit of zero or of the wrong sign would trip at once"
            )


@dataclass(frozen=True)
class Compliance:
    """Compliance of one exposure.

    Parameters
    ----------
    current, height : Window or None
        Signed windows, A and m (height relative to the start of the ramp); None disables.
    blanking : float
        Time after the start of each segment in which compliance is not compared, s.
    confirm_samples : int
        Consecutive samples outside the window that trip.
    subtract_background : bool
        Compare after subtracting leakage and C dV/dt estimated at the start of each segment.
    background_time : float
        Length of that estimate's window after blanking, s.
    """

    current: Window | None = None
    height: Window | None = None
    blanking: float = 0.0
    confirm_samples: int = 1
    subtract_background: bool = False
    background_time: float = 0.05

    def __post_init__(self) -> None:
        if not (math.isfinite(self.blanking) and self.blanking >= 0):
            raise ValueError("blanking must be a time of 0 s or more")
        if self.confirm_samples < 1:
            raise ValueError("confirm_samples must be 1 or more")
        if not (math.isfinite(self.background_time) and self.background_time > 0):
            raise ValueError("background_time must be greater than 0 s")
