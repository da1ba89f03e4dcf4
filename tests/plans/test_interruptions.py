"""A pause, stop, abort or halt at every message: no site is armed twice, the rest stays usable."""

import collections
import threading

import bluesky.preprocessors as bpp
import pytest
from bluesky import Msg, RunEngine
from bluesky.utils import FailedStatus, RunEngineInterrupted
from nucleation_bluesky.plans.nucleation_map import nucleation_map, resume_map
from nucleation_bluesky.plans.stubs import InterruptedStepError
from tests.plans.fakes import FakeAfm

SITES = {"rows": 1, "cols": 3, "pitch": 20e-9, "origin": (0.0, 0.0), "image_before_after": False}


@pytest.fixture(scope="module")
def engine():
    return RunEngine({}, call_returns_result=True, context_managers=[])


def interrupted_at(plan, number):
    """The plan with an immediate pause before message ``number``."""
    count = -1

    def insert(message):
        nonlocal count
        count += 1
        if count == number:

            def paused():
                yield Msg("pause", None, defer=False)
                return (yield message)

            return paused(), None
        return None, None

    return bpp.plan_mutator(plan, insert)


def length(engine, tmp_path):
    seen = []
    engine.msg_hook = seen.append
    engine(nucleation_map(FakeAfm(tmp_path), **SITES))
    engine.msg_hook = None
    return len(seen)


@pytest.mark.parametrize("then", ["resume", "stop", "abort", "halt"])
def test_every_message(engine, tmp_path, then):
    (tmp_path / "whole").mkdir()
    total = length(engine, tmp_path / "whole")
    assert total > 30
    outcomes = collections.Counter()
    numbers = range(0, total, 1 if then == "resume" else 4)
    for number in numbers:
        directory = tmp_path / str(number)
        directory.mkdir()
        afm = FakeAfm(directory)
        with pytest.raises(RunEngineInterrupted):
            engine(interrupted_at(nucleation_map(afm, **SITES), number))
        outcomes["paused"] += 1
        getattr(engine, then)()
        assert engine.state == "idle"
        attempts = collections.Counter(entry[1] for entry in afm.logged("attempt"))
        assert all(count == 1 for count in attempts.values()), (number, attempts)
        used = len(afm.ledger.exposures("S1"))
        assert used == len(attempts)
        if then == "resume":
            assert used == 3
        if used < 3:  # what was not exposed stays usable
            engine(resume_map(afm, continues="earlier", register=False, **SITES))
            assert len(afm.ledger.exposures("S1")) == 3
        afm.ledger.close()
    assert outcomes == {"paused": len(numbers)}


@pytest.mark.parametrize("defer", [True, False])
def test_pause_in_the_middle_of_a_ramp(engine, tmp_path, defer):
    afm = FakeAfm(tmp_path)
    afm.ramp.delay = 0.2
    timer = threading.Timer(0.3, engine.request_pause, (defer,))
    timer.start()
    with pytest.raises(RunEngineInterrupted):
        engine(nucleation_map(afm, **SITES))
    timer.join()
    if defer:
        engine.resume()
    else:
        assert afm.logged("kill")  # safe while paused, not only once somebody resumes
        with pytest.raises((FailedStatus, InterruptedStepError)):
            engine.resume()
        afm.ramp.idle.wait(5)
    attempts = collections.Counter(entry[1] for entry in afm.logged("attempt"))
    assert all(count == 1 for count in attempts.values()), (attempts, afm.log)
    found = [exposure.state.value for exposure in afm.ledger.exposures("S1")]
    assert found == (["DONE"] * 3 if defer else ["DONE", "BURNED"])
    assert engine.rewindable
    if not defer:
        engine(resume_map(afm, continues="earlier", register=False, **SITES))
        assert afm.ledger.exposures("S1")[-1].state.value == "DONE"
