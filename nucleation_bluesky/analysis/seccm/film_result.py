"""The result of a film as a dataset: maps, traces and scalars with units."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from nucleation_bluesky.analysis.seccm.ce_map import EfficiencyMaps
from nucleation_bluesky.analysis.seccm.charge_correlation import correlate_charge
from nucleation_bluesky.analysis.seccm.contact import Contact, Footprint
from nucleation_bluesky.analysis.seccm.nucleation_map import NucleationMap
from nucleation_bluesky.analysis.seccm.optical_time import OpticalTime
from nucleation_bluesky.analysis.seccm.smooth import Corrected
from nucleation_bluesky.analysis.seccm.zones import compare_zones, region_times, tile_regions


@dataclass(frozen=True)
class ElectrochemistrySummary:
    """What the film's analysis takes from the electrochemistry.

    Parameters
    ----------
    time : ndarray, shape (n,)
        s on the record's clock.
    charge : ndarray, shape (n,)
        Signed accumulated charge, C (negative after reduction).
    start : float
        Contact on the record's clock: when current began to flow, s.
    technique : str
        As in the neutral format.
    film_offset : float or None
        The film's clock less the record's, s, where both clocks are known to be related; None
        where they are not: contact is then found in the images alone.
    film_offset_uncertainty : float
        s.
    t_nuc, t_nuc_uncertainty : float or None
        Electrochemical nucleation time, s after ``start``.
    cycles : sequence of (start, turn, stop)
        s on the record's clock: plating from start to turn, stripping from turn to stop.
    cycle_ce : ndarray, shape (cycle,)
        Electrochemical efficiency.
    plating_end : float or None
        When the first plating ended, s on the record's clock, where that is not the first turn
        of ``cycles``; later platings start on what it left.
    """

    time: np.ndarray
    charge: np.ndarray
    start: float = 0.0
    technique: str = "galvanostatic"
    film_offset: float | None = None
    film_offset_uncertainty: float = 0.0
    t_nuc: float | None = None
    t_nuc_uncertainty: float | None = None
    cycles: Sequence[tuple[float, float, float]] = ()
    cycle_ce: np.ndarray = field(default_factory=lambda: np.zeros(0))
    plating_end: float | None = None


def film_dataset(
    footprint: Footprint,
    pixel_size: float,
    time: np.ndarray,
    change: np.ndarray,
    optical: OpticalTime | None,
    first: int,
) -> xr.Dataset:
    """Return the footprint and its mean intensity over time."""
    rows, cols = footprint.mask.shape
    rate = np.full(len(time), np.nan)
    if optical is not None:
        rate[first : first + len(optical.rate)] = optical.rate
    return xr.Dataset(
        {
            "footprint": (("y", "x"), footprint.mask, {"long_name": "wetted area"}),
            "intensity": (
                "frame",
                change,
                {"units": "1", "long_name": "relative change of the footprint's mean intensity"},
            ),
            "intensity_rate": ("frame", rate, {"units": "1/s"}),
        },
        coords={
            "y": ("y", np.arange(rows) * pixel_size, {"units": "m"}),
            "x": ("x", np.arange(cols) * pixel_size, {"units": "m"}),
            "frame_time": ("frame", time, {"units": "s", "long_name": "time after contact"}),
        },
    )


def add_map(result: xr.Dataset, footprint: Footprint, local: NucleationMap | None) -> None:
    """Add the nucleation time of every pixel."""
    empty = np.full(footprint.mask.shape, np.nan)
    values = empty if local is None else local.time
    sigma = empty if local is None else local.uncertainty
    valid = np.zeros(footprint.mask.shape, dtype=bool) if local is None else local.valid
    yx = ("y", "x")
    result["nucleation_time"] = (yx, values, {"units": "s", "long_name": "after contact"})
    result["nucleation_time_uncertainty"] = (yx, sigma, {"units": "s"})
    result["nucleation_time_valid"] = (yx, valid)


def add_efficiency(result: xr.Dataset, maps: EfficiencyMaps | None) -> None:
    """Add the efficiency of every pixel and cycle."""
    if maps is None:
        return
    cube = ("cycle", "y", "x")
    result.coords["cycle"] = ("cycle", np.arange(1, len(maps.ratio) + 1))
    result["ce"] = (cube, maps.ce, {"units": "1"})
    result["ce_uncertainty"] = (cube, maps.uncertainty, {"units": "1"})
    result["ce_valid"] = (cube, maps.valid)
    result["ce_inverted"] = (cube, maps.inverted)
    spread = {"units": "1", "long_name": "between pixels, beyond their uncertainty"}
    result["ce_spread"] = ("cycle", maps.spread, spread)
    result["ce_resolved"] = ("cycle", maps.resolved)
    result["intensity_ratio"] = ("cycle", maps.ratio, {"units": "1"})
    result["intensity_plated"] = ("cycle", maps.plated, {"units": "1"})
    result["intensity_residual"] = ("cycle", maps.residual, {"units": "1"})
    result.attrs |= {
        "ce_slope": maps.slope,
        "ce_intercept": maps.intercept,
        "ce_correlation": maps.correlation,
        "ce_once": maps.once,
        "ce_verdict": efficiency_verdict(maps),
    }


def efficiency_verdict(maps: EfficiencyMaps) -> str:
    """Say which cycles' maps show more than their own uncertainty."""
    numbers = np.arange(1, len(maps.resolved) + 1)
    seen, unseen = numbers[maps.resolved], numbers[~maps.resolved]
    if not len(unseen):
        return "local spread of the efficiency resolved in every cycle"
    told = ", ".join(map(str, unseen))
    if not len(seen):
        return f"local spread of the efficiency not resolved in any cycle ({told})"
    return (
        f"local spread of the efficiency resolved in {'cycle' if len(seen) == 1 else 'cycles'} "
        f"{', '.join(map(str, seen))}; not resolved, smaller than the maps' uncertainty, in {told}"
    )


def add_zones(
    result: xr.Dataset,
    corrected: Corrected,
    time: np.ndarray,
    first: int,
    optical: OpticalTime | None,
    local: NucleationMap | None,
    brightness: float,
    size: int,
) -> None:
    """Add squares of the footprint, and centre against edge."""
    if optical is None or local is None:
        return
    corners = tile_regions(corrected.mask, size)
    regions = region_times(corrected, time, first, optical, local, corners, size)
    pixel = corrected.film.pixel_size
    middle = (size - 1) / 2
    result["region_y"] = ("region", (regions.row + middle) * pixel, {"units": "m"})
    result["region_x"] = ("region", (regions.col + middle) * pixel, {"units": "m"})
    result["region_nucleation_time"] = ("region", regions.time, {"units": "s"})
    result["region_nucleation_time_uncertainty"] = (
        "region",
        regions.uncertainty,
        {"units": "s"},
    )
    zones = compare_zones(corrected, time, optical, local, brightness)
    if zones is not None:
        result.attrs |= {f"zone_{k}": v for k, v in asdict(zones).items() if not _missing(v)}


def add_correlation(
    result: xr.Dataset,
    maps: EfficiencyMaps | None,
    summary: ElectrochemistrySummary | None,
    area: float,
) -> None:
    """Add the relation of intensity and charge."""
    if summary is None or "contact_time" not in result.attrs:
        return
    found = correlate_charge(
        result["frame_time"].values,
        result["intensity"].values,
        np.asarray(summary.time) - summary.start,
        np.asarray(summary.charge),
        area=area,
        residual=None if maps is None else maps.residual,
    )
    if found is None:
        return
    result.attrs |= {
        "charge_correlation": found.correlation,
        "intensity_per_charge": found.slope,
        "intensity_per_charge_uncertainty": found.slope_uncertainty,
    }
    if found.alpha is not None:
        result.attrs["intensity_per_thickness"] = found.alpha
    if maps is not None:
        result["residual_charge"] = (
            "cycle",
            found.residual_charge,
            {"units": "C", "long_name": "charge of what stays after stripping, by intensity"},
        )


def add_scalars(
    result: xr.Dataset,
    footprint: Footprint,
    contact: Contact,
    optical: OpticalTime | None,
    local: NucleationMap | None,
) -> None:
    """Add what is known of footprint, contact and times."""
    attrs: dict[str, Any] = {
        "footprint_area": footprint.area,
        "footprint_source": footprint.source,
        "footprint_cut": int(footprint.cut),
        "contact_source": contact.source,
    }
    if np.isfinite(contact.uncertainty):
        attrs |= {
            "contact_time": contact.time,
            "contact_time_uncertainty": contact.uncertainty,
            "contact_frame": contact.frame,
        }
    if optical is not None:
        attrs |= {
            "t_nuc_irm": optical.time,
            "t_nuc_irm_peak": optical.peak,
            "t_nuc_irm_width": optical.width,
            "t_nuc_irm_window": optical.window,
            "t_nuc_irm_order": optical.order,
        }
    if local is not None:
        attrs |= {
            "map_window": local.window,
            "map_order": local.order,
            "map_interval": local.interval,
            "map_spread": local.spread,
            "map_spread_uncertainty": local.spread_uncertainty,
            "map_resolved": int(local.resolved),
            "map_verdict": local.verdict,
        }
    else:
        attrs["map_resolved"] = 0
        attrs["map_verdict"] = "local spread not resolved: no maximum of dI/dt in the film"
    result.attrs |= {k: v for k, v in attrs.items() if not _missing(v)}


def _missing(value: object) -> bool:
    return isinstance(value, float) and not np.isfinite(value)


def add_lead(
    result: xr.Dataset,
    optical: OpticalTime,
    local: NucleationMap | None,
    contact: Contact,
    summary: ElectrochemistrySummary | None,
) -> None:
    """Add the lead of the optical over the electrochemical time, with a 95 % interval."""
    sampling, mixed = 0.0, 0.0
    if local is not None:
        sampling = _sampling(local)
        if local.resolved:
            # births in more than one wave: the footprint's maximum is not their mean
            mixed = 0.5 * (optical.time - float(np.mean(local.time[local.valid])))
    sigma = float(np.sqrt(optical.uncertainty**2 + sampling**2 + mixed**2 + contact.uncertainty**2))
    if np.isfinite(sigma):
        result.attrs["t_nuc_irm_uncertainty"] = sigma
    if summary is None or summary.t_nuc is None or not np.isfinite(sigma):
        return
    lead = summary.t_nuc - optical.time
    sigma = float(np.hypot(sigma, summary.t_nuc_uncertainty or 0.0))
    low, high = lead - 1.96 * sigma, lead + 1.96 * sigma
    excludes = low > 0 or high < 0
    result.attrs |= {
        "lead": lead,
        "lead_uncertainty": sigma,
        "lead_low": low,
        "lead_high": high,
        "lead_excludes_zero": int(excludes),
        "lead_verdict": (
            f"optical nucleation leads by {lead:.3g} s (95 % interval {low:.3g} to {high:.3g} s): "
            + ("zero is excluded" if excludes else "zero is not excluded")
        ),
    }


def _sampling(local: NucleationMap, blocks: int = 5) -> float:
    """Error of the footprint's mean time as a sample of what the conditions give, s.

    Births are correlated in space, so squares of a fifth of the footprint count, not pixels.
    """
    rows, cols = np.nonzero(local.valid)
    if len(rows) < 100:
        return 0.0
    size = max(np.ptp(rows), np.ptp(cols)) / blocks + 1
    label = ((rows - rows.min()) // size * blocks + (cols - cols.min()) // size).astype(int)
    counts = np.bincount(label)
    sums = np.bincount(label, weights=local.time[rows, cols])
    full = counts > 0.5 * counts.max()
    if full.sum() < 4:
        return 0.0
    means = sums[full] / counts[full]
    return float(np.std(means, ddof=1) / np.sqrt(full.sum()))
