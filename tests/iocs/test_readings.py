"""A driver that hangs: told as a fault, safe state, and no exposure has to wait for it."""

import asyncio
import threading

import pytest
from nucleation_bluesky.contract.enums import Fault, Termination
from nucleation_bluesky.contract.pvs import family_pvs
from nucleation_bluesky.contract.ramp import Compliance, RampSpec
from nucleation_bluesky.iocs import readings, software
from nucleation_bluesky.iocs.afm import AfmFrontEnd
from nucleation_bluesky.iocs.backend import AfmBackend
from nucleation_bluesky.iocs.backends.demo import DemoController, DemoSettings
from nucleation_bluesky.iocs.backends.demo_seccm import make_demo_seccm
from nucleation_bluesky.iocs.driver_threads import in_thread
from nucleation_bluesky.iocs.exposure import Exposure
from nucleation_bluesky.iocs.seccm import SeccmFrontEnd
from nucleation_bluesky.iocs.writes import Writes


async def hang(*_):
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


def test_a_bias_that_is_never_set_is_given_up(monkeypatch):
    monkeypatch.setattr(software, "SET_TIMEOUT", 0.05)

    async def run():
        front, _ = afm()
        front.software._controller.set_bias = hang
        await front.boot()
        front.state.require_software = lambda _: None  # as after SOFT:GO
        bias = family_pvs("afm")["BIAS"]
        await asyncio.wait_for(Writes(front, front._commands).put(bias, -0.5), 5)
        assert front.state.fault is Fault.BACKEND_ERROR
        assert "did not set the bias" in front.state.text
        assert front.safety.reached
        await front.close()

    asyncio.run(run())


def test_a_bias_that_is_set_late_is_taken_back(monkeypatch):
    """A driver's thread cannot be cancelled: it sets the bias when the safe state has come."""
    monkeypatch.setattr(software, "SET_TIMEOUT", 0.05)
    gate = threading.Event()

    async def run():
        front, _ = afm()
        driver = front.software._controller
        was_set = asyncio.Event()

        def blocking(bias):
            gate.wait(10)
            driver._bias = bias

        async def in_a_thread(bias):
            await asyncio.to_thread(blocking, bias)
            was_set.set()

        driver.set_bias = in_a_thread
        await front.boot()
        front.state.require_software = lambda _: None  # as after SOFT:GO
        bias = family_pvs("afm")["BIAS"]
        await asyncio.wait_for(Writes(front, front._commands).put(bias, -0.5), 5)
        assert front.safety.reached
        (late,) = front.late
        gate.set()
        await asyncio.wait_for(was_set.wait(), 5)
        await asyncio.wait_for(late, 5)
        assert driver._bias == 0.0
        await front.close()

    asyncio.run(run())


def test_a_ramp_that_a_thread_starts_after_the_kill_is_taken_back():
    """A stop cannot end the driver's thread; the safe state comes again when it has ended."""
    gate = threading.Event()

    async def run():
        front, _ = afm()
        driver = front.software._controller

        def blocking():
            gate.wait(10)
            driver._bias = -0.5

        driver.start_ramp = lambda _: in_thread(blocking)
        await front.boot()
        front._wind_up = front._finish = nothing  # no exposure was armed: no file, no RESULT
        exposure = Exposure(driver, RampSpec(0.0, (-1.0,), (1.0,), 1000.0), Compliance())
        exposing = asyncio.create_task(front._expose(exposure, "token"))
        await asyncio.sleep(0.1)
        exposure.stop(Termination.KILLED)
        await asyncio.wait_for(exposing, 5)
        assert front.safety.reached
        (late,) = front.late
        gate.set()
        await asyncio.wait_for(late, 5)
        assert driver._bias == 0.0
        await front.close()

    asyncio.run(run())


async def nothing(*_):
    return None
