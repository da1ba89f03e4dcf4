"""Closing the journals of dead sessions."""

import fcntl
import logging
import os
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from nucleation_bluesky.callbacks.journal import CLOSED_SUFFIX, reserve_path, sync_directory
from nucleation_bluesky.callbacks.journal_codec import encode
from nucleation_bluesky.callbacks.journal_reader import (
    JournalDamagedError,
    JournalReader,
    is_open,
    journals,
    stem,
)

logger = logging.getLogger(__name__)


class OwnerAliveError(RuntimeError):
    """The session that writes the journal still lives."""


@dataclass(frozen=True)
class Closed:
    """A journal that recovery closed."""

    path: Path
    run: str
    num_events: dict[str, int]


def is_abandoned(path: Path) -> bool:
    """Tell whether an open journal's owner is dead; this only reads.

    Raises
    ------
    JournalDamagedError
        If its beginning cannot be read.
    """
    try:
        with JournalReader(path) as reader:
            reader.read()
            return reader.header is None or not reader.owner.alive()
    except FileNotFoundError:
        return False


def close_journal(path: Path | str, reason: str) -> Closed | None:
    """Close the journal of a dead session with a synthetic stop document.

    The stop has exit_status "abort" and the reason "crash: <reason>". A torn last line is
    removed. A journal that holds its stop already is only renamed. One without a start document
    (the session died while creating it) is deleted and None is returned.

    Raises
    ------
    OwnerAliveError
        If the owner lives, or another process is closing the journal.
    JournalDamagedError
        If it is damaged before its last line.
    """
    path = Path(path)
    with path.open("r+b", buffering=0) as file, JournalReader(path) as reader:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OwnerAliveError(f"{path.name} is in use; its session still lives") from None
        summary = _summary(reader)
        if reader.header is not None and reader.owner.alive():
            raise OwnerAliveError(
                f"{path.name} belongs to process {reader.owner.pid} on {reader.owner.host}, "
                "which still lives; end that session first"
            )
        if not summary.start:
            path.unlink()
            sync_directory(path.parent)
            return None
        file.truncate(reader.offset)
        file.seek(reader.offset)
        if not reader.stopped:
            stop = {
                "uid": str(uuid.uuid4()),
                "time": max(time.time(), summary.last_time),
                "run_start": summary.start,
                "exit_status": "abort",
                "reason": f"crash: {reason}",
                "num_events": dict(summary.events),
            }
            file.write(encode("stop", stop))
        os.fsync(file.fileno())
        final = path.with_name(f"{stem(path)}{CLOSED_SUFFIX}")
        path.rename(final)
        reserve_path(path.parent, stem(path)).unlink(missing_ok=True)
        sync_directory(path.parent)
    logger.warning("closed the journal of run %s: %s", summary.start, reason)
    return Closed(final, summary.start, dict(summary.events))


@dataclass
class _Summary:
    start: str
    events: Counter[str]
    last_time: float


def _summary(reader: JournalReader) -> _Summary:
    summary = _Summary("", Counter(), 0.0)
    streams: dict[str, str] = {}
    while documents := reader.read():
        for name, doc in documents:
            if name == "start":
                summary.start = doc["uid"]
            elif name == "descriptor":
                streams[doc["uid"]] = doc.get("name", "primary")
                summary.events.setdefault(streams[doc["uid"]], 0)
            elif name == "event":
                summary.events[streams[doc["descriptor"]]] += 1
            elif name == "event_page":
                summary.events[streams[doc["descriptor"]]] += len(doc["seq_num"])
            times = doc.get("time", 0.0)
            latest = max(times, default=0.0) if isinstance(times, list) else float(times)
            summary.last_time = max(summary.last_time, latest)
    return summary


def recover(directory: Path | str) -> list[Closed]:
    """Close every journal whose owner is dead; those of live sessions are left alone.

    A damaged one is left as it is, and told in the log: it must not keep the others open.
    """
    closed = []
    for path in journals(directory):
        try:
            if not is_open(path) or not is_abandoned(path):
                continue
            done = close_journal(path, "the session ended without closing the run")
        except (OwnerAliveError, FileNotFoundError):
            continue  # another process was faster
        except JournalDamagedError as error:
            logger.error("a journal of a dead session stays open: %s", error)  # noqa: TRY400 - the message says all
            continue
        if done is not None:
            closed.append(done)
    return closed
