"""What happened to a landing's electrode, sample by sample, for the film and the truth."""

import math

import numpy as np

COLUMNS = (
    "time",
    "clock",
    "dead",
    "dead_u",
    "active",
    "active_u",
    "survival",
    "sei",
    "sei_u",
    "alloy",
    "alloy_u",
    "potential",
    "current",
)


class History:
    """A table that grows by one row a sample and can be cut back.

    Frames are rendered in another thread than the one that appends: a row is complete before it
    is counted, and arrays are replaced, never resized in place.
    """

    def __init__(self) -> None:
        self._table = np.empty((4096, len(COLUMNS)))
        self.count = 0

    def append(self, *values: float) -> None:
        """Add one row (in the order of ``COLUMNS``)."""
        if self.count == len(self._table):
            self._table = np.concatenate([self._table, np.empty_like(self._table)])
        self._table[self.count] = values
        self.count += 1

    def extend(self, times: np.ndarray, *values: float) -> None:
        """Add rows that differ in time only."""
        end = self.count + len(times)
        if end > len(self._table):
            more = max(len(self._table), end - len(self._table))
            self._table = np.concatenate([self._table, np.empty((more, len(COLUMNS)))])
        self._table[self.count : end, 0] = times
        self._table[self.count : end, 1:] = values
        self.count = end

    def cut(self, count: int) -> None:
        """Forget rows from number ``count`` on."""
        self.count = min(count, self.count)

    def column(self, name: str) -> np.ndarray:
        """All values of a column, shape (count,)."""
        return self._table[: self.count, COLUMNS.index(name)]

    def at(self, time: float) -> dict[str, float] | None:
        """Row in force at ``time``; None before the first."""
        count, table = self.count, self._table
        k = int(np.searchsorted(table[:count, 0], time, side="right")) - 1
        if k < 0:
            return None
        return dict(zip(COLUMNS, table[k].tolist(), strict=True))

    def at_clock(self, clock: np.ndarray) -> dict[str, np.ndarray]:
        """Interpolated columns at values of the nucleation clock (last row beyond its end)."""
        count, table = self.count, self._table
        clocks = table[:count, 1]
        # the clock stands still before contact and at rest: use the last row of each stop
        names = ("dead", "dead_u", "active", "active_u", "survival", "time")
        return {
            name: np.interp(clock, clocks, table[:count, COLUMNS.index(name)]) for name in names
        }

    def time_of_clock(self, clock: np.ndarray) -> np.ndarray:
        """Instrument time at which the clock reached each value; NaN where it has not."""
        times = self.at_clock(clock)["time"]
        reached = self.column("clock")[-1] if self.count else -math.inf
        return np.where(clock <= reached, times, np.nan)
