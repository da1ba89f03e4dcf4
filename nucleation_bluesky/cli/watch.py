"""``watch``: the map growing, on a page, in PNG files or in a window."""

import threading
from pathlib import Path
from typing import Annotated

import typer

from nucleation_bluesky.cli.common import (
    ConfigOption,
    DataOption,
    EndWith,
    configuration,
    console,
    end_with_process,
    errors_in_one_sentence,
)
from nucleation_bluesky.live.follower import LEAST_INTERVAL, Follower
from nucleation_bluesky.live.server import WatchError, watching


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("watch")
    def watch(
        port: Annotated[int, typer.Option(help="Port on the loopback; 0 takes a free one.")] = 0,
        png: Annotated[
            Path | None, typer.Option(help="Write the state to this PNG instead of serving a page.")
        ] = None,
        window: Annotated[bool, typer.Option(help="Show a window instead of a page.")] = False,
        interval: Annotated[
            float, typer.Option(min=LEAST_INTERVAL, help="Least seconds between.")
        ] = 2.0,
        once: Annotated[bool, typer.Option(help="Write one PNG, or say the state, and end.")] = (
            False
        ),
        end_with: EndWith = None,
        config: ConfigOption = None,
        data: DataOption = None,
    ) -> None:
        """Watch the latest run of a data directory, from a process of its own, until Ctrl-C."""
        if end_with is not None:
            end_with_process(end_with)
        directory = configuration(config, data).data_directory.absolute()
        with errors_in_one_sentence(WatchError, OSError, ValueError):
            if window:
                from nucleation_bluesky.live.window import show_window  # noqa: PLC0415 - display

                show_window(directory, interval)
            elif png is not None or once:
                _follow(directory, png, interval, once=once)
            else:
                with watching(directory, port) as address:
                    console.print(f"watch at {address}  (Ctrl-C ends it)")
                    threading.Event().wait()


def _follow(directory: Path, png: Path | None, interval: float, *, once: bool) -> None:
    """Write PNG files as the map grows; with ``once``, what there is."""
    from nucleation_bluesky.live.picture import write_picture  # noqa: PLC0415 - slow import

    follower, pause = Follower(directory), threading.Event()
    try:
        while True:
            run = follower.changed()
            if once and run is None:
                raise WatchError(f"there is no run in {directory}")
            if run is not None:
                if png is not None:
                    write_picture(png, run)
                console.print(f"{follower.state}: {run.summary.sentence()}", soft_wrap=True)
            if once:
                return
            pause.wait(interval)
    finally:
        follower.close()
