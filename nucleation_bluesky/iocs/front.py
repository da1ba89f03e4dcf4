"""What the parts of a front end ask of it."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from nucleation_bluesky.contract.enums import Fault, Termination
from nucleation_bluesky.iocs.capture import Capture
from nucleation_bluesky.iocs.method import ExposureMethod
from nucleation_bluesky.iocs.pvdb import Channels
from nucleation_bluesky.iocs.state import ControlState
from nucleation_bluesky.iocs.trace import Trace
from nucleation_bluesky.iocs.watchdog import Watchdog

Command = Callable[[Any], Awaitable[Any]]  # takes the cleaned value, returns the one to store


class Front(Protocol):
    """State, channels and files of one controller, and its way to the safe state."""

    clock: Callable[[], float]
    ticks: Callable[[], float]
    utc: Callable[[], float]

    @property
    def state(self) -> ControlState:
        """The state machine."""
        ...

    @property
    def channels(self) -> Channels:
        """The PVs."""
        ...

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """Accepted range of each writable number, in the PV's unit."""
        ...

    @property
    def method(self) -> ExposureMethod:
        """How the family exposes."""
        ...

    @property
    def capture(self) -> Capture:
        """The waveform files."""
        ...

    @property
    def trace(self) -> Trace:
        """Where events are written."""
        ...

    @property
    def watchdog(self) -> Watchdog:
        """What notices that the process was suspended."""
        ...

    def add_commands(self, commands: dict[str, Command]) -> None:
        """Register handlers of PVs."""
        ...

    def add_blocker(self, blocker: Callable[[], str]) -> None:
        """Register a reason (text, or "" for none) for which ARM and GO are refused."""
        ...

    def add_stopper(self, stopper: Callable[[], Awaitable[None]]) -> None:
        """Register what a kill stops besides exposures."""
        ...

    def require_ended(self, what: str) -> None:
        """Refuse ``what`` until the last exposure has ended: safe state, withdrawal, file."""
        ...

    async def publish(self) -> None:
        """Publish what changed in the state."""
        ...

    async def emergency(self, termination: Termination, fault: Fault, text: str) -> None:
        """Latch FAULT, end whatever runs and bring the safe state."""
        ...
