"""Reader and writer of nucleation-seccm files (HDF5): one landing with its movie."""

import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import h5py
import numpy as np
from numpy.typing import DTypeLike

from nucleation_bluesky.analysis.seccm.electrochemistry import TECHNIQUES
from nucleation_bluesky.analysis.seccm.trace import Trace
from nucleation_bluesky.storage.hdf5_frames import HDF5Frames
from nucleation_bluesky.storage.hdf5_input import InputFile, file_sha256, open_input
from nucleation_bluesky.storage.seccm_data import Landing, LandingSet, Movie, overlap_problem

FORMAT = "nucleation-seccm"
VERSION = 1
MIN_SAMPLES, MIN_FRAMES, MIN_PIXELS = 16, 3, 8
FRAMES, TIMESTAMPS = "movie/frames", "movie/timestamps"
SAMPLES = ("time", "potential", "current")
INTERPRETED = frozenset(
    ("format", "version", "technique", "reference_scale", "footprint_area", "scan_rate")
)


@dataclass(frozen=True)
class SeccmFile:
    """Content of a nucleation-seccm file; the frames stay in it until they are needed.

    Parameters
    ----------
    path : Path
        Where it was read from.
    sha256 : str
        Of the file's bytes.
    technique : str
        One of `electrochemistry.TECHNIQUES`.
    trace : Trace
        Electrochemistry; potential and current as float32.
    movie : Movie
        Film.
    reference_scale : str
        Of the potential; "" where the file does not say.
    footprint_area : float or None
        m2.
    scan_rate : float or None
        V/s, magnitude.
    attrs : dict
        Further attributes.
    """

    path: Path
    sha256: str
    technique: str
    trace: Trace
    movie: Movie
    reference_scale: str = ""
    footprint_area: float | None = None
    scan_rate: float | None = None
    attrs: dict[str, Any] = field(default_factory=dict)

    def landings(self) -> LandingSet:
        """Return the file as the set of one landing that the analysis takes."""
        landing = Landing(
            trace=self.trace,
            technique=self.technique,
            movie=self.movie,
            footprint_area=self.footprint_area,
        )
        return LandingSet([landing], reference_scale=self.reference_scale, attrs=self.attrs)


def read_seccm(path: Path | str) -> SeccmFile:
    """Read and check a nucleation-seccm file (version 1); frames are not read.

    Raises
    ------
    IngestError
        If the file is absent, damaged or breaks the format, in one sentence.
    """
    with open_input(path) as source:
        return seccm_of(source)


def read_film(path: Path | str) -> Movie:
    """Read and check the film of a nucleation-seccm file alone.

    Raises
    ------
    IngestError
        If the file is absent, damaged or holds no film.
    """
    with open_input(path) as source:
        return _movie(source)


def seccm_of(source: InputFile) -> SeccmFile:
    """Read and check an opened nucleation-seccm file (version 1); frames are not read.

    Raises
    ------
    IngestError
        If the file is damaged or breaks the format, in one sentence.
    """
    source.check_format(FORMAT, VERSION)
    technique = source.text("technique")
    if technique not in TECHNIQUES:
        raise source.error(
            f"attribute 'technique' must be one of {', '.join(TECHNIQUES)} (got {technique!r})"
        )
    trace = _trace(source)
    movie = _movie(source)
    problem = overlap_problem(trace.time, movie.times)
    if problem is not None:
        raise source.error(problem)
    known = {
        "reference_scale": source.text("reference_scale") or "",
        "footprint_area": source.number("footprint_area", positive=True),
        "scan_rate": source.number("scan_rate", positive=True),
    }
    attrs = source.others(INTERPRETED)
    return SeccmFile(
        source.path, file_sha256(source.path), technique, trace, movie, attrs=attrs, **known
    )


def _trace(source: InputFile) -> Trace:
    nodes = {name: source.need(f"electrochemistry/{name}") for name in SAMPLES}
    n = nodes["time"].size
    for node in nodes.values():
        source.check_shape(node, (n,), f"({n},) as 'electrochemistry/time'")
    if n < MIN_SAMPLES:
        raise source.error(f"electrochemistry has {n} samples, at least {MIN_SAMPLES} are needed")
    time = source.floats(nodes["time"])
    _check_clock(source, time, "electrochemistry/time")
    values = {}
    for name in ("potential", "current"):
        values[name] = source.floats(nodes[name], dtype=np.float32)
        if np.count_nonzero(np.isfinite(values[name])) < MIN_SAMPLES:
            raise source.error(f"dataset 'electrochemistry/{name}' holds no finite values")
    return Trace(time, **values)


def _check_clock(source: InputFile, time: np.ndarray, name: str, *, repeats: bool = False) -> None:
    if not np.isfinite(time).all():
        raise source.error(
            f"dataset '{name}' is not finite at index {np.argmin(np.isfinite(time))}"
        )
    steps = np.diff(time)
    backwards = np.flatnonzero(steps < 0 if repeats else steps <= 0)
    if backwards.size:
        k = int(backwards[0])
        raise source.error(
            f"dataset '{name}' does not increase at index {k + 1} "
            f"({time[k]:.9g} s is followed by {time[k + 1]:.9g} s)"
        )


def _movie(source: InputFile) -> Movie:
    frames, stamps = source.need(FRAMES), source.need(TIMESTAMPS)
    source.check_shape(frames, (None, None, None), "(frames, y, x)")
    if frames.dtype.kind != "u" or frames.dtype.itemsize > 2:
        raise source.error(f"dataset '{FRAMES}' must hold uint16 (got {frames.dtype})")
    n, *size = frames.shape
    if n < MIN_FRAMES or min(size) < MIN_PIXELS:
        raise source.error(
            f"dataset '{FRAMES}' has shape {frames.shape}: at least {MIN_FRAMES} frames of "
            f"{MIN_PIXELS} x {MIN_PIXELS} pixels are needed"
        )
    source.check_shape(stamps, (n,), f"({n},), one for each frame")
    times = source.floats(stamps)
    _check_clock(source, times, TIMESTAMPS, repeats=True)  # a camera may deliver a frame twice
    source.check_claim(frames)
    parent = str(PurePosixPath(frames.name).parent)
    group = source.node(parent)
    if group is None or not group.is_group:
        raise source.error(f"'{parent}' must be a group")
    scale = "pixel_size"
    inside = source.attribute(scale, group) is None and source.attribute(scale, frames) is not None
    pixel_size = source.pixel_size(frames if inside else group)
    offset = source.number("clock_offset", group)
    return Movie(HDF5Frames(source.path, frames), times, pixel_size, offset)


def write_seccm(
    path: Path | str,
    trace: Trace,
    movie: Movie,
    *,
    technique: str,
    reference_scale: str,
    footprint_area: float | None = None,
    scan_rate: float | None = None,
    attributes: dict[str, Any] | None = None,
) -> Path:
    """Write a landing as a nucleation-seccm file, version 1.

    The file appears under its name only when it is complete; frames are copied in blocks.

    Raises
    ------
    ValueError
        If the technique is unknown or the movie has not one timestamp per frame.
    """
    if technique not in TECHNIQUES:
        raise ValueError(f"'{technique}' is not one of {', '.join(TECHNIQUES)}")
    if len(movie.timestamps) != len(movie.frames):
        raise ValueError(f"{len(movie.frames)} frames have {len(movie.timestamps)} timestamps")
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    known = {
        **{k: v for k, v in (attributes or {}).items() if k not in INTERPRETED},
        "format": FORMAT,
        "version": VERSION,
        "technique": technique,
        "reference_scale": reference_scale,
        "footprint_area": footprint_area,
        "scan_rate": scan_rate,
    }
    try:
        with h5py.File(partial, "w") as file:
            for name, value in known.items():
                if value is not None:
                    file.attrs[name] = value
            group = file.create_group("electrochemistry")
            for name in SAMPLES:
                group.create_dataset(name, data=getattr(trace, name), compression="gzip")
            write_movie(file, movie)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def write_movie(file: h5py.File, movie: Movie, dtype: DTypeLike = np.uint16) -> None:
    """Write a film into a file of ours, block by block."""
    n, height, width = movie.frames.shape
    data = file.create_dataset(
        FRAMES, (n, height, width), dtype, chunks=(1, height, width), compression="gzip",
        compression_opts=1, shuffle=True,
    )  # fmt: skip
    file.create_dataset(TIMESTAMPS, data=movie.timestamps)
    file["movie"].attrs["pixel_size"] = movie.pixel_size
    if movie.clock_offset is not None:
        file["movie"].attrs["clock_offset"] = movie.clock_offset
    copy_frames(movie.frames, data)


def copy_frames(frames: Any, target: h5py.Dataset, block_bytes: int = 32_000_000) -> None:
    """Copy frames block by block into a dataset of the same shape."""
    n, height, width = target.shape
    step = max(1, block_bytes // (height * width * 2))
    for first in range(0, n, step):
        target[first : first + step] = np.asarray(frames[first : first + step])
