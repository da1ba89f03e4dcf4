"""How far current and height went beyond compliance."""

import numpy as np

from nucleation_bluesky.analysis.ramps import RampSet


def peak_current(ramps: RampSet) -> np.ndarray:
    """Largest recorded magnitude of current, samples after the trip included, A, shape (n,)."""
    out = np.full(ramps.n_sites, np.nan)
    for sites in ramps.blocks():
        low, high = int(ramps.offsets[sites.start]), int(ramps.offsets[sites.stop])
        part = np.abs(ramps.current[low:high])
        if not len(part):
            continue
        np.nan_to_num(part, copy=False, nan=-1.0)
        filled = np.flatnonzero(ramps.counts[sites] > 0)
        starts = (ramps.offsets[sites.start : sites.stop] - low)[filled]
        peak = np.maximum.reduceat(part, starts).astype(float)
        out[sites.start + filled] = np.where(peak >= 0, peak, np.nan)
    return out


def peak_rise(ramps: RampSet, last: np.ndarray, level: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Largest height over the drift line from ``last`` to the end of the record, m, shape (n,).

    Parameters
    ----------
    last : ndarray of int, shape (n,)
        Sample (absolute index) at which the drift line has the height ``level`` (m).
    slope : ndarray, shape (n,)
        Drift, m per sample.
    """
    out = np.full(ramps.n_sites, np.nan)
    for site in range(ramps.n_sites):
        begin, end = int(last[site]), int(ramps.offsets[site + 1])
        if begin < ramps.offsets[site] or end <= begin:
            continue
        rise = ramps.height[begin:end] - level[site] - slope[site] * np.arange(end - begin)
        if np.isfinite(rise).any():
            out[site] = np.nanmax(rise)
    return out
