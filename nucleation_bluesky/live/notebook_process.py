"""Draws the live map of a notebook: pictures go to the session through a pipe, and nothing to disk.

Run by `NotebookMap`: ``python -m nucleation_bluesky.live.notebook_process DATA INTERVAL FD``.
"""

import select
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from nucleation_bluesky.live.follower import Follower
from nucleation_bluesky.live.picture import picture


def draw(data: Path, interval: float, pipe: Connection) -> None:
    """Send a picture when there is something new, until nobody reads them any more."""
    follower, gone = Follower(data), select.poll()
    gone.register(pipe.fileno(), 0)  # a pipe whose reader has ended, however it ended, tells
    try:
        while True:
            if (run := follower.changed()) is not None:
                pipe.send_bytes(picture(run))
            if gone.poll(interval * 1000):
                return
    except BrokenPipeError:
        return
    except Exception as error:  # noqa: BLE001 - the session shows why there are no more pictures
        pipe.send_bytes(f"{type(error).__name__}: {error}".encode())
    finally:
        follower.close()


if __name__ == "__main__":
    with Connection(int(sys.argv[3]), readable=False) as end:
        draw(Path(sys.argv[1]), float(sys.argv[2]), end)
