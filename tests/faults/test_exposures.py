"""Exposures that fail while their run would go on, and a controller suspended at ARM."""

import os
import signal
import threading
from urllib.parse import urlparse

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import h5py
import pytest
from bluesky.utils import FailedStatus
from nucleation_bluesky.contract.files import waveform_path
from nucleation_bluesky.contract.ramp import RampSpec
from nucleation_bluesky.devices.errors import ArmRefusedError, UnreadExposureError

pytestmark = pytest.mark.stack
RAMP = RampSpec(0.0, (-0.5,), (0.5,), 1000.0)  # 1 s in real time


def test_failed_exposure_shifts_no_rows(real_time_ioc, session):
    made = session(real_time_ioc.prefix)
    ramp, stage = made.afm.ramp, made.afm.stage_xy
    ramp.configure_exposure(RAMP)
    before = len(real_time_ioc.events("energised"))

    def kill():
        real_time_ioc.wait_event("energised", 20, count=before + 2)
        made.afm.controller.kill()

    killer = threading.Thread(target=kill)

    @bpp.stage_decorator([ramp])
    @bpp.run_decorator()
    def stubborn():
        for site in range(3):
            yield from bps.mv(stage.x, site * 1e-6)
            try:
                yield from bps.trigger_and_read([ramp])
            except FailedStatus:
                continue

    killer.start()
    with pytest.raises(UnreadExposureError, match="new one over the sites that are still free"):
        made.RE(stubborn())
    killer.join(20)
    assert [e.state for e in made.ledger.exposures()] == ["DONE", "BURNED"]
    events = [doc for name, doc in made.documents if name == "event"]
    datums = [doc for name, doc in made.documents if name == "stream_datum"]
    assert len(events) == 1
    assert {doc["indices"]["stop"] for doc in datums} == {1}

    # a new run starts new files
    made.documents.clear()
    made.RE(once(ramp, stage, 5e-6))
    assert len([doc for name, doc in made.documents if name == "event"]) == 1
    (uri,) = {doc["uri"] for name, doc in made.documents if name == "stream_resource"}
    with h5py.File(urlparse(uri).path) as file:
        assert len(file[waveform_path("bias")]) == 1


@bpp.run_decorator()
def once(ramp, stage, x):
    def visit():
        yield from bps.mv(stage.x, x)
        yield from bps.trigger_and_read([ramp])

    yield from bpp.stage_wrapper(visit(), [ramp])


@pytest.fixture
def suspend_at_arm(real_time_ioc, session, monkeypatch):
    """The controller is suspended while ARM is on its way; returns session and later action."""

    made = session(real_time_ioc.prefix)
    made.afm.ramp.configure_exposure(RAMP)
    arm = made.afm.controller.arm_signal
    command = arm.command
    meanwhile = []
    pids = [real_time_ioc.pid]

    def suspended(value, *args):
        if not pids:
            return command(value, *args)
        pid = pids.pop()
        os.kill(pid, signal.SIGSTOP)

        def wake():
            for action in meanwhile:
                action()
            os.kill(pid, signal.SIGCONT)

        threading.Timer(0.8, wake).start()
        return command(value, *args)

    monkeypatch.setattr(arm, "command", suspended)
    return made, meanwhile


def test_suspension_at_arm_burns_nothing(suspend_at_arm, real_time_ioc):
    made, _ = suspend_at_arm
    before = len(real_time_ioc.events("stalled"))
    made.RE(once(made.afm.ramp, made.afm.stage_xy, 10e-6))
    assert len(real_time_ioc.events("stalled")) == before + 1
    assert [e.state for e in made.ledger.exposures()] == ["DONE"]


def test_kill_during_suspension_at_arm_is_obeyed(suspend_at_arm):
    made, meanwhile = suspend_at_arm
    meanwhile.append(made.afm.controller.kill)
    with pytest.raises(FailedStatus) as failed:
        made.RE(once(made.afm.ramp, made.afm.stage_xy, 12e-6))
    assert isinstance(failed.value.__cause__, ArmRefusedError)
    assert [e.state for e in made.ledger.exposures()] == ["BURNED"]
