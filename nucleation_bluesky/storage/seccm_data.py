"""Landings of a pipette as the input of the analysis, whatever their origin."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nucleation_bluesky.analysis.seccm.steps import Planned
from nucleation_bluesky.analysis.seccm.trace import Trace

BLOCK_BYTES = 32e6  # of a film fetched at a time
HELD_BYTES = 500e6  # of a film held in memory during its analysis
CLOCK_SLACK = 10.0  # s that two clocks may be apart beyond what they recorded


@dataclass(frozen=True)
class Movie:
    """A film of one landing.

    Parameters
    ----------
    frames : array-like, shape (n, y, x)
        Camera counts (shape, dtype and slicing suffice); read only where needed.
    timestamps : ndarray, shape (n,)
        s on the camera's clock, increasing.
    pixel_size : float
        m.
    clock_offset : float or None
        Known offset: electrochemistry's time = timestamps + offset, s. None: the clocks agree but
        for an unknown small offset.
    clock_uncertainty : float
        Standard uncertainty of a known offset, s.
    frame_ids : ndarray of int, shape (n,), or None
        The camera's own count.
    """

    frames: Any
    timestamps: np.ndarray
    pixel_size: float
    clock_offset: float | None = None
    clock_uncertainty: float = 0.0
    frame_ids: np.ndarray | None = None

    @property
    def times(self) -> np.ndarray:
        """Timestamps on the electrochemistry's clock as far as it is known, s."""
        return self.timestamps + (self.clock_offset or 0.0)


@dataclass(frozen=True)
class Landing:
    """One landing.

    Parameters
    ----------
    trace : Trace
        Electrochemistry of the whole landing, potentials on the set's scale.
    technique : str
        One of `electrochemistry.TECHNIQUES`.
    movie : Movie or None
        Film.
    site : int
        Index in the plan's list.
    x, y : float
        m; NaN where unknown.
    row, col : int
        -1 where not gridded.
    condition, repeat : int
        -1 where there are none.
    termination : str
        What the controller said.
    contact : bool or None
        Whether the meniscus touched; None where not recorded.
    contact_time : float or None
        On the trace's clock, s.
    contact_z, overtravel : float
        m; NaN where unknown.
    false_contacts : int
        Spikes rejected.
    planned : mapping of int to Planned
        The program by step number.
    footprint_area : float or None
        m2, where somebody measured it.
    speeds : tuple of float
        Of approach and retract, m/s; NaN where unknown.
    """

    trace: Trace
    technique: str
    movie: Movie | None = None
    site: int = 0
    x: float = float("nan")
    y: float = float("nan")
    row: int = -1
    col: int = -1
    condition: int = -1
    repeat: int = -1
    termination: str = ""
    contact: bool | None = None
    contact_time: float | None = None
    contact_z: float = float("nan")
    overtravel: float = float("nan")
    false_contacts: int = 0
    planned: Mapping[int, Planned] = field(default_factory=dict)
    footprint_area: float | None = None
    speeds: tuple[float, float] = (float("nan"), float("nan"))


@dataclass(frozen=True)
class LandingSet:
    """Landings of one file or of joined runs.

    Parameters
    ----------
    landings : sequence of Landing
        In the order in which they were made.
    reference_scale : str
        Name of the scale of all potentials.
    reference_offset : mapping or None
        ``scale`` and ``offset`` (V) that were added to the raw potentials, None for raw ones.
    conditions : sequence of mapping
        The screen's table.
    attrs : mapping
        Sample, uids, problems and whatever else the source said.
    """

    landings: Sequence[Landing]
    reference_scale: str = ""
    reference_offset: Mapping[str, Any] | None = None
    conditions: Sequence[Mapping[str, Any]] = ()
    attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Channel:
    """A further channel: its unit and one array per landing, as long as the landing's trace."""

    unit: str
    rows: Sequence[np.ndarray]


class FrameWindow:
    """Some consecutive frames of a longer film, read only where needed.

    Parameters
    ----------
    source : array-like, shape (n, y, x)
        Anything with shape, dtype and slicing.
    first, count : int
        Which frames.
    """

    ndim = 3

    def __init__(self, source: Any, first: int, count: int) -> None:
        self._source, self._first = source, first
        self.shape = (count, *source.shape[1:])
        self.dtype = source.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, *rest = key if isinstance(key, tuple) else (key,)
        if isinstance(rows, slice):
            start, stop, step = rows.indices(self.shape[0])
            chosen: Any = slice(self._first + start, self._first + stop, step)
        else:
            chosen = self._first + range(self.shape[0])[rows]
        return np.asarray(self._source[(chosen, *rest)])


def at_hand(frames: Any, most: float = HELD_BYTES) -> Any:
    """Return frames in memory where they are few enough, else as they are.

    An analysis goes through a film several times; a short one is fetched once.

    Parameters
    ----------
    frames : array-like, shape (n, y, x)
    most : float
        Bytes that may be held.
    """
    size = float(np.prod(frames.shape, dtype=float)) * np.dtype(frames.dtype).itemsize
    if isinstance(frames, np.ndarray) or size > most:
        return frames
    held = np.empty(frames.shape, frames.dtype)
    step = max(1, int(BLOCK_BYTES * len(held) / max(size, 1)))
    for first in range(0, len(held), step):
        held[first : first + step] = frames[first : first + step]
    return held


def overlap_problem(time: np.ndarray, film: np.ndarray) -> str | None:
    """Say why a film and its electrochemistry cannot belong together, None where they can.

    Parameters
    ----------
    time : ndarray
        Of the samples, s.
    film : ndarray
        Of the frames, on the same clock but for ``CLOCK_SLACK``, s.
    """
    gap = max(film[0] - time[-1], time[0] - film[-1])
    if gap <= CLOCK_SLACK:
        return None
    return (
        f"movie ({film[0]:.6g} to {film[-1]:.6g} s) and electrochemistry ({time[0]:.6g} to "
        f"{time[-1]:.6g} s) do not overlap in time: they are not of the same landing, or the "
        "attribute 'clock_offset' (s, electrochemistry minus movie) on 'movie' is missing"
    )
