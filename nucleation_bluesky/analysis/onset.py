"""Onset of growth from current and height together, with its uncertainty."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from nucleation_bluesky.analysis.growth import templates
from nucleation_bluesky.analysis.onset_model import (
    Channel,
    Profile,
    Shared,
    law_pairs,
    log_posterior,
    profile_channel,
    trial_onsets,
)
from nucleation_bluesky.analysis.parallel import spread

_CHUNK = 512  # sites at a time: bounds memory
_PER_CHANNEL = (
    *("channel_evidence", "amplitude", "degree", "crossover", "rise", "misfit"),
    *("alone", "alone_spread"),
)


@dataclass(frozen=True)
class Fit:
    """Result of `fit_onsets`; arrays of shape (n,) unless noted.

    ``distance`` is the posterior mean of the onset before the window's last sample, in binned
    samples, ``spread`` its standard deviation. ``evidence`` is the gain of log likelihood over
    no growth at the best trial onset; ``channel_evidence`` (n, c) the part of each channel.
    ``rise`` (n, c) is the fitted signal at the window's last sample, ``amplitude`` (n, c) the
    factor of its growth law, ``degree`` and ``crossover`` (n, c) describe that law (`Law`, binned
    samples), ``best`` is the maximum's distance, ``misfit`` (n, c)
    the reduced chi-squared, ``reach`` the distance of the likelihood's own maximum. ``alone`` and
    ``alone_spread`` (n, c) are distance and spread by one channel alone.
    """

    distance: np.ndarray
    spread: np.ndarray
    evidence: np.ndarray
    channel_evidence: np.ndarray
    amplitude: np.ndarray
    degree: np.ndarray
    crossover: np.ndarray
    rise: np.ndarray
    best: np.ndarray
    misfit: np.ndarray
    reach: np.ndarray
    alone: np.ndarray
    alone_spread: np.ndarray


def fit_onsets(channels: Sequence[Channel], shared: Shared, ratio: float = 1.03) -> Fit:
    """Posterior of the onset of every site.

    Parameters
    ----------
    channels : sequence of Channel
        One or two channels with the same sites and window length.
    shared : Shared
    ratio : float
        Spacing of the grid of trial onsets.

    Returns
    -------
    Fit
    """
    n, w = channels[0].data.shape
    grid = trial_onsets(w, ratio)
    shapes = [
        templates(grid, w, laws, pole, shared.lead, shared.binning)
        for laws, pole in zip(shared.laws, shared.poles, strict=True)
    ]
    pairs = law_pairs(shared)

    def part(begin: int) -> Fit:
        some = [ch.take(slice(begin, begin + _CHUNK)) for ch in channels]
        return _fit_chunk(some, shapes, grid, pairs, shared, ratio)

    parts = spread(part, range(0, max(n, 1), _CHUNK))
    return Fit(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Fit)))


def _fit_chunk(
    channels: Sequence[Channel],
    shapes: Sequence[np.ndarray],
    grid: np.ndarray,
    pairs: list[tuple[int, ...]],
    shared: Shared,
    ratio: float,
) -> Fit:
    profiles = [profile_channel(ch, sh) for ch, sh in zip(channels, shapes, strict=True)]
    n = len(channels[0].data)
    log_post, gains = log_posterior(profiles, pairs, grid, shared)
    flat = log_post.reshape(n, -1)
    top = flat.max(axis=1, keepdims=True)
    weight = np.exp(flat - top).reshape(log_post.shape).sum(axis=1)
    weight /= weight.sum(axis=1, keepdims=True)
    mean = weight @ grid
    variance = np.maximum(weight @ grid**2 - mean**2, 0.0) + (mean * (ratio - 1.0)) ** 2 / 12.0
    variance += shared.pole_sd**2
    # the best trial decides shapes and amplitudes
    where = np.argmax(flat, axis=1)
    pair_index, grid_index = np.divmod(where, len(grid))
    rows = np.arange(n)
    evidence = gains.reshape(n, -1).max(axis=1)
    reach = grid[np.argmax(gains.reshape(n, -1), axis=1) % len(grid)]
    chosen = np.array(pairs)[pair_index].reshape(n, -1)
    by_channel: dict[str, list[np.ndarray]] = {name: [] for name in _PER_CHANNEL}
    for c, profile in enumerate(profiles):
        law_index = chosen[:, c]
        amplitude = profile.amplitude[rows, law_index, grid_index]
        rest = np.maximum(profile.null - profile.snr2[rows, law_index, grid_index], 0.0)
        alone, width = _alone(profile, rows, law_index, grid, ratio)
        values = (
            profile.gain[rows, law_index, grid_index],
            amplitude,
            np.array([law.degree for law in shared.laws[c]])[law_index],
            np.array([law.crossover for law in shared.laws[c]])[law_index],
            amplitude * shapes[c][law_index, grid_index, -1],
            rest / np.maximum(profile.dof - 2.0, 1.0),
            alone,
            width,
        )
        for name, value in zip(_PER_CHANNEL, values, strict=True):
            by_channel[name].append(value)
    return Fit(
        distance=mean,
        spread=np.sqrt(variance),
        evidence=evidence,
        best=grid[grid_index],
        reach=reach,
        **{name: np.stack(some, axis=1) for name, some in by_channel.items()},
    )


def _alone(
    profile: Profile, rows: np.ndarray, law: np.ndarray, grid: np.ndarray, ratio: float
) -> tuple[np.ndarray, np.ndarray]:
    """Onset by one channel alone: mean distance and its standard deviation, (n,)."""
    log = profile.gain[rows, law] + np.log(grid).astype(np.float32)
    weight = np.exp(log - log.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    mean = weight @ grid
    variance = np.maximum(weight @ grid**2 - mean**2, 0.0) + (mean * (ratio - 1.0)) ** 2 / 12.0
    return mean, np.sqrt(variance)
