"""One journal on its way to Tiled."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from nucleation_bluesky.callbacks.journal_reader import (
    JournalDamagedError,
    JournalReader,
    stem,
)
from nucleation_bluesky.storage.courier_files import CourierFiles
from nucleation_bluesky.storage.run_documents import RunDocuments, UnsafeLocationError
from nucleation_bluesky.storage.run_mirror import RebuildError, RunConflictError, RunMirror

FLUSH = 0.4  # s between two deliveries of a running run
SETTLE = 2.0  # s after which a request that timed out can no longer be applied late
MAX_STRIKES = 6  # failures of one run while the server is well, before it is set aside
logger = logging.getLogger(__name__)

_SERVER_TROUBLE = (httpx.TransportError, TimeoutError, ConnectionError)


def is_server_trouble(error: BaseException) -> bool:
    """Tell whether an error says something about the server rather than about one run."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in (401, 403, 408, 429, 502, 503, 504)
    return isinstance(error, _SERVER_TROUBLE)


class Job:
    """Follows one journal and mirrors it, from whatever is in Tiled already.

    Parameters
    ----------
    path : Path
        The journal, open or closed.
    files : CourierFiles
        Markers.
    readable : list of Path
        Directories the server may read (empty where unknown).
    """

    def __init__(self, path: Path, files: CourierFiles, readable: list[Path]) -> None:
        self.path = path
        self._files = files
        self._readable = readable
        self._reader = JournalReader(path)
        self._widened: set[str] = set()
        self._documents = RunDocuments(readable)
        self._mirror: RunMirror | None = None
        self._unsure_since: float | None = None  # a request may still be applied by the server
        self._next = 0.0
        self._fed = False  # documents hold what the journal held when the mirror was made
        self.strikes = 0
        self.done = False
        self.error = ""

    def close(self) -> None:
        """Close the journal."""
        self._reader.close()

    @property
    def idle(self) -> bool:
        """Tell whether everything the journal holds so far is delivered."""
        return self.done or (
            self._mirror is not None and not self._mirror.waiting and not self.error
        )

    def step(self, client: Callable[[], Any]) -> None:
        """Read what is new and deliver it if it is time.

        Raises
        ------
        httpx.HTTPError
            If the server is in trouble; everything is tried again at the next step.
        """
        now = time.monotonic()
        if self.done or now < self._next:
            return
        try:
            self._read()
            self._deliver(client)
        except Exception as error:  # a run's trouble must not stop the others
            self._failed(error)
            if is_server_trouble(error):
                raise
        else:
            self.strikes, self.error = 0, ""
            self._next = time.monotonic() + FLUSH

    def _read(self) -> None:
        while documents := self._reader.read():
            for name, doc in documents:
                self._documents.feed(name, doc)

    def _deliver(self, client: Callable[[], Any]) -> None:
        if self._mirror is None:
            self._mirror = RunMirror(client(), self._documents, self._widened)
        if not self._mirror.waiting:
            return
        self._mirror.send()
        if self._documents.stop_doc is None:
            if self._unsure_since is not None and self._settled():
                self._mirror.verify()
                self._unsure_since = None
            return
        rows = self._mirror.finish()
        if self._unsure_since is not None and not self._settled():
            return  # verify once more, when no late request can change the rows
        self._files.mark_delivered(self.path, rows)
        self.done = True
        self.close()

    def _settled(self) -> bool:
        return self._unsure_since is None or time.monotonic() - self._unsure_since > SETTLE

    def _failed(self, error: Exception) -> None:
        """Forget what we believed of Tiled; the next step starts from journal and Tiled."""
        self.error = f"{type(error).__name__}: {error}"
        self._mirror = None
        self._documents = RunDocuments(self._readable)
        self._reader.rewind()
        if is_server_trouble(error):
            self._unsure_since = time.monotonic()
            return
        self._unsure_since = self._unsure_since or time.monotonic()
        self.strikes += 1
        self._next = time.monotonic() + min(30.0, 0.2 * 2**self.strikes)
        if isinstance(error, RebuildError):
            logger.warning("run of %s: %s; writing it again", stem(self.path), error)
        else:
            logger.error("run of %s: %s", stem(self.path), self.error)
        poison = (JournalDamagedError, UnsafeLocationError, RunConflictError)
        if isinstance(error, poison) or self.strikes >= MAX_STRIKES:
            self._files.quarantine(self.path, self.error)
            self.done = True
            self.close()
