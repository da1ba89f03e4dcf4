"""The film of a landing: contact, footprint, optical nucleation times, CE maps."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import xarray as xr

from nucleation_bluesky.analysis.seccm.electrochemistry import Electrochemistry
from nucleation_bluesky.storage.seccm_data import Landing


@dataclass(frozen=True)
class FilmOptions:
    """Choices of the film analysis."""


@dataclass(frozen=True)
class FilmPart:
    """What a film adds to the results of a landing.

    Parameters
    ----------
    dataset : xarray.Dataset
        Maps; empty without a film.
    scalars : mapping of str to float or None
        SI.
    footprint_area : float or None
        m2.
    result : object or None
        The full result.
    missing : mapping of str to str
        Why a part is not there.
    """

    dataset: xr.Dataset = field(default_factory=xr.Dataset)
    scalars: Mapping[str, float | None] = field(default_factory=dict)
    footprint_area: float | None = None
    result: Any = None
    missing: Mapping[str, str] = field(default_factory=dict)


def film_part(landing: Landing, found: Electrochemistry, options: FilmOptions) -> FilmPart:
    """Analyse the film of a landing, if it has one."""
    if landing.movie is None:
        return FilmPart(missing={"film": "the landing was not filmed"})
    return FilmPart()
