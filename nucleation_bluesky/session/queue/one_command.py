"""One command at a time changes a queue: two would start two of everything, and remember one."""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from nucleation_bluesky.callbacks.journal_owner import Owner
from nucleation_bluesky.session.queue.parts import QueueError
from nucleation_bluesky.storage.server_files import PAUSE, try_lock

PATIENCE = 15.0  # s for a command that was told to end


@contextlib.contextmanager
def one_command(path: Path, say: Callable[[str], None], *, end: bool) -> Iterator[None]:
    """Hold the queue's lock, which dies with its process.

    Parameters
    ----------
    path : Path
        The lock; where its directory is not there, nothing was ever started.
    say : callable
        Receives short lines.
    end : bool
        End another command that is at work, instead of refusing.

    Raises
    ------
    QueueError
        If another command is at work.
    """
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except FileNotFoundError:
        yield
        return
    try:
        if not try_lock(lock):
            holder = _holder(lock)
            if not end:
                who = f" (process {holder.pid})" if holder else ""
                raise QueueError(
                    f"another command{who} is starting or ending this queue; try again when it is "
                    "done, or end everything at once with 'queue down --now'"
                )
            _end(lock, holder, say)
        os.ftruncate(lock, 0)
        os.pwrite(lock, json.dumps(Owner.current().to_dict()).encode(), 0)
        yield
    finally:
        os.close(lock)


def _holder(lock: int) -> Owner | None:
    try:
        return Owner.from_dict(json.loads(os.pread(lock, 1000, 0)))
    except ValueError:  # it has only just begun
        return None


def _end(lock: int, holder: Owner | None, say: Callable[[str], None]) -> None:
    if holder is not None and holder.alive() and holder.pid != os.getpid():
        say(f"ending the command that is at work (process {holder.pid})")
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(holder.pid).terminate()
    deadline = time.monotonic() + PATIENCE
    while not try_lock(lock):
        if time.monotonic() >= deadline:
            raise QueueError("another command holds this queue and does not end; end it first")
        PAUSE.wait(0.1)
