"""Landings over Channel Access, on the demonstration instrument."""

import os
import secrets
import signal
import time
from functools import partial

import h5py
import numpy as np
import pytest
from nucleation_bluesky.contract.enums import (
    ContactMode,
    ControllerState,
    Fault,
    OnLimit,
    SafeState,
    Termination,
)
from nucleation_bluesky.contract.files import SECCM_CHANNELS, waveform_path
from nucleation_bluesky.contract.program import Approach, Limits, Program, concatenate
from nucleation_bluesky.contract.program_builders import (
    chronoamperometry,
    chronopotentiometry,
    cv,
    open_circuit,
)

from tests.iocs.client import starting
from tests.iocs.seccm_client import SeccmClient
from tests.support.ioc import DEMO_SECCM, seccm_ioc

pytestmark = pytest.mark.stack
PERIOD = 2.57e-3
APPROACH = Approach(potential=1.0, z_max=40e-6, speed=5e-6)
SURFACE = 10e-6


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """Start demonstration instruments of one's own."""
    serve = partial(seccm_ioc, tmp_path, factory=DEMO_SECCM, camera_prefix="")
    with starting(serve, lambda ioc: SeccmClient(ioc, monkeypatch)) as start:
        yield start


@pytest.fixture(scope="module")
def shared(tmp_path_factory, module_patch):
    serve = partial(seccm_ioc, tmp_path_factory.mktemp("ioc"), factory=DEMO_SECCM, camera_prefix="")
    with starting(serve, lambda ioc: SeccmClient(ioc, module_patch)) as start:
        yield start(world={"spike_every": 20})


@pytest.fixture
def client(shared):
    shared.put("KILL", 1)
    shared.put("FILE:CAPTURE", 0)
    shared.put("SAFE:POLICY", int(SafeState.RETRACT_THEN_ZERO))
    shared.put("PIP:Z:SOFT_LIMIT", 60.0)
    shared.put("PIP:Z", 0.0)
    return shared


def row(directory, prefix, result):
    with h5py.File(directory / f"{prefix}_{int(result['file_segment']):05d}.h5") as file:
        n = int(result["n_samples"])
        data = {c: file[waveform_path(c)][int(result["file_row"])] for c in SECCM_CHANNELS}
        assert all(np.isnan(v[n:]).all() and np.isfinite(v[:n]).all() for v in data.values())
        return {c: v[:n] for c, v in data.items()}


def test_a_landing_from_approach_to_withdrawal(client, tmp_path):
    client.capture(tmp_path)
    steps = concatenate(
        cv(1.0, -0.5, 0.5),
        chronopotentiometry(-1e-9, 10, charge=2e-9, on_limit=OnLimit.NEXT_STEP),
        open_circuit(0.2),
    )
    result = client.land(Program(APPROACH, steps))
    client.put("FILE:CAPTURE", 0)
    assert (client.state, client.fault) == (ControllerState.SAFE, Fault.NONE)
    assert result["termination"] == Termination.COMPLETED
    assert result["contact"] == 1
    assert result["contact_z"] == pytest.approx(SURFACE, abs=APPROACH.speed * PERIOD)
    # one sample to confirm, two until the motion stops
    assert result["overtravel"] == pytest.approx(3 * APPROACH.speed * PERIOD, rel=1e-3)
    assert result["contact_ticks"] - result["start_ticks"] == pytest.approx(
        result["contact_index"] * PERIOD
    )
    assert result["false_contacts"] > 10
    data = row(tmp_path, "s", result)
    step = data["step"].astype(int)
    assert (np.flatnonzero(step != -1)[0] > result["contact_index"]).all()
    assert list(dict.fromkeys(step)) == [-1, 0, 1, 2, 3, -2]
    assert np.sum(step == 2) == round(2e-9 / 1e-9 / PERIOD) + 1  # the sample that reaches 2 nC
    assert data["potential"][step == 1].max() == pytest.approx(1.0, abs=2e-3)
    assert data["z"][step >= 0].std() < 1e-12  # pinned while measuring
    assert data["z"][-1] == pytest.approx(data["z"][step >= 0][0] - 8e-6, abs=1e-9)
    assert result["charge"] == pytest.approx(data["current"][step >= 0].sum() * PERIOD, rel=1e-4)
    safe = client.ioc.events("safe")[-1]
    assert (safe["reason"], safe["policy"]) == ("completed", "retract_then_zero")


def test_lateral_moves_need_the_pipette_withdrawn(client):
    client.land(Program(APPROACH))
    assert client.get("PIP:Z:RBV") == pytest.approx(2.1, abs=0.2)
    assert client.get("PIP:Z:SAFE") == pytest.approx(6.0, abs=0.1)
    client.put("PIP:X", 11.0)
    assert client.get("PIP:X:RBV") == 11.0
    client.put("PIP:Z", 8.0)
    client.put("PIP:X", 22.0)
    assert client.fault is Fault.BAD_PARAMETER
    assert "PIP:Z:SAFE" in client.get("FAULT:TEXT")
    assert (client.get("PIP:X"), client.get("PIP:X:RBV")) == (11.0, 11.0)
    client.put("PIP:Z", 0.0)
    client.put("PIP:X", 22.0)
    assert client.get("PIP:X:RBV") == 22.0


def test_no_contact_ends_withdrawn_where_it_began(client, tmp_path):
    client.put("PIP:Z", 1.0)
    client.capture(tmp_path, "n")
    program = Program(Approach(potential=1.0, z_max=9e-6, speed=5e-6), chronoamperometry(1.0, 1))
    result = client.land(program)
    assert (client.state, client.termination) == (ControllerState.TRIPPED, Termination.NO_CONTACT)
    assert (result["contact"], result["contact_index"]) == (0, -1)
    assert np.isnan(result["contact_z"])
    assert client.get("PIP:Z:RBV") == pytest.approx(1.0, abs=1e-6)
    client.put("FILE:CAPTURE", 0)
    data = row(tmp_path, "n", result)
    assert data["z"].max() < 9e-6 + 5e-6 * PERIOD
    assert set(data["step"]) == {-1, -2}


def test_hops_with_spikes_make_no_false_contact(client):
    for hop in range(12):
        client.put("PIP:X", 3.0 * hop)
        result = client.land(Program(APPROACH))
        assert result["contact_z"] == pytest.approx(SURFACE, abs=APPROACH.speed * PERIOD)
        assert result["overtravel"] < 4 * APPROACH.speed * PERIOD
        assert result["false_contacts"] > 0
        assert client.get("PIP:Z:RBV") < 3.0


def test_contact_by_drop_from_overload(client):
    approach = Approach(
        mode=ContactMode.OVERLOAD, current=-1e-10, threshold=5.0, z_max=40e-6, speed=5e-6
    )
    result = client.land(Program(approach, chronopotentiometry(-1e-9, 0.5)))
    assert result["termination"] == Termination.COMPLETED
    assert result["contact_z"] == pytest.approx(SURFACE, abs=5e-6 * PERIOD)
    assert result["stop_bias"] == pytest.approx(-1.0)


@pytest.mark.parametrize(
    ("steps", "termination"),
    [
        (chronopotentiometry(-1e-9, 5, potential=Limits(low=-0.5)), Termination.POTENTIAL_LIMIT),
        (cv(0.0, -1.0, 0.5, current=Limits(-0.3e-9, 1e-6)), Termination.CURRENT_COMPLIANCE),
        (chronoamperometry(-1.0, 5, charge=Limits(low=-1e-9)), Termination.CHARGE_LIMIT),
        (chronopotentiometry(-90e-9, 1), Termination.SATURATED),
    ],
)
def test_a_limit_aborts_and_withdraws(client, steps, termination):
    result = client.land(Program(APPROACH, steps))
    assert (client.state, client.termination) == (ControllerState.TRIPPED, termination)
    assert result["trip_segment"] == 0
    assert result["trip_index"] > result["contact_index"]
    assert client.get("PIP:Z:RBV") < 3.0
    if termination is Termination.CURRENT_COMPLIANCE:
        assert result["stop_current"] == pytest.approx(-0.3e-9, abs=0.5 * PERIOD * 1e-9 * 1.01)
    if termination is Termination.CHARGE_LIMIT:
        assert result["charge"] == pytest.approx(-1e-9, abs=1e-9 * PERIOD * 1.01)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"PIP:Z:SOFT_LIMIT": 20.0}, "PIP:Z:SOFT_LIMIT"),
        ({"PIP:Z": 45.0}, "withdraw it first"),
        ({"APPROACH:MODE": 1, "APPROACH:CURRENT": 100.0, "APPROACH:THRESHOLD": 12.0}, "overload"),
        ({"APPROACH:THRESHOLD": 1e-6}, "full scale"),
        ({"PROGRAM:STEPS": 4}, "PROGRAM and PROGRAM:STEPS together"),
        ({"PROGRAM": [1.0, 1e-6, 1e-6, 1.0, 1, 0, -1, 1, -1, 1, -1, 1, 0, 0, 1]}, "full scale"),
        ({"PROGRAM": [0.0, 11.0, 0.0, 1.0, 1, 0, -1, 1, -1, 1, -1, 1, 0, 0, 1]}, "outside -10"),
        ({"PROGRAM": [0.0, 1.0, 0.0, 1.0, 1, 0, -1, 1, -1, 1, 1, 2, 0, 0, 1]}, "enclose zero"),
        ({"PROGRAM": [9.0, 1.0, 0.0, 1.0, 1, 0, -1, 1, -1, 1, -1, 1, 0, 0, 1]}, "step 0"),
    ],
)
def test_what_cannot_be_run_is_refused_at_arm(client, change, text):
    client.program(Program(APPROACH, chronoamperometry(1.0, 1)))
    for suffix, value in change.items():
        client.put(suffix, value)
        assert np.array_equal(client.get(suffix), value)
    client.arm()
    assert client.state is not ControllerState.ARMED
    assert client.fault is Fault.BAD_PARAMETER
    assert text in client.get("FAULT:TEXT")


def test_a_landing_wider_than_a_row_is_refused(client, tmp_path):
    client.capture(tmp_path, "w", max_samples=3000)
    client.program(Program(APPROACH, chronoamperometry(1.0, 10)))
    client.arm()
    assert "FILE:MAX_SAMPLES" in client.get("FAULT:TEXT")


@pytest.mark.parametrize(
    ("suffix", "value"),
    [
        ("PIP:X", 101.0), ("PIP:Z", 61.0), ("PIP:X:SPEED", 51.0), ("PIP:X:SPEED", 0.0),
        ("PIP:X", float("nan")), ("APPROACH:SPEED", 1e3), ("APPROACH:Z_MAX", 70.0),
        ("PROGRAM", [float("inf")]), ("ELM:RANGE", -1.0), ("SAMPLE:PERIOD", 10.0),
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused(client, suffix, value):
    before = client.get(suffix)
    client.put(suffix, value)
    assert client.fault is Fault.BAD_PARAMETER
    assert np.array_equal(client.get(suffix), before)


def test_moves_are_refused_while_armed_and_a_moving_axis_refuses_arm(fresh):
    client = fresh(speed=1)
    client.program(Program(APPROACH))
    client.arm()
    for suffix in ("PIP:X", "PIP:Z", "PIP:Z:SOFT_LIMIT", "APPROACH:SPEED", "ELM:RANGE"):
        client.put(suffix, 1.0)
        assert client.fault is Fault.BUSY, suffix
    client.put("KILL", 1)
    client.put("PIP:X", 90.0, wait=False)  # 45 s at 2 um/s
    time.sleep(0.2)
    client.arm()
    assert "moving" in client.get("FAULT:TEXT")
    client.put("PIP:Y", 4.0, wait=False)
    client.put("PIP:Z", 4.0)
    assert "lateral move" in client.get("FAULT:TEXT")
    client.put("PIP:STOP", 1)
    time.sleep(0.1)
    assert 0 < client.get("PIP:X:RBV") < 5
    client.arm()
    assert client.state is ControllerState.ARMED


def test_a_kill_stops_moves(fresh):
    client = fresh(speed=1)
    client.put("PIP:X", 90.0, wait=False)
    time.sleep(0.2)
    client.put("KILL", 1)
    time.sleep(0.1)
    position = client.get("PIP:X:RBV")
    time.sleep(0.2)
    assert client.get("PIP:X:RBV") == position < 5


@pytest.mark.parametrize("phase", ["approach", "step"])
def test_kill_makes_safe_then_withdraws(fresh, tmp_path, phase):
    client = fresh(speed=1, world={"surface": 0.5e-6 if phase == "step" else 30e-6})
    client.capture(tmp_path, "k")
    client.program(Program(APPROACH, chronopotentiometry(-1e-9, 60), retract_speed=20e-6))
    client.put("GO", client.arm(), wait=False)
    client.ioc.wait_event("energised")
    time.sleep(0.8)
    client.put("KILL", 1)
    assert client.state is ControllerState.FAULT
    client.ioc.wait_event("result")
    result = client.result
    assert (client.fault, client.termination) == (Fault.KILLED, Termination.KILLED)
    assert result["contact"] == (phase == "step")
    events = client.ioc.events()
    names = [e["event"] for e in events]
    killed = events[names.index("killed")]
    safe = next(e for e in events[names.index("killed") :] if e["event"] == "safe")
    assert 0 <= safe["monotonic"] - killed["monotonic"] < 0.05
    assert names.index("withdrawn", names.index("killed")) < names.index("result")
    assert client.get("PIP:Z:RBV") == pytest.approx(0.0, abs=1e-6)
    client.put("FILE:CAPTURE", 0)
    data = row(tmp_path, "k", result)
    assert data["z"][-1] < data["z"].max()


def test_no_landing_overtakes_the_withdrawal_of_a_killed_one(fresh):
    client = fresh(speed=1, world={"surface": 30e-6})
    client.program(Program(APPROACH, retract_speed=2e-6))
    client.put("GO", client.arm(), wait=False)
    client.ioc.wait_event("energised")
    time.sleep(0.8)
    client.put("KILL", 1)
    for axis, target in (("Z", 40.0), ("X", 5.0)):
        client.put(f"PIP:{axis}", target)
        assert client.fault is Fault.BUSY
        assert "still ending" in client.get("FAULT:TEXT")
    client.arm()
    assert client.fault is Fault.BUSY
    assert "still ending" in client.get("FAULT:TEXT")
    client.ioc.wait_event("result")
    client.arm()
    assert client.state is ControllerState.ARMED


def test_lost_heartbeat_withdraws(fresh):
    client = fresh(speed=1, world={"surface": 0.5e-6})
    client.put("HEARTBEAT:TIMEOUT", 0.4)
    client.program(Program(APPROACH, chronopotentiometry(-1e-9, 60), retract_speed=20e-6))
    client.put("GO", client.arm(), wait=False)
    client.ioc.wait_event("energised")
    time.sleep(0.3)
    client.stop_beating()
    stopped = time.monotonic()
    client.ioc.wait_event("heartbeat_lost", 3)
    safe = client.ioc.wait_event("safe", count=2)
    assert safe["monotonic"] - stopped < 0.5
    client.ioc.wait_event("result", 5)
    assert client.termination is Termination.HEARTBEAT_LOST
    assert client.state is ControllerState.FAULT
    assert client.get("PIP:Z:RBV") == pytest.approx(0.0, abs=1e-6)


def test_a_suspended_controller_withdraws_and_voids_what_was_queued(fresh):
    client = fresh(speed=1, world={"surface": 0.5e-6})
    client.put("HEARTBEAT:TIMEOUT", 30.0)
    client.program(Program(APPROACH, chronopotentiometry(-1e-9, 60), retract_speed=20e-6))
    client.put("GO", client.arm(), wait=False)
    client.ioc.wait_event("energised")
    time.sleep(0.3)
    client.pv("PIP:X")
    os.kill(client.ioc.pid, signal.SIGSTOP)
    time.sleep(0.8)
    client.put("PIP:X", 50.0, wait=False)
    time.sleep(0.1)
    os.kill(client.ioc.pid, signal.SIGCONT)
    client.ioc.wait_event("stalled", 3)
    client.ioc.wait_event("result", 5)
    assert client.fault is Fault.STALLED
    assert client.get("PIP:X:RBV") == 0.0
    assert client.get("PIP:Z:RBV") == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("world", "termination", "state"),
    [
        ({"nan_at": 1200}, Termination.NONFINITE, ControllerState.TRIPPED),
        ({"nan_at": 100}, Termination.NONFINITE, ControllerState.TRIPPED),
        ({"saturate_at": 1200}, Termination.SATURATED, ControllerState.TRIPPED),
        ({"fail_at": 100}, Termination.BACKEND_FAULT, ControllerState.FAULT),
        ({"freeze_at": 100}, Termination.STALE, ControllerState.TRIPPED),
    ],
)
def test_trouble_ends_safe_and_completes_the_put(fresh, world, termination, state):
    client = fresh(world=world)
    client.land(Program(APPROACH, chronoamperometry(1.0, 5)))
    assert client.get("PIP:Z:RBV") < 3.0
    assert (client.state, client.termination) == (state, termination)
    assert client.ioc.events()[-1]["event"] == "result"


def test_a_withdrawal_that_failed_is_tried_again(fresh):
    client = fresh(world={"retract_fails": 2})
    client.land(Program(APPROACH, chronoamperometry(1.0, 1)))
    assert (client.state, client.termination) == (ControllerState.FAULT, Termination.COMPLETED)
    assert "does not answer" in client.get("FAULT:TEXT")
    before = len([e for e in client.ioc.events() if e["event"] == "withdrawn"])
    client.arm()
    assert client.fault is Fault.BUSY
    assert "could not be withdrawn" in client.get("FAULT:TEXT")
    client.ioc.wait_event("withdrawal_failed", 10)
    client.ioc.wait_event("withdrawn", 10, count=before + 1)
    assert client.get("PIP:Z:RBV") < 3.0
    client.land(Program(APPROACH, chronoamperometry(1.0, 1)))
    assert client.termination is Termination.COMPLETED
    assert client.state is ControllerState.SAFE


def test_sigterm_in_a_landing_withdraws_and_closes_files(fresh, tmp_path):
    client = fresh(speed=1, world={"surface": 0.5e-6})
    client.capture(tmp_path, "t")
    client.program(Program(APPROACH, chronopotentiometry(-1e-9, 60)))
    client.put("GO", client.arm(), wait=False)
    client.ioc.wait_event("energised")
    time.sleep(0.4)
    client.stop_beating()
    assert client.ioc.stop(10) == 0
    names = [e["event"] for e in client.ioc.events()]
    assert names[-1] == "closed"
    began = names.index("energised")
    assert names.index("safe", began) < names.index("withdrawn", began)
    with h5py.File(tmp_path / "t_00000.h5") as file:
        assert file["/entry/data/termination"][0] == Termination.KILLED


def test_a_token_works_once(client):
    client.program(Program(APPROACH))
    token = client.arm(secrets.token_hex(12))
    client.put("GO", token)
    client.arm(token)
    assert client.fault is Fault.TOKEN_REUSED


def test_readings(client):
    first = client.get("READING")[0]
    time.sleep(0.05)
    assert client.get("ELM:POTENTIAL") == 0.0
    assert client.get("READING")[0] > first
    client.put("ELM:RANGE", 5e4)
    assert client.get("CAP:CURRENT:RANGE") == pytest.approx(5e4)
    client.put("ELM:RANGE", 1e5)
