"""Somebody pauses the queue by a stock client: safe, and what then comes is told as what it is."""

from collections import Counter

import pytest
from benchmarks.faults import exposed_twice
from benchmarks.queue_stack import wait_for, wait_idle
from nucleation_bluesky.callbacks.journal_reader import journals, read_journal
from nucleation_bluesky.ledger.ledger import Ledger
from nucleation_bluesky.storage.server import connect, ensure_server
from tests.queue.items import SMALL, delivered, energised, is_safe, plan

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]
SITES = 14 * 14


def states(queue):
    with Ledger(queue.data / "ledger.sqlite", read_only=True) as ledger:
        return Counter(exposure.state.value for exposure in ledger.exposures())


def status(api):
    return api.status(reload=True)["manager_state"]


@pytest.mark.parametrize(
    ("how", "then", "x", "item_ends", "run_ends"),
    [
        ("deferred", "resume", -15e-6, "completed", "success"),
        ("deferred", "stop", -9e-6, "stopped", "success"),  # RE.stop() calls it so
        ("deferred", "abort", -6e-6, "aborted", "abort"),
        ("immediate", "abort", -3e-6, "aborted", "abort"),
    ],
)
def test_pause(queue, api, how, then, x, item_ends, run_ends):
    start, before, ended = energised(queue), states(queue), len(api.history_get()["items"])
    journal = queue.data / "journal"
    there = journals(journal)
    map_ = plan("nucleation_map", "afm", rows=14, cols=14, origin=[x, -12e-6], **SMALL)
    assert api.item_add_batch([map_, plan("topography", "afm", pixels=16)])["success"]
    assert api.queue_start()["success"]
    wait_for(lambda: energised(queue) >= start + 5, "the map", 120)
    assert api.re_pause(option=how)["success"]  # qserver needs seconds to start, the map no more
    wait_for(lambda: status(api) == "paused", "the pause", 60)
    assert is_safe(queue)
    used = energised(queue)
    assert used < start + SITES

    assert "'success': True" in queue.qserver("re", then)
    wait_idle(api)
    assert is_safe(queue)
    history = api.history_get()["items"][ended:]
    assert (history[0]["name"], history[0]["result"]["exit_status"]) == (
        "nucleation_map",
        item_ends,
    )
    left = [waiting["name"] for waiting in api.queue_get()["items"]]
    if then == "resume":
        assert energised(queue) == start + SITES
        assert left == []
    else:
        assert energised(queue) == used  # nothing went on during the pause or after it
        assert left == (["nucleation_map"] if then == "abort" else []) + ["topography"]

    runs = [list(read_journal(path)) for path in journals(journal) if path not in there]
    ((uid, stop),) = [
        (docs[0][1]["uid"], docs[-1][1])
        for docs in runs
        if docs[0][1]["plan_name"] == "nucleation_map"
    ]
    assert stop["exit_status"] == run_ends
    assert delivered(queue)
    told = connect(ensure_server(queue.data))[uid].metadata["stop"]
    assert (told["exit_status"], told["num_events"]) == (run_ends, stop["num_events"])

    new = states(queue) - before
    assert new["DONE"] == stop["num_events"]["primary"]
    # a pause at once may meet a site between its claim and its event: it is used up without one,
    # burned at once or when the session has ended
    assert new.total() - new["DONE"] <= (how == "immediate")
    queue.trace.update()
    twice = exposed_twice(queue.trace.events)
    assert (twice["tokens_twice"], twice["places_twice"]) == (0, 0)


def test_an_aborted_map_that_is_run_again_is_refused(queue, api):
    """The manager puts an aborted item back to the front of the queue."""
    map_ = plan("nucleation_map", "afm", rows=14, cols=14, origin=[0.0, -12e-6], **SMALL)
    start = energised(queue)
    assert api.item_add(map_)["success"]
    assert api.queue_start()["success"]
    wait_for(lambda: energised(queue) >= start + 5, "the map", 120)
    assert api.re_pause()["success"]
    wait_for(lambda: status(api) == "paused", "the pause", 60)
    queue.qserver("re", "abort")
    wait_idle(api)
    used = energised(queue)
    assert api.queue_start()["success"]
    wait_idle(api)
    last = api.history_get()["items"][-1]
    assert last["result"]["exit_status"] == "failed"
    assert "sites have been used" in last["result"]["msg"]
    assert energised(queue) == used
