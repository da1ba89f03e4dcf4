"""Run the tests room by room, each in a process of its own; what ``make test`` calls.

A Channel Access client lives as long as its process, with the circuits of every controller that
came and went: rooms do not inherit them from each other, and a crash takes one room along, not the
suite. Rooms with real processes mostly wait: they run one after the other, and beside them the
rooms that only compute and those whose processes have no deadlines below seconds. Where a deadline
in wall time was missed all the same, the test is tried once more when all else is done; it is told
apart in the last lines.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

TESTS = Path(__file__).parent
STACKS = ("cli", "devices", "faults", "integration", "iocs", "plans", "queue")
PASSED, FAILED, NO_TESTS = 0, 1, 5  # pytest's exit codes; negative or above 5: it crashed
# one core a lane: libraries that start a thread per core would take the other's
ONE_CORE = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")

_printing = threading.Lock()


@dataclass
class Outcome:
    """What became of one room."""

    room: str
    code: int
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def green(self) -> bool:
        """Whether nothing failed."""
        return self.code in (PASSED, NO_TESTS)


def rooms() -> list[str]:
    """Directories with tests."""
    return sorted({path.parent.relative_to(TESTS.parent).as_posix()
                   for path in TESTS.rglob("test_*.py")})  # fmt: skip


def run(room: str, *arguments: str) -> Outcome:
    """Run one room and print what it said when it has ended."""
    with tempfile.TemporaryDirectory() as directory:
        record = Path(directory) / "tests.xml"
        command = [sys.executable, "-m", "pytest", "-q", room, f"--junit-xml={record}", *arguments]
        done = subprocess.run(
            command, cwd=TESTS.parent, env=os.environ | ONE_CORE, check=False, text=True,
            errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        counts = count(record) if record.exists() else Counter()
    with _printing:
        print(f"== {room}\n{done.stdout}", end="", flush=True)
    return Outcome(room, done.returncode, counts)


def count(record: Path) -> Counter[str]:
    """Number of tests by result, of one JUnit file."""
    counts: Counter[str] = Counter()
    for suite in ET.parse(record).iter("testsuite"):
        numbers = {name: int(suite.get(name, 0)) for name in ("failures", "errors", "skipped")}
        counts["failed"] += numbers["failures"] + numbers["errors"]
        counts["skipped"] += numbers["skipped"]
        counts["passed"] += int(suite.get("tests", 0)) - sum(numbers.values())
    return counts


def again(first: Outcome, *arguments: str) -> Outcome:
    """Run once more what failed, or the whole room if it crashed."""
    print(f"== {first.room}: once more, {'what failed' if first.code == FAILED else 'all'}")
    if first.code != FAILED:
        return run(first.room, *arguments)
    second = run(first.room, "--last-failed", *arguments)
    second.counts["passed"] += first.counts["passed"]
    second.counts["skipped"] = first.counts["skipped"]
    return second


def lane(names: Iterable[str], arguments: list[str]) -> list[Outcome]:
    """Run rooms one after the other."""
    return [run(name, *arguments) for name in names]


def main() -> int:
    """Run all rooms; 1 if one fails twice."""
    arguments, began = sys.argv[1:], time.monotonic()
    stacks = [room for room in rooms() if Path(room).name in STACKS]
    others = [room for room in rooms() if room not in stacks]
    with ThreadPoolExecutor(2) as lanes:
        running = [lanes.submit(lane, names, arguments) for names in (stacks, others)]
    first = [outcome for future in running for outcome in future.result()]
    last = [outcome if outcome.green else again(outcome, *arguments) for outcome in first]
    unsteady = [old.room for old, new in zip(first, last, strict=True) if new.green > old.green]
    failed = [outcome.room for outcome in last if not outcome.green]
    if unsteady:
        print(f"passed only when run once more: something in {', '.join(unsteady)}")
    if failed:
        print(f"failed: {', '.join(failed)}")
    total = sum((outcome.counts for outcome in last), Counter())
    told = ", ".join(f"{total[name]} {name}" for name in ("failed", "passed", "skipped")
                     if total[name])  # fmt: skip
    print(f"===== {told} in {time.monotonic() - began:.2f}s =====", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
