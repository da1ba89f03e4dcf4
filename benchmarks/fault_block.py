"""A block of random schedules on one data directory, and all books held against each other."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from nucleation_bluesky.callbacks.journal_reader import JournalReader, is_open, journals, stem
from nucleation_bluesky.ledger.errors import LedgerError
from nucleation_bluesky.ledger.ledger import Ledger
from nucleation_bluesky.session.recover import recover
from nucleation_bluesky.storage.courier_files import CourierFiles
from nucleation_bluesky.storage.server import connect, ensure_server

from benchmarks.fault_inject import Injector, NotPossibleHereError, pid_of, random_of
from benchmarks.fault_kinds import (
    HARMLESS,
    Fault,
    Schedule,
    energised_at,
    false_trips,
    judged,
    late,
)
from benchmarks.fault_machine import Canary
from benchmarks.fault_plans import AFM, FAMILIES, AfmPlan, SeccmPlan
from benchmarks.fault_queue import run_queue_block
from benchmarks.fault_stack import Child, Stack, stack
from benchmarks.fault_tiled import compare_all
from benchmarks.fault_zygote import Zygote
from benchmarks.faults import START, accounts, exposed_twice, served, waveform_files
from benchmarks.outage import compare, equal

SESSIONS = 5  # of one schedule, at most
DELIVERY = 20.0  # s that a resume waits for its run to reach Tiled
END_BOUND = 120.0  # s from a session's last fault to its end
LOST = (
    "journals_open", "energised_not_claimed", "unfinished_claims",
    "acknowledged_without_event_or_burned", "done_without_event", "events_without_claim",
)  # fmt: skip
PARTS = ("sessions", "controllers", "courier", "tiled", "harness")
RECORDED = re.compile(r"^recorded (\S+)$", re.MULTILINE)


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
        child.wait_quiet(0.01)
    moment = energised[fault.ramp]["monotonic"] + fault.offset
    if (left := moment - time.monotonic()) > 0:
        child.wait_quiet(left)
    return child.alive


def injected(
    made: Stack, child: Child, start: int, faults: list[Fault], inject: Injector
) -> tuple[list[tuple[Fault, dict[str, Any]]], list[Fault], list[str]]:
    """Inject what can be; returns what was hit when, what was missed, what is impossible here."""
    hits, missed, impossible = [], [], []
    for fault in faults:
        if not reach(made, child, start, fault):
            missed.append(fault)
            continue
        try:
            hits.append((fault, inject(fault)))
        except NotPossibleHereError as error:
            impossible.append(f"{fault.kind}: {error}")
    return hits, missed, impossible


def judge_session(
    events: list[dict[str, Any]],
    hits: list[tuple[Fault, dict[str, Any]]],
    how: str,
    heartbeat: float,
    canary: Canary | None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """What the trace says of a session's faults, and what is wrong."""
    faults = [judged(events, fault, hit, hits) for fault, hit in hits]
    wrong = []
    for found in faults:
        if canary is not None:
            span = found["at"], found.get("safe_at") or found["at"] + 1
            found |= {"stall": canary.longest(*span), "waited": canary.waited(*span)}
        if late(found, heartbeat):
            wrong.append(
                f"{found['kind']}: safe after {found['safe_after']} s, in which the controller "
                f"waited {found.get('waited', 0.0):.3f} s for a processor"
            )
    if {f["kind"] for f in faults} <= HARMLESS and how != "success":
        wrong.append(f"only harmless faults, but the session ended with: {how}")
    return faults, wrong


def run_schedule(
    made: Stack,
    number: int,
    seed: int,
    plan: AfmPlan | SeccmPlan = AFM,
    *,
    tiled: bool = True,
    canary: Canary | None = None,
) -> dict[str, Any]:
    """Run one schedule; returns what was injected, seen and wrong.

    Faults that a session does not live to see meet the one that resumes it.
    """
    schedule = Schedule.drawn(random_of(seed, plan.family, number), plan)
    sample = f"schedule-{number}"
    made.write_config(plan.heartbeat, sample=sample)
    made.trace.update()
    begin, others = len(made.trace.events), set(map(stem, journals(made.data / "journal")))
    began = time.monotonic()
    requests = made.directory / f"requests-{number}"
    requests.unlink(missing_ok=True)
    os.mkfifo(requests)
    job: dict[str, Any] = {"deliver": False, "tiled": tiled, "requests": str(requests)}
    job["on_pause"] = schedule.on_pause
    arguments = plan.arguments_of(number)
    left = list(schedule.faults)
    wrong, outcomes, faults, impossible, trips, resumed = [], [], [], [], 0, 0
    while len(outcomes) < SESSIONS and exposed(made, sample) < plan.cols:
        used, start = exposed(made, sample), len(made.trace.events)
        run = last_run(made, others) if schedule.resume and tiled else ""
        resumed += bool(run)
        if run:
            child = made.run("resume", which=run, **job)
        else:
            child = made.run(plan.job, arguments={**arguments, "skip_used": bool(used)}, **job)
        inject = Injector(made, child, requests)
        due = [replace(fault, ramp=max(0, fault.ramp - used)) for fault in left]
        try:
            hits, left, not_here = injected(made, child, start, due, inject)
            left = [replace(fault, ramp=fault.ramp + used) for fault in left]
            if not ended(child, END_BOUND):
                wrong.append("hang: the session did not end")
        finally:
            inject.heal()
        end = time.monotonic()
        events = settled(made, start, plan)
        if (child.process.poll() or 0) < 0:  # the dead hold it until their heartbeat is old
            time.sleep(max(0.0, end + plan.heartbeat + 0.1 - time.monotonic()))
        if made.ioc.poll() is not None:
            wrong.append(f"the controller died ({made.ioc.returncode})")
            made.restart_ioc()
        outcomes.append(outcome(child))
        if (code := child.process.poll() or 0) > 0:
            wrong.append(f"the session ended with an error of its own ({code}): {child.log}")
        more, bad = judge_session(events, hits, outcomes[-1], plan.heartbeat, canary)
        trips += false_trips(events, more)
        faults, wrong, impossible = faults + more, wrong + bad, impossible + not_here
    events = made.trace.events[begin:]
    twice = exposed_twice(events, plan.apart)
    wrong += [f"{key}: {twice[key]}" for key in ("tokens_twice", "places_twice") if twice[key]]
    if exposed(made, sample) != plan.cols:
        wrong.append(f"{exposed(made, sample)} sites used, not {plan.cols}: {outcomes}")
    if energised_at(events, float("inf")):
        wrong.append("energised at the end")
    found = {
        "number": number, "family": plan.family, "faults": faults, "missed": len(left),
        "impossible": impossible, "on_pause": schedule.on_pause, "outcomes": outcomes,
        "twice": twice, "trips_without_fault": trips, "resumed_from_tiled": resumed,
    }  # fmt: skip
    if isinstance(plan, SeccmPlan):
        found["withdrawals"], missing = withdrawals(events, plan)
        wrong += missing
    stall = canary.longest(began, time.monotonic()) if canary is not None else None
    return found | {"stall": stall, "seconds": time.monotonic() - began, "wrong": wrong}


def last_run(made: Stack, others: Collection[str]) -> str:
    """The last run that is not one of ``others``, to be resumed; "" without.

    Nor where a busy machine delivers it too late: it is then repeated over the free sites.
    """

    def mine() -> list[Path]:
        return [path for path in journals(made.data / "journal") if stem(path) not in others]

    found = mine()
    if not found:
        return ""
    if is_open(found[-1]):  # left by a session that died: somebody recovers, then resumes
        try:
            recover(made.data)
        except (OSError, LedgerError):  # a disk that is still full
            return ""
        found = mine()
    files = CourierFiles(made.data / "journal")
    deadline = time.monotonic() + DELIVERY
    while not files.delivered(found[-1]):
        if time.monotonic() > deadline:
            return ""
        time.sleep(0.2)
        found = mine()
    with JournalReader(found[-1]) as reader:
        return reader.read()[0][1]["uid"]


def settled(made: Stack, start: int, plan: AfmPlan | SeccmPlan) -> list[dict[str, Any]]:
    """Events since ``start``, once nothing is energised or should no longer be."""
    rest = {"safe"} if isinstance(plan, AfmPlan) else {"withdrawn"}
    deadline = time.monotonic() + plan.heartbeat + (1.0 if "safe" in rest else 5.0)
    while True:
        made.trace.update()
        events = made.trace.events[start:]
        last = next((e for e in reversed(events) if e["event"] in {"energised", *rest}), None)
        if last is None or last["event"] != "energised" or time.monotonic() > deadline:
            return events
        time.sleep(0.02)


def withdrawals(events: list[dict[str, Any]], plan: SeccmPlan) -> tuple[dict[str, Any], list[str]]:
    """Whether the pipette left the surface after everything that was energised, and how soon."""
    times, wrong = [], []
    marks = [e for e in events if e["event"] in ("energised", "safe", "withdrawn")]
    for k, event in enumerate(marks):
        if event["event"] != "energised":
            continue
        after = marks[k + 1 :]
        safe = next((e for e in after if e["event"] == "safe"), None)
        back = next((e for e in after if e["event"] in ("withdrawn", "energised")), None)
        if safe is None or back is None or back["event"] != "withdrawn":
            wrong.append(f"pipette not withdrawn after token {event['token']}")
            continue
        if back["z"] > plan.surface - 0.75 * plan.retraction:
            wrong.append(f"withdrawn to {back['z']:g} m only, the surface is at {plan.surface:g} m")
        times.append(back["monotonic"] - safe["monotonic"])
    return {"n": len(times), "longest_after_safe": max(times, default=None)}, wrong


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


def in_tiled_twice(made: Stack) -> list[dict[str, Any]]:
    """Every run against its journal, then everything delivered again and compared again."""
    files = CourierFiles(made.data / "journal")
    found = []
    for turn in range(2):
        report = made.run("nothing", wait=300.0).report(START + 300)
        client = connect(ensure_server(made.data))
        paths = journals(made.data / "journal")
        compared = compare_all(client, paths, files=turn == 0)
        same = [equal(one) for one in compared]
        if turn == 0 and paths:  # and as a user reads
            same[-1] = same[-1] and equal(compare(client, paths[-1]))
        found.append(
            {
                "runs": len(same),
                "different": same.count(False),
                "differences": [one for one in compared if not equal(one)],
                "undelivered": sum(not files.delivered(path) for path in paths),
                "delivered": int(bool(report.get("delivered"))),
            }
        )
        for path in paths:
            files.forget_delivery(path)
    return found


def acknowledged_but_lost(made: Stack) -> int:
    """Events that a session went on from, and that no journal holds."""
    told = {
        uid
        for log in made.directory.glob("child-*.log")
        for uid in RECORDED.findall(log.read_text(errors="replace"))
    }
    kept = set()
    for path in journals(made.data / "journal"):
        with JournalReader(path) as reader:
            while documents := reader.read():
                kept |= {doc["uid"] for name, doc in documents if name == "event"}
    return len(told - kept)


def processor_seconds(made: Stack, name: str) -> float:
    """Processor time of courier or Tiled, 0 where none lives."""
    pid = pid_of(made, name)
    return 0.0 if pid is None else sum(psutil.Process(pid).cpu_times()[:2])


@contextlib.contextmanager
def couriered(made: Stack) -> Iterator[None]:
    """Keep the courier while sessions come and go."""
    users = CourierFiles(made.data / "journal").users
    users.register()
    try:
        yield
    finally:
        users.unregister()


def run_block(
    directory: Path,
    numbers: list[int],
    seed: int,
    plan: AfmPlan | SeccmPlan = AFM,
    *,
    zygote: Zygote | None = None,
    until: float = float("inf"),
    tiled: bool = True,
) -> dict[str, Any]:
    """Run schedules on one data directory, then hold all books against each other.

    Parameters
    ----------
    until : float
        Moment (`time.monotonic`) after which no schedule begins.
    tiled : bool
        Without, nothing is delivered and faults of Tiled and courier meet nobody.
    """
    canary = Canary()
    options: dict[str, Any] = {"family": plan.family, "sections": plan.sections}
    options |= {"world": plan.world, "speed": "1", "heartbeat": plan.heartbeat}
    schedules: list[dict[str, Any]] = []
    with (
        contextlib.closing(canary),
        stack(directory, hostile=True, zygote=zygote, **options) as made,
        served(made.data) if tiled else contextlib.nullcontext(),
        couriered(made) if tiled else contextlib.nullcontext(),
    ):
        canary.watched = lambda: made.ioc.pid
        for number in numbers:
            if time.monotonic() > until:
                break
            schedules.append(run_schedule(made, number, seed, plan, tiled=tiled, canary=canary))
            print(json.dumps(schedules[-1]), flush=True)
        # a session that ends on a full disk cannot write into the ledger either: like the next
        # session, `recover` burns what it had claimed
        recover(made.data)
        delivered = in_tiled_twice(made) if tiled else []
        made.trace.update()
        served_by = {part: processor_seconds(made, f"{part}_pid") for part in ("courier", "tiled")}
        found: dict[str, Any] = {
            "family": plan.family,
            "schedules": schedules,
            "accounts": accounts(made.data, made.trace.events),
            "events_told_but_lost": acknowledged_but_lost(made),
            "files": waveform_files(made.data),
            "tiled": delivered,
        }
    # of courier and Tiled those that lived at the end
    found["processor_seconds"] = served_by | {
        "sessions": made.processor_seconds("sessions"),
        "controllers": made.processor_seconds("controllers"),
        "harness": time.process_time(),
    }
    return found | {"wrong": books_wrong(found)}


def books_wrong(found: dict[str, Any]) -> list[str]:
    """What does not agree in the books of a block."""
    wrong = [f"{key}: {found['accounts'][key]}" for key in LOST if found["accounts"][key]]
    if found.get("events_told_but_lost"):
        wrong.append(f"events told but lost: {found['events_told_but_lost']}")
    if found["files"]["bad"]:
        wrong.append(f"waveforms: {found['files']}")
    return wrong + [
        f"Tiled: {one}" for one in found["tiled"] if one["different"] or one["undelivered"]
    ]


def main() -> None:
    """One block in a process of its own: what to do and where to write it are its arguments."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # everything is ended on leaving
    job = json.loads(sys.argv[1])
    plan = FAMILIES[job["family"]]
    if job.get("heartbeat"):
        plan = replace(plan, heartbeat=job["heartbeat"])
    place = Path(job["directory"]), job["numbers"], job["seed"]
    if plan.family == "queue":
        found = run_queue_block(*place, plan, until=job["until"])
        found |= {"wrong": books_wrong(found)}
    else:
        found = run_block(
            *place, plan, zygote=Zygote(job["zygote"]), until=job["until"], tiled=job["tiled"]
        )
    target = Path(job["result"])
    target.with_suffix(".part").write_text(json.dumps(found, default=float))
    target.with_suffix(".part").rename(target)


if __name__ == "__main__":
    main()
