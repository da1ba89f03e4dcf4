"""Small files the courier leaves next to the journals: delivered, quarantined, status."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nucleation_bluesky.callbacks.journal_reader import stem
from nucleation_bluesky.storage.server_files import Users, read_json, write_json

JOURNAL_DIR = "journal"  # of the data directory
EMBEDDED = "embedded"  # name of the target that is this data directory's own server


@dataclass(frozen=True)
class CourierFiles:
    """Paths in the journal directory.

    Parameters
    ----------
    directory : Path
        Where the journals lie.
    target : str
        Name of the Tiled the courier delivers to: ``embedded`` or an address.
    """

    directory: Path
    target: str = EMBEDDED

    @property
    def users(self) -> Users:
        """Sessions that need a courier."""
        return Users(self.directory / ".users")

    @property
    def lock(self) -> Path:
        """Held by the one courier at work."""
        return self.directory / ".courier.lock"

    def delivered(self, journal: Path) -> bool:
        """Tell whether a journal's run is in this target, verified."""
        found = read_json(self.directory / f"{stem(journal)}.delivered")
        return bool(found) and found.get("target") == self.target

    def mark_delivered(self, journal: Path, rows: Mapping[str, int]) -> None:
        """Note that a journal's run was delivered and verified."""
        content = {"target": self.target, "rows": dict(rows), "time": time.time()}
        write_json(self.directory / f"{stem(journal)}.delivered", content)

    def forget_delivery(self, journal: Path) -> None:
        """Have a journal delivered (verified) once more."""
        (self.directory / f"{stem(journal)}.delivered").unlink(missing_ok=True)

    def quarantined(self, journal: Path) -> str | None:
        """Return why a journal is not delivered, or None."""
        found = read_json(self.directory / f"{stem(journal)}.quarantined")
        return str(found.get("reason")) if isinstance(found, dict) else None

    def quarantine(self, journal: Path, reason: str) -> None:
        """Set a journal aside; deleting the reason file has it tried again."""
        write_json(
            self.directory / f"{stem(journal)}.quarantined",
            {"reason": reason, "time": time.time(), "again": "delete this file to try again"},
        )

    def write_status(self, status: Mapping[str, Any]) -> None:
        """Publish what the courier is doing."""
        write_json(
            self.directory / ".courier.json",
            {"pid": os.getpid(), "time": time.time(), "target": self.target, **status},
        )

    def status(self) -> dict[str, Any] | None:
        """Return what the last courier published."""
        return read_json(self.directory / ".courier.json")
