"""Results as netCDF files from the embedded server: units and provenance stay.

Tiled's own writer of netCDF drops the attributes of the variables and refuses nested ones.
"""

import tempfile
from pathlib import Path
from typing import Any

import xarray as xr
from tiled.utils import ensure_awaitable

from nucleation_bluesky.storage.result_files import with_units, write_result

_DATA, _COORDINATE = "xarray_data_var", "xarray_coord"


async def serialize_netcdf(
    _mimetype: str, node: Any, _metadata: dict[str, Any], _filter_for_access: Any
) -> bytes:
    """Return a dataset of the catalogue as the bytes of a netCDF (HDF5) file."""
    parts: dict[str, dict[str, Any]] = {_DATA: {}, _COORDINATE: {}}
    for name, array in await node.items_range():
        kinds = [spec.name for spec in array.specs if spec.name in parts]
        if kinds:
            values = await ensure_awaitable(array.read)
            attrs = array.metadata().get("attrs") or {}
            parts[kinds[0]][name] = (array.structure().dims, values, attrs)
    dataset = xr.Dataset(parts[_DATA], parts[_COORDINATE], node.metadata().get("attrs") or {})
    with tempfile.TemporaryDirectory() as directory:
        return write_result(Path(directory) / "result.nc", with_units(dataset)).read_bytes()
