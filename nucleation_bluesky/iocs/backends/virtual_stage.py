"""Stage of the virtual AFM."""

import asyncio

from nucleation_bluesky.iocs.backends.virtual_clock import VirtualClock
from nucleation_bluesky.worlds.afm import AfmWorld


class VirtualStage:
    """XY stage of the virtual AFM (:class:`StageBackend`); axes move one after the other."""

    def __init__(self, world: AfmWorld, clock: VirtualClock) -> None:
        self._world, self._clock = world, clock
        reach = world.parameters.stage_range
        self.limits = {"x": (-reach, reach), "y": (-reach, reach)}
        self._lock = asyncio.Lock()
        self._stop: asyncio.Event | None = None

    async def move(self, axis: str, target: float, settle: float) -> float:
        """Move, settle, return the measured position, m."""
        low, high = self.limits[axis]
        if not low <= target <= high:
            raise ValueError(f"{axis} = {target:g} m is outside the stage ({low:g} to {high:g} m)")
        async with self._lock:
            clock, stage = self._clock, self._world.stage
            mark = clock.mark()
            arrival = stage.axes[axis].move(target, clock.now)
            end = max(arrival + settle, stage.axes[axis].settled())
            stopped = self._stop = asyncio.Event()
            try:
                if clock.unlimited:
                    await asyncio.sleep(0)
                else:
                    async with asyncio.timeout(clock.delay(mark, end)):
                        await stopped.wait()
            except TimeoutError:
                pass
            finally:
                self._stop = None
            if stopped.is_set():
                end = min(end, clock.paced(mark))
                stage.axes[axis].stop(end)
            clock.advance(end)
            return stage.arrival_reading(axis, end)

    async def position(self, axis: str) -> float:
        """Measured position, m."""
        return self._world.stage.reading(axis, self._clock.now)

    async def stop(self) -> None:
        """Stop the axis that moves."""
        if self._stop is not None:
            self._stop.set()
