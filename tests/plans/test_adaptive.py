"""The adaptive ramp against onsets drawn from the classical hazard (Kumar et al. twin values)."""

import math

import numpy as np
import pytest
from nucleation_bluesky.contract.enums import Termination
from nucleation_bluesky.plans.adaptive import (
    AdaptiveRamp,
    AdaptiveSettings,
    StopBiasPredictor,
    tail_quantile,
)
from scipy.ndimage import distance_transform_edt, gaussian_filter

RATE, END, PITCH, PIXEL = 1.2, 4.2, 20e-9, 5e-9
GRID = np.linspace(2.9, END, 1301)


def sample(n, seed):
    """Grains, barrier, equilibrium potential and each site's exponential threshold."""
    rng = np.random.default_rng(seed)
    side = int(n * PITCH / PIXEL)
    y, x = np.mgrid[:side, :side] * PIXEL
    grains = np.zeros((side, side), bool)
    while grains.mean() < 0.2:
        cx, cy = rng.uniform(0, side * PIXEL, 2)
        grains |= np.hypot(x - cx, y - cy) < 130e-9 * rng.lognormal(0, 0.2)
    gap = distance_transform_edt(~grains) * PIXEL
    field = gaussian_filter(rng.normal(size=grains.shape), 60e-9 / PIXEL / math.sqrt(2))
    barrier = 3.2 * (1 - 0.62 * np.exp(-gap / 30e-9)) * np.exp(0.3 * field / field.std())
    pick = slice(0, None, int(PITCH / PIXEL))
    equilibrium = 3.04 - 0.06 * np.exp(-gap / 30e-9)
    threshold = rng.exponential(size=(n, n))
    return grains[pick, pick], barrier[pick, pick], equilibrium[pick, pick], threshold


def onset(rate, barrier, equilibrium, threshold):
    eta = np.clip(GRID - equilibrium, 1e-3, None)
    hazard = 6e3 * np.exp(-barrier / eta**2) * (equilibrium < GRID)
    total = np.cumsum(hazard[:-1] * np.diff(GRID) / rate[:-1])
    k = int(np.searchsorted(total, threshold))
    return GRID[k] if k < len(total) else None


def measure(n, seed, order, glitches=0.003):
    grains, barrier, equilibrium, threshold = sample(n, seed)
    rng = np.random.default_rng(seed + 100)
    ramp = AdaptiveRamp(
        start=0.0,
        end=-END,
        rate=RATE,
        spacing=PITCH,
        settings=AdaptiveSettings(fast_rate=6.0, settle=0.02),
    )
    sequence = rng.permutation(n * n) if order == "random" else np.arange(n * n)
    time_constant = time_adaptive = 0.0
    shifts, flagged = [], 0
    for k in sequence:
        at = divmod(int(k), n)
        x, y = at[1] * PITCH, at[0] * PITCH
        approach = ramp.decide(x, y)
        fast_end = 0.0 if math.isnan(approach.fast_end) else -approach.fast_end
        law = (barrier[at], equilibrium[at], threshold[at])
        slow = onset(np.full(GRID.shape, RATE), *law) if not grains[at] else None
        seen = onset(np.where(fast_end > GRID, 6.0, RATE), *law) if not grains[at] else None
        if slow is not None and seen is not None:
            shifts.append(seen - slow)
        stop, rise = seen, rng.normal(8e-9, 1e-9)
        if rng.random() < glitches:
            spike = rng.uniform(0, END)
            if stop is None or spike < stop:
                stop, rise = spike, rng.normal(0, 5e-10)
        early = stop is not None and stop < fast_end
        flagged += early
        end = END if stop is None else stop
        time_constant += (END if slow is None else slow) / RATE
        time_adaptive += min(end, fast_end) / 6.0 + max(end - fast_end, 0) / RATE
        ramp.learn(
            x,
            y,
            termination=Termination.COMPLETED if stop is None else Termination.CURRENT_COMPLIANCE,
            stop_bias=-end,
            height_change=rise,
            flagged=early,
        )
    assert ramp.n_flagged == flagged
    return 1 - time_adaptive / time_constant, float(np.mean(shifts)), flagged / n**2


@pytest.mark.parametrize(("order", "seed"), [("raster", 0), ("random", 1)])
def test_saves_time_without_moving_the_onset(order, seed):
    saved, shift, flagged = measure(30, seed, order)
    assert saved >= 0.60
    assert shift <= 1e-3
    assert flagged <= 0.01


def test_starts_at_a_constant_rate_until_it_knows_enough():
    settings = AdaptiveSettings(fast_rate=6.0, first_sites=25)
    ramp = AdaptiveRamp(start=0.0, end=-4.2, rate=1.2, spacing=PITCH, settings=settings)
    rng = np.random.default_rng(0)
    lengths = []
    for k in range(40):
        lengths.append(len(ramp.decide(k * PITCH, 0.0).vertices))
        ramp.learn(
            k * PITCH,
            0.0,
            termination=Termination.CURRENT_COMPLIANCE,
            stop_bias=-rng.normal(3.7, 0.05),
            height_change=8e-9,
        )
    assert lengths[:25] == [1] * 25
    assert lengths[-1] == 2
    last = ramp.decide(40 * PITCH, 0.0)
    assert last.rates == (6.0, 1.2)
    assert -3.7 < last.fast_end < -3.0
    assert last.vertices == (last.fast_end, -4.2)


def test_positive_ramps_are_mirrored():
    rng = np.random.default_rng(3)
    values = rng.normal(3.7, 0.05, 60)
    ends = []
    for sign in (1, -1):
        ramp = AdaptiveRamp(
            start=0.0,
            end=sign * 4.2,
            rate=1.2,
            spacing=1.0,
            settings=AdaptiveSettings(fast_rate=6),
        )
        for k, value in enumerate(values):
            ramp.learn(
                k, 0, termination=Termination.HEIGHT_COMPLIANCE, stop_bias=sign * float(value)
            )
        ends.append(ramp.decide(61, 0).fast_end)
    assert ends[0] == pytest.approx(-ends[1])


def test_sites_that_did_not_nucleate_teach_no_bias_but_are_remembered():
    predictor = StopBiasPredictor(spacing=1.0)
    for k in range(30):
        predictor.learn(k, 0, 3.7)
        predictor.learn(k, 10, None)
    assert predictor.predict(15, 9) == pytest.approx(3.7)
    assert predictor.beside_empty(15, 9)
    assert not predictor.beside_empty(15, 0)


def test_the_length_scale_is_learned():
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:14, :14]
    smooth = 3.7 + 0.1 * np.sin(x / 4) * np.cos(y / 5)
    found = []
    for field in (smooth, 3.7 + 0.1 * rng.normal(size=x.shape)):
        predictor = StopBiasPredictor(spacing=1.0)
        for px, py, value in zip(x.ravel(), y.ravel(), field.ravel(), strict=True):
            predictor.learn(float(px), float(py), float(value))
        found.append(predictor)
    error_smooth = abs(found[0].predict(7.0, 7.0) - smooth[7, 7])
    assert error_smooth < 0.02
    # white noise: the best prediction is near the common level, not the neighbour's value
    assert abs(found[1].predict(13.0, 14.0) - 3.7) < 0.06


@pytest.mark.parametrize("probability", [0.002, 0.01])
def test_tail_quantile_covers(probability):
    rng = np.random.default_rng(0)
    exceeded = [
        np.mean(rng.gumbel(size=2000) > tail_quantile(rng.gumbel(size=60), probability))
        for _ in range(200)
    ]
    assert np.mean(exceeded) < 1.3 * probability


def test_amplifier_glitches_teach_nothing():
    settings = AdaptiveSettings(fast_rate=6.0)
    ramp = AdaptiveRamp(start=0, end=-4.2, rate=1.2, spacing=1.0, settings=settings)
    for k in range(30):
        ramp.learn(
            k,
            0,
            termination=Termination.CURRENT_COMPLIANCE,
            stop_bias=-3.7,
            height_change=8e-9,
        )
    ramp.learn(
        31, 0, termination=Termination.CURRENT_COMPLIANCE, stop_bias=-0.5, height_change=1e-10
    )
    assert ramp.predictor.n_nucleated == 30


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fast_rate": float("nan")}, "fast rate"),
        ({"fast_rate": 0}, "fast rate"),
        ({"fast_rate": 6, "risk": 0}, "risk"),
        ({"fast_rate": 6, "first_sites": 3}, "first_sites"),
        ({"fast_rate": 6, "settle": -1}, "settle"),
        ({"fast_rate": 1.0}, "greater than the measuring rate"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(ValueError, match=message):
        AdaptiveRamp(start=0, end=-4.2, rate=1.2, spacing=1.0, settings=AdaptiveSettings(**options))
