"""Frames of the virtual microscope: optics, camera and time."""

import math
from itertools import pairwise

import numpy as np
import pytest
from nucleation_bluesky.worlds.seccm import SeccmSettings, SeccmWorld
from nucleation_bluesky.worlds.seccm.camera import FrameClock, Sensor
from nucleation_bluesky.worlds.seccm.optics import spots
from nucleation_bluesky.worlds.seccm.settings import FARADAY
from nucleation_bluesky.worlds.seccm.simulate import (
    constant_current,
    simulate_landing,
    voltammogram,
)
from nucleation_bluesky.worlds.seccm.truth import landing_truth
from scipy.ndimage import gaussian_filter

SETTINGS = SeccmSettings(pipette_opening=3e-6, frame_size=240)


@pytest.fixture(scope="module")
def plated():
    unit = SETTINGS.footprint_area
    return simulate_landing(SETTINGS, 7, [constant_current(-7.8 * unit, 8.0)])


def test_contact_is_a_step_inside_the_footprint(plated):
    landing = plated.landing
    mask = plated.truth()["footprint_mask"]
    assert 0.8 < mask.sum() * SETTINGS.pixel_size**2 / landing.footprint.area < 1.2
    contact = landing.contact.time
    before, after = landing.frame(contact - 0.1), landing.frame(contact + 0.25)
    change = after.astype(float) - before
    assert change[mask].mean() == pytest.approx(-0.12 * SETTINGS.level, rel=0.15)
    assert abs(change[~mask].mean()) < 0.1 * abs(change[mask].mean())
    early = landing.frame(contact + 0.005, exposure=0.005).astype(float) - before
    assert (early < -90).sum() < 0.8 * (change < -90).sum()  # it still spreads


def test_brightness_follows_nucleation(plated):
    truth = plated.truth()
    mask = truth["footprint_mask"]
    start = plated.landing.contact.time
    times = np.arange(0.5, 7.9, 0.1)
    mean = np.array([plated.landing.frame(start + t)[mask].mean() for t in times])
    slope = np.gradient(np.convolve(mean, np.ones(5) / 5, "valid"), 0.1)
    peak = times[2:-2][np.argmax(slope)]
    assert peak == pytest.approx(truth["t_nuc_irm"], abs=0.25)
    assert slope.max() > 2 * np.median(slope)


def test_nucleation_map_is_spatially_correlated_with_the_stated_spread(plated):
    truth = plated.truth()
    values = truth["nucleation_map"]
    mask = truth["footprint_mask"] & np.isfinite(values)
    assert mask.sum() > 0.9 * truth["footprint_mask"].sum()
    assert values[mask].std() == pytest.approx(0.055 * truth["t_nuc"], rel=0.4)
    near = values[:, :-4] - values[:, 4:]
    far = values[:, :-80] - values[:, 80:]
    assert np.nanstd(near) < 0.6 * np.nanstd(far)


def test_reported_light_is_that_of_the_particles_and_the_film():
    flat = SETTINGS.model_dump() | {
        "protrusion_density": 0.0,
        "drift_speed": 0.0,
        "drift_wander": 0.0,
    }
    settings = SeccmSettings(**flat)
    unit = settings.footprint_area
    landing = simulate_landing(settings, 7, [constant_current(-7.8 * unit, 8.0)]).landing
    scene = landing.scene(landing.time)
    image = landing.picture.render(scene).astype(float)
    bare = landing.picture.render(landing.scene(landing.contact.time - 1)).astype(float)
    total = (image - bare).sum() * settings.pixel_size**2
    area = landing.picture.mask.sum() * settings.pixel_size**2
    state = landing.state
    film = settings.sei_contrast * state.sei
    film += settings.alloy_contrast * (state.rich + state.poor)
    thickness = film * settings.molar_volume / FARADAY
    d = scene.diameters
    volume = math.pi / 6 * d**3 * np.cos(np.pi / 2 * (d / 260e-9) ** 2)
    step = math.pi / 6 * settings.nucleus_step**3 * scene.born
    wanted = settings.contact_contrast * area
    wanted += settings.contrast * thickness * area
    wanted += settings.contrast * (volume + step).sum()
    assert total == pytest.approx(wanted, rel=0.02)


def test_contrast_inverts_when_particles_are_thick(plated):
    picture = plated.landing.picture
    d = np.array([50e-9, 200e-9, 259.9e-9, 300e-9])
    light = picture.amplitude(d, np.zeros(4))
    assert light[0] == pytest.approx(
        SETTINGS.contrast * math.pi / 6 * d[0] ** 3 * math.cos(math.pi / 2 * (50 / 260) ** 2)
    )
    assert light[1] > light[0] > 0
    assert abs(light[2]) < 0.02 * light[1]
    assert light[3] < 0


def test_spots_have_the_width_of_the_point_spread_function():
    axis = (np.arange(61) - 30) * 40e-9
    at = np.array([13e-9]), np.array([-51e-9])
    image = np.asarray(spots(axis, *at, 125e-9).todense()).reshape(61, 61)
    x, y = np.meshgrid(axis, axis)
    assert image.sum() * (40e-9) ** 2 == pytest.approx(1, rel=1e-4)
    mean = (image * x).sum() / image.sum(), (image * y).sum() / image.sum()
    assert mean == pytest.approx((13e-9, -51e-9), abs=1e-9)
    sd = math.sqrt((image * (x - mean[0]) ** 2).sum() / image.sum())
    assert sd == pytest.approx(125e-9, rel=0.03)


def test_ratio_of_light_maps_the_efficiency():
    settings = SeccmSettings(pipette_opening=3e-6, frame_size=200)
    landing = simulate_landing(settings, 1, voltammogram(settings, 2)).landing
    truth = landing_truth(landing)
    mask = truth["footprint_mask"]
    begin = landing.program_time

    def clean(time):
        return landing.picture.render(landing.scene(begin + time))[16:-16, 16:-16]

    start, plated, stripped = clean(1.0), clean(20.3), clean(34.7)
    ratio = (plated - stripped) / np.where(mask, plated - start, np.nan)
    ratio = np.where(mask, gaussian_filter(np.nan_to_num(ratio), 1), np.nan)
    inside = mask & (np.abs(ratio) < 2)
    assert np.corrcoef(ratio[inside], truth["ce_map"][0][inside])[0, 1] > 0.8
    assert ratio[inside].mean() == pytest.approx(truth["cycle_ce"][0], abs=0.08)


def test_frames_are_reproducible_and_twelve_bit(plated):
    landing = plated.landing
    frame = landing.frame(landing.start + 3.0)
    np.testing.assert_array_equal(frame, landing.frame(landing.start + 3.0))
    assert (frame != landing.frame(landing.start + 3.001)).any()
    assert frame.dtype == np.uint16
    assert frame.max() < 4096


def test_noise_is_shot_and_read_noise():
    sensor = Sensor(SETTINGS, 0)
    rng = np.random.default_rng(0)
    one, other = (
        sensor.expose(np.ones((240, 240), np.float32), 5.0, rng).astype(float) for _ in range(2)
    )
    difference = one - other
    signal = one.mean() - SETTINGS.camera_offset
    variance = signal / SETTINGS.camera_gain + (SETTINGS.read_noise / SETTINGS.camera_gain) ** 2
    assert difference.var() / 2 == pytest.approx(variance + 1 / 12, rel=0.03)
    bright = sensor.expose(np.full((240, 240), 5.0, np.float32), 5.0, rng)
    assert bright.max() == 4095


def test_drift_is_a_pixel_a_minute(plated):
    drift = plated.landing.drift
    start = plated.landing.start
    way = np.hypot(*drift.at(start + 600)) / SETTINGS.pixel_size
    assert way == pytest.approx(10, abs=1.5)
    picture = plated.landing.picture
    image = picture.render(plated.landing.scene(plated.landing.time))
    moved = picture.shifted(image, 3 * SETTINGS.pixel_size, 0.0)
    np.testing.assert_allclose(moved[:, 3:], picture.shifted(image, 0.0, 0.0)[:, :-3], atol=1e-5)


def test_frame_times():
    settings = SeccmSettings(frame_size=16, dropped=0.05, doubled=0.05)
    clock = FrameClock(settings, (3, 1), 10.0)
    frames = [clock.next() for _ in range(2000)]
    stamps = np.array([f.timestamp for f in frames])
    assert (np.diff(stamps) > 0).all()
    steps = np.diff([f.time for f in frames])
    plain = steps[(steps > 0) & (steps < 0.35)]
    assert plain.mean() == pytest.approx(0.230, abs=0.003)
    assert plain.std() == pytest.approx(0.018, rel=0.1)
    lost = np.diff([f.unique_id for f in frames])
    assert 0.02 < (lost > 1).mean() < 0.09
    assert (steps[lost == 2] > 0.38).all()
    repeated = np.array([f.repeated for f in frames])
    assert 0.02 < repeated.mean() < 0.09
    assert all(b.time == a.time for a, b in pairwise(frames) if b.repeated)


def test_contact_frame_comes_late_by_half_a_frame():
    settings = SeccmSettings(frame_size=16)
    late = []
    for k in range(300):
        contact = 5.0 + 0.01 * k
        clock = FrameClock(settings, (4, k), 3.0)
        while (frame := clock.next()).time + settings.exposure_time < contact:
            pass
        late.append(frame.time + settings.exposure_time - contact)
    assert np.mean(late) == pytest.approx(0.12, abs=0.02)
    assert np.std(late) == pytest.approx(0.07, abs=0.015)


def test_older_landings_stay_in_view():
    settings = SeccmSettings.preset("6um", frame_size=300)
    world = SeccmWorld(settings, 0)
    current = -10 * settings.footprint_area
    first = simulate_landing(program=[constant_current(current, 6.0)], world=world)
    world.finish(first.landing)
    second = world.land(11e-6, 0.0, 100.0)
    frame = second.frame(100.0).astype(float)
    fresh = SeccmWorld(settings, 0).land(11e-6, 0.0, 100.0).frame(100.0).astype(float)
    change = gaussian_filter(frame - fresh, 4)
    assert change[100:200, :20].mean() > 30  # the neighbour's deposit, to the left
    assert abs(change[:, 60:].mean()) < 3
