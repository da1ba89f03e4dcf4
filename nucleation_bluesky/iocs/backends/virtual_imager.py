"""Topography imaging of the virtual AFM."""

import asyncio

import numpy as np

from nucleation_bluesky.iocs.backends.virtual_clock import VirtualClock
from nucleation_bluesky.worlds.afm import AfmWorld


class VirtualImager:
    """Topography imaging of the virtual AFM (:class:`ImagerBackend`)."""

    def __init__(self, world: AfmWorld, clock: VirtualClock) -> None:
        self._world, self._clock = world, clock

    async def image(self, x: float, y: float, size: float, pixels: int) -> np.ndarray:
        """Take an image; its lines take instrument time."""
        clock = self._clock
        mark, begin = clock.mark(), clock.now
        image = await asyncio.to_thread(self._world.image, (x, y), size, pixels, begin)
        duration = pixels * self._world.parameters.image_line_time
        await clock.wait(mark, begin + duration)
        clock.advance(begin + duration)
        return image
