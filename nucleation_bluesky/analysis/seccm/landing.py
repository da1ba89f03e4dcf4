"""Analysis of the film of one landing: what `analyse_film` returns is the film's whole result."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import xarray as xr

from nucleation_bluesky.analysis.seccm.ce_map import CycleTimes, EfficiencyMaps, efficiency_maps
from nucleation_bluesky.analysis.seccm.charge_correlation import correlate_charge
from nucleation_bluesky.analysis.seccm.contact import (
    Contact,
    find_footprint,
    mask_traces,
    settle_contact,
)
from nucleation_bluesky.analysis.seccm.drift import find_drift, lamp_factor
from nucleation_bluesky.analysis.seccm.film import mirrored, open_film, survey
from nucleation_bluesky.analysis.seccm.film_result import (
    ElectrochemistrySummary,
    add_correlation,
    add_efficiency,
    add_lead,
    add_map,
    add_scalars,
    add_zones,
    film_dataset,
)
from nucleation_bluesky.analysis.seccm.nucleation_map import NucleationMap, nucleation_map
from nucleation_bluesky.analysis.seccm.optical_time import (
    FilmTooShortError,
    OpticalTime,
    optical_nucleation,
)
from nucleation_bluesky.analysis.seccm.smooth import Corrected

MIN_OVERLAP = 3  # frames during the electrochemistry
DARKENS = -0.8  # correlation of intensity and charge below which a deposit darkens the film


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
        ``ce_inverted`` (cycle, y, x), ``ce_spread`` and ``ce_resolved`` (cycle); on ``frame``:
        ``frame_time`` (s after contact), ``intensity`` (relative change of the footprint's mean),
        ``intensity_rate`` (1/s),
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
    last = _end_of_plating(time, electrochemistry_summary)
    polarity = _polarity(time[first:last], change[first:last], electrochemistry_summary)
    if polarity < 0:
        film = mirrored(film, reference * lamp)
        notes.append("the deposit darkens the film: all is analysed mirrored")
    corrected = Corrected(film, lamp, shift, settings.smoothing / film.pixel_size, footprint.mask)
    optical, local = _nucleation(
        corrected, time[:last], first, polarity * change[:last], settings, notes
    )
    maps = _efficiency(
        corrected,
        time,
        contact,
        electrochemistry_summary,
        settings.ce_smoothing,
        drift.uncertainty if np.isfinite(drift.uncertainty) else 0.0,
        notes,
    )
    result = film_dataset(footprint, film.pixel_size, time, change, optical, first)
    result["intensity_rate"] *= polarity
    result["lamp"] = ("frame", lamp)
    result["drift_y"] = ("frame", shift[:, 0] * film.pixel_size, {"units": "m"})
    result["drift_x"] = ("frame", shift[:, 1] * film.pixel_size, {"units": "m"})
    add_map(result, footprint, local)
    add_efficiency(result, maps)
    for name in ("intensity_plated", "intensity_residual"):
        if name in result:
            result[name] *= polarity
    add_scalars(result, footprint, contact, optical, local)
    if optical is not None:
        add_lead(result, optical, local, contact, electrochemistry_summary)
    add_zones(result, corrected, time[:last], first, optical, local, reference, settings.region)
    add_correlation(result, maps, electrochemistry_summary, footprint.area)
    result.attrs |= {
        "frames": len(film),
        "optical_polarity": polarity,
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
    if summary is None:
        return len(time)
    end = summary.cycles[0][1] if len(summary.cycles) else summary.plating_end
    return len(time) if end is None else int(np.searchsorted(time, end - summary.start))


def _polarity(time: np.ndarray, change: np.ndarray, summary: ElectrochemistrySummary | None) -> int:
    """Tell whether a deposit brightens (1) or, clearly, darkens the film (-1).

    Interference does either, by the thickness of what lies above the electrode.
    """
    if summary is None:
        return 1
    seconds = np.asarray(summary.time) - summary.start
    found = correlate_charge(time, change, seconds, np.asarray(summary.charge))
    return -1 if found is not None and found.correlation < DARKENS else 1


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
    registration: float,
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
            registration=registration,
        )
    except ValueError as exc:
        notes.append(f"no efficiency maps: {exc}")
        return None
