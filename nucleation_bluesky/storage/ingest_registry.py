"""Runs made from files: one per content, whole or not at all."""

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from nucleation_bluesky.callbacks.journal import Journal
from nucleation_bluesky.callbacks.journal_reader import is_open, journals, read_journal
from nucleation_bluesky.storage.ingest_documents import Document

NAMESPACE = uuid.UUID("5c0f5d0e-6f1e-5d5c-9a39-9f0f6f7a1c55")
MAX_ATTEMPTS = 100


@dataclass(frozen=True)
class Ingested:
    """Where a file went.

    Parameters
    ----------
    uid : str
        The run.
    created : bool
        False if a run of the same content existed already.
    journal : Path
        Its journal.
    """

    uid: str
    created: bool
    journal: Path


def register(
    identity: str,
    documents: Callable[[str], Iterable[Document]],
    *,
    journal_dir: Path,
    session: str = "",
) -> Ingested:
    """Write the documents of a run into the journal, unless this content is there already.

    Parameters
    ----------
    identity : str
        The file's SHA-256, with whatever else makes it this run: its uid follows from it.
    documents : callable
        Writes the run's arrays and returns its documents, given the uid.
    journal_dir : Path
        Directory of the journals.
    session : str
        Identifier of the session, recorded in the journal.

    Raises
    ------
    JournalError, SegmentError
        If journal or waveforms cannot be written.
    """
    journal = Journal(journal_dir, session=session, sync_streams=())
    uid, known = _find_run(journal_dir, identity)
    if known is not None:
        return Ingested(uid, created=False, journal=known)
    for name, doc in documents(uid):
        journal(name, doc)
    written = next(p for p in journals(journal_dir) if uid in p.name)
    return Ingested(uid, created=True, journal=written)


def _find_run(journal_dir: Path, identity: str) -> tuple[str, Path | None]:
    """Uid for this content, and the journal of a complete run of it.

    An attempt that did not finish keeps its uid (its documents may have been delivered), so the
    next one gets another.
    """
    found = journals(journal_dir)
    for attempt in range(MAX_ATTEMPTS):
        uid = str(uuid.uuid5(NAMESPACE, f"{identity}:{attempt}"))
        mine = [p for p in found if uid in p.name]
        if not mine:
            return uid, None
        if not is_open(mine[0]) and _succeeded(mine[0]):
            return uid, mine[0]
    raise RuntimeError(f"{MAX_ATTEMPTS} attempts to ingest this file were cut short")


def _succeeded(path: Path) -> bool:
    statuses = (doc.get("exit_status") for name, doc in read_journal(path) if name == "stop")
    return next(statuses, None) == "success"
