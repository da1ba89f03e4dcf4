"""Identity of a process: what tells it from an earlier one that had the same number."""

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


def runs(pid: int, boot: str, start: str) -> bool:
    """Tell whether the process of this machine with that identity still runs."""
    return boot == boot_id() and process_start(pid) == start
