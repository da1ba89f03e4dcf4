"""What a machine does to a session: clocks that jump, disks that fill up, stalls."""

import contextlib
import itertools
import mmap
import os
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

CLOCK = "NUCLEATION_FAULT_CLOCK"  # file that says how far off the wall clock of a process is
_NUMBER = struct.Struct("d")
TICK = 0.01  # s
STALL = 0.02  # s beyond a tick that count


def make_clock(path: Path) -> dict[str, str]:
    """Make a wall clock that can be set; returns the variable for processes that live by it."""
    path.write_bytes(_NUMBER.pack(0.0))
    return {CLOCK: str(path)}


def jump(path: Path, seconds: float) -> None:
    """Set the wall clock of all processes that live by this file."""
    with path.open("r+b") as file:
        file.write(_NUMBER.pack(seconds))


def live_by_clock() -> None:
    """Have `time.time` of this process follow the file, if one is named."""
    if (name := os.environ.get(CLOCK)) is None:
        return
    with Path(name).open("rb") as file:
        offset = mmap.mmap(file.fileno(), _NUMBER.size, prot=mmap.PROT_READ)
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + _NUMBER.unpack_from(offset)[0]
    time.time_ns = lambda: real_ns() + int(1e9 * _NUMBER.unpack_from(offset)[0])


class SmallDisk:
    """A file system of its own that can be filled to the last byte; None of it where not allowed.

    Parameters
    ----------
    path : Path
        Where it is mounted.
    size : int
        Megabytes.
    """

    def __init__(self, path: Path, size: int = 800) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}m,mode=700", "tmpfs", str(path)]
        try:
            done = subprocess.run(command, capture_output=True, timeout=20, check=False)
            self.mounted = done.returncode == 0
        except OSError:
            self.mounted = False
        self._ballast = path / ".ballast"

    def fill(self) -> None:
        """Leave no space."""
        fd = os.open(self._ballast, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            for block in (1 << 20, 1 << 16, 1 << 12):
                with contextlib.suppress(OSError):
                    while True:
                        os.posix_fallocate(fd, os.fstat(fd).st_size, block)
        finally:
            os.close(fd)

    def free(self) -> None:
        """Give the space back."""
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount it."""
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.path)], timeout=20, check=False)
            self.mounted = False


class Canary:
    """Notices when this machine lets a process of ours wait: that shifts deadlines.

    Attributes
    ----------
    watched : callable or None
        Returns the process whose own waits for a processor are to be known: the controller's.
    """

    def __init__(self) -> None:
        self.stalls: list[tuple[float, float]] = []  # end (monotonic) and seconds
        self.waits: list[tuple[float, int, float]] = []  # when, process, s waited since its start
        self.watched: Callable[[], int] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="canary", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        before = time.monotonic()
        while not self._stop.is_set():
            time.sleep(TICK)
            now = time.monotonic()
            if now - before > TICK + STALL:
                self.stalls.append((now, now - before - TICK))
            before = now
            if self.watched is not None:
                self._look(now, self.watched())

    def _look(self, now: float, pid: int) -> None:
        try:  # Linux: ns on a processor, ns ready for one, of the main thread
            told = Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()
        except OSError:
            return
        self.waits.append((now, pid, int(told[1]) * 1e-9))

    def waited(self, begin: float, end: float) -> float:
        """Seconds for which the watched process was ready and had no processor."""
        seen = list(self.waits)
        first = max((k for k, w in enumerate(seen) if w[0] <= begin), default=0)
        last = min((k for k, w in enumerate(seen) if w[0] >= end), default=len(seen) - 1)
        return sum(
            b[2] - a[2] for a, b in itertools.pairwise(seen[first : last + 1]) if a[1] == b[1]
        )

    def longest(self, begin: float, end: float) -> float:
        """Longest stall that touches an interval, s."""
        return max((s for at, s in list(self.stalls) if at > begin and at - s < end), default=0.0)

    def close(self) -> None:
        """End it."""
        self._stop.set()
        self._thread.join(5)


@contextlib.contextmanager
def scratch(prefix: str) -> Iterator[Path]:
    """A directory that may still be written to by what is just ending."""
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name:
        yield Path(name)
