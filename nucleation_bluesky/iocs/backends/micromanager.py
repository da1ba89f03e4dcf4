"""Any camera of Micro-Manager behind the camera front end, through pymmcore-plus.

Micro-Manager stamps frames when they arrive: ``ElapsedTime-ms`` since the sequence started, where
the camera's adapter sends it, else the core's own clock. The exposure time is taken off, so that
timestamps are those of the start of the exposure.
"""

import asyncio
import contextlib
import time
from collections import deque
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from pymmcore_plus import CMMCorePlus

from nucleation_bluesky.iocs.seccm_backend import CameraSettings, Frame

BUFFER_MEGABYTES = 512  # of Micro-Manager's own circular buffer
POLL = 0.001  # s between looks for a frame
BATCH = 16  # frames fetched at once
ELAPSED, RECEIVED = "ElapsedTime-ms", "TimeReceivedByCore"


class MicroManagerCamera:
    """The camera of a Micro-Manager configuration (a `CameraBackend`).

    Parameters
    ----------
    core : CMMCorePlus
        With a camera loaded and chosen.
    """

    manufacturer = "Micro-Manager"

    def __init__(self, core: CMMCorePlus):
        self._core = core
        self._device = core.getCameraDevice()
        if not self._device:
            raise ValueError("the Micro-Manager configuration names no camera")
        self.model = f"{core.getDeviceLibrary(self._device)} {core.getDeviceName(self._device)}"
        core.setCircularBufferMemoryFootprint(BUFFER_MEGABYTES)
        core.clearROI()
        if core.getNumberOfComponents() != 1 or core.getBytesPerPixel() > 2:
            raise ValueError(
                f"{self.model} sends {core.getBytesPerPixel()} bytes a pixel: choose a "
                "monochrome pixel type of at most 16 bits in its configuration"
            )
        self.sensor = core.getImageHeight(), core.getImageWidth()
        exposure = core.getExposure() / 1e3
        region = (0, 0, self.sensor[1], self.sensor[0])
        self.settings = CameraSettings(exposure, exposure, region)
        self._fetched: deque[Frame] = deque()
        self._left = 0
        self._count = self._first = 0
        self._started = 0.0

    async def configure(self, settings: CameraSettings) -> CameraSettings:
        """Apply exposure, period and region; the gain stays Micro-Manager's own.

        Raises
        ------
        ValueError
            If the region is not on the sensor, or the camera refuses.
        """
        x, y, columns, rows = settings.region
        if x < 0 or y < 0 or x + columns > self.sensor[1] or y + rows > self.sensor[0]:
            raise ValueError(f"the region {settings.region} is not on the sensor {self.sensor}")
        try:
            self.settings = await asyncio.to_thread(self._apply, settings)
        except RuntimeError as error:
            raise ValueError(str(error)) from error
        return self.settings

    def _apply(self, settings: CameraSettings) -> CameraSettings:
        core = self._core
        core.setExposure(settings.exposure_time * 1e3)
        if settings.region != self.settings.region:
            core.setROI(*settings.region)
        exposure = core.getExposure() / 1e3
        region = tuple(int(v) for v in core.getROI())
        return replace(
            settings,
            exposure_time=exposure,
            period=max(settings.period, exposure),
            region=region,
            gain=self.settings.gain,
        )

    async def start(self, frames: int) -> None:
        """Start a sequence; 0 frames for no end."""
        self._fetched.clear()
        self._left = frames or -1
        self._first = self._count
        await asyncio.to_thread(self._start, frames)

    def _start(self, frames: int) -> None:
        core, interval = self._core, self.settings.period * 1e3
        core.clearCircularBuffer()
        core.prepareSequenceAcquisition(self._device)
        self._started = time.time()
        if frames:
            core.startSequenceAcquisition(frames, interval, True)
        else:
            core.startContinuousSequenceAcquisition(interval)

    async def next_frame(self) -> Frame | None:
        """Return the next frame, None after the last.

        Raises
        ------
        RuntimeError
            If Micro-Manager's buffer overflowed, or the camera failed.
        """
        if not self._left:
            return None
        core = self._core
        while not self._fetched:
            if core.getRemainingImageCount():
                self._fetched.extend(await asyncio.to_thread(self._fetch))
            elif core.isBufferOverflowed():
                raise RuntimeError("Micro-Manager's buffer overflowed: frames came too fast")
            elif not core.isSequenceRunning() and not core.getRemainingImageCount():
                self._left = 0
                return None
            else:
                await asyncio.sleep(POLL)
        self._left -= self._left > 0
        return self._fetched.popleft()

    def _fetch(self) -> list[Frame]:
        core = self._core
        frames = []
        while core.getRemainingImageCount() and len(frames) < BATCH:
            image, tags = core.popNextImageAndMD()
            self._count += 1
            frames.append(self._frame(image, tags))
        return frames

    def _frame(self, image: np.ndarray, tags: Any) -> Frame:
        number = self._count
        with contextlib.suppress(KeyError, ValueError):  # counted by the camera: losses show
            number = self._first + 1 + int(tags["ImageNumber"])
            self._count = number
        return Frame(np.ascontiguousarray(image, np.uint16), number, self._timestamp(tags))

    def _timestamp(self, tags: Any) -> float:
        arrived = time.time()
        with contextlib.suppress(KeyError, ValueError):
            arrived = datetime.fromisoformat(tags[RECEIVED]).timestamp()
        with contextlib.suppress(KeyError, ValueError):
            arrived = self._started + float(tags[ELAPSED]) / 1e3
        return arrived - self.settings.exposure_time

    async def stop(self) -> None:
        """Stop the sequence; what was taken can still be fetched."""
        await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        if self._core.isSequenceRunning():
            self._core.stopSequenceAcquisition()


def make_micromanager(
    config: Path | str | None = None, adapters: Path | str | None = None
) -> MicroManagerCamera:
    """Open a Micro-Manager camera.

    Parameters
    ----------
    config : Path or None
        Configuration file (.cfg) as Micro-Manager's wizard writes it; its demonstration camera
        with 16 bits a pixel without one.
    adapters : Path or None
        Directory of the device adapters; without it those of mm-test-adapters where installed,
        else where pymmcore-plus finds Micro-Manager.

    Raises
    ------
    RuntimeError, ValueError
        If Micro-Manager cannot load it, or the camera is not monochrome.
    FileNotFoundError
        If the configuration does not exist.
    """
    core = CMMCorePlus()
    found = adapters or _test_adapters()
    if found is not None:
        core.setDeviceAdapterSearchPaths([str(found)])
    if config is not None:
        if not Path(config).is_file():
            raise FileNotFoundError(f"the Micro-Manager configuration {config} does not exist")
        core.loadSystemConfiguration(str(config))
    else:
        core.loadDevice("Camera", "DemoCamera", "DCam")
        core.initializeDevice("Camera")
        core.setCameraDevice("Camera")
        core.setProperty("Camera", "PixelType", "16bit")
    return MicroManagerCamera(core)


def _test_adapters() -> str | None:
    try:
        from mm_test_adapters import device_adapter_path  # noqa: PLC0415 - not always installed
    except ImportError:
        return None
    return device_adapter_path()
