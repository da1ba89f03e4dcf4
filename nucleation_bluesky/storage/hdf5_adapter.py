"""HDF5 arrays served by the embedded Tiled server in blocks instead of chunk by chunk.

Controllers write one row per exposure, each a chunk of its own. Tiled's own adapter opens the file
once for each chunk of a request, which takes most of the time of reading a map; here a request
opens each file once per block and reads only the rows asked for.
"""

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from tiled.adapters.hdf5 import SWMR_DEFAULT, HDF5Adapter, HDF5ArrayAdapter, h5open
from tiled.structures.core import StructureFamily

BLOCK = 8_000_000  # bytes read with one opening of a file


class Rows:
    """A dataset of one file that is opened only while it is read."""

    def __init__(self, path: str | Path, dataset: str | None, options: dict[str, Any]) -> None:
        self._path, self._dataset, self._options = path, dataset, options
        with self._open() as data:
            self.shape: tuple[int, ...] = data.shape
            self.dtype: np.dtype[Any] = data.dtype
        self.ndim = len(self.shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        with self._open() as data:
            return data[key]

    def _open(self) -> Any:
        return h5open(self._path, self._dataset, **self._options)

    def block(self) -> tuple[int, ...]:
        """Shape of the blocks to read: whole rows, of bounded size, at least one."""
        row = int(np.prod(self.shape[1:])) * self.dtype.itemsize
        return (max(1, min(self.shape[0], BLOCK // max(row, 1))), *self.shape[1:])


class BlockwiseArrayAdapter(HDF5ArrayAdapter):
    """As Tiled's, with blocks of rows instead of the file's chunks."""

    @staticmethod
    def lazy_load_hdf5_array(
        *file_paths: str | Path,
        dataset: str | None = None,
        swmr: bool = SWMR_DEFAULT,
        libver: str = "latest",
        locking: bool | str | None = None,
    ) -> da.Array:
        """Return the datasets of all files as one array along the first axis.

        Raises
        ------
        OSError, KeyError
            If a file or the dataset in it cannot be opened.
        """
        options = {"swmr": swmr, "libver": libver, "locking": locking}
        parts = [Rows(path, dataset, options) for path in file_paths]
        if any(part.dtype.hasobject or 0 in part.shape or not part.shape for part in parts):
            return HDF5ArrayAdapter.lazy_load_hdf5_array(*file_paths, dataset=dataset, **options)
        arrays = [
            da.from_array(part, chunks=part.block(), name=False)  # pyright: ignore[reportArgumentType]
            for part in parts
        ]
        return arrays[0] if len(arrays) == 1 else da.concatenate(arrays)


class BlockwiseAdapter(HDF5Adapter):
    """As Tiled's, serving arrays of a catalogue in blocks of rows."""

    @classmethod
    def from_catalog(  # pyright: ignore[reportIncompatibleMethodOverride] - options pass through
        cls, data_source: Any, node: Any, /, dataset: str | list[str] = "/", **options: Any
    ) -> Any:
        """Return the adapter of a registered data source."""
        if data_source.structure_family != StructureFamily.array:
            return super().from_catalog(data_source, node, dataset=dataset, **options)
        path = dataset if isinstance(dataset, str) else "/".join(dataset)
        return BlockwiseArrayAdapter.from_catalog(data_source, node, dataset=path, **options)
