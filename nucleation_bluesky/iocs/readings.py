"""Measurements outside controller-run exposures: before a client reads, and steadily."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from nucleation_bluesky.contract.enums import Fault, Termination
from nucleation_bluesky.iocs.frontend import FrontEnd
from nucleation_bluesky.iocs.state import Mode, Refusal

FRESH = 0.01  # s; a read does not measure again within this time
IDLE_PERIOD = 0.5  # s between measurements where nobody reads
MEASURE_TIMEOUT = 5.0  # s that a driver may take
Measured = TypeVar("Measured")


class Readings(Generic[Measured]):
    """Takes and publishes measurements, unless a controller-run exposure owns the acquisition.

    Parameters
    ----------
    front : FrontEnd
        The front end.
    readbacks : set of str
        PVs that are measured before a client reads them.
    take : coroutine function
        The driver's measurement.
    publish : coroutine function (measured)
        Posts what was measured.
    """

    def __init__(
        self,
        front: FrontEnd,
        readbacks: set[str],
        take: Callable[[], Awaitable[Measured]],
        publish: Callable[[Measured], Awaitable[None]],
    ) -> None:
        self._front, self._take, self._publish = front, take, publish
        self.count = 0
        self.taken_at = float("-inf")  # of the front end's clock, s
        front.channels.set_refresher(readbacks, self._refresh)

    @property
    def due(self) -> bool:
        """Whether the last measurement is old, or the output has changed since."""
        front = self._front
        return front.clock() - self.taken_at > IDLE_PERIOD or front.readings_stale

    async def measure(self) -> None:
        """Measure once and publish.

        Raises
        ------
        TimeoutError
            If the driver does not answer.
        Exception
            What the driver raises.
        """
        front = self._front
        async with front.measuring:
            if front.state.mode is Mode.RAMP:
                return
            front.readings_stale = False
            try:
                async with asyncio.timeout(MEASURE_TIMEOUT):
                    measured = await self._take()
            except TimeoutError as error:
                text = f"the driver gave no measurement within {MEASURE_TIMEOUT:g} s"
                raise TimeoutError(text) from error
            self.taken_at = front.clock()
            self.count += 1
        await self._publish(measured)

    async def _refresh(self, _: str) -> None:
        front = self._front
        fresh = front.clock() - self.taken_at < FRESH and not front.readings_stale
        if front.state.mode is not Mode.RAMP and not fresh:
            await self.measure_or_fault()

    async def measure_or_fault(self) -> None:
        """Measure; a failure brings the safe state where something is armed, and is told."""
        front = self._front
        try:
            await self.measure()
        except Exception as error:  # noqa: BLE001 - any driver error becomes a visible fault
            text = f"measurement failed: {type(error).__name__}: {error}"
            if front.state.active:
                await front.emergency(Termination.BACKEND_FAULT, Fault.BACKEND_ERROR, text)
            elif front.state.text != text:
                front.state.refused(Refusal(Fault.BACKEND_ERROR, text))
                await front.publish()
