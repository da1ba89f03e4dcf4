"""A RunEngine process killed with -9, interrupted, or met by a second session; and checks that
must fail where a safeguard is off."""

import random
from dataclasses import replace

import pytest
from benchmarks.faults import (
    Plan,
    accounts,
    exposed_twice,
    in_tiled,
    kill_in_ramp,
    next_session,
    verdict,
    waveform_files,
)
from nucleation_bluesky.callbacks.journal_reader import journals
from nucleation_bluesky.ledger.ledger import Ledger

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.timeout(600)]
# ramps of 2.4 s, nearly five heartbeats, that no nucleus can end early
PLAN = Plan(rows=1, cols=5, stop=-2.4, rate=1.0, heartbeat=0.5)
LONG = replace(PLAN, stop=-2.0, rate=0.25, cols=2)
FAST = {
    "rows": 2, "cols": 3, "pitch": 50e-9, "stop": -4.2, "rate": 12.0, "image_before_after": False,
}  # fmt: skip


def state_checks(stack, start):
    stack.trace.update()
    return {
        "twice": exposed_twice(stack.trace.events[start:]),
        "accounts": accounts(stack.data, stack.trace.events),
        "files": waveform_files(stack.data),
        "tiled": in_tiled(stack.data),
    }


@pytest.fixture(scope="module")
def killed_twice(slow_stack):
    slow_stack.write_config(slow_stack.heartbeat, sample="killed")
    others = journals(slow_stack.data / "journal")
    slow_stack.trace.update()
    start = len(slow_stack.trace.events)
    rng = random.Random(1)
    kills = []
    for _ in range(2):
        child = next_session(slow_stack, PLAN, others)
        kills.append(kill_in_ramp(slow_stack, child, PLAN, rng))
    last = next_session(slow_stack, PLAN, others).report(300)
    return kills, last, state_checks(slow_stack, start)


def test_killed_map_is_safe_and_resumes(killed_twice, slow_stack):
    kills, last, checks = killed_twice
    assert [kill["reason"] for kill in kills] == ["heartbeat_lost"] * 2
    assert (last["outcome"], last["delivered"]) == ("success", True)
    assert verdict({"kills": kills, **checks}, PLAN.heartbeat) == []
    states = [e.state.value for e in ledger_of(slow_stack).exposures("killed")]
    assert (len(states), states.count("BURNED"), states.count("DONE")) == (5, 2, 3)


def test_check_fails_without_heartbeat(slow_stack):
    slow_stack.write_config(60.0, sample="no-heartbeat")
    try:
        slow_stack.trace.update()
        child = slow_stack.run("map", arguments=LONG.arguments, tiled=False)
        kill = kill_in_ramp(slow_stack, child, PLAN, random.Random(2), first=True)
    finally:
        slow_stack.write_config(slow_stack.heartbeat)
    assert kill["reason"] != "heartbeat_lost"
    (wrong,) = verdict({"kills": [kill]}, PLAN.heartbeat)
    assert "safe after" in wrong


def sessions_of(stack, sample):
    stack.write_config(stack.heartbeat, sample=sample)
    return {"arguments": FAST, "tiled": False}


def test_check_fails_without_ledger(fast_stack):
    for _ in range(2):
        job = sessions_of(fast_stack, "no-ledger")
        assert fast_stack.run("map", no_ledger=True, **job).report(300)["outcome"] == "success"
    fast_stack.trace.update()
    assert exposed_twice(fast_stack.trace.events)["places_twice"] >= 6
    assert accounts(fast_stack.data, fast_stack.trace.events)["energised_not_claimed"] == 12


def test_check_fails_without_journal(fast_stack):
    fast_stack.trace.update()
    before = len(fast_stack.trace.events)
    job = sessions_of(fast_stack, "no-journal")
    assert fast_stack.run("map", no_journal=True, **job).report(300)["outcome"] == "success"
    fast_stack.trace.update()
    found = accounts(fast_stack.data, fast_stack.trace.events[before:])
    assert found["acknowledged_without_event_or_burned"] == 6


def test_second_session_is_refused(slow_stack):
    slow_stack.write_config(slow_stack.heartbeat, sample="two-sessions")
    slow_stack.trace.update()
    start = len(slow_stack.trace.events)
    first = slow_stack.run("map", arguments=replace(PLAN, rows=6).arguments, tiled=False)
    slow_stack.trace.wait("result", after=start)
    second = slow_stack.run("map", arguments=PLAN.arguments, tiled=False).report(120)
    assert first.alive
    assert "owned by session" in second["error"]
    assert "close that session first" in second["error"]
    done = len(slow_stack.trace.events)
    slow_stack.trace.wait("result", after=done)  # the first goes on
    first.interrupt()
    assert first.report(60)["outcome"] == "abort"
    slow_stack.trace.update()
    events = slow_stack.trace.events[start:]
    assert {e["termination"] for e in events if e["event"] == "result"} == {"completed"}
    assert {e["owner"] for e in events if e["event"] == "owner"} <= {first.report()["owner"], ""}


def test_a_session_started_at_once_outwaits_the_heart_of_a_dead_one(slow_stack):
    slow_stack.write_config(8.0, sample="at-once")
    try:
        slow_stack.trace.update()
        start = len(slow_stack.trace.events)
        first = slow_stack.run("map", arguments=PLAN.arguments, tiled=False)
        slow_stack.trace.wait("result", after=start)
        first.kill()
        quick = PLAN.arguments | {"origin": (-9e-6, 9e-6), "stop": -0.2}
        assert slow_stack.run("map", arguments=quick, tiled=False).report(120)["error"] == ""
    finally:
        slow_stack.write_config(slow_stack.heartbeat)


@pytest.mark.parametrize(("times", "burned"), [(1, 0), (2, 1)])
def test_control_c(slow_stack, times, burned):
    sample = f"control-c-{times}"
    slow_stack.write_config(slow_stack.heartbeat, sample=sample)
    slow_stack.trace.update()
    start = len(slow_stack.trace.events)
    child = slow_stack.run("map", arguments=PLAN.arguments, tiled=False)
    energised = slow_stack.trace.wait("energised", after=start)
    for _ in range(times):
        child.interrupt()
        child.wait_quiet(0.3)
    report = child.report(60)
    assert (report["outcome"], report["error"]) == ("abort", "")
    slow_stack.trace.update()
    events = slow_stack.trace.events[start:]
    ends = [e["termination"] for e in events if e["event"] == "result"]
    assert len(ends) == 1
    assert (ends == ["killed"]) == bool(burned)
    assert ends[0] != "heartbeat_lost"
    safe = next(
        e for e in events if e["event"] == "safe" and e["monotonic"] > energised["monotonic"]
    )
    assert safe["reason"] != "heartbeat_lost"
    states = [e.state.value for e in ledger_of(slow_stack).exposures(sample)]
    assert states == ["BURNED" if burned else "DONE"]
    assert report["num_events"].get("primary", 0) == 1 - burned


def ledger_of(stack):
    return Ledger(stack.data / "ledger.sqlite", read_only=True)


def test_killed_by_another_client_then_resumed(slow_stack):
    sample = "killed-by-other"
    slow_stack.write_config(slow_stack.heartbeat, sample=sample)
    slow_stack.trace.update()
    start = len(slow_stack.trace.events)
    arguments = LONG.arguments
    child = slow_stack.run("map", arguments=arguments, tiled=False)
    slow_stack.trace.wait("energised", after=start)
    slow_stack.put("KILL", 1)
    report = child.report(60)
    assert "its site is burned" in report["error"]
    again = slow_stack.run("map", arguments={**arguments, "skip_used": True}, tiled=False)
    assert again.report(120)["outcome"] == "success"
    states = [e.state.value for e in ledger_of(slow_stack).exposures(sample)]
    assert sorted(states) == ["BURNED", "DONE"]
