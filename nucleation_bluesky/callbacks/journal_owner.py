"""Which process owns a file, and whether it still lives."""

import os
import socket
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil


@lru_cache(maxsize=1)
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def _start_mark(pid: int) -> str:
    """Something that differs between two processes that had the same pid."""
    try:  # ticks since boot do not move when the wall clock is set
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
        return f"ticks:{stat.rpartition(')')[2].split()[19]}"
    except (OSError, IndexError):
        return f"time:{psutil.Process(pid).create_time():.1f}"


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
        return cls(socket.gethostname(), _boot_id(), pid, _start_mark(pid))

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
        if self.boot != _boot_id():
            return False
        try:
            if psutil.Process(self.pid).status() == psutil.STATUS_ZOMBIE:
                return False
            return _start_mark(self.pid) == self.start
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True
