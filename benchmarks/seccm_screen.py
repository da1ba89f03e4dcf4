"""The 8 x 8 screen of the 2024 SECCM paper: 63 landings, killed -9 and resumed, then analysed.

Kills come at random landings of the screen and in the middle of them, while the program runs; each
time a new session resumes it. Instruments run slowly enough for the watchdog to cut such a landing.
The controller's own trace and the ledger tell whether a site was energised twice. The figures
against current density come from the data in Tiled alone.
"""

import argparse
import math
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nucleation_bluesky.ledger import Ledger
from nucleation_bluesky.session.access import serving
from nucleation_bluesky.session.config import load_configuration
from nucleation_bluesky.storage.analyse_seccm import analyse_seccm_run
from nucleation_bluesky.storage.runs import open_run
from nucleation_bluesky.storage.server import ServerError, connect

from benchmarks.fault_stack import Stack, stack
from benchmarks.report import show, write_json

UM = 1e-6
OPENING, RATIO = 6 * UM, 1.75
FOOTPRINT = OPENING * RATIO
DENSITIES = (0.22, 0.39, 0.78, 1.17, 1.56, 1.78, 2.35, 2.92)  # mA/cm2, on the nominal footprint
WORLD = {  # the paper's 6 um set
    "pipette_opening": OPENING, "wetting_ratio": RATIO, "charge_factor": 0.79,
    "t_nuc_scatter_low": 1.0, "pixel_size": 80e-9,
}  # fmt: skip
PIXEL = 80e-9  # m: 200 x 200 pixels hold footprint and surroundings, and films stay small
HEARTBEAT = 1.5  # s
STARTS = 5  # of a server on a busy machine
INTO_LANDING = (0.4, 1.8)  # s after GO: with the heartbeat's time-out, within the program
SECTIONS = f"[seccm]\npipette_opening = {OPENING}\nwetting_ratio = {RATIO}\npixel_size = {PIXEL}\n"


def arguments(side: int, repeats: int, *, film: bool) -> dict[str, Any]:
    """Arguments of the screen: the last condition has one landing less, 63 in all."""
    area = math.pi / 4 * FOOTPRINT**2
    chosen = DENSITIES[:: max(len(DENSITIES) // side, 1)][:side]
    conditions: list[dict[str, Any]] = [
        {"current": -10 * density * area, "duration": 5.0, "label": f"{density:g} mA/cm2"}
        for density in chosen
    ]
    conditions[-1]["repeats"] = repeats - 1
    return {
        "conditions": conditions, "repeats": repeats, "rows": side, "cols": repeats,
        "pitch": 11 * UM, "assignment": "blocked", "seed": 7, "film": film, "z_max": 26 * UM,
    }  # fmt: skip


def screen_with_kills(made: Stack, job: dict[str, Any], kills: int, rng: random.Random) -> list:
    """Run, kill, resume until it is complete; returns the uids."""
    total = sum(c.get("repeats", job["repeats"]) for c in job["conditions"])
    uids: list[str] = []
    for attempt in range(kills + 1):
        known = len(made.trace.named("result"))
        if attempt == 0:
            child = made.run("screen", arguments=job)
        else:
            child = made.run("resume", which=uids[-1])
        child.wait_log("\nrun ", 300)
        uids.append(_uid(child.log))
        if attempt == kills:
            report = child.report(3600)
            if report["outcome"] != "success":
                raise RuntimeError(f"the last part did not complete: {report}")
            return uids
        target = known + max(1, round(total / (kills + 1) * rng.uniform(0.6, 1.0)))
        while len(made.trace.named("result")) < target and child.alive:
            made.trace.update()
            time.sleep(0.02)
        made.trace.wait("energised", after=len(made.trace.events), timeout=120)
        child.wait_quiet(rng.uniform(*INTO_LANDING))
        child.kill()
    return uids


def _uid(log: Path) -> str:
    lines = [line for line in log.read_text().splitlines() if line.startswith("run ")]
    return lines[-1].split()[1]


def check_single_use(made: Stack) -> dict[str, Any]:
    """What the controller's trace and the ledger say of the sites."""
    made.trace.update()
    energised = made.trace.named("energised")
    with Ledger(made.data / "ledger.sqlite", read_only=True) as ledger:
        exposures = ledger.exposures()
    claimed = np.array([(e.x, e.y) for e in exposures])
    gaps = np.hypot(*(claimed[:, None] - claimed[None]).transpose(2, 0, 1))
    np.fill_diagonal(gaps, np.inf)
    tokens = [event["token"] for event in energised]
    results = made.trace.named("result")
    return {
        "energised": len(energised),
        "terminations": dict(Counter(str(event["termination"]) for event in results)),
        "tokens_used_twice": len(tokens) - len(set(tokens)),
        "energised_unknown_to_the_ledger": len(set(tokens) - {e.token for e in exposures}),
        "smallest_distance_of_two_exposures": float(gaps.min()),
        "sites_used_twice": int(np.sum(gaps < FOOTPRINT * 0.99) // 2),
        "states": {s: sum(e.state == s for e in exposures) for s in ("DONE", "BURNED")},
    }


def analysed(made: Stack, uid: str) -> Any:
    """Analyse the run; a busy machine's server may need more than one start."""
    for left in range(STARTS - 1, -1, -1):
        try:
            with serving(load_configuration(made.config)) as server:
                return analyse_seccm_run(open_run(connect(server), uid))
        except ServerError:
            if not left:
                raise
            time.sleep(30.0)
    raise AssertionError


def figures(made: Stack, uid: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Figures by condition from Tiled alone."""
    result = analysed(made, uid)
    table = result.table
    rows = []
    for number, condition in enumerate(result.source.conditions):
        of = table["condition"].values == number
        row: dict[str, Any] = {"label": condition.get("label", ""), "landings": int(of.sum())}
        for name in ("current_density", "e_nuc", "e_growth", "t_nuc", "q_nuc"):
            values = table[name].values[of] if name in table else np.array([])
            known = values[np.isfinite(values)]
            row[name] = {
                "n": len(known),
                "mean": float(known.mean()) if len(known) else math.nan,
                "sd": float(known.std(ddof=1)) if len(known) > 1 else math.nan,
            }
        rows.append(row)
    return rows, {"landings_in_tiled": len(result.landings), "missing": dict(result.missing)}


def _told(value: dict[str, Any], scale: float, digits: int) -> str:
    if not value["n"]:
        return "none"
    spread = f" +/- {value['sd'] * scale:.{digits}f}" if value["n"] > 1 else ""
    return f"{value['mean'] * scale:.{digits}f}{spread} ({value['n']})"


def show_figures(rows: Sequence[dict[str, Any]]) -> None:
    show(
        "Screen, from Tiled",
        ["commanded", "landings", "j / mA/cm2", "E_nuc / V", "E_growth / V", "t_nuc / s",
         "Q_nuc / uAh/cm2"],
        [
            [
                row["label"], str(row["landings"]),
                _told(row["current_density"], 0.1, 2), _told(row["e_nuc"], 1, 3),
                _told(row["e_growth"], 1, 3), _told(row["t_nuc"], 1, 2),
                _told(row["q_nuc"], 1 / 36.0, 2),
            ]
            for row in rows
        ],
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="seccm_screen", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--side", type=int, default=8, help="conditions, and repeats of each")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--speed", default="2.5", help="of the virtual instruments' clock")
    parser.add_argument("--frame", type=int, default=200, help="pixels; 0 takes no films")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    world = WORLD | {"frame_size": options.frame or 16}
    job = arguments(options.side, options.side, film=bool(options.frame))
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        settings: dict[str, Any] = {"family": "seccm", "sections": SECTIONS, "world": world}
        settings |= {"seed": options.seed, "sample": "screen", "speed": options.speed}
        settings |= {"heartbeat": HEARTBEAT}
        with stack(Path(folder), **settings) as made:
            uids = screen_with_kills(made, job, options.kills, rng)
            measured = time.monotonic() - begin
            use = check_single_use(made)
            rows, delivered = figures(made, uids[-1])
    show_figures(rows)
    planned = options.side**2 - 1
    verdict = {
        "planned": planned, "kills": options.kills, "runs": len(uids), **use, **delivered,
        "every_site_was_used": use["states"]["DONE"] + use["states"]["BURNED"] == planned,
        "wall_measured": measured, "wall_with_analysis": time.monotonic() - begin,
    }  # fmt: skip
    show("Verdict", ["", ""], [[k, str(v)] for k, v in verdict.items()])
    full = options.side == 8 and options.kills >= 3 and options.frame
    write_json(
        "seccm_screen" if full else "seccm_screen_try", {"verdict": verdict, "conditions": rows}
    )


if __name__ == "__main__":
    main()
