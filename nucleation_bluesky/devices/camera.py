"""A film camera in areaDetector's manner: frames go from the camera's computer to HDF5 files.

It is a flyer: kickoff opens a file and starts the camera, complete stops it and closes the file,
collect announces the frames. Frames of all films of a run follow each other in one stream.
"""

import logging
import math
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ophyd import Component
from ophyd.device import Staged
from ophyd.status import DeviceStatus

from nucleation_bluesky.contract.camera import (
    FILE_TEMPLATE,
    AcquireSwitch,
    CaptureSwitch,
    DetectorState,
    ImageMode,
    WriteMode,
    WriteStatus,
)
from nucleation_bluesky.contract.documents import FILM_ROLES
from nucleation_bluesky.devices._area_detector import AreaDetector
from nucleation_bluesky.devices._assets import DataDirectory
from nucleation_bluesky.devices._film import FilmClock, FilmRecord
from nucleation_bluesky.devices._frames import announce_frames, describe_frames, film_times
from nucleation_bluesky.devices._signals import (
    TIMEOUT,
    ContractSignal,
    read_together,
    write_together,
)
from nucleation_bluesky.devices._worker import Worker
from nucleation_bluesky.devices.controller import check_units
from nucleation_bluesky.devices.errors import (
    BadValueError,
    FilmError,
    InstrumentError,
    NotConfiguredError,
)
from nucleation_bluesky.segments import RESERVE

logger = logging.getLogger(__name__)
_POLL = 0.005
PIXEL_BYTES = 2  # of a frame in the file
FILE_TIMEOUT = 600.0  # s: a film of many frames is written behind the camera


@dataclass(frozen=True)
class Film:
    """One film: its file on this machine, its frames, and what was lost."""

    path: Path
    frames: int
    lost: int


class FilmCamera(AreaDetector):
    """Camera that films landings.

    Parameters
    ----------
    prefix : str
        Of the areaDetector IOC, e.g. ``NB:IRM:``; ``cam1:`` and ``HDF1:`` follow.
    name : str
        Of the device.

    Attributes
    ----------
    data_directory : DataDirectory or None
        Where films go, as we and as the camera's computer see it; needed.
    clock : callable or None
        Returns the controller's UTC, s since 1970: what the camera's clock is compared with.
    frame_timeout : float
        Wall time within which the first frame must come, beyond period and exposure, s.
    last : Film or None
        The film taken last.
    """

    film = Component(FilmRecord, "", kind="omitted")

    def __init__(self, prefix: str = "", *, name: str, **kwargs: Any) -> None:
        self.data_directory: DataDirectory | None = None
        self.clock: Callable[[], float] | None = None
        self.frame_timeout = 5.0
        self.last: Film | None = None
        self._worker = Worker(f"{name}-worker")
        self._shape = (0, 0)
        self._times = (0.0, 0.0)
        self._count = 0  # frames announced since staging
        self._films = 0
        self._prefix = ""
        self._filming = False
        self._watch: FilmClock | None = None
        self._pending: list[tuple[str, dict]] = []
        super().__init__(prefix, name=name, **kwargs)

    # -- connection ------------------------------------------------------------------------------

    def connect(self) -> None:
        """Connect and check units.

        Raises
        ------
        NotConnectedError
            If the camera's IOC does not answer.
        """
        check_units(self)

    @property
    def roles(self) -> dict[str, str]:
        """Role -> data key: those of the stream of frames, and of the record in each event."""
        return {role: f"{self.name}_{role}" for role in FILM_ROLES} | self.film.roles

    def _map(self) -> DataDirectory:
        if self.data_directory is None:
            raise NotConfiguredError(f"{self.name} has no data directory; set data_directory")
        return self.data_directory

    def configure_film(self, *, exposure: float = 0.0, period: float = 0.0) -> None:
        """Say exposure time and time between frames, s; 0 leaves them. Put by `stage`.

        Raises
        ------
        BadValueError
            If a value is not finite, negative, or the exposure is longer than the period.
        """
        if not all(math.isfinite(v) and v >= 0 for v in (exposure, period)):
            raise BadValueError("exposure and period of a film must be times of 0 s or more")
        if period and exposure > period:
            raise BadValueError(
                f"an exposure of {exposure:g} s does not fit into a frame every {period:g} s"
            )
        self._times = (exposure, period)

    def require_room(self, seconds: float) -> None:
        """Refuse films for which there is no room.

        A disk that cannot be seen from here is not looked at.

        Parameters
        ----------
        seconds : float
            Longest that will be filmed in all, s.

        Raises
        ------
        BadValueError
            If the disk is too full.
        """
        exposure, period = (
            wanted or told
            for wanted, told in zip(
                self._times, read_together([self.exposure, self.period]), strict=True
            )
        )
        interval = max(exposure, period)
        place = next(
            (p for p in (self._map().local, *self._map().local.parents) if p.is_dir()), None
        )
        if place is None or not interval > 0:
            return
        rows, columns = self.frame_shape()
        needed = math.ceil(seconds / interval) * rows * columns * PIXEL_BYTES
        free = shutil.disk_usage(place).free
        if free < needed + RESERVE:
            raise BadValueError(
                f"the films may take {needed / 1e9:.1f} GB ({seconds:.0f} s of {columns} x {rows} "
                f"pixels every {interval:.3g} s), the disk of {place} has {free / 1e9:.1f} GB free "
                f"and {RESERVE / 1e9:.1f} GB stay in reserve: free space, film fewer or smaller "
                "frames, or film none (film=False)"
            )

    # -- staging ---------------------------------------------------------------------------------

    def stage(self) -> list[object]:
        """Prepare camera and file writer; nothing is filmed yet.

        Raises
        ------
        InstrumentError
            If the camera is taking frames for somebody else, or refuses a setting.
        """
        directory = self._map()
        if self._staged is Staged.yes:
            self.unstage()  # what a halted run left behind
        self._require_idle(directory)
        staged = super().stage()
        try:
            write_together(
                [
                    (self.image_mode, int(ImageMode.CONTINUOUS)),
                    (self.callbacks, 1),
                    (self.plugin_callbacks, 1),
                    (self.write_mode, int(WriteMode.STREAM)),
                    (self.num_capture, 0),
                    (self.auto_increment, 0),
                    (self.lazy_open, 1),
                    (self.file_template, FILE_TEMPLATE),
                ]
            )
            times = zip((self.exposure, self.period), self._times, strict=True)
            write_together([(signal, value) for signal, value in times if value])
            self._shape = self.frame_shape()
        except BaseException:
            super().unstage()
            raise
        self._count = self._films = 0
        self._prefix = uuid.uuid4().hex
        self._pending, self._filming, self.last = [], False, None
        self.film.reset()
        return staged

    def _require_idle(self, directory: DataDirectory) -> None:
        """End a film that a session of ours which died left running; refuse any other one."""
        acquiring, capturing, path = read_together([self.acquiring, self.capturing, self.file_path])
        ours = path.rstrip("/") == directory.on_controller.rstrip("/")
        if capturing != CaptureSwitch.DONE and ours:
            logger.warning("%s still filmed for a session that has ended; stopping it", self.prefix)
            self._halt()
        elif acquiring != AcquireSwitch.DONE or capturing != CaptureSwitch.DONE:
            raise InstrumentError(
                f"the camera at {self.prefix} is taking frames already; stop the live view"
            )

    def unstage(self) -> list[object]:
        """End a film still under way."""
        if self._filming:
            self._halt()
        return super().unstage()

    def _halt(self) -> None:
        self._filming = False
        self._stop_camera()
        self.capture.command(int(CaptureSwitch.DONE), FILE_TIMEOUT)

    def _stop_camera(self) -> None:
        """Stop; frames exposed before still reach the file, and as long as they do we wait.

        Raises
        ------
        FilmError
            If the camera goes on, or stands still without stopping.
        """
        self.acquire.send(int(AcquireSwitch.DONE))
        begun = moved = time.monotonic()
        seen = -1
        while self.acquiring.get() != AcquireSwitch.DONE:
            now, count = time.monotonic(), self.counter.get()
            if count != seen:
                seen, moved = count, now
            if now - moved > self.frame_timeout or now - begun > FILE_TIMEOUT:
                raise FilmError(f"the camera at {self.prefix} does not stop")
            self._worker.pause(_POLL)

    # -- filming ---------------------------------------------------------------------------------

    def kickoff(self) -> DeviceStatus:
        """Start a film; done with its first frame.

        Returns
        -------
        DeviceStatus
            Fails with FilmError if the camera is not armed or no frame comes.
        """
        directory = self._map()
        status = DeviceStatus(self, timeout=self.frame_timeout + 8 * TIMEOUT + 60.0)
        return self._worker.submit(status, lambda: self._begin(directory))

    def _begin(self, directory: DataDirectory) -> None:
        self._shape = self._shape if min(self._shape) else self.frame_shape()
        directory.local.mkdir(parents=True, exist_ok=True)
        target = directory.on_controller.rstrip("/") + "/"
        write_together(
            [
                (self.file_name, self._prefix or uuid.uuid4().hex),
                (self.file_number, self._films),
            ]
        )
        self.file_path.command(target)  # areaDetector adds a slash where there is none
        if not self.path_exists.get():
            raise FilmError(
                f"the camera's computer has no directory {target}; create it, or correct "
                "instrument.camera_directory in the configuration"
            )
        self._films += 1
        self.capture.send(int(CaptureSwitch.CAPTURE))
        if not self._becomes(self.capturing, int(CaptureSwitch.CAPTURE), TIMEOUT):
            raise FilmError(
                f"the camera at {self.prefix} is not armed: its file writer did not start "
                f"({self.write_message.get() or 'no message'})"
            )
        exposure, period = read_together([self.exposure, self.period])
        self._watch = FilmClock(self.clock)
        self._filming = True
        before = self.counter.get()
        self._watch.begin()
        self.acquire.send(int(AcquireSwitch.ACQUIRE))
        if not self._first_frame(before, self.frame_timeout + period + exposure):
            state = DetectorState(self.state.get()).label
            told = self.message.get()
            self._halt()
            raise FilmError(
                f"the camera at {self.prefix} delivers no frames (state {state}"
                f"{': ' + told if told else ''}); check that it is switched on and not in use"
            )

    def _first_frame(self, before: int, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while self.counter.get() == before:
            if time.monotonic() > deadline:
                return False
            self._worker.pause(_POLL)
        if self._watch is not None:
            self._watch.arrived()
        return True

    def _becomes(self, signal: ContractSignal, value: int, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while signal.get() != value:
            if time.monotonic() > deadline:
                return False
            self._worker.pause(_POLL)
        return True

    def complete(self) -> DeviceStatus:
        """Stop the film; done when its file is closed.

        Returns
        -------
        DeviceStatus
            Fails with FilmError if frames are missing or the file cannot be read here.
        """
        directory = self._map()
        status = DeviceStatus(self, timeout=2 * FILE_TIMEOUT + 4 * TIMEOUT)
        return self._worker.submit(status, lambda: self._end(directory))

    def _end(self, directory: DataDirectory) -> None:
        if not self._filming:
            raise FilmError(f"{self.name} is not filming; kickoff comes before complete")
        self._stop_camera()
        if self._watch is not None:
            self._watch.end()
        self.capture.command(int(CaptureSwitch.DONE), FILE_TIMEOUT)
        self._filming = False
        frames, dropped, status = read_together([self.captured, self.dropped, self.write_status])
        if status != WriteStatus.OK or self.capturing.get() != CaptureSwitch.DONE:
            raise FilmError(f"the camera could not write its film: {self.write_message.get()}")
        if not frames:
            raise FilmError(f"the camera at {self.prefix} wrote no frame of this film")
        path = directory.to_local(self.full_name.get())
        first, last = film_times(path, frames, self._shape)
        self.last = Film(path, frames, dropped)
        offset, uncertainty = (
            self._watch.compare(first, last) if self._watch is not None else (math.nan, math.nan)
        )
        self._pending += announce_frames(self.name, path, self._count, frames, self._shape)
        self._count += frames
        self.film.publish(self._count - frames, frames, offset, uncertainty)

    # -- documents -------------------------------------------------------------------------------

    def describe_collect(self) -> dict[str, Any]:
        """Return the data keys of the stream of frames."""
        return describe_frames(self.name, f"PV:{self.prefix}HDF1:", self._shape)

    def collect_asset_docs(self, index: int | None = None) -> Iterator[tuple[str, dict]]:  # noqa: ARG002 - protocol
        """Yield stream documents of the films completed since the last call."""
        pending, self._pending = self._pending, []
        yield from pending

    def get_index(self) -> int:
        """Frames announced since staging."""
        return self._count

    @property
    def filming(self) -> bool:
        """Whether a film is under way."""
        return self._filming

    def stop(self, *, success: bool = False) -> None:  # noqa: ARG002 - protocol
        """Stop the camera; never waits, never raises."""
        if not self._filming:
            return
        try:
            self.acquire.send(int(AcquireSwitch.DONE))
        except (InstrumentError, RuntimeError, OSError) as exc:
            logger.critical("the camera at %s could not be stopped: %s", self.prefix, exc)
