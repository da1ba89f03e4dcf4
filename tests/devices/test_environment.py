"""Environment sensors: whatever a PV or a listener does, the others are read on."""

import math
import threading
from types import SimpleNamespace

import pytest
from epics.ca import ChannelAccessGetFailure
from nucleation_bluesky.devices.environment import Environment, EnvironmentSensor
from ophyd.utils import DestroyedError, DisconnectedError


def sensor(name, egu, unit="", raw=1.0):
    made = EnvironmentSensor(name, f"T:ENV:{name}", unit)
    made.destroy()
    made._signal = SimpleNamespace(
        connected=True, get=lambda **_: raw, metadata={"units": egu}, destroy=lambda: None
    )
    return made


@pytest.mark.parametrize("egu", ["m/", "ug/m3 (", "K)", "m**", "???", "V"])
def test_a_unit_that_cannot_be_read_is_a_problem_not_an_error(egu):
    reading = sensor("oxygen", egu).read()
    assert math.isnan(reading.value)
    assert egu in reading.problem


def test_a_listener_that_fails_does_not_end_the_measurements(caplog):
    again = threading.Event()
    rounds = []

    def broken(readings):
        raise RuntimeError("a broken listener")

    def listen(readings):
        rounds.append(readings["oxygen"].value)
        if len(rounds) > 1:
            again.set()

    environment = Environment([sensor("oxygen", "ppm")], period=0.01)
    environment.subscribe(broken)
    environment.subscribe(listen)
    environment.start()
    try:
        assert again.wait(10)
    finally:
        environment.stop()
    assert rounds[0] == pytest.approx(1e-6)
    assert "a broken listener" in caplog.text


@pytest.mark.parametrize(
    "error",
    [ChannelAccessGetFailure("lost", 0, 192), DisconnectedError("gone"), DestroyedError("closed")],
)
def test_a_circuit_lost_in_the_middle_of_a_read_is_a_problem_and_reading_goes_on(error):
    """The watch on the air must not end without a word with the thread that reads it."""
    lost = sensor("oxygen", "ppm")
    answers = iter([1.0, error, 2.0])
    came_back = threading.Event()
    seen = []

    def get(**_):
        answer = next(answers, 2.0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def listen(readings):
        seen.append(readings["oxygen"])
        if len(seen) > 2:
            came_back.set()

    lost._signal.get = get
    environment = Environment([lost], period=0.01)
    environment.subscribe(listen)
    environment.start()
    try:
        assert came_back.wait(10)
    finally:
        environment.stop()
    assert [reading.value for reading in seen[:3]] == pytest.approx(
        [1e-6, math.nan, 2e-6], nan_ok=True
    )
    assert "cannot be read" in seen[1].problem
