"""Charge of the growth and the particle it made."""

from functools import partial

import numpy as np
from scipy.constants import physical_constants

from nucleation_bluesky.analysis.after_trip import charge_after_trip
from nucleation_bluesky.analysis.growth import current_integral
from nucleation_bluesky.analysis.inference_state import Inference
from nucleation_bluesky.analysis.ramps import Material, RampSet

FARADAY = physical_constants["Faraday constant"][0]


def raw_charge(ramps: RampSet, period: np.ndarray) -> np.ndarray:
    """Sum of current times sample period over the whole record, C, shape (n,)."""
    out = np.full(ramps.n_sites, np.nan)
    for sites in ramps.blocks():
        low, high = int(ramps.offsets[sites.start]), int(ramps.offsets[sites.stop])
        part = ramps.current[low:high]
        if not len(part):
            continue
        finite = np.isfinite(part)
        if not finite.all():
            part = np.where(finite, part, 0)
        filled = np.flatnonzero(ramps.counts[sites] > 0)
        starts = (ramps.offsets[sites.start : sites.stop] - low)[filled]
        out[sites.start + filled] = np.add.reduceat(part, starts, dtype=np.float64)
    return out * period


def growth_charge(
    ramps: RampSet, inference: Inference, period: np.ndarray, nucleated: np.ndarray
) -> np.ndarray:
    """Net charge of the growth, background subtracted, what flowed after the trip included.

    Up to the trip the fitted growth law is integrated (a compliance ramp samples the growth only
    a few times, where a plain sum would err by half an interval) and what the samples say beyond
    it is added. After the trip the samples are summed, less what the channel's pole had held.

    Returns
    -------
    ndarray, shape (n,)
        C, signed; 0 where nothing nucleated, NaN where the current was not recorded.
    """
    out = np.where(inference.fitted & inference.present[0], 0.0, np.nan)
    if not inference.present[0]:
        return out
    sites = np.flatnonzero(nucleated & inference.fitted)
    latency = (ramps.instrument.abort_latency or 0.0) / period
    last, trip = inference.anchors.last, inference.anchors.trip
    grown = partial(_law_charge, inference)
    out[sites] = grown(sites, inference.distance[sites]) * period[sites]
    at_end = sites[trip[sites] == last[sites]]
    late = grown(at_end, inference.distance[at_end] + latency[at_end])
    out[at_end] += late * period[at_end] - out[at_end]
    after = np.zeros(len(sites))
    noise = np.zeros(len(sites))
    tail = np.zeros(len(sites))
    for k, site in enumerate(sites):
        begin, end = int(last[site]), int(ramps.offsets[site + 1])
        sign, dt = inference.sign[site], float(period[site])
        level, slope = inference.background[site, 0], inference.slope[site, 0]
        raw = ramps.current[begin:end].astype(float)
        signal = sign * (raw - level - slope * np.arange(end - begin))
        middle = int(trip[site]) - begin
        if middle > 0:
            out[site] += np.trapezoid(np.nan_to_num(signal[: middle + 1]), dx=dt)
        posts = end - 1 - int(trip[site])
        if posts > 0:
            # a bias that is held keeps its leakage; away from the ramp nothing is known to subtract
            held = _held(ramps, int(trip[site]), begin + len(raw))
            post = sign * (raw[middle + 1 :] - (level + slope * middle if held else 0.0))
            tail[k] = signal[middle]
            after[k] = float(np.nansum(post)) * dt - tail[k] * dt * _held_share(inference, posts)
            noise[k] = np.sqrt(posts) * float(inference.noise[0]) * dt
    some = noise > 0
    after[some] = charge_after_trip(after[some], tail[some], noise[some])
    out[sites] += after
    out[sites] *= inference.sign[sites]
    return out


def _law_charge(inference: Inference, sites: np.ndarray, age: np.ndarray) -> np.ndarray:
    """Integral of the fitted growth current up to an age in samples, A samples."""
    shape = (inference.degree[sites, 0], inference.crossover[sites, 0])
    lead = inference.lead[sites]
    grown = current_integral(age + lead, *shape) - current_integral(lead, *shape)
    return inference.amplitude[sites, 0] * grown


def _held(ramps: RampSet, trip: int, end: int) -> bool:
    """Whether the bias stayed after the trip, until the record's end."""
    return ramps.bias is not None and bool(
        np.allclose(ramps.bias[trip + 1 : end], ramps.bias[trip], rtol=0.02)
    )


def _held_share(inference: Inference, posts: int) -> float:
    """Sum of the samples by which the channel's pole gives back what it held at the trip."""
    pole = float(inference.pole[0])
    if not np.isfinite(pole) or pole <= 0.0:
        return 0.0
    decay = float(np.exp(-1.0 / pole))
    return decay * (1.0 - decay**posts) / (1.0 - decay)


def particle_volume(charge: np.ndarray, material: Material) -> np.ndarray:
    """Volume deposited by a charge (Faraday's law with the stated yield), m3."""
    per_charge = material.faradaic_yield * material.molar_volume / (material.electrons * FARADAY)
    return np.abs(charge) * per_charge
