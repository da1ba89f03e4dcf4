"""What an event says of its film: which frames, and how the camera's clock lies."""

import math
from collections.abc import Callable
from typing import Any

from ophyd import Device

from nucleation_bluesky.contract.camera import EPICS_EPOCH
from nucleation_bluesky.devices._layout import SettingsLayout

LAYOUT = SettingsLayout(
    {
        "first": ("integer", ""),
        "count": ("integer", ""),
        "clock_offset": ("number", "s"),
        "clock_uncertainty": ("number", "s"),
    }
)
FILM_RECORD_ROLES = {f"film_{entry}": entry for entry in LAYOUT.settings}


class FilmRecord(Device):
    """Reads, for each landing, which frames of the run's film belong to it.

    ``first`` is -1 without a film. ``clock_offset`` is the camera's UTC less the controller's,
    with its standard uncertainty; NaN where it is not known.
    """

    def __init__(self, prefix: str = "", *, name: str, **kwargs: Any) -> None:
        self._values: dict[str, float] = {}
        super().__init__(prefix, name=name, **kwargs)
        self.reset()

    @property
    def roles(self) -> dict[str, str]:
        """Role -> data key."""
        return {role: f"{self.name}_{entry}" for role, entry in FILM_RECORD_ROLES.items()}

    def reset(self) -> None:
        """Forget the last film."""
        self.publish(-1, 0, math.nan, math.nan)

    def publish(self, first: int, count: int, offset: float, uncertainty: float) -> None:
        """Take note of a film: its first frame, how many, and the camera's clock (s)."""
        values = (first, count, offset, uncertainty)
        self._values = dict(zip(LAYOUT.settings, values, strict=True))

    def read(self) -> Any:
        """Return the frames of the last film."""
        return LAYOUT.reading(self.name, self._values)

    def describe(self) -> Any:
        """Return the data keys."""
        return LAYOUT.describe(self.name, f"device:{self.name}/")


class FilmClock:
    """Bounds the camera's clock by the controller's, from the order of events.

    A frame is stamped after the camera was told to start and before the frame is seen. With t the
    camera's time stamps and c the controller's clock, ``t_last - c_end <= offset <= t_first -
    c_begin``, whatever the camera's delays; where the first frame is seen at ``c_arrived``, also
    ``t_first - c_arrived <= offset``.

    Parameters
    ----------
    clock : callable or None
        The controller's UTC, s since 1970.
    """

    def __init__(self, clock: Callable[[], float] | None) -> None:
        self._clock = clock
        self._begin = self._arrived = self._end = math.nan

    def _now(self) -> float:
        return self._clock() if self._clock is not None else math.nan

    def begin(self) -> None:
        """Just before the camera is told to start."""
        self._begin = self._now()

    def arrived(self) -> None:
        """Just after the first frame was seen."""
        self._arrived = self._now()

    def end(self) -> None:
        """Just after the camera has stopped."""
        self._end = self._now()

    def compare(self, first: float, last: float) -> tuple[float, float]:
        """Offset of the camera's clock and its standard uncertainty, s.

        Parameters
        ----------
        first, last : float
            Time stamps of the film's first and last frame, s since 1990-01-01.

        Returns
        -------
        tuple of float
            Middle of the bounds and their half width over the square root of 3 (a uniform
            distribution); NaN without a clock, or where the bounds contradict each other.
        """
        highest = first + EPICS_EPOCH - self._begin
        lowest = last + EPICS_EPOCH - self._end
        if math.isfinite(self._arrived):
            lowest = max(lowest, first + EPICS_EPOCH - self._arrived)
        if not (math.isfinite(highest) and math.isfinite(lowest)):
            return math.nan, math.nan
        half = (highest - lowest) / 2
        if half < 0:
            # rounding of time stamps, or a clock that was set meanwhile
            return ((highest + lowest) / 2, abs(half)) if half > -1e-3 else (math.nan, math.nan)
        return (highest + lowest) / 2, half / math.sqrt(3)
