"""Clear up after a dead session: its claims, its journals, what Tiled misses, what can go on."""

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from nucleation_bluesky.callbacks.journal_reader import (
    JournalDamagedError,
    JournalReader,
    is_open,
    journals,
    read_journal,
)
from nucleation_bluesky.callbacks.journal_recovery import recover as close_journals
from nucleation_bluesky.contract.documents import START_KEY
from nucleation_bluesky.ledger.ledger import Ledger
from nucleation_bluesky.storage.courier_files import JOURNAL_DIR, CourierFiles


@dataclass(frozen=True)
class Resumable:
    """A run that did not reach its last site."""

    uid: str
    plan: str
    done: int
    total: int


@dataclass
class Recovery:
    """What was found and done.

    Parameters
    ----------
    burned : list of str
        Sites (tokens) claimed by dead sessions; they are never used again.
    closed : list of str
        Runs whose journals were closed.
    alive : list of str
        Runs of living sessions; left alone.
    resumable : list of Resumable
        Runs that can be resumed.
    undelivered : list of str
        Journals that Tiled does not have yet.
    damaged : list of str
        Journals that cannot be read to their end, with the reason.
    """

    burned: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    alive: list[str] = field(default_factory=list)
    resumable: list[Resumable] = field(default_factory=list)
    undelivered: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


def recover(data: Path) -> Recovery:
    """Burn claims and close journals whose owners are dead; never those of a living session.

    Parameters
    ----------
    data : Path
        Data directory.

    Raises
    ------
    LedgerError
        If the ledger cannot be opened.
    """
    found = Recovery()
    ledger = data / "ledger.sqlite"
    if ledger.exists():
        with Ledger(ledger) as opened:
            found.burned = [exposure.token for exposure in opened.recover()]
    directory = data / JOURNAL_DIR
    if not directory.is_dir():
        return found
    found.closed = [closed.run for closed in close_journals(directory)]
    files = CourierFiles(directory)
    for path in journals(directory):
        try:
            summary = _read(path)
        except JournalDamagedError as error:
            found.damaged.append(str(error))
            continue
        if summary is not None and is_open(path):
            found.alive.append(summary.uid)
        elif summary is not None and summary.done < summary.total:
            found.resumable.append(summary)
        if not files.delivered(path):
            found.undelivered.append(path.name)
    found.resumable = _not_resumed(found.resumable, directory)
    return found


def _read(path: Path) -> Resumable | None:
    """Plan, events and planned sites of a nucleation run; None for any other."""
    start, primary, done = None, set(), 0
    for name, doc in read_journal(path):
        if name == "start":
            start = doc
        elif name == "descriptor" and doc.get("name") == "primary":
            primary.add(doc["uid"])
        elif name == "event" and doc["descriptor"] in primary:
            done += 1
    if start is None or START_KEY not in start:
        return None
    total = int(start.get("num_points") or 0)
    return Resumable(start["uid"], str(start.get("plan_name", "")), done, total)


def _not_resumed(runs: list[Resumable], directory: Path) -> list[Resumable]:
    """Leave out what a later run has continued already."""
    continued = set()
    for path in journals(directory):
        with suppress(JournalDamagedError), JournalReader(path) as reader:
            for name, doc in reader.read(65_536):
                if name == "start":
                    continued.add((doc.get(START_KEY) or {}).get("continues"))
    return [run for run in runs if run.uid not in continued]
