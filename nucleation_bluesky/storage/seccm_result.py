"""What an analysis of landings gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import xarray as xr

from nucleation_bluesky.analysis.seccm.electrochemistry import Electrochemistry
from nucleation_bluesky.storage.analysis_result import Headline
from nucleation_bluesky.storage.seccm_data import Landing, LandingSet

MAX_MAPS = 12  # landings whose maps are stored with the results of a run


@dataclass(frozen=True)
class LandingResult:
    """Results of one landing.

    Parameters
    ----------
    landing : Landing
        What was measured.
    electrochemistry : Electrochemistry
        Of it.
    dataset : xarray.Dataset
        Maps on ``y``, ``x``, values on ``cycle``, scalars as attributes (absent where they do not
        exist): the result file of a single landing.
    missing : mapping of str to str
        Why a part is not there.
    """

    landing: Landing
    electrochemistry: Electrochemistry
    dataset: xr.Dataset
    missing: Mapping[str, str] = field(default_factory=dict)

    def value(self, name: str) -> float:
        """Scalar result by name; NaN where it does not exist."""
        return float(self.dataset.attrs.get(name, float("nan")))


@dataclass(frozen=True)
class SeccmResult:
    """Everything the report shows of landings.

    Parameters
    ----------
    label : str
        Short name.
    source : LandingSet
        The landings.
    landings : sequence of LandingResult
        One for each.
    table : xarray.Dataset
        Dimension ``landing``: scalars of all landings, NaN where one does not exist.
    screen : xarray.Dataset or None
        Dimension ``condition``: statistics over repeats, where there are conditions.
    summary : tuple of Headline
        Figures for the top of the report.
    missing : mapping of str to str
        Why a part of the analysis is not there.
    provenance : mapping
        Source, hashes or uids, parameters, version.
    """

    label: str
    source: LandingSet
    landings: Sequence[LandingResult]
    table: xr.Dataset
    screen: xr.Dataset | None = None
    summary: tuple[Headline, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, object] = field(default_factory=dict)

    @property
    def dataset(self) -> xr.Dataset:
        """The result file: of a single landing its own, else the table with the screen."""
        if len(self.landings) == 1:
            return self.landings[0].dataset
        if self.screen is None:
            return self.table
        screen = self.screen.rename(
            {name: f"screen_{name}" for name in self.screen.data_vars if name in self.table}
        )
        return xr.merge([self.table, screen], combine_attrs="override", join="outer")

    @property
    def datasets(self) -> dict[str, xr.Dataset]:
        """Results to store in Tiled by name."""
        found = {"landings": self.table}
        if self.screen is not None:
            found["screen"] = self.screen
        if len(self.landings) <= MAX_MAPS:
            for one in self.landings:
                if one.dataset.data_vars:
                    found[f"landing_{one.landing.site}"] = one.dataset
        return found

    @property
    def parameters(self) -> dict[str, Any]:
        """The analysis parameters in the provenance."""
        found = self.provenance.get("parameters")
        return dict(found) if isinstance(found, Mapping) else {}
