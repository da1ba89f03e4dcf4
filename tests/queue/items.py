"""What the tests of a running queue share."""

import psutil
from nucleation_bluesky.cli.queue import queue_app
from nucleation_bluesky.storage import courier_process
from nucleation_bluesky.storage.server import ensure_server
from typer.testing import CliRunner

SMALL = {"pitch": 50e-9, "image_before_after": False}


def plan(name, *args, **kwargs):
    return {"item_type": "plan", "name": name, "args": list(args), "kwargs": kwargs}


def queue_command(queue, *words):
    """A command that starts nothing, in this process: a new one needs seconds to import."""
    return CliRunner().invoke(queue_app, [*words, "--config", str(queue.config)])


def energised(queue):
    queue.trace.update()
    return len(queue.trace.named("energised"))


def family(queue):
    processes = list(queue.processes().values())
    processes.append(psutil.Process(queue.files.worker().pid))
    return {p.pid: p for q in processes for p in (q, *q.children(recursive=True))}.values()


def is_safe(queue):
    """Whether the last exposure has ended in the safe state."""
    queue.trace.update()
    return queue.trace.named("energised", "safe")[-1]["event"] == "safe"


def delivered(queue):
    courier = courier_process.start(queue.data, ensure_server(queue.data))
    try:
        return courier.wait_delivered(timeout=120)
    finally:
        courier.release()
