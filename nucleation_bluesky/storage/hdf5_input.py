"""Reading HDF5 files made by strangers: nothing outside the file, one sentence per mistake."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import psutil
from numpy.typing import DTypeLike

READ_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError)
MEMORY_SHARE = 0.7  # of the memory available now that one file may fill
BLOCK = 4_000_000  # samples converted at a time
MAX_LINKS = 16


class IngestError(ValueError):
    """A file cannot be taken in; the message names the file, the place and what is wrong."""


SQUARE = 1e-3


class InputFile:
    """One opened HDF5 file; every complaint starts with its name.

    Parameters
    ----------
    path : Path
        The file.
    handle : h5py.File
        Open for reading.
    """

    def __init__(self, path: Path, handle: h5py.File) -> None:
        self.path = path
        self.handle = handle

    def error(self, text: str) -> IngestError:
        """Return the error to raise for this file."""
        return IngestError(f"{self.path.name}: {text}")

    # ---- attributes

    def attribute(self, name: str, node: h5py.Group | h5py.Dataset | None = None) -> object:
        """Return an attribute as str, int, float or 1-D array; None where it is absent."""
        attrs = (self.handle if node is None else node).attrs
        if name not in attrs:
            return None
        try:
            return plain(attrs[name])
        except READ_ERRORS as exc:
            raise self.error(f"attribute '{name}' cannot be read ({exc})") from None

    def text(self, name: str) -> str | None:
        """Return a text attribute, None where it is absent."""
        value = self.attribute(name)
        if value is None or isinstance(value, str):
            return value
        raise self.error(f"attribute '{name}' must be text (got {value!r})")

    def number(
        self,
        name: str,
        node: h5py.Group | h5py.Dataset | None = None,
        *,
        positive: bool = False,
        required: bool = False,
    ) -> float | None:
        """Return a finite scalar attribute, None where it is absent and not required."""
        value = self.attribute(name, node)
        where = "" if node is None else f" of '{node.name}'"
        if value is None:
            if required:
                raise self.error(f"attribute '{name}'{where} is missing")
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            raise self.error(f"attribute '{name}'{where} must be one finite number (got {value!r})")
        if positive and value <= 0:
            raise self.error(f"attribute '{name}'{where} must be greater than 0 (got {value:g})")
        return float(value)

    def magnitude(self, name: str, node: h5py.Group | h5py.Dataset) -> float:
        """Return a required attribute that must be greater than 0."""
        return float(self.number(name, node, positive=True, required=True) or 0)

    def pixel_size(self, node: h5py.Group | h5py.Dataset) -> float:
        """Return the required attribute ``pixel_size``, m: one number, or two that are equal."""
        value = self.attribute("pixel_size", node)
        if (
            not isinstance(value, np.ndarray)
            or value.shape != (2,)
            or value.dtype.kind not in "iuf"
        ):
            return self.magnitude("pixel_size", node)
        height, width = (float(v) for v in value)
        if not (np.isfinite(value).all() and height > 0 and width > 0):
            raise self.error(
                f"attribute 'pixel_size' of '{node.name}' must be greater than 0 (got {value})"
            )
        if not np.isclose(height, width, rtol=SQUARE, atol=0):
            raise self.error(
                f"attribute 'pixel_size' of '{node.name}' says {height:g} m by {width:g} m: pixels "
                "must be square; resample the images first"
            )
        return (height + width) / 2

    # ---- datasets

    def find(self, name: str) -> h5py.Dataset | None:
        """Return a dataset of this very file, None where there is none of that name.

        Raises
        ------
        IngestError
            If the name leads through a link into another file, dangles, is a group, or the
            dataset keeps its values outside the file.
        """
        node = self._resolve(self.handle, name, MAX_LINKS)
        if node is None:
            return None
        if not isinstance(node, h5py.Dataset):
            raise self.error(f"'{name}' is a group, not a dataset")
        if node.external or node.is_virtual:
            raise self.error(f"dataset '{name}' keeps its values in other files; copy them in")
        return node

    def need(self, name: str) -> h5py.Dataset:
        """Return a dataset that must be there."""
        dataset = self.find(name)
        if dataset is None:
            raise self.error(f"dataset '{name}' is missing")
        return dataset

    def _resolve(self, group: h5py.Group, name: str, budget: int) -> h5py.HLObject | None:
        node: h5py.HLObject = self.handle if name.startswith("/") else group
        for part in (p for p in name.split("/") if p not in ("", ".")):
            if not isinstance(node, h5py.Group):
                return None
            link = node.get(part, getlink=True)
            if link is None:
                return None
            if isinstance(link, h5py.ExternalLink):
                raise self.error(f"'{name}' is a link into another file, which is not followed")
            if isinstance(link, h5py.SoftLink):
                if budget == 0:
                    raise self.error(f"the links behind '{name}' run in a circle")
                target = self._resolve(node, link.path, budget - 1)
                if target is None:
                    raise self.error(f"'{name}' is a link to '{link.path}', which does not exist")
                node = target
            else:
                node = node[part]
        return node

    def check_shape(self, dataset: h5py.Dataset, shape: tuple[int | None, ...], what: str) -> None:
        """Raise unless the dataset has this shape; None stands for any length."""
        actual = dataset.shape or ()
        if len(actual) != len(shape) or any(
            w is not None and a != w for a, w in zip(actual, shape, strict=True)
        ):
            raise self.error(
                f"dataset '{self.name_of(dataset)}' has shape {actual}, expected {what}"
            )

    def size(self, dataset: h5py.Dataset) -> int:
        """Return the number of values of a dataset, 0 where it has no extent."""
        return int(dataset.size or 0)

    def name_of(self, dataset: h5py.Dataset) -> str:
        """Name of a dataset without the leading slash."""
        return str(dataset.name).lstrip("/")

    def integers(self, dataset: h5py.Dataset) -> np.ndarray:
        """Read a small dataset of integers as int64."""
        if dataset.dtype.kind not in "iu":
            raise self.error(
                f"dataset '{self.name_of(dataset)}' must hold integers (got {dataset.dtype})"
            )
        self.check_memory(self.size(dataset) * 8)
        values = self.read(dataset, slice(None))
        if values.dtype == np.uint64 and np.any(values > np.uint64(2**63 - 1)):
            raise self.error(f"dataset '{self.name_of(dataset)}' holds numbers beyond 64 bits")
        return values.astype(np.int64)

    def floats(
        self, dataset: h5py.Dataset, count: int | None = None, dtype: DTypeLike = np.float64
    ) -> np.ndarray:
        """Read the first ``count`` values as floating point, block by block.

        Parameters
        ----------
        dataset : h5py.Dataset
            One- or two-dimensional.
        count : int or None
            Values along the first axis; None reads all.
        dtype : dtype
            Of the returned array; the file's own type is never held in full.
        """
        if dataset.dtype.kind not in "fiu":
            raise self.error(
                f"dataset '{self.name_of(dataset)}' must hold numbers (got {dataset.dtype})"
            )
        length = dataset.shape[0] if count is None else count
        shape = (length, *dataset.shape[1:])
        self.check_memory(int(np.prod(shape, dtype=float)) * np.dtype(dtype).itemsize)
        out = np.empty(shape, dtype)
        width = max(1, int(np.prod(dataset.shape[1:], dtype=float)))
        step = max(1, BLOCK // width)
        for first in range(0, length, step):
            part = slice(first, min(first + step, length))
            with np.errstate(over="ignore"):
                out[part] = self.read(dataset, part)
        return out

    def read(self, dataset: h5py.Dataset, part: slice) -> np.ndarray:
        """Read a part of a dataset."""
        try:
            return np.asarray(dataset[part])
        except READ_ERRORS as exc:
            name = self.name_of(dataset)
            raise self.error(f"dataset '{name}' cannot be read, the file is damaged ({exc})") from (
                None
            )

    def check_memory(self, wanted: float) -> None:
        """Raise where a file claims more data than this machine can hold."""
        available = psutil.virtual_memory().available
        if wanted > MEMORY_SHARE * available:
            raise self.error(
                f"it claims {wanted / 1e9:.3g} GB of data, more than the {available / 1e9:.3g} GB "
                "of memory that are free; check its offsets or split it"
            )


@contextmanager
def open_input(path: Path | str) -> Iterator[InputFile]:
    """Open a foreign HDF5 file for reading; HDF5's own complaints become one sentence.

    Raises
    ------
    IngestError
        If the file is absent, not HDF5, truncated or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise IngestError(f"{path.name}: there is no such file ({path})")
    if not h5py.is_hdf5(path):
        raise IngestError(f"{path.name}: this is not an HDF5 file")
    try:
        handle = h5py.File(path, "r")
    except OSError as exc:
        raise IngestError(
            f"{path.name}: the file is truncated, damaged or in use ({exc})"
        ) from None
    with handle:
        try:
            yield InputFile(path, handle)
        except IngestError:
            raise
        except READ_ERRORS as exc:
            # HDF5 raises any of these when a byte inside its own structures is wrong.
            raise IngestError(f"{path.name}: the file is damaged ({exc})") from exc


def plain(value: object) -> object:
    """Turn an HDF5 attribute into str, int, float, list of str or ndarray."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, h5py.Empty):
        return ""
    array = np.asarray(value)
    if array.dtype.kind in "OSU":
        texts = [
            v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v)
            for v in array.ravel().tolist()
        ]
        return texts[0] if array.ndim == 0 or array.size == 1 else texts
    if array.size == 1:
        return array.ravel()[0].item()
    return array
