"""What is known before a site is fitted, and the likelihood of every trial onset.

Every trial onset on a geometric grid, every growth law and both channels are compared with the
background by generalised least squares; amplitudes and baselines are solved for exactly, the
noise scale of a site is integrated out (Student likelihood).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from nucleation_bluesky.analysis.background import Noise
from nucleation_bluesky.analysis.growth import FREE, HEMISPHERE, Law, onset_grid

_TAILS = 4.0  # degrees of freedom of the distribution of growth rates


@dataclass(frozen=True)
class Channel:
    """One channel's windows, in units of its sample noise, growth counted positive.

    Parameters
    ----------
    data : ndarray, shape (n, w)
        Gaps filled.
    missing : ndarray of bool, shape (n, w)
        Samples to ignore.
    noise : Noise
        In the same unit (``noise.sigma`` is about 1).
    scale_dof : float
        Strength of the knowledge that all sites share one noise level, as degrees of freedom.
    name : str
        "current" or "height".
    mismatch : float
        Mean square deviation of real growth from these laws, relative to the growth.
    """

    data: np.ndarray
    missing: np.ndarray
    noise: Noise
    scale_dof: float
    name: str
    mismatch: float = 0.0

    def take(self, index: np.ndarray | slice) -> "Channel":
        """Return the sites of an index."""
        return replace(self, data=self.data[index], missing=self.missing[index])

    def without(self, samples: np.ndarray) -> "Channel":
        """Ignore further samples, boolean of shape (n, w)."""
        return replace(self, missing=self.missing | samples)


@dataclass(frozen=True)
class Shared:
    """What the sites of one instrument have in common.

    Parameters
    ----------
    poles : tuple of float
        Time constants of the channels, in binned samples.
    laws : tuple of tuple of Law
        Growth laws tried in each channel, times in binned samples.
    log_weights : ndarray, shape (laws of channel 0, laws of channel 1)
        Log probability of each pair of growth laws.
    rate_mean, rate_cov : ndarray or None
        Log signal after ``reference`` samples of growth, channel by channel.
    reference : float
        Binned samples.
    pole_sd : float
        Uncertainty of an onset that the uncertain time constants cause, binned samples.
    lead : float
        Growth time that the first radius of a nucleus stands for, binned samples.
    binning : int
        Raw samples in a binned one.
    mismatch : tuple of float
        See `Channel`; empty where it is not known.
    """

    poles: tuple[float, ...]
    laws: tuple[tuple[Law, ...], ...]
    log_weights: np.ndarray
    rate_mean: np.ndarray | None = None
    rate_cov: np.ndarray | None = None
    reference: float = 2.0
    pole_sd: float = 0.0
    lead: float = 0.0
    binning: int = 1
    mismatch: tuple[float, ...] = ()


@dataclass
class Profile:
    """Likelihood of one channel on the grid: arrays (n, laws, grid)."""

    gain: np.ndarray
    amplitude: np.ndarray
    snr2: np.ndarray
    null: np.ndarray = field(default_factory=lambda: np.zeros(0))
    dof: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @cached_property
    def log_amplitude(self) -> np.ndarray:
        """Log of ``amplitude``."""
        return np.log(np.maximum(self.amplitude, 1e-30))

    @cached_property
    def log_variance(self) -> np.ndarray:
        """Variance of ``log_amplitude``."""
        return 1.0 / np.maximum(self.snr2, 0.02)


def profile_channel(channel: Channel, shapes: np.ndarray) -> Profile:
    """Generalised least squares of every unit signal in ``shapes`` (laws, grid, w)."""
    precision = channel.noise.precision
    laws, grid, w = shapes.shape
    flat = shapes.reshape(laws * grid, w)
    projected = flat @ precision
    information = np.einsum("gw,gw->g", projected, flat)
    data = channel.data
    n = len(data)
    number = data.astype(np.float32) @ projected.T.astype(np.float32)
    white = data @ precision
    null = np.einsum("nw,nw->n", data, white)
    dof = np.full(n, float(max(w - 2, 0)))
    info = np.broadcast_to(information.astype(np.float32), number.shape)
    rows = np.flatnonzero(channel.missing.any(axis=1))
    if len(rows):
        info = info.copy()
    # an ignored sample is one more free parameter: remove its direction from every inner product
    by_pattern: dict[bytes, list[int]] = {}
    for row in rows:
        by_pattern.setdefault(channel.missing[row].tobytes(), []).append(int(row))
    for same in by_pattern.values():
        gone = np.flatnonzero(channel.missing[same[0]])
        inverse = np.linalg.pinv(precision[gone[:, None], gone], rcond=1e-9, hermitian=True)
        across = projected[:, gone] @ inverse
        number[same] -= white[np.asarray(same)[:, None], gone] @ across.T
        info[same] -= np.einsum("gj,gj->g", across, projected[:, gone])
        part = white[np.asarray(same)[:, None], gone]
        null[same] -= np.einsum("nj,jk,nk->n", part, inverse, part)
        dof[same] -= len(gone)
    dof = np.maximum(dof, 0.0)
    tiny = (1e-5 * information + 1e-30).astype(np.float32)
    np.maximum(number, 0.0, out=number)
    if len(rows):
        number[info <= tiny] = 0.0
    amplitude = number / np.maximum(info, tiny)
    snr2 = number
    snr2 *= amplitude
    prior = channel.scale_dof
    total = np.maximum(null, 1e-12)[:, None]
    # Student likelihood: the site's noise scale integrated out around the pooled one
    gain = np.minimum(snr2, total.astype(np.float32))
    gain *= (-1.0 / (total * (1.0 + channel.mismatch) + prior)).astype(np.float32)
    np.log1p(np.maximum(gain, -1.0 + 1e-7, out=gain), out=gain)
    gain *= (-0.5 * (dof + prior)[:, None]).astype(np.float32)
    shape = (n, laws, grid)
    return Profile(gain.reshape(shape), amplitude.reshape(shape), snr2.reshape(shape), null, dof)


def trial_onsets(samples: int, ratio: float) -> np.ndarray:
    """Return the trial onsets of a window, samples before its end."""
    return onset_grid(longest=max(0.5 * samples, 1.0), ratio=ratio)


def law_pairs(shared: Shared, keep: float = 1e-4) -> list[tuple[int, ...]]:
    """Return the combinations of growth laws that are not next to impossible."""
    weights = shared.log_weights
    chosen = np.argwhere(weights > weights.max() + np.log(keep))
    return [tuple(int(i) for i in pair) for pair in chosen]


def _rate_prior(
    profiles: Sequence[Profile], pair: tuple[int, ...], shared: Shared
) -> np.ndarray | float:
    """Log density of the amplitudes under the sites' common distribution, (n, grid).

    Student's t: a site unlike the others must not decide what all of them share.
    """
    if shared.rate_mean is None or shared.rate_cov is None:
        return 0.0
    deviations, variances = [], []
    for c, profile in enumerate(profiles):
        unit = float(shared.laws[c][pair[c]].value(shared.reference))
        shift = np.log(unit) - float(shared.rate_mean[c])
        deviation = profile.log_amplitude[:, pair[c]] + np.float32(shift)
        deviations.append(np.clip(deviation, -50.0, 50.0, out=deviation))
        variances.append(profile.log_variance[:, pair[c]])
    cov = shared.rate_cov.astype(np.float32)
    if len(deviations) == 1:
        det = cov[0, 0] + variances[0]
        quad = deviations[0] ** 2 / det
    else:
        a, d = cov[0, 0] + variances[0], cov[1, 1] + variances[1]
        b = cov[0, 1]
        det = a * d - b * b
        x, y = deviations
        quad = (d * x * x - 2.0 * b * x * y + a * y * y) / det
    heavy = _TAILS + len(deviations)
    return -0.5 * (heavy * np.log1p(quad / _TAILS) + np.log(det))


def log_posterior(
    profiles: Sequence[Profile],
    pairs: list[tuple[int, ...]],
    grid: np.ndarray,
    shared: Shared,
) -> tuple[np.ndarray, np.ndarray]:
    """Log posterior and log likelihood gain, both (n, pairs, grid)."""
    n = len(profiles[0].gain)
    posterior = np.empty((n, len(pairs), len(grid)), dtype=np.float32)
    gains = np.empty_like(posterior)
    measure = np.log(grid).astype(np.float32)  # uniform in time on a geometric grid
    for k, pair in enumerate(pairs):
        gains[:, k] = sum(p.gain[:, i] for p, i in zip(profiles, pair, strict=True))
        posterior[:, k] = gains[:, k] + measure + shared.log_weights[pair]
        posterior[:, k] += _rate_prior(profiles, pair, shared)
    return posterior, gains


def start_shared(
    channels: Sequence[Channel], poles: Sequence[float], hemisphere: bool = True
) -> Shared:
    """Nothing learnt yet: growth laws of a hemisphere, or all combinations of powers."""
    laws = tuple((HEMISPHERE if hemisphere else FREE)[ch.name] for ch in channels)
    weights = np.ones([len(some) for some in laws])
    if hemisphere and len(laws) > 1:
        weights = np.eye(len(laws[0]))
    with np.errstate(divide="ignore"):
        return Shared(tuple(poles), laws, np.log(weights / weights.sum()))
