"""``nucleation-bluesky demo``: experiments of the AFM and SECCM papers on virtual instruments."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from math import radians
from pathlib import Path
from typing import Annotated, Any

import typer
from bluesky.plan_stubs import mv

from nucleation_bluesky.cli.common import DELIVERY_TIMEOUT, console, errors_in_one_sentence, fail
from nucleation_bluesky.cli.data import show_summary
from nucleation_bluesky.cli.demo_seccm import run_seccm_demo
from nucleation_bluesky.cli.demo_steps import ResultWriter, timed, uid_of
from nucleation_bluesky.plans.nucleation_map import nucleation_map
from nucleation_bluesky.plans.sweep_rate_series import sweep_rate_series
from nucleation_bluesky.session.access import serving
from nucleation_bluesky.session.config import (
    Configuration,
    InstrumentConfig,
    SampleConfig,
    TipConfig,
    VirtualConfig,
)
from nucleation_bluesky.session.execute import execute
from nucleation_bluesky.session.session import EXPECTED_ERRORS, Session
from nucleation_bluesky.storage.analyse import analyse_run
from nucleation_bluesky.storage.analysis_result import AnalysisResult
from nucleation_bluesky.storage.runs import open_run

NOMINAL_TIP = TipConfig(radius=5e-9, half_angle=radians(28))  # as a tip's data sheet would say
SENSITIVE_GAIN = 1e11  # V/A, for picoampere compliance
PARTS = ("all", "afm", "seccm")
COARSE_GAIN = 1e7  # V/A, for particles that grow to micrometres


@dataclass(frozen=True)
class Experiment:
    """One run of the demo.

    Parameters
    ----------
    label : str
        For the report.
    plan : callable
        Plan taking the instrument.
    arguments : dict
        Its arguments.
    gain : float
        Amplifier gain, V/A.
    """

    label: str
    plan: Callable[..., Any]
    arguments: dict[str, Any]
    gain: float = SENSITIVE_GAIN


def experiments(rows: int, cols: int, *, small: bool) -> list[Experiment]:
    """Return the experiments, each on its own area of the sample."""
    pitch = 20e-9
    half = ((cols - 1) * pitch / 2, (rows - 1) * pitch / 2)
    height, rates = (8, 8) if small else (24, 36)
    particles = 4 if small else 10
    return [
        Experiment(
            "current compliance",
            nucleation_map,
            {"rows": rows, "cols": cols, "pitch": pitch, "origin": (-half[0], -half[1]),
             "order": "snake", "n_post": 5},
        ),
        Experiment(
            "height compliance",
            nucleation_map,
            {"rows": height, "cols": height, "pitch": pitch, "origin": (-6e-6, 0.0),
             "order": "snake", "compliance": "height", "n_post": 5},
        ),
        Experiment(
            "current compliance, 10 x 10",
            nucleation_map,
            {"rows": particles, "cols": particles, "pitch": 200e-9, "origin": (-10e-6, 0.0),
             "n_post": 5},
        ),
        Experiment(
            "normal sweeps",
            nucleation_map,
            {"rows": particles, "cols": particles, "pitch": 5e-6, "origin": (4e-6, 4e-6),
             "stop": -5.0, "compliance": "none", "image_size": 56e-6, "image_pixels": 384},
            COARSE_GAIN,
        ),
        Experiment(
            "sweep rates",
            sweep_rate_series,
            {"rows": rates, "cols": rates, "pitch": 50e-9, "origin": (-6e-6, -6e-6),
             "rates": (0.3, 1.2, 4.8, 19.2), "samples_per_volt": 1000.0, "stop": -4.6,
             "blanking": 1e-3, "background_time": 20e-3, "n_post": 5},
        ),
    ]  # fmt: skip


def measure(session: Session, experiment: Experiment) -> str:
    """Run one experiment and return its uid."""
    console.print(experiment.label, style="bold")
    with timed("measured"):
        session.RE(mv(session.instrument.amplifier.gain, experiment.gain))
        plan = experiment.plan(session.instrument, **experiment.arguments)
        outcome = execute(session, plan)
    return uid_of(outcome, experiment.label)


def evaluate(
    session: Session, experiment: Experiment, uid: str, write: ResultWriter
) -> AnalysisResult:
    """Analyse one run from Tiled; the result is stored next to it."""
    client = session.catalog
    result = replace(analyse_run(client, uid), label=experiment.label)
    write(client, result.sites, runs=[open_run(client, uid)], parameters=result.parameters)
    return result


def new_sample() -> str:
    """Return the name of a new virtual sample."""
    return f"demo-{datetime.now().astimezone():%Y%m%d-%H%M%S}"


def configure(out: Path, seed: int, name: str) -> Configuration:
    """Return the configuration of the AFM's part."""
    virtual = VirtualConfig(speed="max", seed=seed)
    return Configuration(
        data_directory=out / "data",
        instrument=InstrumentConfig(virtual=virtual, tip=NOMINAL_TIP),
        sample=SampleConfig(name=name, description="virtual Li-ion conducting glass ceramic"),
    )


def run_afm_demo(
    out: Path, rows: int, cols: int, seed: int, sample: str, *, small: bool
) -> list[AnalysisResult]:
    """Measure and analyse maps; the results are stored in Tiled next to their runs."""
    config = configure(out, seed, sample)
    planned = experiments(rows, cols, small=small)
    console.print("starting the virtual AFM, Tiled and the courier ...")
    with errors_in_one_sentence(*EXPECTED_ERRORS), Session(config, say=console.print) as session:
        uids = [measure(session, experiment) for experiment in planned]
        if not session.wait_delivered(uids, DELIVERY_TIMEOUT):
            fail("the documents did not reach Tiled; see 'nucleation-bluesky journal list'")
        console.print("analysis, from the data in Tiled", style="bold")
        with timed("analysed"), ResultWriter() as write:
            return [evaluate(session, e, uid, write) for e, uid in zip(planned, uids, strict=True)]


def run_demo(out: Path, rows: int, cols: int, seed: int, *, small: bool, part: str) -> None:
    """Measure, analyse, report."""
    from nucleation_bluesky.report.build import write_report  # noqa: PLC0415 - slow import

    if part not in PARTS:
        fail(f"--part is one of {', '.join(PARTS)}, not '{part}'", 2)
    sample = new_sample()
    # one server for all parts: the report reads films from Tiled
    with serving(configure(out, seed, sample)):
        maps = run_afm_demo(out, rows, cols, seed, sample, small=small) if part != "seccm" else []
        landings = run_seccm_demo(out, seed, sample, small=small) if part != "afm" else []
        title = "Nucleation on virtual instruments"
        with timed("report written"):
            report = write_report([*maps, *landings], out / "report", title=title)
    for result in (*maps[:1], *landings):
        show_summary(result)
    console.print(f"\nreport:  {report.resolve()}", soft_wrap=True)
    data = out / "data"
    console.print(f"browse:  nucleation-bluesky serve --data {data}", soft_wrap=True)
    console.print(f"runs:    nucleation-bluesky runs --data {data}", soft_wrap=True)


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("demo")
    def demo(
        out: Annotated[Path, typer.Option(help="Directory for data and report.")] = Path(
            "demo-data"
        ),
        rows: Annotated[int, typer.Option(min=4, help="Rows of the main map.")] = 70,
        cols: Annotated[int, typer.Option(min=4, help="Columns of the main map.")] = 70,
        seed: Annotated[int, typer.Option(help="Seed of the virtual sample.")] = 1,
        small: Annotated[bool, typer.Option(help="Small side experiments, for a try.")] = False,
        part: Annotated[str, typer.Option(help="all, afm or seccm.")] = "all",
    ) -> None:
        """Run the AFM and SECCM experiments on virtual instruments and write a report."""
        run_demo(out, rows, cols, seed, small=small, part=part)
