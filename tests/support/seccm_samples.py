"""Landings of the virtual SECCM as nucleation-seccm files (neutral format, see docs)."""

from pathlib import Path

import h5py
import numpy as np
from nucleation_bluesky.worlds.seccm import SeccmSettings
from nucleation_bluesky.worlds.seccm.simulate import (
    Part,
    SimulatedLanding,
    constant_current,
    simulate_landing,
    voltammogram,
)


def galvanostatic(
    settings: SeccmSettings, density: float, duration: float, seed: int = 0, **options
) -> SimulatedLanding:
    """Plating at a nominal current density (A/m2, magnitude) on the mean footprint."""
    current = -density * settings.footprint_area
    return simulate_landing(settings, seed, [constant_current(current, duration)], **options)


def cyclic(settings: SeccmSettings, cycles: int = 10, seed: int = 0, **options) -> SimulatedLanding:
    """Cyclic voltammetry, +1.47 to -0.27 V vs Li/Li+ at 0.1 V/s."""
    return simulate_landing(settings, seed, voltammogram(settings, cycles), **options)


def write_neutral(
    path: Path,
    landing: SimulatedLanding,
    technique: str,
    *,
    movie_offset: float = 0.0,
    crop: int | None = None,
    **attributes,
) -> Path:
    """Write a landing as a nucleation-seccm file.

    Times of the electrochemistry count from the start of the program, those of the movie too,
    plus ``movie_offset`` (another clock). Potentials are against Li/Li+. ``crop`` keeps the
    central pixels only.
    """
    settings = landing.landing.settings
    start = landing.landing.program_time
    n = settings.frame_size
    keep = slice(None) if crop is None else slice((n - crop) // 2, (n - crop) // 2 + crop)
    with h5py.File(path, "w") as file:
        file.attrs["format"], file.attrs["version"] = "nucleation-seccm", 1
        file.attrs["technique"], file.attrs["reference_scale"] = technique, "Li/Li+"
        for name, value in attributes.items():
            file.attrs[name] = value
        e = file.create_group("electrochemistry")
        e["time"] = landing.time
        e["potential"] = landing.potential + settings.reference_offset
        e["current"] = landing.current
        movie = file.create_group("movie")
        movie.attrs["pixel_size"] = settings.pixel_size
        movie["timestamps"] = landing.timestamps - start + movie_offset
        frames = movie.create_dataset(
            "frames",
            (len(landing.exposures), crop or n, crop or n),
            np.uint16,
            chunks=(1, crop or n, crop or n),
        )
        for k, frame in enumerate(landing.frames()):
            frames[k] = frame[keep, keep]
    return path


__all__ = ["Part", "cyclic", "galvanostatic", "write_neutral"]
