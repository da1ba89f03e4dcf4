"""The top of a Tiled server for a person at a prompt: the latest run, a number, a few letters.

It lies on the client's side: a server whose top container were a ``CatalogOfBlueskyRuns`` would
take the name of the results' container for the beginning of a uid.
"""

from collections.abc import Callable
from numbers import Integral
from typing import Any

import xarray as xr
from tiled.client.container import Container

from nucleation_bluesky.storage.results import maps
from nucleation_bluesky.storage.runs import (
    RunInfo,
    RunNotFoundError,
    find_runs,
    open_by_prefix,
    open_run,
)

SHORTEST, UID = 6, 36  # characters: of the beginning of a uid, and of a whole one


class RunCatalog(Container):
    """Runs and results; every method of a Tiled container works as well.

    ``catalog[-1]`` is the latest run, ``catalog[12]`` the latest of that number (``scan_id``),
    ``catalog["6c6fe6"]`` the one whose uid begins so, ``catalog["maps"]`` the results.

    Attributes
    ----------
    await_delivery : callable or None
        Called with the uid of a run that is asked for, or None where any may be meant: waits for
        what is on its way. Set by a session.
    """

    await_delivery: Callable[[str | None], object] | None = None

    def __getitem__(self, keys: Any, _ignore_inlined_contents: bool = False) -> Any:
        """Return a run, or whatever lies under a key.

        Raises
        ------
        KeyError
            If there is nothing under the key, or several runs begin with it.
        """
        number = int(keys) if isinstance(keys, Integral) else None
        uid = keys if isinstance(keys, str) and len(keys) == UID else None
        if self.await_delivery is not None and (uid or number is not None):
            self.await_delivery(uid)
        if number is not None:
            return open_run(self, number)
        try:
            return super().__getitem__(keys, _ignore_inlined_contents)
        except KeyError:
            if not isinstance(keys, str) or not SHORTEST <= len(keys) < UID:
                raise
        try:
            return open_by_prefix(self, keys)
        except RunNotFoundError as error:
            raise KeyError(str(error)) from None

    def runs(self, **criteria: Any) -> list[RunInfo]:
        """Return runs, the latest first; arguments are those of `find_runs`."""
        return find_runs(self, **criteria)

    def maps(
        self, run: Any = -1, name: str = "sites", *, allow_partial: bool = False
    ) -> xr.Dataset:
        """Read a run's result; ``run`` is one, or what names one; see `maps`."""
        chosen = open_run(self, run) if isinstance(run, (int, str)) else run
        return maps(chosen, name, allow_partial=allow_partial)


def as_catalog(client: Container) -> RunCatalog:
    """Return the same container with what this class adds."""
    return RunCatalog(client.context, item=client.item, structure_clients=client.structure_clients)
