"""``nucleation-bluesky config``: write, check and show the configuration file."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from nucleation_bluesky.cli.common import (
    ConfigOption,
    configuration,
    console,
    error_console,
    fail,
)
from nucleation_bluesky.session.config import (
    CONFIG_NAME,
    Configuration,
    ConfigurationError,
    configuration_path,
    mistakes,
    read_entries,
)
from nucleation_bluesky.session.config_text import configuration_text

config_app = typer.Typer(help="Write, check and show the configuration file.",
                         no_args_is_help=True)  # fmt: skip


@config_app.command("init")
def init(
    path: Annotated[Path, typer.Argument(help="Where to write it.")] = Path(CONFIG_NAME),
) -> None:
    """Write a commented file with every entry at its default."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(configuration_text())
    except FileExistsError:
        fail(f"{path} is there already; move it away, or name another file")
    except OSError as error:
        fail(f"cannot write {path}: {error.strerror}")
    console.print(f"{path} written; with an empty file, or none, the same defaults hold")


@config_app.command("check")
def check(
    path: Annotated[
        Path | None, typer.Argument(help="The file (default: the one a session would read).")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Check a file: each mistake in a sentence of its own, with the entry's key."""
    if path is not None and config is not None:
        fail("name the file once: as argument, or with --config", 2)
    chosen = configuration_path(path or config)
    if chosen is None:
        console.print("there is no configuration file here; the defaults hold")
        return
    try:
        wrong = mistakes(read_entries(chosen))
    except ConfigurationError as error:
        fail(str(error), 2)
    for key, sentence in wrong:
        error_console.print(Text.assemble((key, "red"), f": {sentence}"), soft_wrap=True)
    if wrong:
        fail(f"{chosen}: {len(wrong)} mistake{'s' if len(wrong) > 1 else ''}", 2)
    console.print(f"{chosen} is in order")


@config_app.command("show")
def show(
    changed: Annotated[bool, typer.Option(help="Only what differs from the defaults.")] = False,
    config: ConfigOption = None,
) -> None:
    """Show the configuration in force, every entry."""
    chosen = configuration(config)
    source = configuration_path(config)
    text = configuration_text(chosen)
    if changed:
        known = set(configuration_text(Configuration()).splitlines())
        text = "\n".join(
            line for line in text.splitlines() if line.startswith("[") or line not in known
        )
        text = _without_empty_sections(text)
    console.print(f"# from {source}" if source else "# defaults: no file here")
    console.print(text, soft_wrap=True)


def _without_empty_sections(text: str) -> str:
    lines = text.splitlines()
    kept = [
        line
        for line, after in zip(lines, [*lines[1:], "["], strict=True)
        if not (line.startswith("[") and after.startswith("["))
    ]
    return "\n".join(kept)


def register(app: typer.Typer) -> None:
    """Add the command group."""
    app.add_typer(config_app, name="config")
