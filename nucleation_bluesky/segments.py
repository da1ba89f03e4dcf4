"""Waveform segments and topography images in HDF5: written while others read.

A segment holds up to ``rows`` exposures. It is written in single-writer-multiple-reader mode and
grows by one row per exposure, so its length is always the number of rows written; every row is
flushed before it is announced. A full segment is closed and never touched again.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from nucleation_bluesky.contract.files import (
    FILE_FORMAT,
    FILE_VERSION,
    ROW_DATASETS,
    TOPOGRAPHY_DATASET,
    WAVEFORM_CHANNELS,
    WAVEFORM_GROUP,
    segment_name,
    waveform_path,
)
from nucleation_bluesky.contract.pvs import CONTRACT_VERSION

ROW_UNITS = {"start_ticks": "s", "sample_rate": "Hz"}
MAX_ROWS = 100_000
MAX_ROW_SAMPLES = 10_000_000
CHUNK_SAMPLES = 16384  # of a row; chunks beyond the last sample take no space
RESERVE = 64 * 2**20  # bytes that must stay free on the disk
SPARE = 4 * 2**20  # bytes beside a row, for what HDF5 keeps in memory until it flushes
_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")


class SegmentError(OSError):
    """A file cannot be made, extended or read; the message says what to do."""


def check_name(name: str, what: str) -> str:
    """Return ``name`` if it is safe as a file name.

    Raises
    ------
    SegmentError
        If it is empty, longer than 100 characters or holds others than letters, digits, '-', '_'.
    """
    if not _NAME.fullmatch(name):
        raise SegmentError(
            f"{what} {name[:40]!r} is not usable: 1 to 100 letters, digits, '-' or '_'"
        )
    return name


def check_directory(directory: str | Path, needed: int = 0) -> Path:
    """Return the resolved directory if files can be written there.

    Parameters
    ----------
    directory : str or Path
        Absolute path.
    needed : int
        Bytes about to be written.

    Raises
    ------
    SegmentError
        If the path is relative, absent, not writable or its disk is nearly full.
    """
    path = Path(directory)
    if not str(directory) or not path.is_absolute():
        raise SegmentError(f"the file directory {str(directory)!r} must be an absolute path")
    if not path.is_dir():
        raise SegmentError(f"the directory {path} does not exist: create it first")
    if not os.access(path, os.W_OK | os.X_OK):
        raise SegmentError(f"the directory {path} is not writable")
    free = shutil.disk_usage(path).free
    if free < needed + RESERVE:
        raise SegmentError(
            f"the disk of {path} is nearly full: {free / 2**20:.0f} MiB free, "
            f"{(needed + RESERVE) / 2**20:.0f} MiB needed"
        )
    return path.resolve()


class DiskReserve:
    """Space set aside for a growing HDF5 file, given back to it when the disk is full.

    HDF5 cannot close a file that it could not flush; it keeps half of it, and the process crashes
    some time later. With the space given back, it can.

    Parameters
    ----------
    path : Path
        Of the growing file.
    size : int
        Bytes: what is written at a time, and `SPARE`.

    Raises
    ------
    SegmentError
        If the disk is full already.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._size = size
        self._directory = path.parent
        held = path.with_name(f".{path.name}.{os.getpid()}.reserve")
        self._fd: int | None = os.open(held, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        held.unlink()  # the space is freed with the last handle, however this process ends
        try:
            os.posix_fallocate(self._fd, 0, size)
        except OSError as error:
            self.release()
            raise SegmentError(f"the disk of {path} is full: {error.strerror}") from error

    def require_room(self) -> None:
        """Refuse to write while there is no more room than the reserve itself.

        Raises
        ------
        SegmentError
            If the disk is full; the open file is as it was.
        """
        free = shutil.disk_usage(self._directory).free
        if free < self._size:
            raise SegmentError(
                f"the disk of {self._directory} is full ({free / 2**20:.1f} MiB free): free space"
            )

    def release(self) -> None:
        """Give the space back."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def close_file(file: h5py.File, reserve: DiskReserve, datasets: dict[str, h5py.Dataset]) -> None:
    """Close a file that grew, and its datasets, also on a full disk."""
    reserve.release()
    # a full disk must not hide its cause; what could not be flushed before can be now
    with contextlib.suppress(OSError, RuntimeError):
        file.flush()
    datasets.clear()
    with contextlib.suppress(OSError, RuntimeError):
        file.close()


class SegmentWriter:
    """Writes exposures row by row into numbered segments.

    Parameters
    ----------
    directory : str or Path
        Existing directory.
    prefix : str
        Files are ``<prefix>_<five digits>.h5``; none of them may exist.
    rows : int
        Exposures per segment.
    max_samples : int
        Width of a row.
    compression : str or None
        HDF5 filter; None by default: a row is written in one piece and noise hardly compresses.
    attributes : mapping, optional
        Further attributes of each file.
    extra : mapping of str to str, optional
        Further channels and their units, beyond ``channels``.
    channels : mapping of str to str, optional
        Channels and their units; WAVEFORM_CHANNELS by default.

    Raises
    ------
    SegmentError
        If the directory, the name or a number cannot be used, or a segment exists already.
    """

    def __init__(
        self,
        directory: str | Path,
        prefix: str,
        rows: int,
        max_samples: int,
        *,
        compression: str | None = None,
        attributes: Mapping[str, str | float] | None = None,
        extra: Mapping[str, str] | None = None,
        channels: Mapping[str, str] | None = None,
    ):
        if not 1 <= rows <= MAX_ROWS:
            raise SegmentError(f"rows per file must lie between 1 and {MAX_ROWS}, got {rows}")
        if not 1 <= max_samples <= MAX_ROW_SAMPLES:
            raise SegmentError(f"row width must lie between 1 and {MAX_ROW_SAMPLES}")
        self.prefix = check_name(prefix, "file prefix")
        self.rows, self.max_samples = rows, max_samples
        self._channels = dict(channels or WAVEFORM_CHANNELS) | dict(extra or {})
        self._row_bytes = max_samples * 4 * len(self._channels)
        self.directory = check_directory(directory, self._row_bytes * min(rows, 10))
        self._compression = compression
        self._attributes = dict(attributes or {})
        self._file: h5py.File | None = None
        self._reserve: DiskReserve | None = None
        self._datasets: dict[str, h5py.Dataset] = {}
        self._row = 0
        self.segment = -1
        for existing in sorted(self.directory.glob(f"{prefix}_*.h5")):
            if re.fullmatch(rf"{re.escape(prefix)}_\d{{5}}\.h5", existing.name):
                raise SegmentError(f"{existing} exists already: choose another file prefix")

    def path(self, segment: int) -> Path:
        """Path of a segment."""
        return self.directory / segment_name(self.prefix, segment)

    @property
    def is_open(self) -> bool:
        """Whether a segment is open for writing."""
        return self._file is not None

    def append(
        self, channels: Mapping[str, np.ndarray], scalars: Mapping[str, float]
    ) -> tuple[int, int]:
        """Write one exposure, flushed on return.

        Parameters
        ----------
        channels : mapping of str to ndarray, shape (n,)
            Arrays of equal length, n <= max_samples, SI units; keys are all channels.
        scalars : mapping
            Values of ROW_DATASETS.

        Returns
        -------
        segment, row : int
            Where the exposure lies.

        Raises
        ------
        SegmentError
            If the exposure is too long or the file cannot be written.
        """
        longest = max(len(v) for v in channels.values())
        if longest > self.max_samples:
            raise SegmentError(
                f"{longest} samples do not fit in a row of {self.max_samples}: "
                "raise FILE:MAX_SAMPLES"
            )
        try:
            if self._file is None:
                self._open_next()
            if self._reserve is not None:
                self._reserve.require_room()
            row = self._row
            for name in self._channels:
                data = self._datasets[name]
                data.resize(row + 1, axis=0)
                values = np.asarray(channels[name], dtype=np.float32)
                data[row, : len(values)] = values  # the rest is the fill value, NaN
            for name in ROW_DATASETS:
                data = self._datasets[name]
                data.resize(row + 1, axis=0)
                data[row] = scalars[name]
            if self._file is not None:
                self._file.flush()
        except (OSError, RuntimeError) as error:  # HDF5 reports a full disk as either
            self.close()
            if isinstance(error, SegmentError):
                raise
            raise SegmentError(f"writing {self.path(self.segment)} failed: {error}") from error
        self._row += 1
        where = self.segment, row
        if self._row >= self.rows:
            self.close()
        return where

    def close(self) -> None:
        """Close the open segment; the next row starts a new one."""
        if self._file is not None and self._reserve is not None:
            close_file(self._file, self._reserve, self._datasets)
        self._file = self._reserve = None

    def _open_next(self) -> None:
        check_directory(self.directory, self._row_bytes * min(self.rows, 10))
        number = self.segment + 1
        final = self.path(number)
        temporary = final.with_name(f".{final.name}.{os.getpid()}.part")
        reserve = DiskReserve(final, self._row_bytes + SPARE)
        try:
            file = h5py.File(temporary, "w", libver="latest")
        except BaseException:
            reserve.release()
            raise
        try:
            self._datasets = self._create(file, number)
            file.swmr_mode = True
            file.flush()
            publish_file(temporary, final)
        except BaseException:
            close_file(file, reserve, self._datasets)
            temporary.unlink(missing_ok=True)
            raise
        self._file, self._row, self.segment = file, 0, number
        self._reserve = reserve

    def _create(self, file: h5py.File, number: int) -> dict[str, h5py.Dataset]:
        file.attrs.update(
            format=FILE_FORMAT,
            version=FILE_VERSION,
            contract=CONTRACT_VERSION,
            segment=number,
            **self._attributes,
        )
        group = file.create_group(WAVEFORM_GROUP)
        options = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
        datasets = {}
        for name, unit in self._channels.items():
            datasets[name] = file.create_dataset(
                waveform_path(name),
                shape=(0, self.max_samples),
                maxshape=(self.rows, self.max_samples),
                chunks=(1, min(self.max_samples, CHUNK_SAMPLES)),
                dtype="f4",
                fillvalue=np.nan,
                **(options if self._compression == "gzip" else {}),
            )
            datasets[name].attrs["units"] = unit
        for name, dtype in ROW_DATASETS.items():
            datasets[name] = group.create_dataset(
                name, shape=(0,), maxshape=(self.rows,), chunks=(min(self.rows, 1024),), dtype=dtype
            )
            datasets[name].attrs["units"] = ROW_UNITS.get(name, "")
        return datasets


def publish_file(temporary: Path, final: Path) -> None:
    """Give a finished or growing file its name; refuses to replace another.

    Raises
    ------
    SegmentError
        If ``final`` exists.
    """
    try:
        try:
            os.link(temporary, final)  # fails if it exists, unlike rename
        except FileExistsError:
            raise
        except OSError:  # file system without hard links
            if final.exists():
                raise FileExistsError(final) from None
            temporary.rename(final)
        else:
            temporary.unlink()
    except FileExistsError:
        raise SegmentError(
            f"{final} exists already and is not overwritten: choose another name"
        ) from None


def write_topography(
    path: Path, image: np.ndarray, *, x: float, y: float, size: float, ticks: float
) -> None:
    """Write one image (heights in m, row index along +y) as a closed file.

    Parameters
    ----------
    path : Path
        File to make; must not exist.
    image : ndarray, shape (rows, cols)
        Heights, m.
    x, y : float
        Centre, m.
    size : float
        Edge length, m.
    ticks : float
        Controller's monotonic clock at the end of the scan, s.

    Raises
    ------
    SegmentError
        If the file exists or cannot be written.
    """
    if path.exists():
        raise SegmentError(f"{path} exists already and is not overwritten: choose another name")
    check_directory(path.parent, image.size * 4)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with h5py.File(temporary, "w", libver="latest") as file:
            file.attrs.update(format=FILE_FORMAT, version=FILE_VERSION, contract=CONTRACT_VERSION)
            data = file.create_dataset(
                TOPOGRAPHY_DATASET,
                data=np.asarray(image, dtype=np.float32)[np.newaxis],
                chunks=(1, *image.shape),
            )
            data.attrs.update(
                units="m", x=x, y=y, size=size, pixel_size=size / image.shape[1], ticks=ticks
            )
        publish_file(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, SegmentError):
            raise
        raise SegmentError(f"writing {path} failed: {error}") from error


def repair(path: str | Path) -> bool:
    """Make a segment whose writer was killed openable by any HDF5 reader.

    The flushed content is copied to a new file, which then replaces the old one. Never call it on
    a segment that is still being written.

    Parameters
    ----------
    path : str or Path
        The segment.

    Returns
    -------
    bool
        True if it was repaired, False if nothing was wrong.

    Raises
    ------
    SegmentError
        If the file cannot be read at all.
    """
    path = Path(path)
    with contextlib.suppress(OSError), h5py.File(path, "r"):
        return False
    temporary = path.with_name(f".{path.name}.{os.getpid()}.repair")
    try:
        with (
            h5py.File(path, "r", libver="latest", swmr=True) as source,
            h5py.File(temporary, "w", libver="latest") as target,
        ):
            target.attrs.update(source.attrs)
            for name in source:
                source.copy(name, target)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise SegmentError(f"{path} cannot be repaired: {error}") from error
    return True
