"""The application; a command's module is imported only when it is asked for."""

import sys
from importlib import import_module

import typer

# command -> module that registers it; a virtual instrument must not wait for the imports of a plan
MODULES = {
    "demo": "demo",
    "run": "run",
    "runs": "browse",
    "analyse": "data",
    "report": "data",
    "ingest": "data",
    "serve": "browse",
    "watch": "watch",
    "export": "exchange",
    "import": "exchange",
    "attach": "exchange",
    "overlay": "exchange",
    "ioc": "ioc",
    "recover": "recover",
    "ledger": "ledger",
    "journal": "journal",
    "doctor": "doctor",
    "particles": "particles",
    "config": "config",
    "session": "session",
    "queue": "queue",
}

app = typer.Typer(
    name="nucleation-bluesky",
    help="Nanoscale electrochemical nucleation experiments on Bluesky.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def nucleation_bluesky() -> None:
    """Nanoscale electrochemical nucleation experiments on Bluesky."""


def load(command: str | None = None) -> typer.Typer:
    """Register one command, or all of them if it is none of ours."""
    names = [MODULES[command]] if command in MODULES else list(dict.fromkeys(MODULES.values()))
    for name in names:
        import_module(f"nucleation_bluesky.cli.{name}").register(app)
    return app


def main() -> None:
    """Run the command line."""
    load(sys.argv[1] if len(sys.argv) > 1 else None)()
