"""Where in each record growth has to be looked for, and the samples around it as one array.

Growth persists once it began, so it is sought from the end of a record backwards: at the trip of
a ramp that compliance ended, else where block means leave their own local prediction for good.
"""

from dataclasses import dataclass

import numpy as np

from nucleation_bluesky.analysis.ramps import RampSet

_HISTORY = 8  # blocks that predict the next one
_TARGET_BLOCKS = 64


@dataclass(frozen=True)
class Anchors:
    """The sample stretch of each site that decides its onset.

    Parameters
    ----------
    first : ndarray of int, shape (n,)
        First usable sample (absolute index): after a fast approach segment.
    trip : ndarray of int, shape (n,)
        Last sample before the abort (absolute index), ``first - 1`` for an empty site.
    last : ndarray of int, shape (n,)
        Last sample of the stretch: ``trip``, or earlier where growth went on long after its onset.
    departed : ndarray of bool, shape (n,)
        Whether block means left their prediction for good before the last block.
    """

    first: np.ndarray
    trip: np.ndarray
    last: np.ndarray
    departed: np.ndarray


def measuring_start(ramps: RampSet) -> np.ndarray:
    """First sample of each site's last constant-rate segment (absolute index), shape (n,)."""
    start = ramps.offsets[:-1].astype(np.int64).copy()
    if ramps.fast_end is None or ramps.bias is None:
        return start
    direction = np.sign(ramps.bias_stop - ramps.bias_start)
    # the step of C dV/dt passes through the amplifier's pole
    band = ramps.instrument.current_bandwidth
    pole = 1.0 / (2.0 * np.pi * band) if band else 0.2e-3
    settle = 2 + int(np.ceil(5.0 * pole / ramps.sample_period)) if ramps.sample_period > 0 else 2
    for site in np.flatnonzero(np.isfinite(ramps.fast_end)):
        window = slice(int(ramps.offsets[site]), int(ramps.offsets[site + 1] - ramps.n_post[site]))
        beyond = direction[site] * (ramps.bias[window] - ramps.fast_end[site]) >= 0
        if np.any(beyond):
            start[site] += min(int(np.argmax(beyond)) + settle, len(beyond))
    return start


def _block_means(values: np.ndarray, first: np.ndarray, stop: np.ndarray, size: int) -> np.ndarray:
    """Means of blocks of ``size`` samples that end at ``stop``; shape (n, most blocks), NaN left.

    Indices are relative to ``values``.
    """
    blocks = np.maximum(stop - first, 0) // size
    most = int(blocks.max(initial=0))
    out = np.full((len(first), most), np.nan)
    if most == 0:
        return out
    sites = np.flatnonzero(blocks)
    edges = [stop[k] - size * np.arange(blocks[k], -1, -1) for k in sites]
    flat = np.concatenate(edges)
    counts = np.array([len(e) for e in edges])
    inner = np.ones(len(flat), dtype=bool)
    inner[np.cumsum(counts) - 1] = False
    keep = flat < len(values)
    sums = np.add.reduceat(values, flat[keep])
    if values.dtype == np.float32:
        sums = sums.astype(np.float64)
    total = np.zeros(len(flat))
    total[keep] = sums
    for site, chunk in zip(sites, np.split(total[inner], np.cumsum(counts - 1)[:-1]), strict=True):
        out[site, most - len(chunk) :] = chunk / size
    return out


def _departure(levels: np.ndarray, sign: np.ndarray, z: float) -> tuple[np.ndarray, np.ndarray]:
    """First block that leaves its local linear prediction for good.

    Returns
    -------
    block : ndarray of int, shape (n,)
        Column, -1 where none departed.
    level : ndarray, shape (n,)
        The prediction for that block.
    """
    n, most = levels.shape
    block = np.full(n, -1)
    base = np.full(n, np.nan)
    if most <= _HISTORY:
        return block, base
    lags = np.arange(1, _HISTORY + 1)
    design = np.stack([np.ones(_HISTORY), -lags.astype(float)])
    weights = np.linalg.pinv(design.T)[0]  # linear extrapolation to lag 0
    prediction = np.full_like(levels, np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(levels, _HISTORY, axis=1)
    prediction[:, _HISTORY:] = windows[:, :-1] @ weights[::-1]
    error = sign[:, None] * (levels - prediction)
    finite = np.isfinite(error)
    size = np.where(finite, np.abs(error), np.nan)
    with np.errstate(invalid="ignore"):
        own = 1.4826 * _nanmedian(size)
    pooled = np.nanmedian(own) if np.any(np.isfinite(own)) else np.nan
    scale = np.where(np.isfinite(own), np.maximum(own, 0.5 * pooled), np.inf)
    later = np.where(np.isfinite(levels), sign[:, None] * levels, np.inf)
    lowest = np.minimum.accumulate(later[:, ::-1], axis=1)[:, ::-1]
    stays = lowest - sign[:, None] * prediction > 0.5 * z * scale[:, None]
    left = finite & (error > z * scale[:, None]) & stays
    any_left = left.any(axis=1)
    block[any_left] = np.argmax(left[any_left], axis=1)
    base[any_left] = prediction[any_left, block[any_left]]
    return block, base


def _nanmedian(values: np.ndarray) -> np.ndarray:
    """Median along axis 1 ignoring NaN, NaN (without a warning) where a row has none."""
    out = np.full(len(values), np.nan)
    some = np.isfinite(values).any(axis=1)
    out[some] = np.nanmedian(values[some], axis=1)
    return out


def find_anchors(ramps: RampSet, sign: np.ndarray, noise: tuple[float, float]) -> Anchors:
    """Find the stretch of samples that decides each site's onset.

    Parameters
    ----------
    ramps : RampSet
    sign : ndarray, shape (n,)
        Expected sign of the growth current.
    noise : tuple of float
        Sample noise of current (A) and height (m); NaN for a channel without data.
    """
    n = ramps.n_sites
    first = measuring_start(ramps)
    trip = np.maximum(ramps.offsets[1:] - np.maximum(ramps.n_post, 0), ramps.offsets[:-1]) - 1
    last = trip.astype(np.int64).copy()
    departed = np.zeros(n, dtype=bool)
    lengths = trip - first + 1
    typical = float(np.median(lengths[lengths > 0])) if np.any(lengths > 0) else 0.0
    size = int(np.clip(typical // _TARGET_BLOCKS, 4, 4096))
    channels = (
        (ramps.current, sign, noise[0]),
        (ramps.height, np.ones(n), noise[1]),
    )
    for sites in ramps.blocks():
        low, high = int(ramps.offsets[sites.start]), int(ramps.offsets[sites.stop])
        index = np.arange(sites.start, sites.stop)
        for values, signs, sigma in channels:
            if not np.isfinite(sigma):
                continue
            part = values[low:high]
            finite = np.isfinite(part)
            if not finite.all():
                # the value before a gap stands in for it: zero would look like a jump
                held = np.maximum.accumulate(np.where(finite, np.arange(len(part)), 0))
                part = np.nan_to_num(part[held], nan=0.0)
            levels = _block_means(part, first[index] - low, trip[index] + 1 - low, size)
            block, base = _departure(levels, signs[index], 8.0)
            most = levels.shape[1]
            for k in np.flatnonzero((block >= 0) & (block < most - 1)):
                # the growth outran its onset by a block or more: keep its first hundred sigmas
                site = index[k]
                begin = trip[site] + 1 - size * (most - int(block[k]))
                rise = signs[site] * (values[begin : trip[site] + 1].astype(float) - base[k])
                above = np.flatnonzero(rise > 100.0 * sigma)
                cross = np.flatnonzero(rise > 5.0 * sigma)
                if len(above) and len(cross):
                    reach = begin + max(int(above[0]), int(cross[0]) + 8)
                    last[site] = min(last[site], reach)
                    departed[site] = True
    return Anchors(first, trip, np.maximum(last, first - 1), departed)


def window(
    values: np.ndarray, first: np.ndarray, last: np.ndarray, samples: int, binning: int = 1
) -> np.ndarray:
    """Return samples up to and including ``last`` of every site, averaged in bins.

    Parameters
    ----------
    values : ndarray
        A channel of a RampSet.
    first, last : ndarray of int, shape (n,)
        Absolute indices.
    samples : int
        Bins in the window.
    binning : int
        Samples in a bin; the last bin ends at ``last``.

    Returns
    -------
    ndarray, shape (n, samples)
        float64; NaN where a bin reaches before ``first``.
    """
    out = np.full((len(first), samples), np.nan)
    if not len(first) or not len(values):
        return out
    reach = np.arange(samples * binning) - (samples * binning - 1)
    step = max(1, 4_000_000 // max(1, samples * binning))
    for begin in range(0, len(first), step):
        part = slice(begin, begin + step)
        index = last[part, None] + reach[None, :]
        inside = (index >= first[part, None]) & (last[part, None] >= first[part, None])
        taken = np.where(inside, values[np.clip(index, 0, len(values) - 1)], np.nan)
        taken = taken.astype(np.float64, copy=False)
        if binning > 1:
            taken = taken.reshape(len(taken), samples, binning).mean(axis=2)
        out[part] = taken
    return out
