"""Tiled frozen in mid-map, and a busy machine: neither holds up the RunEngine."""

import pytest
from benchmarks.fault_stack import Stack
from benchmarks.fault_tiled import compare_all
from benchmarks.outage import compare, equal, frozen, verify_twice, wait_healthy
from benchmarks.watchdog import ALARMS, burners
from nucleation_bluesky.callbacks.journal_codec import encode
from nucleation_bluesky.callbacks.journal_reader import JournalReader, journals
from nucleation_bluesky.storage.server import connect, ensure_server, release_server

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.timeout(600)]
CURRENT = "afm_ramp_stop_current"
MAP = {
    "rows": 14, "cols": 14, "pitch": 50e-9, "stop": -4.2, "rate": 12.0, "image_before_after": False,
}  # fmt: skip


@pytest.fixture
def own_stack(tmp_path):
    made = Stack(tmp_path)
    yield made
    made.close()


def test_frozen_tiled_and_busy_machine(own_stack):
    stack = own_stack
    busy = burners(1)
    try:
        child = stack.run("map", arguments=MAP)
        stack.trace.wait("result", timeout=200)
        wait_healthy(stack, child)
        done = len(stack.trace.named("result"))
        assert done < 150
        with frozen(stack.tiled_pid):
            # the whole rest of the map passes while the server is frozen
            child.wait_log("event 196\n", 120)
        report = child.report(200)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert (report["outcome"], report["delivered"]) == ("success", True)
    stack.trace.update()
    assert {name: len(stack.trace.named(name)) for name in ALARMS} == dict.fromkeys(ALARMS, 0)
    found = verify_twice(stack)
    assert [equal(one) for one in found] == [True, True]
    assert found[0]["events"] == 196 + 2  # sites, and the baseline at both ends
    assert found[0]["delivered_again"]

    # negative control: a run that is not what the journal says is noticed
    (path,) = journals(stack.data / "journal")
    try:
        client = connect(ensure_server(stack.data))
        copy = altered(path)
        assert not equal(compare(client, copy))
        few = compare_all(client, [path, copy], files=True)
        assert [equal(one) for one in few] == [True, False]
        assert few[1]["differing_cells"] == 1
    finally:
        release_server(stack.data)


def altered(path):
    """A copy of a journal in which one current differs."""
    copy = path.with_name("altered.txt")
    with JournalReader(path) as reader, copy.open("wb") as file:
        changed = False
        while documents := reader.read():
            if reader.header and not file.tell():
                file.write(encode("header", reader.header))
            for name, doc in documents:
                if name == "event" and not changed and CURRENT in doc["data"]:
                    doc["data"][CURRENT] += 1e-15
                    changed = True
                file.write(encode(name, doc))
    return copy
