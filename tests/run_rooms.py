"""Run the tests room by room, each in a process of its own; what ``make test`` calls.

A Channel Access client lives as long as its process, with the circuits of every controller that
came and went: rooms do not inherit them from each other, and a crash takes one room along, not the
suite. Real processes have deadlines in wall time, so what fails while the machine stands still is
tried once more.
"""

import subprocess
import sys
import time
from pathlib import Path

TESTS = Path(__file__).parent
STACKS = (
    "cli", "devices", "faults", "integration", "iocs", "plans", "queue", "session", "storage",
)  # fmt: skip
NO_TESTS = 5  # pytest's exit code


def rooms() -> list[Path]:
    """Directories with tests, those that need no processes first."""
    found = sorted({path.parent for path in TESTS.rglob("test_*.py")})
    return sorted(found, key=lambda room: (room.name in STACKS, room.name))


def pytest(*arguments: str) -> int:
    """Run pytest; negative or above 5: it crashed."""
    command = [sys.executable, "-m", "pytest", "-q", *arguments]
    return subprocess.run(command, cwd=TESTS.parent, check=False).returncode


def main() -> int:
    """Run all rooms; 1 if one fails twice."""
    failed, began = [], time.monotonic()
    for room in rooms():
        name = room.relative_to(TESTS.parent).as_posix()
        print(f"== {name}", flush=True)
        code = pytest(name, *sys.argv[1:])
        if code == 1:
            print(f"== {name}: once more, what failed", flush=True)
            code = pytest(name, "--last-failed", *sys.argv[1:])
        elif code not in (0, NO_TESTS):
            print(f"== {name}: crashed ({code}), once more", flush=True)
            code = pytest(name, *sys.argv[1:])
        if code not in (0, NO_TESTS):
            failed.append(name)
    print(f"== {len(rooms())} rooms in {time.monotonic() - began:.0f} s", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
