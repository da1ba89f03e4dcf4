"""One row per landing: everything a landing gave, NaN where a figure does not exist."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from nucleation_bluesky.contract.enums import Termination
from nucleation_bluesky.storage.seccm_data import LandingSet
from nucleation_bluesky.storage.seccm_result import LandingResult

POSITIONS = {
    # attribute of Landing: (unit, meaning)
    "site": ("1", "index of the landing in the plan's list"),
    "row": ("1", "row where gridded, else -1"),
    "col": ("1", "column where gridded, else -1"),
    "condition": ("1", "condition of the screen, -1 without"),
    "repeat": ("1", "repeat of that condition, -1 without"),
    "false_contacts": ("1", "spikes rejected during the approach"),
}
PLACES = {
    "x": "landing's x in the sample frame",
    "y": "landing's y in the sample frame",
    "contact_z": "extension of the pipette at contact",
    "overtravel": "way from contact to where the approach stopped",
}
SCALARS = {
    "current": ("A", "mean applied current of the plating"),
    "current_density": ("A/m2", "on the measured footprint"),
    "footprint_area": ("m2", "wetted area"),
    "charge": ("C", "net charge of the program"),
    "charge_plated": ("C", "magnitude of the charge of the plating"),
    "e_nuc": ("V", "nucleation potential: first local minimum"),
    "e_nuc_uncertainty": ("V", "its standard uncertainty"),
    "t_nuc": ("s", "time of the nucleation potential since the current began"),
    "t_nuc_uncertainty": ("s", "its standard uncertainty"),
    "charge_nuc": ("C", "magnitude of the charge until nucleation"),
    "q_nuc": ("C/m2", "the same per footprint"),
    "e_growth": ("V", "growth potential: plateau after nucleation"),
    "e_growth_uncertainty": ("V", "its standard uncertainty"),
    "growth_observed": ("1", "share of the relaxation to the plateau that was recorded"),
    "second_fall": ("s", "when the potential fell again after the plateau"),
    "t_nuc_irm": ("s", "optical nucleation time, mean over the footprint, after contact"),
    "t_nuc_irm_uncertainty": ("s", "its standard uncertainty"),
    "lead": ("s", "electrochemical less optical nucleation time"),
    "lead_uncertainty": ("s", "its standard uncertainty, that of the contact frame included"),
    "contact_time": ("s", "contact in the film, on the film's clock"),
    "contact_time_uncertainty": ("s", "its standard uncertainty"),
    "plating_onset": ("V", "onset of plating on the first cathodic sweep"),
    "scan_rate": ("V/s", "measured"),
}


def landing_table(results: Sequence[LandingResult], source: LandingSet) -> xr.Dataset:
    """Return all landings as one dataset of dimension ``landing``.

    Parameters
    ----------
    results : sequence of LandingResult
        By landing.
    source : LandingSet
        Where they come from.
    """
    columns: dict[str, tuple[np.ndarray, str, str]] = {}
    landings = [one.landing for one in results]
    for name, (unit, text) in POSITIONS.items():
        columns[name] = np.array([getattr(i, name) for i in landings], np.int64), unit, text
    for name, text in PLACES.items():
        columns[name] = np.array([getattr(i, name) for i in landings], float), "m", text
    for k, name in enumerate(("approach_speed", "retract_speed")):
        speeds = np.array([i.speeds[k] for i in landings], float)
        if np.isfinite(speeds).any():
            columns[name] = speeds, "m/s", f"measured {name.replace('_', ' ')}"
    for name, (unit, text) in SCALARS.items():
        values = np.array([one.value(name) for one in results])
        if np.isfinite(values).any():
            columns[name] = values, unit, text
    nucleated = np.array([
        one.electrochemistry.plating is not None and one.electrochemistry.plating.nucleated
        for one in results
    ])  # fmt: skip
    columns["nucleated"] = nucleated, "1", "whether the potential reached a local minimum"
    touched = np.array([-1 if i.contact is None else int(i.contact) for i in landings], np.int8)
    columns["contact"] = touched, "1", "1 contact, 0 none, -1 not recorded"
    table = xr.Dataset(
        {
            name: ("landing", values, {"units": unit, "long_name": text})
            for name, (values, unit, text) in columns.items()
        }
    )
    names = Termination.labels()
    codes = [names.index(i.termination) if i.termination in names else 0 for i in landings]
    flags = {
        "flag_values": np.arange(len(names), dtype=np.int8),
        "flag_meanings": " ".join(names),
        "units": "1",
    }
    table["termination"] = ("landing", np.array(codes, np.int8), flags)
    table = _with_cycles(table, results)
    if source.reference_scale:
        table.attrs["reference_scale"] = source.reference_scale
    if source.reference_offset is not None:
        table.attrs["reference_offset"] = float(source.reference_offset["offset"])
    return table


def _with_cycles(table: xr.Dataset, results: Sequence[LandingResult]) -> xr.Dataset:
    """Add the values by cycle, NaN beyond a landing's last one."""
    names = ("cycle_ce", "cycle_charge_cathodic", "cycle_charge_anodic")
    longest = max((one.dataset.sizes.get("cycle", 0) for one in results), default=0)
    if longest == 0:
        return table
    for name in names:
        values = np.full((len(results), longest), np.nan)
        attrs: dict[str, object] = {"units": "1"}
        for k, one in enumerate(results):
            if name in one.dataset:
                values[k, : one.dataset.sizes["cycle"]] = one.dataset[name].values
                attrs = one.dataset[name].attrs
        table[name] = (("landing", "cycle"), values, attrs)
    return table.assign_coords(cycle=("cycle", np.arange(1, longest + 1), {"units": "1"}))


def usable_landings(table: xr.Dataset) -> np.ndarray:
    """Tell which landings measured what they were meant to, shape (n,).

    Those without contact and those that a fault or a person ended do not count; a program that
    one of its own limits ended does.
    """
    bad = [
        Termination.NO_CONTACT,
        Termination.KILLED,
        Termination.HEARTBEAT_LOST,
        Termination.BACKEND_FAULT,
        Termination.STALE,
        Termination.NONFINITE,
    ]
    return (table["contact"].values != 0) & ~np.isin(table["termination"].values, bad)
