"""A night's queue through the stock client: mixed items, one invalid, the worker killed.

python -m benchmarks.night_queue [--items 20]
"""

import argparse
import re
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from nucleation_bluesky.ledger.ledger import Ledger
from nucleation_bluesky.storage.runs import find_runs
from nucleation_bluesky.storage.server import connect, ensure_server

from benchmarks.fault_stack import write_result
from benchmarks.faults import exposed_twice
from benchmarks.queue_stack import QueueStack, tiled_against_journals, wait_for, wait_idle

INVALID = 6  # index of the item whose compliance has the wrong sign
LONG = 11  # index of the map in which the worker is killed
SIDE = 10


def night(items: int) -> list[dict[str, Any]]:
    """Mixed items, each on an area of its own."""
    made = []
    for k in range(items):
        origin = [-40e-6 + 4e-6 * k, 0.0]
        small = {"rows": 3, "cols": 4, "pitch": 50e-9, "origin": origin, "image_pixels": 64}
        if k == INVALID:
            item = ("nucleation_map", {**small, "current_compliance": 1e-11})
        elif k == LONG:
            item = ("nucleation_map", {**small, "rows": SIDE, "cols": SIDE})
        else:
            item = (
                ("nucleation_map", small),
                ("sweep_rate_series", {**small, "rates": [1.2, 4.8]}),
                ("topography", {"center": origin, "pixels": 64}),
                ("nucleation_map", {**small, "order": "snake", "compliance": "height"}),
                ("set_gain", {"gain": 1e11}),
            )[k % 5]
        made.append({"item_type": "plan", "name": item[0], "args": ["afm"], "kwargs": item[1]})
    return made


def sites_of(item: dict[str, Any]) -> int:
    """Sites that an item uses."""
    return item["kwargs"].get("rows", 0) * item["kwargs"].get("cols", 0)


def measure(directory: Path, items: int) -> dict[str, Any]:
    """Run the night and account for it."""
    stack = QueueStack(directory, seed=2013)
    try:
        began = time.monotonic()
        stack.up()
        up = time.monotonic() - began
        planned = night(items)
        for item in planned:
            words = {k: item[k] for k in ("name", "args", "kwargs")}
            told = stack.qserver("queue", "add", "plan", repr(words))
            if "'success': True" not in told:
                raise RuntimeError(told)
        began = time.monotonic()
        stack.qserver("queue", "start")
        before = sum(sites_of(i) for k, i in enumerate(planned[:LONG]) if k != INVALID)

        def energised() -> int:
            stack.trace.update()
            return len(stack.trace.named("energised"))

        wait_for(lambda: energised() >= before + SIDE * SIDE // 3, "the long map", 1200)
        stack.kill_worker()
        recovering = time.monotonic()
        done = stack.command("queue", "recover")
        if done.returncode:
            raise RuntimeError(done.stderr)
        recovered = time.monotonic() - recovering
        with stack.api() as api:
            api.queue_start()
            wait_idle(api, 1800)
            stack.command("journal", "deliver")
            (dead,) = find_runs(connect(ensure_server(stack.data)), state="abort")
            resumed = {"name": "resume_map", "args": [dead.uid], "kwargs": {}}
            stack.qserver("queue", "add", "plan", repr(resumed))
            api.queue_start()
            wait_idle(api, 1800)
            history = api.history_get()["items"]
        night_time = time.monotonic() - began
        stack.trace.update()
        stack.command("journal", "deliver")
        with Ledger(stack.data / "ledger.sqlite", read_only=True) as ledger:
            states = Counter(exposure.state.value for exposure in ledger.exposures())
        planned_sites = sum(sites_of(i) for k, i in enumerate(planned) if k != INVALID)
        return {
            "items": items,
            "sites_planned": planned_sites,
            "ended": dict(Counter(i["result"]["exit_status"] for i in history)),
            "failed_because": [
                re.sub(r"\s+", " ", i["result"]["msg"])[:160]
                for i in history
                if i["result"]["exit_status"] != "completed"
            ],
            "trace": exposed_twice(stack.trace.events),
            "ledger": dict(states),
            "tiled": tiled_against_journals(stack.data),
            "up_seconds": up,
            "recover_seconds": recovered,
            "night_seconds": night_time,
        }
    finally:
        stack.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nucleation-night-") as name:
        write_result("night_queue", measure(Path(name), options.items))


if __name__ == "__main__":
    main()
