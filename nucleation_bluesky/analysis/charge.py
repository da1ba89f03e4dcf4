"""Charge of the growth and the particle it made."""

import numpy as np
from scipy.constants import physical_constants

from nucleation_bluesky.analysis.inference import Inference
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
    """Net charge of the growth, background subtracted, samples after the trip included.

    Up to the trip the fitted growth law is integrated (a compliance ramp samples the growth only
    a few times, where a plain sum would err by half an interval) and what the samples say beyond
    it is added. After the trip the samples are summed.

    Returns
    -------
    ndarray, shape (n,)
        C, signed; 0 where nothing nucleated, NaN where the current was not recorded.
    """
    out = np.where(inference.fitted & inference.present[0], 0.0, np.nan)
    if not inference.present[0]:
        return out
    latency = ramps.instrument.abort_latency or 0.0
    for site in np.flatnonzero(nucleated & inference.fitted):
        last, trip = int(inference.anchors.last[site]), int(inference.anchors.trip[site])
        sign, dt = inference.sign[site], period[site]
        level, slope = inference.background[site, 0], inference.slope[site, 0]
        d, amplitude = inference.distance[site], inference.amplitude[site, 0]
        power = inference.power[site, 0]
        lead = inference.lead[site]

        def grown(age: float, a: float = amplitude, q: float = power, b: float = lead) -> float:
            return a * ((age + b) ** (q + 1.0) - b ** (q + 1.0)) / (q + 1.0)

        law = grown(d)
        total = sign * law * dt
        end = int(ramps.offsets[site + 1])
        after = ramps.current[last:end].astype(float) - level
        after -= slope * np.arange(end - last)
        before = after[: trip - last + 1]
        if trip > last:
            total += np.trapezoid(np.nan_to_num(before), dx=dt)
        elif latency > 0:
            total += sign * (grown(d + latency / dt) - law) * dt
        if end > trip + 1:
            held = ramps.bias is not None and np.isclose(
                ramps.bias[trip + 1], ramps.bias[trip], rtol=0.02
            )
            post = after[trip - last + 1 :]
            # away from the ramp its leakage and C dV/dt are gone: nothing is known to subtract
            post = post if held else ramps.current[trip + 1 : end].astype(float)
            total += float(np.nansum(post)) * dt
        out[site] = total
    return out


def particle_volume(charge: np.ndarray, material: Material) -> np.ndarray:
    """Volume deposited by a charge (Faraday's law with the stated yield), m3."""
    per_charge = material.faradaic_yield * material.molar_volume / (material.electrons * FARADAY)
    return np.abs(charge) * per_charge
