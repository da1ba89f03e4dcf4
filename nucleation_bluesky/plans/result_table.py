"""The results of a map's sites in memory that does not grow while the map runs."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from nucleation_bluesky.contract.enums import Termination
from nucleation_bluesky.plans.results import TRIPPED, RampResult

EXPOSURE_LENGTH = 64  # characters of an exposure's token that are kept; ours have 32
_KINDS: dict[Any, Any] = {
    float: np.float64, int: np.int64, Termination: np.int16, str: f"S{EXPOSURE_LENGTH}",
}  # fmt: skip
_FIELDS = {entry.name: entry.type for entry in fields(RampResult)}
_ROW = np.dtype([("site", np.int64), *((name, _KINDS[kind]) for name, kind in _FIELDS.items())])
NO_SITE = -1


class ResultTable(Mapping[int, RampResult]):
    """Site index to `RampResult`, in order of visit.

    Objects of a night's map would add a kilobyte for every site; rows of one array, made at the
    start, add nothing.

    Parameters
    ----------
    capacity : int
        Sites of the map.
    """

    def __init__(self, capacity: int) -> None:
        self._rows = np.full(capacity, NO_SITE, _ROW)
        self._n = 0

    def add(self, site: int, result: RampResult) -> None:
        """Keep the result of the site that was visited last.

        Raises
        ------
        ValueError
            If the site has a result already: no site is exposed twice.
        IndexError
            If there are more results than sites.
        """
        if site in self:
            raise ValueError(f"site {site} has a result already")
        values = [getattr(result, name) for name in _FIELDS]
        values = [v.encode("ascii", "replace") if isinstance(v, str) else v for v in values]
        self._rows[self._n] = (site, *values)
        self._n += 1

    @property
    def n_tripped(self) -> int:
        """Sites ended by compliance."""
        return int(np.isin(self._rows["termination"][: self._n], [int(t) for t in TRIPPED]).sum())

    def __getitem__(self, site: int) -> RampResult:
        (found,) = np.nonzero(self._rows["site"][: self._n] == site)
        if not len(found):
            raise KeyError(site)
        row = self._rows[found[0]]
        return RampResult(**{name: _native(kind, row[name]) for name, kind in _FIELDS.items()})

    def __iter__(self) -> Iterator[int]:
        return iter(self._rows["site"][: self._n].tolist())

    def __len__(self) -> int:
        return self._n


def _native(kind: Any, value: Any) -> Any:
    return value.decode() if kind is str else kind(value)
