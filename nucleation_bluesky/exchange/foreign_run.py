"""Images and curves of other programs become Bluesky runs, with units and metadata kept."""

import hashlib
import math
import os
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import event_model
import h5py
import numpy as np

from nucleation_bluesky.callbacks.journal import Journal
from nucleation_bluesky.callbacks.journal_reader import journals
from nucleation_bluesky.contract.documents import (
    PRIMARY_STREAM,
    SCHEMA_VERSION,
    START_KEY,
    STREAM_MIMETYPE,
)
from nucleation_bluesky.exchange.fields import ExchangeError
from nucleation_bluesky.storage.result_files import package_version

NAMESPACE = uuid.UUID("0c6a1dd5-5b4e-53a5-9a3c-0d3f6a2f7c11")
Document = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Content:
    """What a foreign file holds, in the words of our documents.

    Parameters
    ----------
    technique : str
        "topography", "curve" or "correlative-image".
    arrays : mapping of str to (ndarray, str)
        Values and unit by data key; stored as files, lazily readable from Tiled.
    scalars : mapping of str to (float, str)
        Values and unit by data key.
    roles : mapping of str to str
        Role to data key.
    metadata : mapping
        The foreign program's own settings, kept as they are.
    """

    technique: str
    arrays: Mapping[str, tuple[np.ndarray, str]]
    scalars: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


def data_key(name: str) -> str:
    """Return a channel's name as a data key: letters, digits and underscores."""
    key = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_").lower()
    return key[:60] or "channel"


def register(
    content: Content,
    source: Path,
    *,
    journal_dir: Path,
    file_dir: Path,
    sample: str = "",
    session: str = "import",
) -> tuple[str, bool]:
    """Write arrays and documents; the courier delivers the run like any other.

    The run's uid follows from the file's bytes and the sample: the same file is registered once.

    Returns
    -------
    uid : str
        Of the run.
    created : bool
        False if it was registered before.

    Raises
    ------
    ExchangeError
        If there is nothing to register.
    """
    if not content.arrays:
        raise ExchangeError(f"{source.name} holds no images or curves")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    uid = str(uuid.uuid5(NAMESPACE, f"{digest}:{content.technique}:{sample}"))
    if any(uid in path.name for path in journals(journal_dir)):
        return uid, False
    file_dir.mkdir(parents=True, exist_ok=True)
    path = file_dir.absolute() / f"import_{uid}.h5"
    _write(path, content)
    journal = Journal(journal_dir, session=session, sync_streams=())
    for name, doc in _documents(content, uid, path, source, digest, sample):
        journal(name, doc)
    return uid, True


def _write(path: Path, content: Content) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    with h5py.File(partial, "w", libver="latest") as file:
        for key, (values, unit) in content.arrays.items():
            data = file.create_dataset(
                f"/entry/data/{key}",
                data=values[np.newaxis],
                chunks=(1, *values.shape),
                compression="gzip",
                compression_opts=1,
                shuffle=True,
            )
            data.attrs["units"] = unit
    partial.replace(path)


def _documents(
    content: Content, uid: str, path: Path, source: Path, digest: str, sample: str
) -> Iterator[Document]:
    block = {
        "schema": SCHEMA_VERSION,
        "technique": content.technique,
        "family": "afm",
        "roles": dict(content.roles),
        "sample": sample,
        "ingested": {
            "file": source.name,
            "sha256": digest,
            "software": package_version(),
            "attributes": _plain(content.metadata),
        },
    }
    metadata = {"plan_name": "ingest", "sample": sample, "num_points": 1, START_KEY: block}
    run = event_model.compose_run(uid=uid, metadata=metadata)
    yield "start", dict(run.start_doc)
    where = f"file:{source.name}"
    keys: dict[str, Any] = {
        key: {"source": where, "dtype": "number", "shape": [], "dtype_numpy": "<f8", "units": unit}
        for key, (_, unit) in content.scalars.items()
    }
    for key, (values, unit) in content.arrays.items():
        keys[key] = {
            "source": where,
            "dtype": "array",
            "dtype_numpy": values.dtype.newbyteorder("<").str,
            "shape": [1, *values.shape],
            "units": unit,
            "external": "STREAM:",
        }
    objects: Any = {"file": list(keys)}
    stream = run.compose_descriptor(name=PRIMARY_STREAM, data_keys=keys, object_keys=objects)
    yield "descriptor", dict(stream.descriptor_doc)
    bundles = []
    for key, (values, _) in content.arrays.items():
        bundle = event_model.compose_stream_resource(
            mimetype=STREAM_MIMETYPE,
            uri=f"file://localhost{quote(str(path))}",
            data_key=key,
            parameters={"dataset": f"/entry/data/{key}", "chunk_shape": (1, *values.shape)},
        )
        bundles.append(bundle)
        yield "stream_resource", {**bundle.stream_resource_doc, "run_start": uid}
    now = time.time()
    data = {key: float(value) for key, (value, _) in content.scalars.items()}
    event = stream.compose_event(data=data, timestamps=dict.fromkeys(data, now), time=now)
    yield "event", dict(event)
    for bundle in bundles:
        datum = bundle.compose_stream_datum(
            indices=event_model.StreamRange(start=0, stop=1),
            seq_nums=event_model.StreamRange(start=1, stop=2),
            descriptor=stream.descriptor_doc,
        )
        yield "stream_datum", dict(datum)
    yield "stop", dict(run.compose_stop(exit_status="success"))


def _plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    def value(item: Any) -> Any:
        if isinstance(item, float) and not math.isfinite(item):
            return str(item)
        return item if isinstance(item, (str, int, float, bool, type(None))) else str(item)

    # a dot in a key would be read as a path by stores of documents
    return {str(key).replace(".", "_"): value(item) for key, item in metadata.items()}
