"""A real IOC process over Channel Access: what it refuses, and what it runs."""

import math
import secrets
import time

import h5py
import numpy as np
import pytest
from caproto import ChannelType
from nucleation_bluesky.contract.enums import ControllerState, Fault, Termination
from nucleation_bluesky.contract.files import segment_name, waveform_path
from nucleation_bluesky.contract.pvs import Kind, family_pvs

pytestmark = pytest.mark.stack


def test_every_pv_is_served_with_type_unit_and_access(shared):
    pvs = family_pvs("afm")
    channels = shared._context.get_pvs(*(shared.ioc.prefix + s for s in pvs), timeout=10)
    for channel in channels:
        channel.wait_for_connection(timeout=10)
    for channel, pv in zip(channels, pvs.values(), strict=True):
        assert bool(channel.access_rights & 2) == pv.writable, pv.suffix
        reading = channel.read(data_type="control", timeout=5)
        if pv.kind in {Kind.DOUBLE, Kind.DOUBLES}:
            assert reading.metadata.units.decode() == pv.egu, pv.suffix
        if pv.kind is Kind.ENUM:
            assert [s.decode() for s in reading.metadata.enum_strings] == pv.enum.labels()
        assert channel.channel.native_data_count == (
            pv.length if pv.kind in {Kind.DOUBLES, Kind.CHARS} else 1
        )


def test_egu_and_desc_fields(shared):
    (egu,) = shared._context.get_pvs(shared.ioc.prefix + "AMP:CURRENT.EGU", timeout=5)
    egu.wait_for_connection(timeout=5)
    assert egu.read().data[0] == b"pA"


def test_boots_safe_and_traces_it(shared):
    names = [event["event"] for event in shared.ioc.events()]
    assert names[:2] == ["boot", "safe"]


def test_go_without_arm(client):
    client.put("GO", secrets.token_hex(12))
    assert (client.state, client.fault) == (ControllerState.FAULT, Fault.NOT_ARMED) or (
        client.state is ControllerState.SAFE and client.fault is Fault.NOT_ARMED
    )
    assert client.ioc.events()[-1]["event"] == "refused"
    assert "ARM" in client.get("FAULT:TEXT")


def test_exposure_completes(client):
    token = client.arm()
    assert client.state is ControllerState.ARMED
    client.put("GO", token)
    assert client.state is ControllerState.SAFE
    assert client.fault is Fault.NONE
    result = client.result
    assert result["termination"] == Termination.COMPLETED
    assert result["n_samples"] == 101
    assert result["token_check"] == int(token[:12], 16)
    assert result["seq"] == client.get("SEQ")
    assert result["stop_bias"] == pytest.approx(-1.0)
    assert result["charge"] == pytest.approx(-0.5e-12 * 0.1)  # triangle of 1 pA, 0.1 s


def test_monitors_are_delivered_before_put_completion(client):
    seen = []
    subscription = client.pv("RESULT").subscribe(data_type="time")

    def remember(_, reading):  # the library keeps weak references only
        seen.append(reading.data[0])

    subscription.add_callback(remember)
    try:
        for _ in range(5):
            token = client.arm()
            client.put("GO", token)
            time.sleep(0.005)  # the client library hands callbacks to a thread of its own
            assert seen
            assert seen[-1] == client.get("SEQ")
    finally:
        subscription.clear()


def test_token_works_once(client):
    token = client.arm()
    client.put("GO", token)
    client.put("GO", token)
    assert client.fault is Fault.TOKEN_REUSED
    client.arm(token)
    assert client.fault is Fault.TOKEN_REUSED
    assert client.state is ControllerState.SAFE


def test_token_expires(client):
    client.put("ARM:TIMEOUT", 0.1)
    token = client.arm()
    client.ioc.wait_event("expired", 3)
    client.wait_state(ControllerState.SAFE)
    client.put("GO", token)
    assert client.fault is Fault.TOKEN_EXPIRED
    assert client.state is ControllerState.SAFE


def test_wrong_epoch(client):
    old = client.get("EPOCH")
    client.put("KILL", 1)
    assert client.get("EPOCH") != old
    client.arm(epoch=old)
    assert client.fault is Fault.EPOCH_MISMATCH
    assert client.state is not ControllerState.ARMED


@pytest.mark.parametrize(
    ("suffix", "value"),
    [
        ("RAMP:START", math.nan),
        ("RAMP:VERTICES", [math.nan]),
        ("RAMP:VERTICES", [-1.0, math.inf]),
        ("RAMP:VERTICES", [-1e9]),
        ("RAMP:RATES", [0.0]),
        ("RAMP:RATES", [-1.0]),
        ("RAMP:SAMPLE_RATE", 1e9),
        ("COMP:CURRENT:LOW", 5.0),
        ("COMP:CURRENT:HIGH", 0.0),
        ("COMP:HEIGHT:HIGH", math.inf),
        ("COMP:CONFIRM", 0),
        ("AFTER:SAMPLES", -1),
        ("SAFE:BIAS", math.nan),
        ("SAFE:POLICY", 3),
        ("STAGE:X", 1e6),
        ("STAGE:X", math.nan),
        ("STAGE:Y", -1.0),
        ("TOPO:PIXELS", 0),
        ("HEARTBEAT:TIMEOUT", math.nan),
        ("AMP:GAIN", math.nan),
        ("COMP:CURRENT:ON", 2),
    ],
)
def test_bad_numbers_change_nothing(client, suffix, value):
    before = client.get(suffix)
    client.put("RAMP:START", 0.0)
    assert client.fault in {Fault.NONE, Fault.KILLED}
    client.put(suffix, value)
    assert client.fault is Fault.BAD_PARAMETER
    assert client.get("FAULT:TEXT")
    assert np.array_equal(client.get(suffix), before)


def test_undecodable_value_is_a_fault_and_completes(client):
    client.pv("RAMP:START").write(
        [b"abc"], data_type=ChannelType.STRING, wait=True, timeout=3, notify=True
    )
    assert client.fault is Fault.BAD_PARAMETER
    assert client.get("RAMP:START") == 0.0


def test_mismatched_ramp_is_refused_at_arm(client):
    client.ramp(vertices=(-1.0, 0.0), rates=(1.0,))
    client.arm()
    assert client.fault is Fault.BAD_PARAMETER
    assert client.state is not ControllerState.ARMED


def test_parameters_are_locked_while_armed(client):
    client.arm()
    for suffix, value in (
        ("RAMP:START", 0.5),
        ("STAGE:X", 1.0),
        ("SAFE:BIAS", 0.1),
        ("FILE:CAPTURE", 1),
        ("HEARTBEAT:TIMEOUT", 9.0),
        ("TOPO:GO", 1),
    ):
        client.put(suffix, value)
        assert client.fault is Fault.BUSY, suffix
    assert client.state is ControllerState.ARMED


def test_bias_outside_an_exposure(client):
    client.put("BIAS", 1.0)
    assert client.fault is Fault.NOT_ARMED
    assert client.get("BIAS:RBV") == 0.0


def test_trip_latches(client):
    client.ramp(vertices=(-4.0,), COMP_CURRENT_ON=1, COMP_CURRENT_LOW=-2.0, AFTER_SAMPLES=3)
    token = client.arm()
    client.put("GO", token)
    assert client.state is ControllerState.TRIPPED
    result = client.result
    assert result["termination"] == Termination.CURRENT_COMPLIANCE
    assert result["trip_index"] == 201
    assert result["stop_bias"] == pytest.approx(-2.01)
    assert (result["n_samples"], result["n_post"]) == (205, 3)
    assert client.get("BIAS:RBV") == 0.0
    client.arm()
    assert client.state is ControllerState.ARMED


def test_reused_owner(client):
    client.own()
    client.put("OWNER", "intruder")
    assert client.fault is Fault.NOT_OWNER
    assert client.get("OWNER") == "test"


def test_waveforms_are_readable_while_capture_is_open(client, tmp_path):
    client.put("FILE:DIR", str(tmp_path))
    client.put("FILE:PREFIX", "run")
    client.put("FILE:ROWS", 2)
    client.put("FILE:MAX_SAMPLES", 200)
    client.put("FILE:CAPTURE", 1)
    assert client.fault in {Fault.NONE, Fault.KILLED}
    where = []
    for _ in range(3):
        client.put("GO", client.arm())
        result = client.result
        where.append((result["file_segment"], result["file_row"]))
        path = tmp_path / segment_name("run", int(result["file_segment"]))
        with h5py.File(path, "r", libver="latest", swmr=True) as file:
            row = file[waveform_path("bias")][int(result["file_row"])]
        assert np.count_nonzero(np.isfinite(row)) == 101
        assert row[100] == pytest.approx(-1.0)
    assert where == [(0, 0), (0, 1), (1, 0)]
    client.ramp(vertices=(-5.0,))
    client.arm()
    assert client.fault is Fault.BAD_PARAMETER  # 501 samples do not fit in 200
    client.put("FILE:CAPTURE", 0)
    client.put("FILE:CAPTURE", 1)
    assert client.fault is Fault.FILE_ERROR  # never overwrites


def test_bad_directory(client, tmp_path):
    client.put("FILE:DIR", str(tmp_path / "absent"))
    client.put("FILE:CAPTURE", 1)
    assert client.fault is Fault.FILE_ERROR
    assert client.get("FILE:CAPTURE") == 0
    client.put("FILE:DIR", str(tmp_path))
    client.put("FILE:PREFIX", "../evil")
    client.put("FILE:CAPTURE", 1)
    assert client.fault is Fault.FILE_ERROR


def test_stage_and_topography(client, tmp_path):
    client.put("STAGE:X", 3.0)
    assert client.get("STAGE:X:RBV") == pytest.approx(3.0)
    client.put("FILE:DIR", str(tmp_path))
    client.put("TOPO:NAME", "before")
    client.put("TOPO:PIXELS", 16)
    seq = client.get("TOPO:SEQ")
    client.put("TOPO:GO", 1)
    assert client.get("TOPO:SEQ") == seq + 1
    with h5py.File(tmp_path / "before.h5") as file:
        data = file["/entry/data/topography"]
        assert data.shape == (1, 16, 16)
        assert data.attrs["units"] == "m"
    client.put("TOPO:GO", 1)
    assert client.fault is Fault.FILE_ERROR
    assert client.get("TOPO:SEQ") == seq + 1


def test_software_ramp(client):
    token = client.arm()
    client.put("SOFT:GO", token)
    assert client.state is ControllerState.ENERGISED
    count = client.get("MEASUREMENT")[0]
    client.put("BIAS", -0.5)
    assert client.get("BIAS:RBV") == -0.5
    assert client.get("AMP:CURRENT") == pytest.approx(-0.5)
    assert client.get("MEASUREMENT")[0] > count
    client.put("BIAS", math.nan)
    client.put("BIAS", 99.0)
    assert client.fault is Fault.BAD_PARAMETER
    assert client.get("BIAS") == -0.5
    client.put("SOFT:END", int(Termination.STOPPED_BY_PLAN))
    assert client.state is ControllerState.SAFE
    assert client.termination is Termination.STOPPED_BY_PLAN
    assert client.result["n_samples"] == 0
    assert client.result["stop_bias"] == -0.5
    assert client.get("BIAS:RBV") == 0.0


def test_clock(client):
    client.put("CLOCK:SYNC", 1)
    _, utc = client.get("CLOCK")
    assert abs(utc - time.time()) < 5
