"""Landings of foreign files become Bluesky runs: documents, waveforms and films."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from nucleation_bluesky.contract.documents import SECCM_ROLES
from nucleation_bluesky.contract.files import waveform_path
from nucleation_bluesky.storage.hdf5_input import IngestError
from nucleation_bluesky.storage.ingest_documents import Document
from nucleation_bluesky.storage.ingest_registry import Ingested, register
from nucleation_bluesky.storage.ingest_seccm_documents import (
    FilmFile,
    Origin,
    SeccmRecording,
    seccm_documents,
)
from nucleation_bluesky.storage.neutral_seccm import (
    FORMAT,
    FRAMES,
    TIMESTAMPS,
    SeccmFile,
    write_movie,
)
from nucleation_bluesky.storage.seccm_data import Channel, LandingSet, Movie
from nucleation_bluesky.storage.tdms import FORMAT as TDMS_FORMAT
from nucleation_bluesky.storage.tdms import TdmsOptions, TdmsRecord

PREFIX = "seccm"


def ingest_seccm(
    source: SeccmFile,
    *,
    journal_dir: Path,
    waveform_dir: Path,
    session: str = "",
    sample: str | None = None,
) -> Ingested:
    """Register a nucleation-seccm file as a run of one landing.

    The film is written anew next to the waveforms: whoever reads the run never opens the foreign
    file.

    Parameters
    ----------
    source : SeccmFile
        The file.
    journal_dir, waveform_dir, session, sample
        As `ingest.ingest_file`.

    Raises
    ------
    IngestError
        If a frame cannot be read.
    JournalError, OSError
        If journal or waveforms cannot be written.
    """
    origin = Origin(
        FORMAT,
        source.path.name,
        source.sha256,
        source.technique,
        source.attrs | ({"scan_rate": source.scan_rate} if source.scan_rate else {}),
        source.movie.clock_offset,
    )

    landings = source.landings()

    def documents(uid: str) -> Iterator[Document]:
        directory = _prepared(waveform_dir, uid)
        film = write_film(source.movie, directory / f"{PREFIX}_{uid}_film.h5")
        recording = replace(write_waveforms(landings, directory, uid), film=film)
        return seccm_documents(
            landings,
            uid,
            recording,
            origin,
            sample=sample,
            pixel_size=source.movie.pixel_size,
        )

    return register(source.sha256, documents, journal_dir=journal_dir, session=session)


def ingest_tdms(
    source: TdmsRecord,
    *,
    journal_dir: Path,
    waveform_dir: Path,
    session: str = "",
    sample: str | None = None,
    options: TdmsOptions | None = None,
) -> Ingested:
    """Register a hopping file of the Warwick software as a run, one event per landing.

    Parameters
    ----------
    source : TdmsRecord
        The file.
    journal_dir, waveform_dir, session, sample
        As `ingest.ingest_file`.
    options : TdmsOptions or None
        With which it was read; None the usual ones.

    Raises
    ------
    JournalError, OSError
        If journal or waveforms cannot be written.
    """
    origin = Origin(
        TDMS_FORMAT, source.path.name, source.sha256, source.technique, dict(source.landings.attrs)
    )

    def documents(uid: str) -> Iterator[Document]:
        directory = _prepared(waveform_dir, uid)
        recording = write_waveforms(source.landings, directory, uid, source.extra)
        return seccm_documents(source.landings, uid, recording, origin, sample=sample)

    # other channels of the same file make another run
    usual = options is None or options == TdmsOptions()
    identity = source.sha256 if usual else f"{source.sha256} {options}"
    return register(identity, documents, journal_dir=journal_dir, session=session)


def _prepared(directory: Path, uid: str) -> Path:
    directory = Path(directory).absolute()
    directory.mkdir(parents=True, exist_ok=True)
    for leftover in directory.glob(f"{PREFIX}_{uid}_*.h5"):
        leftover.unlink()  # of an attempt that died before its first document
    return directory


def write_film(movie: Movie, path: Path) -> FilmFile:
    """Write a film into a file of its own and describe it.

    Raises
    ------
    IngestError
        If a frame cannot be read.
    """
    shape, dtype = movie.frames.shape, np.dtype(movie.frames.dtype).newbyteorder("<")
    try:
        with h5py.File(path, "w", libver="latest") as file:
            write_movie(file, movie, dtype)
    except (IngestError, OSError):
        path.unlink(missing_ok=True)
        raise
    return FilmFile(path, f"/{FRAMES}", f"/{TIMESTAMPS}", shape, dtype.str)


def write_waveforms(
    source: LandingSet,
    directory: Path,
    uid: str,
    extra: Mapping[str, Channel] | None = None,
) -> SeccmRecording:
    """Write landings of different lengths as rows of equal width, NaN beyond each one's end.

    Parameters
    ----------
    source : LandingSet
        The landings.
    directory : Path
        Where to.
    uid : str
        Of the run, part of the file's name.
    extra : mapping of str to Channel, optional
        Further channels, by a name that can be a data key.
    """
    path = directory / f"{PREFIX}_{uid}_waveforms.h5"
    traces = [landing.trace for landing in source.landings]
    width = max(1, max((len(trace) for trace in traces), default=1))
    channels: dict[str, Channel] = {}
    for role in ("potential", "current", "z", "step"):
        rows = [getattr(trace, role) for trace in traces]
        if all(row is not None for row in rows):
            channels[role] = Channel(SECCM_ROLES[role][0], rows)
    times = [trace.time - (trace.time[0] if len(trace) else 0.0) for trace in traces]
    channels["sample_time"] = Channel("s", times)
    channels |= dict(extra or {})
    with h5py.File(path, "w", libver="latest") as file:
        for name, channel in channels.items():
            data = file.create_dataset(
                waveform_path(name),
                shape=(len(traces), width),
                chunks=(1, width),
                dtype="f8" if name == "sample_time" else "f4",
                fillvalue=np.nan,
                compression="gzip",
                compression_opts=1,
                shuffle=True,
            )
            data.attrs["units"] = channel.unit
            for k, row in enumerate(channel.rows):
                data[k, : len(row)] = row
    return SeccmRecording(path, width, {name: c.unit for name, c in channels.items()})
