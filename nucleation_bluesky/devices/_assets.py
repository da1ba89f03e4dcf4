"""Announcing waveform files: one stream_resource per segment and channel, a datum per exposure."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from event_model import StreamRange, compose_stream_resource

from nucleation_bluesky.contract.documents import STREAM_MIMETYPE
from nucleation_bluesky.contract.files import segment_name
from nucleation_bluesky.devices.errors import BadValueError


@dataclass(frozen=True)
class DataDirectory:
    """One directory, as we see it and as the controller does.

    Parameters
    ----------
    local : Path
        Path on this machine; absolute.
    controller : str
        Path of the same directory on the controller's machine; "" if it is the same.
    """

    local: Path
    controller: str = ""

    def __post_init__(self) -> None:
        if not Path(self.local).is_absolute():
            raise BadValueError(f"the data directory '{self.local}' must be an absolute path")

    @property
    def on_controller(self) -> str:
        """The path to tell the controller."""
        return self.controller or str(self.local)

    def to_local(self, controller_path: str) -> Path:
        """Where a file that the controller names lies on this machine.

        Raises
        ------
        BadValueError
            If it lies outside the directory.
        """
        path = PurePosixPath(controller_path)
        if ".." in path.parts or not path.is_relative_to(self.on_controller):
            raise BadValueError(f"{controller_path} lies outside {self.on_controller}")
        return Path(self.local) / path.relative_to(self.on_controller)


def file_uri(path: Path) -> str:
    """Return the URI of a local file as Tiled expects it."""
    return f"file://localhost{quote(str(path))}"


def announce_file(
    data_key: str, path: Path, dataset: str, chunk_shape: tuple[int, ...], rows: range
) -> list[tuple[str, dict]]:
    """Return the documents of a file that is complete: one stream_resource, one stream_datum.

    Parameters
    ----------
    data_key : str
        Of the stream.
    path : Path
        The file on this machine.
    dataset : str
        Path in the file.
    chunk_shape : tuple of int
        As the file is chunked.
    rows : range
        Which rows of the stream the file holds.
    """
    bundle = compose_stream_resource(
        mimetype=STREAM_MIMETYPE,
        uri=file_uri(path),
        data_key=data_key,
        parameters={"dataset": dataset, "chunk_shape": chunk_shape},
    )
    datum = _datum(bundle.compose_stream_datum, rows)
    return [("stream_resource", dict(bundle.stream_resource_doc)), ("stream_datum", datum)]


def _datum(compose: Callable[..., Any], rows: range) -> dict:
    """Stream datum; the RunEngine fills in descriptor and sequence numbers."""
    return dict(
        compose(
            indices=StreamRange(start=rows.start, stop=rows.stop),
            seq_nums=StreamRange(start=0, stop=0),
            descriptor="",
        )
    )


class SegmentAnnouncer:
    """Turns recorded rows into stream documents.

    Parameters
    ----------
    directory : Path
        Where the segments lie on this machine.
    prefix : str
        Of the segments' names.
    channels : mapping of str to str
        Data key of each channel's dataset path.
    max_samples : int
        Width of a row.
    """

    def __init__(
        self, directory: Path, prefix: str, channels: Mapping[str, str], max_samples: int
    ) -> None:
        self._directory, self._prefix = directory, prefix
        self._channels, self._max_samples = dict(channels), max_samples
        self._segment = -1
        self._datum: dict[str, Callable[..., Any]] = {}
        self._pending: list[tuple[str, dict]] = []
        self.count = 0  # rows announced

    def add(self, segment: int) -> None:
        """Announce the next row, which lies in ``segment``."""
        if segment != self._segment:
            self._segment = segment
            uri = file_uri(self._directory / segment_name(self._prefix, segment))
            for data_key, dataset in self._channels.items():
                bundle = compose_stream_resource(
                    mimetype=STREAM_MIMETYPE,
                    uri=uri,
                    data_key=data_key,
                    parameters={"dataset": dataset, "chunk_shape": (1, self._max_samples)},
                )
                self._pending.append(("stream_resource", dict(bundle.stream_resource_doc)))
                self._datum[data_key] = bundle.compose_stream_datum
        row = range(self.count, self.count + 1)
        for compose in self._datum.values():
            self._pending.append(("stream_datum", _datum(compose, row)))
        self.count += 1

    def collect(self) -> Iterator[tuple[str, dict]]:
        """Yield what has not been collected yet."""
        pending, self._pending = self._pending, []
        yield from pending
