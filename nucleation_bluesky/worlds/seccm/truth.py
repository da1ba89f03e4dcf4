"""Ground truth of landings: for tests and benchmarks, never for an analysis."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from nucleation_bluesky.worlds.seccm.landing import Landing
from nucleation_bluesky.worlds.seccm.optics import MARGIN
from nucleation_bluesky.worlds.seccm.settings import FARADAY, SeccmSettings

_RISE = 1e-3  # V: the potential has a minimum when it rises by this again


def landing_truth(landing: Landing) -> dict[str, Any]:
    """Everything that is true of a landing: scalars and arrays by name, SI units.

    Times are instrument time unless they are called ``t_...`` (since the start of the program;
    ``t_nuc_irm`` and ``nucleation_map`` since contact). Maps have the shape of a frame, at zero
    drift. What does not exist is NaN.
    """
    with landing.looking:
        return _everything(landing)


def _everything(landing: Landing) -> dict[str, Any]:
    p, c = landing.settings, landing.contact
    record: dict[str, Any] = {
        "x": landing.x,
        "y": landing.y,
        "visit": landing.key[-1],
        "start_time": landing.start,
        "end_time": landing.time,
        "n_samples": landing.count,
        "surface_z": landing.meniscus.surface,
        "contact_time": c.time,
        "contact_z": c.z,
        "detach_time": c.broken,
        "deepest_z": c.deepest,
        "crashed": c.crashed,
        "false_spike": c.spiked,
        "program_time": landing.program_time,
        "footprint_area": landing.footprint.area,
        "footprint_centre": landing.footprint.centre,
        "footprint_mask": _frame(landing.picture.mask > 0.5),
        "lead": p.lead,
        "pixel_size": p.pixel_size,
        "reference_offset": p.reference_offset,
    }
    record |= _nucleation(landing)
    record |= _particles(landing, record)
    record |= _cycles(landing)
    return record


def _frame(grid: np.ndarray) -> np.ndarray:
    return grid[MARGIN:-MARGIN, MARGIN:-MARGIN]


def _nucleation(landing: Landing) -> dict[str, Any]:
    names = ("nucleation_time", "e_nuc", "t_nuc", "q_nuc", "e_growth", "current_density")
    record: dict[str, Any] = dict.fromkeys(names, math.nan)
    record["nucleated"] = landing.nucleation >= 0
    if landing.nucleation < 0:
        return record
    h, k, area = landing.history, landing.nucleation, landing.footprint.area
    time, potential, current = h.column("time"), h.column("potential"), h.column("current")
    first = int(np.searchsorted(time, landing.program_time, side="right"))
    first = 0 if math.isnan(landing.program_time) else first
    dt = float(np.median(np.diff(time[max(k - 50, 0) : k + 50])))
    record["nucleation_time"] = float(time[k])
    record["current_density"] = float(current[k] / area)
    steady = not landing.state.potentiodynamic
    width = max(int(0.15 * (k - first)), 3)
    window = slice(max(k - width, first), min(k + width, len(time)))
    if not steady or window.stop - window.start < 3:
        return record
    low = int(np.argmin(potential[window])) + window.start
    if np.nanmax(potential[low:]) < potential[low] + _RISE:
        return record
    begin = time[first] - dt
    record["e_nuc"] = float(potential[low])
    record["t_nuc"] = float(time[low] - begin)
    record["q_nuc"] = float(-current[first : low + 1].sum() * dt / area)
    density = -float(current[first : low + 1].mean()) / area
    record["e_growth"] = landing.electrode.growth_potential(density)
    return record


def _particles(landing: Landing, known: dict[str, Any]) -> dict[str, Any]:
    particles = landing.particles
    shape = (landing.settings.frame_size,) * 2
    empty = np.zeros(0)
    record: dict[str, Any] = {
        "n_particles": 0,
        "t_nuc_irm": math.nan,
        "lead_realised": math.nan,
        "nucleation_map": np.full(shape, np.nan, dtype=np.float32),
        "particle_x": empty,
        "particle_y": empty,
        "particle_time": empty,
        "particle_diameter": empty,
        "particle_on_protrusion": np.zeros(0, dtype=bool),
        "particle_edge": np.zeros(0, dtype=bool),
    }
    if particles is None or not len(particles):
        return record
    landing.scene(landing.time)  # makes the renderer know the particles
    diameters, born = landing.diameters(landing.time)
    times = landing.history.time_of_clock(particles.progress)
    record |= {
        "n_particles": int(born.sum()),
        "particle_x": particles.x[born],
        "particle_y": particles.y[born],
        "particle_time": times[born],
        "particle_diameter": diameters[born],
        "particle_on_protrusion": particles.on_protrusion[born],
        "particle_edge": particles.edge[born],
    }
    if not born.any():
        return record
    since = np.where(born, times - landing.contact.time, 0.0)
    record["t_nuc_irm"] = float(since[born].mean())
    record["lead_realised"] = float(known["nucleation_time"] - times[born].mean())
    number = landing.picture.spread_of(born.astype(float))
    weighted = landing.picture.spread_of(since)
    thin = 0.02 * len(particles) / landing.footprint.area
    with np.errstate(invalid="ignore", divide="ignore"):
        field = np.where(number > thin, weighted / number, np.nan)
    record["nucleation_map"] = _frame(field).astype(np.float32)
    return record


def _samples(landing: Landing) -> dict[int, slice]:
    """First to last sample of each cycle."""
    found: dict[int, slice] = {}
    for (begin, cycle), (end, _) in pairwise([*landing.marks, (landing.count, 0)]):
        if cycle > 0 and end > begin:
            found[cycle] = slice(found[cycle].start if cycle in found else begin, end)
    return dict(sorted(found.items()))


def _charge(landing: Landing, samples: slice) -> np.ndarray:
    """Charge of each sample, C."""
    time = landing.history.column("time")
    step = np.diff(time, prepend=time[0] if len(time) else 0.0)
    return landing.history.column("current")[samples] * step[samples]


def _deposit(landing: Landing, sample: int) -> np.ndarray:
    """Charge per area that lies on each pixel after a sample, as sharp as the microscope sees."""
    time = float(landing.history.column("time")[sample])
    film, film_u = landing.scene(time).film.mixed(1.0, 1.0)
    picture = landing.picture
    strength = picture.strength if landing.state.potentiodynamic else 1.0
    result = picture.mask * strength * (film + film_u * picture.deviation)
    diameters, _ = landing.diameters(time)
    if len(diameters):
        charge = np.pi / 6 * diameters**3 * FARADAY / landing.settings.molar_volume
        result = result + picture.spread_of(charge)
    return _frame(result)


def _cycles(landing: Landing) -> dict[str, Any]:
    """Charges by cycle (magnitudes, C), their ratio, and the ratio at each pixel."""
    cycles = _samples(landing)
    cathodic, anodic, maps = [], [], []
    mask = _frame(landing.picture.mask) > 0.2
    for samples in cycles.values():
        charge = _charge(landing, samples)
        cathodic.append(-charge[charge < 0].sum())
        anodic.append(charge[charge > 0].sum())
        turn = samples.start + int(np.argmin(np.cumsum(charge)))
        full = _deposit(landing, turn)
        plated = full - _deposit(landing, max(samples.start - 1, 0))
        stripped = full - _deposit(landing, samples.stop - 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            maps.append(np.where(mask & (plated > 0), stripped / plated, np.nan))
    shape = (0, *mask.shape)
    q_c, q_a = np.array(cathodic), np.array(anodic)
    with np.errstate(invalid="ignore", divide="ignore"):
        ce = np.where(q_c > 0, q_a / q_c, np.nan)
    return {
        "cycle": np.array(list(cycles), dtype=int),
        "cycle_charge_cathodic": q_c,
        "cycle_charge_anodic": q_a,
        "cycle_ce": ce,
        "ce_map": np.array(maps, dtype=np.float32) if maps else np.zeros(shape, np.float32),
    }


class TruthWriter:
    """HDF5: root attributes ``seed`` and ``settings`` (JSON), one group per landing.

    Groups are ``landings/00000``, ... in order of their end; scalars are attributes, arrays are
    datasets. The file is opened for each landing only, so that what was written stays.
    """

    def __init__(self, path: Path, seed: int, settings: SeccmSettings) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._count = path, 0
        with h5py.File(path, "w") as file:
            file.attrs["seed"] = seed
            file.attrs["settings"] = settings.model_dump_json()
            file.create_group("landings")

    def write(self, record: dict[str, Any]) -> None:
        """Append one landing."""
        with h5py.File(self._path, "a") as file:
            group = file.create_group(f"landings/{self._count:05d}")
            for name, value in record.items():
                if isinstance(value, np.ndarray) and value.size > 2:
                    group.create_dataset(name, data=value, compression="lzf")
                elif isinstance(value, np.ndarray):
                    group.create_dataset(name, data=value)
                else:
                    group.attrs[name] = value
        self._count += 1


def read_truth(path: Path) -> list[dict[str, Any]]:
    """Read all landings of a truth file."""
    with h5py.File(path, "r") as file:
        landings = file["landings"]
        assert isinstance(landings, h5py.Group)  # noqa: S101
        return [
            {**landings[name].attrs, **{k: v[()] for k, v in landings[name].items()}}  # type: ignore[union-attr] - groups of datasets
            for name in sorted(landings)
        ]
