"""Instrument time of virtual instruments: it advances by what the instrument does.

Moves, settling, ramps and images each take their instrument time; idle time in between does not
exist. So the physics is the same at any speed. Wall time only decides when results are handed
over: ``speed`` instrument seconds per wall second, without limit when it is infinite.
"""

import asyncio
import math
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Mark:
    """An instant on both clocks, s."""

    instrument: float
    wall: float


class ScaledClock:
    """What has a speed: instrument seconds per wall second.

    Parameters
    ----------
    speed : float
        1 for real time, N for N times faster, ``inf`` for as fast as it can.

    Raises
    ------
    ValueError
        If the speed is not a positive number.
    """

    def __init__(self, speed: float = 1.0) -> None:
        if not speed > 0:
            raise ValueError(f"the speed of the clock must be greater than 0 (got {speed:g})")
        self.speed = speed

    @property
    def unlimited(self) -> bool:
        """Whether nothing waits for wall time."""
        return math.isinf(self.speed)


class VirtualClock(ScaledClock):
    """A clock that runs at ``speed`` times real time (see `ScaledClock`)."""

    def __init__(self, speed: float = 1.0) -> None:
        super().__init__(speed)
        self.now = 0.0

    def mark(self) -> Mark:
        """Instant from which to pace."""
        return Mark(self.now, time.monotonic())

    def paced(self, mark: Mark) -> float:
        """Instrument time that wall time has reached since ``mark``; infinite without limit."""
        if self.unlimited:
            return math.inf
        return mark.instrument + (time.monotonic() - mark.wall) * self.speed

    def advance(self, instrument: float) -> None:
        """Go to an instrument time; never back."""
        self.now = max(self.now, instrument)

    def delay(self, mark: Mark, instrument: float) -> float:
        """Wall time left until ``instrument``, s."""
        if self.unlimited:
            return 0.0
        due = mark.wall + (instrument - mark.instrument) / self.speed
        return max(due - time.monotonic(), 0.0)

    async def wait(self, mark: Mark, instrument: float) -> None:
        """Wait in wall time until ``instrument``, paced from ``mark``; does not advance it."""
        await asyncio.sleep(self.delay(mark, instrument))
