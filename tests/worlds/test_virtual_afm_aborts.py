"""The virtual AFM after a trip, a kill, and in its safe states."""

import asyncio

import numpy as np
import pytest
from nucleation_bluesky.contract.enums import AfterTrip, SafeState
from nucleation_bluesky.contract.ramp import RampSpec
from nucleation_bluesky.worlds.afm.truth import read_truth
from tests.worlds.afm_backend import MATRIX, SPEC, expose, first_trip, start


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
