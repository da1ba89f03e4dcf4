"""The process that opens foreign HDF5 files: whatever their bytes do to the library ends here.

Started by `hdf5_process.ReaderProcess`, one for each file. One byte is enough to make libhdf5 2.0.0
loop for ever (the length of an object in a global heap) or write through a null pointer (the flags
of a string's type). Requests and answers are JSON, values of datasets their bare bytes; nothing
that comes from here is more than data to the process that asks.
"""

import contextlib
import os
import resource
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

import h5py
import numpy as np

from nucleation_bluesky.storage.hdf5_messages import MAX_LINKS, Problem, pack, raw_bytes, unpack

# HDF5 raises any of these when a byte inside its own structures is wrong
READ_ERRORS = (
    AttributeError, KeyError, MemoryError, OSError, OverflowError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip
MEMORY = 3_000_000_000  # bytes of addresses; a block and its chunk need far less
NUMBERS = "biuf"


class RefusedError(Exception):
    """A sound file asks for what is not done; the message says what."""


class Reader:
    """One open file and the requests it answers; each method is one.

    Parameters
    ----------
    path : str
        The file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: h5py.File | None = None

    def open(self) -> bool:
        """Open the file, which nobody must be writing; others may write it later."""
        h5py.File(self._path, "r").close()
        self._file = h5py.File(self._path, "r", locking=False)
        return True

    def node(self, name: str) -> dict[str, Any] | None:
        """Describe a dataset or a group, None where there is none."""
        found = self._resolve(self._at("/"), name, MAX_LINKS)
        if found is None:
            return None
        if not isinstance(found, h5py.Dataset):
            return {"name": str(found.name), "group": True}
        if found.external or found.is_virtual:
            raise RefusedError(f"dataset '{name}' keeps its values in other files; copy them in")
        return {
            "name": str(found.name),
            "group": False,
            "shape": None if found.shape is None else list(found.shape),
            "dtype": found.dtype.str,
            "chunk": 0 if found.chunks is None else _bytes(found.chunks, found.dtype),
        }

    def names(self, node: str) -> list[str]:
        """List the attributes of a node."""
        return list(self._at(node).attrs)

    def attribute(self, node: str, name: str) -> dict[str, Any]:
        """Return an attribute: empty, ``value`` or ``array`` with ``dtype``."""
        attrs = self._at(node).attrs
        return _plain(attrs[name]) if name in attrs else {}

    def read(self, node: str, first: int, last: int) -> np.ndarray:
        """Return rows ``first`` to ``last`` of a dataset."""
        dataset = self._at(node)
        return np.ascontiguousarray(dataset[first:last])

    def _at(self, name: str) -> Any:
        if self._file is None:
            raise OSError("the file is not open")
        return self._file[name]

    def _resolve(self, group: h5py.Group, name: str, budget: int) -> h5py.HLObject | None:
        """Follow hard links, and soft ones that stay inside the file."""
        node: h5py.HLObject = self._at("/") if name.startswith("/") else group
        for part in (p for p in name.split("/") if p not in ("", ".")):
            if not isinstance(node, h5py.Group):
                return None
            link = node.get(part, getlink=True)
            if link is None:
                return None
            if isinstance(link, h5py.ExternalLink):
                raise RefusedError(f"'{name}' is a link into another file, which is not followed")
            if isinstance(link, h5py.SoftLink):
                if budget == 0:
                    raise RefusedError(f"the links behind '{name}' run in a circle")
                target = self._resolve(node, link.path, budget - 1)
                if target is None:
                    raise RefusedError(f"'{name}' is a link to '{link.path}', which does not exist")
                node = target
            else:
                node = node[part]
        return node


def _bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
    return int(min(np.prod(shape, dtype=float) * dtype.itemsize, 2.0**62))


def _plain(value: object) -> dict[str, Any]:
    """Turn an attribute into numbers, text, a list of texts or an array of numbers."""
    if isinstance(value, h5py.Empty):
        return {"value": ""}
    if isinstance(value, bytes):
        return {"value": _text(value)}
    array = np.asarray(value)
    if array.dtype.kind in "OSU":
        texts = [_text(v) for v in array.ravel().tolist()]
        return {"value": texts[0] if array.size == 1 else texts}
    if array.dtype.kind not in NUMBERS:
        return {"value": str(value)}
    array = array.astype(np.float64) if array.dtype.itemsize > 8 else array
    if array.size == 1:
        return {"value": array.ravel()[0].item()}
    return {"array": array.tolist(), "dtype": array.dtype.str, "shape": list(array.shape)}


def _text(value: object) -> str:
    raw = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
    return raw.decode("utf-8", "replace")


def answer(reader: Reader, request: list[Any]) -> tuple[dict[str, Any], np.ndarray | None]:
    """Return the answer to a request, and values where it asked for them."""
    name, seconds, *arguments = request
    signal.setitimer(signal.ITIMER_PROF, seconds)  # time of the processor; ends this process
    try:
        found = getattr(reader, name)(*arguments)
    except RefusedError as exc:
        return {Problem.REFUSED: str(exc)}, None
    except READ_ERRORS as exc:
        return {Problem.DAMAGED: f"{exc}" or type(exc).__name__}, None
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    if isinstance(found, np.ndarray):
        return {"bytes": found.nbytes}, found
    return {"answer": found}, None


def serve(connection: Connection, path: str) -> None:
    """Answer requests until the other side is gone."""
    reader = Reader(path)
    while True:
        try:
            request = unpack(connection.recv_bytes())
        except (EOFError, ConnectionError):
            return
        head, values = answer(reader, request)
        connection.send_bytes(pack(head))
        if values is not None and values.nbytes:
            connection.send_bytes(raw_bytes(values))


def main() -> None:
    """Serve the file named on the command line over the connection that was inherited."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who asks decides
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(ValueError):  # macOS knows no such limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    serve(Connection(int(sys.argv[1])), sys.argv[2])
    os._exit(0)  # the library is not asked to tidy up a damaged file


if __name__ == "__main__":
    main()
