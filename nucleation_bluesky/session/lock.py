"""One session per instrument and data directory: a lock that ends with its process."""

import fcntl
import json
import os
import re
import threading
import time
from datetime import datetime
from pathlib import Path

POLL = 0.1  # s
_NEVER = threading.Event()


class InstrumentInUseError(RuntimeError):
    """Another session has this instrument."""


class InstrumentLock:
    """Hold the lock of an instrument until `release`, or until this process is gone.

    It refuses a second session on this machine at once, also where each would start a virtual
    instrument of its own over the same ledger; across machines the controller's OWNER does.

    Parameters
    ----------
    directory : Path
        Of the locks.
    prefix : str
        Of the instrument's PVs.
    owner : str
        Session.
    patience : float
        How long to wait for a session that may just be closing, s.

    Raises
    ------
    InstrumentInUseError
        If another session holds it.
    """

    def __init__(self, directory: Path, prefix: str, owner: str, patience: float = 0.0) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{re.sub(r'[^A-Za-z0-9_-]', '_', prefix)}.lock"
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + patience
        while not self._lock():
            if time.monotonic() >= deadline:
                told = _holder(os.pread(self._fd, 4096, 0))
                os.close(self._fd)
                raise InstrumentInUseError(
                    f"the instrument {prefix} is owned by {told}; close that session first"
                )
            _NEVER.wait(POLL)
        since = datetime.now().astimezone().isoformat(timespec="seconds")
        os.ftruncate(self._fd, 0)
        os.pwrite(
            self._fd, json.dumps({"owner": owner, "pid": os.getpid(), "since": since}).encode(), 0
        )

    def _lock(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Give the instrument free."""
        os.close(self._fd)


def _holder(raw: bytes) -> str:
    try:
        found = json.loads(raw)
        return f"session {found['owner']} (process {found['pid']}, since {found['since']})"
    except (ValueError, KeyError, TypeError):  # written at this moment
        return "session that is just starting"
