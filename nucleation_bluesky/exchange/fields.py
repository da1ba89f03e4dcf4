"""What other programs take: scalar fields on a regular grid, and stacks of frames with times."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from nucleation_bluesky.storage.images import Topography

MAP_SUFFIX = "_map"
GRIDS = (("row", "col"), ("y", "x"))


class ExchangeError(ValueError):
    """A file cannot be written or read in a foreign format; the message says why."""


@dataclass(frozen=True)
class Field:
    """One scalar field.

    Parameters
    ----------
    name : str
        Of the quantity.
    values : ndarray, shape (rows, cols)
        In ``unit``; row index along +y; NaN where there is none.
    unit : str
        SI; "1" where dimensionless.
    pitch : tuple of float
        Width and height of a cell, m.
    origin : tuple of float
        Left and bottom edge, m.
    """

    name: str
    values: np.ndarray
    unit: str
    pitch: tuple[float, float]
    origin: tuple[float, float] = (0.0, 0.0)

    @property
    def size(self) -> tuple[float, float]:
        """Width and height, m."""
        rows, cols = self.values.shape
        return cols * self.pitch[0], rows * self.pitch[1]


def require_some(fields: Sequence[Field]) -> None:
    """Refuse an export of nothing."""
    if not fields:
        raise ExchangeError("there is no map or image to export")


@dataclass(frozen=True)
class Stack:
    """Frames with their times.

    Parameters
    ----------
    name : str
        Of the film.
    frames : array-like, shape (n, rows, cols)
        Anything that gives a frame by index: numpy, h5py, dask.
    times : ndarray, shape (n,)
        s.
    pixel_size : float
        m.
    """

    name: str
    frames: Any
    times: np.ndarray
    pixel_size: float


def field_of_image(name: str, image: Topography) -> Field:
    """Return a topography as a field."""
    left, _, bottom, _ = image.extent
    pitch = (image.pixel_size, image.pixel_size)
    return Field(name, np.asarray(image.height, dtype=float), "m", pitch, (left, bottom))


def fields_of(dataset: xr.Dataset) -> list[Field]:
    """Return every map of a result: variables on (row, col) or (y, x), cycles one by one.

    Raises
    ------
    ExchangeError
        If the result holds no maps.
    """
    found = [field for name in dataset.data_vars for field in _fields(dataset, str(name))]
    if not found:
        raise ExchangeError("this result holds no maps: its sites lie on no grid")
    return found


def _fields(dataset: xr.Dataset, name: str) -> Iterator[Field]:
    variable = dataset[name]
    grid = next((g for g in GRIDS if variable.dims[-2:] == g), None)
    if grid is None or variable.ndim > 3:
        return
    pitch, origin = _geometry(dataset, grid)
    values = _masked(variable)
    unit = str(variable.attrs.get("units", "1"))
    plain = name.removesuffix(MAP_SUFFIX)
    if variable.ndim == 2:
        yield Field(plain, values, unit, pitch, origin)
        return
    label = str(variable.dims[0])
    for index, values_2d in enumerate(values):
        number = variable[label].values[index] if label in variable.coords else index
        yield Field(f"{plain} {label} {number}", values_2d, unit, pitch, origin)


def _masked(variable: xr.DataArray) -> np.ndarray:
    """Values as float, NaN where the fill value marks missing cells."""
    values = np.asarray(variable.values, dtype=float)
    fill = variable.attrs.get("_FillValue", variable.encoding.get("_FillValue"))
    if fill is not None and np.isfinite(fill):
        values = np.where(values == float(fill), np.nan, values)
    return values


def _geometry(
    dataset: xr.Dataset, grid: tuple[str, str]
) -> tuple[tuple[float, float], tuple[float, float]]:
    if grid == ("row", "col"):
        return _site_geometry(dataset)
    pixel = dataset.attrs.get("pixel_size")
    steps = []
    for axis in ("x", "y"):
        along = dataset[axis].values if axis in dataset.coords else None
        if along is not None and len(along) > 1:
            steps.append(float(np.median(np.diff(along))))
        elif pixel is not None:
            steps.append(float(pixel))
        else:
            raise ExchangeError("this result does not say how large a pixel is")
    left, bottom = (
        float(dataset[axis].values[0]) - step / 2 if axis in dataset.coords else 0.0
        for axis, step in zip(("x", "y"), steps, strict=True)
    )
    return (steps[0], steps[1]), (left, bottom)


def _site_geometry(dataset: xr.Dataset) -> tuple[tuple[float, float], tuple[float, float]]:
    """Pitch and lower left corner of a gridded map, from its sites' positions (least squares)."""
    along = {}
    for axis, index in (("x", "col"), ("y", "row")):
        number, position = dataset[index].values.astype(float), dataset[axis].values.astype(float)
        known = np.isfinite(position)
        if np.ptp(number[known]) > 0:
            slope, start = np.polyfit(number[known], position[known], 1)
            along[axis] = (abs(float(slope)), float(start))
    default = float(dataset.attrs.get("pitch", 0.0)) or max(
        (pitch for pitch, _ in along.values()), default=0.0
    )
    if not default:
        raise ExchangeError("this result does not say how far its sites are apart")
    (dx, x0), (dy, y0) = (along.get(axis, (default, 0.0)) for axis in ("x", "y"))
    return (dx, dy), (x0 - dx / 2, y0 - dy / 2)
