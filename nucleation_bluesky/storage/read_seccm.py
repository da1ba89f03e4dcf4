"""Landings from Tiled, as the input of the analysis."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nucleation_bluesky.analysis.seccm.steps import Planned
from nucleation_bluesky.analysis.seccm.trace import Trace
from nucleation_bluesky.contract.camera import EPICS_EPOCH
from nucleation_bluesky.contract.documents import (
    FILM_ROLES,
    FILM_STREAM,
    PRIMARY_STREAM,
    SECCM_ROLES,
    START_KEY,
)
from nucleation_bluesky.contract.enums import StepKind, Termination
from nucleation_bluesky.contract.program import Program, Step, program_from_document
from nucleation_bluesky.storage.event_table import (
    EventTable,
    IncompleteRunError,
    NotReadableError,
    read_events,
)
from nucleation_bluesky.storage.runs import series_of
from nucleation_bluesky.storage.seccm_data import FrameWindow, Landing, LandingSet, Movie
from nucleation_bluesky.storage.waveforms import read_ragged, rows_available

FAMILY = "seccm"
CHANNELS = ("potential", "current", "z", "step")


@dataclass(frozen=True)
class _Film:
    """The film stream of a run."""

    frames: Any
    times: np.ndarray
    pixel_size: float
    ids: np.ndarray | None = None


def is_seccm(run: Any) -> bool:
    """Tell whether a run holds landings of a pipette."""
    return (run.metadata["start"].get(START_KEY) or {}).get("family") == FAMILY


def load_landings(run: Any, *, allow_partial: bool = False, join: bool = True) -> LandingSet:
    """Read the landings of a run; films stay where they are until they are needed.

    Potentials are given on the reference scale where the run knows the offset to one.

    Parameters
    ----------
    run : tiled client
        A run of the family seccm.
    allow_partial : bool
        Read what is there of a run that has not ended, or that lacks data; ``attrs["problems"]``
        then says what is missing.
    join : bool
        Read an interrupted run and the runs that continue it as one set.

    Raises
    ------
    IncompleteRunError
        If a run has not ended or lacks data, and ``allow_partial`` is False.
    NotReadableError
        If it holds no landings.
    """
    base = run.base if hasattr(run, "base") else run
    runs = series_of(base.parent, run) if join else [run]
    sets = [_load_one(one, allow_partial) for one in runs]
    if len(sets) == 1:
        return sets[0]
    first = sets[0]
    if any(one.reference_offset != first.reference_offset for one in sets):
        raise NotReadableError(
            "the runs of this series differ in their reference offset; read them one by one "
            "(join=False)"
        )
    joined = {
        **first.attrs,
        "run_uids": [uid for one in sets for uid in one.attrs["run_uids"]],
        "problems": [text for one in sets for text in one.attrs["problems"]],
    }
    return LandingSet(
        [landing for one in sets for landing in one.landings],
        first.reference_scale,
        first.reference_offset,
        first.conditions,
        joined,
    )


def _load_one(run: Any, allow_partial: bool) -> LandingSet:
    start = run.metadata["start"]
    block = start.get(START_KEY) or {}
    events = read_events(run, PRIMARY_STREAM, SECCM_ROLES)
    nodes = {role: events.external(role) for role in (*CHANNELS, "sample_time")}
    if nodes["potential"] is None and nodes["current"] is None and events.n:
        raise NotReadableError(f"run {start['uid'][:8]} holds no landings")
    problems = list(events.problems)
    n = events.n
    for role, node in nodes.items():
        if node is not None and rows_available(node) < n:
            problems.append(f"'{role}' has {rows_available(node)} of {n} waveforms")
            n = rows_available(node)
    film, film_problem = _film(run, block)
    if film_problem:
        problems.append(film_problem)
    if problems and not allow_partial:
        raise IncompleteRunError(
            f"run {start['uid'][:8]} is not complete: {'; '.join(problems)}. "
            "Allow partial data to read what is there"
        )
    offset = block.get("reference_offset") or None
    shift = float(offset["offset"]) if offset else 0.0
    scale = str(offset["scale"]) if offset else str(block.get("reference_scale", ""))
    traces = _traces(events, nodes, n, shift)
    programs = _programs(block)
    landings = [_landing(k, traces[k], events, block, programs, film, problems) for k in range(n)]
    return LandingSet(
        landings,
        scale,
        None if offset is None else dict(offset),
        [
            {key: value for key, value in condition.items() if key != "program"}
            for condition in block.get("conditions") or ()
        ],
        {
            "run_uids": [start["uid"]],
            "problems": problems,
            "sample": str(block.get("sample", "")),
            "technique": str(block.get("technique", "")),
            "raw_scale": str(block.get("reference_scale", "")),
            "pipette": block.get("pipette"),
            "electrolyte": block.get("electrolyte"),
        },
    )


def _traces(events: EventTable, nodes: Mapping[str, Any], n: int, shift: float) -> list[Trace]:
    counts = np.maximum(events.get("n_samples", 0).astype(np.int64)[:n], 0)
    there = [role for role, node in nodes.items() if node is not None]
    same_type = [role for role in there if role != "sample_time"]
    read = dict(zip(same_type, read_ragged([nodes[r] for r in same_type], counts), strict=True))
    if "sample_time" in there:
        read["sample_time"] = read_ragged([nodes["sample_time"]], counts)[0]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    period, begin = events.get("sample_period", float("nan")), events.get("start_ticks", 0.0)
    traces = []
    for k in range(n):
        part = slice(int(offsets[k]), int(offsets[k + 1]))
        if "sample_time" in read:  # a file's own clock: its film may lie on it
            time = read["sample_time"][part] + begin[k]
        else:
            time = np.arange(counts[k]) * period[k]
        potential = read["potential"][part]
        traces.append(
            Trace(
                time,
                potential + np.float32(shift) if shift else potential,
                read["current"][part],
                np.round(read["step"][part]).astype(np.int64) if "step" in read else None,
                read["z"][part] if "z" in read else None,
            )
        )
    return traces


def _film(run: Any, block: Mapping[str, Any]) -> tuple[_Film | None, str | None]:
    base = run.base if hasattr(run, "base") else run
    if FILM_STREAM not in set(base.keys()):
        return None, None
    events = read_events(run, FILM_STREAM, FILM_ROLES)
    frames, times = events.external("frames"), events.external("frame_time")
    if frames is None or times is None:
        return None, "its film has no frames or no frame times"
    pixel_size = (block.get("camera") or {}).get("pixel_size")
    if not pixel_size:
        return None, "it does not say the camera's pixel size"
    stamps = np.asarray(times.read(), dtype=float).reshape(-1)
    counted = events.external("frame_id")
    ids = None if counted is None else np.asarray(counted.read()).reshape(-1).astype(np.int64)
    return _Film(_Stack(frames), stamps, float(pixel_size), ids), None


class _Stack:
    """A client's array of frames as (n, y, x)."""

    ndim = 3

    def __init__(self, node: Any) -> None:
        self._node = node
        shape = tuple(node.shape)
        self.shape = (shape[0], *shape[-2:])
        self.dtype = node.dtype

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, *rest = key if isinstance(key, tuple) else (key,)
        block = np.asarray(self._node[rows])
        block = block.reshape(-1, *self.shape[1:])
        return block[(slice(None), *rest)] if rest else block


def _programs(block: Mapping[str, Any]) -> dict[int, Program]:
    """Programs by condition; -1 is that of the whole run."""
    found = {}
    if block.get("program"):
        found[-1] = program_from_document(block["program"])
    for number, condition in enumerate(block.get("conditions") or ()):
        if condition.get("program"):
            found[number] = program_from_document(condition["program"])
    return found


def planned_steps(program: Program) -> dict[int, Planned]:
    """Return what the analysis needs of a program, by step number."""

    def limits(step: Step, name: str) -> tuple[float, float] | None:
        found = getattr(step, name)
        return None if found is None else (found.low, found.high)

    return {
        number: Planned(
            kind=step.kind.label,
            duration=step.duration,
            potential=limits(step, "potential"),
            current=limits(step, "current"),
            charge=limits(step, "charge"),
            cycle=step.cycle,
        )
        for number, step in enumerate(program.steps)
    }


def technique_of(program: Program) -> str | None:
    """Tell the technique from the kinds of a program's steps; None for contact only."""
    kinds = [step.kind for step in program.steps]
    if not kinds:
        return None
    if StepKind.SWEEP in kinds:
        return "cv"
    if StepKind.STRIP in kinds:
        return "cycling"
    plates = kinds.count(StepKind.PLATE)
    if plates > 1:
        return "pulse"
    return "galvanostatic" if plates else "chronoamperometry"


def _landing(
    k: int,
    trace: Trace,
    events: EventTable,
    block: Mapping[str, Any],
    programs: Mapping[int, Program],
    film: _Film | None,
    problems: list[str],
) -> Landing:
    def value(role: str, default: float = float("nan")) -> float:
        return float(events.get(role, default)[k])

    ingested = block.get("ingested") or {}
    condition = int(value("condition", -1))
    program = programs.get(condition, programs.get(-1))
    technique = ingested.get("technique") or (technique_of(program) if program else None)
    contact, index = value("contact", -1), int(value("contact_index", -1))
    known = {member.value: member.label for member in Termination}
    return Landing(
        trace=trace,
        technique=technique or "contact",
        movie=_movie(k, events, film, ingested, problems),
        site=int(value("site", k)),
        x=value("x"),
        y=value("y"),
        row=int(value("row", -1)),
        col=int(value("col", -1)),
        condition=condition,
        repeat=int(value("repeat", -1)),
        termination=known.get(int(value("termination", 0)), ""),
        contact=None if contact < 0 else bool(contact),
        contact_time=float(trace.time[index]) if 0 <= index < len(trace) else None,
        contact_z=value("contact_z"),
        overtravel=value("overtravel"),
        false_contacts=max(0, int(value("false_contacts", 0))),
        planned=planned_steps(program) if program else {},
        footprint_area=ingested.get("footprint_area"),
    )


def _movie(
    k: int,
    events: EventTable,
    film: _Film | None,
    ingested: Mapping[str, Any],
    problems: list[str],
) -> Movie | None:
    first, count = (int(events.get(role, -1)[k]) for role in ("film_first", "film_count"))
    if film is None or first < 0 or count <= 0:
        return None
    part = slice(first, first + count)
    if first + count > min(film.frames.shape[0], len(film.times)):
        problems.append(f"the film of landing {k} is not complete")
        return None
    frames = FrameWindow(film.frames, first, count)
    stamps = film.times[part]
    if ingested:
        return Movie(frames, stamps, film.pixel_size, ingested.get("clock_offset"))
    # own films carry UTC; the landing's clock begins at its sample 0
    begin = float(events.get("start_utc", float("nan"))[k])
    ids = None if film.ids is None else film.ids[part]
    stamps = stamps + (EPICS_EPOCH - begin)
    apart, sigma = (
        float(events.get(f"film_clock_{what}", float("nan"))[k])
        for what in ("offset", "uncertainty")
    )
    if not (np.isfinite(apart) and np.isfinite(sigma)):
        # two machines may keep the clocks: then the images alone say when contact was
        return Movie(frames, stamps, film.pixel_size, frame_ids=ids)
    return Movie(frames, stamps, film.pixel_size, -apart, sigma, frame_ids=ids)
