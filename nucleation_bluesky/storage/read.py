"""A run from Tiled as the input of the analyses."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nucleation_bluesky.analysis.ramps import Instrument, Material, RampSet
from nucleation_bluesky.contract.documents import (
    PRIMARY_STREAM,
    START_KEY,
    TOPOGRAPHY_ROLES,
    TOPOGRAPHY_STREAMS,
)
from nucleation_bluesky.contract.enums import Termination
from nucleation_bluesky.storage.event_table import (
    EventTable,
    IncompleteRunError,
    NotReadableError,
    read_events,
)
from nucleation_bluesky.storage.images import Topographies, Topography
from nucleation_bluesky.storage.run_settings import RampSettings, grid_of, ramp_settings
from nucleation_bluesky.storage.runs import series_of
from nucleation_bluesky.storage.waveforms import read_ragged, rows_available

_SAMPLED = ("current", "height")


def load_ramps(
    run: Any, *, allow_partial: bool = False, join: bool = True, measured_bias: bool | None = None
) -> RampSet:
    """Read the ramps of a run.

    Parameters
    ----------
    run : tiled client
        A run: of ours, or of a stock plan over a ramp device (data keys ``<device>_<role>``).
    allow_partial : bool
        Read what is there of a run that has not ended, or that lacks data; ``attrs["problems"]``
        then says what is missing.
    join : bool
        Read an interrupted map and the runs that continue it as one set.
    measured_bias : bool or None
        Read the bias channel too (V per sample). None: only where the bias does not follow from
        one constant rate.

    Returns
    -------
    RampSet
        Sites in the order in which they were exposed. ``attrs`` holds ``run_uids``, ``sample``,
        ``technique``, ``uid`` (of the first run) and ``problems``.

    Raises
    ------
    IncompleteRunError
        If a run has not ended or lacks data, and ``allow_partial`` is False.
    NotReadableError
        If it holds no ramps.
    OutOfStepError
        If waveform files and events do not belong together.
    """
    runs = series_of(_parent(run), run) if join else [run]
    sets = [_load_one(one, allow_partial, measured_bias) for one in runs]
    return sets[0] if len(sets) == 1 else _joined(sets)


def load_topography(run: Any, *, allow_partial: bool = False, join: bool = True) -> Topographies:
    """Read the images taken before and after the ramps of a run.

    Of a joined series, the first image before and the last one after. A run of the technique
    "topography" gives its image as ``before``.

    Raises
    ------
    IncompleteRunError, NotReadableError
        As `load_ramps`; a run without images is not readable.
    """
    runs = series_of(_parent(run), run) if join else [run]
    images: dict[str, list[Topography]] = {}
    for one in runs:
        present = set(_base(one).keys())
        for stream in (*TOPOGRAPHY_STREAMS, PRIMARY_STREAM):
            if stream in present:
                images.setdefault(stream, []).extend(_images(one, stream, allow_partial))
    before = images.get(TOPOGRAPHY_STREAMS[0]) or images.get(PRIMARY_STREAM) or [None]
    after = images.get(TOPOGRAPHY_STREAMS[1]) or [None]
    if before[0] is None and after[-1] is None:
        raise NotReadableError(f"run {run.metadata['start']['uid'][:8]} holds no topography")
    return Topographies(before[0], after[-1])


def _base(run: Any) -> Any:
    return run.base if hasattr(run, "base") else run


def _parent(run: Any) -> Any:
    return _base(run).parent


def _refuse(run: Any, problems: Sequence[str], allow_partial: bool) -> None:
    if problems and not allow_partial:
        raise IncompleteRunError(
            f"run {run.metadata['start']['uid'][:8]} is not complete: {'; '.join(problems)}. "
            "Allow partial data to read what is there"
        )


def _load_one(run: Any, allow_partial: bool, measured_bias: bool | None) -> RampSet:
    events = read_events(run, PRIMARY_STREAM)
    if "current" not in events.keys and "n_samples" not in events.keys:
        raise NotReadableError(f"run {run.metadata['start']['uid'][:8]} holds no ramps")
    problems = list(events.problems)
    counts = events.get("n_samples", 0).astype(np.int64)
    n = events.n
    nodes = {role: events.external(role) for role in ("bias", *_SAMPLED)}
    for role, node in nodes.items():
        if node is None:
            if role in events.keys and n and counts.any():
                problems.append(f"the waveforms of '{role}' are missing")
        elif rows_available(node) < n:
            problems.append(f"'{role}' has {rows_available(node)} of {n} waveforms")
            n = rows_available(node)
    _refuse(run, problems, allow_partial)
    settings = ramp_settings(run, events)
    counts = np.maximum(counts[:n], 0)
    if all(nodes[role] is None for role in _SAMPLED):
        counts = np.zeros(n, dtype=np.int64)
    n_post = events.get("n_post", 0).astype(np.int64)[:n]
    if measured_bias is None:
        ingested = (run.metadata["start"].get(START_KEY) or {}).get("ingested")
        if ingested is not None:  # a file says whether its bias follows from rate and period
            measured_bias = bool(ingested.get("bias_recorded"))
        else:
            measured_bias = not (settings.constant_rate and not n_post.any())
    wanted = [role for role in ("bias", *_SAMPLED) if nodes[role] is not None]
    if not measured_bias and "bias" in wanted:
        wanted.remove("bias")
    read = dict(
        zip(wanted, read_ragged([nodes[r] for r in wanted], counts), strict=True) if wanted else ()
    )
    if (node := events.external("sample_time")) is not None:
        read["time"] = read_ragged([node], counts)[0].astype(float)
    return _ramp_set(run, events, settings, n, counts, n_post, read, problems)


def _ramp_set(
    run: Any,
    events: EventTable,
    settings: RampSettings,
    n: int,
    counts: np.ndarray,
    n_post: np.ndarray,
    read: dict[str, np.ndarray],
    problems: list[str],
) -> RampSet:
    start = run.metadata["start"]
    block = start.get(START_KEY) or {}
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    empty = np.full(offsets[-1], np.nan, dtype=np.float32)
    rates = settings.sample_rate[:n]
    uniform = n == 0 or bool(np.all(rates == rates[0]))
    time = read.get("time")
    if time is not None:
        period = _typical_period(time, offsets)
    else:
        period = float(1 / rates[0]) if n else math.nan
    if time is None and not uniform:
        number = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
        time = number / np.repeat(rates, counts)
    grid = grid_of(start, events)
    termination = events.columns.get("termination")
    return RampSet(
        offsets=offsets,
        current=read.get("current", empty),
        height=read.get("height", empty),
        sample_period=period,
        bias=read.get("bias"),
        time=time,
        bias_start=settings.bias_start[:n],
        bias_stop=settings.bias_stop[:n],
        ramp_rate=settings.ramp_rate[:n],
        x=grid.x[:n],
        y=grid.y[:n],
        n_post=n_post,
        mode=settings.mode,
        current_compliance=settings.current_compliance,
        height_compliance=settings.height_compliance,
        termination=None if termination is None else termination[:n].astype(np.int64),
        termination_labels={member.value: member.label for member in Termination},
        row=None if grid.row is None else grid.row[:n],
        col=None if grid.col is None else grid.col[:n],
        grid_shape=grid.shape,
        pitch=grid.pitch,
        fast_end=None if settings.fast_end is None else settings.fast_end[:n],
        equilibrium_potential=_number(block.get("equilibrium_potential")),
        instrument=_instrument(block.get("capabilities") or {}),
        material=_material(block.get("material") or {}),
        attrs={
            "uid": start["uid"],
            "run_uids": [start["uid"]],
            "sample": str(block.get("sample", start.get("sample", ""))),
            "technique": str(block.get("technique", start.get("plan_name", ""))),
            "reference_scale": str(block.get("reference_scale", "")),
            "problems": problems,
        },
    )


def _typical_period(time: np.ndarray, offsets: np.ndarray) -> float:
    """Median time between samples of the same site, s; NaN without any."""
    steps = np.diff(time)
    within = np.ones(len(steps), dtype=bool)
    joints = offsets[1:-1] - 1
    within[joints[(joints >= 0) & (joints < len(steps))]] = False
    return float(np.median(steps[within])) if within.any() else math.nan


def _number(value: Any) -> float | None:
    if isinstance(value, dict):
        value = value.get("value", value.get("potential"))
    return None if value is None or not math.isfinite(float(value)) else float(value)


def _instrument(published: dict[str, Any]) -> Instrument:
    names = {
        str(key).lower().removeprefix("cap:").replace(":", "_"): v for key, v in published.items()
    }
    return Instrument(
        current_bandwidth=_number(names.get("current_bandwidth")),
        height_bandwidth=_number(names.get("height_bandwidth")),
        abort_latency=_number(names.get("latency")),
    )


def _material(found: dict[str, Any]) -> Material:
    known = {key: found[key] for key in Material.__dataclass_fields__ if found.get(key) is not None}
    return Material(**known)


def _images(run: Any, stream: str, allow_partial: bool) -> list[Topography]:
    try:
        events = read_events(run, stream, TOPOGRAPHY_ROLES)
    except NotReadableError:
        return []
    node = events.external("topography")
    if node is None and "topography" not in events.columns:
        return []
    problems = list(events.problems)
    n = events.n
    if node is not None and rows_available(node) < n:
        problems.append(f"'{stream}' has {rows_available(node)} of {n} images")
        n = rows_available(node)
    _refuse(run, problems, allow_partial)
    images = []
    for index in range(n):
        image = np.asarray(
            events.columns["topography"][index] if node is None else node[index], dtype=float
        )
        images.append(
            Topography(
                height=image.reshape(image.shape[-2:]),
                pixel_size=float(events.get("topography_pixel_size", math.nan)[index]),
                x=float(events.get("topography_x", 0.0)[index]),
                y=float(events.get("topography_y", 0.0)[index]),
            )
        )
    return images


def _joined(sets: list[RampSet]) -> RampSet:
    """One set of several; settings that must agree are checked."""
    sets = [one for one in sets if one.n_sites] or sets[:1]
    first = sets[0]
    for name in ("mode", "current_compliance", "height_compliance"):
        if any(getattr(one, name) != getattr(first, name) for one in sets):
            raise NotReadableError(
                f"the runs of this map differ in '{name}'; read them one by one (join=False)"
            )
    counts = np.concatenate([one.counts for one in sets])
    same_period = all(one.sample_period == first.sample_period for one in sets)
    needs_time = not same_period or any(one.time is not None for one in sets)
    needs_bias = any(one.bias is not None for one in sets)
    changes: dict[str, Any] = {
        "offsets": np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        "time": np.concatenate([_times(one) for one in sets]) if needs_time else None,
        "bias": np.concatenate([_biases(one) for one in sets]) if needs_bias else None,
    }
    for name in ("current", "height", "bias_start", "bias_stop", "ramp_rate", "x", "y", "n_post"):
        changes[name] = np.concatenate([getattr(one, name) for one in sets])
    for name in ("termination", "row", "col", "fast_end"):
        parts = [getattr(one, name) for one in sets]
        known = all(part is not None for part in parts)
        changes[name] = np.concatenate(parts) if known else None
    uids = [uid for one in sets for uid in one.attrs["run_uids"]]  # type: ignore[union-attr]
    problems = [text for one in sets for text in one.attrs["problems"]]  # type: ignore[union-attr]
    changes["attrs"] = {**first.attrs, "run_uids": uids, "problems": problems}
    return replace(first, **changes)


def _times(one: RampSet) -> np.ndarray:
    if one.time is not None:
        return one.time
    return np.concatenate([one.site_time(k) for k in range(one.n_sites)] or [np.empty(0)])


def _biases(one: RampSet) -> np.ndarray:
    if one.bias is not None:
        return one.bias
    return np.concatenate([one.site_bias(k) for k in range(one.n_sites)] or [np.empty(0)])
