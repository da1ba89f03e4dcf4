"""Positioner of the virtual SECCM."""

import asyncio
import math

import numpy as np

from nucleation_bluesky.iocs.backends.virtual_rig import PERIOD, Rig


class VirtualPipette:
    """XYZ piezo of the virtual SECCM (a `PipetteBackend`)."""

    def __init__(self, rig: Rig) -> None:
        p = rig.world.settings
        self._rig = rig
        half = p.travel_xy / 2
        self.limits = {"x": (-half, half), "y": (-half, half), "z": (0.0, p.travel_z)}
        self.max_speed = dict.fromkeys("xyz", p.max_speed)
        self._stops: set[asyncio.Event] = set()
        self._noise = rig.generator("pipette readout")

    async def move(self, axis: str, target: float, speed: float) -> float:
        """Move one axis; return the measured position."""
        low, high = self.limits[axis]
        if not low <= target <= high:
            raise ValueError(f"{axis} = {target:g} m is outside the travel ({low:g} to {high:g} m)")
        if not 0 < speed <= self.max_speed[axis]:
            raise ValueError(
                f"a speed of {speed:g} m/s is outside 0 to {self.max_speed[axis]:g} m/s"
            )
        rig, clock = self._rig, self._rig.clock
        here, begin = rig.position[axis], clock.now
        duration = abs(target - here) / speed
        stop = asyncio.Event()
        self._stops.add(stop)
        rig.busy += 1
        try:
            if clock.unlimited:
                await asyncio.sleep(0)
            else:
                async with asyncio.timeout(clock.delay(begin + duration)):
                    await stop.wait()
        except TimeoutError:
            pass
        finally:
            self._stops.discard(stop)
            rig.busy -= 1
        share = 1.0
        if stop.is_set() and not clock.unlimited and duration > 0:
            share = min((clock.now - begin) / duration, 1.0)
        reached = here + (target - here) * share
        clock.advance(begin + duration * share)
        await self._arrive(axis, here, reached, speed)
        return await self.position(axis)

    async def _arrive(self, axis: str, here: float, reached: float, speed: float) -> None:
        rig = self._rig
        if axis == "z":
            n = math.ceil(abs(reached - here) / (speed * PERIOD))
            if n and self._matters(max(here, reached)):
                landing = rig.begin(PERIOD)
                rig.run_rest(landing, np.linspace(here, reached, n + 1)[1:], PERIOD)
                rig.clock.advance(landing.time)
            rig.position["z"] = reached
            return
        rig.position[axis] = reached
        if reached != here:
            await asyncio.to_thread(rig.arrive)

    def _matters(self, deepest: float) -> bool:
        """Whether a move of z touches, or leaves, the surface."""
        landing = self._rig.landing
        return landing.contact.wet or deepest >= landing.meniscus.surface

    async def position(self, axis: str) -> float:
        """Measured position, m."""
        noise = self._rig.world.settings.position_noise * float(self._noise.standard_normal())
        return self._rig.position[axis] + noise

    async def stop(self) -> None:
        """Stop what moves."""
        for stop in self._stops:
            stop.set()
