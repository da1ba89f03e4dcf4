"""What exposes sites, whatever the instrument: guard, files, readings, safe stop."""

import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from bluesky.utils import NoReplayAllowed
from ophyd import Component, Signal
from ophyd.device import Staged

from nucleation_bluesky.contract.enums import SafeState, Termination
from nucleation_bluesky.contract.files import waveform_path
from nucleation_bluesky.devices._assets import DataDirectory, SegmentAnnouncer
from nucleation_bluesky.devices._base import InstrumentDevice
from nucleation_bluesky.devices._layout import ReadingLayout, SettingsLayout, describe_waveforms
from nucleation_bluesky.devices._signals import soft, write_together
from nucleation_bluesky.devices.errors import (
    BadValueError,
    ExposureFailedError,
    NotConfiguredError,
    UnguardedExposureError,
    UnreadExposureError,
)
from nucleation_bluesky.ledger import Claim
from nucleation_bluesky.ledger.errors import LedgerError

logger = logging.getLogger(__name__)
Spec = TypeVar("Spec")  # what one exposure does: RampSpec, Program

# after these no more is known of the site than that it was energised
_FAILURES = frozenset(
    {
        Termination.NONE,
        Termination.KILLED,
        Termination.HEARTBEAT_LOST,
        Termination.BACKEND_FAULT,
        Termination.STALE,
    }
)


class ExposureGuard(Protocol):
    """What an exposing device asks of a guard (see ``ledger.Guard``)."""

    def claim(self) -> Claim:
        """Claim the site under the probe, durably, or refuse (LedgerError)."""
        ...

    def energised(self, claim: Claim) -> None:
        """Record that the bias is about to leave the safe state."""
        ...

    def finished(self, claim: Claim, outcome: dict[str, Any]) -> None:
        """Record the outcome of an exposure that ended in order."""
        ...

    def burned(self, claim: Claim, reason: str) -> None:
        """Record that the site is spoiled."""
        ...


class GuardedDevice(InstrumentDevice, ABC, Generic[Spec]):
    """Base of the devices that expose sites.

    A device says what one exposure is (`Spec`) and how it is made; what all share is here: the
    guard, the safe state, waveform files, readings, and how it is left safe.

    Attributes
    ----------
    guard : ExposureGuard or None
        Set by the session; without it nothing is exposed.
    data_directory : DataDirectory or None
        Where waveform files go; None writes none.
    site, row, col : ophyd.Signal
        What the plan knows of the site; -1 where it does not say. ``site`` then counts exposures.
    bias_limits : tuple of (float or None, float or None)
        Narrower limits than the controller's, V.
    configured : float
        Monotonic time at which it was told what to do, s; -1 before.
    """

    layout: ClassVar[ReadingLayout]
    settings: ClassVar[SettingsLayout]
    waveform_channels: ClassVar[Mapping[str, str]]
    hinted = "stop_bias"
    bias_limits: tuple[float | None, float | None] = (None, None)

    site = Component(Signal, value=-1, kind="omitted")
    row = Component(Signal, value=-1, kind="omitted")
    col = Component(Signal, value=-1, kind="omitted")

    def __init__(self, prefix: str = "", *, name: str, **kwargs: Any) -> None:
        self.guard: ExposureGuard | None = None
        self.data_directory: DataDirectory | None = None
        self.rows_per_file = 500
        self._spec: Spec | None = None
        self._seq = -1  # SEQ of the last exposure: what a later RESULT must exceed
        self._safe_policy: SafeState | None = None
        self._safe_bias = 0.0
        self._max_samples = 0
        self._announcer: SegmentAnnouncer | None = None
        self._reading: dict[str, dict] | None = None
        self._read_done = True
        self._active = False
        self._row_in_doubt = False  # a failed exposure may have left a row without an event
        self._count = 0
        self.configured = -1.0
        super().__init__(prefix, name=name, **kwargs)

    # -- what a device says ------------------------------------------------------------------------

    @abstractmethod
    def require_spec(self) -> Spec:
        """Return what the next exposure is.

        Raises
        ------
        NotConfiguredError
            If the device was not told.
        """

    @abstractmethod
    def check_spec(self, spec: Spec, /) -> None:
        """Refuse what the controller cannot run.

        Raises
        ------
        BadValueError
            Saying which limit it exceeds.
        """

    @abstractmethod
    def samples(self, spec: Spec, /) -> int:
        """Most samples that such an exposure can have."""

    @abstractmethod
    def _put_parameters(self) -> None:
        """Put what the controller must know before the first exposure."""

    @abstractmethod
    def _open_files(self) -> None:
        """Open the waveform files of a stage, where there are any."""

    @abstractmethod
    def _values(self) -> dict[str, Any]:
        """Values of the reading that RESULT does not hold."""

    @abstractmethod
    def _settings_values(self) -> dict[str, float]:
        """Values of the device's own settings."""

    # -- configuration ---------------------------------------------------------------------------

    @property
    def spec(self) -> Spec | None:
        """What the next exposure is; None before `configure_exposure`."""
        return self._spec

    @property
    def channels(self) -> dict[str, str]:
        """Waveform channels in the files, with their units."""
        return dict(self.waveform_channels)

    @property
    def roles(self) -> dict[str, str]:
        """Role -> data key, for the start document."""
        channels = self.channels if self.writes_waveforms else {}
        return {role: f"{self.name}_{role}" for role in (*self.layout.roles, *channels)}

    @property
    def writes_waveforms(self) -> bool:
        """Whether exposures announce waveform files."""
        return self.data_directory is not None

    @property
    def bias_range(self) -> tuple[float, float]:
        """Bias that exposures may reach, V: the controller's range within ``bias_limits``."""
        low, high = self.controller.capabilities.bias_range
        own_low, own_high = self.bias_limits
        return (
            low if own_low is None else max(low, own_low),
            high if own_high is None else min(high, own_high),
        )

    @property
    def limiter(self) -> str:
        """Who sets that range."""
        own = self.bias_range != self.controller.capabilities.bias_range
        return "configuration (limits)" if own else "controller"

    def _accept(
        self,
        spec: Spec,
        *,
        safe_policy: SafeState | None,
        safe_bias: float,
        max_samples: int | None,
    ) -> None:
        """Take over what the next exposures are, already checked against the controller.

        Parameters
        ----------
        spec : Spec
            What each does.
        safe_policy : SafeState or None
            None leaves the controller's own.
        safe_bias : float
            Bias of the safe state ``hold``, V.
        max_samples : int or None
            Width of a waveform row; None for what ``spec`` needs.

        Raises
        ------
        BadValueError
            If the row is too short, or the controller has no such safe state.
        """
        needed = self.samples(spec)
        width = needed if max_samples is None else int(max_samples)
        if width < needed:
            raise BadValueError(
                f"max_samples is {width}, but such an exposure may have {needed} samples"
            )
        supported = self.controller.capabilities.safe_states
        if safe_policy is not None and safe_policy not in supported:
            names = ", ".join(sorted(state.label for state in supported))
            raise BadValueError(
                f"the controller has no safe state '{safe_policy.label}'; choose one of: {names}"
            )
        if not math.isfinite(safe_bias):
            raise BadValueError("the safe bias must be finite")
        self._spec, self._max_samples = spec, width
        self._safe_policy, self._safe_bias = safe_policy, safe_bias
        self.configured = time.monotonic()

    # -- guard -----------------------------------------------------------------------------------

    def require_guard(self) -> ExposureGuard:
        """Return the guard.

        Raises
        ------
        UnguardedExposureError
            If there is none.
        UnreadExposureError
            If the last exposure was recorded in a file but never read, or one failed after it
            was energised: its row would shift all later ones against their events.
        """
        if self.guard is None:
            raise UnguardedExposureError(
                f"{self.name} has no guard, so nothing would stop a site from being used twice; "
                f"start a session, or set {self.name}.guard = Guard(ledger, ...)"
            )
        if self._row_in_doubt:
            raise UnreadExposureError(
                f"an exposure of {self.name} failed and may have left a waveform without an event; "
                "end this run, and go on in a new one over the sites that are still free"
            )
        if not self._read_done and self._announcer is not None:
            raise UnreadExposureError(
                f"the last exposure of {self.name} was recorded but not read; read {self.name} "
                "after each exposure, or unstage and stage it"
            )
        self.controller.require_undisturbed()
        return self.guard

    def _burn(self, guard: ExposureGuard, claim: Claim, why: BaseException) -> None:
        """Safe state, site burned: the end of every exposure that did not go as it should."""
        self.controller.kill()
        self.controller.forget_epoch()
        try:
            guard.burned(claim, f"{type(why).__name__}: {why}")
        except LedgerError:
            logger.exception("exposure %s could not be burned in the ledger", claim.id)

    # -- staging ---------------------------------------------------------------------------------

    def stage(self) -> list[object]:
        """Put all parameters, measure the clocks, open the waveform files.

        Raises
        ------
        NotConfiguredError
            If the device was not told what to do.
        InstrumentError
            If the controller refuses a parameter or does not answer.
        """
        self.require_spec()
        controller = self.controller
        controller.check()
        if self._staged is Staged.yes:
            self.unstage()  # what a halted run left behind
        staged = super().stage()
        try:
            self._begin_stage()
            self._put_parameters()
            if self._safe_policy is not None:
                write_together(
                    [
                        (controller.safe_policy, int(self._safe_policy)),
                        (controller.safe_bias, self._safe_bias),
                    ]
                )
            controller.measure_clock()
            controller.refresh_epoch()
            self._seq = controller.seq.get()
            self._open_files()
        except BaseException:
            super().unstage()
            raise
        return staged

    def _begin_stage(self) -> None:
        self._reading, self._read_done, self._count = None, True, 0
        self._row_in_doubt = False
        for signal in (self.site, self.row, self.col):
            signal.put(-1)

    def _announce_files(self, directory: DataDirectory, prefix: str) -> None:
        channels = {f"{self.name}_{c}": waveform_path(c) for c in self.channels}
        self._announcer = SegmentAnnouncer(directory.local, prefix, channels, self._max_samples)

    # -- results ---------------------------------------------------------------------------------

    def _publish(self, claim: Claim, values: Mapping[str, Any]) -> None:
        """Make the reading of an exposure and announce its row; ``values`` hold the RESULT."""
        site = int(soft(self.site))
        reading = self.layout.reading(
            self.name,
            {
                **values,
                "x": claim.x,
                "y": claim.y,
                "site": site if site >= 0 else self._count,
                "row": soft(self.row),
                "col": soft(self.col),
                "exposure": claim.token,
            },
        )
        self._count += 1
        if self._announcer is not None:
            segment = int(values["file_segment"])
            if segment < 0:
                raise ExposureFailedError(
                    f"{self.name} recorded no waveform for this exposure "
                    f"({self.controller.fault_description()}); check disk and FILE:CAPTURE"
                )
            self._announcer.add(segment)
            self._read_done = False
        self._reading = reading

    def _require_orderly(self, termination: Termination) -> None:
        """Refuse the result of an exposure that was cut short (ExposureFailedError)."""
        if termination in _FAILURES:
            raise ExposureFailedError(
                f"the exposure ended with '{termination.label}' "
                f"({self.controller.fault_description()}); its site is burned",
                termination,
            )

    def read(self) -> Any:
        """Return the reading of the last exposure (no network).

        Raises
        ------
        NotConfiguredError
            If nothing has been exposed since staging.
        """
        if self._reading is None:
            raise NotConfiguredError(f"{self.name} has not exposed a site since it was staged")
        self._read_done = True
        return dict(self._reading)

    def describe(self) -> Any:
        """Return the data keys of an exposure (no network)."""
        source = f"PV:{self.prefix}RESULT/"
        keys = self.layout.describe(self.name, source)
        if self.writes_waveforms:
            keys |= describe_waveforms(self.name, source, self.channels, self._max_samples)
        return keys

    def read_configuration(self) -> Any:
        """Return settings, safe state and clock offset (no network)."""
        policy = self._safe_policy
        offset = self.controller.clock_offset
        return self.settings.reading(
            self.name,
            {
                "safe_policy": -1 if policy is None else int(policy),
                "safe_bias": self._safe_bias,
                "clock_utc_offset": offset.utc_offset,
                "clock_uncertainty": offset.uncertainty,
                **self._settings_values(),
            },
        )

    def describe_configuration(self) -> Any:
        """Return the data keys of the configuration."""
        return self.settings.describe(self.name, f"PV:{self.prefix}")

    @property
    def hints(self) -> dict[str, list[str]]:
        """What live tables and maps show."""
        return {"fields": [f"{self.name}_{self.hinted}"]}

    def collect_asset_docs(self, index: int | None = None) -> Iterator[tuple[str, dict]]:  # noqa: ARG002 - protocol
        """Yield stream documents of what was recorded since the last call."""
        if self._announcer is not None:
            yield from self._announcer.collect()

    def get_index(self) -> int:
        """Exposures announced since staging."""
        return 0 if self._announcer is None else self._announcer.count

    # -- stopping --------------------------------------------------------------------------------

    @property
    def active(self) -> bool:
        """Whether an exposure is under way."""
        return self._active

    def stop(self, *, success: bool = False) -> None:
        """Bring the safe state through the kill PV; never waits, never raises.

        At the orderly end of a run (``success``) nothing is killed unless an exposure is under
        way.
        """
        if self._active or not success:
            self.controller.kill()
            self.controller.forget_epoch()

    def pause(self) -> None:
        """Kill, and forbid the RunEngine to replay what led here.

        Raises
        ------
        NoReplayAllowed
            Always.
        """
        self.controller.kill()
        self.controller.forget_epoch()
        raise NoReplayAllowed

    def resume(self) -> None:
        """Nothing: an interrupted exposure is never continued."""
