"""Whatever fails is told in words, not as the representation of a status."""

import bluesky.plan_stubs as bps
import pytest
from bluesky import RunEngine
from bluesky.utils import FailedStatus
from nucleation_bluesky.plans.failures import device_error, first_cause
from nucleation_bluesky.plans.stubs import clean_up, finished
from ophyd import Device
from ophyd.status import DeviceStatus


class Part(Device):
    """Its status ends with an error, or not at all."""

    error: Exception | None = None

    def trigger(self):
        status = DeviceStatus(self)
        if self.error is not None:
            status.set_exception(self.error)
        return status


@pytest.fixture
def part():
    return Part("", name="part")


def lost():
    error = ConnectionError("the connection to NB:Kill was lost")
    error.__cause__ = OSError("status code 192")
    return error


def test_a_clean_up_step_is_told_by_what_its_device_says(part):
    part.error = lost()
    told = []

    def plan():
        told.extend((yield from clean_up({"kill": lambda: bps.trigger(part, wait=True)})))

    RunEngine()(plan())
    assert told == ["kill: the connection to NB:Kill was lost"]


def test_a_wait_that_times_out_says_for_what(part):
    def plan():
        status = yield from bps.trigger(part, group="move")
        yield from finished("move", [status], timeout=0.01, what="the move")

    with pytest.raises(TimeoutError, match=r"^the move did not end within 0.01 s$"):
        RunEngine()(plan())


def test_what_is_unwrapped():
    failed = FailedStatus("<Status ...>")
    assert device_error(failed) is failed
    failed.__cause__ = lost()
    assert device_error(failed) is failed.__cause__
    assert device_error(failed.__cause__) is failed.__cause__
    assert str(first_cause(failed)) == "status code 192"
