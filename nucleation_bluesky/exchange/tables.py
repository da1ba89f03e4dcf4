"""CSV tables of sites, and the raw documents of a run."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from nucleation_bluesky.exchange.fields import ExchangeError


def write_csv(path: Path, dataset: xr.Dataset) -> Path:
    """Write one row per site (landing, particle): coordinates and variables with their units.

    The heading of a column is ``name (unit)``; flags are written in words.

    Raises
    ------
    ExchangeError
        If the result is no table.
    """
    dims = [dim for dim in dataset.dims if dim not in ("row", "col", "y", "x")]
    if not dims:
        raise ExchangeError("this result is no table of sites; export its maps instead")
    main = "site" if "site" in dims else str(dims[0])
    names = [
        str(name)
        for name in (*dataset.coords, *dataset.data_vars)
        if dataset[name].dims == (main,) and name != main
    ]
    frame: Any = dataset[names].to_dataframe()[names]
    for name in names:
        attrs = dataset[name].attrs
        if "flag_meanings" in attrs:
            frame[name] = _in_words(dataset[name])
    units = {n: str(dataset[n].attrs.get("units", "1")) for n in names}
    frame = frame.rename(columns={n: n if u == "1" else f"{n} ({u})" for n, u in units.items()})
    frame.to_csv(path, index_label=main, float_format="%.9g")
    return path


def _in_words(variable: xr.DataArray) -> list[str]:
    meanings = str(variable.attrs["flag_meanings"]).split()
    values = np.atleast_1d(variable.attrs.get("flag_values", np.arange(len(meanings))))
    words = {int(value): word for value, word in zip(values, meanings, strict=False)}
    return [words.get(int(v), str(v)) if np.isfinite(v) else "" for v in variable.values]


def write_documents(path: Path, documents: Iterable[tuple[str, dict[str, Any]]]) -> Path:
    """Write documents as JSON lines, each ``[name, document]``.

    Raises
    ------
    ExchangeError
        If a document holds something JSON does not know.
    """
    count = 0
    with path.open("w") as file:
        for name, doc in documents:
            try:
                file.write(json.dumps([name, doc], default=_plain) + "\n")
            except TypeError as error:
                raise ExchangeError(f"a document '{name}' cannot be written: {error}") from None
            count += 1
    if not count:
        path.unlink()
        raise ExchangeError("the run gave no documents")
    return path


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not JSON")
