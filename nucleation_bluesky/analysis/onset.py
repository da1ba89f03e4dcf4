"""Onset of growth from current and height together, with its uncertainty.

Every trial onset on a geometric grid, every growth power and both channels are compared with the
background by generalised least squares; amplitudes and baselines are solved for exactly, the
noise scale of a site is integrated out (Student likelihood). What the sites of one instrument
share is estimated from all of them (empirical Bayes): the channels' time constants, how probable
each growth law is, and the joint distribution of growth rates in current and height.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import numpy as np

from nucleation_bluesky.analysis.background import Noise
from nucleation_bluesky.analysis.growth import (
    CURRENT_POWERS,
    HEIGHT_POWERS,
    HEMISPHERE_LAWS,
    onset_grid,
    templates,
)
from nucleation_bluesky.analysis.parallel import spread

_VAGUE = 9.0  # variance of the log of a growth rate of which nothing is known
_CHUNK = 512  # sites at a time: bounds memory


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
    powers : tuple of float
        Growth laws tried.
    mismatch : float
        Mean square deviation of real growth from these laws, relative to the growth.
    """

    data: np.ndarray
    missing: np.ndarray
    noise: Noise
    scale_dof: float
    powers: tuple[float, ...]
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
    log_weights : ndarray, shape (powers of channel 0, powers of channel 1)
        Log probability of each pair of growth laws, the first powers of each channel.
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
    log_weights: np.ndarray
    rate_mean: np.ndarray | None = None
    rate_cov: np.ndarray | None = None
    reference: float = 2.0
    pole_sd: float = 0.0
    lead: float = 0.0
    binning: int = 1
    mismatch: tuple[float, ...] = ()


@dataclass(frozen=True)
class Fit:
    """Result of `fit_onsets`; arrays of shape (n,) unless noted.

    ``distance`` is the posterior mean of the onset before the window's last sample, in binned
    samples, ``spread`` its standard deviation. ``evidence`` is the gain of log likelihood over
    no growth at the best trial onset; ``channel_evidence`` (n, c) the part of each channel.
    ``rise`` (n, c) is the fitted signal at the window's last sample, ``amplitude`` (n, c) the
    factor of its growth law, ``power`` (n, c), ``best`` the maximum's distance, ``misfit`` (n, c)
    the reduced chi-squared, ``reach`` the distance of the likelihood's own maximum. ``alone`` and
    ``alone_spread`` (n, c) are distance and spread by one channel alone.
    """

    distance: np.ndarray
    spread: np.ndarray
    evidence: np.ndarray
    channel_evidence: np.ndarray
    amplitude: np.ndarray
    power: np.ndarray
    rise: np.ndarray
    best: np.ndarray
    misfit: np.ndarray
    reach: np.ndarray
    alone: np.ndarray
    alone_spread: np.ndarray


@dataclass
class _Profile:
    """Likelihood of one channel on the grid: arrays (n, powers, grid)."""

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


def _profile(channel: Channel, shapes: np.ndarray) -> _Profile:
    """Generalised least squares of every unit signal in ``shapes`` (powers, grid, w)."""
    precision = channel.noise.precision
    powers, grid, w = shapes.shape
    flat = shapes.reshape(powers * grid, w)
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
    shape = (n, powers, grid)
    return _Profile(gain.reshape(shape), amplitude.reshape(shape), snr2.reshape(shape), null, dof)


def _grid(samples: int, ratio: float) -> np.ndarray:
    return onset_grid(longest=max(0.5 * samples, 1.0), ratio=ratio)


def _pairs(shared: Shared, keep: float = 1e-4) -> list[tuple[int, ...]]:
    weights = shared.log_weights
    chosen = np.argwhere(weights > weights.max() + np.log(keep))
    return [tuple(int(i) for i in pair) for pair in chosen]


def _rate_prior(
    profiles: Sequence[_Profile],
    channels: Sequence[Channel],
    pair: tuple[int, ...],
    shared: Shared,
) -> np.ndarray | float:
    """Log density of the amplitudes under the sites' common distribution, (n, grid)."""
    if shared.rate_mean is None or shared.rate_cov is None:
        return 0.0
    deviations, variances = [], []
    for c, profile in enumerate(profiles):
        power = channels[c].powers[pair[c]]
        shift = power * np.log(shared.reference) - float(shared.rate_mean[c])
        deviation = profile.log_amplitude[:, pair[c]] + np.float32(shift)
        deviations.append(np.clip(deviation, -50.0, 50.0, out=deviation))
        variances.append(profile.log_variance[:, pair[c]])
    cov = shared.rate_cov.astype(np.float32)
    if len(deviations) == 1:
        var = cov[0, 0] + variances[0]
        return -0.5 * (deviations[0] ** 2 / var + np.log(var))
    a, d = cov[0, 0] + variances[0], cov[1, 1] + variances[1]
    b = cov[0, 1]
    det = a * d - b * b
    x, y = deviations
    return -0.5 * ((d * x * x - 2.0 * b * x * y + a * y * y) / det + np.log(det))


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
    grid = _grid(w, ratio)
    shapes = [
        templates(grid, w, ch.powers[:laws], pole, shared.lead, shared.binning)
        for ch, pole, laws in zip(channels, shared.poles, shared.log_weights.shape, strict=True)
    ]
    pairs = _pairs(shared)

    def part(begin: int) -> tuple[np.ndarray, ...]:
        some = [ch.take(slice(begin, begin + _CHUNK)) for ch in channels]
        return _fit_chunk(some, shapes, grid, pairs, shared, ratio)

    parts = spread(part, range(0, n, _CHUNK))
    if not parts:
        zero = np.zeros(0)
        two = np.zeros((0, len(channels)))
        return Fit(zero, zero, zero, two, two, two, two, zero, two, zero, two, two)
    joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Fit(*joined)


def _fit_chunk(
    channels: Sequence[Channel],
    shapes: Sequence[np.ndarray],
    grid: np.ndarray,
    pairs: list[tuple[int, ...]],
    shared: Shared,
    ratio: float,
) -> tuple[np.ndarray, ...]:
    profiles = [_profile(ch, sh) for ch, sh in zip(channels, shapes, strict=True)]
    n = len(channels[0].data)
    log_post, gains = _log_posterior(profiles, channels, pairs, grid, shared)
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
    columns: list[list[np.ndarray]] = [[], [], [], [], [], [], []]
    chosen = np.array(pairs)[pair_index].reshape(n, -1)
    for c, (profile, channel) in enumerate(zip(profiles, channels, strict=True)):
        power_index = chosen[:, c]
        amplitude = profile.amplitude[rows, power_index, grid_index]
        snr2 = profile.snr2[rows, power_index, grid_index]
        columns[0].append(profile.gain[rows, power_index, grid_index])
        columns[1].append(amplitude)
        columns[2].append(np.asarray(channel.powers)[power_index])
        columns[3].append(amplitude * shapes[c][power_index, grid_index, -1])
        rest = np.maximum(profile.null - snr2, 0.0)
        columns[4].append(rest / np.maximum(profile.dof - 2.0, 1.0))
        alone, width = _alone(profile, rows, power_index, grid, ratio)
        columns[5].append(alone)
        columns[6].append(width)
    stacked = [np.stack(column, axis=1) for column in columns]
    return (
        *(mean, np.sqrt(variance), evidence, stacked[0], stacked[1], stacked[2], stacked[3]),
        *(grid[grid_index], stacked[4], reach, stacked[5], stacked[6]),
    )


def _alone(
    profile: _Profile, rows: np.ndarray, power: np.ndarray, grid: np.ndarray, ratio: float
) -> tuple[np.ndarray, np.ndarray]:
    """Onset by one channel alone: mean distance and its standard deviation, (n,)."""
    log = profile.gain[rows, power] + np.log(grid).astype(np.float32)
    weight = np.exp(log - log.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    mean = weight @ grid
    variance = np.maximum(weight @ grid**2 - mean**2, 0.0) + (mean * (ratio - 1.0)) ** 2 / 12.0
    return mean, np.sqrt(variance)


def _log_posterior(
    profiles: Sequence[_Profile],
    channels: Sequence[Channel],
    pairs: list[tuple[int, ...]],
    grid: np.ndarray,
    shared: Shared,
) -> tuple[np.ndarray, np.ndarray]:
    """Log posterior and log likelihood gain, both (n, pairs, grid)."""
    n = len(channels[0].data)
    posterior = np.empty((n, len(pairs), len(grid)), dtype=np.float32)
    gains = np.empty_like(posterior)
    measure = np.log(grid).astype(np.float32)  # uniform in time on a geometric grid
    for k, pair in enumerate(pairs):
        gains[:, k] = sum(p.gain[:, i] for p, i in zip(profiles, pair, strict=True))
        posterior[:, k] = gains[:, k] + measure + shared.log_weights[pair]
        posterior[:, k] += _rate_prior(profiles, channels, pair, shared)
    return posterior, gains


def start_shared(
    channels: Sequence[Channel], poles: Sequence[float], hemisphere: bool = True
) -> Shared:
    """Nothing learnt yet: growth laws of a hemisphere, or all combinations of powers."""
    # laws that are not tried are the last ones: what is never used is never computed
    shape = tuple(HEMISPHERE_LAWS if hemisphere else len(ch.powers) for ch in channels)
    log_weights = np.full(shape, -np.inf if hemisphere else 0.0)
    if hemisphere:
        for k in range(HEMISPHERE_LAWS):
            log_weights[(k,) * len(shape)] = 0.0
    log_weights -= np.log(np.exp(log_weights).sum())
    return Shared(tuple(poles), log_weights)


def learn_shared(
    channels: Sequence[Channel],
    known_poles: Sequence[float | None],
    pole_grid: np.ndarray,
    binning: int = 1,
) -> Shared:
    """Estimate what the sites share, from sites with clear growth.

    The laws of a growing hemisphere are used unless free powers explain the data better by more
    than two units of log likelihood per site (of the median site by four, where the time constants
    are known); a free power and a time constant are nearly
    interchangeable, so freedom is taken only where most sites ask for it.

    Parameters
    ----------
    channels : sequence of Channel
        Windows of sites with clear growth.
    known_poles : sequence of float or None
        Time constants in binned samples where the instrument states them.
    pole_grid : ndarray
        Trial time constants, binned samples.
    binning : int
        Raw samples in a binned one.
    """
    n = len(channels[0].data)
    start = [p or 0.0 for p in known_poles]
    if not n:
        return start_shared(channels, start)
    base = replace(start_shared(channels, start), binning=binning)
    strict, _ = _learn(channels, known_poles, pole_grid, base, 1)
    mismatch = _mismatch(fit_onsets(channels, strict, ratio=1.05), channels)
    channels = [replace(ch, mismatch=m) for ch, m in zip(channels, mismatch, strict=True)]
    base = replace(base, mismatch=mismatch)
    strict, strict_score = _learn(channels, known_poles, pole_grid, base, 2)
    typical = strict.reference

    def led(lead: float) -> tuple[float, float, Shared]:
        other, score = _learn(channels, known_poles, pole_grid, replace(base, lead=lead), 2)
        return lead, score, other

    trials = [(0.0, strict_score, strict)]
    trials += [led(share * typical) for share in (0.05, 0.1, 0.17, 0.27)]
    tried = [trial[2].poles for trial in trials]
    lead, lead_sd = _typical_lead(trials, n)
    if None in known_poles:
        # free time constants imitate a lead: it has to earn its place (Akaike)
        best = max(trials, key=lambda t: t[1])
        lead, lead_sd = (best[0] if best[1] > strict_score + 1.0 else 0.0), 0.0
    nearest = min(trials, key=lambda t: abs(t[0] - lead))[2]
    strict, strict_score = _learn(channels, nearest.poles, pole_grid, replace(base, lead=lead), 2)
    # an onset moves by about half of what the first radius stands for
    strict = replace(strict, pole_sd=float(np.hypot(nearest.pole_sd, 0.5 * lead_sd)))
    # how far the time constants move with the first radius is their real uncertainty
    moved = 0.5 * float(np.max(np.std(np.array(tried), axis=0)))
    strict = replace(strict, pole_sd=float(np.hypot(strict.pole_sd, moved)))
    fit = fit_onsets(channels, strict, ratio=1.05)
    dof = channels[0].data.shape[1] - 4
    if float(np.median(np.sum(fit.misfit - 1.0, axis=1))) * dof < 4.0:
        return strict  # nothing left that freedom could explain
    free, free_score = _learn(
        channels,
        known_poles,
        pole_grid[pole_grid <= 2.0],
        replace(start_shared(channels, start, False), binning=binning, mismatch=mismatch),
        2,
    )
    if None in known_poles:
        return free if free_score - strict_score > 2.0 * n else strict
    # with known time constants most sites have to gain, not a few strong ones
    gained = fit_onsets(channels, free, ratio=1.05).evidence - fit.evidence
    return free if float(np.median(gained)) > 4.0 else strict


def _mismatch(fit: Fit, channels: Sequence[Channel]) -> tuple[float, ...]:
    """Return what of the growth the laws leave unexplained, as a share of its sum of squares."""
    out = []
    for c, channel in enumerate(channels):
        dof = channel.data.shape[1] - 4.0
        rest = fit.misfit[:, c] * dof
        total = (rest + channel.scale_dof) * np.exp(
            2.0 * fit.channel_evidence[:, c] / (dof + 2.0 + channel.scale_dof)
        )
        share = (rest - dof) / np.maximum(total, 1.0)
        out.append(float(max(np.median(share), 0.0)) / 0.455)
    return tuple(out)


def _typical_lead(trials: list[tuple[float, float, Shared]], sites: int) -> tuple[float, float]:
    """Mean and standard deviation of the lead over the trials, weighted by their scores.

    All sites share the error of the growth law, so a sum over sites overstates what is known:
    scores count per two sites.
    """
    lead, score = (np.array([t[k] for t in trials], dtype=float) for k in (0, 1))
    width = np.gradient(lead)
    weight = np.exp((score - score.max()) / max(0.5 * sites, 1.0)) * width
    weight /= weight.sum()
    mean = float(weight @ lead)
    return mean, float(np.sqrt(weight @ (lead - mean) ** 2))


def _learn(
    channels: Sequence[Channel],
    known_poles: Sequence[float | None],
    pole_grid: np.ndarray,
    shared: Shared,
    rounds: int = 3,
) -> tuple[Shared, float]:
    """Alternate between time constants and the distribution of growth laws and rates."""
    w = channels[0].data.shape[1]
    grid = _grid(w, 1.05)
    poles = [0.2 if p is None else p for p in known_poles]

    @lru_cache(maxsize=len(poles) * len(pole_grid) + 16)
    def profile(c: int, pole: float) -> _Profile:
        powers = channels[c].powers[: shared.log_weights.shape[c]]
        return _profile(channels[c], templates(grid, w, powers, pole, shared.lead, shared.binning))

    current = [profile(c, p) for c, p in enumerate(poles)]
    n = len(channels[0].data)
    score, deviation = -np.inf, np.zeros(len(poles))
    for step in range(rounds + 1):
        for c, known in enumerate(known_poles):
            if known is not None:
                continue
            fine = step == rounds
            trials = pole_grid if not fine else poles[c] * np.geomspace(0.85, 1.18, 7)
            trials = trials if not fine or poles[c] > 0 else np.array([0.0, 0.02, 0.04])
            made = [profile(c, float(p)) for p in trials]
            scores = np.array(
                [_marginal([*current[:c], m, *current[c + 1 :]], channels, grid, shared)[0]
                 for m in made]
            )  # fmt: skip
            # a long time constant mimics a higher power: half a unit per site and e-fold beyond 2
            scores -= 0.5 * n * np.log(np.maximum(trials / 2.0, 1.0))
            best = int(np.argmax(scores))
            if fine:
                weight = np.exp(scores - scores.max())
                middle = float(weight @ trials / weight.sum())
                spread = float(weight @ (trials - middle) ** 2 / weight.sum())
                deviation[c] = np.sqrt(spread) + 0.25 * float(np.diff(trials).mean())
            poles[c], current[c] = float(trials[best]), made[best]
        shared = _update(current, channels, grid, shared)
        score = _marginal(current, channels, grid, shared)[0]
    # an onset moves by at most the change of the pole that dominates its evidence
    sd = 0.5 * float(np.max(deviation, initial=0.0))
    return replace(shared, poles=tuple(poles), pole_sd=sd), score


def _marginal(
    profiles: Sequence[_Profile],
    channels: Sequence[Channel],
    grid: np.ndarray,
    shared: Shared,
) -> tuple[float, np.ndarray, np.ndarray, list[tuple[int, ...]]]:
    """Return summed log marginal likelihood, responsibilities of pairs, best grid index by pair."""
    pairs = _pairs(shared)
    posterior, _ = _log_posterior(profiles, channels, pairs, grid, shared)
    best = np.argmax(posterior, axis=2)
    area = _log_area(posterior, best)
    top = area.max(axis=1, keepdims=True)
    weight = np.exp(area - top)
    total = weight.sum(axis=1)
    score = float(np.sum(np.log(total) + top[:, 0]))
    return score, weight / total[:, None], best, pairs


def _log_area(posterior: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Log of the sum over the grid, (n, pairs); a peak narrower than the grid by its parabola.

    Plain sums would make the score depend on how the peaks lie between the trial onsets.
    """
    last = posterior.shape[2] - 1
    inner = np.clip(best, 1, max(last - 1, 1))
    low, mid, high = (
        np.take_along_axis(posterior, np.clip(inner + step, 0, last)[..., None], axis=2)[..., 0]
        for step in (-1, 0, 1)
    )
    curve = np.maximum(2.0 * mid - low - high, 1e-6)
    peak = mid + (high - low) ** 2 / (8.0 * curve)
    narrow = (inner == best) & (curve > 0.5)
    top = posterior.max(axis=2)
    summed = top + np.log(np.exp(posterior - top[..., None]).sum(axis=2))
    return np.where(narrow, peak + 0.5 * np.log(2.0 * np.pi / curve), summed)


def _update(
    profiles: Sequence[_Profile],
    channels: Sequence[Channel],
    grid: np.ndarray,
    shared: Shared,
) -> Shared:
    """One step of expectation maximisation for growth laws and rates."""
    _, share, best, pairs = _marginal(profiles, channels, grid, shared)
    n = len(share)
    allowed = np.isfinite(shared.log_weights)
    counts = np.where(allowed, 0.5 / allowed.sum(), 0.0)
    for k, pair in enumerate(pairs):
        counts[pair] += share[:, k].sum()
    log_weights = np.full(counts.shape, -np.inf)
    log_weights[allowed] = np.log(counts[allowed] / counts.sum())
    top = np.argmax(share, axis=1)
    rows = np.arange(n)
    where = best[rows, top]
    reference = float(np.median(grid[where]))
    rises = []
    for c, (profile, channel) in enumerate(zip(profiles, channels, strict=True)):
        power_index = np.array([pairs[k][c] for k in top])
        amplitude = profile.amplitude[rows, power_index, where]
        power = np.asarray(channel.powers)[power_index]
        rises.append(np.log(np.maximum(amplitude, 1e-30)) + power * np.log(reference))
    resolved = grid[where] >= 1.0  # growth inside one interval does not tell its rate
    if resolved.sum() < 10 or np.mean(resolved) < 0.8:
        # the resolved ones would be the slow ones only: hardly anything is said of the rates
        return replace(
            shared,
            log_weights=log_weights,
            reference=reference,
            rate_mean=np.median(np.stack(rises), axis=1),
            rate_cov=_VAGUE * np.eye(len(rises)),
        )
    table = np.stack(rises)[:, resolved]
    centre = np.median(table, axis=1)
    spread = 1.4826 * np.median(np.abs(table - centre[:, None]), axis=1) + 1e-3
    inside = np.all(np.abs(table - centre[:, None]) < 3.5 * spread[:, None], axis=0)
    cov = np.atleast_2d(np.cov(table[:, inside])) + 1e-4 * np.eye(len(table))
    return replace(
        shared,
        log_weights=log_weights,
        reference=reference,
        rate_mean=table[:, inside].mean(axis=1),
        rate_cov=cov,
    )


__all__ = [
    "CURRENT_POWERS",
    "HEIGHT_POWERS",
    "Channel",
    "Fit",
    "Shared",
    "fit_onsets",
    "learn_shared",
    "start_shared",
]
