"""Stopping an SECCM that moves in real time: safe state first, whatever else fails."""

import time

import pytest
from nucleation_bluesky.devices.errors import InstrumentError, NotConnectedError
from tests.support.seccm_stack import seccm_stack

pytestmark = pytest.mark.stack
UM = 1e-6


@pytest.fixture(scope="module")
def seccm(tmp_path_factory):
    with seccm_stack(tmp_path_factory.mktemp("stopping"), "T:STOP:", speed=1.0) as stack:
        yield stack.seccm


def test_a_lost_camera_does_not_keep_the_instrument_from_its_safe_state(seccm, monkeypatch):
    def lost(value):
        raise NotConnectedError("the camera is gone")

    monkeypatch.setattr(seccm.camera, "_filming", True)
    monkeypatch.setattr(seccm.camera.acquire, "send", lost)
    epoch = seccm.controller.epoch.get()
    seccm.stop()
    assert seccm.controller.epoch.get() > epoch  # the kill has arrived


@pytest.mark.parametrize("name", ["x", "y", "z"])
def test_stopping_the_pipette_ends_a_move_of_each_axis(seccm, name):
    axis = getattr(seccm.pipette, name)
    low, high = axis.limits
    target = low + 1 * UM if axis.position > (low + high) / 2 else high - 1 * UM
    moving = axis.set(target)
    deadline = time.monotonic() + 10
    while axis.setpoint.get() != pytest.approx(target):  # the controller has begun
        assert time.monotonic() < deadline
    seccm.pipette.stop()
    with pytest.raises(InstrumentError, match="was stopped"):
        moving.wait(8)  # the move itself would last longer, and its own deadline comes later
