"""The how-to's example, as a process of its own."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from nucleation_bluesky.contract.enums import ControllerState, Fault, Termination

from tests.iocs.client import Client
from tests.support.ioc import channel_access_environment

EXAMPLE = Path(__file__).parents[2] / "examples" / "my_daq_backend.py"
pytestmark = pytest.mark.stack


@pytest.fixture
def client(monkeypatch):
    environment = channel_access_environment()
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLE), "MY:"],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "serving MY:\n"
        session = Client(SimpleNamespace(prefix="MY:", environment=environment), monkeypatch)
        yield session
        session.close()
    finally:
        process.terminate()
        try:
            assert process.wait(5) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        finally:
            process.stdout.close()


def test_resistor_trips_where_it_should_and_kill_works(client):
    client.ramp(
        vertices=(-4.0,), rates=(10.0,), COMP_CURRENT_ON=1, COMP_CURRENT_LOW=-2.0, SAFE_POLICY=2
    )
    client.put("GO", client.arm())
    assert client.state is ControllerState.TRIPPED
    result = client.result
    assert result["termination"] == Termination.CURRENT_COMPLIANCE
    assert result["stop_bias"] == pytest.approx(-2.01)
    assert result["stop_current"] == pytest.approx(-2.01e-12)
    assert 0 < result["latency"] <= 0.005
    client.put("RAMP:RATES", [0.5])
    client.put("GO", client.arm(), wait=False)
    client.wait_state(ControllerState.ENERGISED)
    client.put("KILL", 1)
    assert (client.state, client.fault) == (ControllerState.FAULT, Fault.KILLED)
    assert client.get("BIAS:RBV") == 0.0


def test_absent_parts_are_refused(client):
    for suffix, value in (("STAGE:X", 0.0), ("AMP:GAIN", 1e10), ("TOPO:GO", 1)):
        client.put(suffix, value)
        assert client.fault is Fault.BAD_PARAMETER, suffix
        assert client.get("FAULT:TEXT")
