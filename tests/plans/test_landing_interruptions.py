"""A pause at messages throughout a screen of landings: no site is landed on twice."""

import pytest
from bluesky.utils import FailedStatus, RequestAbort, RunEngineInterrupted
from nucleation_bluesky.plans.screen import combinatorial_screen
from nucleation_bluesky.plans.stubs import InterruptedStepError
from tests.plans.test_interruptions import interrupted_at
from tests.support.seccm_stack import seccm_stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
UM, NA = 1e-6, 1e-9
SITES = 2
SHORT = {"z_max": 20 * UM, "frame_period": 0.5, "frame_exposure": 0.01}
TABLE = [{"current": -0.5 * NA, "duration": 0.3}]
PLACES = 6  # of the message stream


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with seccm_stack(tmp_path_factory.mktemp("landings"), "T:SECINT:") as made:
        yield made


def screen(stack, line):
    where = {"origin": (3 * UM, 7 * UM * line), "pitch": 7 * UM, "rows": 1}
    return combinatorial_screen(
        stack.seccm, conditions=TABLE, repeats=SITES, assignment="blocked", seed=1, **where, **SHORT
    )


def used(stack):
    return [(round(e.x / UM, 1), round(e.y / UM, 1)) for e in stack.ledger.exposures()]


def test_pause_then_resume_or_abort(stack):
    seen = []
    stack.RE.msg_hook = seen.append
    stack.RE(screen(stack, 1))
    stack.RE.msg_hook = None
    assert len(used(stack)) == SITES
    for k in range(PLACES):
        number = (2 * k + 1) * len(seen) // (2 * PLACES)
        before = len(used(stack))
        with pytest.raises(RunEngineInterrupted):
            stack.RE(interrupted_at(screen(stack, 2 + k), number))
        then = stack.RE.resume if k % 2 else stack.RE.abort
        try:
            then()
        except (FailedStatus, InterruptedStepError, RequestAbort, RunEngineInterrupted):
            assert k % 2 == 0 or stack.RE.state == "idle"
        assert stack.RE.state == "idle"
        new = used(stack)[before:]
        assert len(new) == len(set(new)) <= SITES
        states = {e.state.value for e in stack.ledger.exposures()[before:]}
        assert states <= {"DONE", "BURNED"}
    energised = [e["token"] for e in stack.ioc.events("energised")]
    assert SITES < len(energised) == len(set(energised)) <= len(used(stack))
