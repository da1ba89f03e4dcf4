"""Worker, manager and watchdog die in mid-map: safe, told, brought back, and no site twice."""

import re

import psutil
import pytest
from benchmarks.faults import exposed_twice
from benchmarks.queue_stack import tiled_against_journals, wait_for, wait_idle
from nucleation_bluesky.callbacks.journal_reader import journals
from nucleation_bluesky.ledger.ledger import Ledger
from nucleation_bluesky.storage.runs import find_runs
from nucleation_bluesky.storage.server import connect, ensure_server
from tests.queue.items import SMALL, delivered, energised, is_safe, plan, queue_command

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]


def test_killed_worker_in_a_mixed_queue(queue, api):
    long = plan("nucleation_map", "afm", rows=14, cols=14, origin=[5e-6, 5e-6], **SMALL)
    items = [
        plan("set_gain", "afm", gain=1e11),
        # the sign of the compliance is wrong: the form cannot know, the plan refuses
        plan("nucleation_map", "afm", rows=2, cols=2, current_compliance=1e-11, **SMALL),
        plan("nucleation_map", "afm", rows=2, cols=2, origin=[0.0, 0.0], **SMALL),
        long,
        plan("sweep_rate_series", "afm", rates=[1.2, 4.8], rows=2, cols=2, origin=[9e-6, 0.0],
             image_before_after=False),
        plan("topography", "afm", pixels=32),
    ]  # fmt: skip
    ended, runs = len(api.history_get()["items"]), len(journals(queue.data / "journal"))
    before = energised(queue)
    assert api.item_add_batch(items)["success"]
    assert api.queue_start()["success"]
    before += 4  # sites of the map ahead of the long one
    wait_for(lambda: energised(queue) >= before + 20, "the long map", 120)
    queue.kill_worker()
    told = queue_command(queue, "status")
    assert told.exit_code == 1
    assert "its process has died" in told.stdout
    used = energised(queue)
    assert used < before + 14 * 14
    recovered = queue.command("queue", "recover", "--start")
    assert recovered.returncode == 0, recovered.stderr
    assert "resume_map" in recovered.stdout
    wait_idle(api)
    history = api.history_get()["items"][ended:]
    ends = [(i["name"], i["result"]["exit_status"]) for i in history]
    assert ends == [
        ("set_gain", "completed"),
        ("nucleation_map", "failed"),
        ("nucleation_map", "completed"),
        ("nucleation_map", "failed"),  # the worker died
        ("nucleation_map", "failed"),  # the same item, run again: refused
        ("sweep_rate_series", "completed"),
        ("topography", "completed"),
    ]
    assert "has the wrong sign" in history[1]["result"]["msg"]
    assert "sites have been used" in history[4]["result"]["msg"]
    assert energised(queue) == used + 4  # the series alone

    assert delivered(queue)
    dead = interrupted(queue)
    api.item_add(plan("resume_map", dead, register=False))
    api.queue_start()
    wait_idle(api)
    last = api.history_get()["items"][-1]
    assert (last["name"], last["result"]["exit_status"]) == ("resume_map", "completed")

    queue.trace.update()
    twice = exposed_twice(queue.trace.events)
    assert (twice["tokens_twice"], twice["places_twice"]) == (0, 0)
    with Ledger(queue.data / "ledger.sqlite", read_only=True) as ledger:
        states = [exposure.state.value for exposure in ledger.exposures()][before - 4 :]
    assert len(states) == 4 + 4 + 14 * 14
    assert states.count("BURNED") <= 1  # the site at the moment of the kill
    # claimed and not yet energised, it is burned all the same
    spared = before + 4 + 14 * 14 - twice["energised"]
    assert spared in range(states.count("BURNED") + 1)
    assert delivered(queue)
    compared = tiled_against_journals(queue.data)
    assert compared["differ"] == []
    assert compared["runs"] == runs + 5


def interrupted(queue):
    (run,) = find_runs(connect(ensure_server(queue.data)), state="abort", limit=1)
    return run.uid


def kill_at_once(family):
    """Kill -9; stopped first, else the watchdog brings a new manager before its own end."""
    for process in family:
        process.suspend()
    for process in family:
        process.kill()
    psutil.wait_procs(family, timeout=10)


def test_killed_manager_watchdog_and_worker(queue, api):
    """All of it at once, in mid-map: safe by the heartbeat, told, brought up again, resumed."""
    long = plan("nucleation_map", "afm", rows=14, cols=14, origin=[15e-6, 5e-6], **SMALL)
    after = plan("topography", "afm", pixels=16)
    ended, start = len(api.history_get()["items"]), energised(queue)
    assert api.item_add_batch([long, after])["success"]
    assert api.queue_start()["success"]
    wait_for(lambda: energised(queue) >= start + 20, "the map", 120)
    manager = queue.processes()["manager"]
    family = [manager, *manager.children(recursive=True)]
    assert queue.files.worker().pid in [p.pid for p in family]
    assert len(family) >= 3  # watchdog, manager, worker
    kill_at_once(family)
    assert not queue.files.worker().alive()
    # in a ramp, by the heartbeat
    wait_for(lambda: is_safe(queue), "the safe state", 20)
    told = queue_command(queue, "status")
    assert told.exit_code == 1
    assert re.search(r"manager.*lost: its process has died", told.stdout)
    assert "queue recover" in told.stdout
    used = energised(queue)
    assert used < start + 14 * 14

    recovered = queue.command("queue", "recover", "--start")
    assert recovered.returncode == 0, recovered.stdout + recovered.stderr
    assert "'unknown'" in recovered.stdout
    assert "resume_map" in recovered.stdout
    wait_idle(api)
    ends = [(i["name"], i["result"]["exit_status"]) for i in api.history_get()["items"][ended:]]
    assert ends == [("nucleation_map", "unknown"), ("topography", "completed")]
    assert energised(queue) == used

    assert delivered(queue)
    assert api.item_add(plan("resume_map", interrupted(queue), register=False))["success"]
    api.queue_start()
    wait_idle(api)
    assert api.history_get()["items"][-1]["result"]["exit_status"] == "completed"
    queue.trace.update()
    twice = exposed_twice(queue.trace.events)
    assert (twice["tokens_twice"], twice["places_twice"]) == (0, 0)
    # every site once, but for the one of that moment, which may have been claimed and not energised
    assert energised(queue) - start in (14 * 14 - 1, 14 * 14)
    assert "nothing was changed" in queue_command(queue, "recover").output


def test_a_worker_that_lost_its_manager(queue, api):
    """It cannot be reached any more: 'up' says so, 'recover' ends it."""
    api.item_add(plan("nucleation_map", "afm", rows=14, cols=14, origin=[15e-6, -8e-6], **SMALL))
    start = energised(queue)
    api.queue_start()
    wait_for(lambda: energised(queue) >= start + 5, "the map", 120)
    manager, worker = queue.processes()["manager"], queue.files.worker()
    family = [p for p in [manager, *manager.children(recursive=True)] if p.pid != worker.pid]
    kill_at_once(family)
    again = queue_command(queue, "up")
    assert again.exit_code == 1
    assert "left its worker behind" in again.output
    recovered = queue.command("queue", "recover")
    assert recovered.returncode == 0, recovered.stdout + recovered.stderr
    assert not worker.alive()
    assert api.status(reload=True)["worker_environment_exists"]
    queue.trace.update()
    assert exposed_twice(queue.trace.events)["places_twice"] == 0


def test_environment_destroy_does_not_repeat_a_map(queue, api):
    api.item_add(plan("nucleation_map", "afm", rows=14, cols=14, origin=[-5e-6, 5e-6], **SMALL))
    start = energised(queue)
    api.queue_start()
    wait_for(lambda: energised(queue) >= start + 10, "the map", 120)
    api.environment_destroy()
    wait_idle(api)
    used = energised(queue)
    assert used < start + 14 * 14
    api.environment_open()
    wait_idle(api)
    assert api.status(reload=True)["worker_environment_exists"]
    (again,) = api.queue_get()["items"]
    assert again["name"] == "nucleation_map"
    api.queue_start()
    wait_idle(api)
    message = api.history_get()["items"][-1]["result"]["msg"]
    assert re.search(r"\d+ of 196 sites have been used", message)
    assert energised(queue) == used
    queue.trace.update()
    assert exposed_twice(queue.trace.events)["places_twice"] == 0
