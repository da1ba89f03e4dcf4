"""bluesky's best-effort tables, without its plots."""

from collections.abc import Mapping
from typing import Any

from bluesky.callbacks.best_effort import BestEffortCallback

from nucleation_bluesky.contract.documents import START_KEY


class BestEffortTables:
    """Prints what stock plans measure, and baselines; draws nothing on the RunEngine's thread.

    bluesky sees to it that no error of its own reaches the RunEngine.

    Parameters
    ----------
    maps : bool
        Print a row for each site of a map as well: for the log of a queue. At a terminal the
        progress of a map says more.

    Attributes
    ----------
    callback : BestEffortCallback
        To be changed as usual, for instance with ``callback.enable_plots()``.
    """

    def __init__(self, *, maps: bool) -> None:
        self.callback = BestEffortCallback()
        self.callback.disable_plots()
        self._maps = maps
        self._silent = False

    def __call__(self, name: str, document: Mapping[str, Any]) -> None:
        """Take a document."""
        if name == "start":
            ours = (document.get(START_KEY) or {}).get("technique")
            self._silent = bool(ours) and not self._maps
        if not self._silent:
            self.callback(name, document)
