"""What every file that grows while others read it needs: a name, room on its disk, an end."""

import contextlib
import os
import re
import shutil
from pathlib import Path

import h5py

RESERVE = 64 * 2**20  # bytes that must stay free on the disk
SPARE = 4 * 2**20  # bytes beside a row, for what HDF5 keeps in memory until it flushes
_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")


class SegmentError(OSError):
    """A file cannot be made, extended or read; the message says what to do."""


def check_name(name: str, what: str) -> str:
    """Return ``name`` if it is safe as a file name.

    Raises
    ------
    SegmentError
        If it is empty, longer than 100 characters or holds others than letters, digits, '-', '_'.
    """
    if not _NAME.fullmatch(name):
        raise SegmentError(
            f"{what} {name[:40]!r} is not usable: 1 to 100 letters, digits, '-' or '_'"
        )
    return name


def check_directory(directory: str | Path, needed: int = 0) -> Path:
    """Return the resolved directory if files can be written there.

    Parameters
    ----------
    directory : str or Path
        Absolute path.
    needed : int
        Bytes about to be written.

    Raises
    ------
    SegmentError
        If the path is relative, absent, not writable or its disk is nearly full.
    """
    path = Path(directory)
    if not str(directory) or not path.is_absolute():
        raise SegmentError(f"the file directory {str(directory)!r} must be an absolute path")
    if not path.is_dir():
        raise SegmentError(f"the directory {path} does not exist: create it first")
    if not os.access(path, os.W_OK | os.X_OK):
        raise SegmentError(f"the directory {path} is not writable")
    free = shutil.disk_usage(path).free
    if free < needed + RESERVE:
        raise SegmentError(
            f"the disk of {path} is nearly full: {free / 2**20:.0f} MiB free, "
            f"{(needed + RESERVE) / 2**20:.0f} MiB needed"
        )
    return path.resolve()


class DiskReserve:
    """Space set aside for a growing HDF5 file, given back to it when the disk is full.

    HDF5 cannot close a file that it could not flush; it keeps half of it, and the process crashes
    some time later. With the space given back, it can.

    Parameters
    ----------
    path : Path
        Of the growing file.
    size : int
        Bytes: what is written at a time, and `SPARE`.

    Raises
    ------
    SegmentError
        If the disk is full already.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._size = size
        self._directory = path.parent
        held = path.with_name(f".{path.name}.{os.getpid()}.reserve")
        self._fd: int | None = os.open(held, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        held.unlink()  # the space is freed with the last handle, however this process ends
        try:
            os.posix_fallocate(self._fd, 0, size)
        except OSError as error:
            self.release()
            raise SegmentError(f"the disk of {path} is full: {error.strerror}") from error

    def require_room(self) -> None:
        """Refuse to write while there is no more room than the reserve itself.

        Raises
        ------
        SegmentError
            If the disk is full; the open file is as it was.
        """
        free = shutil.disk_usage(self._directory).free
        if free < self._size:
            raise SegmentError(
                f"the disk of {self._directory} is full ({free / 2**20:.1f} MiB free): free space"
            )

    def release(self) -> None:
        """Give the space back."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def close_file(file: h5py.File, reserve: DiskReserve, datasets: dict[str, h5py.Dataset]) -> None:
    """Close a file that grew, and its datasets, also on a full disk."""
    reserve.release()
    # a full disk must not hide its cause; what could not be flushed before can be now
    with contextlib.suppress(OSError, RuntimeError):
        file.flush()
    datasets.clear()
    with contextlib.suppress(OSError, RuntimeError):
        file.close()


def publish_file(temporary: Path, final: Path) -> None:
    """Give a finished or growing file its name; refuses to replace another.

    Raises
    ------
    SegmentError
        If ``final`` exists.
    """
    try:
        try:
            os.link(temporary, final)  # fails if it exists, unlike rename
        except FileExistsError:
            raise
        except OSError:  # file system without hard links
            if final.exists():
                raise FileExistsError(final) from None
            temporary.rename(final)
        else:
            temporary.unlink()
    except FileExistsError:
        raise SegmentError(
            f"{final} exists already and is not overwritten: choose another name"
        ) from None
