"""Write-ahead journal of a RunEngine's documents: one file per run, on disk before it returns.

Subscribe it first: ``Journal(directory).attach(RE)``. Every document is written unbuffered, so a
killed process loses nothing; starts, descriptors, stops and the events of the streams in
``sync_streams`` are also forced to the disk. A failed write raises, and the RunEngine stops: no
site is exposed that could not be recorded.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from nucleation_bluesky.callbacks.journal_codec import encode
from nucleation_bluesky.callbacks.journal_owner import Owner
from nucleation_bluesky.contract.documents import PRIMARY_STREAM
from nucleation_bluesky.ledger.errors import NetworkFileSystemError
from nucleation_bluesky.ledger.filesystem import require_local_filesystem

FORMAT = "nucleation-bluesky-journal"
VERSION = 1
OPEN_SUFFIX = ".open.jsonl"
CLOSED_SUFFIX = ".jsonl"
_EVENTS = frozenset({"event", "event_page"})
_RESERVE = 256 * 1024  # released when the disk is full, so that the run's stop can be recorded


class JournalError(RuntimeError):
    """The journal could not record a document."""


def sync_directory(directory: Path) -> None:
    """Force the entries of a directory to the disk."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def reserve_path(directory: Path, stem: str) -> Path:
    """File that holds space on the disk for the end of a journal."""
    return directory / f".{stem}.reserve"


class RunFile:
    """The open journal of one run."""

    def __init__(self, directory: Path, start: Mapping[str, Any], session: str) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(start["time"]))
        self.stem = f"{stamp}_{start['uid']}"
        self.path = directory / f"{self.stem}{OPEN_SUFFIX}"
        header = {
            "format": FORMAT,
            "version": VERSION,
            "owner": Owner.current().to_dict(),
            "session": session,
            "time": time.time(),
            "run": start["uid"],
        }
        first = encode("header", header) + encode("start", start)
        self._reserve = reserve_path(directory, self.stem)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._fd = os.open(self.path, flags, 0o600)
        # the lock dies with the process: recovery can tell a live journal from a dead one
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._size = 0
        try:
            self._hold_space()
            self._append(first)
            self.sync()
            sync_directory(directory)
        except OSError:
            os.close(self._fd)
            self._free_space()
            self.path.unlink(missing_ok=True)
            raise

    def _hold_space(self) -> None:
        fd = os.open(self._reserve, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.posix_fallocate(fd, 0, _RESERVE)
        finally:
            os.close(fd)

    def _free_space(self) -> None:
        self._reserve.unlink(missing_ok=True)

    def _append(self, line: bytes) -> None:
        view = memoryview(line)
        while view:
            view = view[os.write(self._fd, view) :]
        self._size += len(line)

    def write(self, line: bytes) -> None:
        """Append a line; on failure nothing of it stays and `OSError` is raised."""
        try:
            self._append(line)
        except OSError:
            self._free_space()
            with contextlib.suppress(OSError):  # a torn tail is tolerated by the reader
                os.ftruncate(self._fd, self._size)
            raise

    def sync(self) -> None:
        """Force what was written to the disk."""
        os.fdatasync(self._fd)

    def close(self) -> Path:
        """Mark the journal as complete (atomic rename); returns its final path."""
        final = self.path.with_name(f"{self.stem}{CLOSED_SUFFIX}")
        self.sync()
        self.path.rename(final)
        os.close(self._fd)
        self._free_space()
        sync_directory(final.parent)
        return final


class Journal:
    """Callback that records every document of every run.

    Parameters
    ----------
    directory : Path
        Where the journals lie; created with mode 0700. Must be on a local file system.
    session : str
        Identifier of the session, kept in the header of each journal.
    sync_streams : collection of str
        Streams whose events are forced to the disk one by one.

    Raises
    ------
    JournalError
        If the directory cannot be used, or lies on a network file system.
    """

    def __init__(
        self,
        directory: Path | str,
        *,
        session: str = "",
        sync_streams: Collection[str] = (PRIMARY_STREAM,),
    ) -> None:
        self.directory = Path(directory).absolute()
        self.session = session
        self.sync_streams = frozenset(sync_streams)
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            require_local_filesystem(self.directory, "the journal")
        except NetworkFileSystemError as error:
            raise JournalError(str(error)) from error
        except OSError as error:
            raise JournalError(
                f"the journal directory {self.directory} cannot be used ({error}); "
                "choose a data directory you can write to"
            ) from error
        self._runs: dict[str, RunFile] = {}
        self._run_of: dict[str, str] = {}  # uid of a descriptor or resource -> uid of its run
        self._synced: set[str] = set()  # descriptors of sync_streams

    def attach(self, run_engine: Any) -> int:
        """Subscribe to a RunEngine, before anything else; returns the subscription's token.

        Raises
        ------
        JournalError
            If the RunEngine already has subscribers (the journal must see every document first)
            or is set to ignore the failures of callbacks.
        """
        if getattr(run_engine, "ignore_callback_exceptions", False):
            raise JournalError(
                "the RunEngine ignores exceptions of callbacks, so a full disk would go unnoticed; "
                "set RE.ignore_callback_exceptions = False"
            )
        registry = run_engine.dispatcher.cb_registry
        if any(registry.callbacks.values()):
            raise JournalError(
                "the journal must be the RunEngine's first subscriber; attach it before "
                "BestEffortCallback and other callbacks"
            )
        return run_engine.subscribe(self)

    @property
    def open_runs(self) -> list[str]:
        """Identifiers of the runs being recorded."""
        return list(self._runs)

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Record a document.

        Raises
        ------
        JournalError
            If it could not be written.
        CodecError
            If it holds a value that cannot be recorded.
        """
        try:
            self._record(str(getattr(name, "name", name)), doc)
        except OSError as error:
            raise JournalError(
                f"the journal in {self.directory} could not be written ({error.strerror}); "
                "free space on the disk before going on"
            ) from error

    def _record(self, name: str, doc: Mapping[str, Any]) -> None:
        if name == "start":
            self._runs[doc["uid"]] = RunFile(self.directory, doc, self.session)
            return
        run = self._find_run(name, doc)
        target = self._runs.get(run) if run is not None else None
        if run is None or target is None:
            raise JournalError(f"a '{name}' document belongs to no run this journal has seen")
        target.write(encode(name, doc))
        if name == "descriptor":
            self._run_of[doc["uid"]] = run
            if doc.get("name") in self.sync_streams:
                self._synced.add(doc["uid"])
        # what a file holds before a synced event is on the disk with it: stream_datum, which comes
        # before its event and names a descriptor too, needs no sync of its own
        if name == "descriptor" or (name in _EVENTS and doc.get("descriptor") in self._synced):
            target.sync()
        elif name == "stop":
            self._forget(doc["run_start"]).close()

    def _find_run(self, name: str, doc: Mapping[str, Any]) -> str | None:
        run = doc.get("run_start")
        if run is None:
            for key in ("descriptor", "stream_resource", "resource"):
                if (run := self._run_of.get(doc.get(key, ""))) is not None:
                    break
        if run is None and len(self._runs) == 1:
            run = next(iter(self._runs))
        if run is not None and name in ("resource", "stream_resource"):
            self._run_of[doc["uid"]] = run
        return run

    def _forget(self, run: str) -> RunFile:
        gone = [uid for uid, owner in self._run_of.items() if owner == run]
        for uid in gone:
            del self._run_of[uid]
        self._synced.difference_update(gone)
        return self._runs.pop(run)
