"""Segments whose writer was killed."""

import contextlib
import os
from pathlib import Path

import h5py

from nucleation_bluesky.segments.growing_file import SegmentError


def repair(path: str | Path) -> bool:
    """Make a segment whose writer was killed openable by any HDF5 reader.

    The flushed content is copied to a new file, which then replaces the old one. Never call it on
    a segment that is still being written.

    Parameters
    ----------
    path : str or Path
        The segment.

    Returns
    -------
    bool
        True if it was repaired, False if nothing was wrong.

    Raises
    ------
    SegmentError
        If the file cannot be read at all.
    """
    path = Path(path)
    with contextlib.suppress(OSError), h5py.File(path, "r"):
        return False
    temporary = path.with_name(f".{path.name}.{os.getpid()}.repair")
    try:
        with (
            h5py.File(path, "r", libver="latest", swmr=True) as source,
            h5py.File(temporary, "w", libver="latest") as target,
        ):
            target.attrs.update(source.attrs)
            for name in source:
                source.copy(name, target)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise SegmentError(f"{path} cannot be repaired: {error}") from error
    return True
