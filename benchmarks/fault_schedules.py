"""Random schedules of faults on whole sessions; a seed tells every one of them again.

Session, IOC, courier and Tiled are processes of their own on the loopback. One schedule maps one
sample, meets one to three faults at random moments, most of them inside an energised ramp, and is
resumed until every site is used. The judges are the IOC's own trace, the ledger, the journals and
Tiled.

``python -m benchmarks.fault_schedules --schedules 20 --seed 1``; one again: ``--seed 1 --only 7``.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from nucleation_bluesky.callbacks.journal_reader import journals
from nucleation_bluesky.ledger.ledger import Ledger
from nucleation_bluesky.storage.courier_files import CourierFiles
from nucleation_bluesky.storage.server import connect, ensure_server

from benchmarks.fault_stack import Child, Stack, stack, write_result
from benchmarks.faults import (
    MARGIN,
    START,
    Plan,
    accounts,
    exposed_twice,
    next_session,
    served,
    waveform_files,
)
from benchmarks.outage import compare, equal

PLAN = Plan(rows=1, cols=3, stop=-2.4, rate=1.6, heartbeat=0.5)  # ramps of 1.5 s: 3 heartbeats
BLOCK = 20  # schedules that share a data directory
END_BOUND = 120.0  # s from a session's last fault to its end
STOPS_RAMP = {  # after these an energised ramp must be safe within heartbeat + MARGIN
    "session_killed", "session_frozen", "two_interrupts", "abort", "halt", "stop", "pause",
    "ioc_frozen",
}  # fmt: skip
HARMLESS = {"tiled_killed", "tiled_frozen", "courier_killed", "session_blink"}
KINDS = (*sorted(STOPS_RAMP), *sorted(HARMLESS), "one_interrupt", "defer", "ioc_restarted")
WEIGHTS = [2 if kind in STOPS_RAMP else 1 for kind in KINDS]


@dataclass(frozen=True)
class Fault:
    """A fault: what, when (in which ramp of the session and how far into it), and for how long."""

    kind: str
    ramp: int
    offset: float
    seconds: float


@dataclass(frozen=True)
class Schedule:
    """Faults of one session, and how its user goes on after a pause."""

    faults: tuple[Fault, ...]
    on_pause: str
    resume: bool

    @classmethod
    def drawn(cls, rng: random.Random, plan: Plan) -> "Schedule":
        faults = []
        for ramp in sorted(rng.randrange(plan.cols) for _ in range(rng.choice((1, 1, 2, 3)))):
            (kind,) = rng.choices(KINDS, WEIGHTS)
            # now and then before or after the ramp
            offset = rng.uniform(0.0, (0.55 if rng.random() < 0.8 else 1.3) * plan.duration)
            seconds = rng.uniform(1.0, 3.0) if kind != "session_blink" else rng.uniform(0.02, 0.2)
            faults.append(Fault(kind, ramp, offset, seconds))
        on_pause = rng.choice(("resume", "resume", "abort", "stop", "halt"))
        faults.sort(key=lambda fault: (fault.ramp, fault.offset))
        return cls(tuple(faults), on_pause, rng.random() < 0.5)


@contextlib.contextmanager
def _stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


class Injector:
    """Does to one session what its schedule says."""

    def __init__(self, made: Stack, child: Child, requests: Path):
        self.made, self.child, self.requests = made, child, requests

    def __call__(self, fault: Fault) -> dict[str, Any]:
        """Inject; returns the fault's moment and what it hit."""
        act: Callable[[Fault], float | None] = getattr(self, f"_{fault.kind}", self._request)
        began = time.monotonic()
        moment = act(fault)
        return {"at": moment or began, "lasted": time.monotonic() - (moment or began)}

    def _request(self, fault: Fault) -> None:
        with self.requests.open("a") as file:
            file.write(fault.kind + "\n")

    def _session_killed(self, _: Fault) -> float:
        return self.child.kill()

    def _session_frozen(self, fault: Fault) -> None:
        with _stopped(self.child.process.pid):
            time.sleep(fault.seconds)

    _session_blink = _session_frozen

    def _one_interrupt(self, _: Fault) -> None:
        self.child.interrupt()

    def _two_interrupts(self, _: Fault) -> float:
        self.child.interrupt()
        self.child.wait_quiet(0.2)
        moment = time.monotonic()
        self.child.interrupt()
        return moment

    def _tiled_killed(self, _: Fault) -> None:
        _kill(self.made, "tiled_pid")

    def _tiled_frozen(self, fault: Fault) -> None:
        if (pid := _pid(self.made, "tiled_pid")) is not None:
            with _stopped(pid):
                self.child.wait_quiet(fault.seconds)

    def _courier_killed(self, _: Fault) -> None:
        _kill(self.made, "courier_pid")

    def _ioc_frozen(self, fault: Fault) -> float:
        with _stopped(self.made.ioc.pid):
            time.sleep(fault.seconds)
        return time.monotonic()  # a frozen controller can act when it is thawed

    def _ioc_restarted(self, _: Fault) -> float:
        moment = time.monotonic()
        self.made.restart_ioc()
        return moment


def _pid(made: Stack, name: str) -> int | None:
    """Process of this data directory, if it lives."""
    with contextlib.suppress(OSError, ValueError, KeyError, psutil.Error):
        process = psutil.Process(getattr(made, name))
        if str(made.data) in process.cmdline():
            return process.pid
    return None


def _kill(made: Stack, name: str) -> None:
    if (pid := _pid(made, name)) is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


# -- one schedule --------------------------------------------------------------------------------


def reach(made: Stack, child: Child, start: int, fault: Fault) -> bool:
    """Wait until the fault's moment; False if the session ends before."""
    deadline = time.monotonic() + START
    while True:
        made.trace.update()
        energised = [e for e in made.trace.events[start:] if e["event"] == "energised"]
        if len(energised) > fault.ramp:
            break
        if not child.alive or time.monotonic() > deadline:
            return False
        time.sleep(0.003)
    moment = energised[fault.ramp]["monotonic"] + fault.offset
    while child.alive and time.monotonic() < moment:
        time.sleep(0.001)
    return child.alive


def energised_at(events: list[dict[str, Any]], moment: float) -> bool:
    last = [e for e in events if e["event"] in ("energised", "safe") and e["monotonic"] <= moment]
    return bool(last) and last[-1]["event"] == "energised"


def judged(
    made: Stack, start: int, fault: Fault, hit: dict[str, Any], hits: list[tuple[Fault, Any]]
) -> dict[str, Any]:
    """Add to an injected fault what the trace says of it."""
    events = made.trace.events[start:]
    began = hit["at"]
    found = asdict(fault) | hit
    found["energised"] = energised_at(events, began)
    if found["energised"]:
        safe = next((e for e in events if e["event"] == "safe" and e["monotonic"] > began), None)
        found["safe_after"] = running(began, safe["monotonic"], hits) if safe else None
        found["reason"] = safe["reason"] if safe else None
    return found


def running(began: float, end: float, hits: list[tuple[Fault, dict[str, Any]]]) -> float:
    """Seconds between two moments in which no other fault had frozen or ended the controller."""
    spans = [
        (hit["at"] - fault.seconds, hit["at"])
        if fault.kind == "ioc_frozen"
        else (hit["at"], hit["at"] + hit["lasted"])
        for fault, hit in hits
        if fault.kind in ("ioc_frozen", "ioc_restarted")
    ]
    return end - began - sum(max(0.0, min(end, b) - max(began, a)) for a, b in spans)


def late(found: dict[str, Any], heartbeat: float) -> bool:
    """Whether the safe state came too late after a fault that must bring it."""
    if not found["energised"] or found["kind"] not in STOPS_RAMP:
        return False
    return found["safe_after"] is None or found["safe_after"] > heartbeat + MARGIN


def run_schedule(
    made: Stack, number: int, seed: int, plan: Plan = PLAN, *, tiled: bool = True
) -> dict[str, Any]:
    """Run one schedule; returns what was injected, seen and wrong."""
    rng = random.Random(f"{seed}-{number}")
    schedule = Schedule.drawn(rng, plan)
    sample = f"schedule-{number}"
    made.write_config(plan.heartbeat, sample=sample)
    made.trace.update()
    start, others = len(made.trace.events), journals(made.data / "journal")
    began = time.monotonic()
    requests = made.directory / f"requests-{number}"
    requests.touch()
    job = {"deliver": False, "tiled": tiled}
    prompt = {"requests": str(requests), "on_pause": schedule.on_pause}
    child = made.run("map", arguments=plan.arguments, **prompt, **job)
    inject = Injector(made, child, requests)
    hits = [(fault, inject(fault)) for fault in schedule.faults if reach(made, child, start, fault)]
    wrong = [] if ended(child, END_BOUND) else ["hang: the session did not end"]
    outcomes = [outcome(child)]
    time.sleep(plan.heartbeat + MARGIN)  # a dead session's last ramp
    made.trace.update()
    faults = [judged(made, start, fault, hit, hits) for fault, hit in hits]
    wrong += [
        f"{f['kind']}: safe after {f['safe_after']} s" for f in faults if late(f, plan.heartbeat)
    ]
    if {f["kind"] for f in faults} <= HARMLESS and outcomes[0] != "success":
        wrong.append(f"harmless faults ended the session: {outcomes[0]}")
    for _ in range(2):
        if exposed(made, sample) >= plan.cols:
            break
        if schedule.resume and tiled:
            again = next_session(made, plan, others)
        else:
            again = made.run("map", arguments={**plan.arguments, "skip_used": True}, **job)
        if not ended(again, START):
            wrong.append("hang: the resumed session did not end")
        outcomes.append(outcome(again))
    made.trace.update()
    events = made.trace.events[start:]
    twice = exposed_twice(events)
    wrong += [f"{key}: {twice[key]}" for key in ("tokens_twice", "places_twice") if twice[key]]
    if exposed(made, sample) != plan.cols:
        wrong.append(f"{exposed(made, sample)} sites used, not {plan.cols}: {outcomes}")
    if energised_at(events, time.monotonic()):
        wrong.append("energised at the end")
    return {
        "number": number, "faults": faults, "missed": len(schedule.faults) - len(faults),
        "on_pause": schedule.on_pause, "outcomes": outcomes, "twice": twice,
        "trips_without_fault": false_trips(events, faults),
        "seconds": time.monotonic() - began, "wrong": wrong,
    }  # fmt: skip


def false_trips(events: list[dict[str, Any]], faults: list[dict[str, Any]]) -> int:
    """Heartbeats lost before the first fault."""
    first = min((f["at"] - f["lasted"] for f in faults), default=float("inf"))
    return sum(e["event"] == "heartbeat_lost" and e["monotonic"] < first for e in events)


def ended(child: Child, bound: float) -> bool:
    """Wait for the end; what hangs is killed."""
    try:
        child.process.wait(bound)
    except subprocess.TimeoutExpired:
        child.kill()
        return False
    return True


def outcome(child: Child) -> str:
    if not child.path.exists():
        return f"died ({child.process.returncode})"
    report = child.report()
    return report["error"] or report["outcome"]


def exposed(made: Stack, sample: str) -> int:
    if not (made.data / "ledger.sqlite").exists():
        return 0
    with Ledger(made.data / "ledger.sqlite", read_only=True) as ledger:
        return len(ledger.exposures(sample))


# -- many ----------------------------------------------------------------------------------------

LOST = (
    "journals_open", "energised_not_claimed", "unfinished_claims",
    "acknowledged_without_event_or_burned", "done_without_event", "events_without_claim",
)  # fmt: skip


def in_tiled_twice(made: Stack) -> list[dict[str, int]]:
    """Every run against its journal, then everything delivered again and compared again."""
    files = CourierFiles(made.data / "journal")
    found = []
    for _ in range(2):
        report = made.run("nothing", wait=300.0).report(START + 300)
        client = connect(ensure_server(made.data))
        paths = journals(made.data / "journal")
        same = [equal(compare(client, path)) for path in paths]
        found.append(
            {
                "runs": len(same),
                "different": same.count(False),
                "undelivered": sum(not files.delivered(path) for path in paths),
                "delivered": int(bool(report.get("delivered"))),
            }
        )
        for path in paths:
            files.forget_delivery(path)
    return found


def run_block(directory: Path, numbers: list[int], seed: int, plan: Plan = PLAN) -> dict[str, Any]:
    """Run schedules on one data directory, then hold all books against each other."""
    with stack(directory, speed="1", heartbeat=plan.heartbeat) as made, served(made.data):
        schedules = []
        for number in numbers:
            schedules.append(run_schedule(made, number, seed, plan))
            print(json.dumps(schedules[-1]), flush=True)
        tiled = in_tiled_twice(made)
        made.trace.update()
        found: dict[str, Any] = {
            "schedules": schedules,
            "accounts": accounts(made.data, made.trace.events),
            "files": waveform_files(made.data),
            "tiled": tiled,
        }
    wrong = [f"{key}: {found['accounts'][key]}" for key in LOST if found["accounts"][key]]
    if found["files"]["bad"]:
        wrong.append(f"waveforms: {found['files']}")
    wrong += [f"Tiled: {one}" for one in tiled if one["different"] or one["undelivered"]]
    found["wrong"] = wrong
    return found


def summary(blocks: list[dict[str, Any]], seed: int, plan: Plan = PLAN) -> dict[str, Any]:
    """Figures of all blocks."""
    schedules = [s for block in blocks for s in block["schedules"]]
    faults = [f for s in schedules for f in s["faults"]]
    inside = [f for f in faults if f["energised"] and f["kind"] in STOPS_RAMP]
    latency = [f["safe_after"] for f in inside if f["safe_after"] is not None]
    return {
        "seed": seed,
        "plan": asdict(plan) | {"ramp_seconds": plan.duration},
        "schedules": len(schedules),
        "faults": dict(Counter(f["kind"] for f in faults)),
        "faults_in_energised_ramps": sum(f["energised"] for f in faults),
        "ended_by": dict(Counter(f["reason"] for f in inside)),
        "sites_energised": sum(s["twice"]["energised"] for s in schedules),
        "sites_used_twice": sum(
            s["twice"]["tokens_twice"] + s["twice"]["places_twice"] for s in schedules
        ),
        "safe_after_max": max(latency, default=None),
        "safe_after_limit": plan.heartbeat + MARGIN,
        "safe_too_late": sum(late(f, plan.heartbeat) for f in faults),
        "journal_events_lost": sum(
            b["accounts"][k]
            for b in blocks
            for k in ("acknowledged_without_event_or_burned", "done_without_event")
        ),
        "waveform_rows": sum(b["files"]["rows_read"] for b in blocks),
        "waveform_rows_bad": sum(b["files"]["bad"] for b in blocks),
        "runs_in_tiled": sum(b["tiled"][0]["runs"] for b in blocks),
        "runs_differing_in_tiled": [
            sum(b["tiled"][n]["different"] for b in blocks) for n in (0, 1)
        ],
        "hangs": sum("hang" in text for s in schedules for text in s["wrong"]),
        "watchdog_trips_before_any_fault": sum(s["trips_without_fault"] for s in schedules),
        "seconds_per_schedule": sum(s["seconds"] for s in schedules) / max(len(schedules), 1),
        "load_average": os.getloadavg()[0],
        "wrong": [f"schedule {s['number']}: {t}" for s in schedules for t in s["wrong"]]
        + [
            f"schedules {b['schedules'][0]['number']} to {b['schedules'][-1]['number']}: {t}"
            for b in blocks
            for t in b["wrong"]
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="one schedule alone, by its number")
    parser.add_argument("--directory", type=Path, help="keep everything here")
    options = parser.parse_args()
    numbers = list(range(options.schedules)) if options.only is None else [options.only]
    blocks = []
    with tempfile.TemporaryDirectory(prefix="nucleation-schedules-") as name:
        for first in range(0, len(numbers), BLOCK):
            mine = numbers[first : first + BLOCK]
            directory = (options.directory or Path(name)) / f"block-{mine[0]}"
            blocks.append(run_block(directory, mine, options.seed))
    result = summary(blocks, options.seed)
    if options.only is None:
        write_result("fault_schedules", result)
    else:
        print(json.dumps(result, indent=1, default=float))
    for text in result["wrong"]:
        print(f"seed {options.seed}: {text}", file=sys.stderr)
    sys.exit(bool(result["wrong"]))


if __name__ == "__main__":
    main()
