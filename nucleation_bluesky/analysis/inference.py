"""From a ramp set to the onset posterior of every site: windows, noise, pooled learning, fits."""

from dataclasses import fields, replace

import numpy as np

from nucleation_bluesky.analysis.after_trip import settling_delay
from nucleation_bluesky.analysis.background import (
    fill_missing,
    find_glitches,
    fit_noise,
    pole_from_noise,
    sample_noise,
    structure_function,
)
from nucleation_bluesky.analysis.inference_state import Inference, empty_inference
from nucleation_bluesky.analysis.noise_windows import WINDOW, null_windows, quantum, scale_dof
from nucleation_bluesky.analysis.onset import (
    Fit,
    fit_onsets,
)
from nucleation_bluesky.analysis.onset_evidence import (
    calibrated_spread,
    null_threshold,
    robust_evidence,
)
from nucleation_bluesky.analysis.onset_learning import Pole, learn_shared
from nucleation_bluesky.analysis.onset_model import Channel, Shared, start_shared
from nucleation_bluesky.analysis.ramps import RampSet
from nucleation_bluesky.analysis.windows import Anchors, find_anchors, window

_LENGTHS = (96, 64, 48, 32, 24, 16, 12, 8, 6, 4)
_LEARN = 120  # sites the shared quantities are learnt from
# a sensible amplifier passes about what the sampling can show: time constant in samples
_USUAL_POLE = Pole(0.25, 0.9)


def infer(ramps: RampSet, error_rate: float) -> Inference:
    """Fit the onset of every site of a ramp set.

    Parameters
    ----------
    ramps : RampSet
    error_rate : float
        Probability that noise alone is taken for growth at a site.

    Returns
    -------
    Inference
    """
    n = ramps.n_sites
    direction = np.sign(ramps.bias_stop - ramps.bias_start)
    sign = np.where(direction == 0, -1.0, direction)
    noise = np.array(
        [sample_noise(ramps.current, ramps.offsets), sample_noise(ramps.height, ramps.offsets)]
    )
    quanta = np.array([quantum(ramps.current), quantum(ramps.height)])
    noise[quanta == 0.0] = np.nan  # a channel that never changes tells nothing
    noise = np.maximum(noise, quanta * np.where(_is_coarse(noise, quanta), 0.5, 12.0**-0.5))
    anchors = find_anchors(ramps, sign, (float(noise[0]), float(noise[1])))
    result = empty_inference(n, anchors, sign, noise)
    if not np.any(result.present):
        return result
    period = _period(ramps)
    poles = [
        _USUAL_POLE if band is None or not band > 0 else Pole(1.0 / (2.0 * np.pi * band * period))
        for band in (ramps.instrument.current_bandwidth, ramps.instrument.height_bandwidth)
    ]
    settled = settling_delay(ramps, anchors, float(noise[1]))
    if settled is not None and not poles[1].told:
        # the height rests after the trip: its channel's delay is measured
        lag = max(settled[0] - (ramps.instrument.abort_latency or 0.0) / period, 0.02)
        poles[1] = Pole(lag, max(settled[1] / lag, 0.02))
    suspects = suspect_samples(ramps, anchors)
    lengths = anchors.last - anchors.first + 1
    todo = lengths >= _LENGTHS[-1]
    longest = int(lengths.max(initial=0))
    binning = 1
    while todo.any() and (binning == 1 or longest >= 2 * WINDOW * binning):
        index = np.flatnonzero(todo)
        fits, threshold, shared = _run_level(
            ramps, result, index, binning, suspects, poles, error_rate, quanta
        )
        fits["lead"] = np.full(len(index), shared.lead if shared is not None else 0.0)
        _store(result, index, fits, binning, threshold)
        done = result.robust_evidence > result.threshold
        short = np.maximum(result.distance, result.reach) <= WINDOW * binning / 4
        todo &= ~(done & short)
        if shared is not None and binning == 1:
            result.pole = _spread_poles(shared, result.present)
            poles = [
                p if not np.isfinite(q) else Pole(q)
                for p, q in zip(poles, result.pole, strict=True)
            ]
        binning *= 4
    return result


def _spread_poles(shared: Shared, present: np.ndarray) -> np.ndarray:
    out = np.full(2, np.nan)
    out[np.flatnonzero(present)] = shared.poles
    return out


def _period(ramps: RampSet) -> float:
    """Typical sample period, s."""
    if ramps.time is None:
        return float(ramps.sample_period)
    counts = ramps.counts
    some = np.flatnonzero(counts > 1)[:200]
    steps = [float(np.median(np.diff(ramps.site_time(int(k))))) for k in some]
    return float(np.median(steps)) if steps else float(ramps.sample_period)


def suspect_samples(ramps: RampSet, anchors: Anchors) -> np.ndarray:
    """Return how many last samples before the abort may be nothing but a spike, (n, 2).

    Those beyond compliance, at most as many as the controller's confirmation needs, which is the
    most common number over the set; 0 for a channel that enforced none.
    """
    out = np.zeros((ramps.n_sites, 2), dtype=np.int64)
    use_current = ramps.mode in ("current", "both")
    use_height = ramps.mode in ("height", "both")
    out[:, 0] = 1 if use_current else 0
    out[:, 1] = 1 if use_height else 0
    at_end = anchors.last == anchors.trip
    out[~at_end] = 0
    return out


def _run_level(  # noqa: C901, PLR0912, PLR0915 - one pass over channels and lengths, kept in order
    ramps: RampSet,
    result: Inference,
    index: np.ndarray,
    binning: int,
    suspects: np.ndarray,
    poles: list[Pole],
    error_rate: float,
    quanta: np.ndarray,
) -> tuple[dict[str, np.ndarray], float, Shared | None]:
    """Fit the sites of ``index`` at one binning."""
    anchors = result.anchors
    present: list[int] = np.flatnonzero(result.present).tolist()
    arrays = {0: ramps.current, 1: ramps.height}
    names = {0: "current", 1: "height"}
    glitch_rate = error_rate * max(ramps.n_sites, 1)
    sub = Anchors(
        anchors.first[index], anchors.trip[index], anchors.last[index], anchors.departed[index]
    )
    nulls, curves, scales, floors = {}, {}, {}, {}
    data, missing = {}, {}
    for c in present:
        null = null_windows(arrays[c], sub, binning, glitch_rate)
        curve, count = structure_function(null)
        scale = float(np.sqrt(0.5 * curve[1])) if len(curve) > 1 and curve[1] > 0 else np.nan
        if not np.isfinite(scale):
            scale = float(result.noise[c]) / np.sqrt(binning)
        coarse = bool(_is_coarse(scale * np.sqrt(binning), quanta[c]))
        floors[c] = quanta[c] * (0.5 if coarse else (12.0 * binning) ** -0.5)
        scale = max(scale, floors[c])
        nulls[c], scales[c] = null / scale, scale
        curves[c] = (curve / scale**2, count)
        coloured = pole_from_noise(curve) if binning == 1 and c == 0 and not coarse else None
        if coloured is not None and not poles[c].told:
            poles[c] = Pole(coloured, 0.2)
        signs = result.sign[index] if c == 0 else np.ones(len(index))
        raw = window(arrays[c], sub.first, sub.last, WINDOW, binning) * signs[:, None] / scale
        hollow = ~np.isfinite(raw)
        if coarse:
            raw = _within_one_code(raw, 1.5 * quanta[c] / scale)
        data[c], missing[c] = raw, find_glitches(raw, glitch_rate) | hollow
    fits: dict[str, np.ndarray] = {f.name: _blank(len(index), 2) for f in fields(Fit)}
    for name in ("distance", "spread", "evidence", "best", "reach"):
        fits[name] = np.full(len(index), np.nan)
    fits["robust"] = np.zeros(len(index))
    fits["other"] = np.zeros(len(index))
    fits["background"] = np.full((len(index), 2), np.nan)
    fits["slope"] = np.full((len(index), 2), np.nan)
    available = (sub.last - sub.first + 1) // binning
    length = np.zeros(len(index), dtype=int)
    for size in _LENGTHS[::-1]:
        length[available >= size] = size
    shared: Shared | None = None
    threshold = -np.log(error_rate) + np.log(20.0)

    def build(members: np.ndarray, size: int) -> list[Channel]:
        out = []
        for c in present:
            curve, count = curves[c]
            noise = fit_noise(curve, count, size, (floors[c] / scales[c]) ** 2)
            raw = data[c][members][:, -size:]
            gone = missing[c][members][:, -size:]
            dof = scale_dof(nulls[c][:, -size:], noise)
            # subtracting a level keeps the products of the large precision matrix accurate
            level = np.nanmedian(np.where(gone, np.nan, raw), axis=1, keepdims=True)
            raw = fill_missing(np.nan_to_num(raw - np.nan_to_num(level)), gone)
            out.append(Channel(raw, gone, noise, dof, names[c]))
        return out

    sizes, numbers = np.unique(length[length > 0], return_counts=True)
    for size in sizes[np.argsort(-numbers * sizes)]:
        members = np.flatnonzero(length == size)
        channels = build(members, int(size))
        if shared is None:
            shared = _learn(channels, [poles[c] for c in present], binning, threshold)
            threshold = max(threshold, null_threshold(nulls, present, channels, shared, error_rate))
        if shared.mismatch:
            channels = [
                replace(ch, mismatch=m) for ch, m in zip(channels, shared.mismatch, strict=True)
            ]
        fit = fit_onsets(channels, shared)
        for field_ in fields(Fit):
            value = getattr(fit, field_.name)
            if value.ndim == 2:
                fits[field_.name][members[:, None], present] = value
            else:
                fits[field_.name][members] = value
        fits["spread"][members] = calibrated_spread(fit, threshold)
        robust, other = robust_evidence(
            channels, present, suspects[index[members]], fit, shared, threshold
        )
        fits["robust"][members] = robust
        fits["other"][members] = other
        for k, c in enumerate(present):
            level, slope = _baseline(channels[k], fit.best)
            raw = data[c][members][:, -int(size) :]
            gone = missing[c][members][:, -int(size) :]
            offset = np.nan_to_num(np.nanmedian(np.where(gone, np.nan, raw), axis=1))
            signs = result.sign[index[members]] if c == 0 else 1.0
            fits["background"][members, c] = (level + offset) * scales[c] * signs
            fits["slope"][members, c] = slope * scales[c] * signs / binning
    for c in present:
        fits["amplitude"][:, c] *= scales[c]
        fits["rise"][:, c] *= scales[c]
    return fits, threshold, shared


def _blank(*shape: int) -> np.ndarray:
    """Return an array of NaN."""
    return np.full(shape, np.nan)


def _is_coarse(noise: np.ndarray | float, step: np.ndarray | float) -> np.ndarray:
    """Whether the noise is too small to dither the converter's steps."""
    return np.asarray(noise) < 0.3 * np.asarray(step)


def _within_one_code(data: np.ndarray, step: float) -> np.ndarray:
    """Flatten windows that never move by more than a code: a crossing is no sign of growth."""
    low = np.fmin.reduce(data, axis=1, initial=np.inf)
    high = np.fmax.reduce(data, axis=1, initial=-np.inf)
    flat = (high - low <= step)[:, None] & np.isfinite(data)
    return np.where(flat, low[:, None], data)


def _learn(channels: list[Channel], poles: list[Pole], binning: int, threshold: float) -> Shared:
    """Learn the shared quantities from sites with clear growth."""
    n = len(channels[0].data)
    scaled = [Pole(p.centre / binning, p.spread) for p in poles]
    chosen = np.unique(np.linspace(0, n - 1, min(n, 2 * _LEARN)).astype(int))
    some = [ch.take(chosen) for ch in channels]
    start = replace(start_shared(some, [p.centre for p in scaled]), binning=binning)
    first = fit_onsets(some, start, ratio=1.05)
    clear = np.flatnonzero(
        (first.channel_evidence.min(axis=1) > threshold)
        & (first.best < 0.4 * channels[0].data.shape[1])
    )[:_LEARN]
    return learn_shared([ch.take(clear) for ch in some], scaled, binning)


def _baseline(channel: Channel, best: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Level at the window's last sample and slope per bin of the line before the onset."""
    w = channel.data.shape[1]
    x = np.arange(w) - (w - 1.0)
    use = (x[None, :] < -best[:, None]) & ~channel.missing
    count = np.maximum(use.sum(axis=1), 1)
    xm = (use * x).sum(axis=1) / count
    ym = (use * channel.data).sum(axis=1) / count
    dx = np.where(use, x - xm[:, None], 0.0)
    slope = (dx * (channel.data - ym[:, None])).sum(axis=1) / np.maximum((dx**2).sum(axis=1), 1e-9)
    slope[use.sum(axis=1) < 4] = 0.0
    return ym - slope * xm, slope


def _store(
    result: Inference,
    index: np.ndarray,
    fits: dict[str, np.ndarray],
    binning: int,
    threshold: float,
) -> None:
    """Keep a level's result where it is the first, or clearer than what is there."""
    better = np.isfinite(fits["distance"]) & (~result.fitted[index] | (fits["robust"] > threshold))
    where = index[better]
    result.fitted[where] = True
    result.distance[where] = fits["distance"][better] * binning
    result.spread[where] = fits["spread"][better] * binning
    result.evidence[where] = fits["evidence"][better]
    result.robust_evidence[where] = fits["robust"][better]
    result.other_evidence[where] = fits["other"][better]
    result.binning[where] = binning
    result.threshold[where] = threshold
    result.reach[where] = fits["reach"][better] * binning
    result.lead[where] = fits["lead"][better] * binning
    for name in ("channel_evidence", "degree", "rise", "misfit", "background", "slope"):
        getattr(result, name)[where] = fits[name][better]
    # amplitudes belong to time in samples
    result.amplitude[where] = fits["amplitude"][better] / binning ** fits["degree"][better]
    result.crossover[where] = fits["crossover"][better] * binning
