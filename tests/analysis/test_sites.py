"""Onsets, their uncertainty and classifications against independent synthetic instruments."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from nucleation_bluesky.analysis.background import pole_from_noise, structure_function
from nucleation_bluesky.analysis.ramps import RampSet
from nucleation_bluesky.analysis.site_results import SiteParameters, add_maps, analyse_sites
from scipy.signal import lfilter

sys.path.insert(0, str(Path(__file__).parent))
from synthetic import Setup, make

INSTRUMENTS = {
    "nominal": (Setup(sites=200), 0.5),
    "slow_height_loop": (Setup(sites=200, height_pole=1.5e-3), 0.5),
    "height_compliance": (Setup(sites=200, mode="height"), 0.5),
    "hard": (
        Setup(
            sites=300,
            height_noise=0.4e-9,
            current_noise=1.5e-12,
            slowness=3.6,
            glitches=0.02,
        ),
        2.0,
    ),
    "current_only": (Setup(sites=200, blind_height=True), 1.0),
    "height_only": (Setup(sites=200, mode="height", blind_current=True), 0.5),
    "no_compliance": (Setup(sites=100, mode="none"), 1.0),
    "positive": (Setup(sites=200, start=3.2, stop=4.2, sign=1.0), 0.5),
    "fast_approach": (Setup(sites=200, fast=12.0, glitches=0.02), 0.5),
    "five_kilohertz": (Setup(sites=100, sample_rate=5000), 0.5),
    "power_law": (Setup(sites=200, law="power", power=1.5), 0.5),
    "exponential_rise": (Setup(sites=200, law="rise"), 0.5),
    "hum_and_coarse_converter": (
        Setup(sites=200, hum=2e-12, height_lsb=0.24e-9, current_lsb=0.5e-12),
        0.5,
    ),
    "samples_after_trip": (Setup(sites=200, n_post=5, glitches=0.02), 0.5),
}


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_onset_and_classification(name: str) -> None:
    setup, limit = INSTRUMENTS[name]
    ramps, truth = make(setup)
    ds = analyse_sites(ramps)
    verdict = ds["classification"].values
    born = np.isfinite(truth.onset)
    genuine = truth.genuine if setup.mode != "none" else born
    found = genuine & (verdict == 1)
    error = (ds["onset_bias"].values - truth.onset)[found] * 1e3
    assert np.sqrt(np.mean(error**2)) < limit
    # a current alone cannot tell a spike from growth within one sample
    least = 0.8 if name == "current_only" else 0.99
    assert found.sum() >= least * genuine.sum()
    assert np.sum(verdict[genuine] == 2) <= 0.004 * genuine.sum()
    if "only" not in name:
        assert np.all(verdict[truth.false] == 2)
    quiet = ~born & ~truth.false
    assert np.all(verdict[quiet] == 0)
    assert np.all(np.isnan(ds["onset_bias"].values[verdict != 1]))
    # the onset comes before the cut-off
    step = (ds["onset_bias"] - ds["stop_bias"]).values[found] * np.sign(setup.stop - setup.start)
    assert np.all(step <= 0)


def test_uncertainty_covers_the_error() -> None:
    setup = Setup(
        sites=400, height_noise=0.4e-9, current_noise=1.5e-12, slowness=3.6, seed=8, barren=0.0
    )
    setup = replace(setup, tell_bandwidth=True)
    ramps, truth = make(setup)
    ds = analyse_sites(ramps)
    ok = truth.genuine & (ds["nucleated"].values)
    z = (ds["onset_bias"].values - truth.onset)[ok] / ds["onset_bias_uncertainty"].values[ok]
    assert 0.55 < np.mean(np.abs(z) < 1) < 0.85
    assert np.mean(np.abs(z) < 3) > 0.96


def test_false_trips_among_many_glitches() -> None:
    ramps, truth = make(Setup(sites=400, glitches=0.4, seed=5))
    ds = analyse_sites(ramps)
    verdict = ds["classification"].values
    assert truth.false.sum() > 50
    assert np.mean(verdict[truth.false] == 2) >= 0.99
    assert np.mean(verdict[truth.genuine] == 2) <= 0.004


def test_charge_volume_with_known_instrument() -> None:
    ramps, truth = make(Setup(sites=200, tell_bandwidth=True, latency=0.0))
    ds = analyse_sites(ramps)
    ok = truth.genuine & ds["nucleated"].values
    ratio = ds["particle_volume"].values[ok] / truth.volume[ok] - 1
    assert np.sqrt(np.mean(ratio**2)) < 0.15
    assert np.all(ds["charge"].values[ok] < 0)


@pytest.mark.parametrize("n_post", [0, 5])
def test_charge_volume_with_unknown_channels(n_post: int) -> None:
    """No bandwidth, no latency told; with samples after the trip both show in the height."""
    setup = Setup(sites=200, n_post=n_post, height_pole=0.3e-3, latency=0.05e-3, seed=9)
    ramps, truth = make(setup)
    ds = analyse_sites(ramps)
    ok = truth.genuine & ds["nucleated"].values
    ratio = ds["particle_volume"].values[ok] / truth.volume[ok] - 1
    assert np.sqrt(np.mean(ratio**2)) < 0.15
    if n_post:
        lag = ds.attrs["height_time_constant_samples"] * ramps.sample_period
        assert lag == pytest.approx(setup.height_pole + setup.latency, rel=0.15)


def test_time_constant_from_the_colour_of_the_noise() -> None:
    rng = np.random.default_rng(3)
    rho = np.exp(-1 / 2.5)
    noise = lfilter([1.0], [1.0, -rho], rng.normal(size=(400, 140)))[:, 40:]
    assert pole_from_noise(structure_function(noise)[0]) == pytest.approx(2.5, rel=0.1)
    assert pole_from_noise(structure_function(rng.normal(size=(400, 100)))[0]) is None


def test_order_of_sites_does_not_matter() -> None:
    ramps, _ = make(Setup(sites=60))
    order = np.random.default_rng(0).permutation(60)
    first, second = analyse_sites(ramps), analyse_sites(ramps.select(order))
    assert np.array_equal(first["classification"].values[order], second["classification"].values)
    gap = np.abs(first["onset_bias"].values[order] - second["onset_bias"].values)
    assert np.nanmax(gap) < 0.1e-3


def test_recomputing_gives_the_same_numbers() -> None:
    ramps, _ = make(Setup(sites=40))
    xr.testing.assert_identical(analyse_sites(ramps), analyse_sites(ramps))


def test_maps_survive_netcdf(tmp_path: Path) -> None:
    ramps, _ = make(Setup(sites=40, n_rows=6))
    ds = add_maps(analyse_sites(ramps))
    assert ds["onset_bias_map"].shape == (6, 7)
    ds.to_netcdf(tmp_path / "result.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "result.nc", engine="h5netcdf") as back:
        assert back["nucleated"].dtype == bool
        assert back["onset_bias_map"].dims == ("row", "col")
        assert np.isnan(back["classification_map"].values[5, 6])
        assert back["onset_bias"].attrs["units"] == "V"
        row, col = int(back["row"][7]), int(back["col"][7])
        np.testing.assert_equal(
            back["onset_bias_map"].values[row, col], back["onset_bias"].values[7]
        )
        assert back["classification"].attrs["flag_meanings"].split()[2] == "false_trip"


def test_empty_set_and_single_sites() -> None:
    ramps, truth = make(Setup(sites=12, barren=0.0))
    empty = analyse_sites(ramps.select(np.zeros(0, dtype=int)))
    assert empty.sizes["site"] == 0
    for site in range(4):
        one = analyse_sites(ramps.select(slice(site, site + 1)))
        assert int(one["classification"][0]) == 1
        assert abs(float(one["onset_bias"][0]) - truth.onset[site]) < 2e-3


def test_channels_without_data_are_undetermined() -> None:
    ramps, _ = make(Setup(sites=10))
    blind = replace(
        ramps,
        current=np.full_like(ramps.current, np.nan),
        height=np.full_like(ramps.height, np.nan),
    )
    ds = analyse_sites(blind)
    assert np.all(ds["classification"].values == 3)
    assert np.all(np.isnan(ds["onset_bias"].values))


def test_missing_samples_and_short_sites() -> None:
    ramps, truth = make(Setup(sites=120))
    rng = np.random.default_rng(2)
    current, height = ramps.current.copy(), ramps.height.copy()
    for array in (current, height):
        array[rng.random(len(array)) < 0.01] = np.nan
    ds = analyse_sites(replace(ramps, current=current, height=height))
    ok = truth.genuine & ds["nucleated"].values
    assert ok.sum() >= 0.97 * truth.genuine.sum()
    assert np.sqrt(np.nanmean((ds["onset_bias"].values - truth.onset)[ok] ** 2)) < 0.5e-3
    short = RampSet(
        offsets=np.array([0, 0, 1, 3], dtype=np.int64),
        current=np.zeros(3),
        height=np.zeros(3),
        sample_period=1e-3,
        bias_start=np.zeros(3),
        bias_stop=np.full(3, -1.0),
        ramp_rate=np.ones(3),
        x=np.zeros(3),
        y=np.zeros(3),
        n_post=np.zeros(3, dtype=int),
        mode="current",
        current_compliance=1e-11,
    )
    assert np.all(analyse_sites(short)["classification"].values == 3)


def test_parameters_are_probabilities() -> None:
    with pytest.raises(ValueError, match="probability"):
        SiteParameters(false_growth_rate=0.0)


EDGE_CASES = {
    "coarse_current": Setup(sites=6, seed=3, mode="none", current_lsb=0.5e-9),
    "coarse_current_height_compliance": Setup(sites=6, seed=3, mode="height", current_lsb=0.5e-9),
    "no_noise_at_all": Setup(
        sites=6,
        seed=3,
        current_noise=0.0,
        height_noise=0.0,
        walk=0.0,
        drift=0.0,
        current_lsb=0.0,
        capacitance=0.0,
        leakage=0.0,
    ),
    "coarse_height": Setup(sites=6, seed=3, height_lsb=2e-9, current_lsb=4e-12),
    "all_nucleated": Setup(sites=12, seed=4, barren=0.0, glitches=0.0),
    "none_nucleated": Setup(sites=20, seed=20, barren=1.0, glitches=0.0),
    "large_particles": Setup(
        sites=8, seed=2, mode="none", start=0.0, stop=-5.0, slowness=0.2, current_lsb=0.5e-9
    ),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", EDGE_CASES)
def test_few_sites_and_poor_channels(name: str) -> None:
    ramps, truth = make(replace(EDGE_CASES[name], n_rows=1))
    born = np.isfinite(truth.onset)
    nucleated = analyse_sites(ramps)["nucleated"].values
    np.testing.assert_array_equal(nucleated, born)
    one = analyse_sites(ramps.select(slice(0, 1)))["nucleated"].values
    np.testing.assert_array_equal(one, born[:1])


@pytest.mark.filterwarnings("error")
def test_a_channel_that_never_changes_tells_nothing() -> None:
    ramps, truth = make(Setup(sites=20, seed=20, n_rows=1, mode="height", glitches=0.0))
    ramps = replace(ramps, current=np.full_like(ramps.current, 1e-12))
    ds = analyse_sites(ramps)
    np.testing.assert_array_equal(ds["nucleated"].values, np.isfinite(truth.onset))
    ramps = replace(ramps, height=np.full_like(ramps.height, 3e-7))
    assert np.all(analyse_sites(ramps)["classification"].values == 3)
