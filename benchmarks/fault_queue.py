"""Random schedules in which the session is the worker of a queue server, and parts of it die.

One schedule queues a map of three sites, kills or freezes the worker, the manager, both, or the
gateway while a site is energised, recovers as the how-to says, lets the queue run whatever it put
back, and resumes until every site is used. Judges and books are those of the other families.
"""

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import psutil
from nucleation_bluesky.callbacks.journal_reader import JournalReader, journals, stem
from nucleation_bluesky.session.config import load_configuration
from nucleation_bluesky.session.queue.control import Queue
from nucleation_bluesky.session.queue.parts import QueueError
from nucleation_bluesky.session.recover import recover
from nucleation_bluesky.storage import courier_process
from nucleation_bluesky.storage.courier_files import CourierFiles
from nucleation_bluesky.storage.server import connect, ensure_server, release_server

from benchmarks.fault_inject import random_of, stopped
from benchmarks.fault_kinds import Fault, energised_at, false_trips, judged, late
from benchmarks.fault_machine import Canary
from benchmarks.fault_plans import AfmPlan
from benchmarks.fault_stack import put_first
from benchmarks.fault_tiled import compare_all
from benchmarks.faults import START, accounts, exposed_twice, waveform_files
from benchmarks.outage import equal
from benchmarks.queue_stack import QueueStack

KINDS = ("worker_killed", "worker_frozen", "manager_killed", "both_killed", "gateway_killed")
WEIGHTS = (3, 2, 3, 3, 1)
RESUME = "resume_map"
ROUNDS = 6  # of queueing what is left, at most
RECOVERY = 180.0  # s until the queue can be used again
BOUND = 240.0  # s for one round
UM = 1e-6


def drawn(rng: random.Random, plan: AfmPlan) -> list[Fault]:
    """One or two faults, while a site is energised."""
    ramps = sorted(rng.randrange(plan.cols) for _ in range(rng.choice((1, 1, 2))))
    found = []
    for ramp in ramps:
        (kind,) = rng.choices(KINDS, WEIGHTS)
        offset, seconds = rng.uniform(0.0, 0.55 * plan.duration), rng.uniform(1.2, 3.0)
        found.append(Fault(kind, ramp, offset, seconds * plan.heartbeat))
    return sorted(found, key=lambda fault: (fault.ramp, fault.offset))


class Night:
    """A queue, what is done to it, and its recovery as a person would do it."""

    def __init__(self, made: QueueStack) -> None:
        self.made = made
        config = load_configuration(made.config)
        self.queue = Queue(config, made.config, lambda text: print(f"queue: {text}", flush=True))
        self.said: list[str] = []

    def _manager(self) -> psutil.Process | None:
        """The manager proper: the process that we started watches it and its worker."""
        worker = self.made.files.worker()
        for child in self.made.processes()["manager"].children():
            mine = worker is not None and child.pid == worker.pid
            if not mine and "resource_tracker" not in " ".join(child.cmdline()):
                return child
        return None

    def inject(self, fault: Fault) -> dict[str, Any]:
        """Do it; returns its moment and how long it lasted."""
        worker = self.made.files.worker()
        manager = self._manager()
        began = time.monotonic()
        if fault.kind in ("worker_killed", "both_killed") and worker is not None:
            os.kill(worker.pid, signal.SIGKILL)
        if fault.kind in ("manager_killed", "both_killed") and manager is not None:
            manager.kill()
        if fault.kind == "worker_frozen" and worker is not None:
            with stopped(worker.pid):
                time.sleep(fault.seconds)
        if fault.kind == "gateway_killed":
            self.made.processes()["gateway"].kill()
        return {"at": began, "lasted": time.monotonic() - began}

    def state(self) -> dict[str, Any] | None:
        """What the manager says, None where it does not answer."""
        try:
            return self.queue.status().manager
        except QueueError:
            return None

    def ready(self) -> bool:
        """Bring the queue back to where it takes and runs items; False if it does not come."""
        deadline = time.monotonic() + RECOVERY
        while time.monotonic() < deadline:
            try:
                if self._step():
                    return True
            except QueueError as error:
                self.said.append(str(error))
            time.sleep(0.3)
        return False

    def _step(self) -> bool:
        status = self.queue.status()
        if status.gone or status.worker_lost:
            self.said.append("recover")
            self.queue.recover()
        elif not {"redis", "manager", "gateway"} <= set(status.running):  # nothing was started yet
            self.queue.up()
        elif status.manager is None:  # its watchdog is replacing it
            return False
        elif status.manager["manager_state"] == "paused":
            self.queue.ask("re_abort")
        elif status.manager["manager_state"] == "idle":
            if status.manager["worker_environment_exists"]:
                return True
            self.said.append("up")
            self.queue.up()
        return False

    def items(self) -> list[dict[str, Any]]:
        return list(self.queue.ask("queue_get")["items"])

    def start(self, item: dict[str, Any] | None) -> None:
        """Queue an item behind what is there, and start."""
        if item is not None:
            self.queue.ask("queue_item_add", item=item, user="night", user_group="primary")
        self.queue.ask("queue_start")


def run_schedule(
    made: QueueStack, number: int, seed: int, plan: AfmPlan, canary: Canary
) -> dict[str, Any]:
    """Run one schedule; returns what was injected, seen and wrong."""
    night = Night(made)
    left = drawn(random_of(seed, plan.family, number), plan)
    made.trace.update()
    begin, began = len(made.trace.events), time.monotonic()
    others = set(map(stem, journals(made.data / "journal")))
    wrong: list[str] = []
    hits: list[tuple[Fault, dict[str, Any]]] = []
    outcomes: list[str] = []
    resumed = 0
    item: dict[str, Any] | None = first_item(number, plan)

    def energised() -> list[dict[str, Any]]:
        made.trace.update()
        return [e for e in made.trace.events[begin:] if e["event"] == "energised"]

    for _ in range(ROUNDS):
        if not night.ready():
            wrong.append(f"the queue did not come back: {night.said[-3:]}")
            break
        if item is None:
            used, put_back = len(energised()), night.items()
            if put_back:  # it runs: the ledger refuses a map, a resume takes what is left of one
                night.start(None)
                wrong += idle(night, time.monotonic() + BOUND)
                taken = len(energised()) - used
                if taken and all(one["name"] != RESUME for one in put_back):
                    wrong.append(f"the map that was put back used {taken} site(s)")
                used += taken
            if used == plan.cols:
                break
            run = delivered_run(made, others)
            resumed += bool(run)
            item = resume_item(run) if run else first_item(number, plan)
        night.start(item)
        item, deadline = None, time.monotonic() + BOUND
        while time.monotonic() < deadline:
            seen = energised()
            if left and len(seen) > left[0].ramp:
                moment = seen[left[0].ramp]["monotonic"] + left[0].offset
                time.sleep(max(0.0, moment - time.monotonic()))
                hits.append((left[0], night.inject(left[0])))
                left = left[1:]
                if not left or left[0].ramp >= len(seen):
                    break
                continue
            told = night.state()
            if told is not None and told["manager_state"] in ("idle", "paused"):
                break
            time.sleep(0.02)
        else:
            wrong.append("hang: the queue did not end")
        settle(made, plan, begin)
        outcomes.append("; ".join(night.said) or "ran")
        night.said.clear()
    events = made.trace.events[begin:]
    faults = [judged(events, fault, hit, hits) for fault, hit in hits]
    for found in faults:
        span = found["at"], found.get("safe_at") or found["at"] + 1
        found |= {"stall": canary.longest(*span), "waited": canary.waited(*span)}
        if late(found, plan.heartbeat):
            wrong.append(f"{found['kind']}: safe after {found['safe_after']} s")
        if found["kind"] in ("manager_killed", "gateway_killed") and found["energised"]:
            alone = all(f is found or not f["energised"] for f in faults)
            if alone and found.get("reason") != "completed":
                wrong.append(f"{found['kind']}: the ramp ended with {found.get('reason')}")
    twice = exposed_twice(events, plan.apart)
    wrong += [f"{key}: {twice[key]}" for key in ("tokens_twice", "places_twice") if twice[key]]
    if twice["energised"] != plan.cols:
        wrong.append(f"{twice['energised']} sites used, not {plan.cols}: {outcomes}")
    if energised_at(events, float("inf")):
        wrong.append("energised at the end")
    return {
        "number": number, "family": plan.family, "faults": faults, "missed": len(left),
        "impossible": [], "on_pause": "", "outcomes": outcomes, "twice": twice,
        "trips_without_fault": false_trips(events, faults), "resumed_from_tiled": resumed,
        "stall": canary.longest(began, time.monotonic()), "seconds": time.monotonic() - began,
        "wrong": wrong,
    }  # fmt: skip


def first_item(number: int, plan: AfmPlan) -> dict[str, Any]:
    """The map of a schedule, on an area of its own."""
    kwargs = plan.arguments | {"origin": [(2 * (number % 20) - 20) * UM, 2 * (number // 20) * UM]}
    return {"item_type": "plan", "name": "nucleation_map", "args": ["afm"], "kwargs": kwargs}


def resume_item(run: str) -> dict[str, Any]:
    return {
        "item_type": "plan", "name": RESUME, "args": [run], "kwargs": {"register": False},
    }  # fmt: skip


def idle(night: Night, deadline: float) -> list[str]:
    """Wait until the queue rests; what is wrong if it does not."""
    while time.monotonic() < deadline:
        told = night.state()
        if told is not None and told["manager_state"] in ("idle", "paused"):
            return []
        time.sleep(0.1)
    return ["hang: the queue did not end"]


def settle(made: QueueStack, plan: AfmPlan, begin: int) -> None:
    """Wait until nothing is energised, or should no longer be."""
    deadline = time.monotonic() + plan.heartbeat + plan.duration + 1.0
    while time.monotonic() < deadline:
        made.trace.update()
        if not energised_at(made.trace.events[begin:], float("inf")):
            return
        time.sleep(0.02)


def delivered_run(made: QueueStack, others: set[str]) -> str:
    """The schedule's last run, once Tiled has it; "" without."""
    files = CourierFiles(made.data / "journal")
    deadline = time.monotonic() + 60.0
    while True:
        mine = [path for path in journals(made.data / "journal") if stem(path) not in others]
        if mine and files.delivered(mine[-1]):
            with JournalReader(mine[-1]) as reader:
                return reader.read()[0][1]["uid"]
        if not mine or time.monotonic() > deadline:
            return ""
        time.sleep(0.2)


def in_tiled_twice(data: Path) -> list[dict[str, int]]:
    """As `fault_block.in_tiled_twice`, by a courier of our own."""
    files = CourierFiles(data / "journal")
    found = []
    for turn in range(2):
        courier = courier_process.start(data, ensure_server(data))
        try:
            came = courier.wait_delivered(timeout=START)
        finally:
            courier.release()
        paths = journals(data / "journal")
        same = [
            equal(one) for one in compare_all(connect(ensure_server(data)), paths, files=turn == 0)
        ]
        undelivered = sum(not files.delivered(path) for path in paths)
        found.append({
            "runs": len(same), "different": same.count(False), "undelivered": undelivered,
            "delivered": int(came),
        })  # fmt: skip
        for path in paths:
            files.forget_delivery(path)
    return found


def run_queue_block(
    directory: Path, numbers: list[int], seed: int, plan: AfmPlan, *, until: float = float("inf")
) -> dict[str, Any]:
    """Run schedules on one queue, then hold all books against each other."""
    directory.mkdir(parents=True, exist_ok=True)
    made = QueueStack(
        directory, speed="1", more=f"[safety]\nheartbeat_timeout = {plan.heartbeat}\n"
    )
    # the queue is brought up and recovered from this process
    for name in [name for name in os.environ if name.startswith("QSERVER_")]:
        del os.environ[name]
    os.environ.update(made.environment)
    put_first(made.ioc.pid)
    canary = Canary()
    canary.watched = lambda: made.ioc.pid
    schedules = []
    try:
        ensure_server(made.data, timeout=START)
        for number in numbers:
            if time.monotonic() > until:
                break
            schedules.append(run_schedule(made, number, seed, plan, canary))
            print(json.dumps(schedules[-1]), flush=True)
        Night(made).queue.down(now=True)
        recover(made.data)
        delivered = in_tiled_twice(made.data)
        made.trace.update()
        return {
            "family": plan.family,
            "schedules": schedules,
            "accounts": accounts(made.data, made.trace.events),
            "files": waveform_files(made.data),
            "tiled": delivered,
            "processor_seconds": {"harness": time.process_time()},
        }
    finally:
        canary.close()
        release_server(made.data)
        made.close()
