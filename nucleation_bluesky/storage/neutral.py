"""Reader of nucleation-ivz files (HDF5): ramps of other instruments in one neutral format."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nucleation_bluesky.analysis.ramps import Instrument, Material, RampSet
from nucleation_bluesky.storage.hdf5_input import BLOCK, InputFile, Node, file_sha256, open_input
from nucleation_bluesky.storage.images import Topographies, Topography

FORMAT = "nucleation-ivz"
VERSION = 1
MODES = ("current", "height", "both", "none")
SIDES = ("tip", "sample")
MAX_SITES = 10_000_000
MAX_CELLS = 10_000_000
TOPOGRAPHIES = ("before", "after")
INTERPRETED = frozenset(
    [
        "format",
        "version",
        "grid_shape",
        "pitch",
        "sample_period",
        "ramp_rate",
        "bias_start",
        "bias_stop",
        "mode",
        "current_compliance",
        "height_compliance",
        "material_molar_volume",
        "electrons",
        "equilibrium_potential",
    ]
)


@dataclass(frozen=True)
class IvzFile:
    """Content of a nucleation-ivz file.

    Parameters
    ----------
    path : Path
        Where it was read from.
    sha256 : str
        Of the file's bytes.
    ramps : RampSet
        The ramps; samples as float32.
    topographies : Topographies
        Images before and after. Without the attribute ``center`` (x, y in m) an image is taken
        to be centred on the sites.
    """

    path: Path
    sha256: str
    ramps: RampSet
    topographies: Topographies = field(default_factory=Topographies)


def read_ivz(path: Path | str) -> IvzFile:
    """Read and check a nucleation-ivz file (version 1).

    Current, height and bias are read block by block as float32, so memory stays near 12 bytes a
    sample whatever the file's own type.

    Raises
    ------
    IngestError
        If the file is absent, damaged or breaks the format, in one sentence.
    """
    with open_input(path) as source:
        return ivz_of(source)


def ivz_of(source: InputFile) -> IvzFile:
    """Read and check an opened nucleation-ivz file (version 1).

    Raises
    ------
    IngestError
        If the file is damaged or breaks the format, in one sentence.
    """
    _check_format(source)
    offsets = _offsets(source)
    n_sites, total = len(offsets) - 1, int(offsets[-1])
    channels = {name: _samples(source, name, total) for name in ("current", "height")}
    bias, time = _bias(source, total), _time(source, offsets)
    start, stop, rate = _ramp(source, offsets, bias)
    row, col, shape, pitch, x, y = _positions(source, n_sites)
    mode, current_limit, height_limit = _compliance(source)
    _check_enforced(source, mode, channels)
    termination, labels = _termination(source, n_sites)
    ramps = RampSet(
        offsets=offsets,
        current=channels["current"],
        height=channels["height"],
        sample_period=_period(source, time, offsets),
        bias_start=start,
        bias_stop=stop,
        ramp_rate=rate,
        x=x,
        y=y,
        n_post=_n_post(source, offsets),
        mode=mode,
        bias=bias,
        time=time,
        current_compliance=current_limit,
        height_compliance=height_limit,
        termination=termination,
        termination_labels=labels,
        row=row,
        col=col,
        grid_shape=shape,
        pitch=pitch,
        equilibrium_potential=source.number("equilibrium_potential"),
        instrument=Instrument(
            current_bandwidth=source.number("current_bandwidth", positive=True),
            height_bandwidth=source.number("height_bandwidth", positive=True),
            abort_latency=source.number("abort_latency"),
        ),
        material=_material(source),
        attrs=source.others(INTERPRETED),
    )
    images = {name: _topography(source, name, x, y) for name in TOPOGRAPHIES}
    return IvzFile(source.path, file_sha256(source.path), ramps, Topographies(**images))


def _check_format(source: InputFile) -> None:
    source.check_format(FORMAT, VERSION)
    side = source.text("bias_applied_to")
    if side is not None and side not in SIDES:
        raise source.error(f"attribute 'bias_applied_to' must be 'tip' or 'sample' (got '{side}')")


def _offsets(source: InputFile) -> np.ndarray:
    dataset = source.need("offsets")
    source.check_shape(dataset, (None,), "(n_sites + 1,)")
    size = dataset.size
    if not 2 <= size <= MAX_SITES:
        raise source.error(
            f"dataset 'offsets' has {size} values: at least one site and at most "
            f"{MAX_SITES} are expected, with one value more than sites"
        )
    offsets = source.integers(dataset)
    if offsets[0] != 0:
        raise source.error(f"dataset 'offsets' must start at 0 (got {offsets[0]})")
    if np.any(offsets[1:] < offsets[:-1]):  # a difference could overflow
        k = int(np.argmax(offsets[1:] < offsets[:-1]))
        raise source.error(
            f"dataset 'offsets' decreases at site {k} ({offsets[k]} to {offsets[k + 1]})"
        )
    return offsets


def _sample_dataset(source: InputFile, dataset: Node, total: int) -> Node:
    name = dataset.label
    source.check_shape(dataset, (None,), "(samples,)")
    size = dataset.size
    if size < total:
        raise source.error(
            f"dataset 'offsets' ends at sample {total}, beyond the {size} of '{name}'"
        )
    if size > total:
        raise source.error(f"dataset '{name}' has {size} samples, but 'offsets' ends at {total}")
    if dataset.dtype.kind != "f":
        raise source.error(
            f"dataset '{name}' must hold floating-point numbers in SI units (got {dataset.dtype})"
        )
    return dataset


def _samples(source: InputFile, name: str, total: int) -> np.ndarray:
    dataset = _sample_dataset(source, source.need(name), total)
    return source.floats(dataset, total, np.float32)


def _check_enforced(source: InputFile, mode: str, channels: dict[str, np.ndarray]) -> None:
    for name, values in channels.items():
        if mode in (name, "both") and values.size and not np.isfinite(values).any():
            raise source.error(f"dataset '{name}' holds no finite value, yet mode is '{mode}'")


def _bias(source: InputFile, total: int) -> np.ndarray | None:
    dataset = source.find("bias")
    if dataset is None:
        return None
    bias = source.floats(_sample_dataset(source, dataset, total), total, np.float32)
    for first in range(0, total, BLOCK):
        bad = ~np.isfinite(bias[first : first + BLOCK])
        if bad.any():
            raise source.error(f"dataset 'bias' is not finite at sample {first + np.argmax(bad)}")
    return bias


def _time(source: InputFile, offsets: np.ndarray) -> np.ndarray | None:
    dataset = source.find("time")
    if dataset is None:
        return None
    total = int(offsets[-1])
    time = source.floats(_sample_dataset(source, dataset, total), total)
    if not np.isfinite(time).all():
        raise source.error(
            f"dataset 'time' is not finite at sample {np.argmax(~np.isfinite(time))}"
        )
    for k in range(len(offsets) - 1):
        part = time[offsets[k] : offsets[k + 1]]
        if part.size == 0:
            continue
        if np.any(np.diff(part) <= 0):
            raise source.error(f"dataset 'time' does not increase within site {k}")
        part -= part[0]  # a view: RampSet counts from the site's first sample
    return time


def _period(source: InputFile, time: np.ndarray | None, offsets: np.ndarray) -> float:
    period = source.number("sample_period", positive=True, required=time is None)
    if period is not None or time is None:
        return float(period or 0)
    steps = np.diff(time)
    steps = np.delete(steps, offsets[1:-1][(offsets[1:-1] > 0) & (offsets[1:-1] < time.size)] - 1)
    if steps.size == 0:
        raise source.error("attribute 'sample_period' is missing and no site has two samples")
    return float(np.median(steps))


def _ramp(
    source: InputFile, offsets: np.ndarray, bias: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n_sites = len(offsets) - 1
    ends = {name: source.number(name) for name in ("bias_start", "bias_stop")}
    for name, value in ends.items():
        if value is None and bias is None:
            raise source.error(f"attribute '{name}' is missing, and there is no dataset 'bias'")
    if ends["bias_start"] is not None and ends["bias_start"] == ends["bias_stop"]:
        raise source.error("'bias_start' equals 'bias_stop': that is not a ramp")
    edges = _edges_of_bias(offsets, bias) if None in ends.values() and bias is not None else None
    start, stop = (
        edges[i] if value is None and edges is not None else np.full(n_sites, value, dtype=float)
        for i, value in enumerate(ends.values())
    )
    return start, stop, _rate(source, n_sites, bias)


def _edges_of_bias(offsets: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First bias of each site and the one farthest from it; NaN for a site without samples."""
    start = np.full(len(offsets) - 1, np.nan)
    stop = start.copy()
    for k in np.flatnonzero(np.diff(offsets)):
        part = bias[offsets[k] : offsets[k + 1]]
        start[k] = part[0]
        stop[k] = part[np.argmax(np.abs(part - part[0]))]
    return start, stop


def _rate(source: InputFile, n_sites: int, bias: np.ndarray | None) -> np.ndarray:
    dataset = source.find("ramp_rate")
    if dataset is not None:
        source.check_shape(dataset, (n_sites,), f"({n_sites},)")
        rate = source.floats(dataset)
        if not np.all(np.isfinite(rate) & (rate > 0)):
            bad = int(np.argmin(np.isfinite(rate) & (rate > 0)))
            raise source.error(
                f"dataset 'ramp_rate' must hold magnitudes greater than 0 (site {bad}: {rate[bad]})"
            )
        return rate
    value = source.number("ramp_rate", positive=True)
    if value is None and bias is None:
        raise source.error("'ramp_rate' is missing, and so is the dataset 'bias' it could replace")
    return np.full(n_sites, np.nan if value is None else value, dtype=float)


def _n_post(source: InputFile, offsets: np.ndarray) -> np.ndarray:
    n_sites = len(offsets) - 1
    dataset = source.find("n_post")
    if dataset is None:
        return np.zeros(n_sites, np.int64)
    source.check_shape(dataset, (n_sites,), f"({n_sites},)")
    n_post = source.integers(dataset)
    bad = (n_post < 0) | (n_post > np.diff(offsets))
    if bad.any():
        k = int(np.argmax(bad))
        raise source.error(
            f"dataset 'n_post' says {n_post[k]} at site {k}, which has "
            f"{offsets[k + 1] - offsets[k]} samples"
        )
    return n_post


def _positions(source: InputFile, n_sites: int):
    shape, pitch = _grid(source), source.number("pitch", positive=True)
    index, position = source.find("site_index"), source.find("site_position")
    if index is None and position is None:
        raise source.error("one of the datasets 'site_index' and 'site_position' must be there")
    row = col = None
    if index is not None:
        row, col = _site_index(source, index, n_sites, shape)
    if position is None:
        if row is None or col is None or pitch is None:
            raise source.error("attribute 'pitch' is missing, it goes with 'site_index'")
        return row, col, shape, pitch, col * pitch, row * pitch
    source.check_shape(position, (n_sites, 2), f"({n_sites}, 2)")
    xy = source.floats(position)
    if not np.isfinite(xy).all():
        bad = int(np.argmin(np.isfinite(xy).all(axis=1)))
        raise source.error(f"dataset 'site_position' is not finite at site {bad}")
    gridded = shape is not None and row is not None
    x, y = xy[:, 0].copy(), xy[:, 1].copy()
    return row, col, shape if gridded else None, pitch, x, y


def _grid(source: InputFile) -> tuple[int, int] | None:
    value = source.attribute("grid_shape")
    if value is None:
        return None
    if not (
        isinstance(value, np.ndarray)
        and value.shape == (2,)
        and value.dtype.kind in "iuf"
        and np.all(np.isfinite(value))
        and np.all((value >= 1) & (value == np.round(value)))
    ):
        raise source.error(
            f"attribute 'grid_shape' must be two counts, rows and cols (got {value})"
        )
    if float(value[0]) * float(value[1]) > MAX_CELLS:
        raise source.error(f"attribute 'grid_shape' {value} asks for more than {MAX_CELLS} cells")
    return int(value[0]), int(value[1])


def _site_index(
    source: InputFile, dataset: Node, n_sites: int, shape: tuple[int, int] | None
) -> tuple[np.ndarray, np.ndarray]:
    source.check_shape(dataset, (n_sites, 2), f"({n_sites}, 2)")
    if shape is None:
        raise source.error("attribute 'grid_shape' is missing, it goes with 'site_index'")
    index = source.integers(dataset)
    outside = np.any((index < 0) | (index >= np.array(shape)), axis=1)
    if outside.any():
        k = int(np.argmax(outside))
        raise source.error(
            f"dataset 'site_index' puts site {k} at {tuple(index[k].tolist())}, "
            f"outside the grid of {shape[0]} x {shape[1]}"
        )
    flat = index[:, 0] * shape[1] + index[:, 1]
    order = np.argsort(flat, kind="stable")
    same = np.flatnonzero(flat[order][1:] == flat[order][:-1])
    if same.size:
        first, second = order[same[0]], order[same[0] + 1]
        raise source.error(
            f"dataset 'site_index' names {tuple(index[first].tolist())} twice "
            f"(sites {first} and {second})"
        )
    return index[:, 0].copy(), index[:, 1].copy()


def _compliance(source: InputFile) -> tuple[str, float | None, float | None]:
    mode = source.text("mode")
    if mode not in MODES:
        raise source.error(f"attribute 'mode' must be one of {', '.join(MODES)} (got {mode!r})")
    limits = []
    for channel in ("current", "height"):
        name = f"{channel}_compliance"
        enforced = mode in (channel, "both")
        limits.append(source.number(name, positive=True, required=enforced))
    return mode, limits[0], limits[1]


def _termination(source: InputFile, n_sites: int) -> tuple[np.ndarray | None, dict[int, str]]:
    dataset = source.find("termination")
    if dataset is None:
        return None, {}
    source.check_shape(dataset, (n_sites,), f"({n_sites},)")
    values = source.integers(dataset)
    meanings = source.attribute("flag_meanings", dataset)
    if meanings is None:
        meanings = source.attribute("flag_meanings")
    if meanings is None:
        raise source.error("dataset 'termination' needs the attribute 'flag_meanings'")
    if isinstance(meanings, str):
        meanings = meanings.replace(",", " ").split()
    if not isinstance(meanings, list):
        raise source.error("attribute 'flag_meanings' of 'termination' must be text")
    flags = source.attribute("flag_values", dataset)
    numbers = range(len(meanings)) if flags is None else np.atleast_1d(np.asarray(flags)).tolist()
    if len(numbers) != len(meanings) or any(isinstance(v, str) for v in numbers):
        raise source.error(
            f"dataset 'termination' has {len(numbers)} flag_values for {len(meanings)} meanings"
        )
    labels = {int(v): m for v, m in zip(numbers, meanings, strict=True)}
    unknown = np.setdiff1d(values, list(labels))
    if unknown.size:
        raise source.error(
            f"dataset 'termination' holds {unknown[0]}, which 'flag_meanings' does not explain"
        )
    return values, labels


def _material(source: InputFile) -> Material:
    default = Material()
    electrons = source.number("electrons", positive=True)
    if electrons is not None and electrons != round(electrons):
        raise source.error(f"attribute 'electrons' must be a whole number (got {electrons:g})")
    share = source.number("faradaic_yield", positive=True)
    return Material(
        name=source.text("material") or default.name,
        molar_volume=source.number("material_molar_volume", positive=True) or default.molar_volume,
        electrons=int(electrons or default.electrons),
        faradaic_yield=share or default.faradaic_yield,
    )


def _topography(source: InputFile, name: str, x: np.ndarray, y: np.ndarray) -> Topography | None:
    dataset = source.find(f"topography/{name}")
    if dataset is None:
        return None
    place = dataset.label
    source.check_shape(dataset, (None, None), "(rows, cols)")
    if min(dataset.shape) < 8:
        raise source.error(f"dataset '{place}' has shape {dataset.shape}: at least 8 x 8 pixels")
    height = source.floats(dataset)
    if not np.isfinite(height).any():
        raise source.error(f"dataset '{place}' holds no finite height")
    pixel_size = source.pixel_size(dataset)
    center = source.attribute("center", dataset)
    if center is None:
        center = (np.min(x) + np.max(x)) / 2, (np.min(y) + np.max(y)) / 2
    values = np.asarray(center)
    if values.shape != (2,) or values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise source.error(f"attribute 'center' of '{place}' must be x and y in m")
    return Topography(height, pixel_size, float(values[0]), float(values[1]))
