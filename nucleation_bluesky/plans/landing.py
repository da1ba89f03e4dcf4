"""One landing: contact only, or with a program; as a plan with all its quantities as arguments."""

from typing import Any

from bluesky.protocols import Readable
from bluesky.utils import MsgGenerator

from nucleation_bluesky.plans.conditions import COLUMNS, potential_scale, read_condition
from nucleation_bluesky.plans.landing_options import LandingOptions, landing_plan
from nucleation_bluesky.plans.landing_result import LandingsResult
from nucleation_bluesky.plans.landings import here_or, make_landings
from nucleation_bluesky.plans.seccm_instrument import seccm_parts


@landing_plan
def landing(
    instrument: Readable,
    *,
    technique: str = "galvanostatic",
    x: float | None = None,
    y: float | None = None,
    current: float | None = None,
    potential: float | None = None,
    duration: float | None = None,
    charge: float | None = None,
    initial: float | None = None,
    vertex: float | None = None,
    rate: float | None = None,
    cycles: int | None = None,
    hold: float | None = None,
    rest: float | None = None,
    strip_current: float | None = None,
    strip_potential: float | None = None,
    on_time: float | None = None,
    off_time: float | None = None,
    off_current: float | None = None,
    off_potential: float | None = None,
    pulses: int | None = None,
    potential_low: float | None = None,
    potential_high: float | None = None,
    current_low: float | None = None,
    current_high: float | None = None,
    limit_blanking: float | None = None,
    limit_confirm: int | None = None,
    options: LandingOptions,
    md: dict[str, Any] | None = None,
) -> MsgGenerator[LandingsResult]:
    """Land once and run a program: galvanostatic, cv, chronoamperometry, pulse, cycling ...

    Every argument is checked before the first message: with a bad one nothing moves. Which
    quantities a technique takes is in `conditions.TECHNIQUES`; currents are commanded in A,
    negative ones plate.

    Parameters
    ----------
    instrument : device
        With ``landing``, ``pipette`` and, for films, ``camera``.
    technique : str
        One of `conditions.TECHNIQUES`.
    x, y : float, optional
        Position in the sample frame, m; by default where the pipette is.
    md : dict, optional
        Metadata.
    **others
        Quantities of the technique (`conditions.COLUMNS`), and `LandingOptions`.

    Returns
    -------
    LandingsResult
        With one result.

    Raises
    ------
    ValueError, TypeError
        At the call, if an argument is out of range or does not fit the instrument.
    MapEndedError
        If the instrument ended the landing.
    """
    given = dict(locals())
    quantities = {name: given[name] for name in COLUMNS if given.get(name) is not None}
    renamed = {"blanking": limit_blanking, "confirm_samples": limit_confirm}
    quantities |= {name: value for name, value in renamed.items() if value is not None}
    parts = seccm_parts(instrument, film=options.film)
    scale = potential_scale(parts.context, options.potential_scale)
    condition = read_condition(quantities, scale, technique)
    sites = here_or(parts, x, y)
    return make_landings(
        parts,
        plan_name="landing",
        technique=f"seccm-{technique.replace('_', '-')}",
        arguments={"technique": technique, "x": x, "y": y, **quantities},
        sites=sites,
        conditions=[condition],
        assigned={int(sites.index[0]): (0, 0)},
        options=options,
        md=md,
    )


@landing_plan
def approach_until_contact(
    instrument: Readable,
    *,
    x: float | None = None,
    y: float | None = None,
    options: LandingOptions,
    md: dict[str, Any] | None = None,
) -> MsgGenerator[LandingsResult]:
    """Approach until contact, and withdraw: no program.

    The controller stops the motion at the contact, and withdraws the pipette where there is none
    by ``z_max``. A site that was touched counts as used.

    Parameters
    ----------
    instrument, x, y, md
        As `landing`.
    **others
        `LandingOptions`.
    """
    return _contact(instrument, "approach_until_contact", x, y, options, md)


@landing_plan
def hop(
    instrument: Readable,
    *,
    x: float,
    y: float,
    options: LandingOptions,
    md: dict[str, Any] | None = None,
) -> MsgGenerator[LandingsResult]:
    """Move at a safe height, approach until contact, withdraw.

    Parameters
    ----------
    instrument, x, y, md
        As `landing`; the position is needed.
    **others
        `LandingOptions`.
    """
    return _contact(instrument, "hop", x, y, options, md)


def _contact(
    instrument: Readable,
    plan_name: str,
    x: float | None,
    y: float | None,
    options: LandingOptions,
    md: dict[str, Any] | None,
) -> MsgGenerator[LandingsResult]:
    parts = seccm_parts(instrument, film=options.film)
    scale = potential_scale(parts.context, options.potential_scale)
    sites = here_or(parts, x, y)
    return make_landings(
        parts,
        plan_name=plan_name,
        technique="seccm-contact",
        arguments={"x": x, "y": y},
        sites=sites,
        conditions=[read_condition({}, scale, "contact")],
        assigned={int(sites.index[0]): (0, 0)},
        options=options,
        md=md,
    )


@landing_plan
def cv_cycles(
    instrument: Readable,
    *,
    initial: float = 1.47,
    vertex: float = -0.27,
    rate: float = 0.1,
    cycles: int = 10,
    hold: float = 0.0,
    x: float | None = None,
    y: float | None = None,
    options: LandingOptions,
    md: dict[str, Any] | None = None,
) -> MsgGenerator[LandingsResult]:
    """Cyclic voltammetry in one landing.

    The defaults are those of Martin-Yerga et al. (ACS Nano 2024) against Li/Li+: give
    ``potential_scale`` the name of that scale.

    Parameters
    ----------
    instrument, x, y, md
        As `landing`.
    initial, vertex : float
        Potentials, V, on ``potential_scale``.
    rate : float
        Sweep rate, V/s.
    cycles : int
        Cycles.
    hold : float
        Time at ``initial`` before the first sweep, s.
    **others
        `LandingOptions`.
    """
    parts = seccm_parts(instrument, film=options.film)
    scale = potential_scale(parts.context, options.potential_scale)
    entries = {"initial": initial, "vertex": vertex, "rate": rate, "cycles": cycles}
    entries |= {"hold": hold} if hold else {}
    sites = here_or(parts, x, y)
    return make_landings(
        parts,
        plan_name="cv_cycles",
        technique="seccm-cv",
        arguments={**entries, "x": x, "y": y},
        sites=sites,
        conditions=[read_condition(entries, scale, "cv")],
        assigned={int(sites.index[0]): (0, 0)},
        options=options,
        md=md,
    )
