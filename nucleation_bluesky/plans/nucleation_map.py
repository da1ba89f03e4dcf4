"""The nucleation map: one bias ramp at each of many sites, each aborted at its compliance."""

import math
from collections.abc import Sequence
from typing import Any

from bluesky.protocols import Readable
from bluesky.utils import MsgGenerator

from nucleation_bluesky.plans.adaptive import AdaptiveRamp, AdaptiveSettings
from nucleation_bluesky.plans.decorator import checked_plan
from nucleation_bluesky.plans.instrument import ImageParameters, parts_of
from nucleation_bluesky.plans.maps import image_around, make_map, make_tracker, whole
from nucleation_bluesky.plans.parameters import RampParameters
from nucleation_bluesky.plans.registration import Reference, RegistrationLimits
from nucleation_bluesky.plans.site_choice import choose_sites
from nucleation_bluesky.plans.software_ramp import StepSettings
from nucleation_bluesky.plans.visit import MapResult, Visit

TECHNIQUE = "afm-nucleation-map"
FAST_RATIO = 5.0  # fast approach by default, times the measuring rate


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
        "raster", "snake", "random" (seeded) or "given". A list of sites, which has no rows, is
        visited as it is given unless "random" is asked for.
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
        parts.travel,
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
        image = image_around(parts, chosen, image_size, image_pixels)
    visit.every = whole("reregister_every", reregister_every)
    if reregister_every or reference is not None:
        visit.tracker = make_tracker(
            parts,
            ImageParameters.around(chosen, registration_size or image_size, registration_pixels),
            RegistrationLimits(min_quality, max_shift),
            reference,
        )
    arguments["reference"] = reference is not None
    return make_map(
        visit,
        plan_name="nucleation_map",
        technique=TECHNIQUE,
        arguments=arguments,
        sites=chosen,
        image=image,
        continues=continues,
        series=series,
        md=md,
        adaptive=adaptive,
        software=software,
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
