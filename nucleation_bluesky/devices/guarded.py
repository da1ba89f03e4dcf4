"""What exposes sites, whatever the instrument: guard, files, readings, safe stop."""

import logging
import math
import time
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from bluesky.utils import NoReplayAllowed
from ophyd.device import Staged

from nucleation_bluesky.contract.enums import SafeState, Termination
from nucleation_bluesky.devices._layout import SettingsLayout
from nucleation_bluesky.devices._recording import RecordingDevice
from nucleation_bluesky.devices._signals import write_together
from nucleation_bluesky.devices.errors import (
    BadValueError,
    ExposureFailedError,
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


class GuardedDevice(RecordingDevice, ABC, Generic[Spec]):
    """Base of the devices that expose sites.

    A device says what one exposure is (`Spec`) and how it is made; what all share is here: the
    guard, the safe state, waveform files, readings, and how it is left safe.

    Attributes
    ----------
    guard : ExposureGuard or None
        Set by the session; without it nothing is exposed.
    bias_limits : tuple of (float or None, float or None)
        Narrower limits than the controller's, V.
    configured : float
        Monotonic time at which it was told what to do, s; -1 before.
    """

    settings: ClassVar[SettingsLayout]
    bias_limits: tuple[float | None, float | None] = (None, None)

    def __init__(self, prefix: str = "", *, name: str, **kwargs: Any) -> None:
        self.guard: ExposureGuard | None = None
        self._spec: Spec | None = None
        self._seq = -1  # SEQ of the last exposure: what a later RESULT must exceed
        self._safe_policy: SafeState | None = None
        self._safe_bias = 0.0
        self._active = False
        self._row_in_doubt = False  # a failed exposure may have left a row without an event
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
        self._begin_recording()
        self._row_in_doubt = False

    # -- results ---------------------------------------------------------------------------------

    def _require_orderly(self, termination: Termination) -> None:
        """Refuse the result of an exposure that was cut short (ExposureFailedError)."""
        if termination in _FAILURES:
            raise ExposureFailedError(
                f"the exposure ended with '{termination.label}' "
                f"({self.controller.fault_description()}); its site is burned",
                termination,
            )

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
