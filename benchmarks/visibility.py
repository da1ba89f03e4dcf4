"""How long after a site's event a stock Tiled client sees its row, while the map is running.

A process of its own asks the server for the length of the run's primary table, as anybody's client
would; the sites' times are those of their events. ``python -m benchmarks visibility [--side 40]``.
"""

import argparse
import json
import subprocess
import sys
import time

import numpy as np
from nucleation_bluesky.contract.documents import PRIMARY_STREAM
from nucleation_bluesky.plans.nucleation_map import nucleation_map
from nucleation_bluesky.storage.runs import open_run
from tiled.client import from_uri

from benchmarks.bench_session import bench_session
from benchmarks.report import show, write_json

ASK = 0.05  # s between requests


def watch(uri: str) -> None:
    """Print time and rows of the newest run until told to end; the key comes on standard input."""
    client = from_uri(f"{uri}/api/v1", api_key=sys.stdin.readline().strip())
    key = ""
    while True:
        time.sleep(ASK)
        if not key:
            key = next((k for k, n in client.items() if "start" in n.metadata), "")
            continue
        try:
            table = client[key].base[PRIMARY_STREAM].base["internal"]
            rows = len(table.read(["seq_num"]))
        except KeyError:  # no event yet
            continue
        print(json.dumps([time.time(), rows]), flush=True)


def main() -> None:
    """Run a map and a watching client beside each other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=40)
    parser.add_argument("--speed", default="max", help="times real time, or max")
    parser.add_argument("--watch", default="")
    options = parser.parse_args()
    if options.watch:
        watch(options.watch)
        return
    speed = "max" if options.speed == "max" else float(options.speed)
    with bench_session(1, speed=speed) as bench:
        tiled = bench.session.server
        assert tiled is not None
        command = [sys.executable, "-m", "benchmarks.visibility", "--watch", tiled.uri.rstrip("/")]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as watching:
            assert watching.stdin is not None
            assert watching.stdout is not None
            watching.stdin.write(f"{tiled.api_key}\n")
            watching.stdin.flush()
            began = time.monotonic()
            uid = bench.measure(
                nucleation_map(bench.session.instrument, rows=options.side, cols=options.side)
            )
            seconds = time.monotonic() - began
            bench.session.wait_delivered([uid], 60)
            time.sleep(1)
            watching.terminate()
            seen = np.array([json.loads(line) for line in watching.stdout if line.endswith("]\n")])
        stamps = np.asarray(open_run(bench.session.catalog, uid)[PRIMARY_STREAM]["time"].read())
    at = np.searchsorted(seen[:, 1], np.arange(1, len(stamps) + 1))
    told = at < len(seen)
    lag = seen[at[told], 0] - stamps[told]
    result = {
        "sites": len(stamps), "sites_per_s": len(stamps) / seconds,
        "never_seen": int((~told).sum()), "requests": len(seen),
        "lag_median_s": float(np.median(lag)),
        "lag_p99_s": float(np.percentile(lag, 99)), "lag_max_s": float(lag.max()),
    }  # fmt: skip
    by_tenth = [round(float(part.max()), 2) for part in np.array_split(lag, 10)]
    print("longest lag by tenth of the map, s:", by_tenth)
    show(
        "From a site's event to a client's eyes",
        list(result),
        [[f"{v:.4g}" for v in result.values()]],
    )
    name = f"visibility_{options.speed}"
    write_json(name, result | {"lag_max_by_tenth_s": by_tenth})


if __name__ == "__main__":
    main()
