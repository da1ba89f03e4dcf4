"""kill -9 of the RunEngine process at random moments, most of them inside an energised ramp.

One map on one sample, one IOC that lives through everything, one RunEngine process after another:
each is killed and the next resumes the map, until it is complete. What is checked comes from the
IOC's own trace, the ledger, the journals, the waveform files and Tiled.

``python -m benchmarks.faults [--kills 20]``; results in benchmarks/results/faults.json.
"""

import argparse
import contextlib
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import h5py
import numpy as np
from nucleation_bluesky.callbacks.journal_reader import JournalReader, is_open, journals
from nucleation_bluesky.ledger.ledger import Ledger
from nucleation_bluesky.ledger.schema import ExposureState
from nucleation_bluesky.storage.read import load_ramps
from nucleation_bluesky.storage.runs import open_run
from nucleation_bluesky.storage.server import connect, ensure_server, release_server
from scipy.spatial import KDTree

from benchmarks.fault_stack import Child, Stack, stack, write_result

MARGIN = 0.1  # s beyond the heartbeat timeout
CHANNELS = ("bias", "potential", "current", "height", "z")  # of whatever family
MIN_DISTANCE = 10e-9  # m, the configuration's default
START = 400.0  # s, for a session to start on a machine that is busy


@dataclass(frozen=True)
class Plan:
    """What is killed, and where the kills go.

    ``ramp_kills`` fall into an energised ramp, early enough that the watchdog, not the end of the
    ramp, must bring the safe state; ``other_kills`` anywhere else in a session's life.
    """

    ramp_kills: int = 17
    other_kills: int = 4
    rows: int = 6
    cols: int = 6
    rate: float = 0.8
    stop: float = -4.2
    heartbeat: float = 1.0

    @property
    def duration(self) -> float:
        return abs(self.stop) / self.rate

    @property
    def arguments(self) -> dict[str, Any]:
        return {
            "rows": self.rows, "cols": self.cols, "pitch": 50e-9, "stop": self.stop,
            "rate": self.rate, "sample_rate": 1000.0, "image_before_after": False,
        }  # fmt: skip


def kill_in_ramp(
    made: Stack, child: Child, plan: Plan, rng: random.Random, *, first: bool = False
) -> dict[str, Any]:
    """Kill at a random moment of the second or third ramp, or of the first."""
    start = len(made.trace.events)
    for _ in range(1 if first else rng.choice((1, 1, 2))):
        energised = made.trace.wait("energised", after=start, timeout=START)
        start = made.trace.events.index(energised) + 1
    latest = plan.duration - plan.heartbeat - 0.3
    # a site may nucleate earlier: kill by the time at which most have not
    moment = energised["monotonic"] + rng.uniform(0.02, min(latest, 0.55 * plan.duration))
    while time.monotonic() < moment:
        time.sleep(0.001)
    killed = child.kill()
    safe = next_safe(made, start)
    return {
        "where": "ramp",
        "into_ramp": killed - energised["monotonic"],
        "energised_at_kill": safe["monotonic"] > killed,
        "reason": safe["reason"],
        "safe_after": safe["monotonic"] - killed,
        "token": energised["token"],
    }


def kill_elsewhere(made: Stack, child: Child, plan: Plan, rng: random.Random) -> dict[str, Any]:
    """Kill while it starts, between sites, or around ARM and the result."""
    start = len(made.trace.events)
    where = rng.choice(("owner", "armed", "result", "start"))
    if where == "start":
        child.wait_log("open", START)
    else:
        made.trace.wait(where, after=start, timeout=START)
    time.sleep(rng.uniform(0.0, 0.03))
    made.trace.update()
    killed = child.kill()
    time.sleep(plan.heartbeat + MARGIN + 0.2)
    made.trace.update()
    last = [e for e in made.trace.named("energised", "safe") if e["monotonic"] <= killed]
    energised = bool(last) and last[-1]["event"] == "energised"
    found = {"where": where, "energised_at_kill": energised}
    later = [e for e in made.trace.events[start:] if e["monotonic"] > killed]
    if energised or any(e["event"] == "energised" for e in later):
        safe = next(e for e in later if e["event"] == "safe")
        found |= {"reason": safe["reason"], "safe_after": safe["monotonic"] - killed}
    return found


def next_safe(made: Stack, after: int) -> dict[str, Any]:
    return made.trace.wait("safe", after=after, timeout=60)


# -- checks --------------------------------------------------------------------------------------


def exposed_twice(events: list[dict[str, Any]], distance: float = MIN_DISTANCE) -> dict[str, Any]:
    """Tokens and places energised more than once, by the IOC's trace.

    Two stage readings of one place differ by its noise; the distance is that of the ledger less
    five standard deviations of it.
    """
    energised = [e for e in events if e["event"] == "energised"]
    tokens = [e["token"] for e in energised]
    at = np.array([[e["x"], e["y"]] for e in energised])
    reach = distance - 5 * np.sqrt(2) * 0.2e-9
    pairs = KDTree(at).query_pairs(reach) if len(at) > 1 else set()
    return {
        "energised": len(tokens),
        "tokens_twice": len(tokens) - len(set(tokens)),
        "places_twice": len(pairs),
    }


def roles_of(start: dict[str, Any]) -> dict[str, str]:
    """Roles of a run's data keys; empty for a run that exposes nothing, as a topography."""
    return (start.get("nucleation") or {}).get("roles") or {}


def journalled(data: Path) -> dict[str, dict[str, Any]]:
    """Events of all journals by exposure token, with the uid of their run."""
    found: dict[str, dict[str, Any]] = {}
    for path in journals(data / "journal"):
        with JournalReader(path) as reader:
            roles: dict[str, str] = {}
            uid = ""
            while documents := reader.read():
                for name, doc in documents:
                    if name == "start":
                        roles, uid = roles_of(doc), doc["uid"]
                    elif name == "event" and roles.get("exposure") in doc["data"]:
                        values = {r: doc["data"].get(k) for r, k in roles.items()}
                        token = values["exposure"]
                        if token in found:
                            raise AssertionError(f"token {token} has two events")
                        found[token] = values | {"run": uid, "seq_num": doc["seq_num"]}
    return found


def accounts(data: Path, events: list[dict[str, Any]]) -> dict[str, Any]:
    """Hold trace, ledger and journals against each other."""
    ledger = Ledger(data / "ledger.sqlite", read_only=True)
    exposures = {e.token: e for e in ledger.exposures()}
    recorded = journalled(data)
    energised = {e["token"] for e in events if e["event"] == "energised"}
    acknowledged = {e["token"] for e in events if e["event"] == "result"}
    burned = {t for t, e in exposures.items() if e.state is ExposureState.BURNED}
    done = {t for t, e in exposures.items() if e.state is ExposureState.DONE}
    return {
        "states": dict(Counter(e.state.value for e in exposures.values())),
        "journals_open": sum(is_open(path) for path in journals(data / "journal")),
        "events": len(recorded),
        "energised_not_claimed": len(energised - set(exposures)),
        "unfinished_claims": len(set(exposures) - burned - done),
        "acknowledged_without_event_or_burned": len(acknowledged - set(recorded) - burned),
        "done_without_event": len(done - set(recorded)),
        "events_without_claim": len(set(recorded) - set(exposures)),
    }


def waveform_files(data: Path) -> dict[str, Any]:
    """Open every announced row with h5py and hold it against its event."""
    rows = bad = expected = 0
    for path in journals(data / "journal"):
        with JournalReader(path) as reader:
            files: dict[str, list[Path]] = {}
            datasets: dict[str, str] = {}
            roles: dict[str, str] = {}
            counts: list[int] = []
            resource: dict[str, str] = {}
            while documents := reader.read():
                for name, doc in documents:
                    if name == "start":
                        roles = roles_of(doc)
                    elif name == "stream_resource":
                        key, uri = doc["data_key"], unquote(urlparse(doc["uri"]).path)
                        resource[doc["uid"]] = key
                        files.setdefault(key, []).append(Path(uri))
                        datasets[key] = doc["parameters"]["dataset"]
                    elif name == "event" and roles.get("exposure") in doc["data"]:
                        counts.append(int(doc["data"][roles["n_samples"]]))
        if not counts:
            continue
        channels = [roles[role] for role in CHANNELS if role in roles]
        expected += len(channels) * len(counts)
        for key in channels:
            blocks = []
            for file in files[key]:
                with h5py.File(file, "r", libver="latest", swmr=True) as opened:
                    blocks.append(opened[datasets[key]][:])
            values = np.concatenate(blocks)
            for row, count in zip(values, counts, strict=False):
                finite = int(np.isfinite(row).sum())
                rows += 1
                bad += finite != count
            bad += len(values) < len(counts)
    return {"rows_read": rows, "expected": expected, "bad": bad}


def in_tiled(data: Path) -> dict[str, Any]:
    """Read every run from Tiled and hold it against its journal."""
    recorded = journalled(data)
    uids = {values["run"] for values in recorded.values()}
    client = connect(ensure_server(data))
    sites = samples = wrong = 0
    for uid in uids:
        ramps = load_ramps(open_run(client, uid), allow_partial=True, join=False)
        mine = sorted((v for v in recorded.values() if v["run"] == uid), key=lambda v: v["seq_num"])
        counts = np.diff(ramps.offsets)
        wrong += not np.array_equal(counts, [v["n_samples"] for v in mine])
        sites += ramps.n_sites
        samples += int(counts.sum())
    return {"runs": len(uids), "sites": sites, "samples": samples, "wrong": int(wrong)}


def verdict(result: dict[str, Any], heartbeat: float) -> list[str]:
    """What is not as it must be; empty if all is well."""
    wrong = []
    limit = heartbeat + MARGIN
    for number, kill in enumerate(result["kills"]):
        if "safe_after" in kill and kill["safe_after"] > limit:
            wrong.append(f"kill {number}: safe after {kill['safe_after']:.3f} s, not {limit:g} s")
    for check, keys in {
        "twice": ("tokens_twice", "places_twice"),
        "accounts": (
            "journals_open", "energised_not_claimed", "unfinished_claims",
            "acknowledged_without_event_or_burned", "events_without_claim",
        ),
        "files": ("bad",),
        "tiled": ("wrong",),
    }.items():  # fmt: skip
        wrong += [
            f"{check}: {key} is {result[check][key]}"
            for key in keys
            if check in result and result[check][key]
        ]
    return wrong


@contextlib.contextmanager
def served(data: Path) -> Iterator[None]:
    """Keep Tiled up while RunEngines come and go."""
    ensure_server(data, timeout=START)
    try:
        yield
    finally:
        release_server(data)


def measure(directory: Path, plan: Plan, seed: int) -> dict[str, Any]:
    """Kill, resume, complete, check."""
    rng = random.Random(seed)
    moments = [kill_in_ramp] * plan.ramp_kills + [kill_elsewhere] * plan.other_kills
    rng.shuffle(moments)
    with stack(directory, speed="1", heartbeat=plan.heartbeat) as made, served(made.data):
        kills = []
        for moment in moments:
            child = next_session(made, plan)
            kills.append(moment(made, child, plan, rng))
            print(len(kills), json.dumps(kills[-1]), flush=True)
        last = next_session(made, plan).report(900)
        made.trace.update()
        result = {
            "seed": seed,
            "plan": plan.__dict__ | {"ramp_seconds": plan.duration},
            "kills": kills,
            "kills_inside_energised_ramp": sum(
                k["energised_at_kill"] and k["where"] == "ramp" for k in kills
            ),
            "ended_by_watchdog": sum(k.get("reason") == "heartbeat_lost" for k in kills),
            "safe_after_max": max(
                (k["safe_after"] for k in kills if "safe_after" in k), default=0.0
            ),
            "limit": plan.heartbeat + MARGIN,
            "last_session": last,
            "twice": exposed_twice(made.trace.events),
            "accounts": accounts(made.data, made.trace.events),
            "files": waveform_files(made.data),
            "tiled": in_tiled(made.data),
        }
    result["wrong"] = verdict(result, plan.heartbeat)
    if last["outcome"] != "success" or not last.get("delivered"):
        result["wrong"].append(f"the map was not completed or delivered: {last}")
    if (
        result["accounts"]["states"].get("DONE", 0) + result["accounts"]["states"].get("BURNED", 0)
        < plan.rows * plan.cols
    ):
        result["wrong"].append("sites are left")
    return result


def next_session(made: Stack, plan: Plan, others: Collection[Path] = ()) -> Child:
    """The first session maps, later ones resume the last run that is not one of ``others``."""
    made.trace.update()
    found = [path for path in journals(made.data / "journal") if path not in others]
    if not found:
        return made.run("map", arguments=plan.arguments)
    with JournalReader(found[-1]) as reader:
        uid = reader.read()[0][1]["uid"]
    return made.run("resume", which=uid)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=2013)
    parser.add_argument("--directory", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nucleation-faults-") as name:
        write_result("faults", measure(options.directory or Path(name), Plan(), options.seed))


if __name__ == "__main__":
    main()
