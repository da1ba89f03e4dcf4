"""What watching a run costs its RunEngine: blocks of sites with and without live views, in one run.

Live views are the terminal's progress and the best-effort tables, on the RunEngine's thread, and in
processes of their own, which follow the journal, the page's server asked every second and the PNG
writer. In every second block the displays get no documents and the processes are stopped. The
thread's own CPU time is compared, so that other work on the machine does not count.
Run: ``python -m benchmarks live_view``.
"""

import argparse
import contextlib
import io
import signal
import subprocess
import sys
import time
import urllib.request
from typing import Any

import numpy as np
from nucleation_bluesky.callbacks.best_effort import BestEffortTables
from nucleation_bluesky.callbacks.progress import MapProgress
from nucleation_bluesky.plans.nucleation_map import nucleation_map
from rich.console import Console

from benchmarks.bench_session import bench_session
from benchmarks.report import show, write_json

BLOCK = 64  # sites


class Viewer:
    """The page's server, asked each second, and a process that draws PNG files."""

    def __init__(self, data: Any) -> None:
        command = [sys.executable, "-m", "nucleation_bluesky", "watch", "-d", str(data)]
        self._page = subprocess.Popen([*command], stdout=subprocess.PIPE, text=True)
        assert self._page.stdout is not None
        self.address = self._page.stdout.readline().split("watch at ")[1].split()[0]
        picture = [*command, "--png", str(data / "live.png"), "--interval", "2"]
        self._picture = subprocess.Popen(picture, stdout=subprocess.DEVNULL)
        code = (
            "import sys, time, urllib.request\n"
            "while True:\n"
            "    urllib.request.urlopen(sys.argv[1] + 'state.json').read()\n"
            "    urllib.request.urlopen(sys.argv[1] + 'curves.json').read()\n"
            "    time.sleep(1)\n"
        )
        self._client = subprocess.Popen([sys.executable, "-c", code, self.address])

    def show(self, on: bool) -> None:
        """Let the three processes run, or stop them."""
        for process in (self._client, self._picture, self._page):
            process.send_signal(signal.SIGCONT if on else signal.SIGSTOP)

    def close(self) -> None:
        """End the three processes."""
        for process in (self._client, self._picture, self._page):
            process.kill()
            process.wait(10)


class Alternating:
    """Passes documents to displays in every second block of sites, and takes times."""

    def __init__(self, displays: list[Any], viewer: Viewer) -> None:
        self._displays, self._viewer = displays, viewer
        self._primary, self._sites, self._mark = "", 0, 0.0
        self.on = True
        self.site: dict[bool, list[float]] = {True: [], False: []}  # CPU of a site, whole thread
        self.wall: dict[bool, list[float]] = {True: [], False: []}
        self.display: list[float] = []  # CPU of the displays, an event
        self._began = 0.0

    def __call__(self, name: str, doc: Any) -> None:
        """Take a document, on the RunEngine's thread."""
        if name == "descriptor" and doc["name"] == "primary":
            self._primary = doc["uid"]
        ours = name == "event" and doc["descriptor"] == self._primary
        if ours:
            now, wall = time.thread_time(), time.perf_counter()
            if self._sites % BLOCK > 1:  # not the one in which it was changed
                self.site[self.on].append(now - self._mark)
                self.wall[self.on].append(wall - self._began)
            self._mark, self._began = now, wall
            if self._sites % BLOCK == 0:
                self.on = (self._sites // BLOCK) % 2 == 0
                self._viewer.show(self.on)
            self._sites += 1
        if self.on or not ours:
            began = time.thread_time()
            with contextlib.redirect_stdout(io.StringIO()):
                for display in self._displays:
                    display(name, doc)
            if ours:
                self.display.append(time.thread_time() - began)


def ms(values: list[float]) -> dict[str, float]:
    """Mean, median and 99th percentile, ms."""
    found = np.asarray(values) * 1e3
    return {
        "mean": float(found.mean()),
        "median": float(np.median(found)),
        "p99": float(np.percentile(found, 99)),
    }


def main() -> None:
    """Measure, show, store."""
    parser = argparse.ArgumentParser(prog="live_view", description=__doc__)
    parser.add_argument("--edge", type=int, default=48, help="rows and columns of the map")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    with bench_session(options.seed) as bench:
        instrument: Any = bench.session.instrument
        viewer = Viewer(bench.session.data)
        try:
            progress = MapProgress(Console(file=io.StringIO(), force_terminal=True))
            alternating = Alternating([progress, BestEffortTables(maps=True)], viewer)
            bench.session.RE.subscribe(alternating)
            edge = options.edge
            bench.measure(
                nucleation_map(
                    instrument, rows=edge, cols=edge, pitch=50e-9, image_before_after=False
                )
            )
            viewer.show(on=True)
            with urllib.request.urlopen(viewer.address + "state.json") as answer:
                assert f'"done": {edge**2}'.encode() in answer.read().replace(b":", b": ")
        finally:
            viewer.show(on=True)
            viewer.close()
    parts = {
        "RunEngine's thread, live views on": ms(alternating.site[True]),
        "RunEngine's thread, live views off": ms(alternating.site[False]),
        "displays on that thread": ms(alternating.display),
        "wall time of a site, on": ms(alternating.wall[True]),
        "wall time of a site, off": ms(alternating.wall[False]),
    }
    added = np.mean(alternating.site[True]) - np.mean(alternating.site[False])
    error = np.sqrt(
        sum(np.var(values, ddof=1) / len(values) for values in alternating.site.values())
    )
    rows = [
        [name, *(f"{t[k]:.2f}" for k in ("mean", "median", "p99"))] for name, t in parts.items()
    ]
    show("CPU of a site, ms", ["", "mean", "median", "p99"], rows)
    print(f"live views add {added * 1e3:.2f} +- {error * 1e3:.2f} ms a site to the thread")
    if options.save:
        write_json("live_view", {
            "sites": {str(on): len(v) for on, v in alternating.site.items()}, "block": BLOCK,
            "parts_ms": parts, "added_ms": added * 1e3, "added_standard_error_ms": error * 1e3,
        })  # fmt: skip


if __name__ == "__main__":
    main()
