"""The virtual AFM as a backend: ramps, aborts, safe states, software ramps, settings."""

import asyncio
import math
import time

import numpy as np
import pytest
from nucleation_bluesky.contract.enums import AfterTrip, SafeState
from nucleation_bluesky.contract.ramp import RampSpec
from nucleation_bluesky.iocs.backend import ControllerBackend, ImagerBackend, StageBackend
from nucleation_bluesky.iocs.backends.virtual_afm import make_virtual_afm
from nucleation_bluesky.worlds.afm.truth import read_truth
from pydantic import ValidationError

LIMIT = 10e-12
SPEC = RampSpec(0.0, (-4.2,), (1.2,), 1000.0, n_post=4)


async def expose(backend, spec=SPEC, policy=SafeState.OPEN_CIRCUIT, bias=0.0, channel="current"):
    """One ramp with a plain compliance check; returns the record and the trip."""
    controller = backend.controller
    await controller.start_ramp(spec)
    blocks, trip, aborted, zero = [], -1, None, None
    while (block := await controller.next_block()) is not None:
        blocks.append(block)
        if channel == "current":
            over = np.abs(block.current) > LIMIT
        else:
            zero = block.height[:10].mean() if zero is None else zero
            over = block.height - zero > 8e-9
        if over.any():
            trip = block.first_index + int(np.argmax(over))
            aborted = await controller.abort(trip, spec)
            break
    await controller.safe_state(policy, bias)
    end = trip + 1 if trip >= 0 else None
    record = {
        name: np.concatenate([getattr(b, name) for b in blocks])[:end]
        for name in ("bias", "current", "height", "saturated")
    }
    return record, trip, aborted


async def move(backend, x, y):
    await backend.stage.move("x", x, 0.005)
    await backend.stage.move("y", y, 0.005)


def start(policy=SafeState.OPEN_CIRCUIT, bias=0.0, seed=0, speed=math.inf, truth=None, **options):
    """A backend in a safe state, as after the boot of the front end."""

    async def boot():
        backend = make_virtual_afm(seed, speed, truth, **options)
        await backend.controller.safe_state(policy, bias)
        return backend

    return asyncio.run(boot())


MATRIX = {"grain_fraction": 0.0, "glitch_fraction": 0.0}


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


def first_trip(backend, spec=SPEC, **options):
    async def main():
        for k in range(20):
            await move(backend, k * 200e-9, 0.0)
            record, trip, aborted = await expose(backend, spec, **options)
            if trip >= 0:
                return record, trip, aborted
        raise AssertionError("no site nucleated")

    return asyncio.run(main())


def test_open_circuit_after_a_trip(tmp_path):
    """The current dies with the amplifier's pole and the radius stays."""
    quiet = {"current_noise_density": 1e-16, "adc_bits": 24}
    record, trip, aborted = first_trip(start(truth=tmp_path / "t.jsonl", **MATRIX, **quiet))
    assert len(aborted.post) == 4
    assert aborted.post.first_index == trip + 1
    assert abs(aborted.post.current[1:]).max() < 3e-12
    assert aborted.latency == pytest.approx(50e-6)
    _, truth = read_truth(tmp_path / "t.jsonl")
    assert truth["final_radius"][-1] == pytest.approx(truth["end_radius"][-1])
    volume = 2 / 3 * np.pi * truth["end_radius"][-1] ** 3
    # Faraday: the whole recorded charge less the background gives the volume
    background = 0.83e-12 * 1.2 * np.arange(trip + 1)[-1] / 1e3
    background += 5e-14 * 1.2 * (trip / 1e3) ** 2 / 2
    charge = -np.trapezoid(record["current"]) / 1e3 - aborted.net_charge - background
    assert charge * 0.98 * 13e-6 / 96485.33 == pytest.approx(volume, rel=0.05)


def test_hold_after_a_trip_lets_the_nucleus_grow(tmp_path):
    spec = RampSpec(
        0.0, (-4.2,), (1.2,), 1000.0, after_trip=AfterTrip.HOLD, after_time=0.01, n_post=12
    )
    backend = start(truth=tmp_path / "t.jsonl", amplifier_gain=1e9, adc_bits=16, **MATRIX)
    _, _, aborted = first_trip(backend, spec)
    assert aborted.post.current[9] < 3 * aborted.post.current[0] < 0
    assert np.ptp(aborted.post.bias[:9]) < 1e-9
    assert aborted.post.bias[11] == 0
    _, truth = read_truth(tmp_path / "t.jsonl")
    assert truth["final_radius"][-1] > 2 * truth["end_radius"][-1]


def test_reverse_sweep_after_a_trip():
    spec = RampSpec(0.0, (-4.2,), (1.2,), 1000.0, after_trip=AfterTrip.REVERSE_SWEEP, n_post=3500)
    _, trip, aborted = first_trip(start(amplifier_gain=1e9, adc_bits=24, **MATRIX), spec)
    assert np.diff(aborted.post.bias[:trip]) == pytest.approx(1.2e-3, rel=1e-6)
    assert aborted.post.bias[trip + 20] == 0
    # plating goes on until the bias has passed E_eq; irreversible plating is not stripped
    assert aborted.post.current[:500].min() < -10e-12
    assert aborted.post.current[1500:trip].mean() == pytest.approx(0.83e-12 * 1.2, abs=0.4e-12)


@pytest.mark.parametrize(
    ("reversibility", "policy", "left"),
    [
        (1.0, SafeState.ZERO, False),
        (1.0, SafeState.OPEN_CIRCUIT, True),
        (1.0, SafeState.ZERO_CURRENT, True),
        (0.0, SafeState.ZERO, True),
    ],
)
def test_safe_states_and_reversibility(tmp_path, reversibility, policy, left):
    backend = start(policy, truth=tmp_path / "t.jsonl", reversibility=reversibility, **MATRIX)
    first_trip(backend, policy=policy)
    _, truth = read_truth(tmp_path / "t.jsonl")
    assert truth["end_radius"][-1] > 5e-9
    assert (truth["final_radius"][-1] > 0) == left


def test_a_safe_state_other_than_announced_still_holds(tmp_path):
    backend = start(SafeState.OPEN_CIRCUIT, truth=tmp_path / "t.jsonl", reversibility=1.0, **MATRIX)
    first_trip(backend, policy=SafeState.ZERO)
    _, truth = read_truth(tmp_path / "t.jsonl")
    assert truth["final_radius"][-1] == 0


def test_a_ramp_on_an_older_nucleus_conducts_at_once(tmp_path):
    backend = start(truth=tmp_path / "t.jsonl", **MATRIX)
    record, _, _ = first_trip(backend)

    again, _, _ = asyncio.run(expose(backend))
    assert again["bias"][-1] > record["bias"][-1] + 0.1
    assert -3.3 < again["bias"][-1] < -3.0
    _, truth = read_truth(tmp_path / "t.jsonl")
    assert truth["visit"][-1] == 1
    assert truth["trip_cause"][-1] == "older_deposit"
    assert not truth["nucleated"][-1]


def test_normal_sweep_grows_micrometres(tmp_path):
    backend = start(truth=tmp_path / "t.jsonl", amplifier_gain=1e7, **MATRIX)
    spec = RampSpec(0.0, (-5.0,), (1.2,), 1000.0)

    async def main():
        await backend.controller.start_ramp(spec)
        blocks = []
        while (block := await backend.controller.next_block()) is not None:
            blocks.append(block)
        await backend.controller.safe_state(SafeState.OPEN_CIRCUIT, 0.0)
        return np.concatenate([b.current for b in blocks])

    current = asyncio.run(main())
    _, truth = read_truth(tmp_path / "t.jsonl")
    assert len(current) == spec.n_samples
    assert 0.5e-6 < truth["final_radius"][0] < 2e-6  # 1 to 4 um across
    volume = 2 / 3 * np.pi * truth["final_radius"][0] ** 3
    charge = -current.sum() / 1e3
    assert charge * 0.98 * 13e-6 / 96485.33 == pytest.approx(volume, rel=0.02)


def test_kill_in_mid_ramp_ends_the_physics_there(tmp_path):
    backend = start(speed=10.0, truth=tmp_path / "t.jsonl", **MATRIX)

    async def main():
        controller = backend.controller
        await controller.start_ramp(SPEC)
        for _ in range(3):
            block = await controller.next_block()
        waiting = asyncio.create_task(controller.next_block())
        await asyncio.sleep(0)
        await controller.safe_state(SafeState.ZERO, 0.0)
        assert await asyncio.wait_for(waiting, 1.0) is None
        assert await controller.next_block() is None
        late = await controller.abort(10, SPEC)
        assert len(late.post) == 0
        return block

    block = asyncio.run(main())
    _, truth = read_truth(tmp_path / "t.jsonl")
    taken = (block.first_index + len(block) - 1) / 1e3
    assert taken <= truth["end_time"][0] < 3.5
    assert truth["final_radius"][0] == 0


def test_feedback_off_leaves_the_height_blind(tmp_path):
    backend = start(truth=tmp_path / "t.jsonl", **MATRIX)
    spec = RampSpec(0.0, (-4.2,), (1.2,), 1000.0, AfterTrip.HOLD, 0.01, 10)
    assert asyncio.run(backend.controller.set_parameter("Z:FEEDBACK", 0)) == 0
    record, _, aborted = first_trip(backend, spec)
    assert np.ptp(np.concatenate([record["height"], aborted.post.height])) < 0.5e-9
    _, truth = read_truth(tmp_path / "t.jsonl")
    assert not truth["height_feedback"][-1]


def test_software_ramp_overshoots_more_and_uses_its_own_time(tmp_path):
    path = tmp_path / "t.jsonl"
    backend = start(truth=path, software_dwell=0.02, **MATRIX)

    async def main():
        controller = backend.controller
        for k in range(12):
            await move(backend, k * 200e-9, 0.0)
            for step in range(160):
                await controller.set_bias(-0.025 * step)
                seen = await controller.measure()
                assert seen.bias == pytest.approx(-0.025 * step)
                if seen.current < -LIMIT:
                    break
            await controller.safe_state(SafeState.OPEN_CIRCUIT, 0.0)

    asyncio.run(main())
    _, truth = read_truth(path)
    assert (truth["exposure_kind"] == "software").all()
    born = truth["nucleated"].astype(bool)
    assert born.sum() > 6
    assert np.median(abs(truth["peak_current"][born])) > 3 * LIMIT
    # each step costs the dwell before set_bias, its settling, and the dwell of measuring
    assert truth["end_time"].min() > 120 * 0.04
    assert (truth["final_radius"][born] > 10e-9).all()


def test_software_ramp_lives_in_wall_time(tmp_path):
    backend = start(truth=tmp_path / "t.jsonl", **MATRIX)

    async def main():
        begin = time.monotonic()
        await backend.controller.set_bias(-1.0)
        await asyncio.sleep(0.1)
        await backend.controller.measure()
        await backend.controller.safe_state(SafeState.OPEN_CIRCUIT, 0.0)
        return time.monotonic() - begin

    wall = asyncio.run(main())
    _, truth = read_truth(tmp_path / "t.jsonl")
    assert 0.1 < truth["end_time"][0] < wall + 0.02


def test_software_dwell_at_constant_bias_follows_the_hazard(tmp_path):
    """Stepped bias integrates the same hazard as a ramp: mean waiting time at one bias."""
    path = tmp_path / "t.jsonl"
    rate = 6e3 * math.exp(-3.2 / (3.75 - 3.04) ** 2)
    backend = start(
        truth=path, software_dwell=0.5 / rate, barrier_spread=0, software_rate=2000.0, **MATRIX
    )

    async def main():
        for k in range(150):
            await move(backend, k * 600e-9 - 45e-6, 0.0)
            await backend.controller.set_bias(-3.75)
            for _ in range(2):
                await backend.controller.measure()
            await backend.controller.safe_state(SafeState.OPEN_CIRCUIT, 0.0)

    asyncio.run(main())
    _, truth = read_truth(path)
    held = truth["end_time"].mean() - 0.5 / rate
    expected = 1 - math.exp(-rate * held)
    assert truth["nucleated"].mean() == pytest.approx(expected, abs=4 * 0.5 / math.sqrt(150))
    assert truth["nucleated"].mean() < 0.95


def test_measuring_when_idle_changes_nothing(tmp_path):
    outcomes = []
    for polls in (0, 50):
        backend = start(truth=tmp_path / f"{polls}.jsonl")

        async def main(backend=backend, polls=polls):
            for _ in range(polls):
                await backend.controller.measure()
                await backend.stage.position("x")
            await move(backend, 1e-7, 1e-7)
            return await expose(backend)

        outcomes.append(asyncio.run(main())[0]["current"])
    assert np.array_equal(*outcomes)


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
