"""Electrochemical records with known answers, independent of the virtual instrument."""

import numpy as np
from nucleation_bluesky.analysis.seccm.trace import Trace

PERIOD = 2.57e-3


def plating(
    e_nuc=-0.135, e_growth=-0.022, t_nuc=3.8, duration=15.0, *, current=-3e-9, noise=2e-3,
    fall=None, overload=0, seed=0, e_start=1.2,
):  # fmt: skip
    """Galvanostatic transient: two-stage fall, kink at t_nuc, exponential relaxation."""
    rng = np.random.default_rng(seed)
    t = np.arange(0, duration, PERIOD)
    x = np.clip(t / t_nuc, 0, 1)
    before = e_nuc + (e_start - e_nuc) * (0.55 * np.exp(-18 * x) + 0.45 * (1 - x) ** 1.5)
    after = e_growth + (e_nuc - e_growth) * np.exp(-(t - t_nuc) / (t_nuc / 4))
    potential = np.where(t < t_nuc, before, after)
    if fall is not None:
        potential -= np.where(t > fall, 0.15 * (t - fall), 0)
    potential += noise * rng.normal(size=t.size)
    measured = current * (1 + 1e-3 * rng.normal(size=t.size))
    if overload:
        t = np.arange(t.size + overload) * PERIOD
        potential = np.concatenate([np.full(overload, 10.0), potential])
        measured = np.concatenate([1e-13 * rng.normal(size=overload), measured])
    return Trace(t, potential, measured)


def _peak(x, centre, width):
    return np.exp(-0.5 * ((x - centre) / width) ** 2) / width / np.sqrt(2 * np.pi)


def voltammogram(
    *, start=1.47, first=-1, cycles=4, rate=0.1, low=-0.27, high=1.47, plated=12e-9, noise=30e-12,
    hold=0.0, end=None, seed=0, spike=None,
):  # fmt: skip
    """Cyclic voltammogram that plates below -0.13 V in both directions; returns the true CE."""
    rng = np.random.default_rng(seed)
    vertices, level, direction = [], start, first
    for _ in range(2 * cycles):
        target = low if direction < 0 else high
        vertices.append(target)
        level, direction = target, -direction
    vertices += [] if end is None else [end]
    parts, level = [np.full(round(hold / PERIOD), start)], start
    signs = [np.zeros(round(hold / PERIOD))]
    for vertex in vertices:
        n = int(abs(vertex - level) / rate / PERIOD)
        parts.append(np.linspace(level, vertex, n, endpoint=False))
        signs.append(np.full(n, np.sign(vertex - level)))
        level = vertex
    parts.append(np.full(round(hold / PERIOD) + 1, level))
    signs.append(np.zeros(round(hold / PERIOD) + 1))
    potential, sign = np.concatenate(parts), np.concatenate(signs)
    t = np.arange(len(potential)) * PERIOD
    current = np.zeros_like(t)
    plating_now = potential < -0.13
    edges = np.diff(np.concatenate([[False], plating_now, [False]]).astype(int))
    begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    truth = []
    for k, (a, b) in enumerate(zip(begins, ends, strict=True)):
        shape = -0.13 - potential[a:b]
        current[a:b] -= plated * shape / (shape.sum() * PERIOD)
        after = np.arange(b, begins[k + 1] if k + 1 < len(begins) else len(t))
        after = after[sign[after] > 0]
        strip = sum(
            w * _peak(potential[after], c, s)
            for w, c, s in ((0.4, 0.18, 0.04), (0.3, 0.32, 0.04), (0.3, 0.82, 0.08))
        )
        ce = 0.25 + 0.6 * (1 - np.exp(-k / 3))
        current[after] += ce * plated * rate * strip
        truth.append(ce * strip.sum() * rate * PERIOD if after.size else np.nan)
    potential = potential + 1e-3 * rng.normal(size=t.size)
    current = current + noise * rng.normal(size=t.size)
    if spike is not None:
        potential[spike] += 3.0
    return Trace(t, potential, current), np.array(truth)


def levels(values, durations, *, noise, seed=0):
    """Piecewise constant record of one quantity."""
    rng = np.random.default_rng(seed)
    parts = [np.full(round(d / PERIOD), v) for v, d in zip(values, durations, strict=True)]
    record = np.concatenate(parts)
    return record + noise * rng.normal(size=record.size)
