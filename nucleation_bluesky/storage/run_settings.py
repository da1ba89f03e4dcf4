"""Ramp, compliance and grid of a run, from its documents."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from nucleation_bluesky.contract.documents import START_KEY
from nucleation_bluesky.storage.event_table import EventTable, NotReadableError


@dataclass(frozen=True)
class RampSettings:
    """The programmed ramp of every site (arrays of shape (n,)) and the compliance enforced."""

    bias_start: np.ndarray
    bias_stop: np.ndarray
    ramp_rate: np.ndarray
    sample_rate: np.ndarray
    fast_end: np.ndarray | None
    constant_rate: bool
    mode: str
    current_compliance: float | None
    height_compliance: float | None


@dataclass(frozen=True)
class Grid:
    """Positions of the sites, and their lattice if they lie on one."""

    x: np.ndarray
    y: np.ndarray
    row: np.ndarray | None
    col: np.ndarray | None
    shape: tuple[int, int] | None
    pitch: float | None


def _table(events: EventTable, role: str, programmed: list[float]) -> np.ndarray:
    found = events.columns.get(role)
    if found is not None:
        return np.asarray(found, dtype=float).reshape(events.n, -1)
    if not programmed:
        raise NotReadableError(f"the run says neither per site nor at its start what '{role}' were")
    return np.tile(np.asarray(programmed, dtype=float), (events.n, 1))


def ramp_settings(run: Any, events: EventTable) -> RampSettings:
    """Collect what was programmed.

    The measuring segment of a site with a fast approach is its second one; else the one the
    start document names, else the last.

    Raises
    ------
    NotReadableError
        If the run does not say what the ramps were.
    """
    block = run.metadata["start"].get(START_KEY) or {}
    ramp = block.get("ramp") or {}
    vertices = _table(events, "vertices", ramp.get("vertices") or [])
    rates = _table(events, "rates", ramp.get("rates") or [])
    begin = events.get("ramp_start", float(ramp.get("start", 0.0)))
    segments = np.isfinite(vertices).sum(axis=1)
    fast = events.columns.get("fast_segment_end")
    fast_end = None if fast is None else np.asarray(fast, dtype=float)
    named = ramp.get("measuring_segment")
    measuring = segments - 1 if named is None else np.full(events.n, int(named))
    if fast_end is not None:
        approached = np.isfinite(fast_end)
        measuring = np.where(approached, np.maximum(measuring, 1), measuring)
        fast_end = fast_end if approached.any() else None
    measuring = np.clip(measuring, 0, np.maximum(segments - 1, 0))
    site = np.arange(events.n)
    stop, rate = vertices[site, measuring], rates[site, measuring]
    before = np.column_stack([begin, vertices])[site, measuring]
    # an approach is part of one ramp; else the measuring segment starts where the last one ended
    approach = np.isfinite(np.full(events.n, np.nan) if fast_end is None else fast_end)
    direction = float(np.median(stop - before)) if events.n else 0.0
    mode, current, height = _compliance(block, events, direction)
    sample_rate = events.get("sample_rate", float(ramp.get("sample_rate", math.nan)))
    timed = events.external("sample_time") is not None  # then each sample has its own time
    if events.n and not timed and not np.all(sample_rate > 0):
        raise NotReadableError("the run does not say its sample rate")
    return RampSettings(
        bias_start=np.where(approach, begin, before),
        bias_stop=stop,
        ramp_rate=rate,
        sample_rate=sample_rate,
        fast_end=fast_end,
        constant_rate=bool(np.all(segments <= 1)),
        mode=mode,
        current_compliance=current,
        height_compliance=height,
    )


def _magnitude(window: Any, direction: float) -> float | None:
    if window is None:
        return None
    low, high = (math.nan if edge is None else float(edge) for edge in window)
    edge = low if direction < 0 else high
    return abs(edge) if math.isfinite(edge) else None


def _compliance(
    block: dict[str, Any], events: EventTable, direction: float
) -> tuple[str, float | None, float | None]:
    windows = block.get("compliance")
    if windows is None:
        windows = {
            channel: [
                _configured(events, f"compliance_{channel}_{edge}") for edge in ("low", "high")
            ]
            for channel in ("current", "height")
        }
    current = _magnitude(windows.get("current"), direction)
    height = _magnitude(windows.get("height"), 1.0)
    mode = {
        (True, True): "both",
        (True, False): "current",
        (False, True): "height",
        (False, False): "none",
    }[current is not None, height is not None]
    return mode, current, height


def _configured(events: EventTable, setting: str) -> float | None:
    """Look for a device's setting in the configuration of the stream's descriptor."""
    for device in (events.stream.metadata.get("configuration") or {}).values():
        for key, value in (device.get("data") or {}).items():
            if key.endswith(f"_{setting}"):
                return None if value is None else float(value)
    return None


def grid_of(start: dict[str, Any], events: EventTable) -> Grid:
    """Positions and lattice, from the run's own block or the stock keys of a grid scan."""
    grid = (start.get(START_KEY) or {}).get("grid") or {}
    row, col = (events.columns.get(role) for role in ("row", "col"))
    shape = tuple(int(v) for v in grid.get("shape", ())) or None
    if grid and row is not None and col is not None:
        row, col = row.astype(np.int64), col.astype(np.int64)
        if shape is not None and len(shape) == 2 and row.min(initial=0) >= 0:
            pitch = grid.get("pitch")
            return _grid(events, row, col, shape, None if pitch is None else float(pitch))
    return _stock_grid(start, events)


def _grid(
    events: EventTable,
    row: np.ndarray | None,
    col: np.ndarray | None,
    shape: tuple[int, ...] | None,
    pitch: float | None,
) -> Grid:
    two = None if shape is None else (shape[0], shape[1])
    return Grid(events.get("x", math.nan), events.get("y", math.nan), row, col, two, pitch)


def _stock_grid(start: dict[str, Any], events: EventTable) -> Grid:
    """`bluesky.plans.grid_scan`: first motor slow (rows), second fast."""
    shape, extents = start.get("shape"), start.get("extents")
    if not shape or len(shape) != 2 or not extents or math.prod(shape) < events.n:
        return _grid(events, None, None, None, None)
    number = np.arange(events.n)
    row, col = np.divmod(number, int(shape[1]))
    if (start.get("snaking") or [False, False])[1]:
        col = np.where(row % 2 == 1, int(shape[1]) - 1 - col, col)
    steps = [
        abs(high - low) / (count - 1)
        for (low, high), count in zip(extents, shape, strict=True)
        if count > 1
    ]
    square = bool(steps) and math.isclose(min(steps), max(steps), rel_tol=1e-6)
    return _grid(events, row, col, tuple(shape), steps[0] if square else None)
