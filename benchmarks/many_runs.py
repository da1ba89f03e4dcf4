"""A catalogue of 2,000 runs: how long finding runs and opening a run's map takes.

One map is measured on the virtual AFM and analysed. Its documents, with identifiers, times, sample,
operator, technique and ending changed, are written to journals as those of other runs; the courier
delivers them to the embedded Tiled server. The rest of the catalogue is made of copies of the
delivered runs' rows in the server's database, changed in the same way, streams and all: the server
cannot tell them, and an hour of requests is saved (``--delivered`` says how many are no copies).
All runs point to the waveforms of the first. Run: ``python -m benchmarks many_runs``.
"""

import argparse
import copy
import json
import random
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from nucleation_bluesky.callbacks.journal import Journal
from nucleation_bluesky.callbacks.journal_reader import JournalReader, journals
from nucleation_bluesky.callbacks.journal_recovery import recover
from nucleation_bluesky.contract.documents import START_KEY
from nucleation_bluesky.plans.nucleation_map import nucleation_map
from nucleation_bluesky.storage.analyse_any import analyse_any_run
from nucleation_bluesky.storage.catalog import RunCatalog
from nucleation_bluesky.storage.read import load_ramps
from nucleation_bluesky.storage.results import write_result
from nucleation_bluesky.storage.server import connect

from benchmarks.bench_session import Bench, bench_session
from benchmarks.report import show, write_json

DAY = 86_400.0
SAMPLES = [f"LLZTO-{number:02d}" for number in range(40)]
OPERATORS = ["ada", "boris", "chen", "dora", "emil"]
TECHNIQUES = ["afm-nucleation-map", "sweep-rate-series", "topography"]
ENDINGS = ["success"] * 45 + ["abort"] * 4 + ["fail"]
Document = tuple[str, dict[str, Any]]


def documents_of(data: Path, uid: str) -> list[Document]:
    """The documents of a run, from its journal."""
    for path in journals(data / "journal"):
        with JournalReader(path) as reader:
            documents = [pair for batch in iter(reader.read, []) for pair in batch]
        if documents[0][1]["uid"] == uid:
            return documents
    raise LookupError(f"there is no journal of run {uid}")


def renamed(value: Any, names: dict[str, str], shift: float) -> Any:
    """The same content under other identifiers at another time."""
    if isinstance(value, dict):
        moved = {}
        for key, item in value.items():
            if key == "time" and isinstance(item, float):
                moved[key] = item + shift
            else:
                moved[names.get(key, key)] = renamed(item, names, shift)
        return moved
    if isinstance(value, (list, tuple)):
        return [renamed(item, names, shift) for item in value]
    if isinstance(value, str):
        head, _, tail = value.partition("/")
        return names.get(value) or (f"{names[head]}/{tail}" if head in names else value)
    return value


def variations(template: list[Document], count: int, seed: int) -> Iterator[list[Document]]:
    """So many other runs."""
    chance = random.Random(seed)
    own = {doc["uid"] for _, doc in template if len(str(doc.get("uid", ""))) == 36}
    for number in range(count):
        names = {uid: str(uuid.UUID(int=chance.getrandbits(128), version=4)) for uid in own}
        shift = -DAY * (count - number) / 20  # twenty a day, up to now
        documents = [(kind, renamed(copy.deepcopy(doc), names, shift)) for kind, doc in template]
        vary(documents[0][1], documents[-1][1], number + 2, chance)
        yield documents


def vary(start: dict[str, Any], stop: dict[str, Any], number: int, chance: random.Random) -> None:
    """Make a run one of many."""
    start["scan_id"] = number
    start["operator"] = chance.choice(OPERATORS)
    start[START_KEY]["sample"] = chance.choice(SAMPLES)
    start[START_KEY]["technique"] = chance.choice(TECHNIQUES)
    stop["exit_status"] = chance.choice(ENDINGS)


class Copies:
    """Copies of a run in the database of the embedded server."""

    def __init__(self, database: Path, uid: str) -> None:
        self._db = sqlite3.connect(database, timeout=60)
        self._db.row_factory = sqlite3.Row
        (self._root,) = self._db.execute("SELECT * FROM nodes WHERE key = ? AND parent = 0", [uid])

    def make(self, count: int, first: int, seed: int) -> None:
        """Insert so many, the first of them with this number."""
        chance = random.Random(seed)
        metadata = json.loads(self._root["metadata"])
        for number in range(first, first + count):
            uid = str(uuid.UUID(int=chance.getrandbits(128), version=4))
            names = {self._root["key"]: uid}
            said = renamed(metadata, names, -DAY * (count + first - number) / 20)
            said.pop("nucleation_results", None)
            vary(said["start"], said["stop"], number, chance)
            self._copy(self._root, 0, uid, json.dumps(said))
        self._db.commit()
        self._db.close()

    def _copy(self, node: sqlite3.Row, parent: int, key: str, metadata: str) -> None:
        inserted = self._insert("nodes", node, parent=parent, key=key, metadata=metadata)
        for source in self._rows("data_sources", "node_id", node["id"]):
            copied = self._insert("data_sources", source, node_id=inserted)
            for link in self._rows("data_source_asset_association", "data_source_id", source["id"]):
                self._insert("data_source_asset_association", link, data_source_id=copied)
        for child in self._rows("nodes", "parent", node["id"]):
            self._copy(child, inserted, child["key"], child["metadata"])

    def _rows(self, table: str, column: str, value: Any) -> list[sqlite3.Row]:
        return list(self._db.execute(f"SELECT * FROM {table} WHERE {column} = ?", [value]))

    def _insert(self, table: str, row: sqlite3.Row, **changed: Any) -> int:
        values = {name: row[name] for name in row.keys() if name != "id"} | changed  # noqa: SIM118
        names = ", ".join(f'"{name}"' for name in values)
        marks = ", ".join("?" * len(values))
        done = self._db.execute(
            f"INSERT INTO {table} ({names}) VALUES ({marks})", list(values.values())
        )
        return int(done.lastrowid or 0)


def fill(bench: Bench, template: list[Document], count: int, seed: int) -> dict[str, float]:
    """Write and deliver the runs."""
    began = time.monotonic()
    data, courier = bench.session.data, bench.session.courier
    journal = Journal(data / "journal", session="many runs", sync_streams=())
    for number, documents in enumerate(variations(template, count, seed), start=1):
        for kind, doc in documents:
            journal(kind, doc)
        if number % 100 == 0:  # as a laboratory would, which measures more slowly
            if not courier.wait_delivered(timeout=600):
                raise RuntimeError("the runs did not reach Tiled")
            print(f"{number} runs after {time.monotonic() - began:.0f} s", flush=True)
    if not courier.wait_delivered(timeout=600):
        raise RuntimeError("the runs did not reach Tiled")
    seconds = time.monotonic() - began
    return {"seconds": seconds, "runs_per_second": count / seconds}


def timed(action: Callable[[], Any], repeats: int) -> dict[str, float]:
    """First, median and longest time of an action, s."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return {"first": times[0], "median": float(np.median(times)), "max": max(times)}


def queries(client: RunCatalog, analysed: list[str]) -> dict[str, Callable[[], Any]]:
    """What people ask."""
    some = client.runs(limit=40)
    middle = some[-1].time
    uid = analysed[len(analysed) // 2]
    return {
        "runs, 20 latest": lambda: client.runs(limit=20),
        "runs of a sample": lambda: client.runs(sample=some[0].sample, limit=20),
        "runs by a technique": lambda: client.runs(technique=some[1].technique, limit=20),
        "runs of an operator": lambda: client.runs(operator="chen", limit=20),
        "runs since a date": lambda: client.runs(since=middle, limit=20),
        "runs of a week last month": lambda: client.runs(
            since=middle - 37 * DAY, until=middle - 30 * DAY, limit=20
        ),
        "runs that failed": lambda: client.runs(state="fail", limit=20),
        "runs not ended": lambda: client.runs(state="running", limit=20),
        "sample, operator, state and date": lambda: client.runs(
            sample=some[2].sample, operator=some[2].operator, state="success",
            since=middle - 60 * DAY, limit=20,
        ),
        "all of a sample, no limit": lambda: client.runs(sample=some[0].sample),
        "the latest run": lambda: client[-1],
        "a run by the beginning of its uid": lambda: client[uid[:8]],
        "a run by its number": lambda: client[1000 % len(some) + 1],
        "a run's map": lambda: client.maps(uid),
        "a run's ramps": lambda: load_ramps(client[uid], join=False),
    }  # fmt: skip


def commands(bench: Bench, uid: str) -> dict[str, list[str]]:
    """The same as whole commands, with the start of Python and all imports."""
    program = [sys.executable, "-m", "nucleation_bluesky"]
    where = ["--data", str(bench.session.data)]
    open_map = (
        "import sys\n"
        "from nucleation_bluesky.session.access import serving\n"
        "from nucleation_bluesky.session.config import load_configuration\n"
        "from nucleation_bluesky.storage.server import connect\n"
        "from pathlib import Path\n"
        "config = load_configuration(None).model_copy("
        "update={'data_directory': Path(sys.argv[1])})\n"
        "with serving(config) as server: connect(server).maps(sys.argv[2])\n"
    )
    return {
        "nucleation-bluesky runs --sample": [*program, "runs", "--sample", SAMPLES[3], *where],
        "script that opens a map": [sys.executable, "-c", open_map, str(bench.session.data), uid],
    }


def analysed_runs(bench: Bench, first: str, count: int) -> list[str]:
    """Store a result beside the first run and beside so many others."""
    client = bench.session.catalog
    result = analyse_any_run(client, first)
    done = [first, *(info.uid for info in client.runs(state="success", limit=count))]
    for uid in done:
        for name, dataset in result.datasets.items():
            write_result(client, dataset, name=name, runs=[client[uid]])
    return done


def main() -> None:
    """Fill a catalogue, measure, show, store."""
    parser = argparse.ArgumentParser(prog="many_runs", description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--delivered", type=int, default=100, help="of these, by the courier")
    parser.add_argument("--sites", type=int, default=4, help="rows and columns of each map")
    parser.add_argument("--analysed", type=int, default=50, help="runs with a stored result")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    with bench_session(options.seed) as bench:
        instrument: Any = bench.session.instrument
        edge = options.sites
        uid = bench.measure(
            nucleation_map(instrument, rows=edge, cols=edge, pitch=100e-9, image_pixels=64)
        )
        template = documents_of(bench.session.data, uid)
        delivered = min(options.runs, options.delivered)
        filled = fill(bench, template, delivered - 1, options.seed)
        catalogue = bench.session.data / "tiled" / "catalog.db"
        Copies(catalogue, uid).make(options.runs - delivered, delivered + 1, options.seed + 1)
        analysed = analysed_runs(bench, uid, options.analysed)
        client = connect(bench.session.server)  # type: ignore[arg-type]
        total = len(client.runs())
        asked = {
            name: timed(ask, options.repeats) for name, ask in queries(client, analysed).items()
        }
        whole = {}
        for name, command in commands(bench, analysed[1]).items():
            whole[name] = timed(
                lambda c=command: subprocess.run(c, check=True, capture_output=True), 3
            )
        opening = timed(lambda: recover(bench.session.data / "journal"), 3)
    rows = [
        [name, *(f"{t[k] * 1e3:.0f}" for k in ("first", "median", "max"))]
        for name, t in [*asked.items(), *whole.items(), ("looking for dead sessions", opening)]
    ]
    show(f"{total} runs, ms", ["what", "first", "median", "longest"], rows)
    print(f"delivered at {filled['runs_per_second']:.1f} runs/s")
    if options.save:
        write_json("many_runs", {
            "runs": total, "delivered": delivered, "sites": edge**2, "analysed": len(analysed),
            "filled": filled,
            "queries": asked, "commands": whole, "looking_for_dead_sessions": opening,
        })  # fmt: skip


if __name__ == "__main__":
    main()
