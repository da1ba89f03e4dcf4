"""The state of a followed run as plain values, for the page and for tests."""

import math
import time
from collections.abc import Iterable
from typing import Any

import numpy as np

from nucleation_bluesky.contract.documents import START_KEY
from nucleation_bluesky.live.follower import Follower, LiveRun, Point, last_curves

UNITS = {"bias": "V", "potential": "V", "current": "A", "height": "m", "z": "m"}


def _plain(value: float, digits: int = 7) -> float | None:
    """Return a JSON number; None for NaN and infinity."""
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def _points(points: Iterable[Point]) -> list[list[Any]]:
    return [[_plain(p.x), _plain(p.y), _plain(p.value), p.termination] for p in points]


def state_of(follower: Follower, since: int = 0, uid: str = "") -> dict[str, Any]:
    """Return what the page shows.

    Parameters
    ----------
    follower : Follower
        Polled by the caller.
    since, uid : int, str
        Points the reader has already, of the run it has them of; others are sent.
    """
    run = follower.run
    now = {"state": follower.state, "time": time.time(), "problem": follower.problem}
    if run is None:
        return {**now, "uid": ""}
    first = since if uid == run.start["uid"] else 0
    return {**now, **_header(run), "first": first, "points": _points(run.points[first:])}


def _header(run: LiveRun) -> dict[str, Any]:
    block, summary = run.start.get(START_KEY) or {}, run.summary
    median = summary.median_bias
    grid = block.get("grid") or {}
    return {
        "uid": run.start["uid"],
        "plan": str(run.start.get("plan_name", "")),
        "technique": str(block.get("technique", "")),
        "sample": str(block.get("sample", "")),
        "started": float(run.start["time"]),
        "done": summary.done,
        "total": summary.total,
        "share": summary.share,
        "median_bias": None if median is None else _plain(median),
        "time_left": summary.time_left,
        "sentence": summary.sentence(),
        "shown": list(run.shown),
        "pitch": grid.get("pitch"),
    }


def curves_of(run: LiveRun | None) -> dict[str, Any]:
    """Return the last site's curves: role to unit and values."""
    if run is None:
        return {}
    return {
        role: {"unit": UNITS.get(role, "1"), "values": [_plain(v, 5) for v in np.asarray(values)]}
        for role, values in last_curves(run).items()
    }
