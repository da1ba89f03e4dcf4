"""The documents of a run that is made from landings of a foreign file."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import event_model
import numpy as np

from nucleation_bluesky.contract.documents import (
    FILM_ROLES,
    FILM_STREAM,
    PRIMARY_STREAM,
    SCHEMA_VERSION,
    SECCM_ROLES,
    START_KEY,
)
from nucleation_bluesky.contract.enums import Termination
from nucleation_bluesky.contract.files import waveform_path
from nucleation_bluesky.storage.ingest_documents import Document, external_key, resource
from nucleation_bluesky.storage.result_files import package_version
from nucleation_bluesky.storage.seccm_data import Landing, LandingSet

CHANNEL_ROLES = ("potential", "current", "z", "step", "sample_time")
INTEGERS = frozenset(
    (
        *("site", "row", "col", "condition", "repeat", "termination", "n_samples", "n_post"),
        *("contact", "contact_index", "false_contacts", "film_first", "film_count"),
    )
)


@dataclass(frozen=True)
class FilmFile:
    """A file of frames: path, dataset paths in it, shape (n, y, x) and type."""

    path: Path
    frames: str
    timestamps: str
    shape: tuple[int, int, int]
    dtype: str


@dataclass(frozen=True)
class SeccmRecording:
    """Where the arrays of a foreign file were written.

    Parameters
    ----------
    waveforms : Path
        File of the waveforms, one row per landing.
    width : int
        Samples per row.
    channels : mapping of str to str
        Channels in that file and their units; those that are roles of a landing and others.
    film : FilmFile or None
        Of the one landing that was filmed.
    """

    waveforms: Path
    width: int
    channels: Mapping[str, str]
    film: FilmFile | None = None


@dataclass(frozen=True)
class Origin:
    """Where the landings came from: recorded in the start document."""

    format: str
    file: str
    sha256: str
    technique: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    clock_offset: float | None = None


def seccm_documents(
    source: LandingSet,
    uid: str,
    recording: SeccmRecording,
    origin: Origin,
    *,
    sample: str | None = None,
    pixel_size: float | None = None,
) -> Iterator[Document]:
    """Yield start, landings, film and stop.

    Parameters
    ----------
    source : LandingSet
        The landings.
    uid : str
        Of the run.
    recording : SeccmRecording
        What was written.
    origin : Origin
        The file.
    sample : str or None
        Sample identifier instead of the file's own.
    pixel_size : float or None
        Of the film, m.
    """
    values = _primary_values(source.landings, recording)
    run = event_model.compose_run(
        uid=uid, metadata=_start(source, values, recording, origin, sample, pixel_size)
    )
    yield "start", dict(run.start_doc)
    yield from _primary(run, values, recording)
    if recording.film is not None:
        yield from _film(run, recording.film)
    yield "stop", dict(run.compose_stop(exit_status="success"))


def _start(
    source: LandingSet,
    values: Mapping[str, np.ndarray],
    recording: SeccmRecording,
    origin: Origin,
    sample: str | None,
    pixel_size: float | None,
) -> dict[str, Any]:
    attributes = dict(origin.attributes)
    roles = [*values, *(c for c in CHANNEL_ROLES if c in recording.channels)]
    if recording.film is not None:
        roles += ["frames", "frame_time"]
    name = sample or str(attributes.pop("sample", ""))
    block: dict[str, Any] = {
        "schema": SCHEMA_VERSION,
        "technique": f"seccm-{origin.technique}",
        "family": "seccm",
        "roles": {role: role for role in roles},
        "sample": name,
        "reference_scale": source.reference_scale,
        "program": None,
        "conditions": [],
        "camera": None if pixel_size is None else {"pixel_size": pixel_size},
        "ingested": {
            "format": origin.format,
            "file": origin.file,
            "sha256": origin.sha256,
            "software": package_version(),
            "technique": origin.technique,
            "attributes": attributes,
            "clock_offset": origin.clock_offset,
            "footprint_area": source.landings[0].footprint_area if source.landings else None,
        },
    }
    return {
        "plan_name": "ingest",
        "sample": name,
        "num_points": len(source.landings),
        START_KEY: block,
    }


def _primary_values(
    landings: Sequence[Landing], recording: SeccmRecording
) -> dict[str, np.ndarray]:
    """Values of the primary stream's internal data keys by role, first axis landings."""
    traces = [landing.trace for landing in landings]
    filmed = [landing.movie is not None and recording.film is not None for landing in landings]
    known = {member.label: int(member) for member in Termination}
    values: dict[str, Any] = {
        "x": [landing.x for landing in landings],
        "y": [landing.y for landing in landings],
        "site": [landing.site for landing in landings],
        "termination": [known.get(landing.termination, 0) for landing in landings],
        "n_samples": [len(trace) for trace in traces],
        "n_post": [0] * len(landings),
        "stop_bias": [_last(trace.potential) for trace in traces],
        "stop_current": [_last(trace.current) for trace in traces],
        "charge": [_last(trace.in_program().finite().charge(), 0.0) for trace in traces],
        "start_ticks": [_first(trace.time) for trace in traces],
        "duration": [float(t.time[-1] - t.time[0]) if len(t) else 0.0 for t in traces],
        "sample_period": [trace.period for trace in traces],
        "contact": [
            -1 if landing.contact is None else int(landing.contact) for landing in landings
        ],
        "contact_index": [_contact_index(landing) for landing in landings],
        "contact_z": [landing.contact_z for landing in landings],
        "film_first": [0 if one else -1 for one in filmed],
        "film_count": [recording.film.shape[0] if one and recording.film else 0 for one in filmed],
    }
    if any(landing.row >= 0 for landing in landings):
        values["row"] = [landing.row for landing in landings]
        values["col"] = [landing.col for landing in landings]
    return {
        role: np.asarray(column, dtype=np.int64 if role in INTEGERS else float)
        for role, column in values.items()
    }


def _last(values: np.ndarray, default: float = float("nan")) -> float:
    return float(values[-1]) if len(values) else default


def _first(values: np.ndarray) -> float:
    return float(values[0]) if len(values) else 0.0


def _contact_index(landing: Landing) -> int:
    if landing.contact_time is None:
        return -1
    return int(np.searchsorted(landing.trace.time, landing.contact_time))


def _primary(
    run: event_model.ComposeRunBundle,
    values: Mapping[str, np.ndarray],
    recording: SeccmRecording,
) -> Iterator[Document]:
    keys: dict[str, dict[str, Any]] = {}
    for role in values:
        kind = ("integer", "<i8") if role in INTEGERS else ("number", "<f8")
        keys[role] = {
            "source": f"file:{role}",
            "dtype": kind[0],
            "dtype_numpy": kind[1],
            "shape": [],
            "units": SECCM_ROLES[role][0],
        }
    shape = [1, recording.width]
    for channel, unit in recording.channels.items():
        number = "<f8" if channel == "sample_time" else "<f4"
        keys[channel] = external_key(unit, shape, f"file:{channel}", number)
    stream = run.compose_descriptor(
        name=PRIMARY_STREAM,
        data_keys=keys,
        object_keys={"file": list(keys)},  # type: ignore[arg-type]
    )
    yield "descriptor", dict(stream.descriptor_doc)
    now, n = time.time(), len(values["site"])
    for k in range(n):
        data = {role: column[k].item() for role, column in values.items()}
        event = stream.compose_event(
            data=data, timestamps=dict.fromkeys(data, now), time=now, validate=k == 0
        )
        yield "event", dict(event)
    for channel in recording.channels:
        path = waveform_path(channel)
        bundle = resource(recording.waveforms, channel, path, (1, recording.width))
        yield from _rows(run, stream, bundle, n)


def _rows(run: Any, stream: Any, bundle: Any, n: int) -> Iterator[Document]:
    yield "stream_resource", {**bundle.stream_resource_doc, "run_start": run.start_doc["uid"]}
    datum = bundle.compose_stream_datum(
        indices=event_model.StreamRange(start=0, stop=n),
        seq_nums=event_model.StreamRange(start=1, stop=n + 1),
        descriptor=stream.descriptor_doc,
    )
    yield "stream_datum", dict(datum)


def _film(run: event_model.ComposeRunBundle, film: FilmFile) -> Iterator[Document]:
    n, height, width = film.shape
    keys = {
        "frames": external_key(
            FILM_ROLES["frames"][0], [1, height, width], "file:frames", film.dtype
        ),
        "frame_time": external_key(FILM_ROLES["frame_time"][0], [1], "file:frame_time", "<f8"),
    }
    stream = run.compose_descriptor(
        name=FILM_STREAM,
        data_keys=keys,
        object_keys={"file": list(keys)},  # type: ignore[arg-type]
    )
    yield "descriptor", dict(stream.descriptor_doc)
    frames = resource(film.path, "frames", film.frames, (1, height, width))
    yield from _rows(run, stream, frames, n)
    yield from _rows(run, stream, resource(film.path, "frame_time", film.timestamps, (n,)), n)
