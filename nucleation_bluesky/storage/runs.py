"""Finding runs in Tiled."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tiled.queries import Comparison, Eq, SpecsQuery

from nucleation_bluesky.contract.documents import START_KEY

STATES = ("running", "success", "abort", "fail")


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
    plan, sample, technique : str
        "" where the start document does not say.
    state : str
        "running" (or unfinished: no stop document), "success", "abort" or "fail".
    reason : str
        Of an abort or failure.
    num_events : dict of str to int
        Events per stream, from the stop document.
    client : tiled client
        The run's node.
    """

    uid: str
    scan_id: int | None
    time: float
    plan: str
    sample: str
    technique: str
    state: str
    reason: str
    num_events: dict[str, int]
    client: Any


def describe_run(client: Any) -> RunInfo:
    """Summarise a run's node."""
    start = client.metadata["start"]
    stop = client.metadata.get("stop") or {}
    block = start.get(START_KEY) or {}
    return RunInfo(
        uid=start["uid"],
        scan_id=start.get("scan_id"),
        time=float(start["time"]),
        plan=str(start.get("plan_name", "")),
        sample=str(block.get("sample", start.get("sample", ""))),
        technique=str(block.get("technique", "")),
        state=str(stop.get("exit_status", "running")),
        reason=str(stop.get("reason", "")),
        num_events=dict(stop.get("num_events") or {}),
        client=client,
    )


def _runs(client: Any) -> Any:
    return client.search(SpecsQuery(include=["BlueskyRun"], exclude=[]))


def _timestamp(since: float | str | datetime) -> float:
    if isinstance(since, str):
        try:
            since = datetime.fromisoformat(since)
        except ValueError:
            raise ValueError(
                f"'{since}' is not a date; write it as 2026-01-31 or 2026-01-31T12:00"
            ) from None
    return since.timestamp() if isinstance(since, datetime) else float(since)


def find_runs(
    client: Any,
    *,
    sample: str | None = None,
    technique: str | None = None,
    since: float | str | datetime | None = None,
    state: str | None = None,
    limit: int | None = None,
) -> list[RunInfo]:
    """Return runs, the latest first.

    Parameters
    ----------
    client : tiled client
        Container of runs.
    sample, technique : str, optional
        As in the start document's ``nucleation`` block.
    since : float, str or datetime, optional
        Seconds since 1970, ISO date or datetime (local time where it names no zone).
    state : str, optional
        "running", "success", "abort" or "fail".
    limit : int, optional
        At most so many.

    Raises
    ------
    ValueError
        If the state or the date is none.
    """
    if state is not None and state not in STATES:
        raise ValueError(f"'{state}' is not a state of a run ({', '.join(STATES)})")
    found = _runs(client)
    if sample is not None:
        found = found.search(Eq(f"start.{START_KEY}.sample", sample))
    if technique is not None:
        found = found.search(Eq(f"start.{START_KEY}.technique", technique))
    if since is not None:
        found = found.search(Comparison("ge", "start.time", _timestamp(since)))
    infos = (describe_run(node) for node in _latest_first(found))
    picked = (info for info in infos if state is None or info.state == state)
    return [info for number, info in enumerate(picked) if limit is None or number < limit]


def _latest_first(found: Any) -> Iterator[Any]:
    return iter(found.sort(("start.time", -1)).values())


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
    if len(which) < 6:
        raise RunNotFoundError(f"no run '{which}'; give at least 6 characters of its uid")
    matching = [key for key in _runs(client).keys() if key.startswith(which)]  # noqa: SIM118
    if len(matching) != 1:
        what = "no run" if not matching else f"{len(matching)} runs"
        raise RunNotFoundError(f"{what} with a uid that begins with '{which}'; list the runs")
    return client[matching[0]]


def _by_number(client: Any, number: int) -> Any:
    if number > 0:
        found = list(_latest_first(_runs(client).search(Eq("start.scan_id", number))))
        index = 0
    else:
        found = _latest_first(_runs(client))
        index = max(-number - 1, 0)
        found = [node for position, node in zip(range(index + 1), found, strict=False)]
    if len(found) <= index:
        raise RunNotFoundError(f"there is no run number {number}; list the runs")
    return found[index]


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
