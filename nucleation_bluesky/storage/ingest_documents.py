"""The documents of a run that is made from a neutral file."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import event_model
import numpy as np

from nucleation_bluesky.analysis.ramps import RampSet, one_value
from nucleation_bluesky.contract.documents import (
    PRIMARY_ROLES,
    PRIMARY_STREAM,
    SCHEMA_VERSION,
    START_KEY,
    STREAM_MIMETYPE,
    TOPOGRAPHY_ROLES,
)
from nucleation_bluesky.contract.enums import Termination
from nucleation_bluesky.contract.files import (
    TOPOGRAPHY_DATASET,
    WAVEFORM_CHANNELS,
    segment_name,
    waveform_path,
)
from nucleation_bluesky.contract.ramp import MAX_SEGMENTS
from nucleation_bluesky.storage.images import Topography
from nucleation_bluesky.storage.neutral import FORMAT, IvzFile
from nucleation_bluesky.storage.result_files import package_version

INTEGERS = frozenset(("site", "row", "col", "termination", "n_samples", "n_post", "trip_index"))
TIME_DATASET = waveform_path("time")
ARRAYS = frozenset(("vertices", "rates"))
COMPLIANCE = (Termination.CURRENT_COMPLIANCE, Termination.HEIGHT_COMPLIANCE)
Document = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Recording:
    """Where the waveforms and images of a file were written.

    Parameters
    ----------
    directory : Path
        Of all files.
    prefix : str
        Of the segments.
    width : int
        Samples per row.
    segments : list of int
        Number of the segment of each site.
    images : mapping of str to Path
        Files of the topographies ``before`` and ``after``.
    time : Path or None
        File of the sample times, where samples are not equally spaced.
    """

    directory: Path
    prefix: str
    width: int
    segments: list[int]
    images: Mapping[str, Path]
    time: Path | None = None


def ingest_documents(
    source: IvzFile, uid: str, recording: Recording, *, sample: str | None = None
) -> Iterator[Document]:
    """Yield start, topography before, ramps, topography after and stop.

    Parameters
    ----------
    source : IvzFile
        The file.
    uid : str
        Of the run.
    recording : Recording
        What `ingest` wrote.
    sample : str or None
        Sample identifier instead of the file's own.
    """
    primary = _primary_values(source.ramps)
    run = event_model.compose_run(
        uid=uid, metadata=_start(source, list(primary), recording, sample)
    )
    yield "start", dict(run.start_doc)
    if source.topographies.before is not None:
        yield from _topography(run, "before", source.topographies.before, recording)
    yield from _primary(run, primary, recording)
    if source.topographies.after is not None:
        yield from _topography(run, "after", source.topographies.after, recording)
    yield "stop", dict(run.compose_stop(exit_status="success"))


def _start(
    source: IvzFile, roles: list[str], recording: Recording, sample: str | None
) -> dict[str, Any]:
    ramps, extra = source.ramps, dict(source.ramps.attrs)
    roles = [*roles, *WAVEFORM_CHANNELS, *([] if recording.time is None else ["sample_time"])]
    if source.topographies.before is not None or source.topographies.after is not None:
        roles += list(TOPOGRAPHY_ROLES)
    limits: dict[str, Any] = {
        "current": ramps.current_compliance if ramps.mode in ("current", "both") else None,
        "height": ramps.height_compliance if ramps.mode in ("height", "both") else None,
    }
    start, stop, rate = (one_value(v) for v in (ramps.bias_start, ramps.bias_stop, ramps.ramp_rate))
    block: dict[str, Any] = {
        "schema": SCHEMA_VERSION,
        "technique": "afm-nucleation-map",
        "family": "afm",
        "roles": {role: role for role in roles},
        "sample": sample or str(extra.pop("sample", "")),
        "bias_applied_to": str(extra.pop("bias_applied_to", "tip")),
        "reference_scale": str(extra.pop("reference_scale", "")),
        "material": {
            "name": ramps.material.name,
            "molar_volume": ramps.material.molar_volume,
            "electrons": ramps.material.electrons,
            "faradaic_yield": ramps.material.faradaic_yield,
        },
        "ramp": {
            "start": start,
            "vertices": [stop],
            "rates": [rate],
            "sample_rate": 1 / ramps.sample_period,
            "measuring_segment": 0,
        },
        "compliance": {k: None if v is None else [-v, v] for k, v in limits.items()},
        "capabilities": {
            "latency": ramps.instrument.abort_latency,
            "current_bandwidth": ramps.instrument.current_bandwidth,
            "height_bandwidth": ramps.instrument.height_bandwidth,
        },
        "ingested": {
            "format": FORMAT,
            "file": source.path.name,
            "sha256": source.sha256,
            "software": package_version(),
            "attributes": extra,
            "bias_recorded": ramps.bias is not None,
            "termination_labels": {str(k): v for k, v in ramps.termination_labels.items()},
        },
    }
    if ramps.equilibrium_potential is not None:
        block["equilibrium_potential"] = {
            "value": ramps.equilibrium_potential,
            "source": f"attribute of {source.path.name}",
        }
    if ramps.grid_shape is not None and ramps.pitch is not None:
        block["grid"] = {
            "shape": list(ramps.grid_shape),
            "pitch": ramps.pitch,
            "origin": _origin(ramps),
            "angle": 0.0,
        }
    return {
        "plan_name": "ingest",
        "sample": block["sample"],
        "num_points": ramps.n_sites,
        "hints": {"dimensions": [(["y"], PRIMARY_STREAM), (["x"], PRIMARY_STREAM)]},
        START_KEY: block,
    }


def _origin(ramps: RampSet) -> list[float]:
    """Position of the cell (0, 0), m."""
    row, col, pitch = ramps.row, ramps.col, ramps.pitch
    if row is None or col is None or pitch is None:
        return [0.0, 0.0]
    return [float(np.median(ramps.x - col * pitch)), float(np.median(ramps.y - row * pitch))]


def _primary_values(ramps: RampSet) -> dict[str, np.ndarray]:
    """Values of the primary stream's internal data keys by role, first axis sites."""
    n = ramps.n_sites
    last = ramps.offsets[1:] - 1 - ramps.n_post
    there = last >= ramps.offsets[:-1]
    at = np.clip(last, 0, max(len(ramps.current) - 1, 0))
    termination = contract_terminations(ramps)
    tripped = np.isin(termination, COMPLIANCE) | (ramps.n_post > 0)
    values: dict[str, np.ndarray] = {"x": ramps.x, "y": ramps.y, "site": np.arange(n)}
    if ramps.row is not None and ramps.col is not None:
        values |= {"row": ramps.row, "col": ramps.col}
    vertices = np.full((n, MAX_SEGMENTS), np.nan)
    rates = vertices.copy()
    vertices[:, 0], rates[:, 0] = ramps.bias_stop, ramps.ramp_rate
    first = np.clip(ramps.offsets[:-1], 0, max(len(ramps.height) - 1, 0))
    stop_bias, charge, periods = np.full(n, np.nan), np.zeros(n), site_periods(ramps)
    for k in range(n):
        window = slice(int(ramps.offsets[k]), int(ramps.offsets[k + 1]))
        charge[k] = float(np.nansum(ramps.current[window], dtype=float)) * periods[k]
        if there[k]:
            stop_bias[k] = ramps.site_bias(k)[last[k] - ramps.offsets[k]]

    def taken(samples: np.ndarray) -> np.ndarray:
        return np.where(there, samples[at].astype(float), np.nan) if samples.size else stop_bias

    return values | {
        "termination": termination,
        "stop_bias": stop_bias,
        "stop_current": taken(ramps.current),
        "height_change": taken(ramps.height) - ramps.height[first].astype(float),
        "charge": charge,
        "n_samples": ramps.counts,
        "n_post": ramps.n_post,
        "trip_index": np.where(tripped, ramps.counts - 1 - ramps.n_post, -1),
        "vertices": vertices,
        "rates": rates,
        "ramp_start": ramps.bias_start,
        "sample_rate": 1 / periods,
        "fast_segment_end": np.full(n, np.nan) if ramps.fast_end is None else ramps.fast_end,
    }


def site_periods(ramps: RampSet) -> np.ndarray:
    """Return each site's mean sample period, s, shape (n_sites,)."""
    periods = np.full(ramps.n_sites, ramps.sample_period, dtype=float)
    if ramps.time is not None:
        for k in np.flatnonzero(ramps.counts > 1):
            time_k = ramps.site_time(int(k))
            periods[k] = (time_k[-1] - time_k[0]) / (len(time_k) - 1)
    return periods


def equally_spaced(ramps: RampSet, periods: np.ndarray) -> bool:
    """Tell whether every site's samples follow from its mean period (to a thousandth of it)."""
    if ramps.time is None:
        return True
    for k in range(ramps.n_sites):
        time_k = ramps.site_time(k)
        if np.any(np.abs(time_k - np.arange(len(time_k)) * periods[k]) > 1e-3 * periods[k]):
            return False
    return True


def contract_terminations(ramps: RampSet) -> np.ndarray:
    """Return the contract's values for what the file's controller said, by its labels.

    Words that the contract does not know become ``none``; the file's own words stay in the
    start document.
    """
    known = {m.label: int(m) for m in Termination}
    values = np.full(ramps.n_sites, int(Termination.NONE), dtype=np.int64)
    if ramps.termination is not None:
        for value, label in ramps.termination_labels.items():
            values[ramps.termination == value] = known.get(label, int(Termination.NONE))
    return values


def _key(role: str, unit: str, source: str) -> dict[str, Any]:
    key: dict[str, Any] = {"source": source, "dtype": "number", "shape": [], "dtype_numpy": "<f8"}
    if role in INTEGERS:
        key |= {"dtype": "integer", "dtype_numpy": "<i8"}
    if role in ARRAYS:
        key |= {"dtype": "array", "shape": [MAX_SEGMENTS]}
    return key | {"units": unit}


def external_key(unit: str, shape: list[int], source: str, dtype: str = "<f4") -> dict[str, Any]:
    """Return the data key of an array that lies in a file."""
    return {
        "source": source,
        "dtype": "array",
        "dtype_numpy": dtype,
        "shape": shape,
        "units": unit,
        "external": "STREAM:",
    }


def resource(path: Path, data_key: str, dataset: str, chunk: tuple[int, ...]) -> Any:
    """Return the bundle of a stream resource: rows of a dataset of an HDF5 file."""
    return event_model.compose_stream_resource(
        mimetype=STREAM_MIMETYPE,
        uri=f"file://localhost{quote(str(path))}",
        data_key=data_key,
        parameters={"dataset": dataset, "chunk_shape": chunk},
    )


def _primary(
    run: event_model.ComposeRunBundle,
    values: Mapping[str, np.ndarray],
    recording: Recording,
) -> Iterator[Document]:
    keys = {role: _key(role, PRIMARY_ROLES[role][0], f"file:{role}") for role in values}
    for channel, unit in WAVEFORM_CHANNELS.items():
        keys[channel] = external_key(unit, [1, recording.width], f"file:{channel}")
    if recording.time is not None:
        keys["sample_time"] = external_key("s", [1, recording.width], "file:time", "<f8")
    stream = run.compose_descriptor(
        name=PRIMARY_STREAM,
        data_keys=keys,
        object_keys={"ivz": list(keys)},  # type: ignore[arg-type]
    )
    yield "descriptor", dict(stream.descriptor_doc)
    now = time.time()
    segments = np.asarray(recording.segments)
    for number in np.unique(segments):
        members = np.flatnonzero(segments == number)
        path = recording.directory / segment_name(recording.prefix, int(number))
        bundles = [
            resource(path, channel, waveform_path(channel), (1, recording.width))
            for channel in WAVEFORM_CHANNELS
        ]
        for bundle in bundles:
            yield (
                "stream_resource",
                {**bundle.stream_resource_doc, "run_start": run.start_doc["uid"]},
            )
        for k in members:
            data = {role: _plain(array[k]) for role, array in values.items()}
            event = stream.compose_event(
                data=data, timestamps=dict.fromkeys(data, now), time=now, validate=bool(k == 0)
            )
            yield "event", dict(event)
        rows = event_model.StreamRange(start=int(members[0]), stop=int(members[-1]) + 1)
        seq = event_model.StreamRange(start=rows["start"] + 1, stop=rows["stop"] + 1)
        for bundle in bundles:
            datum = bundle.compose_stream_datum(
                indices=rows, seq_nums=seq, descriptor=stream.descriptor_doc
            )
            yield "stream_datum", dict(datum)
    if recording.time is not None:
        bundle = resource(recording.time, "sample_time", TIME_DATASET, (1, recording.width))
        yield "stream_resource", {**bundle.stream_resource_doc, "run_start": run.start_doc["uid"]}
        datum = bundle.compose_stream_datum(
            indices=event_model.StreamRange(start=0, stop=len(segments)),
            seq_nums=event_model.StreamRange(start=1, stop=len(segments) + 1),
            descriptor=stream.descriptor_doc,
        )
        yield "stream_datum", dict(datum)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value.item()


def _topography(
    run: event_model.ComposeRunBundle, name: str, image: Topography, recording: Recording
) -> Iterator[Document]:
    values = {
        "topography_x": image.x,
        "topography_y": image.y,
        "topography_pixel_size": image.pixel_size,
    }
    keys = {role: _key(role, TOPOGRAPHY_ROLES[role][0], f"file:{role}") for role in values}
    rows, cols = image.height.shape
    keys["topography"] = external_key("m", [1, rows, cols], f"file:topography/{name}")
    stream = run.compose_descriptor(
        name=f"topography_{name}",
        data_keys=keys,
        object_keys={"ivz": list(keys)},  # type: ignore[arg-type]
    )
    yield "descriptor", dict(stream.descriptor_doc)
    bundle = resource(recording.images[name], "topography", TOPOGRAPHY_DATASET, (1, rows, cols))
    yield "stream_resource", {**bundle.stream_resource_doc, "run_start": run.start_doc["uid"]}
    now = time.time()
    yield (
        "event",
        dict(stream.compose_event(data=values, timestamps=dict.fromkeys(values, now), time=now)),
    )
    one = event_model.StreamRange(start=0, stop=1)
    datum = bundle.compose_stream_datum(
        indices=one,
        seq_nums=event_model.StreamRange(start=1, stop=2),
        descriptor=stream.descriptor_doc,
    )
    yield "stream_datum", dict(datum)
