"""Announcing films: frames, their times and numbers, as external data of one stream."""

from pathlib import Path
from typing import Any

import h5py

from nucleation_bluesky.contract.camera import (
    FRAMES_DATASET,
    TIMESTAMP_DATASET,
    UNIQUE_ID_DATASET,
)
from nucleation_bluesky.contract.documents import FILM_ROLES
from nucleation_bluesky.devices._assets import announce_file
from nucleation_bluesky.devices.errors import FilmError, PutRefusedError

DATASETS = {
    "frames": FRAMES_DATASET,
    "frame_time": TIMESTAMP_DATASET,
    "frame_id": UNIQUE_ID_DATASET,
}
TYPES = {"frames": "<u2", "frame_time": "<f8", "frame_id": "<i4"}
TIMES_PER_CHUNK = 1024


def announce_frames(
    name: str, path: Path, first: int, frames: int, shape: tuple[int, int]
) -> list[tuple[str, dict]]:
    """Return the stream documents of one film.

    Parameters
    ----------
    name : str
        Of the camera.
    path : Path
        The film's file on this machine.
    first, frames : int
        Index of its first frame in the run's stream, and how many there are.
    shape : tuple of int
        Rows and columns of a frame.
    """
    documents: list[tuple[str, dict]] = []
    for role, dataset in DATASETS.items():
        chunk = (1, *shape) if role == "frames" else (TIMES_PER_CHUNK,)
        rows = range(first, first + frames)
        documents += announce_file(f"{name}_{role}", path, dataset, chunk, rows)
    return documents


def _dataset(file: h5py.File, path: str) -> h5py.Dataset:
    found = file[path]
    if not isinstance(found, h5py.Dataset):
        raise KeyError(f"{path} is no dataset")
    return found


def film_times(path: Path, frames: int, shape: tuple[int, int]) -> tuple[float, float]:
    """First and last time stamp of a film, s since 1990-01-01.

    Parameters
    ----------
    path : Path
        The film's file on this machine.
    frames : int
        How many it must hold.
    shape : tuple of int
        Rows and columns of a frame.

    Raises
    ------
    FilmError
        If the file cannot be read here.
    PutRefusedError
        If it holds other frames.
    """
    try:
        with h5py.File(path, "r", libver="latest", swmr=True) as file:
            found = tuple(_dataset(file, FRAMES_DATASET).shape)
            stamps = _dataset(file, TIMESTAMP_DATASET)
            first, last = float(stamps[0]), float(stamps[frames - 1])
    except (OSError, KeyError, IndexError, ValueError) as exc:
        raise FilmError(
            f"the film {path} cannot be read here ({exc}); check the mapping between the "
            "camera's directory and ours"
        ) from exc
    if found != (frames, *shape):
        raise PutRefusedError(
            f"the film {path} holds frames of shape {found}, expected {(frames, *shape)}"
        )
    return first, last


def describe_frames(name: str, source: str, shape: tuple[int, int]) -> dict[str, Any]:
    """Return the data keys of the stream of frames."""
    keys: dict[str, Any] = {}
    for role, (unit, _) in FILM_ROLES.items():
        keys[f"{name}_{role}"] = {
            "source": source,
            "dtype": "array",
            "shape": [1, *shape] if role == "frames" else [1],
            "dtype_numpy": TYPES[role],
            "external": "STREAM:",
            **({"units": unit} if unit else {}),
        }
    return keys
