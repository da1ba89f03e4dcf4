"""The harness of random schedules itself: one real schedule, and that it judges."""

import random
from dataclasses import replace

import pytest
from benchmarks.fault_schedules import (
    KINDS,
    LOST,
    PLAN,
    Fault,
    Schedule,
    energised_at,
    late,
    run_block,
    run_schedule,
    running,
    summary,
)
from benchmarks.fault_stack import stack
from benchmarks.faults import accounts, waveform_files

KILLED = 2  # of seed 2026: kill -9 in an energised ramp, then resumed


def test_a_seed_tells_the_same_schedule_again():
    drawn = [Schedule.drawn(random.Random(f"5-{n}"), PLAN) for n in range(200)]
    assert drawn == [Schedule.drawn(random.Random(f"5-{n}"), PLAN) for n in range(200)]
    assert {f.kind for s in drawn for f in s.faults} == set(KINDS)
    first = Schedule.drawn(random.Random(f"2026-{KILLED}"), PLAN).faults[0]
    assert first.kind == "session_killed"


def test_late_is_late():
    fault = {"kind": "session_killed", "energised": True, "safe_after": 0.59}
    assert not late(fault, 0.5)
    assert late({**fault, "safe_after": 0.61}, 0.5)
    assert late({**fault, "safe_after": None}, 0.5)
    assert not late({**fault, "safe_after": 9.0, "kind": "tiled_killed"}, 0.5)
    events = [{"event": "energised", "monotonic": 1.0}, {"event": "safe", "monotonic": 2.0}]
    assert [energised_at(events, t) for t in (0.5, 1.5, 2.5)] == [False, True, False]


def test_time_in_which_the_controller_stood_still_does_not_count():
    frozen = Fault("ioc_frozen", 0, 0.0, 2.0)
    hits = [(frozen, {"at": 5.0})]
    assert running(2.5, 5.1, hits) == pytest.approx(0.6)
    assert running(5.0, 5.1, hits) == pytest.approx(0.1)
    restart = [(replace(frozen, kind="ioc_restarted"), {"at": 3.0, "lasted": 1.0})]
    assert running(2.9, 4.1, restart) == pytest.approx(0.2)
    assert running(2.5, 5.1, [(replace(frozen, kind="tiled_frozen"), {"at": 5.0})]) > 2.5


@pytest.mark.stack
def test_one_schedule_without_tiled(tmp_path):
    with stack(tmp_path, speed="1", heartbeat=PLAN.heartbeat) as made:
        found = run_schedule(made, KILLED, 2026, tiled=False)
        books = accounts(made.data, made.trace.events)
        files = waveform_files(made.data)
    assert found["wrong"] == []
    (fault,) = found["faults"]
    assert (fault["kind"], fault["energised"]) == ("session_killed", True)
    assert fault["reason"] == "heartbeat_lost"
    assert found["twice"]["energised"] == 3
    assert {key: books[key] for key in LOST} == dict.fromkeys(LOST, 0)
    assert books["states"] == {"DONE": 2, "BURNED": 1}
    assert (files["rows_read"], files["bad"]) == (files["expected"], 0)


@pytest.mark.stack
@pytest.mark.faults
@pytest.mark.timeout(900)
def test_one_schedule_with_everything(tmp_path):
    block = run_block(tmp_path, [KILLED], 2026)
    found = summary([block], 2026)
    assert found["wrong"] == []
    assert found["faults"] == {"session_killed": 1}
    assert found["sites_energised"] == 3
    assert found["runs_in_tiled"] == 2
    # had the journal or Tiled lost anything, it would say so
    block["accounts"]["done_without_event"] = 1
    block["schedules"][0]["wrong"] = ["tokens_twice: 1"]
    found = summary([block], 2026)
    assert found["journal_events_lost"] == 1
    assert len(found["wrong"]) == 1
