"""Which process owns a file, and whether it still lives."""

import os
import socket
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from nucleation_bluesky.ledger.process import boot_id, process_start, runs

_MARK = "ticks:"  # kept in the files of earlier versions


@dataclass(frozen=True)
class Owner:
    """Identity of a process: host, boot, pid and start of the process."""

    host: str
    boot: str
    pid: int
    start: str

    @classmethod
    def current(cls) -> "Owner":
        """Identity of this process."""
        return cls.of(os.getpid())

    @classmethod
    def of(cls, pid: int) -> "Owner":
        """Identity of a process on this machine.

        Raises
        ------
        psutil.NoSuchProcess
            If there is none.
        """
        start = process_start(pid)
        if start is None:
            raise psutil.NoSuchProcess(pid)
        return cls(socket.gethostname(), boot_id(), pid, f"{_MARK}{start}")

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> "Owner":
        """Read back what `to_dict` gave.

        Raises
        ------
        ValueError
            If a field is missing.
        """
        try:
            return cls(
                str(found["host"]), str(found["boot"]), int(found["pid"]), str(found["start"])
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not the identity of a process: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dictionary."""
        return asdict(self)

    def alive(self) -> bool:
        """Tell whether the process lives; True where this machine cannot know (another host)."""
        if self.host != socket.gethostname():
            return True
        return runs(self.pid, self.boot, self.start.removeprefix(_MARK))
