"""The film of a landing: contact, footprint, optical nucleation times, CE maps."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from nucleation_bluesky.analysis.seccm.electrochemistry import Electrochemistry
from nucleation_bluesky.analysis.seccm.film import NoFootprintError
from nucleation_bluesky.analysis.seccm.landing import (
    ElectrochemistrySummary,
    FilmSettings,
    FilmTooShortError,
    analyse_film,
)
from nucleation_bluesky.storage.seccm_data import Landing, Movie, at_hand

ATTRIBUTES = (
    # scalars of the film that become scalars of the landing
    "t_nuc_irm", "t_nuc_irm_uncertainty", "contact_time", "contact_time_uncertainty",
    "lead", "lead_uncertainty", "footprint_area",
)  # fmt: skip


@dataclass(frozen=True)
class FilmPart:
    """What a film adds to the results of a landing.

    Parameters
    ----------
    dataset : xarray.Dataset
        Maps and traces with the film's own attributes; empty without a film.
    scalars : mapping of str to float or None
        SI.
    footprint_area : float or None
        m2.
    missing : mapping of str to str
        Why a part is not there.
    """

    dataset: xr.Dataset = field(default_factory=xr.Dataset)
    scalars: Mapping[str, float | None] = field(default_factory=dict)
    footprint_area: float | None = None
    missing: Mapping[str, str] = field(default_factory=dict)


def film_part(landing: Landing, found: Electrochemistry, settings: FilmSettings) -> FilmPart:
    """Analyse the film of a landing, if it has one.

    Parameters
    ----------
    landing : Landing
        The landing.
    found : Electrochemistry
        Its electrochemistry.
    settings : FilmSettings
        Choices.

    Raises
    ------
    ValueError
        If film and electrochemistry are not of the same landing.
    """
    if landing.movie is None:
        return FilmPart(missing={"film": "the landing was not filmed"})
    movie = landing.movie
    try:
        result = analyse_film(
            at_hand(movie.frames),
            movie.timestamps,
            movie.pixel_size,
            electrochemistry_summary=summarise_electrochemistry(landing, found, movie),
            settings=settings,
            frame_ids=movie.frame_ids,
        )
    except (NoFootprintError, FilmTooShortError) as exc:
        return FilmPart(missing={"film": str(exc)})
    scalars = {
        name: None if result.attrs.get(name) is None else float(result.attrs[name])
        for name in ATTRIBUTES
    }
    missing = {}
    if scalars["t_nuc_irm"] is None:
        missing["t_nuc_irm"] = "the film shows no optical nucleation"
    if not bool(result.attrs.get("map_resolved", 1)) and "nucleation_time" in result:
        missing["nucleation_time"] = str(result.attrs.get("map_verdict", "not resolved"))
    return FilmPart(with_units(result), scalars, scalars["footprint_area"], missing)


def summarise_electrochemistry(
    landing: Landing, found: Electrochemistry, movie: Movie
) -> ElectrochemistrySummary:
    """Return what the film's analysis takes from the electrochemistry."""
    trace = landing.trace.finite()
    plating = found.plating
    start = landing.contact_time
    if start is None:
        start = float(trace.time[0]) if len(trace) else 0.0
    if plating is not None and np.isfinite(plating.start):
        start = plating.start if landing.contact_time is None else landing.contact_time
    known: dict[str, Any] = {}
    if plating is not None and plating.t_nuc is not None:
        # the film counts from contact, the transient from when current began to flow
        known["t_nuc"] = plating.t_nuc + plating.start - start
        known["t_nuc_uncertainty"] = plating.t_nuc_uncertainty
    if found.cycles:
        program = landing.trace.in_program().finite()
        complete = [c for c in found.cycles if np.isfinite(c.ce)]
        known["cycles"] = [
            (float(program.time[c.start]), float(program.time[c.turn]), float(program.time[c.stop]))
            for c in complete
        ]
        known["cycle_ce"] = np.array([c.ce for c in complete])
    if movie.clock_offset is not None:
        known["film_offset"] = -movie.clock_offset
        known["film_offset_uncertainty"] = movie.clock_uncertainty
    return ElectrochemistrySummary(
        time=np.asarray(trace.time, dtype=float),
        charge=trace.charge(found.baseline),
        start=start,
        technique=landing.technique,
        **known,
    )


def with_units(dataset: xr.Dataset) -> xr.Dataset:
    """Return the dataset with units on every variable ("1" where it has none)."""
    for name in dataset.variables:
        dataset[name].attrs.setdefault("units", "1")
    return dataset
