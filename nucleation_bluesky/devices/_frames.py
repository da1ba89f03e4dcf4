"""Announcing films: frames, their times and numbers, as external data of one stream."""

from pathlib import Path
from typing import Any

from event_model import StreamRange, compose_stream_resource

from nucleation_bluesky.contract.camera import (
    FRAMES_DATASET,
    TIMESTAMP_DATASET,
    UNIQUE_ID_DATASET,
)
from nucleation_bluesky.contract.documents import FILM_ROLES, STREAM_MIMETYPE
from nucleation_bluesky.devices._assets import file_uri

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
    indices = StreamRange(start=first, stop=first + frames)
    for role, dataset in DATASETS.items():
        chunk = (1, *shape) if role == "frames" else (TIMES_PER_CHUNK,)
        bundle = compose_stream_resource(
            mimetype=STREAM_MIMETYPE,
            uri=file_uri(path),
            data_key=f"{name}_{role}",
            parameters={"dataset": dataset, "chunk_shape": chunk},
        )
        datum = bundle.compose_stream_datum(
            indices=indices,
            seq_nums=StreamRange(start=0, stop=0),
            descriptor="",  # type: ignore[arg-type] - the RunEngine fills it in
        )
        documents += [
            ("stream_resource", dict(bundle.stream_resource_doc)),
            ("stream_datum", dict(datum)),
        ]
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
