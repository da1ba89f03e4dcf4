"""Samples and their mounts in the ledger: which frame positions are in, and what it is worth."""

import sqlite3
import time
from typing import Literal

from nucleation_bluesky.ledger.database import Database
from nucleation_bluesky.ledger.errors import (
    LedgerError,
    UnknownSampleError,
    UnregisteredMountError,
)
from nucleation_bluesky.ledger.records import Mount, Registration
from nucleation_bluesky.ledger.schema import MountKind


def _known(connection: sqlite3.Connection, sample: str) -> bool:
    found = connection.execute("SELECT 1 FROM samples WHERE sample = ?", (sample,)).fetchone()
    return found is not None


def _mount(row: tuple) -> Mount:
    return Mount(row[0], row[1], row[2], MountKind(row[3]), row[4], Registration(*row[5:]))


def add_sample(db: Database, sample: str, note: str) -> None:
    """Add a sample; see `Ledger.add_sample`."""
    if not sample.strip():
        raise LedgerError("a sample needs a name")
    with db.transaction() as connection:
        if not _known(connection, sample):
            connection.execute("INSERT INTO samples VALUES (?, ?, ?)", (sample, time.time(), note))


def add_mount(
    db: Database, sample: str, registration: Registration | Literal["new_area"] | None
) -> int:
    """Record a mount and return its epoch; see `Ledger.mount`."""
    if isinstance(registration, str) and registration != "new_area":
        raise LedgerError(f"registration is a Registration or 'new_area', not {registration!r}")
    with db.transaction() as connection:
        if not _known(connection, sample):
            raise UnknownSampleError(f"sample '{sample}' is not in the ledger; add it first")
        last = connection.execute(
            "SELECT epoch, area FROM mounts WHERE sample = ? ORDER BY epoch DESC LIMIT 1", (sample,)
        ).fetchone()
        epoch, area = (last[0] + 1, last[1]) if last else (1, 1)
        place, kind = Registration(0.0, 0.0), MountKind.UNREGISTERED
        if isinstance(registration, Registration):
            place, kind = registration, MountKind.REGISTERED
        elif registration == "new_area":
            kind, area = MountKind.NEW_AREA, area + (1 if last else 0)
        connection.execute(
            "INSERT INTO mounts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(sample, epoch, time.time(), kind.value, area),
                *(place.dx, place.dy, place.angle, place.uncertainty),
            ),
        )
    return epoch


def mounts(db: Database, sample: str) -> list[Mount]:
    """All mounts of a sample, oldest first."""
    rows = db.query("SELECT * FROM mounts WHERE sample = ? ORDER BY epoch", sample)
    return [_mount(row) for row in rows]


def present_mount(db: Database, sample: str, epoch: int | None) -> Mount:
    """Return the last mount of a sample; see `Ledger.current_mount`."""
    rows = db.query("SELECT * FROM mounts WHERE sample = ? ORDER BY epoch DESC LIMIT 1", sample)
    if not rows:
        raise UnknownSampleError(
            f"sample '{sample}' has no mount in the ledger; add the sample and mount it first"
        )
    mount = _mount(rows[0])
    if epoch is not None and epoch != mount.epoch:
        raise UnknownSampleError(
            f"sample '{sample}' is at mount {mount.epoch}, not {epoch}: positions of mount "
            f"{epoch} mean nothing now; start a session with the present mount"
        )
    if mount.kind is MountKind.UNREGISTERED:
        earlier = db.query(
            "SELECT count(*) FROM exposures WHERE sample = ? AND epoch < ?", sample, mount.epoch
        )[0][0]
        if earlier:
            raise UnregisteredMountError(
                f"sample '{sample}' has {earlier} exposures from earlier mounts, and where "
                f"they lie in mount {mount.epoch} is not known; mount it with a registration "
                "(dx, dy, angle, uncertainty) or declare a new area"
            )
    return mount
