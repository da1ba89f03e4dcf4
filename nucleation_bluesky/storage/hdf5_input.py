"""Reading HDF5 files made by strangers: nothing outside the file, one sentence per mistake.

No byte of such a file meets the HDF5 library in this process: see `hdf5_reader`.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import DTypeLike

from nucleation_bluesky.storage.hdf5_messages import Problem
from nucleation_bluesky.storage.hdf5_process import PROCESSOR_TIME, ReaderProcess, ReadFailedError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MEMORY_SHARE = 0.7  # of the memory available now that one file may fill
DENSEST = 2000  # bytes that a byte of a file can stand for; gzip reaches half of it
BLOCK = 4_000_000  # samples converted at a time
BLOCK_BYTES = 32_000_000  # asked for at a time


class IngestError(ValueError):
    """A file cannot be taken in; the message names the file, the place and what is wrong."""


NOTHING = np.dtype("V")
SQUARE = 1e-3  # by which the two edges of a pixel may differ


@dataclass(frozen=True)
class Node:
    """A dataset or a group of a file.

    Parameters
    ----------
    name : str
        Path in the file.
    is_group : bool
    shape : tuple of int
        () for a group, a scalar and a dataset without extent.
    dtype : dtype
        Of the values.
    size : int
        Number of values, 0 where there is no extent.
    chunk : int
        Bytes of a chunk, decompressed; 0 where there are none.
    """

    name: str
    is_group: bool = False
    shape: tuple[int, ...] = ()
    dtype: np.dtype = NOTHING
    size: int = 0
    chunk: int = 0

    @property
    def label(self) -> str:
        """Name without the leading slash."""
        return self.name.lstrip("/")


ROOT = Node("/", is_group=True)


class InputFile:
    """One HDF5 file, open in a process of its own; every complaint starts with its name.

    Parameters
    ----------
    path : Path
        The file.
    processor_time : float
        Computing that one request may take before the file counts as damaged, s.

    Raises
    ------
    IngestError
        If the file is absent, not HDF5, truncated or damaged.
    """

    def __init__(self, path: Path | str, *, processor_time: float = PROCESSOR_TIME) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise self.error(f"there is no such file ({path})")
        if not has_signature(self.path):
            raise self.error("this is not an HDF5 file")
        self._bytes = self.path.stat().st_size
        self._reader = ReaderProcess(self.path, processor_time)
        try:
            self._reader.ask("open")
        except ReadFailedError as exc:
            self.close()
            raise self.error(f"the file is truncated, damaged or in use ({exc})") from None

    def close(self) -> None:
        """End the process."""
        self._reader.close()

    def error(self, text: str) -> IngestError:
        """Return the error to raise for this file."""
        return IngestError(f"{self.path.name}: {text}")

    def _ask(self, where: str, request: str, *arguments: object) -> Any:
        try:
            return self._reader.ask(request, *arguments)
        except ReadFailedError as exc:
            raise self._failure(where, exc) from None

    def _failure(self, where: str, exc: ReadFailedError) -> IngestError:
        if exc.problem is Problem.REFUSED:
            return self.error(str(exc))
        return self.error(f"{where} cannot be read, the file is damaged ({exc})")

    # ---- attributes

    def check_format(self, name: str, version: int) -> None:
        """Raise unless the attributes ``format`` and ``version`` are these."""
        found = self.text("format")
        if found != name:
            raise self.error(f"attribute 'format' must be '{name}' (got {found!r})")
        number = self.attribute("version")
        if not isinstance(number, int | float) or number != version:
            raise self.error(
                f"version {number!r} of {name} is not known, this program reads version {version}"
            )

    def attribute(self, name: str, node: Node = ROOT) -> object:
        """Return an attribute as str, int, float, list of str or array; None where absent."""
        found = self._ask(f"attribute '{name}'", "attribute", node.name, name)
        if "array" in found:
            return np.array(found["array"], found["dtype"]).reshape(found["shape"])
        return found.get("value")

    def text(self, name: str) -> str | None:
        """Return a text attribute, None where it is absent."""
        value = self.attribute(name)
        if value is None or isinstance(value, str):
            return value
        raise self.error(f"attribute '{name}' must be text (got {value!r})")

    def number(
        self,
        name: str,
        node: Node = ROOT,
        *,
        positive: bool = False,
        required: bool = False,
    ) -> float | None:
        """Return a finite scalar attribute, None where it is absent and not required."""
        value = self.attribute(name, node)
        where = "" if node == ROOT else f" of '{node.name}'"
        if value is None:
            if required:
                raise self.error(f"attribute '{name}'{where} is missing")
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            raise self.error(f"attribute '{name}'{where} must be one finite number (got {value!r})")
        if positive and value <= 0:
            raise self.error(f"attribute '{name}'{where} must be greater than 0 (got {value:g})")
        return float(value)

    def magnitude(self, name: str, node: Node) -> float:
        """Return a required attribute that must be greater than 0."""
        return float(self.number(name, node, positive=True, required=True) or 0)

    def pixel_size(self, node: Node) -> float:
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

    def others(self, interpreted: frozenset[str]) -> dict[str, object]:
        """Return the file's further attributes, as plain values."""
        extra: dict[str, object] = {}
        for name in self._ask("the list of attributes", "names", ROOT.name):
            if name not in interpreted:
                value = self.attribute(name)
                extra[name] = value.tolist() if isinstance(value, np.ndarray) else value
        return extra

    # ---- datasets

    def node(self, name: str) -> Node | None:
        """Return a dataset or group of this very file, None where there is none of that name.

        Raises
        ------
        IngestError
            If the name leads through a link into another file, dangles, or the dataset keeps its
            values outside the file.
        """
        found = self._ask(f"'{name}'", "node", name)
        if found is None:
            return None
        if found["group"]:
            return Node(found["name"], is_group=True)
        extent = found["shape"]
        shape, size = tuple(extent or ()), 0 if extent is None else 1
        for length in shape:
            size *= length
        return Node(found["name"], False, shape, np.dtype(found["dtype"]), size, found["chunk"])

    def find(self, name: str) -> Node | None:
        """Return a dataset of this very file, None where there is none of that name.

        Raises
        ------
        IngestError
            As `node`, and if it is a group.
        """
        node = self.node(name)
        if node is not None and node.is_group:
            raise self.error(f"'{name}' is a group, not a dataset")
        return node

    def need(self, name: str) -> Node:
        """Return a dataset that must be there."""
        dataset = self.find(name)
        if dataset is None:
            raise self.error(f"dataset '{name}' is missing")
        return dataset

    def check_shape(self, dataset: Node, shape: tuple[int | None, ...], what: str) -> None:
        """Raise unless the dataset has this shape; None stands for any length."""
        actual = dataset.shape
        if len(actual) != len(shape) or any(
            w is not None and a != w for a, w in zip(actual, shape, strict=True)
        ):
            raise self.error(f"dataset '{dataset.label}' has shape {actual}, expected {what}")

    def integers(self, dataset: Node) -> np.ndarray:
        """Read a small dataset of integers as int64."""
        if dataset.dtype.kind not in "iu":
            raise self.error(f"dataset '{dataset.label}' must hold integers (got {dataset.dtype})")
        self.check_claim(dataset, dataset.size * 8)
        values = self.rows(dataset, 0, dataset.shape[0])
        if values.dtype.itemsize == 8 and values.dtype.kind == "u" and np.any(values > 2**63 - 1):
            raise self.error(f"dataset '{dataset.label}' holds numbers beyond 64 bits")
        return values.astype(np.int64)

    def floats(
        self, dataset: Node, count: int | None = None, dtype: DTypeLike = np.float64
    ) -> np.ndarray:
        """Read the first ``count`` values as floating point, block by block.

        Parameters
        ----------
        dataset : Node
            One- or two-dimensional.
        count : int or None
            Values along the first axis; None reads all.
        dtype : dtype
            Of the returned array; the file's own type is never held in full.
        """
        if dataset.dtype.kind not in "fiu":
            raise self.error(f"dataset '{dataset.label}' must hold numbers (got {dataset.dtype})")
        length = dataset.shape[0] if count is None else count
        shape = (length, *dataset.shape[1:])
        self.check_claim(dataset, int(np.prod(shape, dtype=float)) * np.dtype(dtype).itemsize)
        out = np.empty(shape, dtype)
        width = max(1, int(np.prod(dataset.shape[1:], dtype=float)))
        step = max(1, BLOCK // width)
        for first in range(0, length, step):
            part = slice(first, min(first + step, length))
            with np.errstate(over="ignore"):
                out[part] = self.rows(dataset, part.start, part.stop)
        return out

    def rows(self, dataset: Node, first: int, last: int) -> np.ndarray:
        """Read rows ``first`` to ``last`` of a dataset in its own type."""
        if dataset.dtype.kind not in "biufc":
            raise self.error(f"dataset '{dataset.label}' must hold numbers (got {dataset.dtype})")
        out = np.empty((max(0, last - first), *dataset.shape[1:]), dataset.dtype)
        step = max(1, int(BLOCK_BYTES * len(out) / max(out.nbytes, 1)))
        try:
            for start in range(0, len(out), step):
                part = out[start : start + step]
                self._reader.fill(part, dataset.name, first + start, dataset.chunk)
        except ReadFailedError as exc:
            raise self._failure(f"dataset '{dataset.label}'", exc) from None
        return out

    def check_claim(self, dataset: Node, wanted: float = 0.0) -> None:
        """Raise where a dataset claims more than its file can hold, or than fits in memory."""
        held = dataset.size * dataset.dtype.itemsize
        claim = f"dataset '{dataset.label}' claims {max(wanted, held) / 1e9:.3g} GB of data"
        if held > DENSEST * self._bytes:
            raise self.error(
                f"{claim} in a file of {self._bytes / 1e9:.3g} GB: it is damaged or not filled"
            )
        available = psutil.virtual_memory().available
        if wanted > MEMORY_SHARE * available:
            raise self.error(
                f"{claim}, more than the {available / 1e9:.3g} GB of memory that are free; "
                "check its offsets or split it"
            )


def has_signature(path: Path) -> bool:
    """Tell whether a file begins as HDF5 files do, after a user block of any allowed length."""
    size, at = path.stat().st_size, 0
    with path.open("rb") as stream:
        while at < size:
            stream.seek(at)
            if stream.read(len(SIGNATURE)) == SIGNATURE:
                return True
            at = max(512, 2 * at)
    return False


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def open_input(path: Path | str, *, processor_time: float = PROCESSOR_TIME) -> Iterator[InputFile]:
    """Open a foreign HDF5 file for reading, in a process of its own, while the context lasts.

    Parameters
    ----------
    path, processor_time
        As `InputFile`.

    Raises
    ------
    IngestError
        As `InputFile`.
    """
    source = InputFile(path, processor_time=processor_time)
    try:
        yield source
    finally:
        source.close()
