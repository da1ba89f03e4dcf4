"""FILE: PVs: opening capture and writing rows."""

import threading
from pathlib import Path

from nucleation_bluesky.contract.enums import Fault
from nucleation_bluesky.contract.files import FAMILY_CHANNELS
from nucleation_bluesky.iocs.method import Record
from nucleation_bluesky.iocs.pvdb import Channels
from nucleation_bluesky.iocs.state import Refusal
from nucleation_bluesky.segments import SegmentError, SegmentWriter, check_directory, check_name


class Capture:
    """Waveform files of one controller.

    Parameters
    ----------
    channels : Channels
        Where the FILE: PVs live.
    """

    def __init__(self, channels: Channels):
        self._channels = channels
        self._writer: SegmentWriter | None = None
        self._lock = threading.Lock()  # a row may still be written while capture is closed

    @property
    def active(self) -> bool:
        """Whether exposures are recorded."""
        return self._writer is not None

    def require_closed(self, suffix: str) -> None:
        """Refuse a change of file settings while capture is open.

        Raises
        ------
        Refusal
            BUSY.
        """
        if self.active:
            raise Refusal(
                Fault.BUSY, f"{suffix} refused during capture: write FILE:CAPTURE 0 first"
            )

    def set(self, on: int) -> None:
        """Open or close capture.

        Raises
        ------
        Refusal
            FILE_ERROR if the files cannot be made, BUSY if capture is open already.
        """
        if not on:
            self.close()
            return
        self.require_closed("FILE:CAPTURE 1")
        value = self._channels.value
        try:
            self._writer = SegmentWriter(
                value("FILE:DIR"),
                value("FILE:PREFIX"),
                value("FILE:ROWS"),
                value("FILE:MAX_SAMPLES"),
                channels=FAMILY_CHANNELS[value("FAMILY")],
                attributes={"family": value("FAMILY"), "boot": value("BOOT")},
            )
        except SegmentError as error:
            raise Refusal(Fault.FILE_ERROR, str(error)) from None

    def write(self, record: Record, seq: int, start_ticks: float) -> tuple[int, int]:
        """Write one exposure; (-1, -1) without capture.

        Raises
        ------
        SegmentError
            If the row cannot be written.
        """
        family = FAMILY_CHANNELS[self._channels.value("FAMILY")]
        channels = {name: record.channel(name) for name in family}
        scalars = {
            "n_samples": len(channels["current"]),
            "n_post": record.n_post,
            "termination": int(record.termination),
            "seq": seq,
            "start_ticks": start_ticks,
            "sample_rate": record.sample_rate,
        }
        with self._lock:
            return (-1, -1) if self._writer is None else self._writer.append(channels, scalars)

    @property
    def open_segment(self) -> int:
        """Number of the open file, -1 without."""
        if self._writer is None or not self._writer.is_open:
            return -1
        return self._writer.segment

    def close(self) -> None:
        """Close the open file and end capture."""
        with self._lock:
            if self._writer is not None:
                self._writer.close()
                self._writer = None


def image_path(channels: Channels) -> Path:
    """Path of the next topography image.

    Raises
    ------
    Refusal
        FILE_ERROR if the directory or the name cannot be used, or the file exists.
    """
    try:
        directory = check_directory(channels.value("FILE:DIR"))
        name = check_name(channels.value("TOPO:NAME"), "image name")
    except SegmentError as error:
        raise Refusal(Fault.FILE_ERROR, str(error)) from None
    path = directory / f"{name}.h5"
    if path.exists():
        raise Refusal(Fault.FILE_ERROR, f"{path} exists already: choose another TOPO:NAME")
    return path
