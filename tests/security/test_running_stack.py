"""A whole stack while it works: where it listens, and where its keys are."""

import os
import stat
import time

import psutil
import pytest
from benchmarks.fault_stack import Stack
from nucleation_bluesky.storage.server import ensure_server, release_server

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
MAP = {
    "rows": 1, "cols": 3, "pitch": 50e-9, "stop": -2.4, "rate": 1.2, "image_before_after": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """Open sockets while a map runs, then the data directory after it."""
    made = Stack(tmp_path_factory.mktemp("stack"), speed="1")
    try:
        info = ensure_server(made.data, timeout=150)
        child = made.run("map", arguments=MAP)
        made.trace.wait("energised", timeout=150)
        pids = {"ioc": made.ioc.pid, "tiled": made.tiled_pid, "session": child.process.pid}
        pids["courier"] = courier(made)
        sockets = {name: psutil.Process(pid).net_connections("inet") for name, pid in pids.items()}
        arguments = {n: " ".join(psutil.Process(p).cmdline()) for n, p in pids.items()}
        report = child.report(200)
        assert report["delivered"]
        yield made, info, sockets, arguments
    finally:
        release_server(made.data)
        made.close()


def courier(made):
    deadline = time.monotonic() + 100
    while not (made.data / "journal" / ".courier.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return made.courier_pid


def test_every_server_listens_on_the_loopback(running):
    _, _, sockets, _ = running
    listening = {
        name: {c.laddr.ip for c in found if c.status == psutil.CONN_LISTEN}
        for name, found in sockets.items()
    }
    assert listening["ioc"] == {"127.0.0.1"}
    assert listening["tiled"] == {"127.0.0.1"}
    assert not listening["session"]
    assert not listening["courier"]
    for found in sockets.values():
        assert {c.raddr.ip for c in found if c.raddr} <= {"127.0.0.1"}


def test_keys_are_private_and_nowhere_else(running):
    made, info, _, arguments = running
    key = info.api_key
    assert len(key) >= 32
    holders = set()
    for path in made.directory.rglob("*"):
        if path.is_file() and key.encode() in path.read_bytes():
            holders.add(path)
    assert holders == {made.data / "tiled" / "api_key"}
    (holder,) = holders
    assert stat.S_IMODE(holder.stat().st_mode) == 0o600
    assert holder.stat().st_uid == os.getuid()
    assert all(key not in line for line in arguments.values())
    assert key not in info.uri


def test_files_of_a_run_are_the_owners_alone(running):
    made, *_ = running
    for path in (made.data / "journal").iterdir():
        if path.suffix == ".jsonl":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
