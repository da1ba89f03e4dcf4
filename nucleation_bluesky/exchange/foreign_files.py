"""Files of other programs, by their ending, as content for a run."""

from pathlib import Path

import numpy as np
import skimage.io

from nucleation_bluesky.contract.documents import TOPOGRAPHY_ROLES
from nucleation_bluesky.exchange.fields import ExchangeError, Field
from nucleation_bluesky.exchange.foreign_run import Content, data_key
from nucleation_bluesky.exchange.gwyddion import read_gwy
from nucleation_bluesky.exchange.igor import IgorCurve, read_ibw
from nucleation_bluesky.storage.parsers import one_sentence

SUFFIXES = (".ibw", ".gwy")
LARGEST = 1e30  # in any SI unit; float32 ends at 3e38


def read_foreign(path: Path) -> Content:
    """Read an Asylum (.ibw) or Gwyddion (.gwy) file.

    Raises
    ------
    ExchangeError
        If the file cannot be read, or is of another kind.
    """
    if not path.is_file():
        raise ExchangeError(f"there is no file {path}")
    suffix = path.suffix.lower()
    if suffix == ".gwy":
        fields = read_gwy(path)
        heights = [f for f in fields if f.unit == "m"]
        return _images(path.name, fields, heights[0] if heights else None, {})
    if suffix != ".ibw":
        raise ExchangeError(f"{path.name}: import knows {' and '.join(SUFFIXES)}")
    wave = read_ibw(path)
    if isinstance(wave, IgorCurve):
        arrays = {
            data_key(name): (_measured(path.name, name, values), unit)
            for name, (values, unit) in wave.channels.items()
        }
        period = {"sample_period": (wave.sample_period, "s")}
        return Content("curve", arrays, period, {}, wave.note)
    return _images(path.name, list(wave.channels), wave.topography, wave.note)


def _measured(file: str, name: str, values: np.ndarray) -> np.ndarray:
    """Refuse what cannot have been measured; NaN is a missing value."""
    values = np.asarray(values)
    if (np.abs(values) > LARGEST).any():  # the infinite as well
        raise ExchangeError(f"{file}: '{name}' holds numbers that no instrument gives")
    return values


def _images(file: str, fields: list[Field], topography: Field | None, metadata) -> Content:
    arrays: dict[str, tuple[np.ndarray, str]] = {}
    for field in fields:
        key = "topography" if field is topography else data_key(field.name)
        while key in arrays or (key == "topography" and field is not topography):
            key += "_2"
        dtype = np.float32 if field.unit == "m" else np.float64
        arrays[key] = (_measured(file, field.name, field.values).astype(dtype), field.unit)
    shown = topography or fields[0]
    if np.isnan(shown.values).all():
        raise ExchangeError(f"{file}: '{shown.name}' holds no value at all")
    if not np.isclose(*shown.pitch, rtol=1e-3):
        raise ExchangeError(
            f"{file}: the pixels of '{shown.name}' are not square; resample it first"
        )
    width, height = shown.size
    scalars = {
        "topography_x": (shown.origin[0] + width / 2, "m"),
        "topography_y": (shown.origin[1] + height / 2, "m"),
        "topography_pixel_size": (shown.pitch[0], "m"),
    }
    roles = {role: role for role in TOPOGRAPHY_ROLES} if topography is not None else {}
    kept = {"channels": ", ".join(f.name for f in fields), **metadata}
    return Content("topography" if roles else "image", arrays, scalars, roles, kept)


def read_picture(path: Path, kind: str, pixel_size: float | None) -> Content:
    """Read a correlative picture (SEM, SIMS, Raman map ...; TIFF, PNG, JPEG) for a sample.

    Raises
    ------
    ExchangeError
        If it cannot be read, or is no picture of one or three channels.
    """
    if not path.is_file():
        raise ExchangeError(f"there is no file {path}")
    with one_sentence(f"{path.name} cannot be read as a picture", ExchangeError):
        picture = np.asarray(skimage.io.imread(path))
    if picture.ndim == 3 and picture.shape[2] in (3, 4):
        picture = picture[..., :3].mean(axis=2)
    if picture.ndim != 2 or min(picture.shape) < 8:
        raise ExchangeError(f"{path.name} is no picture of one or three channels")
    if pixel_size is not None and not pixel_size > 0:
        raise ExchangeError("the pixel size must be greater than 0 m")
    values = picture[::-1].astype(np.float32)  # row index along +y, as everywhere
    scalars = {} if pixel_size is None else {"pixel_size": (pixel_size, "m")}
    metadata = {"kind": kind, "file": path.name}
    return Content("correlative-image", {"image": (values, "1")}, scalars, {}, metadata)
