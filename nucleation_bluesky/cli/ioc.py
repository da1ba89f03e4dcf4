"""``nucleation-bluesky ioc``: virtual instruments over EPICS Channel Access."""

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from nucleation_bluesky.cli.common import (
    EndWith,
    end_with_process,
    errors_in_one_sentence,
    fail,
)

ioc_app = typer.Typer(help="Serve a virtual instrument over EPICS Channel Access.",
                      no_args_is_help=True)  # fmt: skip


Speed = Annotated[str, typer.Option(help="1 is real time; N times faster; or 'max'.")]
Seed = Annotated[int, typer.Option(help="Seed of the sample and of all noise.")]
Truth = Annotated[Path | None, typer.Option(help="Write the ground truth here.")]
Setting = Annotated[
    list[str] | None, typer.Option("--set", help="Change a world parameter: name=number.")
]
Environment = Annotated[
    str, typer.Option(help="Prefix of the environment PVs served along; empty for none.")
]


def print_ready(prefix: str) -> None:
    """Tell whoever started this process that the PVs are served."""
    sys.stdout.write(f"ready {prefix}\n")
    sys.stdout.flush()


def parse_world(settings: list[str]) -> dict[str, float]:
    """Return ``name=value`` settings as numbers."""
    world = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        try:
            world[name.strip()] = float(value)
        except ValueError:
            fail(f"--set takes name=number, not '{setting}'", 2)
    return world


def prepare(end_with: int | None) -> None:
    """Log, and end with the process that started us."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    if end_with is not None:
        end_with_process(end_with)


@ioc_app.command("afm")
def afm(
    prefix: Annotated[str, typer.Option(help="Prefix of all PVs.")] = "NB:AFM:",
    speed: Speed = "1",
    seed: Seed = 1,
    truth: Truth = None,
    trace: Annotated[Path | None, typer.Option(help="Write the controller's trace here.")] = None,
    setting: Setting = None,
    environment: Environment = "NB:ENV:",
    end_with: EndWith = None,
) -> None:
    """Serve the virtual AFM: tip bias, current, height, stage, topography."""
    from nucleation_bluesky.iocs.run import run_afm_ioc  # noqa: PLC0415 - slow import
    from nucleation_bluesky.iocs.server import IocError  # noqa: PLC0415

    prepare(end_with)
    with errors_in_one_sentence(IocError, OSError):
        run_afm_ioc(
            prefix,
            seed=seed,
            speed=speed,
            truth=truth,
            trace=trace,
            world=parse_world(setting or []),
            ready=lambda: print_ready(prefix),
            environment=environment,
        )


@ioc_app.command("seccm")
def seccm(
    prefix: Annotated[str, typer.Option(help="Prefix of the controller's PVs.")] = "NB:SECCM:",
    camera_prefix: Annotated[
        str, typer.Option(help="Prefix of the camera's PVs; empty serves no camera.")
    ] = "NB:IRM:",
    speed: Speed = "1",
    seed: Seed = 1,
    truth: Truth = None,
    trace: Annotated[Path | None, typer.Option(help="Write the front ends' trace here.")] = None,
    setting: Setting = None,
    camera: Annotated[
        str, typer.Option(help="'virtual', or 'micromanager' for a camera by Micro-Manager.")
    ] = "virtual",
    mm_config: Annotated[
        Path | None, typer.Option(help="Micro-Manager configuration; its demo camera without.")
    ] = None,
    mm_adapters: Annotated[
        Path | None, typer.Option(help="Directory of Micro-Manager's device adapters.")
    ] = None,
    environment: Environment = "NB:ENV:",
    end_with: EndWith = None,
) -> None:
    """Serve the virtual SECCM: landings, pipette, electrometer and the microscope's camera."""
    from nucleation_bluesky.iocs.run import run_seccm_ioc  # noqa: PLC0415 - slow import
    from nucleation_bluesky.iocs.server import IocError  # noqa: PLC0415

    prepare(end_with)
    mm = {"config": mm_config, "adapters": mm_adapters} if camera == "micromanager" else {}
    with errors_in_one_sentence(IocError, OSError):
        run_seccm_ioc(
            prefix,
            camera_prefix,
            seed=seed,
            speed=speed,
            truth=truth,
            trace=trace,
            world=parse_world(setting or []),
            ready=lambda: print_ready(prefix),
            camera=camera,
            camera_settings=mm,
            environment=environment,
        )


def register(app: typer.Typer) -> None:
    """Add the command group."""
    app.add_typer(ioc_app, name="ioc")
