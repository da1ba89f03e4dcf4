"""What a lab writes for its own hardware: the backend behind the controller front end.

The front end owns tokens, latch, compliance, heartbeat, kill, safe-state policy, files and PVs;
a backend only moves numbers. All values are SI. Every method is a coroutine so that a driver with
blocking calls wraps them in ``driver_threads.in_thread``; the front end calls ``safe_state`` from
its watchdog even while ``next_block`` is pending, so that method must not wait for the other.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from nucleation_bluesky.contract.enums import AbortLocation, SafeState
from nucleation_bluesky.contract.ramp import RampSpec


@dataclass(frozen=True)
class Capabilities:
    """What the hardware can do; published under ``CAP:`` (SI units)."""

    bias_range: tuple[float, float]
    sample_rate_range: tuple[float, float]
    current_range: float
    current_bandwidth: float
    height_bandwidth: float
    abort: AbortLocation = AbortLocation.IOC
    latency: float = 0.0
    safe_states: frozenset[SafeState] = frozenset({SafeState.ZERO})
    ramp: bool = True
    software_ramp: bool = True
    files: bool = True


@dataclass(frozen=True)
class Block:
    """Consecutive samples of a ramp, each array of shape (n,).

    ``fresh`` is False where a sample is a repeat of stale data; ``saturated`` is True at full
    scale. ``None`` stands for all fresh, none saturated.
    """

    first_index: int
    bias: np.ndarray
    current: np.ndarray
    height: np.ndarray
    saturated: np.ndarray | None = None
    fresh: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.bias)


@dataclass(frozen=True)
class Aborted:
    """What followed a trip.

    Parameters
    ----------
    post : Block
        Samples after the tripping one, as many as ``RampSpec.n_post`` asked for or fewer.
    latency : float
        From the tripping sample to the abort taking effect, s.
    net_charge : float
        Charge after the tripping sample, until the safe state, C (NaN if unknown).
    """

    post: Block
    latency: float
    net_charge: float = float("nan")


@dataclass
class Snapshot:
    """One measurement outside a controller-run ramp."""

    bias: float
    current: float
    height: float
    saturated: bool = False
    extra: dict[str, float] = field(default_factory=dict)


@runtime_checkable
class ControllerBackend(Protocol):
    """Bias, current and height of one instrument.

    A backend may also have ``settings``, a mapping of setting (``AMP:GAIN``...) to the value in
    force at boot, SI; without it the contract's defaults are published. ``capabilities`` is read
    again after every ``set_parameter``.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What the hardware can do now; a plain attribute will do."""
        ...

    async def safe_state(self, policy: SafeState, bias: float) -> None:
        """Bring the output to the safe state now; idempotent, callable at any time."""
        ...

    async def start_ramp(self, spec: RampSpec) -> None:
        """Start output and acquisition of a ramp."""
        ...

    async def next_block(self) -> Block | None:
        """Return the next consecutive samples, None after the last one of the ramp.

        Return within a second (a block may be short): the exposure ends as ``stale`` after 5 s
        without one. The call is cancelled when kill or a lost heartbeat ends the exposure.

        Raises
        ------
        Exception
            Any exception brings the safe state with termination ``backend_fault``.
        """
        ...

    async def abort(self, trip_index: int, spec: RampSpec) -> Aborted:
        """Abort after sample ``trip_index``, perform ``spec.after_trip``, return what followed."""
        ...

    async def set_bias(self, bias: float) -> None:
        """Set the bias of a software ramp; returns when the output has settled."""
        ...

    async def measure(self) -> Snapshot:
        """Measure once, averaged since the last change of bias."""
        ...

    async def set_parameter(self, name: str, value: float) -> float:
        """Apply an instrument setting (``AMP:GAIN``...) and return the value in force, SI."""
        ...


@runtime_checkable
class StageBackend(Protocol):
    """XY stage."""

    limits: dict[str, tuple[float, float]]  # axis -> (low, high), m

    async def move(self, axis: str, target: float, settle: float) -> float:
        """Move one axis ("x" or "y"), settle, return the measured position, m."""
        ...

    async def position(self, axis: str) -> float:
        """Measured position, m."""
        ...

    async def stop(self) -> None:
        """Stop all motion."""
        ...


@runtime_checkable
class ImagerBackend(Protocol):
    """Topography imaging."""

    async def image(self, x: float, y: float, size: float, pixels: int) -> np.ndarray:
        """Take an image centred on (x, y); heights in m, shape (pixels, pixels), row along +y."""
        ...


@dataclass(frozen=True)
class AfmBackend:
    """The parts of an AFM; labs without an imager or stage leave them None."""

    controller: ControllerBackend
    stage: StageBackend | None = None
    imager: ImagerBackend | None = None
    trace: Path | None = None
