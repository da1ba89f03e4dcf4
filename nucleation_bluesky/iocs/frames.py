"""Files of frames in the layout of areaDetector's HDF5 plugin, written in their own thread."""

import contextlib
import os
import queue
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from nucleation_bluesky.contract.camera import (
    ATTRIBUTES_GROUP,
    EPICS_EPOCH,
    EPICS_NANOSECONDS_DATASET,
    EPICS_SECONDS_DATASET,
    FRAME_DATASETS,
    FRAMES_DATASET,
    TIMESTAMP_DATASET,
    UNIQUE_ID_DATASET,
)
from nucleation_bluesky.iocs.seccm_backend import Frame
from nucleation_bluesky.segments import (
    SPARE,
    DiskReserve,
    SegmentError,
    check_directory,
    close_file,
    publish_file,
)

QUEUE_FRAMES = 500  # at most
QUEUE_BYTES = 256 * 2**20  # at most, of frames that wait
FLUSH_FRAMES = 8
BATCH_FRAMES = 16
CLOSE_TIMEOUT = 60.0  # s for what waits when a file is closed
_IDLE = 1.0  # s
_NX_CLASSES = {
    "/entry": "NXentry",
    "/entry/data": "NXdata",
    "/entry/instrument": "NXinstrument",
    ATTRIBUTES_GROUP: "NXcollection",
}


@dataclass(frozen=True)
class Written:
    """What has reached the file."""

    frames: int  # written and flushed
    dropped: int
    unique_id: int
    timestamp: float  # UTC of the last frame, s since 1970
    error: str


def queue_size(shape: tuple[int, int]) -> int:
    """Return how many frames of this shape may wait for the disk."""
    return min(QUEUE_FRAMES, max(16, QUEUE_BYTES // max(2 * shape[0] * shape[1], 1)))


class FrameWriter:
    """One file of frames; frames are handed over and written in a thread.

    The file is readable while it grows (SWMR) and closed by `close`. Frames beyond `queue_size`
    that wait for the disk are dropped and counted.

    Parameters
    ----------
    path : Path
        File to make; an existing one is never replaced.
    shape : tuple of int
        Rows and columns of a frame.
    limit : int
        Frames after which the file is full, 0 for no limit.
    flush_frames : int
        Frames between flushes.

    Raises
    ------
    SegmentError
        If the file cannot be made.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int],
        *,
        limit: int = 0,
        flush_frames: int = FLUSH_FRAMES,
    ):
        self.path, self.shape, self.limit = path, shape, limit
        self._flush_frames = max(flush_frames, 1)
        self._queue: queue.Queue[Frame | None] = queue.Queue(queue_size(shape))
        self._accepted = self._written = self._flushed = self._dropped = 0
        self._last: Frame | None = None
        self._error = self._late = ""
        self._closing = False
        self._datasets: dict[str, h5py.Dataset] = {}
        self._file = self._open()
        self._thread = threading.Thread(target=self._run, name="frames", daemon=True)
        self._thread.start()

    @property
    def room(self) -> int:
        """Frames that the queue still takes."""
        return self._queue.maxsize - self._queue.qsize()

    @property
    def full(self) -> bool:
        """Whether `limit` frames were accepted."""
        return bool(self.limit) and self._accepted >= self.limit

    @property
    def written(self) -> Written:
        """What has reached the file so far."""
        last = self._last
        return Written(
            self._flushed,
            self._dropped,
            last.unique_id if last else 0,
            last.timestamp if last else EPICS_EPOCH,
            self._error or self._late,
        )

    def put(self, frame: Frame) -> bool:
        """Hand a frame over, without waiting; False where it was dropped."""
        if self.full:
            return False
        if self._error:
            self._dropped += 1
            return False
        try:
            self._queue.put_nowait(frame)
        except queue.Full:
            self._dropped += 1
            return False
        self._accepted += 1
        return True

    def close(self, timeout: float = CLOSE_TIMEOUT) -> Written:
        """Write what waits, close the file; blocks until that is done.

        A disk that does not answer within ``timeout`` s is an error of the file; what waits is
        written and closed when the disk comes back.
        """
        deadline = time.monotonic() + timeout
        self._closing = True
        if self._thread.is_alive():
            with contextlib.suppress(queue.Full):
                self._queue.put(None, timeout=timeout)
            self._thread.join(max(deadline - time.monotonic(), 0.0))
        if self._thread.is_alive():
            self._late = f"{self.path} was not written to its end within {timeout:g} s"
        return self.written

    def _open(self) -> h5py.File:
        if self.path.exists():
            raise SegmentError(f"{self.path} exists already and is not overwritten")
        check_directory(self.path.parent, int(np.prod(self.shape)) * 2)
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        frames = 2 * BATCH_FRAMES * int(np.prod(self.shape))
        self._reserve = DiskReserve(self.path, frames + SPARE)
        try:
            file = h5py.File(temporary, "w", libver="latest")
        except OSError as error:
            self._reserve.release()
            raise SegmentError(f"{self.path} cannot be made: {error}") from error
        try:
            for name, kind in _NX_CLASSES.items():
                file.require_group(name).attrs["NX_class"] = kind
            file["/entry/data"].attrs["signal"] = "data"
            self._datasets[FRAMES_DATASET] = file.create_dataset(
                FRAMES_DATASET,
                shape=(0, *self.shape),
                maxshape=(None, *self.shape),
                chunks=(1, *self.shape),
                dtype="<u2",
            )
            for name, (dtype, meaning) in FRAME_DATASETS.items():
                data = file.create_dataset(
                    name, shape=(0,), maxshape=(None,), chunks=(1024,), dtype=dtype
                )
                data.attrs["NDAttrName"] = name.rpartition("/")[2]
                data.attrs["NDAttrDescription"] = meaning
                self._datasets[name] = data
            file.swmr_mode = True
            file.flush()
            publish_file(temporary, self.path)
        except BaseException:
            close_file(file, self._reserve, self._datasets)
            temporary.unlink(missing_ok=True)
            raise
        return file

    def _run(self) -> None:
        """Write batches until told to end; after a failure only empty the queue."""
        over = False
        while not over:
            batch: list[Frame | None]
            try:
                batch = [self._queue.get(timeout=_IDLE)]
            except queue.Empty:
                if not self._closing:
                    continue
                batch = [None]  # the queue was full when the file was closed
            while len(batch) < BATCH_FRAMES and batch[-1] is not None:
                try:
                    batch.append(self._queue.get_nowait())
                except queue.Empty:
                    break
            over = batch[-1] is None
            frames = [frame for frame in batch if frame is not None]
            if self._error:
                self._dropped += len(frames)
                continue
            try:
                self._write(frames, flush=over)
            except (OSError, RuntimeError, ValueError, TypeError) as error:  # HDF5's many kinds
                self._error = f"writing {self.path} failed: {error}"
                self._dropped += len(frames)
        close_file(self._file, self._reserve, self._datasets)

    def _write(self, frames: list[Frame], *, flush: bool) -> None:
        begin, end = self._written, self._written + len(frames)
        if frames:
            self._reserve.require_room()
            data = self._datasets[FRAMES_DATASET]
            data.resize(end, axis=0)
            for number, frame in enumerate(frames, begin):
                if frame.image.shape != self.shape:
                    raise ValueError(
                        f"a frame of shape {frame.image.shape} came to a file of {self.shape}"
                    )
                image = np.ascontiguousarray(frame.image, dtype="<u2")
                data.id.write_direct_chunk((number, 0, 0), image)
            utc = np.array([frame.timestamp for frame in frames]) - EPICS_EPOCH
            seconds = np.floor(utc)
            values = {
                UNIQUE_ID_DATASET: [frame.unique_id for frame in frames],
                TIMESTAMP_DATASET: utc,
                EPICS_SECONDS_DATASET: seconds,
                EPICS_NANOSECONDS_DATASET: (utc - seconds) * 1e9,
            }
            for name, column in values.items():
                self._datasets[name].resize(end, axis=0)
                self._datasets[name][begin:end] = column
            self._written, self._last = end, frames[-1]
        if flush or self._written - self._flushed >= self._flush_frames or self._queue.empty():
            self._file.flush()
            self._flushed = self._written
