"""Writer of nucleation-ivz files: ramps leave for other programs in the neutral format."""

import os
from pathlib import Path

import h5py
import numpy as np

from nucleation_bluesky.analysis.ramps import RampSet, one_value
from nucleation_bluesky.storage.images import Topographies
from nucleation_bluesky.storage.neutral import FORMAT, INTERPRETED, VERSION


def write_ivz(path: Path | str, ramps: RampSet, topographies: Topographies | None = None) -> Path:
    """Write ramps (and topographies) as a nucleation-ivz file, version 1.

    The file appears under its name only when it is complete.

    Parameters
    ----------
    path : Path or str
        File to write; an existing one is replaced.
    ramps : RampSet
        The ramps. Sites need grid indices or positions, which a RampSet always has.
    topographies : Topographies or None
        Images; each also carries its ``center`` in the frame of the sites.

    Returns
    -------
    Path
        The file.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with h5py.File(partial, "w") as file:
            _write_attributes(file, ramps)
            _write_ramps(file, ramps)
            _write_sites(file, ramps)
            _write_images(file, topographies or Topographies())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _write_attributes(file: h5py.File, ramps: RampSet) -> None:
    attrs: dict[str, object] = {
        "format": FORMAT,
        "version": VERSION,
        "mode": ramps.mode,
        "sample_period": ramps.sample_period,
        "current_compliance": ramps.current_compliance,
        "height_compliance": ramps.height_compliance,
        "grid_shape": None if ramps.row is None else ramps.grid_shape,
        "pitch": ramps.pitch,
        "equilibrium_potential": ramps.equilibrium_potential,
        "material": ramps.material.name,
        "material_molar_volume": ramps.material.molar_volume,
        "electrons": ramps.material.electrons,
        "faradaic_yield": ramps.material.faradaic_yield,
        "current_bandwidth": ramps.instrument.current_bandwidth,
        "height_bandwidth": ramps.instrument.height_bandwidth,
        "abort_latency": ramps.instrument.abort_latency,
    }
    for name, value in ramps.attrs.items():
        plain = isinstance(value, str | int | float) or (
            isinstance(value, list) and value and all(isinstance(v, int | float) for v in value)
        )
        if plain and name not in INTERPRETED:
            attrs.setdefault(name, value)
    for name, value in attrs.items():
        if value is not None:
            file.attrs[name] = value


def _write_ramps(file: h5py.File, ramps: RampSet) -> None:
    file["offsets"] = np.asarray(ramps.offsets, np.int64)
    options = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
    options = options if ramps.current.size else {}
    for name in ("current", "height", "bias", "time"):
        values = getattr(ramps, name)
        if values is not None:
            file.create_dataset(name, data=values, **options)
    start, stop = one_value(ramps.bias_start), one_value(ramps.bias_stop)
    if start is not None and stop is not None:
        file.attrs["bias_start"], file.attrs["bias_stop"] = start, stop
    elif ramps.bias is None:
        # Sites with ramps of their own: the bias can only be told sample by sample.
        bias = [ramps.site_bias(k).astype(np.float32) for k in range(ramps.n_sites)]
        file.create_dataset("bias", data=np.concatenate(bias), **options)
    rate = one_value(ramps.ramp_rate)
    if rate is not None:
        file.attrs["ramp_rate"] = rate
    elif np.isfinite(ramps.ramp_rate).all():
        file["ramp_rate"] = ramps.ramp_rate


def _write_sites(file: h5py.File, ramps: RampSet) -> None:
    if np.any(ramps.n_post):
        file["n_post"] = np.asarray(ramps.n_post, np.int64)
    if ramps.row is not None and ramps.col is not None and ramps.grid_shape is not None:
        file["site_index"] = np.column_stack([ramps.row, ramps.col]).astype(np.int64)
    file["site_position"] = np.column_stack([ramps.x, ramps.y]).astype(float)
    if ramps.termination is None:
        return
    file["termination"] = np.asarray(ramps.termination, np.int64)
    labels = dict(ramps.termination_labels)
    for value in np.unique(ramps.termination):
        labels.setdefault(int(value), f"code_{int(value)}")
    dataset = file["termination"]
    dataset.attrs["flag_values"] = np.array(sorted(labels), np.int64)
    dataset.attrs["flag_meanings"] = " ".join(
        labels[v].strip().replace(" ", "_") for v in sorted(labels)
    )


def _write_images(file: h5py.File, topographies: Topographies) -> None:
    for name in ("before", "after"):
        image = getattr(topographies, name)
        if image is not None:
            dataset = file.create_dataset(
                f"topography/{name}", data=image.height, compression="gzip", shuffle=True
            )
            dataset.attrs["pixel_size"] = image.pixel_size
            dataset.attrs["center"] = (image.x, image.y)
