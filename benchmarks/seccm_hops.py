"""64 hops with one-sample spikes: false contacts, crashes, overtravel, against the ground truth.

Several samples by both ways of finding contact, one where every approach has a spike, and a
negative control that takes a single sample for contact.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from nucleation_bluesky.plans.screen import hopping_map
from nucleation_bluesky.session.config import Configuration
from nucleation_bluesky.session.execute import execute
from nucleation_bluesky.session.session import Session

from benchmarks.report import show, write_json

UM = 1e-6
NEAR = 0.05 * UM  # a contact further than this above the surface was none


def configured(directory: Path, seed: int, spikes: float) -> Configuration:
    world = {"spike_fraction": spikes, "frame_size": 16}
    return Configuration.model_validate(
        {
            "data_directory": directory,
            "instrument": {"family": "seccm", "virtual": {"seed": seed, "world": world}},
            "seccm": {"pipette_opening": "6 um", "wetting_ratio": 1.75},
        }
    )


def hops(seed: int, spikes: float, side: int, contact: str, confirm: int = 2) -> dict[str, Any]:
    """One map; each landing is compared with the virtual world's own record of it."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        truth = directory / "truth.h5"
        config = configured(directory, seed, spikes)
        with Session(config, tiled=False, truth=truth) as session:
            events: list[dict[str, Any]] = []
            session.RE.subscribe(lambda _, doc: events.append(doc["data"]), "event")
            plan = hopping_map(
                session.seccm, rows=side, cols=side, pitch=11 * UM, film=False, z_max=30 * UM,
                contact=contact, contact_potential=-1.7 if contact == "current" else None,
                contact_confirm=confirm, max_no_contact=side * side,
            )  # fmt: skip
            begin = time.monotonic()
            outcome = execute(session, plan, progress=False)
            wall = time.monotonic() - begin
        landed = [e for e in events if "seccm_landing_contact" in e]
        with h5py.File(truth) as file:
            known = [dict(group.attrs) for group in file["landings"].values()]
    column = {r: np.array([e[f"seccm_landing_{r}"] for e in landed]) for r in
              ("contact", "contact_z", "overtravel", "false_contacts")}  # fmt: skip
    surface = np.array([k["surface_z"] for k in known])
    early = surface - column["contact_z"] > NEAR
    return {
        "seed": seed, "spikes": spikes, "contact": contact, "confirm": confirm,
        "outcome": outcome.exit_status,
        "hops": len(landed),
        "contacts": int(np.sum(column["contact"])),
        "spikes_met": int(sum(k["false_spike"] for k in known)),
        "spikes_rejected": int(np.sum(np.maximum(column["false_contacts"], 0))),
        "false_contacts": int(np.sum(early)),
        "crashes": int(sum(k["crashed"] for k in known)),
        "overtravel_reported_max": float(np.nanmax(column["overtravel"])),
        "overtravel_reported_median": float(np.nanmedian(column["overtravel"])),
        "beyond_surface_max": float(np.max([k["deepest_z"] for k in known] - surface)),
        "beyond_surface_median": float(np.median([k["deepest_z"] for k in known] - surface)),
        "wall_per_hop": wall / max(len(landed), 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="seccm_hops", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--side", type=int, default=8, help="hops along an edge of the map")
    options = parser.parse_args()
    rows = [hops(seed, 0.05, options.side, "overload") for seed in options.seeds]
    rows.append(hops(options.seeds[0], 0.05, options.side, "current"))
    rows += [
        hops(options.seeds[0] + 10, 1.0, options.side, contact)
        for contact in ("overload", "current")
    ]
    control = hops(options.seeds[0] + 20, 1.0, max(options.side // 2, 2), "overload", confirm=1)
    show(
        "Hops with false spikes",
        ["contact by", "spikes", "confirm", "hops", "contacts", "spikes met", "rejected", "false",
         "crashes", "beyond surface / nm", "s a hop"],
        [
            [
                r["contact"], f"{r['spikes']:g}", str(r["confirm"]), str(r["hops"]),
                str(r["contacts"]), str(r["spikes_met"]), str(r["spikes_rejected"]),
                str(r["false_contacts"]), str(r["crashes"]),
                f"{r['beyond_surface_max'] * 1e9:.1f}", f"{r['wall_per_hop']:.2f}",
            ]
            for r in [*rows, control]
        ],
    )  # fmt: skip
    verdict = {
        "hops": sum(r["hops"] for r in rows),
        "false_contacts": sum(r["false_contacts"] for r in rows),
        "crashes": sum(r["crashes"] for r in rows),
        "missed_contacts": sum(r["hops"] - r["contacts"] for r in rows),
        "overtravel_max": max(r["beyond_surface_max"] for r in rows),
        "negative_control_notices": control["false_contacts"] > 0,
    }
    show("Verdict", ["", ""], [[k, str(v)] for k, v in verdict.items()])
    full = options.side == 8 and len(options.seeds) >= 3
    write_json(
        "seccm_hops" if full else "seccm_hops_try",
        {"verdict": verdict, "maps": rows, "negative_control": control},
    )


if __name__ == "__main__":
    main()
