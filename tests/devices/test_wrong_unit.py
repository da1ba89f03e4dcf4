"""A controller whose EGU has another dimension is refused when connecting."""

import os
import subprocess
import sys

import pytest
from nucleation_bluesky.devices.controller import check_units
from nucleation_bluesky.devices.errors import BadValueError, WrongUnitError
from nucleation_bluesky.devices.stage import XAxis
from nucleation_bluesky.devices.z_sensor import ZSensor
from tests.devices.conftest import ENVIRONMENT

pytestmark = pytest.mark.stack
SERVER = """
from caproto import ChannelDouble, ChannelInteger
from caproto.server import run
number = lambda unit, value=0.0: ChannelDouble(value=value, units=unit)
pvdb = {"T:UNIT:Z:RBV": number("V"), "T:UNIT:Z:FEEDBACK": ChannelInteger(value=1),
        "T:UNIT:STAGE:X": number("nm"), "T:UNIT:STAGE:X:RBV": number("nm", 250.0),
        "T:UNIT:STAGE:X:LOW": number("um", -1.0), "T:UNIT:STAGE:X:HIGH": number("mm", 0.002),
        "T:UNIT:STAGE:STOP": ChannelInteger(value=0)}
run(pvdb, interfaces=["127.0.0.1"])
"""


@pytest.fixture(scope="module")
def server():
    process = subprocess.Popen([sys.executable, "-c", SERVER], env=os.environ | ENVIRONMENT)
    yield process
    process.kill()
    process.wait(10)


def test_another_dimension_is_refused(server):
    sensor = ZSensor("T:UNIT:", name="z")
    sensor.height.require_connection(20)
    with pytest.raises(WrongUnitError, match=r"T:UNIT:Z:RBV has the unit 'V'.*convertible to m"):
        check_units(sensor)
    with pytest.raises(WrongUnitError):
        sensor.read()


def test_any_unit_of_the_dimension_is_converted(server):
    axis = XAxis("T:UNIT:", name="x")
    axis.readback.require_connection(20)
    check_units(axis)
    assert axis.position == pytest.approx(250e-9)
    assert axis.limits == pytest.approx((-1e-6, 2e-6))
    assert axis.describe()["x"]["units"] == "m"
    with pytest.raises(BadValueError, match="from -1 to 2 um"):
        axis.set(2.1e-6)
    axis.setpoint.write(1.5e-6)
    assert axis.setpoint.get() == pytest.approx(1.5e-6)
