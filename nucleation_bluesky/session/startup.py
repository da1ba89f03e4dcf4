"""The one session of a process: for IPython, notebooks, scripts and the queue's worker."""

import atexit
import io
import logging
import os
from dataclasses import dataclass
from multiprocessing.util import Finalize
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bluesky.utils import RunEngineControlException
from rich.console import Console
from rich.table import Table

from nucleation_bluesky.callbacks.best_effort import BestEffortTables
from nucleation_bluesky.callbacks.progress import MapProgress
from nucleation_bluesky.session.config import DATA_VARIABLE, load_configuration
from nucleation_bluesky.session.queue.files import QueueFiles
from nucleation_bluesky.session.session import Session
from nucleation_bluesky.session.session_plans import PlanFunction, session_plans

if TYPE_CHECKING:
    from nucleation_bluesky.live.notebook import NotebookMap

WORKER_PATIENCE = 30.0  # s
_sessions: list["OpenSession"] = []


@dataclass(eq=False)
class Overview:
    """Plans and devices of a session as a table, in a terminal or a notebook."""

    session: Session
    plans: dict[str, PlanFunction]

    def _tables(self) -> list[Table]:
        plans = Table("plan", "what it does", title="plans: RE(plan(...)), help(plan)")
        for name, function in self.plans.items():
            plans.add_row(name, (function.__doc__ or "").strip().splitlines()[0])
        instrument = self.session.instrument
        devices = Table("device", "what it is", title="devices")
        devices.add_row(instrument.name, _first_line(instrument))
        for part in instrument.component_names:
            device = getattr(instrument, part)
            devices.add_row(f"{instrument.name}.{part}", _first_line(device))
        return [plans, devices]

    def __repr__(self) -> str:
        text = io.StringIO()
        console = Console(file=text, width=100, force_jupyter=False)
        for table in self._tables():
            console.print(table)
        return text.getvalue()


def _first_line(device: Any) -> str:
    return (type(device).__doc__ or "").strip().splitlines()[0]


@dataclass(eq=False)
class OpenSession:
    """A session and what it puts into a namespace.

    Attributes
    ----------
    session : Session
    plans : dict of str to callable
    tables : BestEffortTables
    """

    session: Session
    plans: dict[str, PlanFunction]
    tables: BestEffortTables
    _watched: "NotebookMap | None" = None

    def names(self) -> dict[str, Any]:
        """RE, the instrument under its configured name, the plans, session, catalog, overview, bec.

        And `watch`, and `maps` and `load_ramps`, which read a run of the catalog.
        """
        session = self.session
        found: dict[str, Any] = {
            "RE": session.RE,
            session.instrument.name: session.instrument,
            **self.plans,
            "session": session,
            "overview": Overview(session, self.plans),
            "bec": self.tables.callback,
            "watch": self.watch,
        }
        if session.server is not None:
            from nucleation_bluesky.storage.read import load_ramps  # noqa: PLC0415 - slow
            from nucleation_bluesky.storage.results import maps  # noqa: PLC0415

            found |= {"catalog": session.catalog, "maps": maps, "load_ramps": load_ramps}
        return found

    def watch(self, interval: float = 2.0) -> "NotebookMap":
        """Show the map of the latest run, and of those to come, below this cell of a notebook.

        It takes the place of an earlier one, whose cell keeps its last picture.

        Parameters
        ----------
        interval : float
            Least time between two pictures, s; 0.2 s or more.

        Returns
        -------
        NotebookMap
            Its ``stop()`` ends it.

        Raises
        ------
        WatchError
            If this is no notebook; it says what to do in a terminal.
        ValueError
            If the interval is too short.
        """
        from nucleation_bluesky.live.notebook import NotebookMap  # noqa: PLC0415 - slow

        started = NotebookMap(self.session.data, interval)
        if self._watched is not None:
            self._watched.stop()
        self._watched = started
        return started


def in_worker() -> bool:
    """Whether this process is the worker of a queue server."""
    try:
        from bluesky_queueserver import is_re_worker_active  # noqa: PLC0415
    except ImportError:  # the queue is an optional extra
        return False
    return is_re_worker_active()


def start(config: Path | str | None = None, *, tiled: bool = True) -> OpenSession:
    """Open the session of this process, or return the one that is open.

    It is closed when the process ends.

    Parameters
    ----------
    config : Path or None
        Configuration file; None as `load_configuration`. The environment variable
        ``NUCLEATION_DATA`` names a data directory instead of the configured one.
    tiled : bool
        Whether to serve and deliver to Tiled.

    Raises
    ------
    ConfigurationError, SessionError, InstrumentInUseError
        If it cannot start; the message says what to do.
    """
    if _sessions:
        install_magics()  # a shell may have come since
        return _sessions[0]
    chosen = load_configuration(None if config is None else Path(config))
    if data := os.environ.get(DATA_VARIABLE):
        chosen = chosen.model_copy(update={"data_directory": Path(data)})
    worker = in_worker()
    session = Session(
        chosen,
        tiled=tiled,
        patience=WORKER_PATIENCE if worker else 0.0,
        say=Console(highlight=False, soft_wrap=True).print,
    )
    session.__enter__()
    if worker:
        QueueFiles(session.data).worker_is(os.getpid())
    # before libca's own end in an ordinary process; a worker ends without atexit
    atexit.register(session.close)
    Finalize(None, session.close, exitpriority=100)
    tables = BestEffortTables(maps=worker)  # a queue's log says what was measured
    session.RE.subscribe(tables)
    if not worker:
        progress = MapProgress()
        session.RE.subscribe(progress)
        session.RE.state_hook = progress.on_state  # pyright: ignore[reportAttributeAccessIssue]
        session.RE.log.logger.addFilter(_without_traceback_of_requests)
    opened = OpenSession(session, session_plans(session, unattended=worker), tables)
    _sessions.append(opened)
    install_magics()
    return opened


def _without_traceback_of_requests(record: logging.LogRecord) -> bool:
    """Filter of the RunEngine's log: what the person asked for is not an error to be traced."""
    if record.exc_info and isinstance(record.exc_info[1], RunEngineControlException):
        record.exc_info = None
    return True


def install_magics() -> None:
    """Give IPython, if this is one, bluesky's magics: %mov, %movr, %wa, %ct."""
    try:
        from IPython.core.getipython import get_ipython  # noqa: PLC0415
    except ImportError:
        return
    shell = get_ipython()
    if shell is not None:
        from bluesky.magics import BlueskyMagics  # noqa: PLC0415

        shell.register_magics(BlueskyMagics)
