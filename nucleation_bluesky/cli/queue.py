"""``nucleation-bluesky queue``: the queue server on this machine, for stock clients."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from nucleation_bluesky.cli.common import (
    ConfigOption,
    DataOption,
    configuration,
    console,
    errors_in_one_sentence,
)
from nucleation_bluesky.session.config import configuration_path
from nucleation_bluesky.session.queue.client import PARTS
from nucleation_bluesky.session.queue.control import Queue
from nucleation_bluesky.session.queue.parts import QueueError

queue_app = typer.Typer(
    help="A queue of plans that runs by itself; clients: qserver, bluesky-queueserver-api.",
    no_args_is_help=True,
)


def _queue(config: Path | None, data: Path | None) -> Queue:
    return Queue(configuration(config, data), configuration_path(config), console.print)


@queue_app.command("up")
def up(
    environment: Annotated[
        bool, typer.Option(help="Open the session with its instrument as well.")
    ] = True,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Start Redis, the RE manager and the gateway on the loopback, with keys."""
    with errors_in_one_sentence(QueueError, OSError):
        queue = _queue(config, data)
        queue.up(open_environment=environment)
        console.print("the queue is up; in a shell that is to use it:")
        console.print(f"  source {queue.files.client_environment}", soft_wrap=True)
        console.print("  qserver status")


@queue_app.command("status")
def status(config: ConfigOption = None, data: DataOption = None) -> None:
    """Show processes, manager and worker; changes nothing."""
    with errors_in_one_sentence(QueueError, OSError):
        found = _queue(config, data).status()
    table = Table("part", "state")
    for name in reversed(PARTS):
        pid = found.running.get(name)
        state = "lost: its process has died" if name in found.gone else "not running"
        table.add_row(name, state if pid is None else f"process {pid}")
    told = found.manager
    if told is not None:
        table.add_row("queue", f"{told['manager_state']}, {told['items_in_queue']} items")
        table.add_row("history", f"{told['items_in_history']} items")
        opened = "open" if told["worker_environment_exists"] else "closed"
        table.add_row("session", "lost: its process has died" if found.worker_lost else opened)
    console.print(table)
    if found.worker_lost or found.gone:
        console.print("replace it with 'nucleation-bluesky queue recover'")
        raise typer.Exit(1)
    if told is None:
        raise typer.Exit(1)


@queue_app.command("recover")
def recover(
    start: Annotated[bool, typer.Option("--start", help="Go on with the queue as well.")] = False,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Replace what has died. A map is not repeated: queue a resume_map for its rest."""
    with errors_in_one_sentence(QueueError, OSError):
        queue = _queue(config, data)
        gone = queue.status().gone
        items = queue.recover()
        if start and items:
            queue.ask("queue_start")
    console.print(f"the session is open again; {len(items)} items in the queue")
    if "manager" in gone:
        console.print(
            "the item that was running stands in the history as 'unknown' and is not run again; "
            "queue 'resume_map' with the run's uid for its rest "
            "(nucleation-bluesky runs --state abort)",
            soft_wrap=True,
        )
    elif items and not gone:
        console.print(
            f"the first, '{items[0]['name']}', is the one that was interrupted: it will be refused "
            "where its sites have been used; queue 'resume_map' with the run's uid for the rest "
            "(nucleation-bluesky runs --state abort)",
            soft_wrap=True,
        )


@queue_app.command("down")
def down(
    now: Annotated[bool, typer.Option("--now", help="Abort a plan that runs.")] = False,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """End the queue's processes; its items are kept."""
    with errors_in_one_sentence(QueueError, OSError):
        _queue(config, data).down(now=now)
    console.print("the queue is down")


def register(app: typer.Typer) -> None:
    """Add the command group."""
    app.add_typer(queue_app, name="queue")
