"""The analysis of landings, the same for neutral files, hopping records and runs in Tiled."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from nucleation_bluesky.analysis.seccm.electrochemistry import (
    TECHNIQUES,
    Electrochemistry,
    ElectrochemistryOptions,
    analyse_electrochemistry,
)
from nucleation_bluesky.analysis.seccm.landing import FilmSettings
from nucleation_bluesky.analysis.seccm.screen import screen_table
from nucleation_bluesky.storage.analyse_film import FilmPart, film_part
from nucleation_bluesky.storage.read_seccm import load_landings
from nucleation_bluesky.storage.result_files import (
    LANDINGS_FORMAT,
    package_version,
    with_provenance,
    with_units,
)
from nucleation_bluesky.storage.seccm_data import Landing, LandingSet
from nucleation_bluesky.storage.seccm_result import LandingResult, SeccmResult
from nucleation_bluesky.storage.seccm_summary import headlines
from nucleation_bluesky.storage.seccm_table import landing_table, usable_landings

SCREENED = (
    "e_nuc", "e_growth", "t_nuc", "q_nuc", "charge_nuc", "current", "current_density",
    "t_nuc_irm", "lead", "footprint_area",
)  # fmt: skip


FILL = {"ce_valid": False, "ce_inverted": False, "ce_resolved": False}  # booleans stay booleans


@dataclass(frozen=True)
class SeccmOptions:
    """Choices of an analysis of landings; every default suits a first look.

    Parameters
    ----------
    electrochemistry : ElectrochemistryOptions
        Of potential and current.
    film : FilmSettings
        Of the films.
    use_film : bool
        False leaves out the films.
    """

    electrochemistry: ElectrochemistryOptions = field(default_factory=ElectrochemistryOptions)
    film: FilmSettings = field(default_factory=FilmSettings)
    use_film: bool = True


def analyse_seccm_run(
    run: Any,
    options: SeccmOptions | None = None,
    *,
    allow_partial: bool = False,
    join: bool = True,
) -> SeccmResult:
    """Analyse a run of landings in Tiled, with the runs that continue it.

    Raises
    ------
    IncompleteRunError, NotReadableError
        As `read_seccm.load_landings`.
    """
    source = load_landings(run, allow_partial=allow_partial, join=join)
    provenance = {
        "run_uids": source.attrs["run_uids"],
        "problems": source.attrs["problems"] or None,
    }
    return analyse_landings(source, options, provenance=provenance)


def analyse_landings(
    source: LandingSet,
    options: SeccmOptions | None = None,
    *,
    provenance: Mapping[str, object] | None = None,
) -> SeccmResult:
    """Analyse landings.

    Parameters
    ----------
    source : LandingSet
        The landings.
    options : SeccmOptions or None
        Choices.
    provenance : mapping or None
        Where the data came from.

    Raises
    ------
    ValueError
        If the film of a single landing cannot be used (no footprint, another landing's); of
        several landings ``missing`` says so.
    """
    options = options or SeccmOptions()
    known = dict(provenance or {})
    known |= {"parameters": asdict(options), "software": f"nucleation_bluesky {package_version()}"}
    known = {k: v for k, v in known.items() if v is not None}
    results = [_one(landing, source, options, known) for landing in source.landings]
    table = with_provenance(landing_table(results, source), known, LANDINGS_FORMAT)
    screen = _screen(table, source)
    result = SeccmResult(
        label=_label(results),
        source=source,
        landings=results,
        table=table,
        screen=None if screen is None else with_provenance(screen, known, LANDINGS_FORMAT),
        missing=_missing(results),
        provenance=known,
    )
    return SeccmResult(**{**vars(result), "summary": headlines(result)})


def _one(
    landing: Landing, source: LandingSet, options: SeccmOptions, provenance: Mapping[str, object]
) -> LandingResult:
    if landing.technique in TECHNIQUES:
        found = analyse_electrochemistry(
            landing.trace, landing.technique, landing.planned, options.electrochemistry
        )
    else:
        found = Electrochemistry(
            landing.technique, missing={"electrochemistry": "the landing has no program"}
        )
    single = len(source.landings) == 1
    film = film_part(landing, found, options.film if options.use_film else None, strict=single)
    missing = {**found.missing, **film.missing}
    attrs: dict[str, Any] = {**film.dataset.attrs, **_scalars(landing, found, film)}
    attrs["technique"] = landing.technique
    if "contact_time" in attrs:
        attrs["contact_clock"] = "movie"
    told = {k: v for k, v in source.attrs.items() if isinstance(v, str | int | float)}
    attrs = {**told, **attrs}
    if source.reference_scale:
        attrs["reference_scale"] = source.reference_scale
    if source.reference_offset is not None:
        attrs["reference_offset"] = float(source.reference_offset["offset"])
    if missing:
        attrs["missing"] = "; ".join(f"{part}: {reason}" for part, reason in missing.items())
    attrs = {k: v for k, v in attrs.items() if not (isinstance(v, float) and not np.isfinite(v))}
    # maps exist for complete cycles only
    parts = [film.dataset, cycle_dataset(found)]
    dataset = with_units(xr.merge(parts, join="outer", combine_attrs="drop", fill_value=FILL))
    dataset = with_provenance(dataset.assign_attrs(attrs), provenance, LANDINGS_FORMAT)
    return LandingResult(landing, found, dataset, missing)


def _scalars(landing: Landing, found: Electrochemistry, film: FilmPart) -> dict[str, float]:
    """Scalar results that exist, SI."""
    area = landing.footprint_area or film.footprint_area
    plating = found.plating
    values: dict[str, float | None] = {"charge": found.charge, **film.scalars}
    if plating is not None:
        values |= {
            "current": plating.current,
            "duration": plating.duration,
            "charge_plated": plating.charge,
        }
        for name in ("e_nuc", "t_nuc", "e_growth", "growth_observed", "second_fall", "charge_nuc"):
            values[name] = getattr(plating, name)
        for name in ("e_nuc", "t_nuc", "e_growth"):
            values[f"{name}_uncertainty"] = getattr(plating, f"{name}_uncertainty")
        if area is not None:
            values["current_density"] = plating.current / area
            if plating.charge_nuc is not None:
                values["q_nuc"] = plating.charge_nuc / area
    if area is not None:
        values["footprint_area"] = area
    if found.onset is not None:
        values["plating_onset"] = found.onset
    if found.scan_rate is not None:
        values["scan_rate"] = found.scan_rate
    return {k: float(v) for k, v in values.items() if v is not None and np.isfinite(v)}


def cycle_dataset(found: Electrochemistry) -> xr.Dataset:
    """Return the values by cycle: ``cycle_ce`` and charges (magnitudes, C)."""
    columns = found.cycle_columns()
    if not len(columns["number"]):
        return xr.Dataset()
    texts = {
        "cycle_ce": ("ce", "1", "Coulombic efficiency"),
        "cycle_charge_cathodic": ("charge_cathodic", "C", "magnitude of the cathodic charge"),
        "cycle_charge_anodic": ("charge_anodic", "C", "magnitude of the anodic charge"),
    }
    dataset = xr.Dataset(
        {
            name: ("cycle", columns[column], {"units": unit, "long_name": text})
            for name, (column, unit, text) in texts.items()
        },
        coords={"cycle": ("cycle", columns["number"].astype(np.int64), {"units": "1"})},
    )
    if found.cycles:
        spread = np.array([c.ce_uncertainty for c in found.cycles])
        dataset["cycle_ce_uncertainty"] = ("cycle", spread, {"units": "1"})
    return dataset


def _screen(table: xr.Dataset, source: LandingSet) -> xr.Dataset | None:
    condition = table["condition"].values
    if not (condition >= 0).any():
        return None
    quantities = {name: table[name].values for name in SCREENED if name in table}
    labels = [_condition_label(one, k) for k, one in enumerate(source.conditions)]
    return screen_table(
        condition,
        quantities,
        table["nucleated"].values.astype(bool),
        usable=usable_landings(table),
        labels=labels or None,
    )


def _condition_label(condition: Mapping[str, Any], number: int) -> str:
    for name in ("label", "name"):
        if condition.get(name):
            return str(condition[name])
    told = [f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in condition.items()]
    return ", ".join(told) or str(number)


def _label(results: list[LandingResult]) -> str:
    techniques = sorted({one.landing.technique for one in results})
    name = " and ".join(techniques) or "landings"
    return f"{name}, {len(results)} landings" if len(results) > 1 else name


def _missing(results: list[LandingResult]) -> dict[str, str]:
    """Reasons by part; of several landings how many lack it, with the commonest reason."""
    if len(results) == 1:
        return dict(results[0].missing)
    reasons: dict[str, list[str]] = {}
    for one in results:
        for part, reason in one.missing.items():
            reasons.setdefault(part, []).append(reason)
    return {
        part: f"{len(found)} of {len(results)} landings; most often: "
        f"{max(set(found), key=found.count)}"
        for part, found in reasons.items()
    }
