"""From checked arguments to a run of ramps: what all AFM plans over many sites share."""

from collections.abc import Mapping
from typing import Any

import bluesky.plan_stubs as bps
from bluesky.utils import MsgGenerator, plan

from nucleation_bluesky.contract.documents import TOPOGRAPHY_STREAMS
from nucleation_bluesky.plans.instrument import ImageParameters, Parts
from nucleation_bluesky.plans.registration import DriftTracker, Reference, RegistrationLimits
from nucleation_bluesky.plans.sites import Sites
from nucleation_bluesky.plans.start_document import nucleation_metadata, plain, stock_metadata
from nucleation_bluesky.plans.stubs import take_topography
from nucleation_bluesky.plans.visit import MapResult, Visit, whole_run


def make_map(
    visit: Visit,
    *,
    plan_name: str,
    technique: str,
    arguments: Mapping[str, Any],
    sites: Sites,
    image: ImageParameters | None,
    continues: str,
    series: str,
    md: Mapping[str, Any] | None,
    **more: Any,
) -> MsgGenerator[MapResult]:
    """Return the plan of a map whose arguments have been checked.

    Parameters
    ----------
    visit : Visit
        Instrument, free sites, ramps; configured.
    plan_name, technique : str
        For the start document.
    arguments : mapping
        The plan's own arguments.
    sites : Sites
        All sites, those left out included.
    image : ImageParameters or None
        Topography before and after.
    continues, series, md
        As in the plans.
    **more
        Further entries of the ``nucleation`` block.
    """
    parts, keys = visit.parts, dict(visit.exposer.roles)
    imaging = image is not None or visit.tracker is not None
    pictures = dict(parts.imager.roles) if imaging and parts.imager is not None else {}
    metadata = {
        "plan_name": plan_name,
        "plan_args": {"instrument": parts.name, **plain(arguments)},
        "detectors": [visit.exposer.name],
        "motors": [parts.stage.y.name, parts.stage.x.name],
        **stock_metadata(visit.sites, x_key=keys["x"], y_key=keys["y"]),
        **nucleation_metadata(
            parts.context,
            technique=technique,
            roles={**keys, **pictures},
            spec=visit.specs[0],
            limits=visit.limits,
            sites=sites,
            continues=continues,
            series=series,
            **more,
        ),
        **(md or {}),
    }
    return map_run(visit, image, metadata)


@plan
def map_run(
    visit: Visit, image: ImageParameters | None, md: dict[str, Any]
) -> MsgGenerator[MapResult]:
    """Give the messages of a map whose arguments have been checked."""
    result = MapResult(n_sites=len(visit.sites))
    parts = visit.parts

    def body() -> MsgGenerator[None]:
        if visit.tracker is not None:
            yield from visit.tracker.update(0)
        yield from photograph(TOPOGRAPHY_STREAMS[0])
        yield from visit.run(result)
        yield from photograph(TOPOGRAPHY_STREAMS[1])

    def photograph(stream: str) -> MsgGenerator[None]:
        if image is None or parts.imager is None:
            yield from bps.null()
            return
        yield from take_topography(
            parts.imager,
            x=image.x,
            y=image.y,
            size=image.size,
            pixels=image.pixels,
            stream=stream,
        )

    visit.configure()  # again: another plan may have been made meanwhile
    return (
        yield from whole_run(
            parts,
            body,
            md=md,
            result=result,
            imaging=image is not None or visit.tracker is not None,
            exposer=visit.exposer,
        )
    )


def image_around(parts: Parts, sites: Sites, size: float, pixels: int) -> ImageParameters:
    """Topography before and after a map of these sites.

    Raises
    ------
    ValueError
        If there is no imager, or a number is out of range.
    """
    parts.need_imager("image_before_after")
    return ImageParameters.around(sites, size, pixels)


def make_tracker(
    parts: Parts,
    image: ImageParameters,
    limits: RegistrationLimits,
    reference: Reference | None,
) -> DriftTracker:
    """Drift tracker of a map.

    Raises
    ------
    ValueError
        If the instrument has no imager.
    """
    return DriftTracker(
        parts.stage,
        parts.need_imager("registration"),
        limits=limits,
        x=image.x,
        y=image.y,
        size=image.size,
        pixels=image.pixels,
        reference=reference,
    )


def whole(name: str, value: int) -> int:
    """Check a count.

    Raises
    ------
    ValueError
        If it is negative or no whole number.
    """
    if value != int(value) or value < 0:
        raise ValueError(f"{name} must be a whole number of 0 or more (got {value})")
    return int(value)
