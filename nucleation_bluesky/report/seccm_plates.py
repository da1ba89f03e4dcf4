"""Which figures landings can give, and why the others are absent."""

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from nucleation_bluesky.report.figures import film, landings
from nucleation_bluesky.report.plate import Plate, need
from nucleation_bluesky.storage.seccm_result import LandingResult, SeccmResult

FRAMES = 8
SHOWN_LANDINGS = 3  # landings of a run that get figures of their own


def seccm_plates(result: SeccmResult) -> list[Plate]:
    """Return the figures of a set of landings."""
    plates = _screen_plates(result) if len(result.landings) > 1 else []
    for one in _worth_showing(result):
        plates += _landing_plates(result, one)
    return plates


def _worth_showing(result: SeccmResult) -> list[LandingResult]:
    """Landings with films first, then others; of different conditions where there are some."""
    chosen: list[LandingResult] = []
    seen: set[tuple[str, int]] = set()
    for one in sorted(result.landings, key=lambda r: (r.landing.movie is None, r.landing.site)):
        key = (one.landing.technique, one.landing.condition)
        if one.landing.contact is not False and key not in seen:
            seen.add(key)
            chosen.append(one)
    return chosen[:SHOWN_LANDINGS]


def _screen_plates(result: SeccmResult) -> list[Plate]:
    scale = result.source.reference_scale
    return [
        Plate(
            "screen_positions",
            "Landings",
            "Filled: nucleated; open: did not; crosses: no contact.",
            "Fig. 3a",
            lambda: landings.fig_landing_map(result.table, _names(result)),
        ),
        Plate(
            "screen_curves",
            "Transients by condition",
            "Mean over repeats; the band is their standard deviation.",
            "Fig. 3b,c and 4a",
            lambda: landings.fig_screen_curves(_groups(result), scale=scale),
        ),
        Plate(
            "screen",
            "Nucleation against current density",
            "Current density on the measured footprint. Bars: standard deviation over repeats, 95 "
            "% interval for the share. A repeat without a minimum has no nucleation potential: it "
            "is counted, not averaged.",
            "Fig. 3e,f",
            lambda: landings.fig_screen(
                need(result.screen, "the landings have no conditions"), scale=scale
            ),
        ),
    ]


def _names(result: SeccmResult) -> list[str]:
    if result.screen is None:
        return []
    names = dict(
        zip(
            result.screen["condition"].values.tolist(),
            landings.condition_names(result.screen),
            strict=True,
        )
    )
    return [names.get(k, "") for k in range(max(names, default=-1) + 1)]


def _groups(result: SeccmResult) -> dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    names = _names(result)
    groups: dict[int, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
    for one in result.landings:
        plating = one.electrochemistry.plating
        if plating is None or one.landing.condition < 0:
            continue
        trace = one.landing.trace.in_program().finite()
        time = trace.time - plating.start
        kept = (time >= 0) & (time <= plating.duration)
        area = one.value("footprint_area")
        charge = np.abs(plating.current) * time / area
        curve = (time[kept], charge[kept], trace.potential[kept])
        if kept.sum() > 1:
            groups.setdefault(one.landing.condition, []).append(curve)
    return {names[k] or f"condition {k}": groups[k] for k in sorted(groups)}


def _landing_plates(result: SeccmResult, one: LandingResult) -> list[Plate]:
    several = len(result.landings) > 1
    tag = f"landing{one.landing.site}_" if several else ""
    where = f" (landing {one.landing.site})" if several else ""
    scale, data = result.source.reference_scale, one.dataset
    no_film = one.missing.get("film", "the landing was not filmed")

    def plate(
        name: str, title: str, caption: str, counterpart: str, draw: Callable[[], Figure]
    ) -> Plate:
        return Plate(f"{tag}{name}", title + where, caption, counterpart, draw)

    plates = []
    if one.landing.technique == "cv":
        plates.append(
            plate(
                "voltammogram",
                "Cyclic voltammogram",
                "Current density on the measured footprint where the film shows it.",
                "Fig. 2a",
                lambda: landings.fig_voltammogram(
                    _cycles(one),
                    area=_finite(one.value("footprint_area")),
                    scale=scale,
                    title=where.strip(" ()"),
                ),
            )
        )
    if "cycle_ce" in data:
        plates.append(
            plate(
                "efficiency",
                "Coulombic efficiency by cycle",
                "Anodic over cathodic charge, from the signed current over the sweeps.",
                "Fig. 2b",
                lambda: landings.fig_efficiency(data),
            )
        )
    if one.electrochemistry.plating is not None:
        plates.append(
            plate(
                "transient",
                "Potential and intensity after contact",
                "Nucleation is the first local minimum of the potential; optically the local "
                "maximum of dI/dt, from raw frames on their true times.",
                "Fig. 3d and 5b",
                lambda: _transient(one, scale),
            )
        )
    if one.landing.movie is None:
        return plates
    plates += [
        plate(
            "charge_intensity",
            "Charge and intensity",
            "Accumulated charge and mean intensity of the footprint.",
            "Fig. 2c",
            lambda: _charge_intensity(one, no_film),
        ),
        plate(
            "frames",
            "The film",
            "Frames averaged in pairs, relative to before contact, smoothed to the optical "
            "resolution; line: the footprint found in the images.",
            "Fig. 2d, 5a and 6",
            lambda: _frames(one, no_film),
        ),
        plate(
            "nucleation_map",
            "Local nucleation times",
            f"Only pixels whose time is valid are shown. {data.attrs.get('map_verdict', '')}",
            "Fig. 5d,e",
            lambda: film.fig_nucleation_map(data, _pixel(one)),
        ),
        plate(
            "efficiency_maps",
            "Local Coulombic efficiency",
            "Change of intensity on stripping over that on plating, calibrated by the "
            "electrochemical efficiency of the cycles; pixels whose contrast inverts are left out. "
            f"{data.attrs.get('ce_verdict', '')}",
            "Fig. 2e",
            lambda: film.fig_efficiency_maps(data, _pixel(one)),
        ),
    ]
    return plates


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _pixel(one: LandingResult) -> float:
    movie = need(one.landing.movie, "the landing was not filmed")
    return float(movie.pixel_size)


def _cycles(one: LandingResult) -> list[tuple[np.ndarray, np.ndarray]]:
    trace = one.landing.trace.in_program().finite()
    return [
        (trace.potential[c.start : c.stop], trace.current[c.start : c.stop])
        for c in one.electrochemistry.cycles
    ]


def _contact(one: LandingResult) -> float:
    """Contact on the record's clock, s."""
    trace, plating = one.landing.trace, one.electrochemistry.plating
    if one.landing.contact_time is not None:
        return one.landing.contact_time
    if plating is not None:
        return plating.start
    return float(trace.time[0]) if len(trace) else 0.0


def _film(one: LandingResult) -> xr.Dataset | None:
    return one.dataset if "intensity" in one.dataset else None


def _transient(one: LandingResult, scale: str) -> Figure:
    trace, start = one.landing.trace.in_program().finite(), _contact(one)
    attrs = one.dataset.attrs
    marks, plating = {}, one.electrochemistry.plating
    if "t_nuc" in attrs and plating is not None:
        marks["t$_{nuc}$"] = float(attrs["t_nuc"]) + plating.start - start
    if "t_nuc_irm" in attrs:
        marks["t$_{nuc(IRM)}$"] = float(attrs["t_nuc_irm"])
    names = {"e_nuc": "E$_{nuc}$", "e_growth": "E$_{growth}$"}
    potentials = {text: float(attrs[name]) for name, text in names.items() if name in attrs}
    return landings.fig_transient(
        trace.time - start,
        trace.potential,
        scale=scale,
        marks=marks,
        film=_film(one),
        potentials=potentials,
    )


def _charge_intensity(one: LandingResult, reason: str) -> Figure:
    data = need(_film(one), reason)
    trace, start = one.landing.trace.in_program().finite(), _contact(one)
    charge = trace.charge(one.electrochemistry.baseline)
    time = trace.time - start
    when = data["frame_time"].values
    inside = (when >= time[0]) & (when <= time[-1])
    correlation = None
    if inside.sum() > 3:
        passed = np.interp(when[inside], time, -charge)
        level = data["intensity"].values[inside]
        if np.ptp(passed) > 0 and np.ptp(level) > 0:
            correlation = float(np.corrcoef(passed, level)[0, 1])
    return landings.fig_charge_intensity(time, charge, data, correlation=correlation)


def _moments(one: LandingResult, time: np.ndarray) -> list[tuple[int, str]]:
    """Frames worth showing: after plating and after stripping of some cycles, or evenly spaced."""
    trace, start = one.landing.trace.in_program().finite(), _contact(one)
    if one.electrochemistry.cycles:
        complete = [c for c in one.electrochemistry.cycles if np.isfinite(c.ce)]
        some = [complete[round(k)] for k in np.linspace(0, len(complete) - 1, FRAMES // 2)]
        charge = -trace.charge(one.electrochemistry.baseline)
        found = []
        for cycle in {c.number: c for c in some}.values():
            full = cycle.start + int(np.argmax(charge[cycle.start : cycle.stop]))
            for sample, text in ((full, "plated"), (cycle.stop - 1, "stripped")):
                when = trace.time[sample] - start
                found.append((int(np.searchsorted(time, when)), f"cycle {cycle.number}, {text}"))
        return [(k, text) for k, text in found if k < len(time) - 1]
    last = float(trace.time[-1]) - start
    wanted = np.linspace(0, last, FRAMES + 1)[1:]
    frames = np.clip(np.searchsorted(time, wanted) - 1, 0, len(time) - 2)
    return [(int(k), f"{time[k]:.1f} s") for k in dict.fromkeys(frames.tolist())]


def _frames(one: LandingResult, reason: str) -> Figure:
    images, labels, mask = film_images(one, reason)
    return film.fig_frames(images, labels, _pixel(one), mask)


def film_images(
    one: LandingResult, reason: str
) -> tuple[list[np.ndarray], list[str], np.ndarray | None]:
    """Return display frames, their labels and the footprint."""
    data = need(_film(one), reason)
    movie: Any = need(one.landing.movie, reason)
    time = _film_time(one)
    reference = reference_frame(one, time)
    moments = _moments(one, time)
    pixel = float(movie.pixel_size)
    images = [film.display_frame(movie.frames, k, reference, pixel) for k, _ in moments]
    mask = data["footprint"].values.astype(bool) if "footprint" in data else None
    return images, [text for _, text in moments], mask


def _film_time(one: LandingResult) -> np.ndarray:
    """Time of every frame of the film after contact, s (the analysis leaves repeated ones out)."""
    movie: Any = one.landing.movie
    contact = one.dataset.attrs.get("contact_time", movie.timestamps[0])
    return np.asarray(movie.timestamps, dtype=float) - float(contact)


def reference_frame(one: LandingResult, time: np.ndarray) -> np.ndarray:
    """Mean of the first frames with contact: the background that the display subtracts."""
    movie: Any = one.landing.movie
    first = min(int(np.searchsorted(time, 0.0)) + 1, len(time) - 1)
    frames = np.asarray(movie.frames[first : first + 2], dtype=np.float32)
    return np.maximum(frames.mean(axis=0), 1.0)
