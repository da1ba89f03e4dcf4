"""What a lab writes for its own SECCM: the backends behind the controller and camera front ends.

The front end owns tokens, contact detection, limits, heartbeat, kill, safe-state policy, files and
PVs; a backend only moves numbers. All values are SI. Extension ``z`` of the pipette grows towards
the sample. Every method is a coroutine so that a driver with blocking calls wraps them in
``driver_threads.in_thread``. The front end calls ``safe_state`` even while ``next_block`` is
pending, so that method must not wait for the other.

One landing: ``start``, then ``next_block`` again and again. Blocks of the approach carry step -1.
The front end looks at every sample; where it decides something, it calls ``cut`` with the sample's
number, after which the backend goes on from there, whatever it had delivered beyond that sample.
At the end, and after ``safe_state``, the front end calls ``retract``.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from nucleation_bluesky.contract.enums import SafeState
from nucleation_bluesky.contract.program import Program
from nucleation_bluesky.iocs.backend import Capabilities

APPROACH = -1  # step number of samples before contact
AFTER = -2  # step number of samples after the program


@dataclass(frozen=True)
class LandingBlock:
    """Consecutive samples of a landing, each array of shape (n,).

    ``step`` is the number of the step, -1 in the approach, -2 after the program. ``fresh`` is
    False where a sample is a repeat of stale data; ``saturated`` is True where current or
    potential is at full scale. ``None`` stands for all fresh, none saturated.
    """

    first_index: int
    potential: np.ndarray
    current: np.ndarray
    z: np.ndarray
    step: np.ndarray
    saturated: np.ndarray | None = None
    fresh: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.potential)


def empty_block(first_index: int) -> LandingBlock:
    """Return a block without samples."""
    nothing = np.empty(0)
    return LandingBlock(first_index, nothing, nothing, nothing, np.empty(0, dtype=int))


class CutAction(Enum):
    """What the backend does at the sample at which a block was cut."""

    CONTACT = "contact"  # stop the approach at once, go on with step 0 (if there is one)
    NEXT_STEP = "next_step"  # end this step, go on with the next (if there is one)
    ABORT = "abort"  # end the landing: no step follows; the front end orders the safe state


@dataclass(frozen=True)
class Cut:
    """What followed a cut.

    Parameters
    ----------
    post : LandingBlock
        Samples after the cut sample until the action took effect (contact: until the motion
        stopped; still step -1), numbered on from it; may be empty. The next block follows them.
    latency : float
        From the cut sample to the action taking effect, s.
    """

    post: LandingBlock
    latency: float = 0.0


@dataclass(frozen=True)
class Reading:
    """One measurement outside a landing."""

    potential: float
    current: float
    z: float
    saturated: bool = False


@runtime_checkable
class LandingBackend(Protocol):
    """Potentiostat, galvanostat and approach of one instrument.

    ``capabilities.bias_range`` is the range of potential, ``current_range`` full scale and largest
    setpoint of current. ``safe_states`` are the electrical ones the instrument can do
    (OPEN_CIRCUIT, HOLD, ZERO, ZERO_CURRENT); RETRACT_THEN_ZERO is done by the front end. A backend
    may also have ``settings``, a mapping of setting (``ELM:RANGE``...) to the value in force at
    boot, SI. ``capabilities`` is read again after every ``set_parameter``.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What the hardware can do now; a plain attribute will do."""
        ...

    async def safe_state(self, policy: SafeState, potential: float) -> None:
        """Bring the output to the electrical safe state now, and stop an approach where it is.

        Idempotent, callable at any time; never RETRACT_THEN_ZERO. ``potential`` is that of HOLD.
        A landing in progress is over: ``next_block`` returns None.
        """
        ...

    async def start(self, program: Program) -> None:
        """Start approach (or the first step where there is none) and acquisition at sample 0."""
        ...

    async def next_block(self) -> LandingBlock | None:
        """Return the next consecutive samples, None after the last one.

        In the approach None means that ``z_max`` was reached. After the last sample of the last
        step it means completion, after contact with an empty program at once. Return within a
        second: the landing ends as ``stale`` after 5 s without a block. The call is cancelled when
        kill or a lost heartbeat ends the landing.

        Raises
        ------
        Exception
            Any exception brings the safe state with termination ``backend_fault``.
        """
        ...

    async def cut(self, index: int, action: CutAction) -> Cut:
        """Act after sample ``index``, whatever was delivered beyond it."""
        ...

    async def retract(self, distance: float, speed: float) -> LandingBlock:
        """Withdraw by ``distance`` (at most to the lower limit); return what was recorded.

        Called with the output in a safe state, also when no landing was under way (boot) and
        after a kill. The samples carry step -2 and may have a period of their own;
        ``first_index`` is free to be 0, the front end numbers them on. An empty block is fine.
        """
        ...

    async def measure(self) -> Reading:
        """Measure once, outside a landing."""
        ...

    async def set_parameter(self, name: str, value: float) -> float:
        """Apply an instrument setting (``ELM:RANGE``...) and return the value in force, SI."""
        ...


@runtime_checkable
class PipetteBackend(Protocol):
    """XYZ positioner of the pipette, outside landings."""

    limits: dict[str, tuple[float, float]]  # axis ("x", "y", "z") -> (low, high), m
    max_speed: dict[str, float]  # axis -> m/s

    async def move(self, axis: str, target: float, speed: float) -> float:
        """Move one axis, return the measured position when there (or where it was stopped), m."""
        ...

    async def position(self, axis: str) -> float:
        """Measured position, m."""
        ...

    async def stop(self) -> None:
        """Stop all motion started by ``move``."""
        ...


@dataclass(frozen=True)
class Frame:
    """One frame of the camera.

    Parameters
    ----------
    image : ndarray, shape (rows, columns), uint16
        The frame; the camera does not change it afterwards.
    unique_id : int
        Number of the frame as the camera counts: gaps are losses.
    timestamp : float
        UTC at the start of the exposure, s since 1970, by the camera's clock.
    """

    image: np.ndarray
    unique_id: int
    timestamp: float


@dataclass
class CameraSettings:
    """What clients can set of a camera; ``configure`` returns what is in force."""

    exposure_time: float = 0.1
    period: float = 0.23
    region: tuple[int, int, int, int] = (0, 0, 0, 0)  # first column, first row, columns, rows
    gain: float = 1.0


@runtime_checkable
class CameraBackend(Protocol):
    """A camera.

    A backend may also have ``waits = True``: it is asked for the next frame only when the writer
    has room. That is for virtual cameras whose clock runs faster than real time; frames of a real
    camera that the writer cannot take are dropped and counted.
    """

    manufacturer: str
    model: str
    sensor: tuple[int, int]  # rows, columns
    settings: CameraSettings  # in force at boot

    async def configure(self, settings: CameraSettings) -> CameraSettings:
        """Apply settings while idle; return those in force. ValueError for impossible ones."""
        ...

    async def start(self, frames: int) -> None:
        """Start an acquisition of ``frames`` frames, 0 without end."""
        ...

    async def next_frame(self) -> Frame | None:
        """Return the next frame, None when the acquisition is over.

        After ``stop`` the frames exposed before it are still returned, then None. May wait as long
        as the camera needs; the call is cancelled only at shutdown.

        Raises
        ------
        Exception
            Any exception ends the acquisition with DetectorState Error.
        """
        ...

    async def stop(self) -> None:
        """End the acquisition; callable at any time, also while ``next_frame`` waits."""
        ...


@dataclass(frozen=True)
class SeccmBackend:
    """The parts of an SECCM; labs without a positioner or camera leave them None.

    ``ticks`` and ``utc`` are the controller's clocks (monotonic seconds, and seconds since 1970):
    instrument time, the same that stamps the camera's frames where one computer does both.
    """

    controller: LandingBackend
    pipette: PipetteBackend | None = None
    camera: CameraBackend | None = None
    trace: Path | None = None
    ticks: Callable[[], float] = time.monotonic
    utc: Callable[[], float] = time.time
    info: dict[str, Any] = field(default_factory=dict)
