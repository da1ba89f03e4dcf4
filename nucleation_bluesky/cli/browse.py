"""``runs`` and ``serve``: what is there, without the imports of an analysis."""

import threading
from typing import Annotated

import typer

from nucleation_bluesky.cli.common import (
    ConfigOption,
    DataOption,
    configuration,
    console,
    errors_in_one_sentence,
)
from nucleation_bluesky.cli.run_table import print_runs, runs_as_json
from nucleation_bluesky.session.access import CATALOGUE_ERRORS, serving
from nucleation_bluesky.storage.run_list import list_runs
from nucleation_bluesky.storage.runs import RunFilter


def _runs_command(app: typer.Typer) -> None:
    @app.command("runs")
    def runs(
        sample: Annotated[str | None, typer.Option(help="Only this sample.")] = None,
        technique: Annotated[str | None, typer.Option(help="Only this technique.")] = None,
        operator: Annotated[str | None, typer.Option(help="Only this operator.")] = None,
        since: Annotated[str | None, typer.Option(help="ISO date or time.")] = None,
        until: Annotated[
            str | None, typer.Option(help="ISO date, which is included, or time.")
        ] = None,
        state: Annotated[str | None, typer.Option(help="running, success, abort or fail.")] = None,
        limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
        as_json: Annotated[
            bool, typer.Option("--json", help="Everything about each, for another program.")
        ] = False,
        config: ConfigOption = None,
        data: DataOption = None,
    ) -> None:
        """List runs, the latest first."""
        with (
            errors_in_one_sentence(*CATALOGUE_ERRORS),
            serving(configuration(config, data)) as server,
        ):
            wanted = RunFilter(sample, technique, operator, since, until, state)
            found = list_runs(server, wanted, limit=limit)
        if as_json:
            typer.echo(runs_as_json(found))
        else:
            print_runs(found, console)


def _serve_command(app: typer.Typer) -> None:
    @app.command("serve")
    def serve(
        show_key: Annotated[
            bool, typer.Option(help="Print the API key, and the web pages' address with it.")
        ] = False,
        config: ConfigOption = None,
        data: DataOption = None,
    ) -> None:
        """Serve the data directory with Tiled, until Ctrl-C."""
        chosen = configuration(config, data)
        with errors_in_one_sentence(*CATALOGUE_ERRORS), serving(chosen) as server:
            with_key = f"?api_key={server.api_key}" if show_key else "  (with the key: --show-key)"
            console.print(f"web pages:  {server.web_ui}{with_key}", soft_wrap=True)
            console.print(f"clients:    tiled.client.from_uri('{server.api}', api_key=...)")
            key_file = chosen.data_directory.absolute() / "tiled" / "api_key"
            told = server.api_key if show_key else f"in {key_file} (--show-key prints it)"
            console.print(f"API key:    {told}", soft_wrap=True)
            console.print("Ctrl-C ends it")
            threading.Event().wait()


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for add in (_runs_command, _serve_command):
        add(app)
