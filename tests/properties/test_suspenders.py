"""A facility's suspender trips at every message of a map: no site is armed twice."""

import collections
import threading

import pytest
from bluesky import RunEngine
from bluesky.suspenders import SuspendBoolHigh
from bluesky.utils import FailedStatus, RunEngineInterrupted
from nucleation_bluesky.plans.nucleation_map import nucleation_map, resume_map
from nucleation_bluesky.plans.stubs import InterruptedStepError
from ophyd import Signal

from tests.plans.fakes import FakeAfm

SITES = {"rows": 1, "cols": 3, "pitch": 20e-9, "origin": (0.0, 0.0), "image_before_after": False}
GONE = 0.05  # s without beam


@pytest.fixture(scope="module")
def engine():
    return RunEngine({}, call_returns_result=True, context_managers=[])


def run_with_trip(engine, afm, number):
    """Run a map; the suspender trips when message ``number`` is about to be done."""
    gone = Signal(name="gone", value=0)
    suspender = SuspendBoolHigh(gone)
    engine.install_suspender(suspender)
    seen = []
    timers = []

    def hook(message):
        seen.append(message.command)
        if len(seen) == number + 1:
            gone.put(1)
            timers.append(threading.Timer(GONE, gone.put, (0,)))
            timers[0].start()

    engine.msg_hook = hook
    outcome = "completed"
    try:
        engine(nucleation_map(afm, **SITES))
    except (FailedStatus, InterruptedStepError, RunEngineInterrupted) as error:
        outcome = type(error).__name__
    finally:
        engine.msg_hook = None
        for timer in timers:
            timer.join()
        engine.remove_suspender(suspender)
        if engine.state != "idle":
            engine.abort()
    return len(seen), outcome


def test_at_every_message(engine, tmp_path):
    (tmp_path / "whole").mkdir()
    total, outcome = run_with_trip(engine, FakeAfm(tmp_path / "whole"), 10**9)
    assert outcome == "completed"
    assert total > 30
    outcomes = {}
    for number in range(0, total, 2):
        directory = tmp_path / str(number)
        directory.mkdir()
        afm = FakeAfm(directory)
        _, outcomes[number] = run_with_trip(engine, afm, number)
        assert engine.state == "idle"
        attempts = collections.Counter(entry[1] for entry in afm.logged("attempt"))
        assert all(count == 1 for count in attempts.values()), (number, attempts)
        used = afm.ledger.exposures("S1")
        assert len(used) == len(attempts)
        if len(used) < SITES["cols"]:  # what was not exposed stays usable
            engine(resume_map(afm, continues="earlier", register=False, **SITES))
            assert len(afm.ledger.exposures("S1")) == SITES["cols"]
        afm.ledger.close()
    # between sites it waits and goes on; within one it ends the run
    assert "completed" in outcomes.values()
