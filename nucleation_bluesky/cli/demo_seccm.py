"""The SECCM part of the demo: a CV landing with its film, and a small combinatorial screen."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nucleation_bluesky.cli.common import DELIVERY_TIMEOUT, console, errors_in_one_sentence, fail
from nucleation_bluesky.cli.demo_steps import ResultWriter, timed, uid_of
from nucleation_bluesky.plans.landing import cv_cycles
from nucleation_bluesky.plans.screen import combinatorial_screen
from nucleation_bluesky.session.config import Configuration
from nucleation_bluesky.session.execute import execute
from nucleation_bluesky.session.session import EXPECTED_ERRORS, Session
from nucleation_bluesky.storage.analyse_seccm import analyse_seccm_run
from nucleation_bluesky.storage.runs import open_run
from nucleation_bluesky.storage.seccm_result import SeccmResult

UM = 1e-6
LITHIUM = "Li/Li+"
# coarser pixels than the paper's: the films stay small
PIXEL, FRAME = 80e-9, 340
Z_MAX = 26 * UM


@dataclass(frozen=True)
class LandingExperiment:
    """One run of landings: name for the report, plan, its arguments."""

    label: str
    plan: Callable[..., Any]
    arguments: dict[str, Any]


def experiments(*, small: bool) -> list[LandingExperiment]:
    """Return the experiments, each on its own part of the sample."""
    # current densities on the footprint of this pipette: 0.2, 0.78 and 2.9 mA/cm2
    conditions = [
        {"label": f"{density:g} mA/cm2", "current": -current, "duration": duration}
        for density, current, duration in (
            (0.2, 0.75e-9, 30.0),
            (0.78, 3.0e-9, 8.0),
            (2.9, 11.0e-9, 3.0),
        )
    ]
    return [
        LandingExperiment(
            "cyclic voltammetry",
            cv_cycles,
            {"initial": 1.47, "vertex": -0.27, "rate": 0.1, "cycles": 1 if small else 4,
             "potential_scale": LITHIUM, "x": 38 * UM, "y": 38 * UM, "z_max": Z_MAX},
        ),
        LandingExperiment(
            "combinatorial screen",
            combinatorial_screen,
            {"conditions": conditions[1:] if small else conditions,
             "repeats": 1 if small else 2, "assignment": "blocked", "seed": 1,
             "rows": 1 if small else 2, "cols": 2 if small else 3, "pitch": 30 * UM,
             "origin": (-38 * UM, -38 * UM), "z_max": Z_MAX, "retract_distance": 6 * UM},
        ),
    ]  # fmt: skip


def configure(out: Path, seed: int, sample: str) -> Configuration:
    """Return the demo's configuration: the paper's 10 um pipette on a new virtual sample."""
    return Configuration.model_validate(
        {
            "data_directory": out / "data",
            "instrument": {
                "family": "seccm",
                "virtual": {"seed": seed, "world": {"frame_size": FRAME}},
            },
            "seccm": {"pixel_size": PIXEL},
            "sample": {"name": f"{sample}-gold", "description": "virtual gold film on glass"},
        }
    )


def run_seccm_demo(out: Path, seed: int, sample: str, *, small: bool) -> list[SeccmResult]:
    """Measure and analyse landings; the results are stored in Tiled next to their runs."""
    config = configure(out, seed, sample)
    planned = experiments(small=small)
    console.print("starting the virtual SECCM with its camera ...")
    with errors_in_one_sentence(*EXPECTED_ERRORS), Session(config, say=console.print) as session:
        uids = [measure(session, experiment) for experiment in planned]
        if not session.wait_delivered(uids, DELIVERY_TIMEOUT):
            fail("the documents did not reach Tiled; see 'nucleation-bluesky journal list'")
        with timed("landings analysed, from the data in Tiled"), ResultWriter() as write:
            return [evaluate(session, e, uid, write) for e, uid in zip(planned, uids, strict=True)]


def measure(session: Session, experiment: LandingExperiment) -> str:
    """Run one experiment and return its uid."""
    console.print(experiment.label, style="bold")
    with timed("measured"):
        outcome = execute(session, experiment.plan(session.seccm, **experiment.arguments))
    return uid_of(outcome, experiment.label)


def evaluate(
    session: Session, experiment: LandingExperiment, uid: str, write: ResultWriter
) -> SeccmResult:
    """Analyse one run from Tiled; the results are stored next to it."""
    client = session.catalog
    run = open_run(client, uid)
    result = replace(analyse_seccm_run(run), label=experiment.label)
    for name, dataset in result.datasets.items():
        write(client, dataset, name=name, runs=[run], parameters=result.parameters)
    return result
