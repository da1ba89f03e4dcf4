"""Finding runs in Tiled."""

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from typing import Any

from tiled.queries import Comparison, Eq, KeyPresent, Like, SpecsQuery

from nucleation_bluesky.contract.documents import START_KEY

STATES = ("running", "success", "abort", "fail")
LATEST_FIRST = ("start.time", -1)  # key and direction
_ARE_RUNS = SpecsQuery(include=["BlueskyRun"], exclude=[])
_DATE = re.compile(r"\d{4}-?\d{2}-?\d{2}")


class RunNotFoundError(LookupError):
    """No run, or more than one, answers a description."""


@dataclass(frozen=True)
class RunInfo:
    """One run of the catalogue, without its data.

    Parameters
    ----------
    uid : str
        Identifier.
    scan_id : int or None
        Number in its session.
    time : float
        Start, seconds since 1970 (UTC).
    plan, sample, technique, operator : str
        "" where the start document does not say.
    state : str
        "running" (or unfinished: no stop document), "success", "abort" or "fail".
    reason : str
        Of an abort or failure.
    num_events : dict of str to int
        Events per stream, from the stop document.
    client : tiled client or None
        The run's node; None where runs are listed without clients (`list_runs`).
    """

    uid: str
    scan_id: int | None
    time: float
    plan: str
    sample: str
    technique: str
    operator: str
    state: str
    reason: str
    num_events: dict[str, int]
    client: Any


def describe_run(metadata: Mapping[str, Any], client: Any = None) -> RunInfo:
    """Summarise a run from the metadata of its node."""
    start = metadata["start"]
    stop = metadata.get("stop") or {}
    block = start.get(START_KEY) or {}
    return RunInfo(
        uid=start["uid"],
        scan_id=start.get("scan_id"),
        time=float(start["time"]),
        plan=str(start.get("plan_name", "")),
        sample=str(block.get("sample", start.get("sample", ""))),
        technique=str(block.get("technique", "")),
        operator=str(start.get("operator", "")),
        state=str(stop.get("exit_status", "running")),
        reason=str(stop.get("reason", "")),
        num_events=dict(stop.get("num_events") or {}),
        client=client,
    )


def _runs(client: Any) -> Any:
    return client.search(_ARE_RUNS)


def _timestamp(when: float | str | datetime, *, end: bool = False) -> float:
    """Return seconds since 1970; a date alone means its beginning, or with ``end`` its end."""
    if isinstance(when, str):
        try:
            parsed = datetime.fromisoformat(when)
        except ValueError:
            raise ValueError(
                f"'{when}' is not a date; write it as 2026-01-31 or 2026-01-31T12:00"
            ) from None
        when = parsed + timedelta(days=1) if end and _DATE.fullmatch(when) else parsed
    return when.timestamp() if isinstance(when, datetime) else float(when)


@dataclass(frozen=True)
class RunFilter:
    """Which runs are asked for; the arguments are those of `find_runs`."""

    sample: str | None = None
    technique: str | None = None
    operator: str | None = None
    since: float | str | datetime | None = None
    until: float | str | datetime | None = None
    state: str | None = None

    def queries(self) -> list[Any]:
        """Return what a Tiled server is asked, all of which has to hold.

        Raises
        ------
        ValueError
            If the state or a date is none.
        """
        if self.state is not None and self.state not in STATES:
            raise ValueError(f"'{self.state}' is not a state of a run ({', '.join(STATES)})")
        unfinished = self.state == "running"
        equal = {
            f"start.{START_KEY}.sample": self.sample,
            f"start.{START_KEY}.technique": self.technique,
            "start.operator": self.operator,
            "stop.exit_status": None if unfinished else self.state,
        }
        found: list[Any] = [_ARE_RUNS]
        found += [Eq(key, value) for key, value in equal.items() if value is not None]
        if unfinished:
            found.append(KeyPresent("stop", exists=False))
        if self.since is not None:
            found.append(Comparison("ge", "start.time", _timestamp(self.since)))
        if self.until is not None:
            found.append(Comparison("lt", "start.time", _timestamp(self.until, end=True)))
        return found


def find_runs(
    client: Any,
    *,
    sample: str | None = None,
    technique: str | None = None,
    operator: str | None = None,
    since: float | str | datetime | None = None,
    until: float | str | datetime | None = None,
    state: str | None = None,
    limit: int | None = None,
) -> list[RunInfo]:
    """Return runs, the latest first; the server does the searching.

    Parameters
    ----------
    client : tiled client
        Container of runs.
    sample, technique : str, optional
        As in the start document's ``nucleation`` block.
    operator : str, optional
        As in the start document.
    since, until : float, str or datetime, optional
        Of the run's start: seconds since 1970, ISO date or datetime (local time where it names no
        zone). A date alone as ``until`` includes that day.
    state : str, optional
        "running" (or unfinished), "success", "abort" or "fail".
    limit : int, optional
        At most so many.

    Raises
    ------
    ValueError
        If the state or a date is none.
    """
    asked = RunFilter(sample, technique, operator, since, until, state)
    found = reduce(lambda node, query: node.search(query), asked.queries(), client)
    return [describe_run(node.metadata, node) for node in _latest_first(found)[:limit]]


def _latest_first(found: Any) -> Any:
    """Return a sequence that asks the server for what is taken from it, and no more."""
    return found.sort(LATEST_FIRST).values()


def open_run(client: Any, which: str | int = -1) -> Any:
    """Return one run's node.

    Parameters
    ----------
    client : tiled client
        Container of runs.
    which : str or int
        A uid or its first characters (6 or more); a scan_id (greater than 0; the latest run of
        that number); 0 or below counts back from the latest run (-1).

    Raises
    ------
    RunNotFoundError
        If there is no such run, or several begin alike.
    """
    if isinstance(which, int):
        return _by_number(client, which)
    if which.lstrip("-").isdigit() and len(which) < 6:
        return _by_number(client, int(which))
    try:
        node = client[which]
        if "start" in node.metadata:
            return node
    except KeyError:
        pass
    return open_by_prefix(client, which)


def open_by_prefix(client: Any, beginning: str) -> Any:
    """Return the one run whose uid begins with ``beginning`` (6 characters or more).

    Raises
    ------
    RunNotFoundError
        If there is none, or there are several.
    """
    if len(beginning) < 6:
        raise RunNotFoundError(f"no run '{beginning}'; give at least 6 characters of its uid")
    matching: list[Any] = []
    if re.fullmatch(r"[0-9A-Za-z-]+", beginning):  # no wildcards of the query
        matching = _runs(client).search(Like("start.uid", f"{beginning}%")).values()[:2]
    if len(matching) != 1:
        what = "several runs" if matching else "no run"
        raise RunNotFoundError(f"{what} with a uid that begins with '{beginning}'; list the runs")
    return matching[0]


def _by_number(client: Any, asked: int) -> Any:
    found = _runs(client)
    back = max(-asked - 1, 0)
    if asked > 0:
        found, back = found.search(Eq("start.scan_id", asked)), 0
    try:
        return _latest_first(found)[back]
    except IndexError:
        raise RunNotFoundError(f"there is no run number {asked}; list the runs") from None


def series_of(client: Any, run: Any) -> list[Any]:
    """Return the runs that are to be read as one map with ``run``, in order of time.

    Parameters
    ----------
    client : tiled client
        Container of runs.
    run : tiled client
        One of them.
    """
    start = run.metadata["start"]
    block = start.get(START_KEY) or {}
    series = block.get("series") or block.get("continues") or start["uid"]
    nodes = {start["uid"]: run}
    for node in _runs(client).search(Eq(f"start.{START_KEY}.series", series)).values():
        nodes[node.metadata["start"]["uid"]] = node
    if series not in nodes:
        with contextlib.suppress(KeyError):
            nodes[series] = client[series]  # the first run did not know that it begins a series
    nodes = {uid: node for uid, node in nodes.items() if "start" in node.metadata}
    return sorted(nodes.values(), key=lambda node: node.metadata["start"]["time"])
