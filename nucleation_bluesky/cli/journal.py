"""``nucleation-bluesky journal``: what is on disk, whatever became of Tiled."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from nucleation_bluesky.callbacks.journal_reader import (
    JournalDamagedError,
    is_open,
    journals,
    read_journal,
    stem,
)
from nucleation_bluesky.cli.common import (
    DELIVERY_TIMEOUT,
    ConfigOption,
    DataOption,
    configuration,
    console,
    errors_in_one_sentence,
    fail,
)
from nucleation_bluesky.storage.courier_files import JOURNAL_DIR, CourierFiles

journal_app = typer.Typer(help="Journals of runs, the record that Tiled is filled from.",
                          no_args_is_help=True)  # fmt: skip


def _directory(config: Path | None, data: Path | None) -> Path:
    return configuration(config, data).data_directory / JOURNAL_DIR


@journal_app.command("list")
def list_journals(config: ConfigOption = None, data: DataOption = None) -> None:
    """List journals, and whether each is in Tiled."""
    directory = _directory(config, data)
    files = CourierFiles(directory)
    table = Table("journal", "state", "in Tiled")
    for path in journals(directory):
        state = "open" if is_open(path) else "closed"
        reason = files.quarantined(path)
        told = f"set aside: {reason}" if reason else "yes" if files.delivered(path) else "not yet"
        table.add_row(stem(path), state, told)
    console.print(table)


@journal_app.command("verify")
def verify(
    path: Annotated[Path | None, typer.Argument(help="One journal; all if not given.")] = None,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Read journals from end to end and check every line."""
    chosen = [path] if path is not None else journals(_directory(config, data))
    damaged = 0
    for journal in chosen:
        try:
            names = [name for name, _ in read_journal(journal)]
        except JournalDamagedError as error:
            damaged += 1
            line = Text.assemble(f"{journal.name}: ", ("damaged", "red"), f": {error}")
            console.print(line)
        except OSError as error:
            fail(f"cannot read {journal}: {error.strerror}")
        else:
            end = "complete" if "stop" in names else "without a stop document"
            console.print(f"{journal.name}: {len(names)} documents, {end}")
    if damaged:
        fail(f"{damaged} of {len(chosen)} journals are damaged")


@journal_app.command("deliver")
def deliver(
    again: Annotated[bool, typer.Option(help="Verify delivered runs once more.")] = False,
    timeout: Annotated[float, typer.Option(help="Longest wait, s.")] = DELIVERY_TIMEOUT,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Deliver what is not in Tiled yet, and verify it."""
    from nucleation_bluesky.storage import courier_process  # noqa: PLC0415 - slow import
    from nucleation_bluesky.storage.server import (  # noqa: PLC0415
        ServerError,
        ensure_server,
        release_server,
    )

    chosen = configuration(config, data)
    directory = _directory(config, data)
    files = CourierFiles(directory)
    with errors_in_one_sentence(ServerError, OSError):
        if again:
            for path in journals(directory):
                files.forget_delivery(path)
        server = ensure_server(chosen.data_directory)
        courier = courier_process.start(chosen.data_directory, server)
        try:
            done = courier.wait_delivered(timeout=timeout)
        finally:
            courier.release()
            release_server(chosen.data_directory)
    left = [stem(path) for path in journals(directory) if not files.delivered(path)]
    if not done:
        fail(f"{len(left)} journals are not in Tiled yet: {', '.join(left[:3])}")
    console.print("everything is in Tiled")


def register(app: typer.Typer) -> None:
    """Add the command group."""
    app.add_typer(journal_app, name="journal")
