"""Frames of a foreign film, fetched only where they are needed."""

import threading
from pathlib import Path
from typing import Any

import numpy as np

from nucleation_bluesky.storage.hdf5_input import InputFile, Node


class HDF5Frames:
    """Frames of a foreign HDF5 file; the file is opened at the first read, nothing is kept.

    Parameters
    ----------
    path : Path
        The file.
    node : Node
        The dataset (n, y, x) in it.
    """

    ndim = 3

    def __init__(self, path: Path, node: Node) -> None:
        self.path, self.shape, self.dtype = path, node.shape, node.dtype
        self._node = node
        self._lock = threading.Lock()
        self._source: InputFile | None = None

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, *rest = key if isinstance(key, tuple) else (key,)
        n = self.shape[0]
        if isinstance(rows, slice):
            first, last, step = rows.indices(n)
            if step == 1:
                found: Any = self._rows(first, last)
            else:
                found = self._chosen(range(first, last, step))
        elif np.ndim(rows):
            found = self._chosen(np.arange(n)[rows].tolist())
        else:
            k = range(n)[rows]
            found = self._rows(k, k + 1)[0]
            return found[tuple(rest)]
        return found[(slice(None), *rest)]

    def __len__(self) -> int:
        return self.shape[0]

    def _rows(self, first: int, last: int) -> np.ndarray:
        with self._lock:
            if self._source is None:
                self._source = InputFile(self.path)
            return self._source.rows(self._node, first, last)

    def _chosen(self, rows: Any) -> np.ndarray:
        found = [self._rows(k, k + 1) for k in rows]
        return np.concatenate(found) if found else np.empty((0, *self.shape[1:]), self.dtype)
