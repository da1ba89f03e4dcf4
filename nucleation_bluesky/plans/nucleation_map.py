"""The nucleation map: one bias ramp at each of many sites, each aborted at its compliance."""

import math
from collections.abc import Sequence
from typing import Any

import bluesky.plan_stubs as bps
from bluesky.protocols import Readable
from bluesky.utils import MsgGenerator, plan

from nucleation_bluesky.contract.documents import TOPOGRAPHY_STREAMS
from nucleation_bluesky.plans import sites as site_lists
from nucleation_bluesky.plans.adaptive import AdaptiveRamp, AdaptiveSettings
from nucleation_bluesky.plans.decorator import checked_plan
from nucleation_bluesky.plans.instrument import ImageParameters, Parts, parts_of
from nucleation_bluesky.plans.parameters import RampParameters
from nucleation_bluesky.plans.registration import DriftTracker, Reference, RegistrationLimits
from nucleation_bluesky.plans.sites import Sites
from nucleation_bluesky.plans.software_ramp import StepSettings
from nucleation_bluesky.plans.start_document import nucleation_metadata, stock_metadata
from nucleation_bluesky.plans.stubs import take_topography
from nucleation_bluesky.plans.visit import MapResult, Visit, whole_run

TECHNIQUE = "afm-nucleation-map"
FAST_RATIO = 5.0  # fast approach by default, times the measuring rate


def choose_sites(
    parts: Parts,
    *,
    rows: int,
    cols: int,
    pitch: float,
    origin: Sequence[float] | None,
    angle: float,
    lattice: str,
    sites: Sequence[Sequence[float]] | None,
    site_file: str,
    region: Sequence[Sequence[float]] | None,
    order: str,
    seed: int,
) -> Sites:
    """Sites from a plan's arguments; see `nucleation_map`.

    Raises
    ------
    ValueError
        If an argument is out of range or the arguments contradict each other.
    """
    if sites is not None and site_file:
        raise ValueError("give either sites or site_file, not both")
    if sites is not None:
        chosen = site_lists.custom(sites)
    elif site_file:
        chosen = site_lists.from_csv(site_file)
    elif lattice in ("square", "hexagonal"):
        make = site_lists.grid if lattice == "square" else site_lists.hexagonal
        chosen = make(rows, cols, pitch, origin=(0.0, 0.0), angle=angle)
        if origin is None:
            (low_x, high_x), (low_y, high_y) = parts.travel
            (first_y, last_y), (first_x, last_x) = chosen.extents
            origin = (
                (low_x + high_x - first_x - last_x) / 2,
                (low_y + high_y - first_y - last_y) / 2,
            )
        chosen = make(rows, cols, pitch, origin=tuple(origin), angle=angle)
    else:
        raise ValueError(f"lattice '{lattice}' is not square or hexagonal")
    if region is not None:
        if len(region) == 2:
            (x0, y0), (x1, y1) = region
            chosen = chosen.inside_box((x0, x1), (y0, y1))
        else:
            chosen = chosen.inside_polygon(region)
    if order in ("raster", "snake") and chosen.shape is None:
        order = "given"
    return chosen.ordered(order, seed)


@checked_plan
def nucleation_map(
    instrument: Readable,
    *,
    rows: int = 70,
    cols: int = 70,
    pitch: float = 20e-9,
    origin: Sequence[float] | None = None,
    angle: float = 0.0,
    lattice: str = "square",
    sites: Sequence[Sequence[float]] | None = None,
    site_file: str = "",
    region: Sequence[Sequence[float]] | None = None,
    order: str = "raster",
    seed: int = 0,
    start: float = 0.0,
    stop: float = -4.2,
    rate: float = 1.2,
    sample_rate: float = 1000.0,
    compliance: str = "current",
    current_compliance: float = -10e-12,
    height_compliance: float = 8e-9,
    blanking: float = 0.005,
    confirm_samples: int = 1,
    subtract_background: bool = True,
    background_time: float = 0.05,
    after_trip: str = "safe_state",
    after_time: float = 0.0,
    n_post: int = 0,
    adaptive: bool = False,
    fast_rate: float = 0.0,
    risk: float = 0.002,
    first_sites: int = 40,
    software: bool = False,
    min_step: float = 0.5e-3,
    max_step: float = 20e-3,
    dwell: float = 0.0,
    image_before_after: bool = True,
    image_size: float = 0.0,
    image_pixels: int = 256,
    reregister_every: int = 0,
    registration_size: float = 0.0,
    registration_pixels: int = 128,
    min_quality: float = 0.3,
    max_shift: float = 200e-9,
    reference: Reference | None = None,
    skip_used: bool = False,
    continues: str = "",
    series: str = "",
    md: dict[str, Any] | None = None,
) -> MsgGenerator[MapResult]:
    """Ramp the bias at many sites, each once, between two topographies.

    Every argument is checked before the first message: with a bad one nothing moves.

    Parameters
    ----------
    instrument : device
        With ``ramp``, ``stage_xy`` and, for images, ``imager``.
    rows, cols, pitch, origin, angle, lattice
        Grid ("square" or "hexagonal"): pitch and origin in m, angle in rad. Without an origin the
        grid is centred in the stage's travel.
    sites : sequence of (x, y), optional
        Custom list in m, instead of the grid.
    site_file : str
        CSV file with columns x and y (m), instead of the grid.
    region : sequence of (x, y), optional
        Visit only sites inside: two opposite corners of a box, or three or more of a polygon, m.
    order, seed
        "raster", "snake", "random" (seeded) or "given".
    start, stop, rate, sample_rate
        Ramp, V, V/s and Hz.
    compliance, current_compliance, height_compliance
        "current", "height", "both" or "none"; A (signed as the ramp) and m.
    blanking, confirm_samples, subtract_background, background_time
        See `contract.ramp.Compliance`.
    after_trip, after_time, n_post
        See `contract.ramp.RampSpec`.
    adaptive : bool
        Approach fast to a bias predicted from neighbours less a learned margin.
    fast_rate, risk, first_sites
        Approach rate, V/s (0: 5 times ``rate``), share of sites whose onset may fall into the
        approach, and sites measured at a constant rate first.
    software : bool
        Step the bias from the plan (for controllers without compliance of their own).
    min_step, max_step, dwell
        See `software_ramp.StepSettings`.
    image_before_after, image_size, image_pixels
        Topographies; size 0 covers the sites with a margin.
    reregister_every : int
        Re-register against drift after this many sites; 0 never.
    registration_size, registration_pixels, min_quality, max_shift
        Its image, and when to refuse (`registration.RegistrationLimits`).
    reference : Reference, optional
        Topography that defines the sample frame; the map registers to it before the first site.
    skip_used : bool
        Leave out sites that have been used instead of refusing.
    continues, series : str
        Run that this one resumes, and the name of the series it belongs to.
    md : dict, optional
        Metadata.

    Returns
    -------
    MapResult
        Results by site index.

    Raises
    ------
    ValueError, TypeError
        At the call, if an argument is out of range or does not fit the instrument.
    RegistrationError, MapEndedError
        During the run; sites not yet exposed stay usable.
    """
    arguments = {key: value for key, value in locals().items() if key not in ("instrument", "md")}
    parts = parts_of(instrument)
    chosen = choose_sites(
        parts,
        rows=rows,
        cols=cols,
        pitch=pitch,
        origin=origin,
        angle=angle,
        lattice=lattice,
        sites=sites,
        site_file=site_file,
        region=region,
        order=order,
        seed=seed,
    )
    ramp = RampParameters(
        start=start,
        stop=stop,
        rate=rate,
        sample_rate=sample_rate,
        compliance=compliance,
        current_compliance=current_compliance,
        height_compliance=height_compliance,
        blanking=blanking,
        confirm_samples=confirm_samples,
        subtract_background=subtract_background,
        background_time=background_time,
        after_trip=after_trip,
        after_time=after_time,
        n_post=n_post,
    )
    visit = Visit(
        parts=parts,
        sites=parts.checked_sites(chosen, skip_used=skip_used),
        limits=ramp.limits(),
        specs=[ramp.spec()],
    )
    if software:
        visit.software = StepSettings(min_step=min_step, max_step=max_step, dwell=dwell)
    visit.configure()
    if adaptive:
        visit.adaptive = make_adaptive(
            visit, ramp, fast_rate=fast_rate, risk=risk, first_sites=first_sites
        )
    image = None
    if image_before_after:
        parts.need_imager("image_before_after")
        image = ImageParameters.around(chosen, image_size, image_pixels)
    visit.every = whole("reregister_every", reregister_every)
    if reregister_every or reference is not None:
        visit.tracker = make_tracker(
            parts,
            ImageParameters.around(chosen, registration_size or image_size, registration_pixels),
            RegistrationLimits(min_quality, max_shift),
            reference,
        )
    keys = dict(visit.exposer.roles)
    roles = {**keys, **image_roles(parts, image is not None or visit.tracker is not None)}
    arguments["reference"] = reference is not None
    metadata = {
        "plan_name": "nucleation_map",
        "plan_args": {"instrument": parts.name, **plain(arguments)},
        "detectors": [visit.exposer.name],
        "motors": [parts.stage.y.name, parts.stage.x.name],
        **stock_metadata(visit.sites, x_key=keys["x"], y_key=keys["y"]),
        **nucleation_metadata(
            parts.context,
            technique=TECHNIQUE,
            roles=roles,
            spec=ramp.spec(),
            limits=visit.limits,
            sites=chosen,
            continues=continues,
            series=series,
            adaptive=adaptive,
            software=software,
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


@checked_plan
def resume_map(
    instrument: Readable,
    *,
    continues: str,
    reference: Reference | None = None,
    register: bool = True,
    series: str = "",
    md: dict[str, Any] | None = None,
    **arguments: Any,
) -> MsgGenerator[MapResult]:
    """Go on with an interrupted map over the sites that are still free.

    Parameters
    ----------
    instrument : device
        As `nucleation_map`.
    continues : str
        uid of the run that was interrupted.
    reference : Reference, optional
        Topography of that run, to which the sample is registered before the first site.
    register : bool
        False declares that neither sample nor stage has moved since.
    series : str
        Series of that run; by default its uid names the series.
    md : dict, optional
        Metadata.
    **arguments
        Those of the interrupted run (its ``plan_args``).

    Raises
    ------
    ValueError
        At the call: no uid, no site left, or no way to register.
    """
    if not continues:
        raise ValueError("resume_map needs the uid of the interrupted run (continues=...)")
    if register and reference is None:
        raise ValueError(
            "resuming needs a registration, because the sample may have drifted: pass the "
            "interrupted run's topography (reference=...), or register=False if neither sample "
            "nor stage has moved"
        )
    if register:
        parts_of(instrument).need_imager("registration before resuming")
    arguments = {k: v for k, v in arguments.items() if k not in ("instrument", "skip_used")}
    return nucleation_map(
        instrument,
        **arguments,
        reference=reference if register else None,
        skip_used=True,
        continues=continues,
        series=series,
        md={**(md or {}), "plan_name": "resume_map"},
    )


def make_adaptive(
    visit: Visit, ramp: RampParameters, *, fast_rate: float, risk: float, first_sites: int
) -> AdaptiveRamp:
    """Adaptive ramp of a map.

    Raises
    ------
    ValueError
        If it does not fit the map.
    """
    if visit.software is not None:
        raise ValueError("an adaptive ramp needs the controller's own ramp (software=False)")
    if ramp.compliance == "none":
        raise ValueError("an adaptive ramp learns from compliance trips; compliance is 'none'")
    if ramp.compliance != "height" and not ramp.subtract_background:
        raise ValueError(
            "an adaptive ramp needs subtract_background=True: the charging current of the fast "
            "approach would trip the current compliance"
        )
    settings = AdaptiveSettings(
        fast_rate=fast_rate or FAST_RATIO * ramp.rate,
        risk=risk,
        first_sites=first_sites,
        settle=ramp.blanking + (ramp.background_time if ramp.subtract_background else 0.0),
    )
    spacing = visit.sites.spacing
    adaptive = AdaptiveRamp(
        start=ramp.start,
        end=ramp.stop,
        rate=ramp.rate,
        spacing=spacing if math.isfinite(spacing) else 1e-6,
        settings=settings,
    )
    middle = (ramp.start + ramp.stop) / 2
    visit.parts.ramp.check_spec(ramp.spec((middle, ramp.stop), (settings.fast_rate, ramp.rate)))
    return adaptive


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


def image_roles(parts: Parts, imaging: bool) -> dict[str, str]:
    """Roles of the topography streams."""
    return dict(parts.imager.roles) if imaging and parts.imager is not None else {}


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


def plain(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments as JSON takes them."""
    return {
        key: [list(map(float, pair)) if isinstance(pair, Sequence) else float(pair) for pair in v]
        if isinstance(v, Sequence) and not isinstance(v, str)
        else v
        for key, v in arguments.items()
    }
