"""The virtual AFM's backend as a front end drives it: moves, ramps with a plain compliance."""

import asyncio
import math

import numpy as np
from nucleation_bluesky.contract.enums import SafeState
from nucleation_bluesky.contract.ramp import RampSpec
from nucleation_bluesky.iocs.backends.virtual_afm import make_virtual_afm

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


def first_trip(backend, spec=SPEC, **options):
    async def main():
        for k in range(20):
            await move(backend, k * 200e-9, 0.0)
            record, trip, aborted = await expose(backend, spec, **options)
            if trip >= 0:
                return record, trip, aborted
        raise AssertionError("no site nucleated")

    return asyncio.run(main())
