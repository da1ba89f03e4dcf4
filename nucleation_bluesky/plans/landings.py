"""From checked arguments to a run of landings: what all SECCM plans share."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from bluesky.utils import MsgGenerator, plan
from scipy.spatial import KDTree

from nucleation_bluesky.plans.conditions import Condition, potential_scale
from nucleation_bluesky.plans.footprint import check_pitch, footprint_diameter
from nucleation_bluesky.plans.landing_options import LandingOptions
from nucleation_bluesky.plans.landing_result import LandingsResult
from nucleation_bluesky.plans.landing_visit import FootprintHook, LandingVisit
from nucleation_bluesky.plans.seccm_instrument import SeccmParts
from nucleation_bluesky.plans.sites import Sites, single
from nucleation_bluesky.plans.staged_run import staged_run
from nucleation_bluesky.plans.start_document import nucleation_metadata, plain, stock_metadata


def here_or(parts: SeccmParts, x: float | None, y: float | None) -> Sites:
    """One site: (x, y), m, or where the pipette is.

    Raises
    ------
    ValueError
        If only one coordinate is given.
    """
    if x is not None and y is not None:
        return single(x, y)
    if x is not None or y is not None:
        raise ValueError("give both x and y, or neither to land where the pipette is")
    here = parts.pipette.measured_position()
    return single(here.x, here.y)


def smallest_distance(sites: Sites) -> float:
    """Smallest distance between two sites, m; NaN for one site."""
    if len(sites) < 2:
        return math.nan
    return float(np.min(KDTree(sites.positions).query(sites.positions, k=2)[0][:, 1]))


def make_landings(
    parts: SeccmParts,
    *,
    plan_name: str,
    technique: str,
    arguments: Mapping[str, Any],
    sites: Sites,
    conditions: Sequence[Condition],
    assigned: Mapping[int, tuple[int, int]],
    options: LandingOptions,
    skip_used: bool = False,
    continues: str = "",
    series: str = "",
    measure_footprint: FootprintHook | None = None,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[LandingsResult]:
    """Check everything and return the plan.

    Parameters
    ----------
    parts : SeccmParts
        Instrument.
    plan_name, technique : str
        For the start document.
    arguments : mapping
        The plan's own arguments; those of ``options`` are added.
    sites : Sites
        All sites, in order of visit.
    conditions : sequence of Condition
        What is measured.
    assigned : mapping of int to (int, int)
        Condition and repeat by site index.
    options : LandingOptions
        What all landings have in common.
    skip_used, continues, series, measure_footprint, md
        As in the plans.

    Raises
    ------
    ValueError
        If anything does not fit instrument, sample or footprint.
    """
    scale = potential_scale(parts.context, options.potential_scale)
    programs = [options.program(condition.steps, scale) for condition in conditions]
    opening, ratio = parts.wetting
    ratio = options.wetting_ratio or ratio
    parts = _with_footprint(parts, opening, ratio)
    if opening and ratio:
        check_pitch(smallest_distance(sites), opening, ratio)
    visit = LandingVisit(
        parts=parts,
        sites=parts.checked_sites(sites, skip_used=skip_used),
        programs=programs,
        assigned=assigned,
        max_no_contact=options.max_no_contact,
        measure_footprint=measure_footprint,
        spacing=smallest_distance(sites) if len(sites) > 1 else math.inf,
        exposure=options.frame_exposure,
        period=options.frame_period,
    )
    visit.configure()
    parts.require_safe_height()
    keys = dict(parts.landing.roles)
    camera = dict(parts.camera.roles) if parts.camera is not None else {}
    documents = [
        {**condition.document(), "program": program.document()}
        for condition, program in zip(conditions, programs, strict=True)
    ]
    metadata = {
        "plan_name": plan_name,
        "plan_args": {"instrument": parts.name, **plain({**arguments, **asdict(options)})},
        "detectors": [parts.landing.name, *([parts.camera.name] if parts.camera else [])],
        "motors": [parts.pipette.y.name, parts.pipette.x.name],
        **stock_metadata(visit.sites, x_key=keys["x"], y_key=keys["y"]),
        **nucleation_metadata(
            parts.context,
            technique=technique,
            roles={**keys, **camera},
            sites=sites,
            continues=continues,
            series=series,
            program=documents[0]["program"] if len(documents) == 1 else None,
            conditions=documents,
            pipette={"opening": opening, "wetting_ratio": ratio} if opening else None,
            camera=parts.context.get("camera") if parts.camera is not None else None,
        ),
        **(md or {}),
    }
    return landings_run(visit, metadata)


def _with_footprint(parts: SeccmParts, opening: float, ratio: float) -> SeccmParts:
    """Look at sites as a guard does that keeps them a footprint apart."""
    if parts.guard is None or not (opening and ratio):
        return parts
    distance = footprint_diameter(opening, ratio)
    return replace(parts, guard=replace(parts.guard, min_distance=distance))  # type: ignore[type-var] - a Guard is a dataclass


@plan
def landings_run(visit: LandingVisit, md: Mapping[str, Any]) -> MsgGenerator[LandingsResult]:
    """Give the messages of landings whose arguments have been checked."""
    result = LandingsResult(n_sites=len(visit.sites))
    parts = visit.parts
    landing, guard = parts.landing, parts.landing.guard
    distance = guard.min_distance if guard is not None else 0.0

    def body() -> MsgGenerator[None]:
        yield from visit.run(result)

    visit.configure()  # again: another plan may have been made meanwhile
    devices: list[Any] = [parts.pipette, landing]
    stops: dict[str, Any] = {"safe state": landing, "stop the pipette": parts.pipette}
    if parts.camera is not None:
        devices.insert(1, parts.camera)
        stops["stop the camera"] = parts.camera
    if guard is not None:
        guard.min_distance = parts.min_distance  # the footprint given for this run
    try:
        yield from staged_run(body, md=md, result=result, devices=devices, stops=stops)
    finally:
        if guard is not None:
            guard.min_distance = distance
    return result
