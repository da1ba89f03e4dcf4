"""The list of commands, which is made without their modules."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import typer
from nucleation_bluesky import cli
from nucleation_bluesky.cli.app import COMMANDS, app, load
from typer.testing import CliRunner

runner = CliRunner()
LIGHT = (
    "config",
    "doctor",
    "ioc",
    "journal",
    "ledger",
    "queue",
    "recover",
    "runs",
    "serve",
    "watch",
)
HEAVY = ("bluesky", "dask", "matplotlib", "ophyd", "pandas", "pint", "scipy", "tiled.client")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_what_a_command_says_of_itself(name):
    assert COMMANDS[name][1] == " ".join(load(name).help.split("\n\n")[0].split())


def test_every_command_of_every_module_is_listed():
    registered = set()
    for path in Path(cli.__file__).parent.glob("*.py"):
        register = getattr(import_module(f"nucleation_bluesky.cli.{path.stem}"), "register", None)
        if register is not None:
            module = typer.Typer(callback=lambda: None)
            register(module)
            commands = typer.main.get_group(module).commands
            registered |= {(name, path.stem) for name in commands}
    assert registered == {(name, module) for name, (module, _) in COMMANDS.items()}


def test_an_unknown_command_is_refused_with_those_like_it():
    refused = runner.invoke(app, ["ru"], terminal_width=200)
    assert refused.exit_code == 2
    assert "Did you mean 'run', 'runs'?" in refused.output


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in LIGHT)])
def test_light_commands_import_nothing_heavy(words):
    program = (
        "import sys\nfrom nucleation_bluesky.cli import main\ntry:\n    main()\n"
        f"finally:\n    sys.stderr.write(','.join(n for n in {HEAVY} if n in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "Usage" in done.stdout
    assert done.stderr == ""
