"""What the commands share: console, options, errors as one sentence, quantities."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, NoReturn

import psutil
import typer
from rich.console import Console
from rich.text import Text

from nucleation_bluesky.session.config import Configuration, ConfigurationError, load_configuration
from nucleation_bluesky.session.quantities import example, parse_quantity

# what is told holds names that users gave: brackets and colons in them are no markup
console = Console(highlight=False, markup=False, emoji=False)
error_console = Console(stderr=True, highlight=False, markup=False, emoji=False)
DELIVERY_TIMEOUT = 120.0  # s, the longest wait for runs to reach Tiled

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Configuration file (default: ./nucleation.toml if any)."),
]
DataOption = Annotated[
    Path | None, typer.Option("--data", "-d", help="Data directory, instead of the configured one.")
]
EndWith = Annotated[int | None, typer.Option(help="End when the process with this id is gone.")]


def fail(message: str, code: int = 1) -> NoReturn:
    """End the command with one clear sentence."""
    error_console.print(Text.assemble(("error:", "red"), f" {message}"), soft_wrap=True)
    raise typer.Exit(code)


def configuration(config: Path | None, data: Path | None = None) -> Configuration:
    """Load the configuration or end the command saying what is wrong with it."""
    try:
        loaded = load_configuration(config)
    except ConfigurationError as error:
        fail(str(error), 2)
    if data is not None:
        loaded = loaded.model_copy(update={"data_directory": data})
    return loaded


def quantity_option(unit: str) -> Callable[[str], float]:
    """Return a typer parser for a quantity of ``unit``."""

    def parse(value: str | float) -> float:
        try:
            return parse_quantity(value, unit)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    parse.__name__ = f"'{example(unit)}'"
    return parse


@contextlib.contextmanager
def errors_in_one_sentence(*expected: type[Exception]) -> Iterator[None]:
    """Turn the named exceptions into one sentence and exit code 1."""
    try:
        yield
    except expected as error:
        sentence = str(error).strip() or type(error).__name__
        fail(sentence)
    except KeyboardInterrupt:
        error_console.print("interrupted")
        sys.exit(130)


def end_with_process(pid: int) -> None:
    """End this process, orderly, once another one is gone."""

    def watch() -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(pid).wait()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="end-with", daemon=True).start()
