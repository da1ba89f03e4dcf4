"""The controller's own PVs: state, ownership, clock, heartbeat, kill, arm and go."""

import logging
import threading
import time
from dataclasses import dataclass
from typing import Any

from ophyd import Device

from nucleation_bluesky.contract.enums import AbortLocation, ControllerState, Fault, SafeState
from nucleation_bluesky.contract.pvs import CONTRACT_VERSION, RESULT_LAYOUTS, Kind, token_check
from nucleation_bluesky.devices._signals import (
    FIRST_CONTACT,
    ContractSignal,
    contract_signal,
    read_together,
)
from nucleation_bluesky.devices.errors import (
    ArmRefusedError,
    ContractError,
    ExposureFailedError,
    InstrumentError,
    NotConnectedError,
    OwnedByOtherError,
)

logger = logging.getLogger(__name__)
STALL_RETRIES = 2
STALL_PAUSE = 0.2  # s; a controller voids what arrives right after a suspension
BEAT_PAUSE = 0.5  # s; a beat that a busy machine holds up arrives in it


@dataclass(frozen=True)
class ClockOffset:
    """Controller's UTC minus ours and its uncertainty, s."""

    utc_offset: float = float("nan")
    uncertainty: float = float("nan")


@dataclass(frozen=True)
class Capabilities:
    """What the controller published under CAP:, SI."""

    abort: AbortLocation
    latency: float
    current_bandwidth: float
    height_bandwidth: float
    current_range: float
    rate_range: tuple[float, float]
    bias_range: tuple[float, float]
    safe_states: frozenset[SafeState]
    files: bool
    ramp: bool
    software: bool

    def document(self) -> dict[str, Any]:
        """Plain mapping for the start document."""
        return {
            "abort": self.abort.label,
            "latency": self.latency,
            "current_bandwidth": self.current_bandwidth,
            "height_bandwidth": self.height_bandwidth,
            "current_range": self.current_range,
            "sample_rate_range": list(self.rate_range),
            "bias_range": list(self.bias_range),
            "safe_states": sorted(state.label for state in self.safe_states),
            "files": self.files,
            "ramp": self.ramp,
            "software": self.software,
        }


class Controller(Device):
    """Core of the contract; every device of an instrument goes through it."""

    contract = contract_signal("CONTRACT")
    family = contract_signal("FAMILY")
    boot = contract_signal("BOOT")
    epoch = contract_signal("EPOCH")
    state = contract_signal("STATE")
    fault = contract_signal("FAULT")
    fault_text = contract_signal("FAULT:TEXT")
    seq = contract_signal("SEQ")
    result = contract_signal("RESULT")
    clock_sync = contract_signal("CLOCK:SYNC")
    clock = contract_signal("CLOCK")
    owner = contract_signal("OWNER")
    heartbeat = contract_signal("HEARTBEAT")
    heartbeat_timeout = contract_signal("HEARTBEAT:TIMEOUT")
    kill_signal = contract_signal("KILL")
    arm_signal = contract_signal("ARM")
    arm_timeout = contract_signal("ARM:TIMEOUT")
    go_signal = contract_signal("GO")
    safe_policy = contract_signal("SAFE:POLICY")
    safe_bias = contract_signal("SAFE:BIAS")
    cap_abort = contract_signal("CAP:ABORT")
    cap_latency = contract_signal("CAP:LATENCY")
    cap_current_bandwidth = contract_signal("CAP:CURRENT:BANDWIDTH")
    cap_height_bandwidth = contract_signal("CAP:HEIGHT:BANDWIDTH")
    cap_current_range = contract_signal("CAP:CURRENT:RANGE")
    cap_rate_min = contract_signal("CAP:RATE:MIN")
    cap_rate_max = contract_signal("CAP:RATE:MAX")
    cap_bias_min = contract_signal("CAP:BIAS:MIN")
    cap_bias_max = contract_signal("CAP:BIAS:MAX")
    cap_safe = contract_signal("CAP:SAFE")
    cap_files = contract_signal("CAP:FILES")
    cap_ramp = contract_signal("CAP:RAMP")
    cap_software = contract_signal("CAP:SOFTWARE")

    def __init__(self, prefix: str = "", *, name: str, **kwargs: Any) -> None:
        self._capabilities: Capabilities | None = None
        self._offset = ClockOffset()
        self._epoch: int | None = None
        self._seen_epoch: int | None = None  # by monitor: only ever used to refuse
        self._watching = False
        self._boot = self._family = ""
        self._kills = 0
        self._kill_lock = threading.Lock()
        super().__init__(prefix, name=name, **kwargs)

    # -- connection ------------------------------------------------------------------------------

    def check(self) -> None:
        """Verify that a controller of this contract answers, and read its capabilities.

        Raises
        ------
        NotConnectedError
            If nobody answers at the prefix within 8 s.
        ContractError
            If it speaks another contract.
        """
        self.contract.require_connection(FIRST_CONTACT)
        version = self.contract.get()
        if version != CONTRACT_VERSION:
            raise ContractError(
                f"the controller at {self.prefix} speaks '{version}', this package "
                f"'{CONTRACT_VERSION}'; install the package version that matches the controller"
            )
        self.family.require_connection(FIRST_CONTACT)
        self._family = self.family.get()
        if self._family not in RESULT_LAYOUTS:
            raise ContractError(
                f"the controller at {self.prefix} is of the family '{self._family}'; this package "
                f"knows {', '.join(RESULT_LAYOUTS)}"
            )
        check_units(self)
        self._capabilities = self._read_capabilities()
        self._epoch = self._seen_epoch = self.epoch.get()
        self._boot = self.boot.get()
        if not self._watching:
            self._watching = True
            self.epoch.subscribe(self._epoch_moved, run=False)

    def _epoch_moved(self, value: int, **_kwargs: Any) -> None:
        self._seen_epoch = int(value)

    def require_undisturbed(self) -> None:
        """Refuse to go on where somebody else killed or restarted the controller.

        A controller that merely found itself suspended for a moment between exposures has kept
        its parameters; nothing of ours was queued, so its new epoch is taken up.

        Raises
        ------
        ArmRefusedError
            If EPOCH moved since it was last read, and not by our own kill.
        """
        ours, seen = self._epoch, self._seen_epoch
        if ours is None or seen is None or seen == ours:
            return
        fault, boot, epoch = read_together([self.fault, self.boot, self.epoch])
        if fault == Fault.STALLED and boot == self._boot:
            logger.warning("%s was suspended for a moment between exposures", self.prefix)
            self._epoch = self._seen_epoch = epoch
            return
        raise ArmRefusedError(
            f"the controller at {self.prefix} was killed or restarted by somebody else "
            f"({self.fault_description()}); find out why, then start the plan again"
        )

    @property
    def family_name(self) -> str:
        """Instrument family, read once per `check`."""
        if not self._family:
            self.check()
        return self._family

    @property
    def capabilities(self) -> Capabilities:
        """What the controller can do, read once per `check`."""
        if self._capabilities is None:
            self.check()
        if self._capabilities is None:
            raise NotConnectedError(f"the controller at {self.prefix} published no capabilities")
        return self._capabilities

    def _read_capabilities(self) -> Capabilities:
        names = [n for n in self.component_names if n.startswith("cap_")]
        values = read_together([getattr(self, n) for n in names])
        cap = dict(zip(names, values, strict=True))
        return Capabilities(
            abort=AbortLocation(cap["cap_abort"]),
            latency=cap["cap_latency"],
            current_bandwidth=cap["cap_current_bandwidth"],
            height_bandwidth=cap["cap_height_bandwidth"],
            current_range=cap["cap_current_range"],
            rate_range=(cap["cap_rate_min"], cap["cap_rate_max"]),
            bias_range=(cap["cap_bias_min"], cap["cap_bias_max"]),
            safe_states=frozenset(s for s in SafeState if cap["cap_safe"] >> s.value & 1),
            files=bool(cap["cap_files"]),
            ramp=bool(cap["cap_ramp"]),
            software=bool(cap["cap_software"]),
        )

    def fault_description(self) -> str:
        """Return the controller's own words about the last refusal or fault."""
        try:
            code, text = read_together([self.fault, self.fault_text])
        except InstrumentError as exc:
            return f"no answer from the controller ({exc})"
        return f"{Fault(code).label}: {text}" if text else Fault(code).label

    # -- ownership, heartbeat, clock -------------------------------------------------------------

    def acquire(self, owner: str) -> None:
        """Become the owner.

        Raises
        ------
        OwnedByOtherError
            If another session with a living heartbeat owns the instrument.
        """
        self.owner.command(owner)
        holder = self.owner.get()
        if holder != owner:
            raise self.owned_by(holder)

    def owned_by(self, holder: str) -> OwnedByOtherError:
        """Return the error that says who has the instrument."""
        return OwnedByOtherError(
            f"the instrument at {self.prefix} is owned by session '{holder}', whose heartbeat "
            "is alive; close that session first"
        )

    def release(self, owner: str) -> None:
        """Give the instrument up if ``owner`` holds it."""
        if self.owner.get() == owner:
            self.owner.command("")

    def beat(self, count: int) -> None:
        """Write the heartbeat without waiting.

        Raises
        ------
        NotConnectedError
            If the controller is not connected.
        """
        self.heartbeat.send(count & 0x7FFFFFFF)

    def measure_clock(self, rounds: int = 5) -> ClockOffset:
        """Measure the offset between the clocks by the quickest of some round trips.

        Parameters
        ----------
        rounds : int
            Round trips tried.

        Returns
        -------
        ClockOffset
            Half the quickest round trip is its uncertainty.
        """
        best = ClockOffset(0.0, float("inf"))
        for number in range(rounds):
            before = time.time()
            self.clock_sync.command(number)
            after = time.time()
            utc = float(self.clock.get()[1])
            if (after - before) / 2 < best.uncertainty:
                best = ClockOffset(utc - (before + after) / 2, (after - before) / 2)
        self._offset = best
        return best

    def utc_now(self) -> float:
        """Return the controller's UTC, s since 1970, read now."""
        self.clock_sync.command(0)
        return float(self.clock.get()[1])

    @property
    def clock_offset(self) -> ClockOffset:
        """Offset as last measured; NaN before."""
        return self._offset

    # -- kill ------------------------------------------------------------------------------------

    @property
    def kills(self) -> int:
        """How often `kill` was called: lets a waiting exposure see that it was."""
        return self._kills

    def kill(self) -> bool:
        """Bring the safe state at once: no waiting, callable any time from any thread.

        Returns
        -------
        bool
            False if the controller is not connected; its own watchdog then acts.
        """
        with self._kill_lock:
            self._kills += 1
        try:
            self.kill_signal.send(self._kills & 0x7FFFFFFF)
        except (InstrumentError, RuntimeError, OSError) as exc:
            logger.critical("kill could not be sent to %s: %s", self.prefix, exc)
            return False
        return True

    # -- exposures -------------------------------------------------------------------------------

    def arm(self, token: str) -> None:
        """Arm one exposure.

        A controller that was suspended for a moment voids what was queued, this command included,
        and one that missed a beat refuses it; nothing was energised, so it is sent again.

        Raises
        ------
        ArmRefusedError
            With the controller's reason.
        """
        kills = self._kills
        state: int = ControllerState.FAULT
        for attempt in range(STALL_RETRIES + 1):
            if self._epoch is None:
                self.refresh_epoch()
            command = f"{token}@{self._epoch}"
            self.arm_signal.command(command)
            # ARM is read back because another client may have armed since
            state, taken = read_together([self.state, self.arm_signal])
            if state == ControllerState.ARMED and taken == command:
                return
            self._epoch = None  # whatever was wrong, the next attempt asks anew
            fault, boot = read_together([self.fault, self.boot])
            # a busy machine may hold up a beat; a session that is dead does not ask again
            passing = fault in (Fault.STALLED, Fault.NO_HEARTBEAT)
            undisturbed = boot == self._boot and self._kills == kills
            if not (passing and undisturbed) or taken == command or attempt == STALL_RETRIES:
                break
            logger.warning("ARM again (%s): %s", self.prefix, Fault(fault).label)
            threading.Event().wait(STALL_PAUSE if fault == Fault.STALLED else BEAT_PAUSE)
        raise ArmRefusedError(
            f"the controller at {self.prefix} did not arm (state "
            f"{ControllerState(state).label}, {self.fault_description()})"
        )

    def refresh_epoch(self) -> None:
        """Read EPOCH, so that the next `arm` names the present one."""
        self._epoch = self._seen_epoch = self.epoch.get()

    def forget_epoch(self) -> None:
        """Make the next `arm` read EPOCH anew (after a kill or a failure)."""
        self._epoch = None

    def read_result(self, token: str, after_seq: int) -> dict[str, float]:
        """Read RESULT by one plain get and make sure that it is this exposure's.

        Raises
        ------
        ExposureFailedError
            If it belongs to another token or did not advance.
        """
        values = self.result.get()
        fields = RESULT_LAYOUTS[self.family_name]
        if len(values) < len(fields):
            raise ContractError(f"{self.result.pvname} has {len(values)} elements; see contract")
        result = dict(zip(fields, values.tolist(), strict=False))
        if result["token_check"] != token_check(token) or result["seq"] <= after_seq:
            raise ExposureFailedError(
                "the controller published no result for this exposure "
                f"({self.fault_description()}); its site is burned"
            )
        return result


def check_units(device: Device, timeout: float = FIRST_CONTACT) -> None:
    """Connect every contract signal of a device and check its engineering unit.

    Raises
    ------
    NotConnectedError
        Naming the first PV that does not answer.
    WrongUnitError
        Naming the PV, its EGU and what was expected.
    """
    signals = [
        walk.item
        for walk in device.walk_signals(include_lazy=True)
        if isinstance(walk.item, ContractSignal)
    ]
    deadline = time.monotonic() + timeout
    for signal in signals:
        signal.require_connection(max(0.05, deadline - time.monotonic()))
        if signal.contract.kind in (Kind.DOUBLE, Kind.DOUBLES):
            _ = signal.factor
