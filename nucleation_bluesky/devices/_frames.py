"""Announcing films: frames, their times and numbers, as external data of one stream."""

from pathlib import Path
from typing import Any

from nucleation_bluesky.contract.camera import (
    FRAMES_DATASET,
    TIMESTAMP_DATASET,
    UNIQUE_ID_DATASET,
)
from nucleation_bluesky.contract.documents import FILM_ROLES
from nucleation_bluesky.devices._assets import announce_file

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
