"""Headline figures of landings."""

import numpy as np

from nucleation_bluesky.analysis.statistics import bootstrap_interval, wilson_interval
from nucleation_bluesky.storage.analysis_result import Headline
from nucleation_bluesky.storage.seccm_result import LandingResult, SeccmResult

SINGLE = {
    "e_nuc": ("nucleation potential", "V"),
    "t_nuc": ("nucleation time", "s"),
    "q_nuc": ("charge density at nucleation", "C/m2"),
    "e_growth": ("growth potential", "V"),
    "t_nuc_irm": ("optical nucleation time", "s"),
    "current_density": ("current density", "A/m2"),
    "plating_onset": ("onset of plating", "V"),
    "contact_time": ("contact in the film", "s"),
    "footprint_area": ("footprint", "m2"),
}


def headlines(result: SeccmResult) -> tuple[Headline, ...]:
    """Collect the figures for the top of a report."""
    if len(result.landings) == 1:
        return tuple(_single(result.landings[0]))
    return tuple(_several(result))


def _single(one: LandingResult) -> list[Headline]:
    found = []
    attrs = one.dataset.attrs
    for name, (text, unit) in SINGLE.items():
        if name in attrs:
            sigma = attrs.get(f"{name}_uncertainty")
            found.append(Headline(text, float(attrs[name]), unit, sigma))
    if "lead" in attrs:
        found.append(_lead(attrs))
    if "cycle_ce" in one.dataset:
        ce = one.dataset["cycle_ce"].values
        complete = np.flatnonzero(np.isfinite(ce))
        for k in dict.fromkeys(complete[:1].tolist() + complete[-1:].tolist()):
            name = f"Coulombic efficiency, cycle {one.dataset['cycle'].values[k]}"
            found.append(Headline(name, float(ce[k]), "1"))
    return found


def _lead(attrs: dict) -> Headline:
    value = float(attrs["lead"])
    parts = [attrs.get(f"{name}_uncertainty", 0.0) for name in ("t_nuc", "t_nuc_irm")]
    sigma = float(attrs.get("lead_uncertainty", np.hypot(*parts)))
    interval = (value - 1.96 * sigma, value + 1.96 * sigma)
    excludes = interval[0] > 0 or interval[1] < 0
    note = "excludes zero" if excludes else "does not exclude zero"
    return Headline("lead of the optical time", value, "s", sigma, interval, note)


def _several(result: SeccmResult) -> list[Headline]:
    table = result.table
    n = table.sizes["landing"]
    contacts = int(np.count_nonzero(table["contact"].values == 1))
    found = [Headline("landings", n, "1", note=f"{contacts} with contact")]
    plated = [one for one in result.landings if one.electrochemistry.plating is not None]
    if plated:
        hits = int(table["nucleated"].values.sum())
        low, high = wilson_interval(hits, len(plated))
        found.append(
            Headline(
                *("share of platings that nucleated", hits / len(plated), "1"),
                interval=(low, high),
                note=f"{hits} of {len(plated)}",
            )
        )
    for name in ("overtravel", "footprint_area"):
        values = table[name].values if name in table else np.empty(0)
        values = values[np.isfinite(values)]
        if values.size:
            interval = bootstrap_interval(values, np.median)
            what = {"overtravel": "overtravel of the approach", "footprint_area": "footprint"}[name]
            found.append(
                Headline(
                    *(f"median {what}", float(np.median(values)), table[name].attrs["units"]),
                    interval=interval,
                    note=f"{values.size} landings",
                )
            )
    if result.screen is not None:
        silent = result.screen["no_nucleation"].values
        label = result.screen["label"].values if "label" in result.screen else silent
        names = ", ".join(str(v) for v in label[silent])
        found.append(Headline("conditions without nucleation", int(silent.sum()), "1", note=names))
    return found
