"""Kill, lost heartbeat, suspension, driver errors: the safe state by the IOC's own trace."""

import os
import secrets
import signal
import time

import h5py
import numpy as np
import pytest
from caproto import ChannelType
from nucleation_bluesky.contract.enums import ControllerState, Fault, Termination
from nucleation_bluesky.contract.files import ROW_DATASETS, WAVEFORM_GROUP, waveform_path

pytestmark = pytest.mark.stack


def start_long_ramp(client):
    client.ramp(vertices=(-5.0,), rates=(0.5,))
    token = client.arm()
    client.put("GO", token, wait=False)
    client.ioc.wait_event("energised")
    client.wait_state(ControllerState.ENERGISED)
    time.sleep(0.1)
    return token


def test_kill_mid_ramp_keeps_what_was_acquired(fresh, tmp_path):
    client = fresh(speed=1)
    client.put("FILE:DIR", str(tmp_path))
    client.put("FILE:PREFIX", "k")
    client.put("FILE:MAX_SAMPLES", 20000)
    client.put("FILE:CAPTURE", 1)
    epoch = client.get("EPOCH")
    start_long_ramp(client)
    client.put("KILL", 1)
    assert client.state is ControllerState.FAULT
    client.ioc.wait_event("result")
    assert client.fault is Fault.KILLED
    assert client.get("EPOCH") > epoch
    result = client.result
    assert result["termination"] == Termination.KILLED
    assert 0 < result["n_samples"] < 10001
    with h5py.File(tmp_path / "k_00000.h5", "r", swmr=True) as file:
        n = file[f"{WAVEFORM_GROUP}/n_samples"][0]
        assert n == result["n_samples"]
        assert np.isfinite(file[waveform_path("bias")][0, :n]).all()
    killed, safe = client.ioc.wait_event("killed"), client.ioc.events("safe")[1]
    assert 0 <= safe["monotonic"] - killed["monotonic"] < 0.05
    assert client.get("BIAS:RBV") == 0.0
    client.put("GO", client.arm(), wait=False)  # a new token works
    client.wait_state(ControllerState.ENERGISED)


def test_kill_with_any_value_and_while_armed(fresh):
    client = fresh(speed=1)
    client.arm()
    client.pv("KILL").write(
        [b"now"], data_type=ChannelType.STRING, wait=True, notify=True, timeout=3
    )
    assert (client.state, client.fault) == (ControllerState.FAULT, Fault.KILLED)


def test_kill_while_safe_changes_only_the_epoch(fresh):
    client = fresh(speed=1)
    epoch = client.get("EPOCH")
    client.put("KILL", 1)
    assert (client.state, client.fault) == (ControllerState.SAFE, Fault.NONE)
    assert client.get("EPOCH") == epoch + 1


@pytest.mark.parametrize("software", [False, True])
def test_lost_heartbeat(fresh, software):
    client = fresh(speed=1)
    client.put("HEARTBEAT:TIMEOUT", 0.4)
    if software:
        client.put("SOFT:GO", client.arm())
        client.put("BIAS", -0.5)
    else:
        start_long_ramp(client)
    client.stop_beating()
    stopped = time.monotonic()
    lost = client.ioc.wait_event("heartbeat_lost", 3)
    safe = client.ioc.wait_event("safe", count=2)
    assert safe["monotonic"] - stopped < 0.4 + 0.1
    assert safe["monotonic"] >= lost["monotonic"]
    client.ioc.wait_event("result", 3)
    assert (client.state, client.fault) == (ControllerState.FAULT, Fault.NO_HEARTBEAT)
    assert client.termination is Termination.HEARTBEAT_LOST
    assert client.get("BIAS:RBV") == 0.0


def test_suspension_voids_what_was_queued(fresh):
    client = fresh(speed=1)
    client.put("HEARTBEAT:TIMEOUT", 30.0)
    client.put("SOFT:GO", client.arm())
    client.put("BIAS", -0.1)
    epoch = client.get("EPOCH")
    token = secrets.token_hex(12)
    for suffix in ("STAGE:X", "GO"):
        client.pv(suffix)  # connected before
    os.kill(client.ioc.pid, signal.SIGSTOP)
    time.sleep(0.8)
    client.put("BIAS", -2.0, wait=False)
    client.put("STAGE:X", 7.0, wait=False)
    client.put("ARM", f"{token}@{epoch}", wait=False)
    client.put("GO", token, wait=False)
    time.sleep(0.2)
    os.kill(client.ioc.pid, signal.SIGCONT)
    client.ioc.wait_event("stalled", 3)
    client.ioc.wait_event("safe", 3, count=2)
    time.sleep(0.3)
    assert client.state is ControllerState.FAULT
    assert client.get("STAGE:X:RBV") == 0.0
    assert client.get("EPOCH") != epoch
    assert [e["bias"] for e in client.ioc.events("bias_set")] == [-0.1]
    assert len(client.ioc.events("armed")) == 1
    assert client.get("BIAS:RBV") == 0.0
    assert client.termination is Termination.KILLED
    client.arm()
    assert (client.state, client.fault) == (ControllerState.ARMED, Fault.NONE)


def test_suspension_is_noticed_without_any_command(fresh):
    client = fresh(speed=1)
    client.get("STATE")
    os.kill(client.ioc.pid, signal.SIGSTOP)
    time.sleep(0.8)
    os.kill(client.ioc.pid, signal.SIGCONT)
    client.wait_state(ControllerState.FAULT)
    assert client.fault is Fault.STALLED


@pytest.mark.parametrize(
    ("world", "termination", "state"),
    [
        ({"nan_at": 50}, Termination.NONFINITE, ControllerState.TRIPPED),
        ({"fail_at": 40}, Termination.BACKEND_FAULT, ControllerState.FAULT),
        ({"freeze_at": 40}, Termination.STALE, ControllerState.TRIPPED),
    ],
)
def test_backend_trouble_ends_safe_and_completes_the_put(fresh, world, termination, state):
    client = fresh(world=world)
    client.ramp()
    client.put("GO", client.arm(), timeout=10)
    assert (client.state, client.termination) == (state, termination)
    assert client.ioc.events()[-1]["event"] == "result"
    assert (
        client.ioc.events("safe")[-1]["monotonic"] > client.ioc.events("energised")[0]["monotonic"]
    )
    if termination is Termination.BACKEND_FAULT:
        assert "driver failed" in client.get("FAULT:TEXT")


def test_tokens_of_an_earlier_boot_are_void(fresh, tmp_path):
    first = fresh(speed=1)
    epoch, boot = first.get("EPOCH"), first.get("BOOT")
    first.close()
    assert first.ioc.stop() == 0
    second = fresh(speed=1)
    assert second.get("BOOT") != boot
    assert second.get("EPOCH") != epoch
    second.arm(epoch=epoch)
    assert second.fault is Fault.EPOCH_MISMATCH


def test_sigterm_mid_ramp_is_safe_and_closes_files(fresh, tmp_path):
    client = fresh(speed=1)
    client.put("FILE:DIR", str(tmp_path))
    client.put("FILE:PREFIX", "t")
    client.put("FILE:MAX_SAMPLES", 20000)
    client.put("FILE:CAPTURE", 1)
    start_long_ramp(client)
    client.stop_beating()
    assert client.ioc.stop() == 0
    names = [e["event"] for e in client.ioc.events()]
    assert names[-1] == "closed"
    assert names.index("safe", names.index("energised")) < names.index("result")
    with h5py.File(tmp_path / "t_00000.h5", "r") as file:  # closed: opens without SWMR
        assert set(ROW_DATASETS) <= set(file[WAVEFORM_GROUP])
        assert file[f"{WAVEFORM_GROUP}/termination"][0] == Termination.KILLED
