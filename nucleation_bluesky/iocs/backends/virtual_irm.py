"""The microscope's camera of the virtual SECCM (a `CameraBackend`)."""

import asyncio
import math
import time

import numpy as np

from nucleation_bluesky.iocs.backends.virtual_rig import IDLE_SPEED, Rig
from nucleation_bluesky.iocs.seccm_backend import CameraSettings, Frame
from nucleation_bluesky.worlds.seccm.camera import Exposure, FrameClock

_POLL = 0.002  # s of wall time between looks at the clock
_IDLE = 0.05  # s of wall time without news before the camera itself lets time pass
_LIMIT = 60.0  # s: longest exposure and period


class VirtualCamera:
    """Frames in instrument time: a frame appears when all that it shows is decided.

    Without limit of speed the film follows what the controller does; where nothing happens, time
    passes at the rate of the wall clock, frame by frame. Rendering runs in a thread.

    Parameters
    ----------
    rig : Rig
        World, clock and pipette.
    """

    manufacturer = "virtual"
    model = "IRM camera"

    def __init__(self, rig: Rig) -> None:
        p = rig.world.settings
        self._rig = rig
        self.sensor = (p.frame_size, p.frame_size)
        self.settings = CameraSettings(
            p.exposure_time, p.frame_period, (0, 0, p.frame_size, p.frame_size)
        )
        self.waits = rig.clock.unlimited  # a film that lags is complete; a real camera drops
        self._clock: FrameClock | None = None
        self._left: float = math.inf  # frames still wanted
        self._end = math.inf  # instrument time at which acquisition was stopped
        self._next: Exposure | None = None
        self._last: np.ndarray | None = None
        self._shown = 0.0  # instrument time of the newest frame

    async def configure(self, settings: CameraSettings) -> CameraSettings:
        """Apply settings; the period is at least the exposure."""
        x, y, columns, rows = settings.region
        size = self.sensor[0]
        columns, rows = columns or size, rows or size
        if x < 0 or y < 0 or x + columns > size or y + rows > size:
            # the sensor moves the first pixel so that the region fits
            x, y = max(min(x, size - columns), 0), max(min(y, size - rows), 0)
        if columns > size or rows > size:
            raise ValueError(f"the sensor has {size} x {size} pixels")
        if not 0 < settings.exposure_time <= _LIMIT or not 0 <= settings.period <= _LIMIT:
            raise ValueError(f"exposure and period must be above 0 and at most {_LIMIT:g} s")
        if settings.gain != 1.0:
            raise ValueError("this camera has no gain: it can only be 1")
        period = max(settings.period, settings.exposure_time, 1e-3)
        self.settings = CameraSettings(settings.exposure_time, period, (x, y, columns, rows), 1.0)
        return self.settings

    async def start(self, frames: int) -> None:
        """Start an acquisition."""
        rig = self._rig
        rig.filmed = True
        self._clock = rig.world.acquire(rig.decided, self.settings.period)
        self._left, self._end = frames or math.inf, math.inf
        self._next, self._last = None, None
        rig.filmed_until = rig.decided

    async def next_frame(self) -> Frame | None:
        """Return the next frame once its instrument time is over."""
        frame = None
        try:
            frame = await self._take()
        finally:
            self._rig.filmed_until = math.inf if frame is None else self._shown
        return frame

    async def _take(self) -> Frame | None:
        if self._clock is None or self._left <= 0:
            return None
        if self._next is None:
            self._next = self._clock.next()
        exposure = self._next
        over = exposure.time + self.settings.exposure_time
        while self._rig.decided < over:
            if over > self._end:  # stopped in the middle of an exposure
                self._clock = None
                return None
            await self._wait(over)
        if over > self._end:
            self._clock = None
            return None
        image = self._last
        if not exposure.repeated or image is None:
            image = await asyncio.to_thread(self._render, exposure.time)
        self._last, self._next, self._shown = image, None, exposure.time
        self._left -= 1
        stamp = self._rig.clock.utc(exposure.timestamp)
        return Frame(image, exposure.unique_id, stamp)

    def _render(self, instrument: float) -> np.ndarray:
        landing = self._rig.view(instrument)
        image = landing.frame(instrument, self.settings.exposure_time)
        x, y, columns, rows = self.settings.region
        return np.ascontiguousarray(image[y : y + rows, x : x + columns])

    async def _wait(self, over: float) -> None:
        """Wait in wall time for the instrument; where nothing happens, let time pass."""
        rig, clock = self._rig, self._rig.clock
        if not clock.unlimited:
            await asyncio.sleep(max(min(clock.delay(over), 0.1), _POLL))
            return
        begun, seen = time.monotonic(), rig.decided
        wait = _POLL
        while rig.busy or rig.decided != seen:
            await asyncio.sleep(wait)
            return
        wait = max((over - clock.now) / IDLE_SPEED, _POLL)
        while time.monotonic() - begun < wait:
            await asyncio.sleep(min(wait, 0.02))
            if rig.busy or rig.decided != seen or not math.isinf(self._end):
                return
        clock.advance(over)

    async def stop(self) -> None:
        """End the acquisition; frames exposed so far are still delivered."""
        if self._clock is not None:
            self._end = min(self._end, self._rig.decided)
