"""Software ramps of the virtual AFM, and measuring between exposures."""

import asyncio
import math
import time

import numpy as np
import pytest
from nucleation_bluesky.contract.enums import SafeState
from nucleation_bluesky.worlds.afm.truth import read_truth
from tests.worlds.afm_backend import LIMIT, MATRIX, expose, move, start


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
