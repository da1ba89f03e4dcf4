"""The film of a landing: contact, footprint, optical nucleation times, CE maps."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr

from nucleation_bluesky.analysis.seccm.electrochemistry import Electrochemistry
from nucleation_bluesky.analysis.seccm.landing import (
    ElectrochemistrySummary,
    FilmSettings,
    FilmTooShortError,
    analyse_film,
)
from nucleation_bluesky.storage.result_files import with_units
from nucleation_bluesky.storage.seccm_data import FrameWindow, Landing, Movie, at_hand

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


def film_part(
    landing: Landing,
    found: Electrochemistry,
    settings: FilmSettings | None,
    *,
    strict: bool = False,
) -> FilmPart:
    """Analyse the film of a landing, if it has one.

    Parameters
    ----------
    landing : Landing
        The landing.
    found : Electrochemistry
        Its electrochemistry.
    settings : FilmSettings or None
        Choices; None leaves the film out.
    strict : bool
        Raise where the film cannot be used, instead of telling it in ``missing``.

    Raises
    ------
    FilmTooShortError
        If a filter that was asked for does not fit.
    ValueError
        With ``strict``: if there is no footprint, or film and electrochemistry are not of the
        same landing.
    """
    if landing.movie is None:
        return FilmPart(missing={"film": "the landing was not filmed"})
    if settings is None:
        return FilmPart(missing={"film": "it was left out"})
    movie = landing.movie
    try:
        summary = summarise_electrochemistry(landing, found, movie)
        movie = _until(movie, summary, None)
        result = _analyse(movie, summary, settings)
        shorter = _until(movie, summary, result.attrs.get("contact_time"))
        if shorter is not movie:  # the withdrawal was filmed, and only the images told when
            result = _analyse(shorter, summary, settings)
    except FilmTooShortError:
        raise
    except ValueError as exc:
        if strict:
            raise
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
    if "ce_resolved" in result and not result["ce_resolved"].values.all():
        missing["ce"] = str(result.attrs["ce_verdict"])
    return FilmPart(with_units(result), scalars, scalars["footprint_area"], missing)


def _analyse(
    movie: Movie, summary: ElectrochemistrySummary | None, settings: FilmSettings
) -> xr.Dataset:
    return analyse_film(
        at_hand(movie.frames),
        movie.timestamps,
        movie.pixel_size,
        electrochemistry_summary=summary,
        settings=settings,
        frame_ids=movie.frame_ids,
    )


def _until(movie: Movie, summary: ElectrochemistrySummary | None, contact: float | None) -> Movie:
    """Leave out the frames after the program's end: the withdrawal changes the image, too.

    Parameters
    ----------
    movie : Movie
    summary : ElectrochemistrySummary or None
        Of the program; without one all frames count.
    contact : float or None
        Contact on the film's clock, s; None where only a known offset of the clocks counts.
    """
    if summary is None:
        return movie
    duration = float(summary.time[-1]) - summary.start
    if contact is not None:
        end = contact + duration + float(np.median(np.diff(movie.timestamps)))
    elif summary.film_offset is not None:
        end = summary.start + summary.film_offset + duration
    else:
        return movie
    count = int(np.searchsorted(movie.timestamps, end, side="right"))
    if not 0 < count < len(movie.timestamps):
        return movie
    ids = None if movie.frame_ids is None else movie.frame_ids[:count]
    frames = FrameWindow(movie.frames, 0, count)
    return replace(movie, frames=frames, timestamps=movie.timestamps[:count], frame_ids=ids)


def summarise_electrochemistry(
    landing: Landing, found: Electrochemistry, movie: Movie
) -> ElectrochemistrySummary | None:
    """Return what the film's analysis takes from the electrochemistry; None without a program."""
    trace = landing.trace.in_program().finite()
    if len(trace) < 2:
        return None
    plating = found.plating
    start = landing.contact_time
    if start is None:
        start = float(trace.time[0])
    if plating is not None and np.isfinite(plating.start):
        start = plating.start if landing.contact_time is None else landing.contact_time
    known: dict[str, Any] = {}
    if plating is not None and plating.t_nuc is not None:
        # the film counts from contact, the transient from when current began to flow
        known["t_nuc"] = plating.t_nuc + plating.start - start
        known["t_nuc_uncertainty"] = plating.t_nuc_uncertainty
    if landing.technique == "cycling" and plating is not None:
        known["plating_end"] = plating.start + plating.duration
    if found.cycles:
        complete = [c for c in found.cycles if np.isfinite(c.ce)]
        known["cycles"] = [
            (float(trace.time[c.start]), float(trace.time[c.turn]), float(trace.time[c.stop]))
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
