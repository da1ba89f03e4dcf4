"""The queue as people use it: real Redis, manager, gateway, worker and IOC, stock clients."""

import shlex
import time
from pathlib import Path

import psutil
import pytest
from benchmarks.queue_stack import wait_for, wait_idle
from tests.queue.items import SMALL, energised, family, plan, queue_command

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]
HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "queue-a-night.md"


def test_a_bad_environment_holds_the_next_site(queue, api):
    start = energised(queue)
    said = len((queue.files.logs / "manager.log").read_text())
    queue.disturb("oxygen")
    try:
        api.item_add(plan("nucleation_map", "afm", rows=6, cols=6, origin=[-9e-6, 0.0], **SMALL))
        api.queue_start()
        log = queue.files.logs / "manager.log"
        held = "held before the next site: oxygen is"
        wait_for(lambda: held in log.read_text()[said:], "the hold", 60)
        # sites may have gone before the air was bad and measured; none goes from now on
        at_hold = energised(queue)
        assert at_hold < start + 36
        time.sleep(1.0)  # some twenty sites
        assert energised(queue) == at_hold
        assert api.status(reload=True)["manager_state"] == "executing_queue"
    finally:
        queue.disturb("none")
    wait_idle(api)
    assert api.history_get()["items"][-1]["result"]["exit_status"] == "completed"
    assert energised(queue) == start + 36


def how_to_commands():
    """The ``qserver`` lines of the how-to's section on filling the queue."""
    text = HOW_TO.read_text()
    section = text[text.index("## Fill it") : text.index("## What happens")]
    return [shlex.split(line)[2:] for line in section.splitlines() if line.startswith("$ qserver")]


def test_the_how_to_fills_and_runs_the_queue(queue, api):
    before = len(api.history_get()["items"])
    commands = how_to_commands()
    assert len(commands) == 7
    for words in commands:
        told = queue.qserver(*words)
        assert "'success': True" in told, told
    wait_idle(api)
    ends = [(i["name"], i["result"]["exit_status"]) for i in api.history_get()["items"][before:]]
    assert ends == [
        (name, "completed")
        for name in ("set_gain", "nucleation_map", "sweep_rate_series", "topography")
    ]


def test_an_instrument_that_fails_pauses_the_queue(queue, api):
    long = plan("nucleation_map", "afm", rows=14, cols=14, origin=[-15e-6, 5e-6], **SMALL)
    before = len(api.history_get()["items"])
    assert api.item_add_batch([long, plan("topography", "afm", pixels=16)])["success"]
    start = energised(queue)
    api.queue_start()
    wait_for(lambda: energised(queue) >= start + 5, "the map", 120)
    queue.ioc.kill()
    wait_for(lambda: api.status(reload=True)["manager_state"] == "paused", "the pause", 120)
    assert len(api.queue_get()["items"]) == 1  # not spent on a dead instrument
    assert "'paused'" in queue_command(queue, "down").output
    queue.ioc.wait(10)
    queue.restart_ioc()
    used = energised(queue)
    api.re_abort()
    wait_idle(api)
    # a controller that was restarted knows no owner: the session takes it anew
    api.environment_close()
    wait_idle(api)
    api.environment_open()
    wait_idle(api)
    api.queue_start()
    wait_idle(api)
    ends = [(i["name"], i["result"]["exit_status"]) for i in api.history_get()["items"][before:]]
    assert ends[0] == ("nucleation_map", "aborted")
    assert ends[-1] == ("topography", "completed")
    assert energised(queue) == used  # the aborted map was not repeated


def test_a_second_session_is_refused(queue):
    second = queue.command("run", "topography", "--pixels", "16")
    assert second.returncode == 1
    assert "is owned by session" in second.stderr
    assert "close that session first" in second.stderr


def test_down_ends_ours_alone(queue):
    started = {p.pid for p in family(queue)}
    other = psutil.Process(queue.ioc.pid)
    done = queue.command("queue", "down")
    assert done.returncode == 0, done.stderr
    wait_for(lambda: not [p for p in started if psutil.pid_exists(p)], "their end", 20)
    assert other.is_running()
    assert any("appendonly" in path.name for path in queue.files.redis.rglob("*"))
    assert "not running" in queue_command(queue, "status").stdout
