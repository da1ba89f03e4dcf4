"""Results as netCDF files that a plain ``xarray.open_dataset`` reads."""

import json
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
import xarray as xr

ENGINE = "h5netcdf"
RESULT_FORMAT = "nucleation-sites"
LANDINGS_FORMAT = "nucleation-landings"
RESULT_VERSION = 1
PACKAGE = "nucleation_bluesky"


def package_version() -> str:
    """Version of this package, as recorded with every result."""
    return version(PACKAGE)


def with_provenance(
    dataset: xr.Dataset, provenance: Mapping[str, object], result_format: str = RESULT_FORMAT
) -> xr.Dataset:
    """Return the dataset with attributes that say where it came from.

    Parameters
    ----------
    dataset : xarray.Dataset
        A result.
    provenance : mapping
        For instance ``source``, ``source_sha256`` or ``run_uids``, ``parameters``. Nested values
        become JSON text; None is left out.
    result_format : str
        Name of the kind of result file.
    """
    attrs = {
        "format": result_format,
        "version": RESULT_VERSION,
        "software": f"{PACKAGE} {package_version()}",
        **{k: v for k, v in provenance.items() if v is not None},
    }
    return dataset.assign_attrs({**dataset.attrs, **attrs})


def write_result(path: Path | str, dataset: xr.Dataset) -> Path:
    """Write a result as netCDF (HDF5); the file appears under its name only when complete.

    Every variable must carry the attribute ``units`` ("1" where dimensionless). Booleans stay
    booleans for xarray.

    Raises
    ------
    ValueError
        If a variable has no units.
    """
    path = Path(path)
    bare = [str(n) for n, v in dataset.variables.items() if "units" not in v.attrs]
    if bare:
        raise ValueError(f"these variables have no units: {', '.join(bare)}")
    clean = dataset.copy()
    clean.attrs = {
        k: v
        for k, v in ((k, plain_attribute(v)) for k, v in dataset.attrs.items())
        if v is not None
    }
    encoding = {}
    for name, variable in dataset.variables.items():
        clean[name].attrs = {k: plain_attribute(v) for k, v in variable.attrs.items()}
        options: dict[str, object] = {"zlib": True, "complevel": 4} if variable.size > 1 else {}
        if variable.dtype.kind == "f":
            options["_FillValue"] = np.nan
        encoding[name] = options
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        clean.to_netcdf(partial, engine=ENGINE, encoding=encoding)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def read_result(path: Path | str) -> xr.Dataset:
    """Read a result completely into memory.

    Raises
    ------
    ValueError
        If the file is not a result of this package.
    """
    path = Path(path)
    try:
        with xr.open_dataset(path, engine=ENGINE) as opened:
            dataset = opened.load()
    except OSError as exc:
        raise ValueError(f"{path.name}: cannot be read as netCDF ({exc})") from None
    if dataset.attrs.get("format") not in (RESULT_FORMAT, LANDINGS_FORMAT):
        raise ValueError(f"{path.name}: this is not a result file of {PACKAGE}")
    return dataset


def plain_attribute(value: object) -> object:
    """Turn a value into one that netCDF attributes can hold: text, number or 1-D array."""
    if value is None or isinstance(value, str | int | float):
        return int(value) if isinstance(value, bool) else value
    if isinstance(value, np.generic):
        return plain_attribute(value.item())
    if isinstance(value, np.ndarray):
        return value if value.ndim == 1 and value.size else json.dumps(value.tolist())
    if (
        isinstance(value, list | tuple)
        and value
        and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
    ):
        return np.asarray(value)
    return json.dumps(value, default=str, sort_keys=True)


def with_units(dataset: xr.Dataset) -> xr.Dataset:
    """Return the dataset with units on every variable ("1" where it has none)."""
    for name in dataset.variables:
        dataset[name].attrs.setdefault("units", "1")
    return dataset
