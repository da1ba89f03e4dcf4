"""Neutral files become Bluesky runs: documents into a journal, waveforms into segments."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from nucleation_bluesky.analysis.ramps import RampSet
from nucleation_bluesky.segments import SegmentWriter, write_topography
from nucleation_bluesky.storage.foreign import read_any
from nucleation_bluesky.storage.ingest_documents import (
    TIME_DATASET,
    Recording,
    contract_terminations,
    equally_spaced,
    ingest_documents,
    site_periods,
)
from nucleation_bluesky.storage.ingest_registry import Ingested, register
from nucleation_bluesky.storage.ingest_seccm import ingest_seccm, ingest_tdms
from nucleation_bluesky.storage.neutral import IvzFile
from nucleation_bluesky.storage.neutral_seccm import SeccmFile
from nucleation_bluesky.storage.tdms import TdmsOptions, TdmsRecord

ROWS = 500  # exposures per segment


def ingest_file(
    path: Path | str,
    *,
    journal_dir: Path,
    waveform_dir: Path,
    session: str = "",
    sample: str | None = None,
    tdms: TdmsOptions | None = None,
) -> Ingested:
    """Register a foreign file as a run; the courier delivers it like any other.

    The run's uid follows from the file's bytes: the same content is registered once, under
    whatever name the file has.

    Parameters
    ----------
    path : Path or str
        The file.
    journal_dir : Path
        Directory of the journals.
    waveform_dir : Path
        Directory for the waveform segments, which Tiled must be able to read.
    session : str
        Identifier of the session, recorded in the journal.
    sample : str or None
        Sample identifier; None takes the file's attribute ``sample``.
    tdms : TdmsOptions or None
        For TDMS files: which channels are what.

    Raises
    ------
    IngestError
        If the file breaks the format.
    JournalError, SegmentError
        If journal or waveforms cannot be written.
    """
    source = read_any(path, tdms)
    where: dict[str, Any] = {"journal_dir": journal_dir, "waveform_dir": waveform_dir}
    if isinstance(source, TdmsRecord):
        return ingest_tdms(source, **where, session=session, sample=sample, options=tdms)
    if isinstance(source, SeccmFile):
        return ingest_seccm(source, **where, session=session, sample=sample)

    def documents(uid: str):
        recording = _write_assets(source, Path(waveform_dir).absolute(), uid)
        return ingest_documents(source, uid, recording, sample=sample)

    return register(source.sha256, documents, journal_dir=journal_dir, session=session)


def _write_assets(source: IvzFile, directory: Path, uid: str) -> Recording:
    """Write ragged ramps as fixed-width rows, NaN beyond each site's end, and the images."""
    directory.mkdir(parents=True, exist_ok=True)
    prefix = f"ivz_{uid}"
    for leftover in directory.glob(f"{prefix}_*.h5"):
        leftover.unlink()  # of an attempt that died before its first document
    ramps = source.ramps
    width = max(int(ramps.counts.max(initial=1)), 1)
    writer = SegmentWriter(
        directory, prefix, ROWS, width, compression="gzip", attributes={"source": source.path.name}
    )
    segments: list[int] = []
    clock = 0.0
    periods, termination = site_periods(ramps), contract_terminations(ramps)
    try:
        for k in range(ramps.n_sites):
            window = slice(int(ramps.offsets[k]), int(ramps.offsets[k + 1]))
            count = window.stop - window.start
            where, _ = writer.append(
                {
                    "bias": ramps.site_bias(k),
                    "current": ramps.current[window],
                    "height": ramps.height[window],
                },
                {
                    "n_samples": count,
                    "n_post": int(ramps.n_post[k]),
                    "termination": int(termination[k]),
                    "seq": k + 1,
                    "start_ticks": clock,
                    "sample_rate": 1 / periods[k],
                },
            )
            segments.append(where)
            clock += count * periods[k]
    finally:
        writer.close()
    images = {}
    for name, image in _images(source):
        file = directory / f"{prefix}_{name}.h5"
        size = image.pixel_size * image.height.shape[1]
        write_topography(file, image.height, x=image.x, y=image.y, size=size, ticks=0.0)
        images[name] = file
    time = None if equally_spaced(ramps, periods) else _write_time(directory, prefix, ramps, width)
    return Recording(directory, prefix, width, segments, images, time)


def _write_time(directory: Path, prefix: str, ramps: RampSet, width: int) -> Path:
    """Write the sample times of every site, one row each, NaN beyond its end."""
    path = directory / f"{prefix}_time.h5"
    with h5py.File(path, "w", libver="latest") as file:
        data = file.create_dataset(
            TIME_DATASET,
            shape=(ramps.n_sites, width),
            chunks=(1, width),
            dtype="f8",
            fillvalue=np.nan,
            compression="gzip",
            compression_opts=1,
            shuffle=True,
        )
        data.attrs["units"] = "s"
        for k in range(ramps.n_sites):
            row = ramps.site_time(k)
            data[k, : len(row)] = row
    return path


def _images(source: IvzFile) -> Iterator[tuple[str, Any]]:
    for name in ("before", "after"):
        image = getattr(source.topographies, name)
        if image is not None:
            yield name, image
