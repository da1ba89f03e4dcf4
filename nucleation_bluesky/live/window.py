"""The live map in a window, for a console with a screen."""

from pathlib import Path

import matplotlib as mpl

from nucleation_bluesky.live.follower import Follower
from nucleation_bluesky.live.picture import draw
from nucleation_bluesky.live.server import WatchError


def show_window(data: Path, interval: float) -> None:
    """Show the latest run's state until the window is closed.

    Raises
    ------
    WatchError
        If matplotlib has no backend that can open a window here.
    """
    from matplotlib import pyplot as plt  # noqa: PLC0415 - chooses the backend

    if mpl.get_backend().lower() in {b.lower() for b in NON_INTERACTIVE}:
        raise WatchError("no window can be opened here; watch the page, or use --png FILE")
    follower, figure = Follower(data), plt.figure(figsize=(9, 5))
    plt.show(block=False)
    try:
        while plt.fignum_exists(figure.number):
            if (run := follower.changed()) is not None:
                figure.clear()
                draw(figure, run)
                figure.canvas.draw_idle()
            plt.pause(interval)
    finally:
        follower.close()


NON_INTERACTIVE = ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template")
