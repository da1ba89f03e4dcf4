"""Places of nucleation-ivz files: the grid, the positions of sites and the images around them."""

import numpy as np

from nucleation_bluesky.storage.hdf5_input import InputFile, Node
from nucleation_bluesky.storage.images import Topography

MAX_CELLS = 10_000_000


def read_positions(source: InputFile, n_sites: int):
    """Read row, col, grid shape, pitch (m), x and y (m); None where there is no grid."""
    shape, pitch = _grid(source), source.number("pitch", positive=True)
    index, position = source.find("site_index"), source.find("site_position")
    if index is None and position is None:
        raise source.error("one of the datasets 'site_index' and 'site_position' must be there")
    row = col = None
    if index is not None:
        row, col = _site_index(source, index, n_sites, shape)
    if position is None:
        if row is None or col is None or pitch is None:
            raise source.error("attribute 'pitch' is missing, it goes with 'site_index'")
        return row, col, shape, pitch, col * pitch, row * pitch
    source.check_shape(position, (n_sites, 2), f"({n_sites}, 2)")
    xy = source.floats(position)
    if not np.isfinite(xy).all():
        bad = int(np.argmin(np.isfinite(xy).all(axis=1)))
        raise source.error(f"dataset 'site_position' is not finite at site {bad}")
    gridded = shape is not None and row is not None
    x, y = xy[:, 0].copy(), xy[:, 1].copy()
    return row, col, shape if gridded else None, pitch, x, y


def _grid(source: InputFile) -> tuple[int, int] | None:
    value = source.attribute("grid_shape")
    if value is None:
        return None
    if not (
        isinstance(value, np.ndarray)
        and value.shape == (2,)
        and value.dtype.kind in "iuf"
        and np.all(np.isfinite(value))
        and np.all((value >= 1) & (value == np.round(value)))
    ):
        raise source.error(
            f"attribute 'grid_shape' must be two counts, rows and cols (got {value})"
        )
    if float(value[0]) * float(value[1]) > MAX_CELLS:
        raise source.error(f"attribute 'grid_shape' {value} asks for more than {MAX_CELLS} cells")
    return int(value[0]), int(value[1])


def _site_index(
    source: InputFile, dataset: Node, n_sites: int, shape: tuple[int, int] | None
) -> tuple[np.ndarray, np.ndarray]:
    source.check_shape(dataset, (n_sites, 2), f"({n_sites}, 2)")
    if shape is None:
        raise source.error("attribute 'grid_shape' is missing, it goes with 'site_index'")
    index = source.integers(dataset)
    outside = np.any((index < 0) | (index >= np.array(shape)), axis=1)
    if outside.any():
        k = int(np.argmax(outside))
        raise source.error(
            f"dataset 'site_index' puts site {k} at {tuple(index[k].tolist())}, "
            f"outside the grid of {shape[0]} x {shape[1]}"
        )
    flat = index[:, 0] * shape[1] + index[:, 1]
    order = np.argsort(flat, kind="stable")
    same = np.flatnonzero(flat[order][1:] == flat[order][:-1])
    if same.size:
        first, second = order[same[0]], order[same[0] + 1]
        raise source.error(
            f"dataset 'site_index' names {tuple(index[first].tolist())} twice "
            f"(sites {first} and {second})"
        )
    return index[:, 0].copy(), index[:, 1].copy()


def read_topography(
    source: InputFile, name: str, x: np.ndarray, y: np.ndarray
) -> Topography | None:
    """Read an image; without ``center`` it is centred on the sites."""
    dataset = source.find(f"topography/{name}")
    if dataset is None:
        return None
    place = dataset.label
    source.check_shape(dataset, (None, None), "(rows, cols)")
    if min(dataset.shape) < 8:
        raise source.error(f"dataset '{place}' has shape {dataset.shape}: at least 8 x 8 pixels")
    height = source.floats(dataset)
    if not np.isfinite(height).any():
        raise source.error(f"dataset '{place}' holds no finite height")
    pixel_size = source.pixel_size(dataset)
    center = source.attribute("center", dataset)
    if center is None:
        center = (np.min(x) + np.max(x)) / 2, (np.min(y) + np.max(y)) / 2
    values = np.asarray(center)
    if values.shape != (2,) or values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise source.error(f"attribute 'center' of '{place}' must be x and y in m")
    return Topography(height, pixel_size, float(values[0]), float(values[1]))
