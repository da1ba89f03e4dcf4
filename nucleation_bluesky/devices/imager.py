"""Topography images: one file each, announced as external data."""

import math
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ophyd import Component, Signal
from ophyd.status import DeviceStatus

from nucleation_bluesky.contract.documents import TOPOGRAPHY_ROLES
from nucleation_bluesky.contract.files import TOPOGRAPHY_DATASET
from nucleation_bluesky.devices._assets import DataDirectory, announce_file
from nucleation_bluesky.devices._base import InstrumentDevice
from nucleation_bluesky.devices._signals import (
    TIMEOUT,
    contract_signal,
    soft,
    write_together,
)
from nucleation_bluesky.devices._worker import Worker
from nucleation_bluesky.devices.errors import (
    BadValueError,
    InstrumentError,
    NotConfiguredError,
    PutRefusedError,
)
from nucleation_bluesky.devices.instrument import Instrument


@dataclass(frozen=True)
class Image:
    """A topography image: heights (m, row along +y), centre and pixel edge (m)."""

    heights: np.ndarray
    x: float
    y: float
    pixel_size: float
    path: Path


class TopographyImager(InstrumentDevice):
    """Takes topography images.

    Attributes
    ----------
    data_directory : DataDirectory or None
        Where the files go; needed.
    scan_timeout : float
        Longest duration of an image, s of wall time.
    center_x, center_y, size : ophyd.Signal
        Centre in the user's frame and edge length of the next image, m.
    pixels : ophyd.Signal
        Pixels per edge.
    stream : ophyd.Signal
        Name of the stream the next images go to; indices count per stream.
    """

    center_x = Component(Signal, value=0.0, kind="omitted")
    center_y = Component(Signal, value=0.0, kind="omitted")
    size = Component(Signal, value=2e-6, kind="omitted")
    pixels = Component(Signal, value=256, kind="omitted")
    stream = Component(Signal, value="", kind="omitted")

    topo_x = contract_signal("TOPO:X")
    topo_y = contract_signal("TOPO:Y")
    topo_size = contract_signal("TOPO:SIZE")
    topo_pixels = contract_signal("TOPO:PIXELS")
    topo_name = contract_signal("TOPO:NAME")
    topo_go = contract_signal("TOPO:GO")
    topo_seq = contract_signal("TOPO:SEQ")
    file_dir = contract_signal("FILE:DIR")

    def __init__(self, prefix: str = "", *, name: str, **kwargs: Any) -> None:
        self.data_directory: DataDirectory | None = None
        self.scan_timeout = 300.0
        self._worker = Worker(f"{name}-worker")
        self._last: tuple[float, float, float, Path] | None = None  # centre, pixel edge, file
        self._counts: dict[str, int] = {}
        self._pending: list[tuple[str, dict]] = []
        self._reading: dict[str, dict] | None = None
        super().__init__(prefix, name=name, **kwargs)

    @property
    def roles(self) -> dict[str, str]:
        """Role -> data key."""
        return {role: f"{self.name}_{role}" for role in TOPOGRAPHY_ROLES}

    def configure_image(self, x: float, y: float, size: float, pixels: int) -> None:
        """Set centre, edge length (m) and pixels of the next image; nothing is put yet.

        Raises
        ------
        BadValueError
            If a value is not finite or not positive.
        """
        self._check(x, y, size, pixels)
        for signal, value in (
            (self.center_x, float(x)), (self.center_y, float(y)), (self.size, float(size)),
            (self.pixels, int(pixels)),
        ):  # fmt: skip
            signal.put(value)

    @staticmethod
    def _check(x: float, y: float, size: float, pixels: int) -> None:
        if not all(math.isfinite(v) for v in (x, y, size)) or size <= 0 or pixels < 2:
            raise BadValueError(
                f"an image needs a finite centre, a size above 0 and 2 or more pixels (got "
                f"x={x}, y={y}, size={size}, pixels={pixels})"
            )

    def stage(self) -> list[object]:
        """Start counting images anew."""
        staged = super().stage()
        self._counts, self._pending, self._reading = {}, [], None
        return staged

    def trigger(self) -> DeviceStatus:
        """Take the image.

        Raises
        ------
        NotConfiguredError
            Without a data directory.
        BadValueError
            If the settings make no image.
        """
        directory = self.data_directory
        if directory is None:
            raise NotConfiguredError(f"{self.name} has no data directory; set data_directory")
        x, y = float(soft(self.center_x)), float(soft(self.center_y))
        size, pixels = float(soft(self.size)), int(soft(self.pixels))
        self._check(x, y, size, pixels)
        status = DeviceStatus(self, timeout=self.scan_timeout + 4 * TIMEOUT)
        return self._worker.submit(status, lambda: self._take(directory, x, y, size, pixels))

    def _take(self, directory: DataDirectory, x: float, y: float, size: float, pixels: int) -> None:
        directory.local.mkdir(parents=True, exist_ok=True)
        name = f"topography-{uuid.uuid4().hex}"
        dx, dy = (
            self.parent.positioner.origin if isinstance(self.parent, Instrument) else (0.0, 0.0)
        )
        if self.file_dir.get() != directory.on_controller:
            self.file_dir.write(directory.on_controller)
        write_together(
            [
                (self.topo_x, x + dx),
                (self.topo_y, y + dy),
                (self.topo_size, size),
                (self.topo_pixels, pixels),
                (self.topo_name, name),
            ]
        )
        before = self.topo_seq.get()
        self.topo_go.command(1, self.scan_timeout)
        path = directory.local / f"{name}.h5"
        if self.topo_seq.get() == before:
            raise PutRefusedError(
                f"the controller took no image ({self.controller.fault_description()})"
            )
        pixel_size = size / pixels
        self._last = x, y, pixel_size, path
        self._announce(path, pixels)
        when = time.time()
        values = {"topography_x": x, "topography_y": y, "topography_pixel_size": pixel_size}
        self._reading = {
            f"{self.name}_{role}": {"value": value, "timestamp": when}
            for role, value in values.items()
        }

    def _announce(self, path: Path, pixels: int) -> None:
        stream = str(soft(self.stream))
        index = self._counts.get(stream, 0)
        self._counts[stream] = index + 1
        self._pending += announce_file(
            f"{self.name}_topography",
            path,
            TOPOGRAPHY_DATASET,
            (1, pixels, pixels),
            range(index, index + 1),
        )

    def read_image(self) -> Image:
        """Read back the last image from its file.

        Raises
        ------
        NotConfiguredError
            If none was taken.
        InstrumentError
            If the file cannot be read here.
        """
        if self._last is None:
            raise NotConfiguredError(f"{self.name} has taken no image yet")
        x, y, pixel_size, path = self._last
        try:
            with h5py.File(path, "r") as file:
                heights = np.asarray(file[TOPOGRAPHY_DATASET], dtype=float)
        except (OSError, KeyError) as exc:
            raise InstrumentError(
                f"the image {path} cannot be read here ({exc}); check the mapping between "
                "the controller's data directory and ours"
            ) from exc
        # files follow the areaDetector convention: a leading axis of frames
        return Image(heights.reshape(heights.shape[-2:]), x, y, pixel_size, path)

    def read(self) -> Any:
        """Centre and pixel size of the last image.

        Raises
        ------
        NotConfiguredError
            If none was taken since staging.
        """
        if self._reading is None:
            raise NotConfiguredError(f"{self.name} has taken no image since it was staged")
        return dict(self._reading)

    def describe(self) -> Any:
        """Return the data keys of an image."""
        pixels = int(soft(self.pixels))
        keys: dict[str, dict] = {}
        for role, (unit, _) in TOPOGRAPHY_ROLES.items():
            key: dict[str, Any] = {
                "source": f"PV:{self.topo_go.pvname}", "dtype": "number", "shape": [],
                "dtype_numpy": "<f8", "units": unit,
            }  # fmt: skip
            if role == "topography":
                key |= {"dtype": "array", "shape": [1, pixels, pixels], "dtype_numpy": "<f4"}
                key["external"] = "STREAM:"
            keys[f"{self.name}_{role}"] = key
        return dict(keys)

    @property
    def hints(self) -> dict[str, list[str]]:
        """Nothing for live tables."""
        return {"fields": []}

    def collect_asset_docs(self, index: int | None = None) -> Iterator[tuple[str, dict]]:  # noqa: ARG002 - protocol
        """Yield stream documents of the images taken since the last call."""
        pending, self._pending = self._pending, []
        yield from pending

    def get_index(self) -> int:
        """Images announced in the present stream."""
        return self._counts.get(str(soft(self.stream)), 0)

    def stop(self, *, success: bool = False) -> None:
        """Nothing to stop here: imaging is without bias."""
