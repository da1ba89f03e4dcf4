"""SECCM family: landings, pipette and electrometer on top of the front end."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from nucleation_bluesky.contract.enums import Fault, Termination
from nucleation_bluesky.contract.pvs import READING_FIELDS
from nucleation_bluesky.iocs import landing_parameters
from nucleation_bluesky.iocs.frontend import FrontEnd
from nucleation_bluesky.iocs.instrument_settings import InstrumentSettings
from nucleation_bluesky.iocs.landing_method import LandingMethod
from nucleation_bluesky.iocs.method import Record
from nucleation_bluesky.iocs.parameters import SI, si
from nucleation_bluesky.iocs.pvdb import Channels
from nucleation_bluesky.iocs.readings import Readings
from nucleation_bluesky.iocs.seccm_backend import Reading, SeccmBackend
from nucleation_bluesky.iocs.state import Mode
from nucleation_bluesky.iocs.trace import Trace

logger = logging.getLogger(__name__)
SETTINGS = ("ELM:RANGE", "ELM:FILTER")
READBACKS = {"ELM:CURRENT", "ELM:POTENTIAL", "READING"}
POLL = 0.05
WITHDRAW_PERIOD = 2.0  # s between attempts to withdraw
BOOT_TIMEOUT = 60.0


class SeccmFrontEnd(FrontEnd):
    """Front end of an SECCM.

    Parameters
    ----------
    backend : SeccmBackend
        Controller, and pipette where there is one; the camera has a front end of its own.
    prefix : str
        Prefix of the PV names.
    trace : Trace or None
        Where events are written.
    """

    method: LandingMethod

    def __init__(self, backend: SeccmBackend, prefix: str, *, trace: Trace | None = None):
        def method(channels: Channels) -> LandingMethod:
            return LandingMethod(backend, channels)

        super().__init__(
            prefix,
            "seccm",
            method,
            landing_parameters.ranges(backend),
            trace=trace,
            ticks=backend.ticks,
            utc=backend.utc,
        )
        self.backend = backend
        self._withdraw_at = float("-inf")
        self.method.pipette.attach(self)
        self.add_blocker(self.method.owed)
        self.settings = InstrumentSettings(self, backend.controller, SETTINGS)
        self.readings = Readings(self, READBACKS, backend.controller.measure, self._publish_reading)

    async def boot(self) -> None:
        """Publish limits and positions; safe state, pipette withdrawn from where it may stand."""
        await self.method.pipette.boot()
        await super().boot()
        await self.settings.boot()
        if self.safety.reached:
            await self._withdraw_at_boot()

    async def _withdraw_at_boot(self) -> None:
        """Withdraw from wherever an earlier controller left the pipette."""
        distance = si(self.channels, "RETRACT:DISTANCE")
        try:
            async with asyncio.timeout(BOOT_TIMEOUT):
                await self.method.withdraw(distance)
            self.trace("withdrawn", **self.position())
        except Exception as error:  # any driver error: serve, in state fault
            logger.exception("withdrawal at boot")
            text = f"the pipette could not be withdrawn: {type(error).__name__}: {error}"
            await self.emergency(Termination.BACKEND_FAULT, Fault.BACKEND_ERROR, text)

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """Return what runs while serving."""
        return [*super().loops(), self.run()]

    async def _wind_up(self, record: Record) -> None:
        await super()._wind_up(record)
        self.trace("withdrawn", **self.position())

    def position(self) -> dict[str, float]:
        """Last known position of the pipette, m."""
        return self.method.pipette.position

    # ---- electrometer ----------------------------------------------------------------------

    async def _publish_reading(self, reading: Reading) -> None:
        values = {
            "count": self.readings.count,
            "ticks": self.ticks(),
            "potential": reading.potential,
            "current": reading.current,
            "z": reading.z,
            "saturated": float(reading.saturated),
        }
        post = self.channels.post
        await post("READING", [values[name] for name in READING_FIELDS])
        await post("ELM:CURRENT", float(reading.current / SI["pA"]))
        await post("ELM:POTENTIAL", float(reading.potential))

    async def _withdraw_again(self) -> None:
        """Repeat a withdrawal that failed: a pipette in contact goes on wetting the sample."""
        if self.clock() - self._withdraw_at < WITHDRAW_PERIOD:
            return
        self._withdraw_at = self.clock()
        try:
            async with asyncio.timeout(self.method.wind_up_time):
                if await self.method.withdraw_again():
                    self.trace("withdrawn", **self.position())
        except Exception as error:  # any driver error: tried again, and told
            logger.exception("withdrawal")
            self.trace("withdrawal_failed", text=f"{type(error).__name__}: {error}")

    async def run(self) -> None:
        """Measure steadily, and repeat a withdrawal that failed, until cancelled."""
        while True:
            await self._withdraw_again()
            if self.state.mode is not Mode.RAMP and self.readings.due:
                await self.readings.measure_or_fault()
            await asyncio.sleep(POLL)
