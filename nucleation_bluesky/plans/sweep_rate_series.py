"""Several sweep rates, interleaved over the fresh sites of one area."""

from collections.abc import Sequence
from typing import Any

from bluesky.protocols import Readable
from bluesky.utils import MsgGenerator

from nucleation_bluesky.plans.decorator import checked_plan
from nucleation_bluesky.plans.instrument import ImageParameters, parts_of
from nucleation_bluesky.plans.maps import image_around, make_map, make_tracker, whole
from nucleation_bluesky.plans.parameters import RampParameters
from nucleation_bluesky.plans.registration import RegistrationLimits
from nucleation_bluesky.plans.site_choice import choose_sites
from nucleation_bluesky.plans.visit import MapResult, Visit

TECHNIQUE = "afm-sweep-rate-series"


@checked_plan
def sweep_rate_series(
    instrument: Readable,
    *,
    rates: Sequence[float] = (0.12, 0.4, 1.2, 4.0),
    interleave: str = "lattice",
    rows: int = 40,
    cols: int = 40,
    pitch: float = 50e-9,  # deposits of fast sweeps would reach neighbours at 20 nm
    origin: Sequence[float] | None = None,
    angle: float = 0.0,
    lattice: str = "square",
    region: Sequence[Sequence[float]] | None = None,
    order: str = "snake",
    seed: int = 0,
    start: float = 0.0,
    stop: float = -4.2,
    sample_rate: float = 1000.0,
    samples_per_volt: float = 0.0,
    compliance: str = "current",
    current_compliance: float = -10e-12,
    height_compliance: float = 8e-9,
    blanking: float = 0.005,
    confirm_samples: int = 1,
    subtract_background: bool = True,
    background_time: float = 0.05,
    n_post: int = 0,
    image_before_after: bool = True,
    image_size: float = 0.0,
    image_pixels: int = 256,
    reregister_every: int = 0,
    registration_pixels: int = 128,
    min_quality: float = 0.3,
    max_shift: float = 200e-9,
    skip_used: bool = False,
    continues: str = "",
    series: str = "",
    md: dict[str, Any] | None = None,
) -> MsgGenerator[MapResult]:
    """Measure onsets at several sweep rates in one run, each rate on its own sub-lattice.

    The rates alternate from site to site, so that drift, tip wear and the sample's gradients act
    on all of them alike. Each event names its site's rate in the roles ``rates`` and
    ``sample_rate``.

    Parameters
    ----------
    instrument : device
        As `nucleation_map`.
    rates : sequence of float
        Sweep rates, V/s.
    interleave : str
        "lattice" (regular sub-lattices) or "random" (balanced, by ``seed``).
    samples_per_volt : float
        If above 0, the sample rate of each sweep is ``rate * samples_per_volt`` (1/V) instead of
        ``sample_rate``, so that slow sweeps do not take more samples than fast ones.
    **others
        As `nucleation_map`.

    Returns
    -------
    MapResult
        Results by site index.

    Raises
    ------
    ValueError, TypeError
        At the call, if an argument is out of range or does not fit the instrument.
    """
    arguments = {key: value for key, value in locals().items() if key not in ("instrument", "md")}
    parts = parts_of(instrument)
    if len(rates) < 2 or len(set(rates)) != len(rates):
        raise ValueError("a sweep rate series needs two or more different rates, V/s")
    if samples_per_volt < 0:
        raise ValueError("samples_per_volt must be 0 or more")
    chosen = choose_sites(
        parts.travel,
        rows=rows,
        cols=cols,
        pitch=pitch,
        origin=origin,
        angle=angle,
        lattice=lattice,
        sites=None,
        site_file="",
        region=region,
        order=order,
        seed=seed,
    )
    ramps = [
        RampParameters(
            start=start,
            stop=stop,
            rate=float(rate),
            sample_rate=rate * samples_per_volt if samples_per_volt else sample_rate,
            compliance=compliance,
            current_compliance=current_compliance,
            height_compliance=height_compliance,
            blanking=blanking,
            confirm_samples=confirm_samples,
            subtract_background=subtract_background,
            background_time=background_time,
            n_post=n_post,
        )
        for rate in rates
    ]
    dealt = dict(
        zip(
            chosen.index.tolist(),
            chosen.interleaved(len(ramps), method=interleave, seed=seed).tolist(),
            strict=True,
        )
    )
    todo = parts.checked_sites(chosen, skip_used=skip_used)
    specs = [ramp.spec() for ramp in ramps]
    visit = Visit(
        parts=parts,
        sites=todo,
        limits=ramps[0].limits(),
        specs=specs,
        which=dealt,
        every=whole("reregister_every", reregister_every),
    )
    for spec in specs:
        parts.ramp.check_spec(spec)
    visit.configure()
    image = None
    if image_before_after:
        image = image_around(parts, chosen, image_size, image_pixels)
    if reregister_every:
        visit.tracker = make_tracker(
            parts,
            ImageParameters.around(chosen, image_size, registration_pixels),
            RegistrationLimits(min_quality, max_shift),
            None,
        )
    return make_map(
        visit,
        plan_name="sweep_rate_series",
        technique=TECHNIQUE,
        arguments=arguments,
        sites=chosen,
        image=image,
        continues=continues,
        series=series,
        md=md,
        sweep_rates=[float(rate) for rate in rates],
        interleave=interleave,
    )
