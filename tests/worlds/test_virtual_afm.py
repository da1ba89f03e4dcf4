"""The virtual AFM as a backend: its maps, settings, stage and imager."""

import asyncio
import math

import numpy as np
import pytest
from nucleation_bluesky.contract.ramp import RampSpec
from nucleation_bluesky.iocs.backend import ControllerBackend, ImagerBackend, StageBackend
from nucleation_bluesky.iocs.backends.virtual_afm import make_virtual_afm
from nucleation_bluesky.worlds.afm.truth import read_truth
from pydantic import ValidationError
from tests.worlds.afm_backend import LIMIT, MATRIX, SPEC, expose, move, start


def test_protocols():
    backend = start()
    assert isinstance(backend.controller, ControllerBackend)
    assert isinstance(backend.stage, StageBackend)
    assert isinstance(backend.imager, ImagerBackend)


def run_map(path, n, pitch, seed=0, spec=SPEC, order=1, channel="current", **options):
    backend = start(seed=seed, truth=path, **options)
    records = {}

    async def main():
        sites = [(i, j) for j in range(n) for i in range(n)][::order]
        for i, j in sites:
            await move(backend, (i - n / 2) * pitch, (j - n / 2) * pitch)
            records[i, j] = await expose(backend, spec, channel=channel)

    asyncio.run(main())
    return records, *read_truth(path)


def test_same_seed_same_world_at_any_speed_and_block_size(tmp_path):
    first, _, truth = run_map(tmp_path / "a.jsonl", 4, 60e-9)
    for name, options in {
        "b": {"speed": 400.0, "block_time": 0.005},
        "c": {"speed": 400.0, "block_time": 0.0011},
    }.items():
        other, _, other_truth = run_map(tmp_path / f"{name}.jsonl", 4, 60e-9, **options)
        for site, (record, trip, aborted) in first.items():
            twin, twin_trip, twin_aborted = other[site]
            assert trip == twin_trip
            for channel in record:
                assert np.array_equal(record[channel], twin[channel]), (site, channel)
            if aborted is not None:
                assert np.array_equal(aborted.post.current, twin_aborted.post.current)
                assert aborted.net_charge == twin_aborted.net_charge
        for field, values in truth.items():
            assert np.array_equal(values, other_truth[field], equal_nan=values.dtype.kind == "f")


def test_the_fate_of_a_site_does_not_depend_on_the_order(tmp_path):
    options = {"drift_x": 0, "drift_y": 0, "drift_wander": 0, "creep_fraction": 0}
    _, _, truth = run_map(tmp_path / "a.jsonl", 4, 60e-9, stage_noise=0, **options)
    _, _, back = run_map(tmp_path / "b.jsonl", 4, 60e-9, order=-1, stage_noise=0, **options)
    backwards = back["nucleation_bias"][::-1]
    assert np.isfinite(truth["nucleation_bias"]).sum() > 8
    assert truth["nucleation_bias"] == pytest.approx(backwards, abs=2e-3, nan_ok=True)


def test_another_seed_is_another_world(tmp_path):
    _, _, a = run_map(tmp_path / "a.jsonl", 3, 60e-9)
    _, _, b = run_map(tmp_path / "b.jsonl", 3, 60e-9, seed=1)
    assert not np.array_equal(a["barrier"], b["barrier"])


@pytest.fixture(scope="module")
def default_map(tmp_path_factory):
    return run_map(tmp_path_factory.mktemp("map") / "truth.jsonl", 32, 50e-9)


def test_published_statistics_of_a_map(default_map):
    """Mean onset, contrast at boundaries and overshoot at 1 kHz with a bare threshold."""
    records, _, truth = default_map
    trips = np.array([trip for _, trip, _ in records.values()])
    genuine = (trips >= 0) & (truth["trip_cause"] == "growth")
    bias = np.array([r["bias"][-1] for r, _, _ in records.values()])
    final = np.array([abs(r["current"][-1]) for r, _, _ in records.values()])[genuine] / LIMIT
    distance = truth["boundary_distance"]
    assert bias[genuine].mean() == pytest.approx(-3.74, abs=0.02)
    assert bias[genuine & (distance < 20e-9)].mean() == pytest.approx(-3.57, abs=0.03)
    assert bias[genuine & (distance > 100e-9)].mean() == pytest.approx(-3.77, abs=0.03)
    assert np.median(final) == pytest.approx(1.5, abs=0.1)
    assert np.quantile(final, 0.99) == pytest.approx(4.4, abs=0.9)


def test_nothing_on_alpo4_and_everything_noted(default_map):
    _, header, truth = default_map
    assert header["seed"] == 0
    assert header["parameters"]["barrier"] == 3.2
    on = truth["on_alpo4"].astype(bool)
    assert 0.12 < on.mean() < 0.32
    assert not truth["nucleated"][on].any()
    assert (truth["final_radius"][on] == 0).all()
    assert truth["nucleated"][~on].mean() > 0.95
    assert np.array_equal(truth["index"], np.arange(len(on)))


def test_height_compliance_overshoots_by_less_than_two_nanometres(tmp_path):
    records, _, _ = run_map(
        tmp_path / "t.jsonl", 16, 80e-9, channel="height", seed=2, adc_full_scale=100.0
    )
    over = [
        r["height"][-1] - r["height"][:10].mean() - 8e-9 for r, t, _ in records.values() if t >= 0
    ]
    assert len(over) > 150
    assert np.median(over) == pytest.approx(1.7e-9, abs=0.4e-9)


def test_fast_sampling_removes_the_overshoot(tmp_path):
    spec = RampSpec(0.0, (-4.2,), (1.2,), 20e3)
    records, _, truth = run_map(tmp_path / "t.jsonl", 9, 90e-9, spec=spec, **MATRIX)
    over = [abs(r["current"][-1]) / LIMIT for r, t, _ in records.values() if t >= 0]
    assert len(over) > 60
    assert np.quantile(over, 0.99) < 1.5
    assert truth["latency"] == pytest.approx(50e-6, abs=1e-9)


def test_truth_of_latency_glitches_and_mask(tmp_path):
    path = tmp_path / "t.jsonl"
    _, _, truth = run_map(path, 6, 60e-9, glitch_fraction=1.0, latency=2e-3, grain_fraction=0)
    glitched = truth["trip_cause"] == "glitch"
    assert 10 < glitched.sum() < 36
    assert (truth["glitch_index"] == truth["trip_index"])[glitched].all()
    grown = truth["trip_cause"] == "growth"
    if grown.any():
        assert (truth["end_radius"] > truth["trip_radius"])[grown].all()
        assert (abs(truth["peak_current"]) >= abs(truth["trip_current"]))[grown].all()
    assert truth["end_time"] - truth["trip_index"] / 1e3 == pytest.approx(2e-3)
    with np.load(path.with_suffix(".npz")) as mask:
        assert mask["mask"].shape == (len(mask["y"]), len(mask["x"]))
        assert mask["pixel_size"] == 5e-9


def test_settings():
    backend = start()
    controller = backend.controller
    assert asyncio.run(controller.set_parameter("AMP:GAIN", 0.9e9)) == 1e9
    assert controller.capabilities.current_range == pytest.approx(10e-9)
    assert asyncio.run(controller.set_parameter("AMP:FILTER", 20e3)) == pytest.approx(20e3)
    assert controller.capabilities.current_bandwidth == pytest.approx(20e3)
    assert asyncio.run(controller.set_parameter("STAGE:SETTLE", 0.01)) == 0.01
    for name, value in (("AMP:GAIN", 1.0), ("AMP:FILTER", math.nan), ("NO:SUCH", 1.0)):
        with pytest.raises(ValueError, match=r"gains|finite|no setting"):
            asyncio.run(controller.set_parameter(name, value))


def test_bad_input_is_refused():
    backend = start()
    controller = backend.controller
    with pytest.raises(ValueError, match="outside the range"):
        asyncio.run(controller.start_ramp(RampSpec(0.0, (-40.0,), (1.0,), 1000.0)))
    with pytest.raises(ValueError, match="sample rate"):
        asyncio.run(controller.start_ramp(RampSpec(0.0, (-4.0,), (1.0,), 1e6)))
    with pytest.raises(ValueError, match="outside the range"):
        asyncio.run(controller.set_bias(math.nan))
    with pytest.raises(ValueError, match="outside the stage"):
        asyncio.run(backend.stage.move("x", 1.0, 0.0))
    with pytest.raises(ValidationError):
        make_virtual_afm(no_such_figure=1.0)
    with pytest.raises(ValueError, match="greater than 0"):
        make_virtual_afm(speed=0.0)

    async def twice():
        await controller.start_ramp(SPEC)
        await controller.start_ramp(SPEC)

    with pytest.raises(RuntimeError, match="bring the safe state first"):
        asyncio.run(twice())


def test_stage_is_paced_stopped_and_reports_noise():
    backend = start(speed=1.0)

    async def main():
        task = asyncio.create_task(backend.stage.move("x", 20e-6, 0.0))  # 1 s
        await asyncio.sleep(0.2)
        await backend.stage.stop()
        return await asyncio.wait_for(task, 0.5), await backend.stage.position("x")

    reached, position = asyncio.run(main())
    assert 1e-6 < reached < 19e-6
    assert position == pytest.approx(reached, abs=2e-9)
    assert position != reached


def test_image_through_the_backend():
    backend = start()
    image = asyncio.run(backend.imager.image(0.0, 0.0, 2e-6, 64))
    assert image.shape == (64, 64)
    assert np.isfinite(image).all()
    assert np.ptp(image) > 8e-9
