"""Follow the latest run of a data directory while its journal is being written."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import h5py
import numpy as np

from nucleation_bluesky.callbacks.journal_reader import (
    JournalDamagedError,
    JournalReader,
    is_open,
    journals,
)
from nucleation_bluesky.callbacks.map_summary import MapSummary
from nucleation_bluesky.contract.documents import PRIMARY_STREAM, START_KEY
from nucleation_bluesky.contract.enums import Termination

CURVE_POINTS = 600
LAST_POINTS = 20  # never thinned
# by role: quantity of the map, the first that a run has
SHOWN = (("stop_bias", "V"), ("charge", "C"))
LEAST_INTERVAL = 0.2  # s between two pictures: drawing one takes about as long
# by role: waveforms of the last site; the first is the abscissa
CURVES = (("bias", "current", "height"), ("potential", "current", "z"))


@dataclass
class Point:
    """One exposure on the map (x, y in m; value in the map's unit, NaN without)."""

    x: float
    y: float
    value: float
    termination: str


@dataclass
class LiveRun:
    """What is known of a run so far.

    Parameters
    ----------
    start : mapping
        Start document.
    points : list of Point
        In the order of exposure.
    shown : tuple of str
        Role and unit of the points' values.
    """

    start: Mapping[str, Any]
    summary: MapSummary = field(default_factory=MapSummary)
    points: list[Point] = field(default_factory=list)
    shown: tuple[str, str] = SHOWN[0]
    resources: dict[str, dict[str, Any]] = field(default_factory=dict)
    firsts: dict[str, int] = field(default_factory=dict)  # first index of each file
    rows: dict[str, tuple[str, int]] = field(default_factory=dict)  # last row by data key
    samples: int = 0

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to data key."""
        return (self.start.get(START_KEY) or {}).get("roles") or {}


class Follower:
    """Reads what is new each time it is asked.

    Parameters
    ----------
    data : Path
        Data directory of the session.
    """

    def __init__(self, data: Path) -> None:
        self.directory = data / "journal"
        self.run: LiveRun | None = None
        self.path: Path | None = None
        self.problem = ""
        self._reader: JournalReader | None = None
        self._primary: set[str] = set()
        self._seen: tuple[str, int, str] | None = None

    def close(self) -> None:
        """Close the journal."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def poll(self) -> LiveRun | None:
        """Read on; a newer run takes the place of the one followed so far."""
        found = journals(self.directory) if self.directory.is_dir() else []
        if not found:
            return None
        latest = max(found, key=_age)
        if self._reader is None or self.path is None or _stem(latest) != _stem(self.path):
            self._open(latest)
        self.path = latest
        if self._reader is None:
            return None
        try:
            while documents := self._reader.read():
                for name, doc in documents:
                    self._take(name, doc)
        except JournalDamagedError as error:
            self.problem = str(error)
        return self.run

    @property
    def state(self) -> str:
        """'waiting', 'running', 'interrupted' (its session is dead), or how the run ended."""
        if self.run is None or self._reader is None:
            return "waiting"
        if self.run.summary.exit_status:
            return self.run.summary.exit_status
        open_still = self.path is not None and is_open(self.path)
        return "running" if open_still and self._reader.owner.alive() else "interrupted"

    def changed(self) -> LiveRun | None:
        """Read on; return the run if there is more to show than at the last call."""
        run = self.poll()
        if run is None:
            return None
        seen = (run.start["uid"], len(run.points), self.state)
        if seen == self._seen:
            return None
        self._seen = seen
        return run

    def _open(self, path: Path) -> None:
        self.close()
        try:
            self._reader = JournalReader(path)
        except FileNotFoundError:
            return  # renamed on closing between listing and opening; found at the next poll
        self.run, self.problem, self._primary = None, "", set()

    def _take(self, name: str, doc: dict[str, Any]) -> None:
        if name == "start":
            self.run = LiveRun(doc)
            known = self.run.roles
            self.run.shown = next((pair for pair in SHOWN if pair[0] in known), SHOWN[0])
        run = self.run
        if run is None:
            return
        run.summary.take(name, doc)
        if name == "descriptor" and doc.get("name") == PRIMARY_STREAM:
            self._primary.add(doc["uid"])
        elif name == "event" and doc["descriptor"] in self._primary:
            _point(run, doc["data"])
        elif name == "stream_resource":
            run.resources[doc["uid"]] = doc
        elif name == "stream_datum" and doc["descriptor"] in self._primary:
            resource = run.resources.get(doc["stream_resource"])
            if resource is not None:
                # indices count through all files of a key, a file's own rows from 0
                first = run.firsts.setdefault(resource["uid"], doc["indices"]["start"])
                row = doc["indices"]["stop"] - 1 - first
                run.rows[resource["data_key"]] = (resource["uid"], row)


def _age(path: Path) -> tuple[str, int]:
    """Second of its start, as its name says, then its last change."""
    try:
        return path.name.partition("_")[0], path.stat().st_mtime_ns
    except FileNotFoundError:  # renamed on closing
        return path.name.partition("_")[0], 0


def _stem(path: Path) -> str:
    return path.name.split(".")[0]


def _number(data: Mapping[str, Any], key: str | None) -> float:
    value = data.get(key) if key else None
    return float(value) if isinstance(value, (int, float)) else math.nan


def _point(run: LiveRun, data: Mapping[str, Any]) -> None:
    roles = run.roles
    number = _number(data, roles.get("termination"))
    known = math.isfinite(number) and int(number) in set(Termination)
    run.points.append(
        Point(
            _number(data, roles.get("x")),
            _number(data, roles.get("y")),
            _number(data, roles.get(run.shown[0])),
            Termination(int(number)).label if known else "",
        )
    )
    count = _number(data, roles.get("n_samples"))
    run.samples = int(count) if math.isfinite(count) else 0


def last_curves(run: LiveRun) -> dict[str, np.ndarray]:
    """Return the last site's waveforms, thinned to a drawable number of points.

    Returns
    -------
    dict of str to ndarray
        By role; the first is the abscissa. Empty where the run has none, or a file is not there.
    """
    keys = next((names for names in CURVES if names[0] in run.roles), ())
    curves: dict[str, np.ndarray] = {}
    for role in keys:
        where = run.rows.get(run.roles.get(role, ""))
        if where is None:
            continue
        values = _row(run, *where)
        if values is None:
            return {}
        curves[role] = values
    if not curves:
        return {}
    count = min([run.samples or CURVE_POINTS, *map(len, curves.values())])
    kept = np.arange(0, count, max(1, count // CURVE_POINTS))
    # the end is where a trip is seen
    kept = np.union1d(kept, np.arange(max(0, count - LAST_POINTS), count))
    return {role: values[kept] for role, values in curves.items()}


def _row(run: LiveRun, uid: str, row: int) -> np.ndarray | None:
    """Read one row of a file that its controller may still be writing."""
    resource = run.resources[uid]
    path = Path(unquote(urlparse(resource["uri"]).path))
    try:
        with h5py.File(path, "r", swmr=True, locking=False) as file:
            data: Any = file[resource["parameters"]["dataset"]]
            return np.asarray(data[row], dtype=float)
    except (OSError, KeyError, ValueError, IndexError):
        return None  # not there yet, or not ours to read
