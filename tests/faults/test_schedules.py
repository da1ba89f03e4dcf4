"""The harness of random schedules itself: a few real schedules, and that it judges."""

import random
from collections import Counter
from dataclasses import replace

import bluesky.plans as bp
import pytest
from benchmarks import fault_queue
from benchmarks.fault_block import withdrawals
from benchmarks.fault_inject import random_of
from benchmarks.fault_kinds import (
    HARMLESS,
    KINDS,
    OTHERS,
    QUEUE_STOPS,
    STOPS_RAMP,
    false_trips,
    less_waiting,
)
from benchmarks.fault_plans import AFM, QUEUE, SECCM
from benchmarks.fault_schedules import (
    Fault,
    Schedule,
    blocks_of,
    energised_at,
    late,
    run_blocks,
    running,
    summary,
)
from benchmarks.faults import journalled, waveform_files
from bluesky import RunEngine
from nucleation_bluesky.callbacks.journal import Journal
from ophyd import Signal

SEED = 2026
FEW = [("afm", [4]), ("seccm", [5])]  # a kill -9 and a full disk; many Ctrl-C and a dead network


@pytest.mark.parametrize("plan", [AFM, SECCM])
def test_a_seed_tells_the_same_schedule_again(plan):
    drawn = [Schedule.drawn(random_of(5, plan.family, n), plan) for n in range(300)]
    assert drawn == [Schedule.drawn(random_of(5, plan.family, n), plan) for n in range(300)]
    kinds = Counter(f.kind for s in drawn for f in s.faults)
    assert set(kinds) == set(KINDS)
    # most would fall into what is energised, and must end it
    faults = [f for s in drawn for f in s.faults]
    assert sum(f.offset < plan.duration for f in faults) > 0.9 * len(faults)
    assert sum(kinds[k] for k in STOPS_RAMP) > 0.5 * len(faults)


def test_schedules_of_a_queue():
    many = [fault_queue.drawn(random_of(5, "queue", n), QUEUE) for n in range(100)]
    assert many == [fault_queue.drawn(random_of(5, "queue", n), QUEUE) for n in range(100)]
    assert {fault.kind for faults in many for fault in faults} == set(fault_queue.KINDS)
    assert set(fault_queue.KINDS) >= QUEUE_STOPS
    # areas of their own on the one sample
    origins = [tuple(fault_queue.first_item(n, QUEUE)["kwargs"]["origin"]) for n in range(100)]
    assert len(set(origins)) == 100
    killed = {"kind": "worker_killed", "energised": True, "safe_after": 1.2}
    assert late(killed, 1.0)
    assert not late({**killed, "kind": "manager_killed"}, 1.0)


def test_every_kind_has_one_class():
    assert len(KINDS) == len(set(KINDS)) == len(STOPS_RAMP) + len(HARMLESS) + len(OTHERS)


def test_other_seeds_are_other_schedules():
    one, other = (Schedule.drawn(random.Random(seed), AFM) for seed in (1, 2))
    assert one != other


def test_late_is_late():
    fault = {"kind": "session_killed", "energised": True, "safe_after": 0.59}
    assert not late(fault, 0.5)
    assert late({**fault, "safe_after": 0.61}, 0.5)
    assert late({**fault, "safe_after": None}, 0.5)
    assert not late({**fault, "safe_after": 9.0, "kind": "tiled_killed"}, 0.5)
    starved = {**fault, "safe_after": 0.9, "waited": 0.35}
    assert [late(f, 0.5) for f in (starved, less_waiting(starved))] == [True, False]
    assert late(less_waiting({**starved, "waited": 0.2}), 0.5)
    assert late(less_waiting({**starved, "safe_after": None}), 0.5)
    events = [{"event": "energised", "monotonic": 1.0}, {"event": "safe", "monotonic": 2.0}]
    assert [energised_at(events, t) for t in (0.5, 1.5, 2.5)] == [False, True, False]
    lost = [{"event": "heartbeat_lost", "monotonic": 3.0}]
    assert [false_trips(lost, [{"at": at, "lasted": 0.0}]) for at in (2.0, 4.0)] == [0, 1]


def test_time_in_which_the_controller_stood_still_does_not_count():
    frozen = Fault("ioc_frozen", 0, 0.0, 2.0)
    hits = [(frozen, {"at": 5.0})]
    assert running(2.5, 5.1, hits) == pytest.approx(0.6)
    assert running(5.0, 5.1, hits) == pytest.approx(0.1)
    restart = [(replace(frozen, kind="ioc_restarted"), {"at": 3.0, "lasted": 1.0})]
    assert running(2.9, 4.1, restart) == pytest.approx(0.2)
    assert running(2.5, 5.1, [(replace(frozen, kind="tiled_frozen"), {"at": 5.0})]) > 2.5


def test_a_pipette_left_at_the_surface_is_noticed():
    def event(name, at, z):
        return {"event": name, "monotonic": at, "token": "a", "z": z}

    landing = [event("energised", 0.0, 0.0), event("safe", 2.0, None)]
    assert withdrawals([*landing, event("withdrawn", 2.5, 4e-6)], SECCM) == (
        {"n": 1, "longest_after_safe": 0.5},
        [],
    )
    assert "not withdrawn" in withdrawals(landing, SECCM)[1][0]
    assert "only" in withdrawals([*landing, event("withdrawn", 2.5, 11e-6)], SECCM)[1][0]


@pytest.mark.parametrize("block", [{}, {"nucleation": {"roles": {"topography": "t"}}}])
def test_runs_that_expose_nothing_have_no_exposures(tmp_path, block):
    engine = RunEngine({}, call_returns_result=True, context_managers=[])
    Journal(tmp_path / "journal").attach(engine)
    engine(bp.count([Signal(name="height", value=1.0)]), **block)
    assert journalled(tmp_path) == {}
    assert waveform_files(tmp_path) == {"rows_read": 0, "expected": 0, "bad": 0}


def test_blocks_hold_every_schedule_once():
    blocks = blocks_of({"afm": 50, "seccm": 10}, 20)
    assert sorted(n for f, numbers in blocks if f == "afm" for n in numbers) == list(range(50))
    assert [numbers for f, numbers in blocks if f == "seccm"] == [list(range(10))]


@pytest.mark.stack
@pytest.mark.timeout(600)
def test_a_few_schedules_without_tiled(tmp_path):
    blocks = list(run_blocks(FEW, SEED, tmp_path, lanes=2, keep=True, tiled=False))
    found = summary(blocks)
    assert found["wrong"] == []
    afm, seccm = found["afm"], found["seccm"]
    assert afm["faults"]["session_killed"] == 1
    assert seccm["faults"]["many_interrupts"] == 1
    assert afm["sites_used_twice"] == seccm["sites_used_twice"] == 0
    assert 2 <= afm["sites_energised"] <= 3
    assert afm["waveform_rows"] > 0
    assert afm["schedules_whose_books_were_compared"] == 1
    assert seccm["withdrawals"] == seccm["sites_energised"] >= 2


@pytest.mark.stack
@pytest.mark.faults
@pytest.mark.timeout(1200)
def test_a_few_schedules_with_everything(tmp_path):
    blocks = list(run_blocks(FEW, SEED, tmp_path, lanes=2, keep=True))
    found = summary(blocks)
    assert found["wrong"] == []
    assert found["afm"]["runs_in_tiled"] >= 2
    assert found["afm"]["runs_differing_in_tiled"] == [0, 0]
    # had the journal or Tiled lost anything, it would say so
    (block,) = (b for b in blocks if b["family"] == "afm")
    block["accounts"]["done_without_event"] = 1
    block["schedules"][0]["wrong"] = ["tokens_twice: 1"]
    found = summary(blocks)
    assert found["afm"]["journal_events_lost"] == 1
    assert len(found["wrong"]) == 1
