"""Camera front end: areaDetector's ``cam1:`` and ``HDF1:`` PVs over a camera backend.

Frames never travel over Channel Access: they go from the camera to a file, in the writer's thread.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from caproto import ChannelData

from nucleation_bluesky.contract.camera import (
    EPICS_EPOCH,
    AcquireSwitch,
    Callbacks,
    CaptureSwitch,
    Compression,
    DataType,
    DetectorState,
    ImageMode,
    Switch,
    WriteMode,
    WriteStatus,
)
from nucleation_bluesky.contract.enums import Fault
from nucleation_bluesky.contract.pv import PV
from nucleation_bluesky.iocs import parameters
from nucleation_bluesky.iocs.frames import FLUSH_FRAMES, FrameWriter, queue_size
from nucleation_bluesky.iocs.front import Command
from nucleation_bluesky.iocs.pvdb import Channels
from nucleation_bluesky.iocs.seccm_backend import CameraBackend, CameraSettings
from nucleation_bluesky.iocs.state import Refusal
from nucleation_bluesky.iocs.trace import Trace
from nucleation_bluesky.segments import SegmentError

logger = logging.getLogger(__name__)
PUBLISH_PERIOD = 0.05  # s between updates of the counters
WAIT_PERIOD = 0.002  # s between looks for room in the queue
CLOSE_TIMEOUT = 5.0  # s
FIXED = {  # accepted with this value only
    "cam1:NumExposures": 1,
    "cam1:BinX": 1,
    "cam1:BinY": 1,
    "cam1:DataType": DataType.UINT16,
    "HDF1:FileWriteMode": WriteMode.STREAM,
    "HDF1:SWMRMode": Switch.YES,
    "HDF1:BlockingCallbacks": Switch.NO,
    "HDF1:PositionMode": Switch.NO,
    "HDF1:Compression": Compression.NONE,
    "HDF1:NumExtraDims": 0,
    "HDF1:NDArrayAddress": 0,
}
CONFIGURED = (
    "cam1:AcquireTime", "cam1:AcquirePeriod", "cam1:Gain",
    "cam1:SizeX", "cam1:SizeY", "cam1:MinX", "cam1:MinY",
)  # fmt: skip


class CameraFrontEnd:
    """Acquisition and files of one camera.

    Parameters
    ----------
    backend : CameraBackend
        The camera.
    prefix : str
        Prefix of the PV names, for instance ``NB:IRM:``.
    trace : Trace or None
        Where events are written.
    """

    def __init__(self, backend: CameraBackend, prefix: str, *, trace: Trace | None = None):
        self.backend = backend
        self.trace = trace or Trace()
        rows, columns = backend.sensor
        self._ranges: dict[str, tuple[float, float]] = {
            "cam1:AcquireTime": (1e-6, 3600.0),
            "cam1:AcquirePeriod": (0.0, 3600.0),
            "cam1:Gain": (0.0, 1e6),
            "cam1:NumImages": (0, 2**31 - 1),
            "cam1:SizeX": (1, columns),
            "cam1:SizeY": (1, rows),
            "cam1:MinX": (0, columns - 1),
            "cam1:MinY": (0, rows - 1),
            "HDF1:NumCapture": (0, 2**31 - 1),
            "HDF1:FileNumber": (0, 2**31 - 1),
            "HDF1:NumFramesFlush": (0, 10_000),
        }
        self.channels = Channels(prefix, "camera", self._put, self._malformed, self._ranges)
        self._commands: dict[str, Command] = {
            "cam1:Acquire": self._acquire,
            "HDF1:Capture": self._capture,
            "HDF1:FilePath": self._file_path,
        } | {name: self._configurer(name) for name in CONFIGURED}
        self._acquisition: asyncio.Task[None] | None = None
        self._writer: FrameWriter | None = None
        self._opening = asyncio.Lock()
        self._capture_ended = asyncio.Event()
        self._frames = self._counted = 0
        self._counter_zero = 0
        self._started = 0.0
        self._stopping = False

    @property
    def database(self) -> dict[str, ChannelData]:
        """Channels by full PV name."""
        return self.channels.database

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """Return what runs while serving."""
        return [self.run()]

    async def boot(self) -> None:
        """Publish what the camera is and what is in force."""
        post, camera = self.channels.post, self.backend
        await post("cam1:Manufacturer_RBV", camera.manufacturer)
        await post("cam1:Model_RBV", camera.model)
        await post("cam1:MaxSizeX_RBV", camera.sensor[1])
        await post("cam1:MaxSizeY_RBV", camera.sensor[0])
        for name in self.channels.pvs:
            if f"{name}_RBV" in self.channels.pvs:
                await post(f"{name}_RBV", self.channels.value(name))
        await self._publish_settings(camera.settings)

    async def _publish_settings(self, settings: CameraSettings) -> None:
        x, y, columns, rows = settings.region
        values = {
            "AcquireTime": settings.exposure_time,
            "AcquirePeriod": settings.period,
            "Gain": settings.gain,
            "SizeX": columns,
            "SizeY": rows,
            "MinX": x,
            "MinY": y,
        }
        post = self.channels.post
        for name, value in values.items():
            await post(f"cam1:{name}", value)
            await post(f"cam1:{name}_RBV", value)
        await post("cam1:ArraySizeX_RBV", columns)
        await post("cam1:ArraySizeY_RBV", rows)
        await post("cam1:ArraySize_RBV", 2 * rows * columns)
        for name in ("ArraySize0_RBV", "ArraySize0", "ArraySizeX_RBV"):
            await post(f"HDF1:{name}", columns)
        for name in ("ArraySize1_RBV", "ArraySize1", "ArraySizeY_RBV"):
            await post(f"HDF1:{name}", rows)
        for name in ("QueueSize", "QueueSize_RBV"):
            await post(f"HDF1:{name}", queue_size((rows, columns)))
        await post("HDF1:QueueFree", queue_size((rows, columns)))

    # ---- writes --------------------------------------------------------------------------

    async def _put(self, pv: PV, value: Any) -> None:
        """Decide one client write; what is refused is told in a status message."""
        suffix = pv.suffix
        try:
            cleaned = self._clean(pv, value)
            command = self._commands.get(suffix)
            stored = cleaned if command is None else await command(cleaned)
            if suffix == "cam1:ArrayCounter":
                self._counter_zero = self._counted - int(cleaned)
            if stored is not None:
                await self._store(suffix, stored)
        except Refusal as refusal:
            self.trace("camera_refused", pv=suffix, text=refusal.text)
            await self._tell(suffix, refusal.text)
        except Exception as error:  # a defect or a driver's error: visible, nothing else can be
            logger.exception("writing %s failed", suffix)
            await self._tell(suffix, f"{suffix}: {type(error).__name__}: {error}")
        for _ in range(4):  # let updates leave before the put completes
            await asyncio.sleep(0)

    def _clean(self, pv: PV, value: Any) -> Any:
        cleaned = parameters.clean(pv, value, self._ranges.get(pv.suffix))
        if pv.suffix in FIXED and cleaned != FIXED[pv.suffix]:
            raise Refusal(Fault.BAD_PARAMETER, f"{pv.suffix} can only be {FIXED[pv.suffix]!s}")
        return cleaned

    async def _store(self, suffix: str, value: Any) -> None:
        await self.channels.post(suffix, value)
        if f"{suffix}_RBV" in self.channels.pvs:
            await self.channels.post(f"{suffix}_RBV", value)

    async def _tell(self, suffix: str, text: str) -> None:
        if suffix.startswith("HDF1:"):
            await self.channels.post("HDF1:WriteMessage", text)
            await self.channels.post("HDF1:WriteStatus", WriteStatus.ERROR)
        else:
            await self.channels.post("cam1:StatusMessage_RBV", text)

    async def _malformed(self, pv: PV, error: Exception) -> None:
        await self._tell(pv.suffix, f"{pv.suffix}: the value written does not fit ({error})")

    def _require_idle(self, what: str) -> None:
        if self._acquisition is not None:
            raise Refusal(Fault.BUSY, f"{what} refused while acquiring: write cam1:Acquire 0 first")

    def _configurer(self, name: str) -> Command:
        async def configure(value: float) -> None:
            self._require_idle(name)
            if self._writer is not None and name.startswith(("cam1:Size", "cam1:Min")):
                raise Refusal(Fault.BUSY, f"{name} refused during capture")
            current = self.backend.settings
            x, y, columns, rows = current.region
            wanted = {
                "cam1:AcquireTime": replace(current, exposure_time=value),
                "cam1:AcquirePeriod": replace(current, period=value),
                "cam1:Gain": replace(current, gain=value),
                "cam1:SizeX": replace(current, region=(x, y, int(value), rows)),
                "cam1:SizeY": replace(current, region=(x, y, columns, int(value))),
                "cam1:MinX": replace(current, region=(int(value), y, columns, rows)),
                "cam1:MinY": replace(current, region=(x, int(value), columns, rows)),
            }[name]
            try:
                await self._publish_settings(await self.backend.configure(wanted))
            except ValueError as error:
                raise Refusal(Fault.BAD_PARAMETER, f"{name}: {error}") from None

        return configure

    # ---- acquisition ---------------------------------------------------------------------

    async def _acquire(self, switch: AcquireSwitch) -> None:
        if switch is AcquireSwitch.DONE:
            self._stopping = True
            await self.backend.stop()
            return
        async with self._opening:  # a capture ordered just before gets the first frame
            self._require_idle("cam1:Acquire 1")
        value = self.channels.value
        mode = value("cam1:ImageMode")
        frames = {ImageMode.SINGLE: 1, ImageMode.MULTIPLE: value("cam1:NumImages")}.get(mode, 0)
        self._frames, self._started, self._stopping = 0, time.monotonic(), False
        self._acquisition = asyncio.create_task(self._run_acquisition(frames))
        await asyncio.wait({self._acquisition})

    async def _drain(self) -> None:
        """Wait for the frames that were exposed before a stop."""
        if self._acquisition is not None and self._stopping:
            await asyncio.wait({self._acquisition})

    async def _run_acquisition(self, frames: int) -> None:
        post = self.channels.post
        error_text = ""
        try:
            await self._store("cam1:Acquire", AcquireSwitch.ACQUIRE)
            await post("cam1:DetectorState_RBV", DetectorState.ACQUIRE)
            await post("cam1:StatusMessage_RBV", "Acquiring")
            await self.backend.start(frames)
            self.trace("camera_started", frames=frames)
            waits = getattr(self.backend, "waits", False)
            while (frame := await self.backend.next_frame()) is not None:
                self._frames += 1
                self._counted += 1
                enabled = self.channels.value("HDF1:EnableCallbacks") is Callbacks.ENABLE
                if self._writer is not None and enabled:
                    while waits and not self._writer.room:  # noqa: ASYNC110 - a thread's queue
                        await asyncio.sleep(WAIT_PERIOD)
                    self._writer.put(frame)
                    if self._writer.full:
                        await self._end_capture()
                await asyncio.sleep(0)
        except Exception as error:
            logger.exception("camera")
            error_text = f"{type(error).__name__}: {error}"
        finally:
            self._acquisition = None
            self.trace("camera_stopped", frames=self._frames, error=error_text)
            await self._publish_counters()
            state = DetectorState.ERROR if error_text else DetectorState.IDLE
            await post("cam1:DetectorState_RBV", state)
            await post("cam1:StatusMessage_RBV", error_text or "Done")
            await self._store("cam1:Acquire", AcquireSwitch.DONE)

    # ---- files ---------------------------------------------------------------------------

    async def _file_path(self, path: str) -> None:
        path = path if path.endswith("/") or not path else f"{path}/"
        exists = bool(path) and await asyncio.to_thread(Path(path).is_dir)
        await self._store("HDF1:FilePath", path)
        await self.channels.post("HDF1:FilePathExists_RBV", Switch(int(exists)))

    async def _capture(self, switch: CaptureSwitch) -> None:
        if switch is CaptureSwitch.DONE:
            await self._drain()
            await self._end_capture()
            return
        if self._writer is not None:
            raise Refusal(Fault.BUSY, "capturing already: write HDF1:Capture 0 first")
        value, post = self.channels.value, self.channels.post
        async with self._opening:
            path = self._next_path()
            rows, columns = value("cam1:ArraySizeY_RBV"), value("cam1:ArraySizeX_RBV")
            try:
                self._writer = await asyncio.to_thread(
                    FrameWriter,
                    path,
                    (rows, columns),
                    limit=value("HDF1:NumCapture"),
                    flush_frames=value("HDF1:NumFramesFlush") or FLUSH_FRAMES,
                )
            except SegmentError as error:
                raise Refusal(Fault.FILE_ERROR, str(error)) from None
        self._capture_ended.clear()
        await post("HDF1:FullFileName_RBV", str(path))
        await post("HDF1:WriteStatus", WriteStatus.OK)
        await post("HDF1:WriteMessage", "")
        if value("HDF1:AutoIncrement") is Switch.YES:
            await self._store("HDF1:FileNumber", value("HDF1:FileNumber") + 1)
        await self._publish_counters()
        await post("HDF1:SWMRActive_RBV", Switch.YES)
        self.trace("capture_started", path=str(path))
        await self._store("HDF1:Capture", CaptureSwitch.CAPTURE)
        await self._capture_ended.wait()

    def _next_path(self) -> Path:
        value = self.channels.value
        directory, name = value("HDF1:FilePath"), value("HDF1:FileName")
        template = value("HDF1:FileTemplate")
        if not name or "/" in name:
            raise Refusal(Fault.FILE_ERROR, f"HDF1:FileName {name!r} is not a file name")
        if not Path(directory).is_absolute() or not Path(directory).is_dir():
            raise Refusal(
                Fault.FILE_ERROR, f"HDF1:FilePath {directory!r} is not an existing directory"
            )
        try:
            path = Path(template % (directory, name, value("HDF1:FileNumber")))
        except (TypeError, ValueError) as error:
            raise Refusal(
                Fault.FILE_ERROR,
                f"HDF1:FileTemplate {template!r} does not take path, name and number: {error}",
            ) from None
        if path.parent != Path(directory) or path.suffix not in {".h5", ".hdf5", ".hdf"}:
            raise Refusal(
                Fault.FILE_ERROR,
                f"HDF1:FileTemplate gives {path}: an .h5 file in HDF1:FilePath is needed",
            )
        return path

    async def _end_capture(self) -> None:
        writer, self._writer = self._writer, None
        if writer is None:
            return
        written = await asyncio.to_thread(writer.close)
        await self._publish_file(writer)
        self.trace(
            "capture_ended", path=str(writer.path), frames=written.frames, dropped=written.dropped
        )
        await self.channels.post("HDF1:SWMRActive_RBV", Switch.NO)
        await self._store("HDF1:Capture", CaptureSwitch.DONE)
        self._capture_ended.set()

    # ---- counters ------------------------------------------------------------------------

    async def _publish_counters(self) -> None:
        post = self.channels.post
        await post("cam1:NumImagesCounter_RBV", self._frames)
        await post("cam1:ArrayCounter_RBV", self._counted - self._counter_zero)
        if self._acquisition is not None:
            elapsed = max(time.monotonic() - self._started, 1e-3)
            await post("cam1:ArrayRate_RBV", self._frames / elapsed)
        if self._writer is not None:
            await self._publish_file(self._writer)

    async def _publish_file(self, writer: FrameWriter) -> None:
        post, written = self.channels.post, writer.written
        await post("HDF1:NumCaptured_RBV", written.frames)
        await post("HDF1:ArrayCounter_RBV", written.frames)
        await post("HDF1:DroppedArrays_RBV", written.dropped)
        await post("HDF1:QueueFree", writer.room)
        for plugin in ("cam1", "HDF1"):
            await post(f"{plugin}:UniqueId_RBV", written.unique_id)
        await post("HDF1:TimeStamp_RBV", written.timestamp - EPICS_EPOCH)
        if written.error:
            await self._tell("HDF1:", written.error)

    async def run(self) -> None:
        """Publish counters until cancelled."""
        while True:
            await self._publish_counters()
            await asyncio.sleep(PUBLISH_PERIOD)

    async def close(self) -> None:
        """End acquisition and file; call when serving ends."""
        if self._acquisition is not None:
            await self._acquire(AcquireSwitch.DONE)
            with contextlib.suppress(TimeoutError):  # a driver that hangs must not keep us here
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await self._drain()
        await self._end_capture()
