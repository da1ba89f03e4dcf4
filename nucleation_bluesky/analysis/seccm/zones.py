"""Regions of a footprint: squares of some pixels, centre and edge (S23, S29)."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from nucleation_bluesky.analysis.seccm.nucleation_map import SIGNIFICANT, NucleationMap
from nucleation_bluesky.analysis.seccm.optical_time import QUANTISED, OpticalTime, odd
from nucleation_bluesky.analysis.seccm.peaks import find_peaks_in, vertex_noise
from nucleation_bluesky.analysis.seccm.savgol import savgol_operator
from nucleation_bluesky.analysis.seccm.smooth import Corrected

EDGE = 0.7  # of the footprint's radius, beyond which is edge


@dataclass(frozen=True)
class Regions:
    """Nucleation of square regions, arrays of shape (r,).

    Parameters
    ----------
    row, col : ndarray of int
        First pixel.
    size : int
        Side, px.
    time, uncertainty : ndarray
        s after contact; NaN where a region shows no maximum.
    """

    row: np.ndarray
    col: np.ndarray
    size: int
    time: np.ndarray
    uncertainty: np.ndarray


def tile_regions(mask: np.ndarray, size: int) -> np.ndarray:
    """First pixels (r, 2) of the squares of ``size`` px that tile the footprint."""
    corners = [
        (row, col)
        for row in range(0, mask.shape[0] - size + 1, size)
        for col in range(0, mask.shape[1] - size + 1, size)
        if mask[row : row + size, col : col + size].all()
    ]
    return np.array(corners, dtype=int).reshape(-1, 2)


def region_traces(
    corrected: Corrected, corners: np.ndarray, size: int, first: int, last: int
) -> np.ndarray:
    """Mean intensity of each region from raw frames, shape (last - first, r).

    Regions follow the drift to the next pixel.
    """
    film = corrected.film
    out = np.empty((last - first, len(corners)))
    rows, cols = film.shape
    for start, block in film.blocks(first, last):
        for k, frame in enumerate(block):
            total = np.pad(frame.astype(np.float64).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
            dy, dx = np.round(corrected.shift[start + k]).astype(int)
            top = np.clip(corners[:, 0] + dy, 0, rows - size)
            left = np.clip(corners[:, 1] + dx, 0, cols - size)
            sums = (
                total[top + size, left + size]
                - total[top, left + size]
                - total[top + size, left]
                + total[top, left]
            )
            out[start + k - first] = sums / size**2 / corrected.lamp[start + k]
    return out


def region_times(
    corrected: Corrected,
    time: np.ndarray,
    first: int,
    footprint: OpticalTime,
    local: NucleationMap,
    corners: np.ndarray,
    size: int,
) -> Regions:
    """Nucleation time of regions, by the same derivative as the footprint's mean.

    Parameters
    ----------
    corrected : Corrected
    time : ndarray
        s after contact, of all frames.
    first : int
        First frame wholly after contact.
    footprint, local : OpticalTime, NucleationMap
        Tell where to search and which filter to use.
    corners : ndarray of int, shape (r, 2)
        First pixels.
    size : int
        px.
    """
    interval = float(np.median(np.diff(time[first:])))
    size_in_time = local.window * local.interval
    near = (footprint.peak - 2 * footprint.width, footprint.peak + 2 * footprint.width)
    low = max(first, int(np.searchsorted(time, near[0] - size_in_time)))
    high = min(len(time), int(np.searchsorted(time, near[1] + size_in_time)) + 1)
    window = odd(size_in_time / interval, local.order + 1, high - low)
    if high - low < window + 2 or len(corners) == 0:
        empty = np.full(len(corners), np.nan)
        return Regions(corners[:, 0], corners[:, 1], size, empty, empty)
    at = time[low:high]
    traces = region_traces(corrected, corners, size, low, high)
    traces = (traces - traces[0]).astype(np.float32)
    operator = savgol_operator(at, window, local.order)
    rows = np.searchsorted(at, near)
    begin, end = max(int(rows[0]), 1), min(int(rows[1]), len(at) - 1)
    peaks = find_peaks_in([(0, traces)], operator, at, begin, max(end, begin + 1))
    linear = peaks.noise * vertex_noise(operator, at)[peaks.index] / -peaks.curvature
    sigma = np.sqrt(linear**2 + local.model_uncertainty**2 + (interval * QUANTISED) ** 2)
    noise = (
        peaks.noise
        * np.sqrt(np.asarray(operator.multiply(operator).sum(axis=1)).ravel())[peaks.index]
    )
    seen = np.isfinite(peaks.time) & (peaks.height > SIGNIFICANT * noise)
    times, sigma = (np.where(seen, v, np.nan) for v in (peaks.time, sigma))
    return Regions(corners[:, 0], corners[:, 1], size, times, sigma)


@dataclass(frozen=True)
class Zones:
    """Centre against edge.

    Parameters
    ----------
    time_centre, time_edge : float
        Median nucleation time, s.
    growth_centre, growth_edge : float
        Rise of relative intensity after nucleation, 1/s.
    ratio : float
        Growth at the edge over that in the centre, as a rate of volume per area.
    """

    time_centre: float
    time_edge: float
    growth_centre: float
    growth_edge: float
    ratio: float


def zone_masks(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre and edge of a footprint: by the distance from its outline."""
    depth = np.asarray(ndimage.distance_transform_edt(mask))
    edge = mask & (depth < (1 - EDGE) * depth.max())
    return mask & ~edge, edge


def compare_zones(
    corrected: Corrected,
    time: np.ndarray,
    footprint: OpticalTime,
    local: NucleationMap,
    brightness: float,
) -> Zones | None:
    """Compare nucleation and growth of centre and edge.

    Growth is the change of mean intensity from one width after nucleation to the film's end, in
    units of ``brightness`` (counts of the dry surface). The size of single particles is not
    resolved by light: a rate in nm/s needs their number from electron microscopy.
    """
    begin = int(np.searchsorted(time, footprint.peak + footprint.width))
    count = max(3, (len(time) - begin) // 6)
    if len(time) - begin < 2 * count:
        return None
    early = np.arange(begin, begin + count)
    late = np.arange(len(time) - count, len(time))
    span = float(time[late].mean() - time[early].mean())
    change = (corrected.mean(late) - corrected.mean(early)) / span / brightness
    image = np.full(corrected.mask.size, np.nan)
    image[corrected.pixels()] = change
    image = image.reshape(corrected.mask.shape)
    centre, edge = zone_masks(corrected.mask)
    rates = [float(np.mean(image[zone])) for zone in (centre, edge)]
    times = [
        float(np.median(local.time[zone & local.valid])) if (zone & local.valid).any() else np.nan
        for zone in (centre, edge)
    ]
    ratio = rates[1] / rates[0] if rates[0] > 0 else float("nan")
    return Zones(times[0], times[1], rates[0], rates[1], ratio)
