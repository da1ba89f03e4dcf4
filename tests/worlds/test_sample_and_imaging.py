"""Sample, deposits, topography and stage."""

import math

import numpy as np
import pytest
from nucleation_bluesky.worlds.afm.grains import Grains
from nucleation_bluesky.worlds.afm.imaging import dilate, take_image
from nucleation_bluesky.worlds.afm.parameters import AfmWorldParameters
from nucleation_bluesky.worlds.afm.sample import Sample
from nucleation_bluesky.worlds.afm.stage import Stage

P = AfmWorldParameters()


@pytest.mark.parametrize("seed", [0, 1])
def test_grains_cover_their_share(seed):
    axis = np.arange(-5e-6, 5e-6, 20e-9)
    mask = Grains(seed, P).distance_grid(axis, axis) < 0
    assert mask.mean() == pytest.approx(0.22, abs=0.02)


def test_distance_at_points_is_that_of_the_grid_and_exact_outside():
    grains = Grains(3, P)
    axis = np.arange(-0.7e-6, 0.7e-6, 4e-9)
    grid = grains.distance_grid(axis, axis, reach=400e-9)
    rows, cols = np.nonzero(grid < 0)
    edge = np.column_stack([axis[cols], axis[rows]])
    for i, j in ((40, 60), (200, 100), (170, 300), (320, 20)):
        x, y = axis[i], axis[j]
        assert grains.distance(x, y) == pytest.approx(grid[j, i], abs=1e-15)
        if 0 < grid[j, i] < 100e-9:
            nearest = np.hypot(edge[:, 0] - x, edge[:, 1] - y).min()
            assert grid[j, i] == pytest.approx(nearest, abs=6e-9)


def test_no_grains():
    sample = Sample(0, AfmWorldParameters(grain_fraction=0))
    assert not sample.site(1e-6, 2e-6).on_alpo4
    assert sample.grains.distance(0, 0) > 0


def test_properties_vary_as_stated():
    sample = Sample(0, AfmWorldParameters(grain_fraction=0))
    rng = np.random.default_rng(1)
    sites = [sample.site(*xy) for xy in rng.uniform(-20e-6, 20e-6, (3000, 2))]
    for values, median, spread in (
        ([s.barrier for s in sites], 3.2, 0.30),
        ([s.law.conductivity for s in sites], 1e-2, 0.5),
        ([s.law.interface_resistance for s in sites], 2.2e-5, 0.3),
    ):
        assert np.std(np.log(values)) == pytest.approx(spread, rel=0.08)
        assert np.median(values) == pytest.approx(median, rel=0.05)


def test_boundary_lowers_barrier_and_equilibrium():
    sample = Sample(0, AfmWorldParameters(barrier_spread=0))
    for x in np.linspace(-1e-6, 1e-6, 50):
        site = sample.site(float(x), 0.1e-6)
        near = math.exp(-max(site.distance, 0) / 30e-9)
        assert site.barrier == pytest.approx(3.2 * (1 - 0.62 * near))
        assert site.equilibrium == pytest.approx(3.04 - 0.06 * near)


@pytest.mark.parametrize(("radius", "factor"), [(10e-9, 1.8), (1e-6, 1.07)])
def test_tip_shape_inflates_particles_as_published(radius, factor):
    step = radius / 40
    axis = np.arange(-2.5 * radius, 2.5 * radius, step)
    square = radius**2 - axis[None, :] ** 2 - axis[:, None] ** 2
    surface = np.sqrt(np.maximum(square, 0))
    seen = dilate(surface, step, P.tip_radius, P.tip_half_angle)
    assert seen.max() == pytest.approx(radius, rel=1e-3)
    ratio = seen.sum() / surface.sum()
    assert ratio == pytest.approx(factor, rel=0.05)


def image(sample, parameters=P, time=0.0, number=1, **changes):
    stage = Stage(0, parameters)
    options = {"centre": (0.0, 0.0), "size": 1.6e-6, "pixels": 128} | changes
    return take_image(
        0, number, sample, stage, parameters, options["centre"], options["size"],
        options["pixels"], time,
    )  # fmt: skip


def levelled(z):
    rows, cols = np.indices(z.shape)
    design = np.column_stack([rows.ravel(), cols.ravel(), np.ones(z.size)])
    return z - (design @ np.linalg.lstsq(design, z.ravel(), rcond=None)[0]).reshape(z.shape)


def test_grains_are_seen_where_they_are_with_rows_along_y():
    sample = Sample(0, P)
    z = levelled(image(sample))
    axis = (np.arange(128) - 63.5) * 1.6e-6 / 128
    mask = sample.grains.distance_grid(axis, axis) < 0
    assert z[mask].mean() - z[~mask].mean() == pytest.approx(12e-9, rel=0.2)
    assert abs(z.T[mask].mean() - z.T[~mask].mean()) < 6e-9


def test_deposits_and_swelling_appear():
    sample = Sample(0, AfmWorldParameters(grain_fraction=0))
    before = image(sample)
    for x in np.arange(-300e-9, 300e-9, 20e-9):
        for y in np.arange(-300e-9, 300e-9, 20e-9):
            sample.deposits.put(-1, x, y, 9e-9)
    sample.deposits.put(-1, 600e-9, -600e-9, 60e-9)
    change = levelled(image(sample, number=2)) - levelled(before)
    change -= np.median(change[:10])
    axis = (np.arange(128) - 63.5) * 1.6e-6 / 128
    column, row = (int(np.argmin(abs(axis - v))) for v in (600e-9, -600e-9))
    assert change[row, column] == pytest.approx(60e-9, abs=4e-9)
    inside = np.ix_(abs(axis) < 240e-9, abs(axis) < 240e-9)
    assert np.quantile(change[inside], 0.98) > 12e-9
    dense = Sample(0, AfmWorldParameters(grain_fraction=0, swelling=0, swelling_spread=0))
    for x in np.arange(-300e-9, 300e-9, 20e-9):
        for y in np.arange(-300e-9, 300e-9, 20e-9):
            dense.deposits.put(-1, x, y, 9e-9)
    fine = np.arange(-200e-9, 200e-9, 4e-9)
    swelling = sample.surface(fine, fine) - dense.surface(fine, fine)
    assert 6e-9 < swelling.max() < 15e-9


def test_an_isolated_nucleus_swells_nothing_to_speak_of():
    sample = Sample(0, P)
    axis = np.arange(-400e-9, 400e-9, 4e-9)
    bare = sample.surface(axis, axis)
    sample.deposits.put(-1, 0.0, 0.0, 10e-9)
    volume = (sample.surface(axis, axis) - bare).sum() * (4e-9) ** 2
    assert volume == pytest.approx(2 / 3 * np.pi * 1e-24, rel=0.15)


def test_deposits_are_found_and_updated():
    deposits = Sample(0, P).deposits
    for k in range(200):
        deposits.put(-1, k * 100e-9, 0.0, 10e-9)
    assert len(deposits) == 200
    assert deposits.find(500e-9 + 9e-9, 0, 0) == 5
    assert deposits.find(550e-9, 0, 0) == -1
    deposits.put(5, 0, 0, 0.0)
    assert deposits.find(500e-9, 0, 0) == -1


def test_a_deposit_is_found_among_those_of_a_long_session():
    """They are looked at in parts: of the whole the deepest counts, of equals the first."""
    deposits = Sample(0, P).deposits
    for k in range(9_000):
        deposits.put(-1, k * 100e-9, 0.0, 10e-9)
    deposits.put(-1, 500e-9, 0.0, 12e-9)
    deposits.put(-1, 600e-9, 0.0, 10e-9)
    assert [deposits.find(k * 100e-9, 0, 0) for k in (4_095, 4_096, 8_999)] == [4_095, 4_096, 8_999]
    assert deposits.find(500e-9, 0, 0) == 9_000
    assert deposits.find(600e-9, 0, 0) == 6
    for k in range(40_000 - len(deposits)):  # more than there was room for
        deposits.put(-1, k * 100e-9, 1e-6, 10e-9)
    assert deposits.find(500e-9, 1e-6, 0) == 9_007
    assert deposits.find(500e-9, 0, 0) == 9_000


def test_image_moves_with_the_drift():
    parameters = AfmWorldParameters(drift_x=20e-12, drift_y=0, drift_wander=0, image_line_noise=0)
    sample = Sample(0, parameters)
    first = levelled(image(sample, parameters))
    later = levelled(image(sample, parameters, time=5000.0, number=2))  # 100 nm, 8 pixels
    aligned = np.corrcoef(first[:, 8:].ravel(), later[:, :-8].ravel())[0, 1]
    assert aligned > 0.97
    assert np.corrcoef(first.ravel(), later.ravel())[0, 1] < aligned - 0.05


def test_stage_settles_and_creeps():
    parameters = AfmWorldParameters(stage_noise=0)
    stage = Stage(0, parameters)
    arrival = stage.axes["x"].move(10e-6, 0.0)
    assert arrival == pytest.approx(0.5)
    assert stage.axes["x"].position(0.25) == pytest.approx(5e-6, rel=0.02)
    early = stage.axes["x"].position(arrival + 0.005)
    late = stage.axes["x"].position(arrival + 20.0)
    assert late == pytest.approx(10e-6, abs=1e-11)
    assert 10e-9 < abs(early - late) < 60e-9  # creep after a large move
    stage.axes["x"].move(10e-6 + 20e-9, 30.0)
    assert stage.axes["x"].position(30.01) == pytest.approx(10e-6 + 20e-9, abs=0.2e-9)
    stage.axes["y"].move(1e-6, 0.0)
    stage.axes["y"].stop(0.025)
    assert stage.axes["y"].position(1.0) == pytest.approx(0.48e-6, abs=0.05e-6)


def test_drift_separates_stage_and_sample():
    parameters = AfmWorldParameters(drift_x=1e-12, drift_y=0, drift_wander=0)
    stage = Stage(0, parameters)
    assert stage.under_tip(1000.0)[0] == pytest.approx(1e-9)
    assert stage.axes["x"].position(1000.0) == 0
