"""Waveform segments: rows appended, each flushed before it is announced."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from nucleation_bluesky.contract.files import (
    FILE_FORMAT,
    FILE_VERSION,
    ROW_DATASETS,
    WAVEFORM_CHANNELS,
    WAVEFORM_GROUP,
    segment_name,
    waveform_path,
)
from nucleation_bluesky.contract.pvs import CONTRACT_VERSION
from nucleation_bluesky.segments.growing_file import (
    SPARE,
    DiskReserve,
    SegmentError,
    check_directory,
    check_name,
    close_file,
    publish_file,
)

ROW_UNITS = {"start_ticks": "s", "sample_rate": "Hz"}
MAX_ROWS = 100_000
MAX_ROW_SAMPLES = 10_000_000
CHUNK_SAMPLES = 16384  # of a row; chunks beyond the last sample take no space


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
