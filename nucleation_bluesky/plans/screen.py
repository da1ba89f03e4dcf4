"""Many landings: conditions times repeats, a series at constant charge, a hopping map."""

from collections.abc import Mapping, Sequence
from typing import Any

from bluesky.protocols import Readable
from bluesky.utils import MsgGenerator

from nucleation_bluesky.plans.conditions import (
    Condition,
    potential_scale,
    read_condition,
    read_conditions,
)
from nucleation_bluesky.plans.landing_options import LandingOptions, landing_plan
from nucleation_bluesky.plans.landing_result import LandingsResult
from nucleation_bluesky.plans.landing_visit import FootprintHook
from nucleation_bluesky.plans.landings import make_landings
from nucleation_bluesky.plans.schedule import schedule
from nucleation_bluesky.plans.seccm_instrument import seccm_parts
from nucleation_bluesky.plans.site_choice import choose_grid
from nucleation_bluesky.plans.sites import Sites


def assign(sites: Sites, pairs: Sequence[tuple[int, int]]) -> dict[int, tuple[int, int]]:
    """Condition and repeat by site index, in the order of visit."""
    return dict(zip((int(k) for k in sites.index), pairs, strict=True))


@landing_plan
def combinatorial_screen(
    instrument: Readable,
    *,
    conditions: Sequence[Mapping[str, Any]] | None = None,
    table: str = "",
    technique: str = "galvanostatic",
    repeats: int = 1,
    assignment: str = "in_order",
    seed: int = 0,
    rows: int = 0,
    cols: int = 0,
    pitch: float = 11e-6,
    origin: Sequence[float] | None = None,
    angle: float = 0.0,
    sites: Sequence[Sequence[float]] | None = None,
    site_file: str = "",
    order: str = "raster",
    skip_used: bool = False,
    continues: str = "",
    series: str = "",
    measure_footprint: FootprintHook | None = None,
    options: LandingOptions,
    md: dict[str, Any] | None = None,
) -> MsgGenerator[LandingsResult]:
    """Measure a table of conditions, each several times, each landing on a fresh site.

    Every argument is checked before the first message: with a bad one nothing moves. An
    interrupted screen is resumed over the sites that are still free, each with the condition that
    was meant for it.

    Parameters
    ----------
    instrument : device
        With ``landing``, ``pipette`` and, for films, ``camera``.
    conditions : sequence of mappings, optional
        Rows of the table (`conditions.read_conditions`).
    table : str
        CSV or YAML file with the rows, instead.
    technique : str
        Of rows that name none.
    repeats : int
        Landings of each condition, where its row does not say.
    assignment, seed
        "in_order", "random" or "blocked" (`schedule.schedule`).
    rows, cols, pitch, origin, angle, sites, site_file, order
        Sites, as `nucleation_map`; 0 rows and columns make a grid as square as it can be.
    skip_used : bool
        Leave out sites that have been used instead of refusing.
    continues, series : str
        Run that this one resumes, and the name of the series it belongs to.
    measure_footprint : callable, optional
        Gets a landing's result and its film, and returns the diameter of the footprint, m, or
        None; a footprint wider than the pitch ends the run.
    md : dict, optional
        Metadata.
    **others
        `LandingOptions`.

    Returns
    -------
    LandingsResult
        Results by site index.

    Raises
    ------
    ValueError, TypeError
        At the call, if an argument is out of range or does not fit the instrument.
    MapEndedError
        During the run; sites not yet used stay usable.
    """
    if (conditions is None) == (not table):
        raise ValueError("give either conditions or a table, and not both")
    parts = seccm_parts(instrument, film=options.film)
    scale = potential_scale(parts.context, options.potential_scale)
    made = read_conditions(table if conditions is None else conditions, scale, technique)
    pairs = schedule([c.repeats or repeats for c in made], assignment, seed)
    chosen = choose_grid(
        parts.travel, len(pairs), rows=rows, cols=cols, pitch=pitch, origin=origin, angle=angle,
        sites=sites, site_file=site_file, order=order, seed=seed,
    )  # fmt: skip
    arguments = {
        "conditions": [c.document() for c in made],
        "technique": technique, "repeats": repeats, "assignment": assignment, "seed": seed,
        "rows": rows, "cols": cols, "pitch": pitch, "origin": _origin(chosen, origin),
        "angle": angle, "sites": sites, "site_file": site_file, "order": order,
    }  # fmt: skip
    return make_landings(
        parts,
        plan_name="combinatorial_screen",
        technique="seccm-screen",
        arguments=arguments,
        sites=chosen,
        conditions=made,
        assigned=assign(chosen, pairs),
        options=options,
        skip_used=skip_used,
        continues=continues,
        series=series,
        measure_footprint=measure_footprint,
        md=md,
    )


def _origin(chosen: Sites, given: Sequence[float] | None) -> Sequence[float] | None:
    """Origin as it turned out: a resumed run must find the same sites."""
    return given if chosen.origin is None else chosen.origin


@landing_plan
def constant_charge_series(
    instrument: Readable,
    *,
    currents: Sequence[float] = (-0.75e-9, -3e-9, -15e-9),
    charge: float = 45e-9,
    repeats: int = 1,
    assignment: str = "in_order",
    seed: int = 0,
    potential_low: float | None = None,
    potential_high: float | None = None,
    rows: int = 0,
    cols: int = 0,
    pitch: float = 30e-6,
    origin: Sequence[float] | None = None,
    angle: float = 0.0,
    order: str = "raster",
    skip_used: bool = False,
    continues: str = "",
    series: str = "",
    options: LandingOptions,
    md: dict[str, Any] | None = None,
) -> MsgGenerator[LandingsResult]:
    """Plate the same charge at several currents (750 pA, 3 nA and 15 nA in the 2024 paper).

    Parameters
    ----------
    instrument : device
        As `combinatorial_screen`.
    currents : sequence of float
        Currents, A; negative ones plate.
    charge : float
        Charge of each landing, magnitude, C.
    potential_low, potential_high : float, optional
        Potential limits that abort, V.
    **others
        As `combinatorial_screen`.
    """
    limits = {"potential_low": potential_low, "potential_high": potential_high}
    rows_of = [
        {"current": float(current), "charge": charge}
        | {k: v for k, v in limits.items() if v is not None}
        for current in currents
    ]
    parts = seccm_parts(instrument, film=options.film)
    scale = potential_scale(parts.context, options.potential_scale)
    made = read_conditions(rows_of, scale)
    pairs = schedule([repeats] * len(made), assignment, seed)
    chosen = choose_grid(
        parts.travel, len(pairs), rows=rows, cols=cols, pitch=pitch, origin=origin, angle=angle,
        sites=None, site_file="", order=order, seed=seed,
    )  # fmt: skip
    arguments = {
        "currents": [float(current) for current in currents], "charge": charge, **limits,
        "repeats": repeats, "assignment": assignment, "seed": seed, "rows": rows, "cols": cols,
        "pitch": pitch, "origin": _origin(chosen, origin), "angle": angle, "order": order,
    }  # fmt: skip
    return make_landings(
        parts,
        plan_name="constant_charge_series",
        technique="seccm-constant-charge",
        arguments=arguments,
        sites=chosen,
        conditions=made,
        assigned=assign(chosen, pairs),
        options=options,
        skip_used=skip_used,
        continues=continues,
        series=series,
        md=md,
    )


@landing_plan
def hopping_map(
    instrument: Readable,
    *,
    rows: int = 8,
    cols: int = 8,
    pitch: float = 11e-6,
    origin: Sequence[float] | None = None,
    angle: float = 0.0,
    sites: Sequence[Sequence[float]] | None = None,
    site_file: str = "",
    order: str = "snake",
    seed: int = 0,
    condition: Mapping[str, Any] | None = None,
    skip_used: bool = False,
    continues: str = "",
    series: str = "",
    options: LandingOptions,
    md: dict[str, Any] | None = None,
) -> MsgGenerator[LandingsResult]:
    """Land on every site of a grid, contact only or with one condition.

    Parameters
    ----------
    instrument : device
        As `combinatorial_screen`.
    rows, cols, pitch, origin, angle, sites, site_file, order, seed
        Sites, as `nucleation_map`.
    condition : mapping, optional
        What is measured at each; by default nothing but the contact.
    **others
        As `combinatorial_screen`.
    """
    parts = seccm_parts(instrument, film=options.film)
    scale = potential_scale(parts.context, options.potential_scale)
    made: Condition = read_condition(
        condition or {}, scale, "galvanostatic" if condition else "contact"
    )
    chosen = choose_grid(
        parts.travel, 0, rows=rows, cols=cols, pitch=pitch, origin=origin, angle=angle,
        sites=sites, site_file=site_file, order=order, seed=seed,
        usual="snake",
    )  # fmt: skip
    arguments = {
        "rows": rows, "cols": cols, "pitch": pitch, "origin": _origin(chosen, origin),
        "angle": angle, "sites": sites, "site_file": site_file, "order": order, "seed": seed,
        "condition": made.document() if condition else None,
    }  # fmt: skip
    return make_landings(
        parts,
        plan_name="hopping_map",
        technique="seccm-hopping-map",
        arguments=arguments,
        sites=chosen,
        conditions=[made],
        assigned={int(index): (0, k) for k, index in enumerate(chosen.index)},
        options=options,
        skip_used=skip_used,
        continues=continues,
        series=series,
        md=md,
    )
