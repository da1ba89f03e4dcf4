"""What watching a run costs its RunEngine: map segments with and without a live view, interleaved.

The live view is the page's server polled every second by a client, and the PNG writer, each in a
process of its own that follows the journal. Run: ``python -m benchmarks live_view``.
"""

import argparse
import subprocess
import sys
import time
import urllib.request
from typing import Any

import numpy as np
from nucleation_bluesky.plans.nucleation_map import nucleation_map

from benchmarks.bench_session import bench_session
from benchmarks.report import show, write_json

ROWS = 8


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

    def close(self) -> None:
        """End the three processes."""
        for process in (self._client, self._picture, self._page):
            process.kill()
            process.wait(10)


def site_times(bench: Any, uid: str) -> np.ndarray:
    """Wall time from one site's event to the next, s."""
    return np.diff(bench.events(uid, "start_utc"))


def main() -> None:
    """Measure, show, store."""
    parser = argparse.ArgumentParser(prog="live_view", description=__doc__)
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args()
    times: dict[str, list[np.ndarray]] = {"without": [], "with": []}
    with bench_session(options.seed) as bench:
        instrument: Any = bench.session.instrument
        pitch = 50e-9
        uids: list[tuple[str, str]] = []
        for number in range(2 * options.repeats):
            kind = ("without", "with")[(number + number // 2) % 2]
            origin = (-8e-6 + number * ROWS * pitch * 1.2, 0.0)
            viewer = Viewer(bench.session.data) if kind == "with" else None
            time.sleep(3)  # the viewers have started
            plan = nucleation_map(
                instrument, rows=4 * ROWS, cols=ROWS, pitch=pitch, origin=origin,
                image_before_after=False,
            )  # fmt: skip
            uids.append((kind, bench.measure(plan)))
            if viewer is not None:
                with urllib.request.urlopen(viewer.address + "state.json") as answer:
                    assert b'"uid"' in answer.read()
                viewer.close()
        for kind, uid in uids:
            if not bench.session.wait_delivered([uid], 180):
                raise RuntimeError("a run did not reach Tiled")
            times[kind].append(site_times(bench, uid))
    summary = {
        kind: {
            "sites": sum(map(len, parts)),
            "median": float(np.median(np.concatenate(parts))),
            "p99": float(np.percentile(np.concatenate(parts), 99)),
            "run_medians": [float(np.median(part)) for part in parts],
        }
        for kind, parts in times.items()
    }
    pairs = np.subtract(summary["with"]["run_medians"], summary["without"]["run_medians"])
    added = {
        "median_of_medians": summary["with"]["median"] - summary["without"]["median"],
        "per_pair_median": float(np.median(pairs)),
        "per_pair_range": [float(pairs.min()), float(pairs.max())],
    }
    show(
        "Time from site to site, ms",
        ["live view", "sites", "median", "p99"],
        [
            [kind, str(s["sites"]), f"{s['median'] * 1e3:.2f}", f"{s['p99'] * 1e3:.2f}"]
            for kind, s in summary.items()
        ],
    )
    write_json("live_view", {"summary": summary, "added": added})


if __name__ == "__main__":
    main()
