"""Who owns a claim, and whether that owner is still alive."""

import os
import socket
import sqlite3
from dataclasses import dataclass

from nucleation_bluesky.ledger.database import Database
from nucleation_bluesky.ledger.errors import LedgerError
from nucleation_bluesky.ledger.process import boot_id, process_start, runs

DURATION = 60.0  # s; matters to other hosts only, this host asks the process table
_LEASES = "SELECT owner, pid, host, boot, process_start, expiry, released FROM leases"


@dataclass(frozen=True)
class Lease:
    """A process's hold on what it claimed; ``expiry`` in seconds since 1970."""

    owner: str
    pid: int
    host: str
    boot: str
    process_start: str
    expiry: float
    released: bool = False

    def alive(self, now: float) -> bool:
        """Whether the owner may still be at work.

        On this host the process table decides, expiry or not: a stalled owner is still an owner.
        From another host nothing but the expiry is known.
        """
        if self.released:
            return False
        if self.host != socket.gethostname():
            return now < self.expiry
        return runs(self.pid, self.boot, self.process_start)


def _lease(row: tuple) -> Lease:
    return Lease(*row[:6], released=bool(row[6]))


class Leases:
    """The leases in a ledger, and those that this process holds.

    Parameters
    ----------
    db : Database
        The ledger's file.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._held: dict[str, float] = {}  # owner -> expiry

    def every(self) -> list[Lease]:
        """All leases ever taken."""
        return [_lease(row) for row in self._db.query(_LEASES)]

    def renew(
        self, connection: sqlite3.Connection, owner: str, now: float, *, force: bool = False
    ) -> float:
        """Hold or renew a lease within a transaction.

        Parameters
        ----------
        connection : sqlite3.Connection
            The transaction's.
        owner : str
            Name of the owner.
        now : float
            s since 1970.
        force : bool
            Write it although it is far from its expiry.

        Returns
        -------
        float
            Its expiry; to be handed to `keep` once the transaction is committed.

        Raises
        ------
        LedgerError
            If another living process holds the same owner's name.
        """
        expiry = self._held.get(owner, 0.0)
        if not force and expiry > now + DURATION / 2:
            return expiry
        row = connection.execute(f"{_LEASES} WHERE owner = ?", (owner,)).fetchone()
        mine = (os.getpid(), socket.gethostname(), boot_id(), process_start(os.getpid()) or "")
        if row and row[1:5] != mine and _lease(row).alive(now):
            raise LedgerError(
                f"session '{owner}' is held by process {row[1]} on {row[2]}; end that one or use "
                "another session name"
            )
        connection.execute(
            "INSERT INTO leases VALUES (?, ?, ?, ?, ?, ?, 0) ON CONFLICT (owner) DO UPDATE SET "
            "pid = excluded.pid, host = excluded.host, boot = excluded.boot, "
            "process_start = excluded.process_start, expiry = excluded.expiry, released = 0",
            (owner, *mine, now + DURATION),
        )
        return now + DURATION

    def keep(self, owner: str, expiry: float) -> None:
        """Remember a lease whose transaction is committed: a refused claim takes it back."""
        self._held[owner] = expiry

    def release(self, owner: str) -> None:
        """Give a lease of this process up."""
        with self._db.transaction() as connection:
            connection.execute(
                "UPDATE leases SET released = 1 WHERE owner = ? AND pid = ?", (owner, os.getpid())
            )
        self._held.pop(owner, None)
