"""With a safeguard off, what checks it must say so: a check that cannot fail proves nothing.

Whole sessions with a safeguard off are in tests/faults; here each is small. The substitutes exist
in this file alone.
"""

import shutil
from dataclasses import replace

import pytest
from benchmarks.fault_schedules import Fault, judged, late
from benchmarks.faults import accounts, exposed_twice
from bluesky import RunEngine
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from nucleation_bluesky.callbacks.journal import Journal
from nucleation_bluesky.contract.enums import Termination
from nucleation_bluesky.iocs.state import ControlState, Mode, Refusal
from nucleation_bluesky.ledger import Ledger
from nucleation_bluesky.ledger.errors import IllegalTransitionError
from nucleation_bluesky.plans.nucleation_map import nucleation_map

from tests.plans.fakes import FakeAfm
from tests.properties.test_ledger_machine import LedgerMachine

# -- ledger --------------------------------------------------------------------------------------


class GrantsEverything(Ledger):
    """Forgets distances."""

    def claim(self, site):
        return super().claim(replace(site, min_distance=0.0, exposures_per_site=10**6))


class GoesBack(Ledger):
    """Says nothing when an exposure that has ended is to change."""

    def _transition(self, *arguments):
        try:
            super()._transition(*arguments)
        except IllegalTransitionError:
            return


@pytest.mark.parametrize("substitute", [GrantsEverything, GoesBack])
def test_ledger(substitute):
    class Machine(LedgerMachine):
        make = staticmethod(substitute)

    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=60, stateful_step_count=20, deadline=None, database=None,
                derandomize=True, report_multiple_bugs=False, phases=("generate",),
            ),
        )  # fmt: skip


# -- journal -------------------------------------------------------------------------------------


class Buffers(Journal):
    """Keeps events back until the run ends."""

    def __call__(self, name, doc):
        held = self.__dict__.setdefault("held", [])
        if name == "event":
            held.append((name, doc))
            return
        if name == "stop":
            for one in held:
                super().__call__(*one)
        super().__call__(name, doc)


class Nothing:
    """Records nothing."""

    def __init__(self, directory):
        directory.mkdir()

    def attach(self, run_engine):
        pass


def disk_after_two_sites(tmp_path, journal):
    """What kill -9 after the second event would leave, with the trace up to then."""
    data, left = tmp_path / "data", tmp_path / "left"
    data.mkdir()
    afm = FakeAfm(data)
    engine = RunEngine({}, context_managers=[])
    journal(data / "journal").attach(engine)
    trace = []

    def take(name, doc):
        if doc["seq_num"] == 2:
            shutil.copytree(data, left)
            trace.extend(
                {"event": event, "token": token, "x": 0.0, "y": 0.0}
                for _, token in afm.logged("energise")
                for event in ("energised", "result")
            )

    engine.subscribe(take, "event")
    sites = {"rows": 1, "cols": 3, "pitch": 20e-9, "image_before_after": False}
    engine(nucleation_map(afm, origin=(0.0, 0.0), **sites))
    afm.ledger.close()
    return accounts(left, trace)


@pytest.mark.parametrize(("journal", "lost"), [(Journal, 0), (Buffers, 2), (Nothing, 2)])
def test_journal(tmp_path, journal, lost):
    found = disk_after_two_sites(tmp_path, journal)
    assert found["done_without_event"] == lost
    assert found["acknowledged_without_event_or_burned"] == lost
    assert found["events"] == 2 - lost


# -- watchdog and latch --------------------------------------------------------------------------

TOKENS = ["a" * 24, "b" * 24]


def controller():
    state = ControlState(epoch=1, heartbeat_timeout=0.5)
    state.claim("session", 0.0)
    state.beat(1, 0.0)
    return state


def ramp_whose_session_dies(state, death=0.4, length=3.0):
    """The trace of a ramp that begins at 0.1 s, in steps of 10 ms."""
    state.arm(f"{TOKENS[0]}@1", 0.1)
    state.go(TOKENS[0], Mode.RAMP, 0.1)
    events = [{"event": "energised", "monotonic": 0.1}]
    for step in range(11, 400):
        now = step / 100
        if now < death:
            state.beat(step, now)
        lost = state.heartbeat_lost(now)
        if lost or now > 0.1 + length:
            reason = "heartbeat_lost" if lost else "completed"
            return [*events, {"event": "safe", "monotonic": now, "reason": reason}]
    raise AssertionError("the ramp did not end")


@pytest.mark.parametrize("watchdog", [True, False])
def test_watchdog(watchdog, monkeypatch):
    if not watchdog:
        monkeypatch.setattr(ControlState, "heartbeat_lost", lambda self, now: False)
    fault = Fault("session_killed", 0, 0.3, 0.0)
    hit = {"at": 0.4, "lasted": 0.0}
    events = ramp_whose_session_dies(controller())
    found = judged(events, fault, hit, [(fault, hit)])
    assert found["energised"]
    assert late(found, 0.5) == (not watchdog)


class Forgets(set):
    """Tokens that are never remembered."""

    def add(self, _):
        pass


def two_exposures(state):
    """The trace of a site exposed, and of the same command arriving once more."""
    events = []
    for now in (0.1, 0.3):
        try:
            state.arm(f"{TOKENS[0]}@1", now)
            state.go(TOKENS[0], Mode.RAMP, now)
        except Refusal:
            continue
        events.append({"event": "energised", "token": TOKENS[0], "x": 0.0, "y": 0.0})
        state.finish(Termination.CURRENT_COMPLIANCE)
    return exposed_twice(events)


def test_token():
    state = controller()
    assert two_exposures(state)["tokens_twice"] == 0
    state = controller()
    state._used = Forgets()
    found = two_exposures(state)
    assert (found["tokens_twice"], found["places_twice"]) == (1, 1)


def go_after_a_trip(state):
    """Whether GO works after a trip without a new token."""
    state.arm(f"{TOKENS[0]}@1", 0.1)
    state.go(TOKENS[0], Mode.RAMP, 0.1)
    events = [{"event": "energised", "token": TOKENS[0], "x": 0.0, "y": 0.0}]
    state.finish(Termination.CURRENT_COMPLIANCE)
    try:
        state.go(TOKENS[0] if state.token else "", Mode.RAMP, 0.2)
    except Refusal:
        return exposed_twice(events)
    return exposed_twice([*events, events[0]])


def test_latch(monkeypatch):
    assert go_after_a_trip(controller())["tokens_twice"] == 0
    # a controller that stays armed after a trip
    monkeypatch.setattr(
        ControlState,
        "finish",
        lambda self, _: setattr(self, "state", type(self.state).ARMED),
    )
    assert go_after_a_trip(controller())["tokens_twice"] == 1
