"""Worker and gateway die in one night: one ``queue recover`` brings both back."""

import pytest
from benchmarks.queue_stack import wait_for

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]


def test_one_recover_replaces_worker_and_gateway(queue, api):
    queue.trace.update()
    before = len(queue.trace.named("energised"))
    kwargs = {"rows": 14, "cols": 14, "pitch": 50e-9, "origin": [-5e-6, -5e-6]}
    kwargs["image_before_after"] = False
    item = {"item_type": "plan", "name": "nucleation_map", "args": ["afm"], "kwargs": kwargs}
    assert api.item_add(item)["success"]
    assert api.queue_start()["success"]

    def under_way():
        queue.trace.update()
        return len(queue.trace.named("energised")) > before + 3

    wait_for(under_way, "the map", 120)
    dead = queue.kill_worker()
    queue.processes()["gateway"].kill()
    wait_for(lambda: "gateway" not in queue.processes(), "the gateway's end", 10)
    done = queue.command("queue", "recover")
    assert done.returncode == 0, done.stderr
    assert set(queue.processes()) == {"redis", "manager", "gateway"}
    worker = queue.files.worker()
    assert worker.alive()
    assert worker.pid != dead
    told = api.status(reload=True)
    assert (told["manager_state"], told["worker_environment_exists"]) == ("idle", True)
