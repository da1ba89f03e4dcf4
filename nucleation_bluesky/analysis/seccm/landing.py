"""Analysis of the film of one landing: what `analyse_film` returns is the film's whole result."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from nucleation_bluesky.analysis.seccm.ce_map import CycleTimes, EfficiencyMaps, efficiency_maps
from nucleation_bluesky.analysis.seccm.charge_correlation import correlate_charge
from nucleation_bluesky.analysis.seccm.contact import (
    Contact,
    Footprint,
    find_footprint,
    mask_traces,
    settle_contact,
)
from nucleation_bluesky.analysis.seccm.drift import find_drift, lamp_factor
from nucleation_bluesky.analysis.seccm.film import open_film, survey
from nucleation_bluesky.analysis.seccm.nucleation_map import NucleationMap, nucleation_map
from nucleation_bluesky.analysis.seccm.optical_time import (
    FilmTooShortError,
    OpticalTime,
    optical_nucleation,
)
from nucleation_bluesky.analysis.seccm.smooth import Corrected
from nucleation_bluesky.analysis.seccm.zones import compare_zones, region_times, tile_regions

MIN_OVERLAP = 3  # frames during the electrochemistry


@dataclass(frozen=True)
class FilmSettings:
    """Choices of the film's analysis; every one is stored with the result.

    Parameters
    ----------
    smoothing : float
        Gaussian applied to frames before times and efficiencies are taken per pixel, standard
        deviation in m. The default is about the optical resolution (295 nm full width).
    ce_smoothing : float
        The same for efficiencies, which depend on the few particles within it.
    window : int or None
        Frames of the Savitzky-Golay filter of the map, odd; None: chosen from frame rate and
        noise.
    order : int or None
        Of its polynomial; None: likewise.
    footprint_window : int or None
        Window for the mean over the footprint.
    region : int
        Side of a region, px.
    drift : bool
        Correct lateral drift.
    seed : int
        Of the noise added for the calibration of uncertainties.
    """

    smoothing: float = 160e-9
    ce_smoothing: float = 400e-9
    window: int | None = None
    order: int | None = None
    footprint_window: int | None = None
    region: int = 14
    drift: bool = True
    seed: int = 0


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


def analyse_film(
    frames: Any,
    timestamps: np.ndarray,
    pixel_size: float,
    *,
    electrochemistry_summary: ElectrochemistrySummary | None = None,
    settings: FilmSettings | None = None,
    frame_ids: np.ndarray | None = None,
) -> xr.Dataset:
    """Analyse the interference reflection film of one landing.

    Parameters
    ----------
    frames : array_like, shape (n, y, x)
        numpy, h5py or dask; read in blocks, a few times.
    timestamps : array_like, shape (n,)
        s, irregular.
    pixel_size : float
        m.
    electrochemistry_summary : ElectrochemistrySummary or None
        Of the same landing: needed for the efficiency maps and the lead.
    settings : FilmSettings or None
    frame_ids : array_like of int or None
        The camera's frame counter.

    Returns
    -------
    xarray.Dataset
        On ``y``, ``x`` (m): ``footprint``, ``nucleation_time`` (s after contact), its
        ``_uncertainty`` and ``_valid``; with cycles ``ce``, ``ce_uncertainty``, ``ce_valid``,
        ``ce_inverted`` (cycle, y, x); on ``frame``: ``frame_time`` (s after contact),
        ``intensity`` (relative change of the footprint's mean), ``intensity_rate`` (1/s),
        ``lamp``, ``drift_y``, ``drift_x`` (m); scalars as attributes, absent where they do not
        exist; ``notes`` says why.

    Raises
    ------
    NoFootprintError
        If no wetted area can be found.
    FilmTooShortError
        If a filter that was asked for does not fit.
    ValueError
        If times run backwards, shapes do not fit, or film and electrochemistry do not overlap.
    """
    settings = settings or FilmSettings()
    notes: list[str] = []
    seen = survey(open_film(frames, timestamps, pixel_size, frame_ids=frame_ids))
    film = seen.film
    footprint, in_images = find_footprint(seen)
    contact = _when(in_images, electrochemistry_summary, film.interval, film.time, notes)
    time = film.time - contact.time
    first = int(np.searchsorted(time, 0.0)) if contact.frame < 0 else contact.frame + 1
    first = min(first, len(film) - 1)
    if electrochemistry_summary is not None:
        _check_overlap(time, electrochemistry_summary)
    lamp, measured = lamp_factor(seen, footprint.mask, first)
    if not measured:
        notes.append("no dry surface in the frame: the lamp's drift is not corrected")
    drift = find_drift(seen, footprint.mask, contact.time)
    if not (settings.drift and drift.significant):
        shift = np.zeros((len(film), 2))
        if settings.drift:
            notes.append("no lateral drift was found on the dry surface")
    else:
        shift = drift.shift
    inside, _ = mask_traces(seen, footprint.mask)
    level = inside / lamp
    reference = float(np.median(level[max(0, first - 8) : first])) if first > 1 else float(level[0])
    change = level / reference - level[min(first, len(level) - 1)] / reference
    corrected = Corrected(film, lamp, shift, settings.smoothing / film.pixel_size, footprint.mask)
    last = _end_of_plating(time, electrochemistry_summary)
    optical, local = _nucleation(corrected, time[:last], first, change[:last], settings, notes)
    maps = _efficiency(
        corrected, time, contact, electrochemistry_summary, settings.ce_smoothing, notes
    )
    result = _dataset(footprint, film.pixel_size, time, change, optical, first)
    result["lamp"] = ("frame", lamp)
    result["drift_y"] = ("frame", shift[:, 0] * film.pixel_size, {"units": "m"})
    result["drift_x"] = ("frame", shift[:, 1] * film.pixel_size, {"units": "m"})
    _add_map(result, footprint, local)
    _add_efficiency(result, maps)
    _add_scalars(result, footprint, contact, optical, local)
    if optical is not None:
        _add_lead(result, optical, local, contact, electrochemistry_summary)
    _add_zones(result, corrected, time[:last], first, optical, local, reference, settings.region)
    _add_correlation(result, maps, electrochemistry_summary, footprint.area)
    result.attrs |= {
        "frames": len(film),
        "frames_doubled": len(film.doubled),
        "frames_missing": film.missing,
        "frame_interval": film.interval,
        "pixel_size": film.pixel_size,
        "notes": "; ".join(n for n in notes if n),
    }
    result.attrs |= {
        f"setting_{k}": int(v) if isinstance(v, bool) else v
        for k, v in asdict(settings).items()
        if v is not None
    }
    return result


def _when(
    found: Contact | None,
    summary: ElectrochemistrySummary | None,
    interval: float,
    film_time: np.ndarray,
    notes: list[str],
) -> Contact:
    recorded = None
    uncertainty = 0.0
    if summary is not None and summary.film_offset is not None:
        recorded = summary.start + summary.film_offset
        uncertainty = summary.film_offset_uncertainty
    contact, doubt = settle_contact(found, recorded, uncertainty, interval)
    notes.append(doubt)
    if contact is None:
        notes.append(
            "the film starts after contact and no clock relates it to the electrochemistry: times "
            "are after the first frame, not after contact"
        )
        return Contact(-1, float(film_time[0]), float("inf"), float("nan"), "first frame")
    return contact


def _check_overlap(time: np.ndarray, summary: ElectrochemistrySummary) -> None:
    low, high = (float(summary.time[k]) - summary.start for k in (0, -1))
    if np.sum((time >= low) & (time <= high)) < MIN_OVERLAP:
        raise ValueError(
            f"movie and electrochemistry do not overlap in time: after contact the movie runs from "
            f"{time[0]:.3g} to {time[-1]:.3g} s, the electrochemistry from {low:.3g} to "
            f"{high:.3g} s; check that both belong to one landing and the offset of the clocks"
        )


def _end_of_plating(time: np.ndarray, summary: ElectrochemistrySummary | None) -> int:
    """Frames until the first plating has ended: later cycles start on what it left."""
    if summary is None or len(summary.cycles) == 0:
        return len(time)
    return int(np.searchsorted(time, summary.cycles[0][1] - summary.start))


def _nucleation(
    corrected: Corrected,
    time: np.ndarray,
    first: int,
    change: np.ndarray,
    settings: FilmSettings,
    notes: list[str],
) -> tuple[OpticalTime | None, NucleationMap | None]:
    try:
        optical = optical_nucleation(time[first:], change[first:], window=settings.footprint_window)
    except FilmTooShortError as exc:
        if settings.footprint_window is not None or settings.window is not None:
            raise
        notes.append(str(exc))
        return None, None
    if optical is None:
        notes.append("the footprint's intensity shows no maximum of dI/dt: no optical nucleation")
        return None, None
    local = nucleation_map(
        corrected,
        time,
        first,
        optical,
        window=settings.window,
        order=settings.order,
        seed=settings.seed,
    )
    return optical, local


def _efficiency(
    corrected: Corrected,
    time: np.ndarray,
    contact: Contact,
    summary: ElectrochemistrySummary | None,
    smoothing: float,
    notes: list[str],
) -> EfficiencyMaps | None:
    if summary is None or len(summary.cycles) == 0:
        return None
    if not np.isfinite(contact.uncertainty):
        notes.append("no efficiency maps: the film's time is not related to the cycles")
        return None
    cycles = [CycleTimes(*(t - summary.start for t in cycle)) for cycle in summary.cycles]
    try:
        return efficiency_maps(
            corrected,
            time,
            cycles,
            np.asarray(summary.cycle_ce, dtype=float),
            np.asarray(summary.time) - summary.start,
            np.asarray(summary.charge),
            smoothing=smoothing,
        )
    except ValueError as exc:
        notes.append(f"no efficiency maps: {exc}")
        return None


def _dataset(
    footprint: Footprint,
    pixel_size: float,
    time: np.ndarray,
    change: np.ndarray,
    optical: OpticalTime | None,
    first: int,
) -> xr.Dataset:
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


def _add_map(result: xr.Dataset, footprint: Footprint, local: NucleationMap | None) -> None:
    empty = np.full(footprint.mask.shape, np.nan)
    values = empty if local is None else local.time
    sigma = empty if local is None else local.uncertainty
    valid = np.zeros(footprint.mask.shape, dtype=bool) if local is None else local.valid
    yx = ("y", "x")
    result["nucleation_time"] = (yx, values, {"units": "s", "long_name": "after contact"})
    result["nucleation_time_uncertainty"] = (yx, sigma, {"units": "s"})
    result["nucleation_time_valid"] = (yx, valid)


def _add_efficiency(result: xr.Dataset, maps: EfficiencyMaps | None) -> None:
    if maps is None:
        return
    cube = ("cycle", "y", "x")
    result.coords["cycle"] = ("cycle", np.arange(1, len(maps.ratio) + 1))
    result["ce"] = (cube, maps.ce, {"units": "1"})
    result["ce_uncertainty"] = (cube, maps.uncertainty, {"units": "1"})
    result["ce_valid"] = (cube, maps.valid)
    result["ce_inverted"] = (cube, maps.inverted)
    result["intensity_ratio"] = ("cycle", maps.ratio, {"units": "1"})
    result["intensity_plated"] = ("cycle", maps.plated, {"units": "1"})
    result["intensity_residual"] = ("cycle", maps.residual, {"units": "1"})
    result.attrs |= {
        "ce_slope": maps.slope,
        "ce_intercept": maps.intercept,
        "ce_correlation": maps.correlation,
        "ce_once": maps.once,
    }


def _add_zones(
    result: xr.Dataset,
    corrected: Corrected,
    time: np.ndarray,
    first: int,
    optical: OpticalTime | None,
    local: NucleationMap | None,
    brightness: float,
    size: int,
) -> None:
    """Squares of the footprint, and centre against edge."""
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


def _add_correlation(
    result: xr.Dataset,
    maps: EfficiencyMaps | None,
    summary: ElectrochemistrySummary | None,
    area: float,
) -> None:
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


def _add_scalars(
    result: xr.Dataset,
    footprint: Footprint,
    contact: Contact,
    optical: OpticalTime | None,
    local: NucleationMap | None,
) -> None:
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


def _add_lead(
    result: xr.Dataset,
    optical: OpticalTime,
    local: NucleationMap | None,
    contact: Contact,
    summary: ElectrochemistrySummary | None,
) -> None:
    """Lead of the optical over the electrochemical time, with a 95 % interval."""
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
