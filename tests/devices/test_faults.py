"""What happens when the controller is absent, frozen, killed or served by another client."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import pytest
from bluesky.utils import FailedStatus, RunEngineInterrupted
from nucleation_bluesky.contract.enums import ControllerState
from nucleation_bluesky.contract.ramp import RampSpec
from nucleation_bluesky.devices._signals import FIRST_CONTACT
from nucleation_bluesky.devices.errors import ExposureFailedError, NotConnectedError
from tests.devices.conftest import ENVIRONMENT, start
from tests.support.ca_session import second_environment

pytestmark = pytest.mark.stack
SLOW = RampSpec(0.0, (-1.0,), (0.5,), 1000.0)  # 2 s in real time


@pytest.fixture(scope="module")
def ioc(tmp_path_factory):
    with start(tmp_path_factory.mktemp("ioc"), "T:FAULTS:", speed=1.0) as running:
        yield running


@pytest.fixture
def mortal_ioc(tmp_path):
    # beside the other one
    with start(tmp_path, "T:MORTAL:", speed=1.0, environment=second_environment()) as running:
        yield running


@pytest.fixture
def made(ioc, session):
    built = session(ioc.prefix)
    built.afm.ramp.configure_exposure(SLOW)
    return built


def test_absent(session):
    began = time.monotonic()
    with pytest.raises(NotConnectedError, match=r"T:NOBODY:.*start its controller"):
        session("T:NOBODY:")
    assert time.monotonic() - began < 4 * FIRST_CONTACT  # one wait, not one for each PV


def in_ramp(ioc, action):
    """Call ``action`` once an exposure is energised."""

    before = len(ioc.events("energised"))

    def wait():
        ioc.wait_event("energised", 20, count=before + 1)
        action()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def states(made):
    return [e.state for e in made.ledger.exposures()]


def test_frozen(made, ioc):
    frozen = in_ramp(ioc, lambda: os.kill(ioc.pid, signal.SIGSTOP))
    made.afm.ramp.stage()
    began = time.monotonic()
    status = made.afm.ramp.trigger()
    with pytest.raises(Exception, match="did not complete"):
        status.wait(30)
    late = time.monotonic() - began - SLOW.duration
    frozen.join(5)
    assert late <= 2.5
    assert states(made) == ["BURNED"]
    os.kill(ioc.pid, signal.SIGCONT)
    deadline = time.monotonic() + 5
    while made.afm.controller.state.get() == ControllerState.ENERGISED:
        assert time.monotonic() < deadline
    made.afm.ramp.unstage()


def test_killed_process(mortal_ioc, session):
    ioc, made = mortal_ioc, session(mortal_ioc.prefix)
    made.afm.ramp.configure_exposure(SLOW)
    gone = in_ramp(ioc, lambda: os.kill(ioc.pid, signal.SIGKILL))
    made.afm.ramp.stage()
    began = time.monotonic()
    status = made.afm.ramp.trigger()
    with pytest.raises(NotConnectedError, match=r"lost|not connected|not answer"):
        status.wait(30)
    gone.join(5)
    assert time.monotonic() - began < 3
    assert states(made) == ["BURNED"]
    made.afm.stop()  # whatever the state, stopping never raises
    made.afm.ramp.stop()
    made.afm.stage_xy.x.stop()


def test_kill_by_another_client(made, ioc):
    # long enough for the other client to start and connect on a busy machine
    made.afm.ramp.configure_exposure(replace(SLOW, rates=(0.04,)))
    command = [sys.executable, "-m", "caproto.commandline.put", f"{ioc.prefix}KILL", "1"]
    killer = in_ramp(
        ioc, lambda: subprocess.run(command, env=os.environ | ENVIRONMENT, timeout=20, check=True)
    )
    with pytest.raises(FailedStatus) as failed:
        made.RE(bp.count([made.afm.ramp]))
    killer.join(20)
    assert isinstance(failed.value.__cause__, ExposureFailedError)
    assert states(made) == ["BURNED"]


@pytest.mark.parametrize("how", ["abort", "halt"])
def test_pause_then(made, ioc, how):
    stopper = in_ramp(ioc, made.RE.request_pause)

    def plan():
        yield from bps.stage(made.afm.ramp)
        yield from bps.mv(made.afm.stage_xy.x, 1e-6)
        yield from bps.trigger(made.afm.ramp, wait=True)

    with pytest.raises((RunEngineInterrupted, FailedStatus)):
        made.RE(plan())
    stopper.join(20)
    deadline = time.monotonic() + 1.0  # long before the ramp's own end
    while made.afm.controller.state.get() == ControllerState.ENERGISED:
        assert time.monotonic() < deadline
    if made.RE.state == "paused":
        getattr(made.RE, how)()
    assert made.afm.ramp._idle.wait(5)
    assert states(made) == ["BURNED"]
    made.afm.ramp.unstage()
