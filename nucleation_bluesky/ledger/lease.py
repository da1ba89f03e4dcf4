"""Who owns a claim, and whether that owner is still alive."""

import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil


def process_start(pid: int) -> str | None:
    """Identify the start of process ``pid``, None if it does not run (a zombie does not)."""
    try:
        # kernel ticks since boot: unlike a time of day they do not move when the clock is set
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        pass
    if Path("/proc/self/stat").exists():
        return None
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.0f}"
    except psutil.Error:
        return None


@cache
def boot_id() -> str:
    """Identify this boot of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"{psutil.boot_time():.0f}"


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
        return self.boot == boot_id() and process_start(self.pid) == self.process_start
