"""Reader of nucleation-ivz files (HDF5): ramps of other instruments in one neutral format."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nucleation_bluesky.analysis.ramps import Instrument, Material, RampSet
from nucleation_bluesky.storage.hdf5_input import InputFile, file_sha256, open_input
from nucleation_bluesky.storage.images import Topographies
from nucleation_bluesky.storage.neutral_samples import (
    read_bias,
    read_channel,
    read_n_post,
    read_offsets,
    read_period,
    read_ramp,
    read_time,
)
from nucleation_bluesky.storage.neutral_sites import read_positions, read_topography

FORMAT = "nucleation-ivz"
VERSION = 1
MODES = ("current", "height", "both", "none")
SIDES = ("tip", "sample")
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
    offsets = read_offsets(source)
    n_sites, total = len(offsets) - 1, int(offsets[-1])
    channels = {name: read_channel(source, name, total) for name in ("current", "height")}
    bias, time = read_bias(source, total), read_time(source, offsets)
    start, stop, rate = read_ramp(source, offsets, bias)
    row, col, shape, pitch, x, y = read_positions(source, n_sites)
    mode, current_limit, height_limit = _compliance(source)
    _check_enforced(source, mode, channels)
    termination, labels = _termination(source, n_sites)
    ramps = RampSet(
        offsets=offsets,
        current=channels["current"],
        height=channels["height"],
        sample_period=read_period(source, time, offsets),
        bias_start=start,
        bias_stop=stop,
        ramp_rate=rate,
        x=x,
        y=y,
        n_post=read_n_post(source, offsets),
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
    images = {name: read_topography(source, name, x, y) for name in TOPOGRAPHIES}
    return IvzFile(source.path, file_sha256(source.path), ramps, Topographies(**images))


def _check_format(source: InputFile) -> None:
    source.check_format(FORMAT, VERSION)
    side = source.text("bias_applied_to")
    if side is not None and side not in SIDES:
        raise source.error(f"attribute 'bias_applied_to' must be 'tip' or 'sample' (got '{side}')")


def _check_enforced(source: InputFile, mode: str, channels: dict[str, np.ndarray]) -> None:
    for name, values in channels.items():
        if mode in (name, "both") and values.size and not np.isfinite(values).any():
            raise source.error(f"dataset '{name}' holds no finite value, yet mode is '{mode}'")


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
