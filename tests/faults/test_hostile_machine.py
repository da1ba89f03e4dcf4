"""The network, disk and clock of the schedules do what they say."""

import os
import socket
import subprocess
import sys
import threading
import time

import pytest
from benchmarks.fault_machine import CLOCK, Canary, SmallDisk, jump, make_clock
from benchmarks.fault_proxy import HEADER, SEARCH, Proxy, redirected

HELLO = b"0123456789"


@pytest.fixture
def echo():
    """A server that sends back what it gets; its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(client):
        with client:
            try:
                while data := client.recv(4096):
                    client.sendall(data)
            except OSError:
                return

    def accept():
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1]
    listener.close()


@pytest.fixture
def proxy(echo):
    made = Proxy(echo)
    yield made
    made.close()


def connected(proxy):
    client = socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
    client.sendall(HELLO)
    assert client.recv(100) == HELLO
    return client


def ended(client):
    try:
        return client.recv(100) == b""
    except ConnectionError:
        return True


def test_what_is_held_comes_later_and_in_order(proxy):
    with connected(proxy) as client:
        proxy.hold()
        client.sendall(b"a")
        client.sendall(b"b")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(10)
        proxy.heal()
        client.settimeout(5)
        got = b""
        while len(got) < 2:
            got += client.recv(10)
        assert got == b"ab"


def test_delay(proxy):
    with connected(proxy) as client:
        proxy.delay(0.15)
        began = time.monotonic()
        client.sendall(HELLO)
        assert client.recv(100) == HELLO
        assert time.monotonic() - began >= 0.3  # there and back


def test_cut(proxy):
    with connected(proxy) as client:
        proxy.cut()
        assert ended(client)
    connected(proxy).close()


def test_torn(proxy):
    with connected(proxy) as client:
        proxy.tear("down")
        client.sendall(HELLO)
        assert client.recv(100) == HELLO[:5]
        assert ended(client)


def test_down_until_healed(proxy):
    proxy.refuse()
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
        assert ended(client)
    proxy.heal()
    connected(proxy).close()


def test_answers_to_searches_lead_through_the_proxy():
    search = HEADER.pack(SEARCH, 8, 5064, 0, 0xFFFFFFFF, 7) + b"\0" * 8
    other = HEADER.pack(0, 0, 5064, 13, 0, 0)
    found = redirected(other + search + search, 1234)
    assert found[:16] == other
    assert [HEADER.unpack_from(found, at)[2] for at in (16, 40)] == [1234, 1234]
    assert len(found) == len(other + search + search)


LIVES = """
import time
from benchmarks.fault_machine import live_by_clock
live_by_clock()
wall, steady = time.time(), time.monotonic()
print("ready", flush=True)
input()
print(time.time() - wall - (time.monotonic() - steady), flush=True)
"""


def test_wall_clock_jumps_and_the_other_does_not(tmp_path):
    environment = os.environ | make_clock(tmp_path / "clock")
    assert environment[CLOCK]
    process = subprocess.Popen(
        [sys.executable, "-c", LIVES], env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    jump(tmp_path / "clock", -3600.0)
    out, _ = process.communicate("\n", timeout=30)
    assert float(out) == pytest.approx(-3600.0, abs=1.0)


def test_a_disk_is_full_to_the_last_byte_and_free_again(tmp_path):
    disk = SmallDisk(tmp_path / "disk", 8)
    try:
        if not disk.mounted:
            pytest.skip("no file system may be mounted here")
        disk.fill()
        with pytest.raises(OSError, match="No space"):
            (disk.path / "file").write_bytes(b"x" * 8192)
        disk.free()
        (disk.path / "file").write_bytes(b"x" * 8192)
    finally:
        disk.close()


def test_the_canary_notices_what_keeps_it_waiting():
    canary = Canary()
    began = time.monotonic()
    total = 0
    old = sys.getswitchinterval()
    sys.setswitchinterval(1.0)  # the interpreter lets nobody else run
    try:
        while time.monotonic() < began + 0.5:
            total += 1
    finally:
        sys.setswitchinterval(old)
    time.sleep(0.1)
    canary.close()
    assert canary.longest(began, time.monotonic()) > 0.2
    assert canary.longest(began - 10, began - 5) == 0.0


def test_what_a_process_waited_is_taken_between_two_looks():
    canary = Canary()
    canary.close()
    canary.waits = [(1.0, 7, 0.5), (2.0, 7, 0.6), (3.0, 7, 1.0), (4.0, 8, 0.1), (5.0, 8, 0.3)]
    assert canary.waited(2.0, 3.0) == pytest.approx(0.4)
    assert canary.waited(1.5, 2.5) == pytest.approx(0.5)
    assert canary.waited(2.5, 9.0) == pytest.approx(0.6)  # another process has its own count
    assert canary.waited(9.0, 9.5) == 0.0


def test_a_process_that_is_kept_waiting_is_seen():
    """Of two that want the same processor each waits for the other; who sleeps waits for none."""
    spin = (
        f"import os\nos.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}})\n"
        "print(flush=True)\nwhile True: pass"
    )
    rest = "import signal\nprint(flush=True)\nsignal.pause()"
    started = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        for program in (spin, spin, rest)
    ]
    canary = Canary()
    try:
        for process in started:
            assert process.stdout.readline()
        seen = []
        for process in (started[0], started[2]):
            canary.watched = lambda pid=process.pid: pid
            began = time.monotonic()
            deadline = began + 20
            while len([w for w in canary.waits if w[0] > began]) < 20:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            seen.append(canary.waited(began, time.monotonic()))
        busy, resting = seen
    finally:
        canary.close()
        for process in started:
            process.kill()
            process.wait(10)
            process.stdout.close()
    assert busy > 0.05
    assert resting < busy / 10
