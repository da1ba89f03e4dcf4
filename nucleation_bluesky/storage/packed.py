"""A whole dataset as one array of bytes: reading it back takes one request, not one a variable."""

import io
import json
import zipfile
import zlib
from typing import Any

import numpy as np
import xarray as xr

_HEADER = "header"
_COLUMN = "v{}"


def pack(dataset: xr.Dataset) -> np.ndarray:
    """Return a dataset's variables as bytes, exactly, shape (n,), uint8 (numpy's npz).

    Attributes must be what JSON can hold; those of the dataset itself are left out.
    """
    variables = [
        {"name": str(name), "dims": [str(d) for d in v.dims], "attrs": v.attrs,
         "coordinate": name in dataset.coords}
        for name, v in dataset.variables.items()
    ]  # fmt: skip
    columns = {_COLUMN.format(k): v.values for k, v in enumerate(dataset.variables.values())}
    file = io.BytesIO()
    np.savez_compressed(
        file, allow_pickle=False, **{_HEADER: np.array(json.dumps(variables)), **columns}
    )
    return np.frombuffer(file.getvalue(), dtype=np.uint8)


def unpack(packed: np.ndarray) -> xr.Dataset:
    """Return the dataset again.

    Raises
    ------
    ValueError
        If the bytes are damaged.
    """
    coords: dict[str, Any] = {}
    data: dict[str, Any] = {}
    try:
        with np.load(io.BytesIO(packed.tobytes()), allow_pickle=False) as held:
            for number, said in enumerate(json.loads(str(held[_HEADER]))):
                values = held[_COLUMN.format(number)]
                kind = coords if said["coordinate"] else data
                kind[said["name"]] = xr.Variable(said["dims"], values, said["attrs"])
    except (OSError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"the packed result is damaged: {error}") from error
    return xr.Dataset(data, coords)
