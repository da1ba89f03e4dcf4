"""The documents of one run, gathered stream by stream as the run mirror needs them."""

import copy
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from bluesky_tiled_plugins.writing.consolidators import consolidator_factory
from bluesky_tiled_plugins.writing.tiled_writer import RunNormalizer
from event_model import DocumentRouter, unpack_event_page

from nucleation_bluesky.contract.documents import STREAM_MIMETYPE
from nucleation_bluesky.storage.columns import is_array_node

MAX_CHUNK = 2**20  # values in one described block of a file


class UnsafeLocationError(ValueError):
    """A file is announced at a place that must not be served."""


def checked_uri(uri: str, readable: list[Path]) -> str:
    """Return the URI of a file with links resolved.

    Raises
    ------
    UnsafeLocationError
        If the path is not absolute, has ``..`` in it, or resolves to a place outside
        ``readable`` (where that is not empty).
    """
    parts = urlparse(uri)
    if parts.scheme != "file":
        return uri
    path = Path(unquote(parts.path))
    if not path.is_absolute() or ".." in path.parts:
        raise UnsafeLocationError(f"the file location '{uri}' is not a plain absolute path")
    resolved = path.resolve()
    if readable and not any(resolved.is_relative_to(root) for root in readable):
        raise UnsafeLocationError(
            f"the file {resolved} is outside the directories that the Tiled server may read; "
            "name its directory in the configuration"
        )
    return f"file://localhost{resolved.as_posix()}"


@dataclass
class External:
    """Files behind one external data key."""

    consolidator: Any
    changed: bool = True
    node: Any = None


@dataclass
class Stream:
    """One stream: its descriptors, rows that wait, and files."""

    name: str
    descriptor: dict[str, Any]
    updates: list[dict[str, Any]] = field(default_factory=list)
    updates_sent: int = 0
    pending: list[dict[str, Any]] = field(default_factory=list)
    seen: int = 0  # rows in the journal so far
    sent: int = 0
    externals: dict[str, External] = field(default_factory=dict)
    early: list[dict[str, Any]] = field(default_factory=list)  # file rows announced before events
    node: Any = None
    table: Any = None
    arrays: dict[str, Any] = field(default_factory=dict)

    @property
    def data_keys(self) -> dict[str, dict[str, Any]]:
        """Data keys of the first descriptor."""
        return self.descriptor["data_keys"]

    @property
    def has_events(self) -> bool:
        """Whether it has values outside files, and so events; rows of files alone have none."""
        return any("external" not in data_key for data_key in self.data_keys.values())

    @property
    def array_keys(self) -> list[str]:
        """Internal data keys that are stored as arrays of their own."""
        return [
            key
            for key, data_key in self.data_keys.items()
            if "external" not in data_key and is_array_node(data_key)
        ]


class RunDocuments(DocumentRouter):
    """Gathers the normalised documents of one run.

    Parameters
    ----------
    readable : list of Path
        Directories the server may read; empty where that is not known (external server).
    """

    def __init__(self, readable: list[Path]) -> None:
        super().__init__()
        self._readable = readable
        self._normalizer = RunNormalizer()
        self._normalizer.subscribe(self)
        self.start_doc: dict[str, Any] | None = None
        self.stop_doc: dict[str, Any] | None = None
        self.streams: dict[str, Stream] = {}
        self.notes: list[str] = []
        self._by_descriptor: dict[str, Stream] = {}
        self._resources: dict[str, dict[str, Any]] = {}

    def feed(self, name: str, doc: dict[str, Any]) -> None:
        """Take a document as the RunEngine emitted it."""
        self._normalizer(name, doc)

    def note(self, text: str) -> None:
        """Keep a remark for the run's metadata."""
        if text not in self.notes:
            self.notes.append(text)

    def start(self, doc: Any) -> None:
        """Keep the start document."""
        self.start_doc = dict(doc)

    def stop(self, doc: Any) -> None:
        """Keep the stop document."""
        for stream in self.streams.values():
            for datum in stream.early:
                self.note(f"stream '{stream.name}': the files hold rows of an event that never was")
                if (begun := _as_far_as_seen(datum, stream)) is not None:
                    self._count_rows(stream, begun)
            stream.early.clear()
        doc = dict(doc)
        for text in doc.pop("_run_normalizer_notes", ()):
            self.note(text)
        self.stop_doc = doc

    def descriptor(self, doc: Any) -> None:
        """Open a stream, or keep the changed configuration of an open one."""
        stream = self.streams.get(doc["name"])
        if stream is None:
            stream = self.streams[doc["name"]] = Stream(doc["name"], dict(doc))
        elif doc["uid"] not in self._by_descriptor:
            update = {"uid": doc["uid"], "time": doc["time"]}
            if configuration := doc.get("configuration"):
                update["configuration"] = configuration
            stream.updates.append(update)
        self._by_descriptor[doc["uid"]] = stream

    def event(self, doc: Any) -> Any:
        """Queue a row."""
        stream = self._by_descriptor[doc["descriptor"]]
        row = {"seq_num": doc["seq_num"], "time": doc["time"], **doc["data"]}
        row.update({f"ts_{key}": value for key, value in doc["timestamps"].items()})
        stream.pending.append(row)
        stream.seen += 1
        due = [early for early in stream.early if not _is_early(early, stream)]
        stream.early = [early for early in stream.early if _is_early(early, stream)]
        for datum in due:
            self._count_rows(stream, datum)
        return doc

    def event_page(self, doc: Any) -> Any:
        """Queue the rows of a page."""
        for event in unpack_event_page(doc):
            self.event(event)
        return doc

    def stream_resource(self, doc: Any) -> None:
        """Remember a file."""
        self._resources[doc["uid"]] = {
            **doc,
            "uri": checked_uri(doc["uri"], self._readable),
            "parameters": _with_large_chunks(doc),
        }

    def stream_datum(self, doc: Any) -> None:
        """Count rows of a file; in a stream with events, no sooner than the event they belong to.

        A session that dies in between leaves rows without event; clients cannot read a stream
        whose columns have different lengths.
        """
        stream = self._by_descriptor[doc["descriptor"]]
        if stream.has_events and _is_early(doc, stream):
            stream.early.append(doc)
        else:
            self._count_rows(stream, doc)

    def _count_rows(self, stream: Stream, doc: dict[str, Any]) -> None:
        resource = self._resources[doc["stream_resource"]]
        key = resource["data_key"]
        external = stream.externals.get(key)
        if external is None:
            described = _without_frame_axis(stream.descriptor, resource)
            external = External(consolidator_factory(resource, described))
            stream.externals[key] = external
            resource["joined"] = True
        elif not resource.get("joined"):
            external.consolidator.update_from_stream_resource(resource)
            resource["joined"] = True
        external.consolidator.consume_stream_datum(doc)
        # entries for every row, that nobody reads
        getattr(external.consolidator, "_seqnums_to_indices_map", {}).clear()
        external.changed = True


def _is_early(datum: dict[str, Any], stream: Stream) -> bool:
    return datum["seq_nums"]["stop"] - 1 > stream.seen


def _as_far_as_seen(datum: dict[str, Any], stream: Stream) -> dict[str, Any] | None:
    """Rows up to the last event, None where there are none."""
    numbers, indices = datum["seq_nums"], datum["indices"]
    rows = stream.seen + 1 - numbers["start"]
    if rows <= 0 or indices["stop"] - indices["start"] != numbers["stop"] - numbers["start"]:
        return None
    return {
        **datum,
        "seq_nums": {**numbers, "stop": numbers["start"] + rows},
        "indices": {**indices, "stop": indices["start"] + rows},
    }


def _with_large_chunks(resource: dict[str, Any]) -> dict[str, Any]:
    """Describe HDF5 rows in blocks worth a request, however finely the file is chunked.

    The server reads the file's own chunks anyway; the description only guides clients, and one
    entry per row would make it large.
    """
    parameters = dict(resource["parameters"])
    chunks = parameters.get("chunk_shape")
    if resource["mimetype"] == STREAM_MIMETYPE and chunks and "template" not in parameters:
        row = math.prod(chunks[1:])
        parameters["chunk_shape"] = (max(chunks[0], MAX_CHUNK // row), *chunks[1:])
    return parameters


def _without_frame_axis(descriptor: dict[str, Any], resource: dict[str, Any]) -> dict[str, Any]:
    """Describe one HDF5 frame per event without the leading axis of length 1.

    The stock consolidator would describe rows of shape (1, n) as (rows, 1, n), which the server
    cannot match with a file of (more than rows, n) that is still growing.
    """
    key = resource["data_key"]
    shape = descriptor["data_keys"][key].get("shape", ())
    stacked = resource["parameters"].get("join_method", "stack") == "stack"
    if resource["mimetype"] != STREAM_MIMETYPE or not stacked or len(shape) < 2 or shape[0] != 1:
        return descriptor
    described = copy.deepcopy(descriptor)
    described["data_keys"][key]["shape"] = list(shape[1:])
    return described
