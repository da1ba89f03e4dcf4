"""What follows from the sizes and places of particles: populations, amounts, zones."""

import numpy as np
import pytest
from nucleation_bluesky.analysis.particle_images import (
    by_zone,
    centre_and_edge,
    compare_zones,
    deposit_of_spheres,
    fit_sizes,
    growth_rate,
    measure_labels,
    size_histogram,
)


def test_one_population_is_one_gaussian():
    chosen = [
        fit_sizes(np.random.default_rng(k).normal(80e-9, 23e-9, 400)).components for k in range(20)
    ]
    assert np.mean(np.array(chosen) == 1) >= 0.9


def test_two_populations_are_told_apart():
    rng = np.random.default_rng(3)
    sizes = np.concatenate([rng.normal(50e-9, 8e-9, 300), rng.normal(110e-9, 15e-9, 200)])
    model = fit_sizes(sizes)
    assert model.components == 2
    np.testing.assert_allclose(model.mean, [50e-9, 110e-9], rtol=0.05)
    np.testing.assert_allclose(model.sd, [8e-9, 15e-9], rtol=0.2)
    np.testing.assert_allclose(model.weight, [0.6, 0.4], atol=0.05)
    assert model.bic[2] < model.bic[1]
    grid = np.linspace(0, 250e-9, 2001)
    assert np.trapezoid(model.density(grid), grid) == pytest.approx(1, abs=0.01)


def test_histogram_counts_everything():
    d = np.random.default_rng(0).normal(50, 5, 200)
    count, edges = size_histogram(np.append(d, np.nan))
    assert count.sum() == 200
    assert edges.size == count.size + 1


def test_too_few_sizes():
    with pytest.raises(ValueError, match="three"):
        fit_sizes(np.array([1.0, 2.0]))


def test_lithium_amount_and_efficiency():
    # 45.0 nC are 466.4 fmol of electrons; 91.7 fmol of lithium are an efficiency of 19.7 %
    volume = 91.7e-15 * 6.941e-3 / 534.0
    diameter = (volume * 6 / np.pi / 1000) ** (1 / 3)
    found = deposit_of_spheres(np.full(1000, diameter), charge=-45.0e-9)
    assert found.amount == pytest.approx(91.7e-15)
    assert found.faradaic_efficiency == pytest.approx(0.197, abs=0.0005)
    assert np.isnan(deposit_of_spheres(np.array([diameter])).faradaic_efficiency)
    with pytest.raises(ValueError, match="zero"):
        deposit_of_spheres(np.array([diameter]), charge=0)


def test_growth_rate():
    assert growth_rate(60e-9, 60.0, 17.0) == pytest.approx(60e-9 / 43)
    with pytest.raises(ValueError, match="ended before"):
        growth_rate(60e-9, 5.0, 6.0)


def discs(positions, radii, shape):
    labels = np.zeros(shape, dtype=int)
    rows, cols = np.indices(shape)
    for k, ((r, c), radius) in enumerate(zip(positions, radii, strict=True), 1):
        labels[np.hypot(rows - r, cols - c) < radius] = k
    return labels


def test_zones_of_a_footprint():
    rows, cols = np.indices((200, 200))
    footprint = np.hypot(rows - 100, cols - 100) < 90
    zones = centre_and_edge(footprint, 0.5)
    assert zones["edge"].sum() == pytest.approx(footprint.sum() / 2, rel=0.03)
    assert not (zones["centre"] & zones["edge"]).any()
    assert zones["centre"][100, 100]
    assert zones["edge"][100, 12]
    angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    ring = [(100 + 78 * np.sin(a), 100 + 78 * np.cos(a)) for a in angle]
    inner = [(100 + 30 * np.sin(a), 100 + 30 * np.cos(a)) for a in angle[::2]]
    labels = discs(ring + inner, [6] * 12 + [4] * 6, (200, 200))
    table = measure_labels(labels, pixel_size=10e-9)
    found = by_zone(table, zones)
    assert found["edge"].count == 12
    assert found["centre"].count == 6
    assert found["edge"].density == pytest.approx(12 / (zones["edge"].sum() * 1e-16))
    low, high = found["edge"].density_interval
    assert low < found["edge"].density < high
    assert found["edge"].mean_diameter == pytest.approx(120e-9, rel=0.05)
    compared = compare_zones(table, found["edge"], found["centre"])
    assert compared.differs()
    assert compared.ratio == pytest.approx(1.5, rel=0.05)


def test_equal_zones_do_not_differ():
    rng = np.random.default_rng(4)
    centres = [(20 + 30 * i, 20 + 30 * j) for i in range(6) for j in range(6)]
    table = measure_labels(discs(centres, rng.normal(9, 1, 36), (200, 200)))
    left = np.zeros((200, 200), dtype=bool)
    left[:, :100] = True
    found = by_zone(table, {"protrusion": left, "flat": ~left})
    assert not compare_zones(table, found["protrusion"], found["flat"]).differs(0.01)


def test_zone_errors():
    table = measure_labels(np.ones((20, 20), dtype=int))
    with pytest.raises(ValueError, match="shape"):
        by_zone(table, {"a": np.ones((3, 3), dtype=bool)})
    with pytest.raises(ValueError, match="empty"):
        by_zone(table, {"a": np.zeros((20, 20), dtype=bool)})
    with pytest.raises(ValueError, match="empty"):
        centre_and_edge(np.zeros((20, 20), dtype=bool))
