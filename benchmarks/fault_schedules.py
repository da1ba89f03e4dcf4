"""Random schedules of faults on whole sessions; a seed tells every one of them again.

Session, IOC, courier and Tiled are processes of their own on the loopback, with a network, a disk
and a clock between them that can fail. One schedule maps one sample (AFM), or lands on a row of
sites (SECCM), meets one to three faults at random moments, most of them while it is energised, and
is resumed until every site is used. The judges are the IOC's own trace, the ledger, the journals
and Tiled. Blocks of schedules run beside each other, each on a data directory of its own.

``python -m benchmarks.fault_schedules --schedules 20 --seccm 5 --seed 1``; one again:
``--seed 1 --only afm-7``.
"""

import argparse
import contextlib
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.fault_block import LOST, PARTS, run_block, run_schedule
from benchmarks.fault_kinds import (
    KINDS,
    MUST_STOP,
    Fault,
    Schedule,
    energised_at,
    judged,
    late,
    less_waiting,
    running,
)
from benchmarks.fault_machine import scratch
from benchmarks.fault_plans import FAMILIES
from benchmarks.fault_stack import write_result
from benchmarks.fault_zygote import Forked, Zygote, zygote
from benchmarks.faults import MARGIN
from benchmarks.report import environment

__all__ = [
    "KINDS", "LOST", "Fault", "Schedule", "energised_at", "judged", "late", "run_block",
    "run_schedule", "running", "summary",
]  # fmt: skip
BLOCK = 20  # schedules that share a data directory


@dataclass
class Lane:
    """A block under way."""

    process: Forked
    family: str
    numbers: list[int]
    directory: Path
    result: Path
    log: Path


def blocks_of(counts: dict[str, int], size: int) -> list[tuple[str, list[int]]]:
    """Numbers of schedules by family, in blocks; families take turns."""
    found = [
        (first / count, family, list(range(first, min(first + size, count))))
        for family, count in counts.items()
        for first in range(0, count, size)
    ]
    return [(family, numbers) for _, family, numbers in sorted(found)]


def run_blocks(
    wanted: list[tuple[str, list[int]]],
    seed: int,
    home: Path,
    *,
    lanes: int,
    until: float = float("inf"),
    keep: bool = False,
    tiled: bool = True,
) -> Iterator[dict[str, Any]]:
    """Run blocks, some beside each other; yields each when it is done."""
    waiting = list(wanted)
    running_: list[Lane] = []
    with zygote() as source:
        while waiting or running_:
            while waiting and len(running_) < lanes and time.monotonic() < until:
                running_.append(_begin(source, *waiting.pop(0), seed, home, until, tiled))
            if time.monotonic() >= until:
                waiting.clear()
            time.sleep(0.2)
            for lane in [one for one in running_ if one.process.poll() is not None]:
                running_.remove(lane)
                yield _end(lane, keep=keep) | {"seed": seed}


def _begin(
    source: Zygote,
    family: str,
    numbers: list[int],
    seed: int,
    home: Path,
    until: float,
    tiled: bool,
) -> Lane:
    directory = home / f"{family}-{numbers[0]}"
    directory.mkdir(parents=True, exist_ok=True)
    result, log = directory / "block.json", directory / "block.log"
    job = {
        "family": family, "numbers": numbers, "seed": seed, "directory": str(directory / "stack"),
        "result": str(result), "zygote": source.address, "until": until,
        "tiled": tiled,
    }  # fmt: skip
    # it watches the clock, carries the network and must not be kept waiting
    process = source.fork(
        "benchmarks.fault_block:main", [json.dumps(job)], dict(os.environ), log, 0
    )
    return Lane(process, family, numbers, directory, result, log)


def _end(lane: Lane, *, keep: bool) -> dict[str, Any]:
    if lane.result.exists():
        found = json.loads(lane.result.read_text())
    else:  # the schedules that were done are in its log
        schedules = []
        for line in lane.log.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                schedules.append(json.loads(line))
        tail = lane.log.read_text(errors="replace")[-1500:]
        found = {"family": lane.family, "schedules": [s for s in schedules if isinstance(s, dict)]}
        found |= {"wrong": [f"the block itself failed: {tail}"]}
    if not keep and not found["wrong"] and not any(s["wrong"] for s in found["schedules"]):
        shutil.rmtree(lane.directory, ignore_errors=True)
    return found


def summary(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures of all blocks, by family."""
    families = sorted({b["family"] for b in blocks})
    return {
        "seeds": sorted({b["seed"] for b in blocks}),
        "environment": environment(),
        **{f: _summary([b for b in blocks if b["family"] == f], f) for f in families},
        "wrong": [
            f"--seed {b['seed']} --only {b['family']}-{s['number']}: {text}"
            for b in blocks
            for s in b["schedules"]
            for text in s["wrong"]
        ]
        + [
            f"seed {b['seed']}, {b['family']} {[s['number'] for s in b['schedules']]}: {text}"
            for b in blocks
            for text in b["wrong"]
        ],
    }


def _summary(blocks: list[dict[str, Any]], family: str) -> dict[str, Any]:
    plan = FAMILIES[family]
    schedules = [s for block in blocks for s in block["schedules"]]
    faults = [f for s in schedules for f in s["faults"]]
    inside = [f for f in faults if f["energised"] and f["kind"] in MUST_STOP]
    latency = sorted(f["safe_after"] for f in inside if f["safe_after"] is not None)
    whole = [b for b in blocks if "accounts" in b]
    told = [b["tiled"] for b in whole if b["tiled"]]
    found = {
        "plan": plan.document(),
        "schedules": len(schedules),
        "faults": dict(Counter(f["kind"] for f in faults)),
        "faults_in_energised": sum(f["energised"] for f in faults),
        "faults_in_energised_that_must_stop_it": len(inside),
        "faults_missed": sum(s["missed"] for s in schedules),
        "impossible": sum(len(s["impossible"]) for s in schedules),
        "ended_by": dict(Counter(f["reason"] for f in inside)),
        "safe_after_max_by_kind": {
            kind: max(f["safe_after"] or float("inf") for f in inside if f["kind"] == kind)
            for kind in sorted({f["kind"] for f in inside})
        },
        "sessions": sum(len(s["outcomes"]) for s in schedules),
        "sessions_resumed_from_tiled": sum(s["resumed_from_tiled"] for s in schedules),
        "sites_energised": sum(s["twice"]["energised"] for s in schedules),
        "sites_used_twice": sum(
            s["twice"]["tokens_twice"] + s["twice"]["places_twice"] for s in schedules
        ),
        "safe_after_median": latency[len(latency) // 2] if latency else None,
        "safe_after_max": max(latency, default=None),
        "safe_after_limit": plan.heartbeat + MARGIN,
        "safe_too_late": sum(late(f, plan.heartbeat) for f in faults),
        "of_these_beyond_its_wait_for_a_processor": sum(
            late(f, plan.heartbeat) and late(less_waiting(f), plan.heartbeat) for f in faults
        ),
        "journal_events_lost": sum(
            b["accounts"][k]
            for b in whole
            for k in ("acknowledged_without_event_or_burned", "done_without_event")
        )
        + sum(b.get("events_told_but_lost", 0) for b in whole),
        "waveform_rows": sum(b["files"]["rows_read"] for b in whole),
        "waveform_rows_bad": sum(b["files"]["bad"] for b in whole),
        "runs_in_tiled": sum(t[0]["runs"] for t in told),
        "runs_differing_in_tiled": [sum(t[n]["different"] for t in told) for n in (0, 1)],
        "schedules_whose_books_were_compared": sum(len(b["schedules"]) for b in whole),
        "hangs": sum("hang" in text for s in schedules for text in s["wrong"]),
        "watchdog_trips_before_any_fault": sum(s["trips_without_fault"] for s in schedules),
        "longest_machine_stall": max((s["stall"] or 0.0 for s in schedules), default=0.0),
        "processor_seconds": {
            part: sum(b["processor_seconds"].get(part, 0.0) for b in whole) for part in PARTS
        },
        "seconds_per_schedule": sum(s["seconds"] for s in schedules) / max(len(schedules), 1),
        "failed": [s["number"] for s in schedules if s["wrong"]],
    }
    if family == "seccm":
        longest = [s["withdrawals"]["longest_after_safe"] for s in schedules]
        found["withdrawals"] = sum(s["withdrawals"]["n"] for s in schedules)
        found["withdrawn_after_safe_max"] = max((t for t in longest if t is not None), default=None)
    return found


def _wanted(options: argparse.Namespace) -> list[tuple[str, list[int]]]:
    if options.only:
        return [(f, [int(n)]) for f, _, n in (o.partition("-") for o in options.only)]
    counts = {"afm": options.schedules, "seccm": options.seccm, "queue": options.queue}
    return blocks_of({f: n for f, n in counts.items() if n}, options.block)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=20, help="of the AFM")
    parser.add_argument("--seccm", type=int, default=5, help="schedules of the SECCM")
    parser.add_argument("--queue", type=int, default=0, help="schedules of a queue of the AFM")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lanes", type=int, default=2, help="blocks beside each other")
    parser.add_argument("--block", type=int, default=BLOCK, help="schedules in a block")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin none later")
    parser.add_argument("--only", nargs="+", help="these alone: afm-7 seccm-2 ...")
    parser.add_argument("--directory", type=Path, help="keep everything here")
    parser.add_argument("--result", default="fault_schedules", help="name of the results")
    parser.add_argument("--blocks", type=Path, help="file that keeps every block, a line each")
    parser.add_argument("--merge", action="store_true", help="run none, sum up those of --blocks")
    parser.add_argument("--again", type=Path, help="blocks of failed schedules after their cure")
    options = parser.parse_args()
    if options.merge:
        result = summary(_kept(options.blocks))
        if options.again is not None:
            result["run_again_after_cure"] = [
                {"family": b["family"], "seed": b["seed"], "number": s["number"],
                 "wrong": s["wrong"] + b["wrong"]}
                for b in _kept(options.again) for s in b["schedules"]
            ]  # fmt: skip
        write_result(options.result, result)
        return
    began = time.monotonic()
    blocks = []
    with scratch("nucleation-schedules-") as name:
        home = options.directory or name
        for block in run_blocks(
            _wanted(options), options.seed, home, lanes=options.lanes,
            until=began + 60 * options.minutes, keep=options.directory is not None,
        ):  # fmt: skip
            blocks.append(block)
            _tell(block, options.seed)
            if options.blocks is not None:
                with options.blocks.open("a") as file:
                    file.write(json.dumps(block, default=float) + "\n")
            result = summary(blocks)
            result |= {"lanes": options.lanes, "wall_seconds": time.monotonic() - began}
            if not options.only:  # so far: a run that is ended early has its results
                write_result(options.result, result, show=False)
    result = summary(blocks)
    print(json.dumps(result, indent=1, default=float))
    for text in result["wrong"]:
        print(f"failed: {text}", file=sys.stderr)
    sys.exit(bool(result["wrong"]))


def _kept(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _tell(block: dict[str, Any], seed: int) -> None:
    numbers = [s["number"] for s in block["schedules"]]
    failed = [s for s in block["schedules"] if s["wrong"]]
    print(f"{block['family']} {numbers[:1]} to {numbers[-1:]}: {len(failed)} failed", flush=True)
    for text in block["wrong"]:
        print(f"  {text}", flush=True)
    for schedule in failed:
        again = f"--seed {seed} --only {block['family']}-{schedule['number']}"
        print(f"  again: python -m benchmarks.fault_schedules {again}", flush=True)
        for text in schedule["wrong"]:
            print(f"    {text}", flush=True)


if __name__ == "__main__":
    main()
