"""Asking the process that reads a foreign HDF5 file, with limits of time and memory."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import weakref
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from nucleation_bluesky.storage.hdf5_messages import Problem, pack, raw_bytes, unpack

PROCESSOR_TIME = 5.0  # s of computing for one request, and more for large chunks
SLOWEST = 20e6  # bytes/s that any machine decompresses
LONGEST = 60.0  # s of computing, whatever a file claims
WAIT = 120.0  # s, for a disk that does not answer
LARGEST_ANSWER = 64_000_000  # bytes of attributes


class ReadFailedError(Exception):
    """A request has no answer; the message says why, ``problem`` whose fault it is."""

    def __init__(self, text: str, problem: Problem) -> None:
        super().__init__(" ".join(text.split()))
        self.problem = problem


class ReaderProcess:
    """A process that has one foreign file open.

    After a failure that ended it every further request fails in the same words.

    Parameters
    ----------
    path : Path
        The file.
    processor_time : float
        Computing that one request may take, s.
    """

    def __init__(self, path: Path, processor_time: float = PROCESSOR_TIME) -> None:
        self._processor_time = processor_time
        self._lock = threading.Lock()
        self._ended = ""
        self._connection, other = multiprocessing.Pipe()
        with other:
            command = [sys.executable, "-m", "nucleation_bluesky.storage.hdf5_reader"]
            command += [str(other.fileno()), str(path.absolute())]
            self.process = subprocess.Popen(  # noqa: S603 (our own module)
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(other.fileno(),),
                # threads of a BLAS would take addresses, and are of no use
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        self.close = weakref.finalize(self, _end, self._connection, self.process)

    def ask(self, request: str, *arguments: object, chunk: int = 0) -> Any:
        """Return the answer to a request.

        Parameters
        ----------
        request : str
            Name of a method of `hdf5_reader.Reader`.
        arguments : object
            Its arguments.
        chunk : int
            Bytes that must be decompressed for it.

        Raises
        ------
        ReadFailedError
            If there is none.
        """
        with self._lock:
            return self._ask(request, arguments, chunk)["answer"]

    def fill(self, out: np.ndarray, node: str, first: int, chunk: int = 0) -> None:
        """Read rows from ``first`` on into an array of the dataset's own type.

        Raises
        ------
        ReadFailedError
            If they cannot be read.
        """
        with self._lock:
            head = self._ask("read", (node, first, first + len(out)), max(chunk, out.nbytes))
            if head["bytes"] != out.nbytes:
                raise ReadFailedError("values are missing", Problem.DAMAGED)
            if out.nbytes:
                try:
                    self._connection.recv_bytes_into(raw_bytes(out))
                except (OSError, EOFError):
                    raise self._end_now() from None

    def _ask(self, request: str, arguments: tuple[object, ...], chunk: int) -> dict[str, Any]:
        if self._ended:
            raise ReadFailedError(self._ended, Problem.DAMAGED)
        seconds = min(self._processor_time + chunk / SLOWEST, max(LONGEST, self._processor_time))
        try:
            self._connection.send_bytes(pack([request, seconds, *arguments]))
            if not self._connection.poll(WAIT):
                raise self._end_now(f"it was not read within {WAIT:g} s")
            head = unpack(self._connection.recv_bytes(LARGEST_ANSWER))
        except (OSError, EOFError):
            raise self._end_now() from None
        for problem in Problem:
            if problem in head:
                raise ReadFailedError(head[problem], problem)
        return head

    def _end_now(self, why: str = "") -> ReadFailedError:
        _end(self._connection, self.process, grace=0.0 if why else 5.0)
        code = self.process.returncode
        if why:
            self._ended = why
        elif code == -signal.SIGPROF:
            self._ended = "reading it does not come to an end"
        else:
            self._ended = f"reading it ends the process that reads (code {code})"
        return ReadFailedError(self._ended, Problem.DAMAGED)


def _end(connection: Connection, process: "subprocess.Popen[bytes]", grace: float = 5.0) -> None:
    """End the process: it ends by itself when nobody is at the other side."""
    connection.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace)
    if process.poll() is None:
        process.kill()
        process.wait()
