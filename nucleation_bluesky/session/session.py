"""One configuration -> RunEngine, devices, guard, journal, courier, catalog.

The same object serves IPython, notebooks, scripts, the queue worker and the command line.
"""

import getpass
import logging
import os
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from nucleation_bluesky.contract.enums import SafeState
from nucleation_bluesky.ledger.errors import UnknownSampleError
from nucleation_bluesky.ledger.guard import Guard
from nucleation_bluesky.ledger.ledger import Ledger
from nucleation_bluesky.session.config import Configuration
from nucleation_bluesky.session.heartbeat import Heartbeat
from nucleation_bluesky.session.instruments import make_instrument, start_virtual
from nucleation_bluesky.session.lock import InstrumentLock
from nucleation_bluesky.session.metadata import nucleation_block, run_engine_metadata
from nucleation_bluesky.session.ownership import Ownership
from nucleation_bluesky.session.persistent import PersistentMetadata
from nucleation_bluesky.session.virtual import VirtualInstrument
from nucleation_bluesky.storage.disk import require_disk

if TYPE_CHECKING:
    from bluesky import RunEngine

    from nucleation_bluesky.session.environment_watch import EnvironmentWatch
    from nucleation_bluesky.storage.courier_process import CourierProcess
    from nucleation_bluesky.storage.server import ServerInfo

logger = logging.getLogger(__name__)
BEATS_PER_TIMEOUT = 5
SENSORS = ("amplifier", "electrometer", "z")  # parts recorded in the baseline of every run


# What a session, an instrument or a plan raises for the user to read; FailedStatus is unwrapped.
EXPECTED_ERRORS = (ValueError, RuntimeError, OSError, LookupError, TimeoutError)


class SessionError(RuntimeError):
    """The session cannot start; the message says what to do."""


class Session:
    """A running session; use it as a context manager.

    Parameters
    ----------
    config : Configuration
        The whole configuration.
    truth, trace : Path or None
        Where a virtual instrument started by this session writes its ground truth and its trace.
    tiled : bool
        Whether to serve and deliver to Tiled; without, the journal alone records.
    patience : float
        How long to wait for an instrument that another session has, s: for a queue that replaces
        a session that is closing or has died.
    say : callable
        Receives short lines for the person who started the session.

    Attributes
    ----------
    RE : RunEngine
    instrument : AfmInstrument or SeccmInstrument
    ledger : Ledger
    guard : Guard
    environment : EnvironmentWatch or None
        None where the configuration watches none.
    """

    def __init__(
        self,
        config: Configuration,
        *,
        truth: Path | None = None,
        trace: Path | None = None,
        tiled: bool = True,
        patience: float = 0.0,
        say: Callable[[str], None] = logger.info,
    ) -> None:
        self.config = config
        self.data = config.data_directory.absolute()
        self.owner = f"{getpass.getuser()[:12]}-{os.getpid()}-{secrets.token_hex(4)}"
        self._truth, self._trace, self._tiled, self._say = truth, trace, tiled, say
        self._patience = patience
        self._exit = ExitStack()
        self.virtual: VirtualInstrument | None = None
        self.server: ServerInfo | None = None
        self.courier: CourierProcess
        self.environment: EnvironmentWatch | None = None
        self.RE: RunEngine
        self.instrument: Any
        self.ledger: Ledger
        self.guard: Guard

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exit.close()

    def close(self) -> None:
        """Leave the instrument safe and end what this session started."""
        self._exit.close()

    # ------------------------------------------------------------------------------------ start

    def _open(self) -> None:
        require_disk(self.data, 0)
        self.data.mkdir(parents=True, exist_ok=True)
        prefix = self.config.instrument.prefix
        lock = InstrumentLock(self.data / "locks", prefix, self.owner, self._patience)
        self._exit.callback(lock.release)
        self._open_ledger()
        if self.config.instrument.virtual.enabled:
            self.virtual = self._start_virtual()
            self._exit.callback(self.virtual.stop)
        with ThreadPoolExecutor(1) as beside:
            tiled = beside.submit(self._prepare_tiled()) if self._tiled else None
            if self.virtual is not None:
                self.virtual.wait_ready()
            self._connect()
            self._watch_environment()
            self._make_run_engine()
            self._take_instrument()
            if tiled is not None:
                tiled.result()  # it waits for its server with a timeout

    def _start_virtual(self) -> VirtualInstrument:
        logs = self.data / "logs"
        return start_virtual(self.config, logs, truth=self._truth, trace=self._trace)

    def _open_ledger(self) -> None:
        from nucleation_bluesky.callbacks.journal_recovery import recover  # noqa: PLC0415

        self.ledger = self._exit.enter_context(Ledger(self.data / "ledger.sqlite"))
        self.ledger.acquire_lease(self.owner)
        self._exit.callback(self.ledger.release_lease, self.owner)
        burned = self.ledger.recover()
        if burned:
            self._say(f"{len(burned)} site(s) of a dead session burned: {_tokens(burned)}")
        for closed in recover(self.data / "journal"):
            self._say(f"run {closed.run} of a dead session closed; it can be resumed")
        sample = self.config.sample
        self.ledger.add_sample(sample.name, sample.description)
        try:
            self.mount = self.ledger.current_mount(sample.name)
        except UnknownSampleError:
            self.ledger.mount(sample.name)
            self.mount = self.ledger.current_mount(sample.name)

    def _prepare_tiled(self) -> Callable[[], None]:
        """Import what Tiled needs; returns what starts it, which is slow and mostly waits."""
        from nucleation_bluesky.session.access import serving  # noqa: PLC0415
        from nucleation_bluesky.storage import courier_process  # noqa: PLC0415

        def start() -> None:
            self.server = self._exit.enter_context(serving(self.config))
            self.courier = courier_process.start(self.data, self.server)
            self._exit.callback(self.courier.release)

        return start

    def _connect(self) -> None:
        self.instrument = self._make_instrument()
        # the channels are closed before a virtual instrument ends, else libca complains
        self._exit.callback(self.instrument.destroy)
        self.instrument.connect()
        limits = self.config.limits
        for device in self.instrument.exposers:
            device.bias_limits = (limits.bias_low, limits.bias_high)

    def _make_instrument(self) -> Any:
        waveforms = self.data / "waveforms"
        waveforms.mkdir(exist_ok=True)
        seen = [self.config.instrument.controller_directory or ""]
        if self.config.instrument.family == "seccm":
            seen.append(self.config.seccm.camera_directory or "")
        made = make_instrument(self.config)
        made.set_data_directory(waveforms, *seen)
        return made

    def _apply_safety(self) -> None:
        controller, safety = self.instrument.controller, self.config.safety
        policy = SafeState.from_label(safety.safe_state)
        supported = controller.capabilities.safe_states
        if policy not in supported:
            names = ", ".join(sorted(state.label for state in supported))
            raise SessionError(
                f"the controller does not know the safe state '{policy.label}' (it knows {names}); "
                "choose one of them as safety.safe_state"
            )
        controller.safe_policy.write(int(policy))
        if policy is SafeState.HOLD:
            controller.safe_bias.write(safety.safe_bias)

    def _watch_environment(self) -> None:
        if not self.config.watches_environment:
            return
        from nucleation_bluesky.session.environment_watch import make_watch  # noqa: PLC0415

        self.environment = make_watch(self.config.environment, self._say)
        self._exit.callback(self.environment.device.stop)
        self.environment.device.start()
        if trouble := self.environment.trouble:
            self._say(f"no site will be used yet: {trouble}")

    def _make_run_engine(self) -> None:
        import numpy as np  # noqa: PLC0415
        from bluesky import RunEngine  # noqa: PLC0415

        from nucleation_bluesky.callbacks.journal import Journal  # noqa: PLC0415
        from nucleation_bluesky.session.baseline import baseline  # noqa: PLC0415

        np.set_printoptions(threshold=20)  # event validation prints arrays otherwise
        block = nucleation_block(self.config, self.owner, self.mount.epoch)
        self.instrument.session_metadata = block
        configured = run_engine_metadata(self.config, block)
        metadata: Any = PersistentMetadata(self.data / "metadata.json", configured)
        self.RE = RunEngine(metadata)
        sensors = [getattr(self.instrument, n) for n in SENSORS if hasattr(self.instrument, n)]
        recorded: list[Any] = [self.instrument.positioner, *sensors]
        if self.environment is not None:
            recorded.append(self.environment.device)
            self.RE.preprocessors.append(self.environment.preprocessor(self.RE))
        self.RE.preprocessors.append(baseline(recorded))
        self.journal = Journal(self.data / "journal", session=self.owner)
        self.journal.attach(self.RE)

    def _take_instrument(self) -> None:
        period = self.config.safety.heartbeat_timeout / BEATS_PER_TIMEOUT
        self.heartbeat = Heartbeat(self.RE.loop, self.instrument.controller.beat, period)
        controller = self.instrument.controller
        ownership = Ownership(controller, self.owner, self._patience, self._say)
        ownership.take()
        self._exit.callback(ownership.release)
        # at once: who does not beat is taken for dead, in a time that the beats are made for
        controller.heartbeat_timeout.write(self.config.safety.heartbeat_timeout)
        self.heartbeat.start()
        self._exit.callback(self.heartbeat.stop)
        ownership.watch(self.heartbeat)
        self._apply_safety()
        sites = self.config.sites
        positioner = self.instrument.positioner
        positioner.frame_uncertainty.put(sites.position_uncertainty)
        seccm = self.config.instrument.family == "seccm"
        self.guard = Guard(
            self.ledger,
            self.config.sample.name,
            self.mount.epoch,
            self.owner,
            positioner.measured_position,
            # landings keep a wetted spot apart
            min_distance=max(sites.min_distance, self.config.seccm.footprint if seccm else 0.0),
            exposures_per_site=sites.exposures_per_site,
            await_record=True,
        )
        self.RE.subscribe(self.guard.recorded)  # after the journal
        self.instrument.set_guard(self.guard)

    # ------------------------------------------------------------------------------------- use

    @property
    def seccm(self) -> Any:
        """The instrument, where it is an SECCM.

        Raises
        ------
        SessionError
            If it is another one.
        """
        return self._of_family("seccm")

    @property
    def afm(self) -> Any:
        """The instrument, where it is an AFM (SessionError otherwise)."""
        return self._of_family("afm")

    def _of_family(self, family: str) -> Any:
        found = self.config.instrument.family
        if found != family:
            raise SessionError(
                f"this session's instrument is of the family '{found}', not '{family}'; set "
                "instrument.family in the configuration"
            )
        return self.instrument

    @property
    def catalog(self) -> Any:
        """The Tiled client of this session's server; it waits for runs that have just ended.

        Raises
        ------
        SessionError
            If the session runs without Tiled.
        """
        from nucleation_bluesky.storage.server import connect  # noqa: PLC0415

        if self.server is None:
            raise SessionError("this session runs without Tiled; its runs are in the journal")
        found = connect(self.server)
        found.await_delivery = self._await_ended
        return found

    def _await_ended(self, uid: str | None) -> None:
        if self.RE.state == "idle":  # a run that is paused is not delivered as a whole
            self.wait_delivered(None if uid is None else [uid])

    def wait_delivered(self, runs: list[str] | None = None, timeout: float = 30.0) -> bool:
        """Wait until runs (all, by default) are in Tiled and verified.

        Returns
        -------
        bool
            False if something is still on its way, or there is no Tiled.
        """
        return self.server is not None and self.courier.wait_delivered(runs, timeout)


def _tokens(burned: list[Any]) -> str:
    shown = ", ".join(exposure.token[:8] for exposure in burned[:3])
    return shown + (", ..." if len(burned) > 3 else "")
