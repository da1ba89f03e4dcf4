"""Who and what the queue lets in: plans with their bounds, one key, no code."""

import json
import re
import socket
import stat

import psutil
import pytest
import redis
import zmq
from bluesky_queueserver import CommTimeoutError
from bluesky_queueserver.manager.comms import ZMQCommSendThreads
from redis.backoff import NoBackoff
from redis.retry import Retry
from tests.queue.items import family, plan

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]


def refused(answer):
    assert answer["success"] is False
    return answer["msg"]


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
