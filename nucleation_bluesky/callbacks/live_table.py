"""A small table of the sites measured last."""

import logging
import math
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from nucleation_bluesky.callbacks.map_summary import MapSummary, Site

logger = logging.getLogger(__name__)
COLUMNS = ("site", "row", "col", "ended by", "stop bias / V", "current / pA", "height / nm")


def _row(site: Site) -> tuple[str, ...]:
    def number(value: float, digits: int, scale: float = 1.0) -> str:
        return f"{value * scale:.{digits}f}" if math.isfinite(value) else "-"

    def index(value: int) -> str:
        return str(value) if value >= 0 else "-"

    return (
        index(site.number),
        index(site.row),
        index(site.col),
        site.termination.label.replace("_", " "),
        number(site.stop_bias, 3),
        number(site.stop_current, 1, 1e12),
        number(site.height_change, 1, 1e9),
    )


class SiteTable:
    """Prints the last sites at most every ``interval``, and at the end of the run.

    Parameters
    ----------
    sites : int
        Rows of the table.
    console : rich.console.Console, optional
        Standard error by default.
    interval : float
        s.
    """

    def __init__(
        self, sites: int = 10, console: Console | None = None, interval: float = 10.0
    ) -> None:
        self.console = console or Console(stderr=True)
        self.interval = interval
        self.summary = MapSummary(keep=sites)
        self._drawn = float("-inf")

    def __call__(self, name: str, document: Mapping[str, Any]) -> None:
        """Take a document."""
        try:
            if not self.summary.take(name, document) or name not in ("event", "stop"):
                return
            now = time.monotonic()
            if name == "stop" or now - self._drawn >= self.interval:
                self._drawn = now
                self.console.print(self.table())
        except Exception:  # a display must never end a run whose bias is on
            logger.exception("the table of sites failed")

    def table(self) -> Table:
        """Make a rich table of the last sites."""
        table = Table(title=self.summary.sentence(), title_justify="left")
        for column in COLUMNS:
            table.add_column(column, justify="left" if column == "ended by" else "right")
        for site in self.summary.last:
            table.add_row(*_row(site))
        return table
