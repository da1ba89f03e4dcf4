"""Reader and writer of nucleation-seccm files (HDF5): one landing with its movie."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from nucleation_bluesky.analysis.seccm.electrochemistry import TECHNIQUES
from nucleation_bluesky.analysis.seccm.trace import Trace
from nucleation_bluesky.storage.hdf5_input import InputFile, open_input, plain
from nucleation_bluesky.storage.neutral import file_sha256
from nucleation_bluesky.storage.seccm_data import (
    HDF5Frames,
    Landing,
    LandingSet,
    Movie,
    overlap_problem,
)

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
    frames : str
        Path of the frames in the file.
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
    frames: str
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
    path = Path(path)
    with open_input(path) as source:
        _check_format(source)
        technique = source.text("technique")
        if technique not in TECHNIQUES:
            raise source.error(
                f"attribute 'technique' must be one of {', '.join(TECHNIQUES)} (got {technique!r})"
            )
        trace = _trace(source)
        frames, stamps, pixel_size, offset = _movie(source)
        problem = overlap_problem(trace.time, stamps + (offset or 0.0))
        if problem is not None:
            raise source.error(problem)
        known = {
            "reference_scale": source.text("reference_scale") or "",
            "footprint_area": source.number("footprint_area", positive=True),
            "scan_rate": source.number("scan_rate", positive=True),
        }
        attrs = _extra(source)
    movie = Movie(HDF5Frames(path, frames), stamps, pixel_size, offset)
    return SeccmFile(path, file_sha256(path), technique, trace, movie, frames, attrs=attrs, **known)


def _check_format(source: InputFile) -> None:
    name = source.text("format")
    if name != FORMAT:
        raise source.error(f"attribute 'format' must be '{FORMAT}' (got {name!r})")
    version = source.attribute("version")
    if version != VERSION or isinstance(version, str):
        raise source.error(
            f"version {version!r} of {FORMAT} is not known, this program reads version {VERSION}"
        )


def _trace(source: InputFile) -> Trace:
    nodes = {name: source.need(f"electrochemistry/{name}") for name in SAMPLES}
    n = source.size(nodes["time"])
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


def _movie(source: InputFile) -> tuple[str, np.ndarray, float, float | None]:
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
    group = source.handle[str(Path(str(frames.name)).parent)]
    if not isinstance(group, h5py.Group):
        raise source.error("'movie' must be a group")
    node = frames if "pixel_size" in frames.attrs and "pixel_size" not in group.attrs else group
    pixel_size = source.pixel_size(node)
    return str(frames.name), times, pixel_size, source.number("clock_offset", group)


def _extra(source: InputFile) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    for name in source.handle.attrs:
        if name not in INTERPRETED:
            value = plain(source.handle.attrs[name])
            extra[name] = value.tolist() if isinstance(value, np.ndarray) else value
    return extra


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
            _write_movie(file, movie)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _write_movie(file: h5py.File, movie: Movie) -> None:
    n, height, width = movie.frames.shape
    data = file.create_dataset(
        FRAMES, (n, height, width), "u2", chunks=(1, height, width), compression="gzip",
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
