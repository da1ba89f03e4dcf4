"""Topography images, each a closed file."""

import os
from pathlib import Path

import h5py
import numpy as np

from nucleation_bluesky.contract.files import FILE_FORMAT, FILE_VERSION, TOPOGRAPHY_DATASET
from nucleation_bluesky.contract.pvs import CONTRACT_VERSION
from nucleation_bluesky.segments.growing_file import SegmentError, check_directory, publish_file


def write_topography(
    path: Path, image: np.ndarray, *, x: float, y: float, size: float, ticks: float
) -> None:
    """Write one image (heights in m, row index along +y) as a closed file.

    Parameters
    ----------
    path : Path
        File to make; must not exist.
    image : ndarray, shape (rows, cols)
        Heights, m.
    x, y : float
        Centre, m.
    size : float
        Edge length, m.
    ticks : float
        Controller's monotonic clock at the end of the scan, s.

    Raises
    ------
    SegmentError
        If the file exists or cannot be written.
    """
    if path.exists():
        raise SegmentError(f"{path} exists already and is not overwritten: choose another name")
    check_directory(path.parent, image.size * 4)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with h5py.File(temporary, "w", libver="latest") as file:
            file.attrs.update(format=FILE_FORMAT, version=FILE_VERSION, contract=CONTRACT_VERSION)
            data = file.create_dataset(
                TOPOGRAPHY_DATASET,
                data=np.asarray(image, dtype=np.float32)[np.newaxis],
                chunks=(1, *image.shape),
            )
            data.attrs.update(
                units="m", x=x, y=y, size=size, pixel_size=size / image.shape[1], ticks=ticks
            )
        publish_file(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, SegmentError):
            raise
        raise SegmentError(f"writing {path} failed: {error}") from error
