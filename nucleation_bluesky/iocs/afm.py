"""AFM family: stage, topography imager and amplifier PVs on top of the front end."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from nucleation_bluesky.contract.enums import Fault
from nucleation_bluesky.iocs import parameters
from nucleation_bluesky.iocs.backend import AfmBackend, ImagerBackend, StageBackend
from nucleation_bluesky.iocs.capture import image_path
from nucleation_bluesky.iocs.frontend import FrontEnd
from nucleation_bluesky.iocs.instrument_settings import InstrumentSettings
from nucleation_bluesky.iocs.ramp_method import RampMethod
from nucleation_bluesky.iocs.software import SoftwareRamp
from nucleation_bluesky.iocs.state import Refusal
from nucleation_bluesky.iocs.trace import Trace
from nucleation_bluesky.segments import SegmentError, write_topography

UM = parameters.SI["um"]
SETTINGS = ("AMP:GAIN", "AMP:FILTER", "Z:FEEDBACK")
SETTLE = "STAGE:SETTLE"


class AfmFrontEnd(FrontEnd):
    """Front end of an AFM.

    Parameters
    ----------
    backend : AfmBackend
        Controller, and stage and imager where there are any.
    prefix : str
        Prefix of the PV names.
    trace : Trace or None
        Where events are written.
    """

    def __init__(self, backend: AfmBackend, prefix: str, *, trace: Trace | None = None):
        super().__init__(
            prefix,
            "afm",
            lambda channels: RampMethod(backend.controller, channels),
            parameters.ranges(backend),
            trace=trace,
        )
        self.backend = backend
        self.software = SoftwareRamp(self, backend.controller)
        self._moving: set[str] = set()
        self._imaging = False
        self._position: dict[str, float] = {}
        self.add_blocker(self._busy)
        self.settings = InstrumentSettings(self, backend.controller, SETTINGS)
        self.add_commands(
            {
                "STAGE:X": self._mover("x"),
                "STAGE:Y": self._mover("y"),
                "STAGE:STOP": self._stage_stop,
                "TOPO:GO": self._image,
            }
        )
        if backend.stage is not None:
            self.channels.set_refresher({"STAGE:X:RBV", "STAGE:Y:RBV"}, self._refresh_position)

    async def boot(self) -> None:
        """Publish capabilities, limits and positions, in the safe state."""
        await super().boot()
        await self.settings.boot()
        stage = self.backend.stage
        if stage is None:
            return
        for axis in ("x", "y"):
            name = f"STAGE:{axis.upper()}"
            low, high = stage.limits[axis]
            await self.channels.post(f"{name}:LOW", low / UM)
            await self.channels.post(f"{name}:HIGH", high / UM)
            await self._post_position(axis, await stage.position(axis))
            await self.channels.post(name, self._position[axis] / UM)

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """Return what runs while serving."""
        return [*super().loops(), self.software.run()]

    def position(self) -> dict[str, float]:
        """Last known stage position, m."""
        return dict(self._position)

    def _busy(self) -> str:
        if self._imaging:
            return "an image is being taken"
        return f"the stage is moving ({', '.join(sorted(self._moving))})" if self._moving else ""

    async def _post_position(self, axis: str, value: float) -> None:
        self._position[axis] = value
        await self.channels.post(f"STAGE:{axis.upper()}:RBV", value / UM)

    async def _refresh_position(self, suffix: str) -> None:
        axis = suffix.split(":")[1].lower()
        stage = self._stage()
        # A monitored value stays when the driver cannot answer; the move itself reports faults.
        try:
            await self._post_position(axis, await stage.position(axis))
        except OSError as error:
            self.state.refused(Refusal(Fault.BACKEND_ERROR, f"stage position: {error}"))
            await self.publish()

    def _stage(self) -> StageBackend:
        if self.backend.stage is None:
            raise Refusal(Fault.BAD_PARAMETER, "this instrument has no stage")
        return self.backend.stage

    def _imager(self) -> ImagerBackend:
        if self.backend.imager is None:
            raise Refusal(Fault.BAD_PARAMETER, "this instrument takes no images")
        return self.backend.imager

    def _mover(self, axis: str) -> Callable[[float], Awaitable[float]]:
        async def move(target: float) -> float:
            stage = self._stage()
            self.state.require_idle("a move")
            if self._imaging:
                raise Refusal(Fault.BUSY, "an image is being taken")
            if axis in self._moving:
                raise Refusal(Fault.BUSY, f"{axis} is moving: write STAGE:STOP first")
            self._moving.add(axis)
            try:
                await self.channels.post(f"STAGE:{axis.upper()}", target)
                settle = self.channels.value(SETTLE)
                reached = await stage.move(axis, target * UM, settle)
                await self._post_position(axis, reached)
            finally:
                self._moving.discard(axis)
            return target

        return move

    async def _stage_stop(self, value: int) -> int:
        await self._stage().stop()
        self.trace("stage_stopped")
        return value

    async def _image(self, value: int) -> int:
        imager = self._imager()
        self.state.require_idle("TOPO:GO")
        if busy := self._busy():
            raise Refusal(Fault.BUSY, busy)
        path = image_path(self.channels)
        x, y, size = (parameters.si(self.channels, f"TOPO:{n}") for n in ("X", "Y", "SIZE"))
        pixels = self.channels.value("TOPO:PIXELS")
        self._imaging = True
        try:
            image = await imager.image(x, y, size, pixels)
            write = write_topography
            await asyncio.to_thread(write, path, image, x=x, y=y, size=size, ticks=self.clock())
        except ValueError as error:
            raise Refusal(Fault.BAD_PARAMETER, f"image: {error}") from None
        except SegmentError as error:
            raise Refusal(Fault.FILE_ERROR, str(error)) from None
        finally:
            self._imaging = False
        self.trace("image", path=str(path), x=x, y=y, size=size)
        await self.channels.post("TOPO:SEQ", self.channels.value("TOPO:SEQ") + 1)
        return value
