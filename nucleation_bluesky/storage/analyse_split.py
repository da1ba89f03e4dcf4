"""Equilibrium potential, overpotential and ohmic drop of a data set's nucleation bias."""

import numpy as np
import xarray as xr

from nucleation_bluesky.analysis.ramps import RampSet
from nucleation_bluesky.analysis.thermodynamics import series_resistance, split_potential
from nucleation_bluesky.storage.analysis_result import Split

MAX_CURVES = 60  # curves looked at for the series resistance
MIN_CURVES = 3


def split_of(ramps: RampSet, sites: xr.Dataset, resistance: float | None = None) -> Split:
    """Split the mean nucleation bias.

    Parameters
    ----------
    ramps : RampSet
        With an equilibrium potential.
    sites : xarray.Dataset
        Their site results.
    resistance : float or None
        Series resistance, ohm; None estimates it from curves that become ohmic after the onset.
        Where none does, the ohmic drop is not told apart from the overpotential.

    Raises
    ------
    ValueError
        Without an equilibrium potential or a nucleated site.
    """
    if ramps.equilibrium_potential is None:
        raise ValueError("no equilibrium potential was given; it is an input of the split")
    onset = sites["onset_bias"].values
    use = np.isfinite(onset)
    if not use.any():
        raise ValueError("no site nucleated")
    source = "given"
    if resistance is None:
        resistance, source = _estimated_resistance(ramps, sites), "curves after the onset"
    known = resistance is not None
    found = split_potential(
        onset[use],
        np.nan_to_num(sites["current_background"].values[use]),
        ramps.equilibrium_potential,
        resistance or 0.0,
        equilibrium_source="input",
        resistance_source=source if known else "not determined",
        scale=str(ramps.attrs.get("reference_scale") or ""),
    )
    parts: dict[str, tuple[float, float | None]] = {
        "Equilibrium": (found.equilibrium_potential, None)
    }
    parts["Overpotential" if known else "Overpotential and IR"] = _mean_sd(found.overpotential)
    if known:
        parts["IR drop"] = _mean_sd(found.ohmic)
    return Split(parts=parts, total=_mean_sd(onset[use]), resistance=resistance)


def _mean_sd(values: np.ndarray) -> tuple[float, float | None]:
    return float(np.mean(values)), float(np.std(values, ddof=1)) if values.size > 1 else None


def _estimated_resistance(ramps: RampSet, sites: xr.Dataset) -> float | None:
    nucleated = np.flatnonzero(np.isfinite(sites["onset_time"].values))
    picked = nucleated[:: max(1, len(nucleated) // MAX_CURVES)]
    values = []
    for k in picked:
        site = int(k)
        first = int(np.searchsorted(ramps.site_time(site), float(sites["onset_time"][site])))
        last = int(ramps.counts[site] - ramps.n_post[site])
        window = slice(int(ramps.offsets[site]) + first, int(ramps.offsets[site]) + last)
        found = series_resistance(ramps.site_bias(site)[first:last], ramps.current[window])
        if np.isfinite(found.value):
            values.append(found.value)
    return float(np.median(values)) if len(values) >= MIN_CURVES else None
