"""Progress of a map in the terminal: sites done, share tripped, median stop bias, time left."""

import logging
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from nucleation_bluesky.callbacks.map_summary import MapSummary

logger = logging.getLogger(__name__)


class MapProgress:
    """A bar where the output is a terminal, a line now and then where it is not.

    Subscribe it to the RunEngine. It draws at most every ``interval``, and no error of its own
    ever reaches the RunEngine.

    Parameters
    ----------
    console : rich.console.Console, optional
        Where to draw; standard error by default.
    interval : float, optional
        Least time between two drawings, s; by default 0.25 in a terminal, 5 elsewhere.
    """

    def __init__(self, console: Console | None = None, interval: float | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.interval = interval
        if interval is None:
            self.interval = 0.25 if self.console.is_terminal else 5.0
        self.summary = MapSummary()
        self._bar: Progress | None = None
        self._drawn = float("-inf")

    def __call__(self, name: str, document: Mapping[str, Any]) -> None:
        """Take a document."""
        try:
            # a stock plan has no technique: what it measures is in bluesky's own tables
            if self.summary.take(name, document) and self.summary.technique:
                self._show(name)
        except Exception:  # a display must never end a run whose bias is on
            logger.exception("the progress display failed")

    def _show(self, name: str) -> None:
        ends = name in ("start", "stop")
        now = time.monotonic()
        if not ends and (name != "event" or now - self._drawn < (self.interval or 0.0)):
            return
        self._drawn = now
        if not self.console.is_terminal:
            if name != "start":
                self.console.print(self.summary.sentence(), highlight=False, soft_wrap=True)
            return
        if name == "start":
            self.release()
        if self._bar is None:
            self._bar = self._open()
        task = self._bar.task_ids[0]
        self._bar.update(task, completed=self.summary.done, description=self.summary.sentence())
        self._bar.refresh()
        if name == "stop":
            self.release()

    def _open(self) -> Progress:
        bar = Progress(
            TextColumn("{task.description}"), BarColumn(), console=self.console, auto_refresh=False
        )
        bar.add_task("map", total=self.summary.total or None)
        bar.start()
        return bar

    def on_state(self, new: str, _old: str) -> None:
        """Let go of the terminal where a run pauses: a hook for ``RunEngine.state_hook``.

        As long as a bar is shown, standard output passes through it line by line, and a prompt is
        no whole line.
        """
        try:
            if new == "paused":
                self.release()
        except Exception:  # as in `__call__`
            logger.exception("the progress display failed")

    def release(self) -> None:
        """Leave the bar as it is; what comes next begins a new one."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
