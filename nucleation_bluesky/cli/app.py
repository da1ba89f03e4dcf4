"""The application; a command's module is imported only when it is asked for."""

from functools import cache
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

# command -> module that registers it, and what the list of commands says of it (a test compares
# this with the command itself): a list must not wait for the imports of an analysis
COMMANDS = {
    "demo": (
        "demo",
        "Run the AFM and SECCM experiments on virtual instruments and write a report.",
    ),
    "run": (
        "run",
        "Run a plan. Quantities carry units: --pitch '20 nm' --current-compliance '-10 pA'.",
    ),
    "runs": ("browse", "List runs, the latest first."),
    "analyse": (
        "data",
        "Analyse a file, or a run in Tiled: onsets or nucleation, charges, efficiencies, maps.",
    ),
    "report": (
        "data",
        "Write a self-contained HTML report with figures, of one or several runs or files.",
    ),
    "ingest": ("data", "Register a foreign file as a run in Tiled."),
    "serve": ("browse", "Serve the data directory with Tiled, until Ctrl-C."),
    "watch": (
        "watch",
        "Watch the latest run of a data directory, from a process of its own, until Ctrl-C.",
    ),
    "export": (
        "exchange",
        "Export maps, topographies, films, tables and documents for other programs.",
    ),
    "import": (
        "exchange",
        "Register a foreign image or curve as a run in Tiled, units and settings kept.",
    ),
    "attach": (
        "exchange",
        "Attach a picture of another instrument to a sample, as a run in Tiled.",
    ),
    "overlay": ("exchange", "Register a picture of another instrument onto a map and draw both."),
    "ioc": ("ioc", "Serve a virtual instrument over EPICS Channel Access."),
    "recover": ("recover", "Clear up after dead sessions; what living ones own is left alone."),
    "ledger": ("ledger", "Exposures of sites, samples and mounts."),
    "journal": ("journal", "Journals of runs, the record that Tiled is filled from."),
    "doctor": (
        "doctor",
        "Check packages, disk, ledger, instrument, environment, Tiled and queue.",
    ),
    "particles": ("particles", "Count and size the particles of a micrograph."),
    "config": ("config", "Write, check and show the configuration file."),
    "session": (
        "session",
        "Open IPython with RE, devices, plans, catalog and magics. Arguments go to IPython.",
    ),
    "queue": (
        "queue",
        "A queue of plans that runs by itself; clients: qserver, bluesky-queueserver-api.",
    ),
}


@cache
def load(name: str) -> Any:
    """Return a command itself, of which the list shows no more than name and help."""
    module = typer.Typer(callback=lambda: None)  # a group, if the module has one command only
    import_module(f"nucleation_bluesky.cli.{COMMANDS[name][0]}").register(module)
    return typer.main.get_group(module).commands[name]


class _Commands(TyperGroup):
    """The commands: listed without their modules, resolved with them."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, (_, told) in COMMANDS.items():
            self.add_command(TyperCommand(name, help=told))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name) if name in COMMANDS else command, rest


app = typer.Typer(
    name="nucleation-bluesky",
    cls=_Commands,
    help="Nanoscale electrochemical nucleation experiments on Bluesky.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def nucleation_bluesky() -> None:
    """Nanoscale electrochemical nucleation experiments on Bluesky."""


def main() -> None:
    """Run the command line."""
    app()
