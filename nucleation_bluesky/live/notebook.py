"""The live map in a notebook: a picture below a cell that is replaced as the run grows."""

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, Self

from IPython.core.getipython import get_ipython
from IPython.display import HTML, DisplayHandle, Image

from nucleation_bluesky.live.server import WatchError

END_TIMEOUT = 5.0  # s


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook (or of a Qt console)."""
    return getattr(get_ipython(), "kernel", None) is not None


class NotebookMap:
    """Shows the latest run of a data directory below the present cell until `stop`.

    The picture is drawn by a process of its own, which ends with this one; here a thread hands
    over what is new, so that a display costs a run nothing.

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
    """

    def __init__(self, data: Path, interval: float = 2.0) -> None:
        if not in_notebook():
            raise WatchError(
                "this is no notebook: 'nucleation-bluesky watch' in another terminal shows the "
                "map on a page, with --window in a window"
            )
        self._directory = tempfile.TemporaryDirectory(prefix="nucleation-live-")
        self._picture = Path(self._directory.name) / "live.png"
        command = [sys.executable, "-m", "nucleation_bluesky", "watch"]
        command += ["--png", str(self._picture), "--interval", str(interval)]
        command += ["--data", str(data), "--end-with", str(os.getpid())]
        self._process = subprocess.Popen(  # noqa: S603 - our own command line
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # an interrupt of the kernel is for the RunEngine alone
        )
        self._interval, self._ended = interval, threading.Event()
        self._handle = DisplayHandle()
        self._handle.display(HTML("<em>the live map waits for a run</em>"))
        self._thread = threading.Thread(target=self._follow, name="live-map", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        shown = -1
        while not self._ended.wait(self._interval / 2):
            if self._process.poll() is not None:
                self._handle.update(HTML("<em>the live map has ended</em>"))
                return
            try:
                changed = self._picture.stat().st_mtime_ns
                if changed != shown:
                    self._handle.update(Image(data=self._picture.read_bytes()))
                    shown = changed
            except FileNotFoundError:  # no run yet
                continue

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
        self._directory.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"live map, every {self._interval:g} s; stop() ends it"
