"""What the parts of the virtual SECCM share: one world, one clock, one pipette."""

import asyncio
import math
import time
from dataclasses import dataclass
from enum import Enum

import numpy as np

from nucleation_bluesky.contract.enums import SafeState
from nucleation_bluesky.iocs.backends.virtual_clock import ScaledClock
from nucleation_bluesky.worlds.afm.keyed import keyed_generator
from nucleation_bluesky.worlds.seccm import Control, Landing, SeccmWorld

IDLE_SPEED = 1.0  # instrument seconds per wall second that a film takes where nothing happens
PERIOD = 2.57e-3  # s, of samples outside landings
_FILM_LAG = 1.5  # s of instrument time
_FILM_PATIENCE = 3.0  # s of wall time
_FILM_POLL = 0.005
_REST_SAMPLES = 100  # at most, however long the pipette rests in contact
_GAP = 2.0  # s: longer waits in the air are not sampled


class RigClock(ScaledClock):
    """Instrument time, s.

    At a finite speed it is wall time times ``speed``. Without limit it advances by what the
    instrument does, so that the physics is the same at any speed.
    """

    def __init__(self, speed: float = 1.0) -> None:
        super().__init__(speed)
        self._wall = time.monotonic()
        self._utc = time.time()
        self._now = 0.0

    @property
    def now(self) -> float:
        """Instrument time since boot, s."""
        if self.unlimited:
            return self._now
        return (time.monotonic() - self._wall) * self.speed

    def advance(self, instrument: float) -> None:
        """Go to an instrument time without limit of speed; never back."""
        self._now = max(self._now, instrument)

    def delay(self, instrument: float) -> float:
        """Wall time left until ``instrument``, s."""
        if self.unlimited:
            return 0.0
        return max((instrument - self.now) / self.speed, 0.0)

    def ticks(self) -> float:
        """Monotonic clock of the instrument, s."""
        return self.now

    def utc(self, instrument: float | None = None) -> float:
        """UTC of the instrument, s since 1970."""
        return self._utc + (self.now if instrument is None else instrument)


class Stage(Enum):
    """Of the landing under the pipette."""

    FRESH = 0  # nothing has happened to it
    USED = 1
    LEFT = 2  # its truth is written


@dataclass
class Rest:
    """What the output does outside a program: control and raw setpoint."""

    mode: Control = Control.OPEN_CIRCUIT
    setpoint: float = 0.0

    @classmethod
    def of(cls, policy: SafeState, potential: float) -> "Rest":
        """Rest of a safe-state policy."""
        if policy is SafeState.HOLD:
            return cls(Control.POTENTIAL, potential)
        if policy is SafeState.ZERO:
            return cls(Control.POTENTIAL, 0.0)
        return cls()


class Rig:
    """World, clock, pipette and the landing under it.

    Parameters
    ----------
    world : SeccmWorld
        Sample and instrument.
    clock : RigClock
        Instrument time.
    """

    def __init__(self, world: SeccmWorld, clock: RigClock) -> None:
        self.world, self.clock = world, clock
        self.position = {"x": 0.0, "y": 0.0, "z": 0.0}
        self.rest = Rest()
        self.busy = 0  # landings and moves under way
        self.filmed = False  # whether a camera has ever looked
        self.filmed_until = math.inf  # instrument time of the newest frame, while acquiring
        self.current_range = world.settings.current_range
        self.noise_factor = 1.0
        self._views: list[tuple[float, Landing]] = []
        self._stage = Stage.FRESH
        self._horizon = math.nan

    def generator(self, label: str) -> np.random.Generator:
        """Random numbers of one part of the instrument."""
        return keyed_generator(self.world.seed, label)

    # ---- landings ------------------------------------------------------------------------
    @property
    def landing(self) -> Landing:
        """Landing at the place below the pipette; a new one where there is none."""
        if not self._views:
            self._look()
        return self._views[-1][1]

    def _look(self) -> Landing:
        p, now = self.position, self.clock.now
        landing = self.world.land(p["x"], p["y"], now)
        landing.current_range, landing.noise_factor = self.current_range, self.noise_factor
        del self._views[:-2]  # a camera lags by seconds, not by landings
        self._views.append((now, landing))
        self._stage = Stage.FRESH
        return landing

    def begin(self, period: float) -> Landing:
        """Landing for a new program: sample 0 lies at the present instrument time."""
        landing = self.landing
        if landing.contact.wet:
            self.rest_until(self.clock.now)
        elif self._stage is not Stage.FRESH:
            self.leave()
            landing = self._look()
        start = self.clock.now - period
        landing.time = max(landing.time, start) if landing.count else start
        self._stage = Stage.USED
        return landing

    def set_range(self, current_range: float, noise_factor: float) -> None:
        """Apply settings of the electrometer."""
        self.current_range, self.noise_factor = current_range, noise_factor
        if self._views:
            self.landing.current_range, self.landing.noise_factor = current_range, noise_factor

    def leave(self) -> None:
        """End the landing here: the truth is written, the place stays as it is now.

        Slow: call it in a thread.
        """
        if self._stage is Stage.USED:
            self._stage = Stage.LEFT
            self.world.finish(self.landing, seen=self.filmed)

    def arrive(self) -> None:
        """Look at the place below the pipette after a lateral move."""
        self.leave()
        self._look()

    def view(self, instrument: float) -> Landing:
        """Landing in view at an instrument time."""
        if not self._views:
            self._look()
        for begin, landing in reversed(self._views):
            if begin <= instrument:
                return landing
        return self._views[0][1]

    # ---- time ----------------------------------------------------------------------------
    def hold_frames(self, instrument: float) -> None:
        """Frames from this instrument time on wait: what happens then is not decided yet."""
        self._horizon = instrument

    def release_frames(self) -> None:
        """Nothing is pending: all that lies before the present is decided."""
        self._horizon = math.nan

    async def film_keeps_up(self) -> None:
        """Without limit of speed, let a film catch up that lags: nobody else would wait for it."""
        deadline = time.monotonic() + _FILM_PATIENCE
        while self.clock.unlimited and self.decided - self.filmed_until > _FILM_LAG:
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(_FILM_POLL)

    @property
    def decided(self) -> float:
        """Instrument time before which nothing can change any more."""
        return self.clock.now if math.isnan(self._horizon) else self._horizon

    def rest_until(self, instrument: float) -> None:
        """Let a pipette in contact live at rest until an instrument time."""
        landing = self.landing
        gap = instrument - landing.time
        if self._stage is Stage.USED and landing.contact.wet and gap > PERIOD:
            n = min(int(gap / PERIOD), _REST_SAMPLES)
            self.run_rest(landing, np.full(n, self.position["z"]), gap / n)
        elif gap > _GAP:
            landing.time = instrument

    def run_rest(
        self, landing: Landing, z: np.ndarray, period: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run samples at rest along a way of the pipette."""
        setpoints = np.full(len(z), self.rest.setpoint)
        return landing.run(self.rest.mode, setpoints, period, z)
