"""Export what a run, a result or a film holds in the formats of the field."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xarray as xr

from nucleation_bluesky.contract.documents import START_KEY
from nucleation_bluesky.exchange.fields import (
    ExchangeError,
    Field,
    Stack,
    field_of_image,
    fields_of,
)
from nucleation_bluesky.exchange.gwyddion import write_gwy
from nucleation_bluesky.exchange.imagej import write_fields, write_stack
from nucleation_bluesky.exchange.nexus import write_nexus
from nucleation_bluesky.exchange.tables import write_csv, write_documents
from nucleation_bluesky.storage.event_table import IncompleteRunError, NotReadableError
from nucleation_bluesky.storage.neutral_seccm import read_film
from nucleation_bluesky.storage.read import load_topography
from nucleation_bluesky.storage.result_files import read_result, write_result
from nucleation_bluesky.storage.results import ResultError, maps, results_of

FORMATS = ("gwy", "tiff", "nexus", "csv", "netcdf", "documents")


@dataclass
class Exportable:
    """What there is to export.

    Parameters
    ----------
    name : str
        Beginning of the files' names.
    results : dict of str to xarray.Dataset
        Results by kind.
    images : list of Field
        Topographies.
    films : list of Stack
        Films.
    run : tiled client or None
        The run, for its documents.
    """

    name: str
    results: dict[str, xr.Dataset] = field(default_factory=dict)
    images: list[Field] = field(default_factory=list)
    films: list[Stack] = field(default_factory=list)
    run: Any = None

    @property
    def start(self) -> dict[str, Any]:
        """The run's start document, empty without a run."""
        return dict(self.run.metadata["start"]) if self.run is not None else {}

    @property
    def provenance(self) -> dict[str, str]:
        """Where it came from, as text."""
        found = {key: str(value) for key, value in self.start.items() if key in ("uid", "sample")}
        for dataset in self.results.values():
            for key in ("software", "parameters", "run_uids", "source", "source_sha256"):
                if key in dataset.attrs:
                    found[key] = str(dataset.attrs[key])
        return found


def of_result_file(path: Path) -> Exportable:
    """Return what a result file (netCDF) holds."""
    return Exportable(path.stem, {"sites": read_result(path)})


def of_film_file(path: Path) -> Exportable:
    """Return the film of a nucleation-seccm file; its frames are read when they are written.

    Raises
    ------
    IngestError
        If the file is damaged or holds no film.
    """
    movie = read_film(path)
    return Exportable(
        path.stem, films=[Stack("film", movie.frames, movie.timestamps, movie.pixel_size)]
    )


def of_run(run: Any, *, allow_partial: bool = False) -> Exportable:
    """Return what a run in Tiled holds: its results, topographies and documents.

    Raises
    ------
    IncompleteRunError
        If the run is not complete and ``allow_partial`` is False.
    """
    start = run.metadata["start"]
    stop = run.metadata.get("stop") or {}
    if stop.get("exit_status") != "success" and not allow_partial:
        state = stop.get("exit_status", "running")
        raise IncompleteRunError(
            f"run {start['uid'][:8]} is not complete (state: {state}); "
            "allow partial data to export what is there"
        )
    number = f"{start['scan_id']}-" if start.get("scan_id") else ""
    found = Exportable(f"{number}{start['uid'][:8]}", run=run)
    for kind in results_of(run):
        found.results[kind] = maps(run, kind)
    try:
        images = load_topography(run, allow_partial=True, join=False)
    except NotReadableError:
        return found
    for name, image in (("before", images.before), ("after", images.after)):
        if image is not None:
            found.images.append(field_of_image(f"topography {name}", image))
    return found


def export(source: Exportable, formats: Iterable[str], directory: Path) -> list[Path]:
    """Write the formats asked for; what a format cannot hold is left out.

    Raises
    ------
    ExchangeError
        If a format is unknown, or nothing at all could be written in one.
    """
    formats = require_formats(formats)
    directory.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for name in formats:
        paths = list(_write(name, source, directory))
        if not paths:
            raise ExchangeError(
                f"{source.name}: there is nothing to write as {name}{_hint(source)}"
            )
        written += paths
    return written


def require_formats(names: Iterable[str]) -> list[str]:
    """Return the names, all of which are formats.

    Raises
    ------
    ExchangeError
        If one is not.
    """
    found = list(names)
    for name in found:
        if name not in FORMATS:
            raise ExchangeError(f"'{name}' is no format of export ({', '.join(FORMATS)})")
    return found


def _hint(source: Exportable) -> str:
    analysed = bool(source.results) or source.run is None
    return "" if analysed else "; analyse the run first ('nucleation-bluesky analyse')"


def _fields(source: Exportable) -> list[Field]:
    found: list[Field] = []
    for dataset in source.results.values():
        try:
            found += fields_of(dataset)
        except ExchangeError:
            continue  # a result that is a table
    return found


def _write(name: str, source: Exportable, directory: Path) -> Iterable[Path]:
    base = directory / source.name
    fields = _fields(source)
    if name == "gwy" and (fields or source.images):
        comment = "; ".join(f"{k}: {v}" for k, v in source.provenance.items())
        yield write_gwy(base.with_suffix(".gwy"), [*fields, *source.images], comment=comment)
    elif name == "nexus" and (fields or source.images):
        block = source.start.get(START_KEY) or {}
        yield write_nexus(
            base.with_suffix(".nxs"),
            [*fields, *source.images],
            sample=str(block.get("sample", "")),
            title=f"{block.get('technique', 'nucleation map')} {source.name}",
            time=source.start.get("time"),
            provenance=source.provenance,
        )
    elif name == "tiff":
        if fields:
            yield write_fields(directory / f"{source.name}-maps.tif", fields)
        if source.images:
            yield write_fields(directory / f"{source.name}-topography.tif", source.images)
        for film in source.films:
            yield write_stack(directory / f"{source.name}-{film.name}.tif", film)
    elif name == "csv":
        for kind, dataset in source.results.items():
            yield write_csv(directory / f"{source.name}-{kind}.csv", dataset)
    elif name == "netcdf":
        for kind, dataset in source.results.items():
            yield write_result(directory / f"{source.name}-{kind}.nc", dataset)
    elif name == "documents" and source.run is not None:
        documents = source.run.documents()
        yield write_documents(directory / f"{source.name}-documents.jsonl", documents)


__all__ = ["FORMATS", "Exportable", "ResultError", "export", "of_film_file", "of_result_file",
           "of_run", "require_formats"]  # fmt: skip
