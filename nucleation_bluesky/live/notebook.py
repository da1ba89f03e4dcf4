"""The live map in a notebook: a picture below a cell that is replaced as the run grows."""

import html
import os
import subprocess
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

from IPython.core.getipython import get_ipython
from IPython.display import HTML, DisplayHandle, Image

from nucleation_bluesky.live.follower import LEAST_INTERVAL
from nucleation_bluesky.live.server import WatchError

END_TIMEOUT = 5.0  # s
POLL = 0.5  # s, the longest that `stop` waits for the thread
PNG = b"\x89PNG"


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook (or of a Qt console)."""
    return getattr(get_ipython(), "kernel", None) is not None


class NotebookMap:
    """Shows the latest run of a data directory below the present cell until `stop`.

    The picture is drawn by a process of its own, which ends with this one; here a thread hands
    over what is new, so that a display costs a run nothing. Pictures come through a pipe: there is
    no file that could be left behind.

    Parameters
    ----------
    data : Path
        Data directory.
    interval : float
        Least time between two pictures, s.

    Raises
    ------
    WatchError
        If this is no notebook.
    ValueError
        If the interval is too short.
    """

    def __init__(self, data: Path, interval: float = 2.0) -> None:
        if not in_notebook():
            raise WatchError(
                "this is no notebook: 'nucleation-bluesky watch' in another terminal shows the "
                "map on a page, with --window in a window"
            )
        if not LEAST_INTERVAL <= interval < float("inf"):
            raise ValueError(f"the interval is {interval} s; give {LEAST_INTERVAL} s or more")
        reading, writing = os.pipe()
        command = [sys.executable, "-m", "nucleation_bluesky.live.notebook_process"]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [*command, str(data), str(interval), str(writing)],
                pass_fds=[writing],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # an interrupt of the kernel is for the RunEngine alone
            )
        except OSError:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self._pictures = Connection(reading, writable=False)
        self._interval, self._ended = interval, threading.Event()
        self._handle = DisplayHandle()
        self._handle.display(HTML("<em>the live map waits for a run</em>"))
        self._thread = threading.Thread(target=self._follow, name="live-map", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        why = ""
        while not self._ended.is_set():
            try:
                if not self._pictures.poll(POLL):
                    continue
                sent = self._pictures.recv_bytes()
            except (EOFError, OSError):
                break
            if sent.startswith(PNG):
                self._handle.update(Image(data=sent))
            else:
                why = f": {sent.decode()}"
        if not self._ended.is_set():
            told = html.escape(f"the live map has ended{why}; watch() shows it again")
            self._handle.update(HTML(f"<em>{told}</em>"))

    def stop(self) -> None:
        """Leave the last picture as it is; a second call does nothing."""
        self._ended.set()
        self._thread.join(END_TIMEOUT)
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(END_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(END_TIMEOUT)
        if not self._thread.is_alive():
            self._pictures.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"live map, every {self._interval:g} s; stop() ends it"
