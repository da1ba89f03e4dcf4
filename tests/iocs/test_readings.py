"""A driver whose measurement hangs: told as a fault, and no exposure has to wait for it."""

import asyncio

import pytest
from nucleation_bluesky.contract.enums import Fault
from nucleation_bluesky.iocs import readings
from nucleation_bluesky.iocs.afm import AfmFrontEnd
from nucleation_bluesky.iocs.backend import AfmBackend
from nucleation_bluesky.iocs.backends.demo import DemoController, DemoSettings
from nucleation_bluesky.iocs.backends.demo_seccm import make_demo_seccm
from nucleation_bluesky.iocs.seccm import SeccmFrontEnd


async def hang():
    await asyncio.Event().wait()


def afm():
    controller = DemoController(float("inf"), DemoSettings())
    controller.measure = hang
    front = AfmFrontEnd(AfmBackend(controller), "T:")
    return front, front.software.readings


def seccm():
    backend = make_demo_seccm(1, float("inf"), None)
    backend.controller.measure = hang
    front = SeccmFrontEnd(backend, "T:")
    return front, front.readings


@pytest.mark.parametrize("make", [afm, seccm])
def test_a_measurement_that_hangs_is_given_up(make, monkeypatch):
    monkeypatch.setattr(readings, "MEASURE_TIMEOUT", 0.05)

    async def run():
        front, taken = make()
        await front.boot()
        await asyncio.wait_for(taken.measure_or_fault(), 5)
        assert front.state.fault is Fault.BACKEND_ERROR
        assert "no measurement within" in front.state.text
        await asyncio.wait_for(front.measuring.acquire(), 1)  # what GO waits for
        front.measuring.release()
        assert front.safety.reached
        await front.close()

    asyncio.run(run())
