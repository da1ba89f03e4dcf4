"""What the sites of one instrument share, learnt from all of them (empirical Bayes).

The channels' time constants, how probable each growth law is, and the joint distribution of
growth rates in current and height.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy.optimize import minimize

from nucleation_bluesky.analysis.growth import templates
from nucleation_bluesky.analysis.onset import Fit, fit_onsets
from nucleation_bluesky.analysis.onset_model import (
    Channel,
    Profile,
    Shared,
    law_pairs,
    log_posterior,
    profile_channel,
    start_shared,
    trial_onsets,
)
from nucleation_bluesky.analysis.parallel import spread

_VAGUE = 9.0  # variance of the log of a growth rate of which nothing is known
_LEADS = (0.0, 0.05, 0.1, 0.17, 0.27)  # shares of the growth seen
_LEAD_SCALE = 0.1


@dataclass(frozen=True)
class Pole:
    """What is known of a channel's time constant before its sites are looked at.

    Parameters
    ----------
    centre : float
        Binned samples.
    spread : float
        Standard deviation of its logarithm; 0 where it was told.
    """

    centre: float
    spread: float = 0.0

    @property
    def told(self) -> bool:
        """Whether there is nothing left to find."""
        return self.spread == 0.0

    def log_prior(self, pole: float) -> float:
        """Log density at a trial, without its constant."""
        if self.told:
            return 0.0
        return -0.5 * (np.log(pole / self.centre) / self.spread) ** 2


def learn_shared(channels: Sequence[Channel], poles: Sequence[Pole], binning: int = 1) -> Shared:
    """Estimate what the sites share, from sites with clear growth.

    The laws of a growing hemisphere are used unless free powers explain the median site better by
    more than four units of log likelihood; a free power and a time constant are nearly
    interchangeable, so freedom is taken only where most sites ask for it.

    A nucleus that begins with a finite radius looks as if its channels were faster: the data fix
    the time constants less the ``lead`` that this radius stands for, very sharply, but hardly
    the lead itself. What is known of the time constants decides between them.

    Parameters
    ----------
    channels : sequence of Channel
        Windows of sites with clear growth.
    poles : sequence of Pole
        What is known of each channel's time constant.
    binning : int
        Raw samples in a binned one.
    """
    n = len(channels[0].data)
    start = tuple(p.centre for p in poles)
    if not n:
        return start_shared(channels, start)
    base = replace(start_shared(channels, start), binning=binning)
    strict, _ = _learn(channels, poles, base, 1, 0.5)
    mismatch = _mismatch(fit_onsets(channels, strict, ratio=1.05), channels)
    channels = [replace(ch, mismatch=m) for ch, m in zip(channels, mismatch, strict=True)]
    base = replace(base, mismatch=mismatch, poles=strict.poles)
    typical, before = strict.reference, 0.0
    trials: list[tuple[float, float, Shared]] = []
    for share in _LEADS:
        lead = share * typical
        moved = tuple(
            q if p.told else q + lead - before for p, q in zip(poles, base.poles, strict=True)
        )
        other, score = _learn(channels, poles, replace(base, lead=lead, poles=moved), 1)
        base, before = replace(base, poles=other.poles), lead
        trials.append((lead, score, other))
    lead, lead_sd = _typical_lead(trials, n, poles)
    nearest = min(trials, key=lambda t: abs(t[0] - lead))
    moved = tuple(
        q if p.told else max(q + lead - nearest[0], 1e-3)
        for p, q in zip(poles, nearest[2].poles, strict=True)
    )
    strict, _ = _learn(channels, poles, replace(base, lead=lead, poles=moved), 2)
    if all(p.told for p in poles):
        # an onset moves by about half of what the first radius stands for
        shifted = 0.5 * lead_sd
    else:
        # lead and time constants move together; what is left between them moves the onset
        apart = [[q - t[0] for p, q in zip(poles, t[2].poles, strict=True)] for t in trials]
        shifted = 0.5 * float(np.max(np.std(np.array(apart), axis=0)))
    strict = replace(strict, pole_sd=float(np.hypot(strict.pole_sd, shifted)))
    fit = fit_onsets(channels, strict, ratio=1.05)
    dof = channels[0].data.shape[1] - 4
    if float(np.median(np.sum(fit.misfit - 1.0, axis=1))) * dof < 4.0:
        return strict  # nothing left that freedom could explain
    free, _ = _learn(
        channels,
        poles,
        replace(start_shared(channels, start, False), binning=binning, mismatch=mismatch),
        2,
        0.5,
    )
    # most sites have to gain, not a few strong ones
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


def _typical_lead(
    trials: list[tuple[float, float, Shared]], sites: int, poles: Sequence[Pole]
) -> tuple[float, float]:
    """Mean and standard deviation of the lead over the trials, weighted by their scores.

    All sites share the error of the growth law, so a sum over sites overstates what is known:
    scores count per two sites. A critical nucleus is small beside the growth that is seen.
    """
    lead, score = (np.array([t[k] for t in trials], dtype=float) for k in (0, 1))
    width = np.gradient(lead)
    log = (score - score.max()) / max(0.5 * sites, 1.0)
    for k, (_, _, shared) in enumerate(trials):
        log[k] += sum(p.log_prior(q) for p, q in zip(poles, shared.poles, strict=True))
    if not all(p.told for p in poles):
        log -= np.array(_LEADS) / _LEAD_SCALE
    weight = np.exp(log - log.max()) * width
    weight /= weight.sum()
    mean = float(weight @ lead)
    return mean, float(np.sqrt(weight @ (lead - mean) ** 2))


def _learn(
    channels: Sequence[Channel],
    known: Sequence[Pole],
    shared: Shared,
    rounds: int,
    reach: float = 0.15,
) -> tuple[Shared, float]:
    """Alternate between time constants and the distribution of growth laws and rates."""
    w = channels[0].data.shape[1]
    grid = trial_onsets(w, 1.05)
    n = len(channels[0].data)

    @lru_cache(maxsize=256)
    def profile(c: int, pole: float) -> Profile:
        shapes = templates(grid, w, shared.laws[c], pole, shared.lead, shared.binning)
        return profile_channel(channels[c], shapes)

    def profiles(poles: tuple[float, ...]) -> list[Profile]:
        return spread(lambda c: profile(c, poles[c]), range(len(poles)))

    def score(poles: tuple[float, ...]) -> float:
        total = _marginal(profiles(poles), grid, shared)[0]
        for told, pole in zip(known, poles, strict=True):
            if not told.told:
                # a long time constant mimics a higher power: half a unit per site and e-fold
                total -= 0.5 * n * float(np.log(max(pole / 2.0, 1.0)))
                total += told.log_prior(pole)
        return total

    poles, deviation = shared.poles, 0.0
    for step in range(rounds):
        shared = _update(profiles(poles), grid, shared)
        poles, deviation = _search_poles(score, poles, known, reach if step == 0 else 0.1)
    shared = _update(profiles(poles), grid, shared)
    total = _marginal(profiles(poles), grid, shared)[0]
    # an onset moves by at most the change of the pole that dominates its evidence
    return replace(shared, poles=poles, pole_sd=0.5 * deviation), total


def _search_poles(
    score: Callable[[tuple[float, ...]], float],
    poles: tuple[float, ...],
    known: Sequence[Pole],
    reach: float,
) -> tuple[tuple[float, ...], float]:
    """Find the time constants that nobody told, all at once: their difference is the sharpest.

    Returns the best and the standard deviation that a change of all of them by one unit of log
    likelihood stands for.
    """
    free = [c for c, p in enumerate(known) if not p.told]
    if not free:
        return poles, 0.0

    def filled(x: np.ndarray) -> tuple[float, ...]:
        out = list(poles)
        for c, value in zip(free, x, strict=True):
            out[c] = float(np.exp(np.clip(value, -6.0, 3.0)))
        return tuple(out)

    begin = np.log(np.maximum([poles[c] for c in free], 0.02))
    simplex = np.concatenate([begin[None], begin[None] + reach * np.eye(len(free))])
    simplex[0] -= reach / 3.0
    found = minimize(
        lambda x: -score(filled(x)),
        begin,
        method="Nelder-Mead",
        options={"initial_simplex": simplex, "maxfev": 30, "xatol": 0.03, "fatol": 1.0},
    )
    best = filled(found.x)
    lower = score(filled(found.x - 0.1))
    curvature = max(2.0 * (-float(found.fun) - lower), 1e-3) / 0.01
    return best, float(max(best[c] for c in free) / np.sqrt(curvature))


def _marginal(
    profiles: Sequence[Profile],
    grid: np.ndarray,
    shared: Shared,
) -> tuple[float, np.ndarray, np.ndarray, list[tuple[int, ...]]]:
    """Return summed log marginal likelihood, responsibilities of pairs, best grid index by pair."""
    pairs = law_pairs(shared)
    posterior, _ = log_posterior(profiles, pairs, grid, shared)
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
    profiles: Sequence[Profile],
    grid: np.ndarray,
    shared: Shared,
) -> Shared:
    """One step of expectation maximisation for growth laws and rates."""
    _, share, best, pairs = _marginal(profiles, grid, shared)
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
    for c, profile in enumerate(profiles):
        law_index = np.array([pairs[k][c] for k in top])
        amplitude = profile.amplitude[rows, law_index, where]
        unit = np.array([float(law.value(reference)) for law in shared.laws[c]])[law_index]
        rises.append(np.log(np.maximum(amplitude, 1e-30)) + np.log(unit))
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
