"""What the evidence for an onset is worth: against noise, spikes, errors of the growth law."""

from dataclasses import replace

import numpy as np
from scipy.stats import norm

from nucleation_bluesky.analysis.onset import Fit, fit_onsets
from nucleation_bluesky.analysis.onset_model import Channel, Shared


def null_threshold(
    nulls: dict[int, np.ndarray],
    present: list[int],
    channels: list[Channel],
    shared: Shared,
    error_rate: float,
) -> float:
    """Return the evidence that noise reaches with probability ``error_rate``, measured."""
    size = channels[0].data.shape[1]
    whole = {c: nulls[c][np.isfinite(nulls[c][:, -size:]).all(axis=1)][:, -size:] for c in present}
    count = min(len(v) for v in whole.values())
    if count < 50 or any(v.shape[1] != size for v in whole.values()):
        return 0.0
    made = [
        replace(
            channels[k],
            data=whole[c][:count] - whole[c][:count].mean(axis=1, keepdims=True),
            missing=np.zeros((count, size), dtype=bool),
        )
        for k, c in enumerate(present)
    ]
    evidence = fit_onsets(made, shared, ratio=1.1).evidence
    # exponential tail (chi-squared) beyond the 90 % quantile, its decay measured
    edge = float(np.quantile(evidence, 0.9))
    excess = evidence[evidence > edge] - edge
    decay = max(float(np.median(excess)) / np.log(2.0), 1.0) if len(excess) else 1.0
    return edge + decay * float(np.log(0.1 / error_rate))


def robust_evidence(
    channels: list[Channel],
    present: list[int],
    suspects: np.ndarray,
    fit: Fit,
    shared: Shared,
    threshold: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Evidence for growth that survives ignoring the samples that may be a spike.

    Where the other channel alone is clear, its evidence stands as the lower bound it is.

    Returns the smallest over the channels that may have spiked, and the evidence of the channels
    other than that one.
    """
    robust, other = fit.evidence.copy(), fit.evidence.copy()
    w = channels[0].data.shape[1]
    for k, c in enumerate(present):
        suspect = suspects[:, c] > 0
        rest = fit.channel_evidence.sum(axis=1) - fit.channel_evidence[:, k]
        clear = suspect & (rest > 2.0 * threshold)
        robust[clear] = np.minimum(robust[clear], rest[clear])
        other[clear] = np.minimum(other[clear], rest[clear])
        rows = np.flatnonzero(suspect & ~clear)
        if not len(rows):
            continue
        gone = np.arange(w)[None, :] >= w - suspects[rows, c][:, None]
        masked = [
            (ch.take(rows).without(gone) if j == k else ch.take(rows))
            for j, ch in enumerate(channels)
        ]
        again = fit_onsets(masked, shared, ratio=1.05)
        robust[rows] = np.minimum(robust[rows], again.evidence)
        rest = again.channel_evidence.sum(axis=1) - again.channel_evidence[:, k]
        other[rows] = np.minimum(other[rows], rest)
    return robust, other


def calibrated_spread(fit: Fit, threshold: float) -> np.ndarray:
    """Return standard deviations of the onsets, with the error of the growth law itself.

    Current and height see one onset, so what their separate onsets differ by beyond the noise is
    the error of the model, which is measured where both channels are clear. It counts in
    proportion to the time the growth was seen for.
    """
    spread = fit.spread
    if fit.alone.shape[1] < 2:
        return spread
    gap = fit.alone[:, 0] - fit.alone[:, 1]
    noise = np.sum(fit.alone_spread**2, axis=1)
    age = np.maximum(fit.distance, 1.0)
    clear = np.all(fit.channel_evidence > threshold, axis=1) & (noise < (0.2 * age) ** 2)
    if clear.sum() < 10:
        return spread
    z2 = gap[clear] ** 2 / age[clear]
    excess = float(np.median(z2)) / 0.455 - float(np.median(noise[clear] / age[clear]))
    # half of it belongs to each channel; the fit leans on the channels by their precision
    weight = 1.0 / np.maximum(fit.alone_spread, 1e-3) ** 2
    share = np.sum(weight**2, axis=1) / np.sum(weight, axis=1) ** 2
    return np.sqrt(spread**2 + 0.5 * max(excess, 0.0) * age * share)


def probability_to_sigma(probability: float) -> float:
    """Return the normal deviation that noise exceeds with this two-sided probability."""
    return float(norm.isf(0.5 * probability))
