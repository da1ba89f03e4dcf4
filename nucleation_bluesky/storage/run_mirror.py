"""Makes Tiled hold what a journal holds: one run, exactly once, whatever state it is in.

The nodes are those of the stock TiledWriter: a BlueskyRun container, one BlueskyEventStream per
stream with the table ``internal`` and an array per external data key.
"""

import logging
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from bluesky_tiled_plugins.utils import truncate_json_overflow
from tiled.client.utils import handle_error
from tiled.structures.core import Spec
from tiled.utils import safe_json_dump

from nucleation_bluesky.storage.columns import WidenColumn, table_schema, to_table
from nucleation_bluesky.storage.run_documents import External, RunDocuments, Stream

TABLE = "internal"
MAX_ROWS = 1000  # rows in one request
logger = logging.getLogger(__name__)


class RunConflictError(RuntimeError):
    """Tiled holds something else under the uid of this run."""


class RebuildError(RuntimeError):
    """What Tiled holds does not equal the journal; the part was removed, to be written again."""


def as_stored(value: Any) -> Any:
    """Return metadata as it comes back from the server."""
    return orjson.loads(safe_json_dump(truncate_json_overflow(value)))


class RunMirror:
    """Writes one run to Tiled.

    Parameters
    ----------
    client : tiled Container
        Where runs are kept, with data sources included.
    documents : RunDocuments
        The run's documents, fed by the caller from the journal's first document on.
    widened : set of str
        ``stream/key`` of integer columns known to need floats; grows as they are found.
    """

    def __init__(self, client: Any, documents: RunDocuments, widened: set[str]) -> None:
        self._client = client
        self.documents = documents
        self._widened = widened
        self._root: Any = None

    @property
    def waiting(self) -> bool:
        """Tell whether there is something to send."""
        docs = self.documents
        return docs.start_doc is not None and (
            self._root is None
            or docs.stop_doc is not None
            or any(
                s.node is None
                or s.pending
                or s.updates_sent < len(s.updates)
                or any(e.changed for e in s.externals.values())
                for s in docs.streams.values()
            )
        )

    def send(self) -> None:
        """Send what waits. Any exception leaves an unknown state: use a new mirror then."""
        if self.documents.start_doc is None:
            return
        if self._root is None:
            self._root = self._open_root(self.documents.start_doc)
        for stream in self.documents.streams.values():
            if stream.node is None:
                self._open_stream(stream)
            self._send_updates(stream)
            for key, external in stream.externals.items():
                if external.changed:
                    self._send_external(stream, key, external)
            self._send_rows(stream)

    def finish(self) -> dict[str, int]:
        """Verify every row against the journal, then write the stop document; returns the rows.

        Raises
        ------
        RebuildError
            If a part differed; it was removed and must be sent again.
        """
        stop = self.documents.stop_doc
        if stop is None:
            raise ValueError("the run has not stopped")
        self.send()
        counts = self.verify()
        update: dict[str, Any] = {"stop": as_stored(stop)}
        if self.documents.notes:
            update["notes"] = list(self.documents.notes)
        held = self._root.metadata
        if any(held.get(key) != value for key, value in update.items()):
            self._root.update_metadata(metadata=update, drop_revision=True)
        return counts

    def verify(self) -> dict[str, int]:
        """Compare row numbers and file rows of every stream with the journal.

        Raises
        ------
        RebuildError
            If a stream differed; the differing part was removed.
        """
        for stream in self.documents.streams.values():
            if stream.table is not None:
                found = _sequence(stream.table)
                if not np.array_equal(np.sort(found), np.arange(1, stream.seen + 1)):
                    stream.node.delete_contents(TABLE, external_only=False)
                    raise RebuildError(
                        f"stream '{stream.name}' has {len(found)} rows in Tiled, "
                        f"{stream.seen} in the journal"
                    )
            for key, external in stream.externals.items():
                node = stream.node[key]
                source = external.consolidator.get_data_source()
                held = [asset.data_uri for asset in node.data_sources()[0].assets]
                wanted = [asset.data_uri for asset in source.assets]
                if tuple(node.shape) != tuple(source.structure.shape) or held != wanted:
                    stream.node.delete_contents(key)
                    raise RebuildError(f"the files of '{key}' differ from the journal")
        return {stream.name: stream.seen for stream in self.documents.streams.values()}

    def _open_root(self, start: dict[str, Any]) -> Any:
        start = dict(start)
        tags = start.pop("tiled_access_tags", None)
        specs = [Spec(s) if isinstance(s, str) else Spec(**s) for s in start.pop("tiled_specs", ())]
        wanted = as_stored(start)
        try:
            root = self._client[start["uid"]]
        except KeyError:
            root = self._client.create_container(
                key=start["uid"],
                metadata={"start": wanted},
                specs=[*specs, Spec("BlueskyRun", version="3.0")],
                access_tags=tags,
            )
        if root.metadata.get("start") != wanted:
            raise RunConflictError(
                f"Tiled holds another run, or none, under the uid {start['uid']}"
            )
        return root

    def _open_stream(self, stream: Stream) -> None:
        base = self._root.base
        metadata = {
            key: value
            for key, value in stream.descriptor.items()
            if key not in ("name", "object_keys", "run_start")
        }
        try:
            node = base[stream.name]
        except KeyError:
            node = base.create_container(
                key=stream.name,
                metadata=as_stored(metadata),
                specs=[Spec("BlueskyEventStream", version="3.0"), Spec("composite")],
            )
        stream.node = node.base
        present = set(stream.node.keys())
        if TABLE in present:
            self._adopt_table(stream)
        stream.arrays = {key: stream.node[key] for key in stream.array_keys if key in present}
        for key, external in stream.externals.items():
            external.node = stream.node[key] if key in present else None

    def _adopt_table(self, stream: Stream) -> None:
        """Go on after the rows that are there, or start the table again if they differ."""
        table = stream.node[TABLE]
        found = _sequence(table)
        same_type = table.structure().arrow_schema_decoded.equals(self._schema(stream))
        prefix = np.array_equal(np.sort(found), np.arange(1, len(found) + 1))
        if same_type and prefix and len(found) <= stream.seen:
            stream.table = table
            stream.sent = len(found)
            stream.pending = [row for row in stream.pending if row["seq_num"] > len(found)]
            return
        logger.warning("writing the table of stream '%s' again", stream.name)
        stream.node.delete_contents(TABLE, external_only=False)

    def _schema(self, stream: Stream) -> pa.Schema:
        prefix = f"{stream.name}/"
        widened = {k.removeprefix(prefix) for k in self._widened if k.startswith(prefix)}
        return table_schema(stream.data_keys, widened)

    def _send_updates(self, stream: Stream) -> None:
        if stream.updates_sent < len(stream.updates):
            updates = as_stored(stream.updates)
            if stream.node.metadata.get("_config_updates") != updates:
                metadata = {"_config_updates": updates}
                stream.node.update_metadata(metadata=metadata, drop_revision=True)
            stream.updates_sent = len(stream.updates)

    def _send_rows(self, stream: Stream) -> None:
        while stream.pending:
            rows = stream.pending[:MAX_ROWS]
            self._send_arrays(stream, rows)
            try:
                table, notes = to_table(rows, self._schema(stream))
            except WidenColumn as found:
                self._widened.add(f"{stream.name}/{found.key}")
                raise RebuildError(
                    f"the integer column '{found.key}' must hold other numbers"
                ) from found
            for note in notes:
                self.documents.note(note)
            if stream.table is None:
                held = {k: v for k, v in stream.data_keys.items() if k in table.column_names}
                stream.table = stream.node.create_appendable_table(
                    schema=table.schema, key=TABLE, metadata=as_stored(held)
                )
            stream.table.append_partition(0, table)
            stream.sent += len(rows)
            del stream.pending[: len(rows)]

    def _send_arrays(self, stream: Stream, rows: list[dict[str, Any]]) -> None:
        """Write array-valued keys at their place: sending the same rows twice changes nothing."""
        for key in stream.array_keys:
            data_key = stream.data_keys[key]
            block = _stack(rows, key, data_key)
            first = rows[0]["seq_num"] - 1
            if key in stream.arrays:
                stream.arrays[key].patch(block, offset=(first,), extend=True)
            else:
                dims = ("time", *(f"dim_{key}_{axis}" for axis in range(1, block.ndim)))
                metadata = {**as_stored(data_key), "dtype_numpy": str(block.dtype)}
                stream.arrays[key] = stream.node.write_array(
                    block, key=key, metadata=metadata, dims=dims
                )

    def _send_external(self, stream: Stream, key: str, external: External) -> None:
        source = external.consolidator.get_data_source()
        if external.node is None:
            external.node = stream.node.new(
                key=key,
                structure_family=source.structure_family,
                data_sources=[source],
                metadata=external.consolidator.metadata,
                specs=[],
            )
        else:
            source.id = external.node.data_sources()[0].id
            handle_error(
                external.node.context.http_client.put(
                    external.node.uri.replace("/metadata/", "/data_source/", 1),
                    content=safe_json_dump({"data_source": source}),
                )
            )
        external.changed = False


def _sequence(table: Any) -> np.ndarray:
    return np.asarray(table.read(["seq_num"])["seq_num"], dtype=np.int64)


def _stack(rows: list[dict[str, Any]], key: str, data_key: dict[str, Any]) -> np.ndarray:
    shape = tuple(data_key["shape"])
    declared = np.dtype(data_key.get("dtype_numpy") or np.float64)
    if declared.kind in "USO":
        return np.array([np.asarray(row[key]).reshape(shape) for row in rows], dtype="<U64")
    dtype = declared if declared.kind == "f" else np.result_type(declared, np.uint8)
    block = np.full((len(rows), *shape), np.nan if dtype.kind == "f" else 0, dtype)
    for number, row in enumerate(rows):
        value = np.asarray(row.get(key), dtype)
        if value.ndim != len(shape):
            raise ValueError(f"'{key}' has {value.ndim} dimensions, {len(shape)} were declared")
        inside = tuple(slice(min(a, b)) for a, b in zip(value.shape, shape, strict=True))
        block[(number, *inside)] = value[inside]
    return block
