"""The queue as people use it: real Redis, manager, gateway, worker and IOC, stock clients."""

import json
import re
import shlex
import socket
import stat
import time
from pathlib import Path

import psutil
import pytest
import redis
import zmq
from benchmarks.faults import exposed_twice
from benchmarks.queue_stack import tiled_against_journals, wait_for, wait_idle
from bluesky_queueserver import CommTimeoutError
from bluesky_queueserver.manager.comms import ZMQCommSendThreads
from nucleation_bluesky.callbacks.journal_reader import journals
from nucleation_bluesky.cli.queue import queue_app
from nucleation_bluesky.ledger.ledger import Ledger
from nucleation_bluesky.storage import courier_process
from nucleation_bluesky.storage.runs import find_runs
from nucleation_bluesky.storage.server import connect, ensure_server
from redis.backoff import NoBackoff
from redis.retry import Retry
from typer.testing import CliRunner

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]
HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "queue-a-night.md"
SMALL = {"pitch": 50e-9, "image_before_after": False}


def plan(name, *args, **kwargs):
    return {"item_type": "plan", "name": name, "args": list(args), "kwargs": kwargs}


def refused(answer):
    assert answer["success"] is False
    return answer["msg"]


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        (plan("count", ["afm"]), "'count' is not in the list of allowed plans"),
        (plan("_private"), "not in the list of allowed plans"),
        (plan("nucleation_map", "afm", pitch=20.0), "out of range"),
        (plan("nucleation_map", "afm", stop=-50), "out of range"),
        (plan("nucleation_map", "afm", rows=-1), "out of range"),
        (plan("nucleation_map", "afm", origin=[0.0, 5.0]), "out of range"),
        (plan("nucleation_map", "afm", order="zigzag"), "zigzag|order"),
        (plan("nucleation_map", "afm", colour="red"), "colour"),
        (plan("nucleation_map", "RE"), "Instrument|instrument"),
        (plan("nucleation_map"), "instrument"),
        (plan("sweep_rate_series", "afm", rates=[1.2, 1e9]), "out of range"),
    ],
)
def test_a_bad_item_does_not_enter_the_queue(api, item, sentence):
    assert re.search(sentence, refused(api.item_add(item)))
    assert api.queue_get()["items"] == []


def test_another_user_group(queue, api):
    item = plan("topography", "afm")
    message = refused(api.send_request(
        method="queue_item_add", params={"item": item, "user": "eve", "user_group": "visitors"}
    ))  # fmt: skip
    assert "visitors" in message


def test_code_is_not_taken(queue, api, tmp_path):
    proof = tmp_path / "ran"
    message = refused(api.script_upload(f"open({str(proof)!r}, 'w').close()"))
    assert "'script_upload' is refused here: it would run any code" in message
    path = tmp_path / "script.py"
    path.write_text(f"open({str(proof)!r}, 'w').close()")
    assert "is refused here" in queue.qserver("script", "upload", str(path))
    assert not proof.exists()
    function = {"item_type": "function", "name": "eval", "args": ["1"], "kwargs": {}}
    assert "is refused here" in refused(api.function_execute(function))
    everything = {"user_groups": {"root": {"allowed_plans": [None]}}}
    assert "is refused here" in refused(api.permissions_set(everything))


@pytest.mark.parametrize(
    "raw", [b"", b"not json", b"[]", b'{"method": 3}', b'{"method": "status", "params": 5}',
            b'{"method": "status", "extra": 1}', b"[" * 100_000, b'{"method": "__class__"}'],
)  # fmt: skip
def test_nonsense_is_answered_and_harms_nothing(queue, api, raw):
    with zmq.Context() as context, context.socket(zmq.REQ) as client:
        public, secret = zmq.curve_keypair()
        client.curve_publickey, client.curve_secretkey = public, secret
        client.curve_serverkey = queue.client_variables["QSERVER_ZMQ_PUBLIC_KEY"].encode()
        client.linger = 0
        client.connect(queue.client_variables["QSERVER_ZMQ_CONTROL_ADDRESS"])
        client.send(raw)
        assert client.poll(10_000)
        assert json.loads(client.recv())["success"] is False
    assert api.status(reload=True)["manager_state"] == "idle"


@pytest.mark.parametrize("key", [None, zmq.curve_keypair()[0].decode()])
def test_without_the_key_nobody_answers(queue, key):
    client = ZMQCommSendThreads(
        zmq_server_address=queue.client_variables["QSERVER_ZMQ_CONTROL_ADDRESS"],
        server_public_key=key, timeout_recv=1000,
    )  # fmt: skip
    with pytest.raises(CommTimeoutError):
        client.send_message(method="status", params={})
    client.close()


def family(queue):
    processes = list(queue.processes().values())
    processes.append(psutil.Process(queue.files.worker().pid))
    return {p.pid: p for q in processes for p in (q, *q.children(recursive=True))}.values()


def test_every_socket_is_on_the_loopback(queue):
    listening = {
        connection.laddr
        for process in family(queue)
        for connection in process.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert len(listening) >= 4
    assert {address.ip for address in listening} == {"127.0.0.1"}
    own = [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET and not address.address.startswith("127.")
    ]
    port = queue.files.state().control_port
    for address in own:
        with socket.socket() as client:
            client.settimeout(2)
            assert client.connect_ex((address, port)) != 0


def test_secrets_are_private_and_on_no_command_line(queue):
    home, keys = queue.files.home, queue.files.keys()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    secrets = [keys.gateway_private, keys.manager_private, keys.redis_password, keys.gateway_public]
    for path in home.rglob("*"):
        if path.is_file() and any(secret in path.read_text(errors="replace") for secret in secrets):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
            assert path.parent.name != "logs", path
    for process in family(queue):
        assert not [s for s in secrets if any(s in word for word in process.cmdline())]


def test_redis_wants_its_password(queue):
    port = queue.files.state().redis_port
    once = Retry(NoBackoff(), 0)
    with (
        redis.Redis(host="127.0.0.1", port=port, retry=once) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.keys()


# ---- forms ---------------------------------------------------------------------------------------


def test_forms_say_all_that_a_person_needs(api):
    plans = api.plans_allowed()["plans_allowed"]
    assert set(plans) == {
        "nucleation_map", "sweep_rate_series", "topography", "set_gain", "resume_map",
    }  # fmt: skip
    for name, form in plans.items():
        assert form["description"], name
        for parameter in form["parameters"]:
            where = f"{name}({parameter['name']})"
            assert parameter.get("description"), where
            kind = parameter["annotation"]["type"]
            if re.search("float|int", kind):
                assert float(parameter["min"]) < float(parameter["max"]), where
                assert re.search(r"\[.+\]$", parameter["description"]) or (
                    kind == "int" or parameter["name"] in ("risk", "min_quality")
                ), where
    (instrument, *_) = plans["nucleation_map"]["parameters"]
    assert instrument["annotation"]["devices"] == {"Instrument": ["afm"]}


# ---- a night -------------------------------------------------------------------------------------


def energised(queue):
    queue.trace.update()
    return len(queue.trace.named("energised"))


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


def queue_command(queue, *words):
    """A command that starts nothing, in this process: a new one needs seconds to import."""
    return CliRunner().invoke(queue_app, [*words, "--config", str(queue.config)])


def delivered(queue):
    courier = courier_process.start(queue.data, ensure_server(queue.data))
    try:
        return courier.wait_delivered(timeout=120)
    finally:
        courier.release()


def interrupted(queue):
    (run,) = find_runs(connect(ensure_server(queue.data)), state="abort", limit=1)
    return run.uid


def is_safe(queue):
    """Whether the last exposure has ended in the safe state."""
    queue.trace.update()
    return queue.trace.named("energised", "safe")[-1]["event"] == "safe"


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
