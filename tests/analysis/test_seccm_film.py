"""Films of an independent generator: times, contact, footprint, drift, maps."""

import importlib.util
import sys
from pathlib import Path

import dask.array as da
import h5py
import numpy as np
import pytest
from nucleation_bluesky.analysis.seccm.contact import find_footprint, settle_contact
from nucleation_bluesky.analysis.seccm.drift import find_drift
from nucleation_bluesky.analysis.seccm.film import NoFootprintError, open_film, survey
from nucleation_bluesky.analysis.seccm.landing import (
    ElectrochemistrySummary,
    FilmSettings,
    analyse_film,
)
from nucleation_bluesky.analysis.seccm.optical_time import FilmTooShortError
from scipy import ndimage

_spec = importlib.util.spec_from_file_location(
    "film_synthetic", Path(__file__).with_name("film_synthetic.py")
)
assert _spec is not None
assert _spec.loader is not None
film_synthetic = importlib.util.module_from_spec(_spec)
sys.modules["film_synthetic"] = film_synthetic
_spec.loader.exec_module(film_synthetic)
Scene, make = film_synthetic.Scene, film_synthetic.make
PIXEL = 40e-9


@pytest.fixture(scope="module", params=[1, 3, 4])
def movie(request):
    return make(Scene(seed=request.param, birth_step=25, growth=2, own=0.3, smooth=14))


@pytest.fixture(scope="module")
def result(movie):
    time = np.linspace(0, 44, 4000)
    summary = ElectrochemistrySummary(
        time, -1e-9 * time, t_nuc=movie["mean"] + 1.5, t_nuc_uncertainty=0.05
    )
    return analyse_film(movie["frames"], movie["time"], PIXEL, electrochemistry_summary=summary)


def test_map_of_nucleation_times(movie, result):
    truth = movie["map"]
    use = result["nucleation_time_valid"].values & movie["footprint"]
    error = result["nucleation_time"].values[use] - truth[use]
    error -= error.mean()
    assert use.sum() > 0.9 * movie["footprint"].sum()
    assert np.sqrt(np.mean(error**2)) < 0.5
    assert np.corrcoef(result["nucleation_time"].values[use], truth[use])[0, 1] > 0.9
    z = np.abs(error) / result["nucleation_time_uncertainty"].values[use]
    assert 0.88 < np.mean(z < 2) <= 1.0
    assert np.mean(z < 2) - np.mean(z < 0.5) > 0.2  # nor far too wide
    assert result.attrs["map_resolved"] == 1


def test_film_that_the_deposit_darkens(movie, result):
    """What follows contact mirrored: the same times, by the sign of intensity against charge."""
    frames = movie["frames"].astype(float)
    first = int(np.searchsorted(movie["time"], movie["contact"])) + 1
    level = frames[first : first + 2].mean(axis=0)
    frames[first:] = 2 * level - frames[first:]
    time = np.linspace(0, 44, 4000)
    summary = ElectrochemistrySummary(
        time, -1e-9 * time, t_nuc=movie["mean"] + 1.5, t_nuc_uncertainty=0.05
    )
    dark = analyse_film(frames, movie["time"], PIXEL, electrochemistry_summary=summary)
    assert dark.attrs["optical_polarity"] == -1
    assert result.attrs["optical_polarity"] == 1
    assert dark.attrs["t_nuc_irm"] == pytest.approx(result.attrs["t_nuc_irm"], abs=0.15)
    assert dark["intensity"].values[-1] < 0
    use = (dark["nucleation_time_valid"] & result["nucleation_time_valid"]).values
    assert use.sum() > 0.8 * movie["footprint"].sum()
    error = (dark["nucleation_time"] - result["nucleation_time"]).values[use]
    assert np.median(np.abs(error)) < 0.3


def test_contact_footprint_and_lead(movie, result):
    attrs = result.attrs
    error = attrs["contact_time"] - movie["contact"]
    assert abs(error) < 3 * attrs["contact_time_uncertainty"] < 0.3
    mask = result["footprint"].values
    both = (mask & movie["footprint"]).sum() / (mask | movie["footprint"]).sum()
    assert both > 0.98
    assert attrs["lead_low"] < 1.5 < attrs["lead_high"]
    assert attrs["frames_doubled"] >= 3
    assert attrs["frames_missing"] >= 2


def test_regions_agree_with_the_map(movie, result):
    size = FilmSettings().region
    times = result["region_nucleation_time"].values
    assert np.isfinite(times).mean() > 0.9
    rows = np.round(result["region_y"].values / PIXEL - (size - 1) / 2).astype(int)
    cols = np.round(result["region_x"].values / PIXEL - (size - 1) / 2).astype(int)
    truth = np.array(
        [movie["map"][r : r + size, c : c + size].mean() for r, c in zip(rows, cols, strict=True)]
    )
    good = np.isfinite(times)
    assert np.corrcoef(times[good], truth[good])[0, 1] > 0.9


def test_drift_is_followed(movie):
    seen = survey(open_film(movie["frames"], movie["time"], PIXEL))
    footprint, contact = find_footprint(seen)
    drift = find_drift(seen, footprint.mask, contact.time)
    expected = movie["drift"] * (seen.film.time[:, None] - movie["contact"])
    assert drift.significant
    assert np.abs(drift.shift - expected).max() < 0.1


def test_what_stays_with_the_camera_does_not_hold_the_drift_back():
    """Lamp profile and pixel gains stay in place; the footprint brightens beside the texture."""
    rng = np.random.default_rng(7)
    size, margin, count = 240, 16, 200
    texture = 0.006 * ndimage.gaussian_filter(rng.normal(size=(size + 2 * margin,) * 2), 2.0) * 7
    y, x = np.mgrid[:size, :size]
    inside = np.hypot(y - 120, x - 120) < 75
    wet = ndimage.gaussian_filter(inside.astype(float), 1.6)
    camera = 1 - 0.1 * ((y - 100) ** 2 + (x - 140) ** 2) / 240**2
    camera = camera * (1 + 0.006 * rng.normal(size=(size, size)))
    drift = np.array([3.0, -2.0])
    frames = np.empty((count, size, size), np.uint16)
    for k in range(count):
        shift = drift * k / count
        scene = ndimage.shift(texture, shift, order=3)[margin:-margin, margin:-margin]
        scene = 1 + scene + wet * ((k > 10) * -0.12 + 0.5 * k / count)
        frames[k] = 1500 * camera * scene + 25 * rng.normal(size=(size, size))
    seen = survey(open_film(frames, np.arange(count) * 0.23, 80e-9))
    found = find_drift(seen, inside, 0.0)
    expected = drift * (np.arange(count) / count)[:, None]
    assert np.abs(found.shift - expected).max() < 0.2


def test_no_drift_is_invented():
    scene = Scene(duration=12, t_nuc=6, spread=0.3, drift=(0.0, 0.0), seed=2)
    still = make(scene)
    seen = survey(open_film(still["frames"], still["time"], PIXEL))
    footprint, contact = find_footprint(seen)
    assert np.abs(find_drift(seen, footprint.mask, contact.time).shift).max() < 0.05


def test_any_container_gives_the_same(tmp_path):
    movie = make(Scene(size=120, axes=(40, 36), centre=(60, 58), duration=30, t_nuc=12, seed=5))
    plain = analyse_film(movie["frames"], movie["time"], PIXEL)
    lazy = analyse_film(da.from_array(movie["frames"], chunks=(7, 50, 50)), movie["time"], PIXEL)
    np.testing.assert_array_equal(plain["nucleation_time"], lazy["nucleation_time"])
    with h5py.File(tmp_path / "film.h5", "w") as file:
        data = file.create_dataset("frames", data=movie["frames"], chunks=(1, 120, 120))
        stored = analyse_film(data, movie["time"], PIXEL)
    np.testing.assert_array_equal(plain["nucleation_time"], stored["nucleation_time"])
    plain.to_netcdf(tmp_path / "film.nc")


def test_fast_nucleation_is_not_resolved():
    fast = make(
        Scene(
            duration=3.0, before=2.0, t_nuc=0.8, spread=0.03, own=0.02, growth=20, drops=0,
            doubles=0, seed=6,
        )
    )  # fmt: skip
    found = analyse_film(fast["frames"], fast["time"], PIXEL)
    assert found.attrs["map_resolved"] == 0
    assert found.attrs["map_verdict"].startswith("local spread not resolved")


def test_film_that_starts_after_contact():
    movie = make(Scene(seed=7))
    late = movie["time"] > movie["contact"] + 2
    found = analyse_film(movie["frames"][late], movie["time"][late], PIXEL)
    assert "contact_time" not in found.attrs
    mask = found["footprint"].values
    both = (mask & movie["footprint"]).sum() / (mask | movie["footprint"]).sum()
    assert both > 0.8  # by what changed
    # a clock that relates it to the electrochemistry gives times after contact again
    summary = ElectrochemistrySummary(
        np.linspace(0, 40, 1000), np.linspace(0, -1e-8, 1000),
        film_offset=movie["contact"], film_offset_uncertainty=0.01,
    )  # fmt: skip
    timed = analyse_film(
        movie["frames"][late], movie["time"][late], PIXEL, electrochemistry_summary=summary
    )
    assert timed.attrs["contact_source"] == "clock"
    assert timed.attrs["t_nuc_irm"] == pytest.approx(movie["mean"], abs=0.6)


def test_film_without_footprint_is_refused():
    rng = np.random.default_rng(0)
    frames = rng.poisson(1500, (40, 96, 96)).astype(np.uint16)
    with pytest.raises(NoFootprintError, match="film without footprint"):
        analyse_film(frames, np.arange(40) * 0.23, PIXEL)


def test_bad_times_are_refused():
    frames = np.zeros((6, 32, 32), np.uint16)
    with pytest.raises(ValueError, match="not monotonic: frame 3"):
        open_film(frames, [0, 0.2, 0.4, 0.3, 0.6, 0.8], PIXEL)
    with pytest.raises(ValueError, match="6 frames but 5 timestamps"):
        open_film(frames, np.arange(5), PIXEL)
    with pytest.raises(ValueError, match="pixel size"):
        open_film(frames, np.arange(6), 0.0)


def test_no_overlap_is_refused():
    movie = make(Scene(duration=10, t_nuc=5, spread=0.3, seed=8))
    summary = ElectrochemistrySummary(np.linspace(100, 110, 50), np.zeros(50), start=0.0)
    with pytest.raises(ValueError, match="do not overlap in time"):
        analyse_film(movie["frames"], movie["time"], PIXEL, electrochemistry_summary=summary)


def test_window_longer_than_the_film_is_refused():
    movie = make(Scene(duration=6, before=2, t_nuc=3, spread=0.2, drops=0, doubles=0, seed=9))
    with pytest.raises(FilmTooShortError, match="the film is too short"):
        analyse_film(movie["frames"], movie["time"], PIXEL, settings=FilmSettings(window=41))


def test_frame_counter_tells_losses_and_repeats():
    frames = np.random.default_rng(0).integers(0, 100, (6, 8, 8)).astype(np.uint16)
    film = open_film(frames, np.arange(6.0), PIXEL, frame_ids=[1, 2, 2, 5, 6, 7])
    assert film.missing == 2
    assert film.doubled.tolist() == [2]
    assert len(film) == 5


def test_clock_that_disagrees_is_not_trusted(movie):
    seen = survey(open_film(movie["frames"], movie["time"], PIXEL))
    contact = find_footprint(seen)[1]
    used, doubt = settle_contact(contact, contact.time + 1.0, 0.01, 0.23)
    assert used is contact
    assert "clocks differ" in doubt
    used, doubt = settle_contact(contact, movie["contact"], 0.01, 0.23)
    assert used.source == "clock"
    assert used.time == movie["contact"]
    assert not doubt
