"""Room on the disk, looked at before anything moves."""

import shutil
from dataclasses import dataclass
from pathlib import Path

MARGIN = 2.0  # a map's worst case fits so many times
RESERVE = 500_000_000  # bytes that stay free for journal, ledger and catalogue


class DiskNearlyFullError(OSError):
    """There is not enough room for what is about to be recorded."""


@dataclass(frozen=True)
class DiskReport:
    """Free bytes of a file system, and whether they suffice."""

    path: Path
    free: int
    needed: int

    @property
    def ok(self) -> bool:
        """Whether there is enough room."""
        return self.free >= self.needed


def map_bytes(sites: int, max_samples: int, channels: int = 3, itemsize: int = 4) -> int:
    """Worst-case size of a map's waveform files and documents, bytes."""
    return sites * (channels * max_samples * itemsize + 8_000)


def disk_free(path: Path | str, needed: int) -> DiskReport:
    """Compare the free space at a path with ``MARGIN * needed`` and a reserve.

    Parameters
    ----------
    path : Path
        File or directory; it need not exist yet.
    needed : int
        Worst-case size of what is about to be written, bytes.
    """
    place = Path(path).absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    return DiskReport(place, free, int(MARGIN * needed) + RESERVE)


def disk_free_ok(path: Path | str, needed: int) -> bool:
    """Tell whether there is room for ``needed`` bytes (see `disk_free`)."""
    return disk_free(path, needed).ok


def require_disk(path: Path | str, needed: int) -> None:
    """Refuse to begin when the disk is nearly full.

    Raises
    ------
    DiskNearlyFullError
        If there is no room.
    """
    report = disk_free(path, needed)
    if not report.ok:
        raise DiskNearlyFullError(
            f"the disk of {report.path} has {report.free / 1e9:.1f} GB free, "
            f"{report.needed / 1e9:.1f} GB are needed; free space or choose another data directory"
        )
