"""Events of one stream by role, complete or refused."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from nucleation_bluesky.contract.documents import (
    PRIMARY_ROLES,
    START_KEY,
    TOPOGRAPHY_ROLES,
)

_TABLE = "internal"


class IncompleteRunError(RuntimeError):
    """A run has not ended, or a part of its data is missing."""


class NotReadableError(ValueError):
    """A run does not hold what was asked for."""


@dataclass(frozen=True)
class EventTable:
    """Events of a stream in order of their number.

    Parameters
    ----------
    stream : tiled client
        The stream's node (plain container).
    keys : dict of str to str
        Role to data key.
    columns : dict of str to ndarray
        Role to values, one per event; array-valued roles have shape (n, m).
    n : int
        Events.
    problems : list of str
        Why the run is not complete; empty if it is.
    """

    stream: Any
    keys: dict[str, str]
    columns: dict[str, np.ndarray]
    n: int
    problems: list[str]

    def get(self, role: str, default: float) -> np.ndarray:
        """Values of a role as floats, shape (n,); ``default`` where the run has none."""
        if role in self.columns:
            return np.asarray(self.columns[role], dtype=float)
        return np.full(self.n, default)

    def external(self, role: str) -> Any | None:
        """Return the array node of an external role, None where the run has none."""
        key = self.keys.get(role)
        if key is None or key not in set(self.stream.keys()):
            return None
        return self.stream[key]

    @property
    def data_keys(self) -> dict[str, Any]:
        """The stream's data keys."""
        return self.stream.metadata["data_keys"]


def roles_of(run: Any, data_keys: dict[str, Any], wanted: dict[str, Any]) -> dict[str, str]:
    """Map roles to data keys: by the start document, or by ``<device>_<role>``.

    Parameters
    ----------
    run : tiled client
        The run.
    data_keys : dict
        Of the stream.
    wanted : dict
        Roles to look for.
    """
    start = run.metadata["start"]
    named = (start.get(START_KEY) or {}).get("roles") or {}
    roles = {role: key for role, key in named.items() if role in wanted and key in data_keys}
    if roles:
        return roles
    found: dict[str, dict[str, str]] = {}
    for key in data_keys:
        for role in wanted:
            if key == role or key.endswith(f"_{role}"):
                found.setdefault(key.removesuffix(role), {})[role] = key
    return max(found.values(), key=len, default={})


def _plain(node: Any) -> Any:
    return node.base if hasattr(node, "base") else node


def _ending_problems(run: Any, stream: str, rows: int) -> list[str]:
    stop = run.metadata.get("stop")
    if not stop:
        return ["it has no stop document: it is still running, or its session died"]
    announced = (stop.get("num_events") or {}).get(stream)
    if announced is not None and announced != rows:
        return [f"its stream '{stream}' has {rows} of {announced} events"]
    return []


def read_events(run: Any, stream: str, wanted: dict[str, Any] | None = None) -> EventTable:
    """Read the events of a stream.

    Parameters
    ----------
    run : tiled client
        The run.
    stream : str
        Name of the stream.
    wanted : dict, optional
        Roles; those of exposures if not given.

    Raises
    ------
    NotReadableError
        If the run has no such stream, or none of the roles in it.
    """
    wanted = wanted or (TOPOGRAPHY_ROLES if stream.startswith("topography") else PRIMARY_ROLES)
    base = _plain(run)
    try:
        node = _plain(base[stream])
    except KeyError:
        raise NotReadableError(
            f"run {run.metadata['start']['uid'][:8]} has no stream '{stream}'"
        ) from None
    data_keys = node.metadata["data_keys"]
    keys = roles_of(run, data_keys, wanted)
    if not keys:
        raise NotReadableError(
            f"stream '{stream}' of run {run.metadata['start']['uid'][:8]} holds none of our data"
        )
    children = set(node.keys())
    inside = {r: k for r, k in keys.items() if "external" not in data_keys[k]}
    columns: dict[str, np.ndarray] = {}
    n = 0
    if _TABLE in children:
        table = node[_TABLE]
        present = set(table.columns)
        names = ["seq_num", *(k for k in inside.values() if k in present)]
        frame = table.read(names)
        order = np.argsort(np.asarray(frame["seq_num"]), kind="stable")
        n = len(order)
        for role, key in inside.items():
            if key not in present:
                continue
            if data_keys[key]["dtype"] == "array":  # the table gives lists as strings
                values = np.asarray(table[key].read(), dtype=float)
            else:
                values = np.asarray(frame[key])
            columns[role] = values[:n][order]
    for role, key in inside.items():
        if key in children:
            columns[role] = np.asarray(node[key].read())[:n]
    short = [role for role, values in columns.items() if len(values) < n]
    problems = _ending_problems(run, stream, n)
    problems += [f"'{role}' is missing for some events" for role in short]
    if short:
        n = min(len(values) for values in columns.values())
        columns = {role: values[:n] for role, values in columns.items()}
    return EventTable(node, keys, columns, n, problems)
