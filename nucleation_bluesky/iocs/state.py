"""The controller's state machine: token, latch, epoch, owner, heartbeat. No EPICS, no I/O.

Every method takes the monotonic time ``now`` in seconds and either changes the state or raises
:class:`Refusal` and changes nothing.
"""

import re
from dataclasses import dataclass, field
from enum import Enum

from nucleation_bluesky.contract.enums import ControllerState, Fault, Termination
from nucleation_bluesky.contract.pvs import TOKEN_LENGTH
from nucleation_bluesky.iocs.used_tokens import UsedTokens

_ARM = re.compile(rf"([0-9a-f]{{{TOKEN_LENGTH}}})@(\d{{1,10}})")
MAX_HEARTBEAT_TIMEOUT = 60.0
MAX_ARM_TIMEOUT = 3600.0


class Refusal(Exception):  # noqa: N818 - a decision, not an error of the program
    """A command is refused; nothing has changed.

    Parameters
    ----------
    fault : Fault
        Published as ``FAULT``.
    text : str
        Published as ``FAULT:TEXT``: what is wrong and what to do.
    """

    def __init__(self, fault: Fault, text: str):
        super().__init__(text)
        self.fault = fault
        self.text = text


class Mode(Enum):
    """Who steps the bias while energised."""

    NONE = "none"
    RAMP = "ramp"
    SOFTWARE = "software"


@dataclass
class ControlState:
    """State of one controller.

    Parameters
    ----------
    epoch : int
        First epoch, random at boot so that commands of an earlier boot are void.
    heartbeat_timeout : float
        Age at which a beat is too old, s.
    arm_timeout : float
        Time between ARM and GO, s.
    """

    epoch: int
    heartbeat_timeout: float = 1.0
    arm_timeout: float = 5.0
    state: ControllerState = ControllerState.SAFE
    fault: Fault = Fault.NONE
    text: str = ""
    owner: str = ""
    token: str = ""
    mode: Mode = Mode.NONE
    _latched: tuple[Fault, str] = (Fault.NONE, "")
    _used: UsedTokens = field(default_factory=UsedTokens)
    _expired: str = ""
    _armed_at: float = 0.0
    _claimed_at: float = float("-inf")
    _beat_at: float = float("-inf")
    _beat_value: int | None = None

    @property
    def active(self) -> bool:
        """Whether the controller is armed or energised."""
        return self.state in {ControllerState.ARMED, ControllerState.ENERGISED}

    def refused(self, refusal: Refusal) -> None:
        """Remember why the last command was refused."""
        self.fault, self.text = refusal.fault, refusal.text

    def accepted(self) -> None:
        """Forget an earlier refusal; a latched fault stays visible."""
        self.fault, self.text = self._latched

    def require_idle(self, what: str) -> None:
        """Refuse ``what`` while armed or energised.

        Raises
        ------
        Refusal
            BUSY.
        """
        if self.active:
            raise Refusal(
                Fault.BUSY, f"{what} refused while {self.state.label}: end the exposure first"
            )

    # ---- owner and heartbeat -------------------------------------------------------------

    def claim(self, owner: str, now: float) -> None:
        """Make ``owner`` the owner; the empty string releases."""
        if owner == self.owner:
            return
        self.require_idle("a change of OWNER")
        if owner and self.owner and self._lease_alive(now):
            raise Refusal(
                Fault.NOT_OWNER,
                f"the instrument belongs to '{self.owner}', whose heartbeat is alive",
            )
        self.owner, self._claimed_at = owner, now
        self._beat_at, self._beat_value = float("-inf"), None

    def _lease_alive(self, now: float) -> bool:
        return now - max(self._claimed_at, self._beat_at) <= self.heartbeat_timeout

    def beat(self, value: int, now: float) -> None:
        """Take a beat; an unchanged value is none."""
        if value != self._beat_value:
            self._beat_value, self._beat_at = value, now

    def beat_age(self, now: float) -> float:
        """Age of the last beat, s (infinite without one)."""
        return now - self._beat_at

    def heartbeat_lost(self, now: float) -> bool:
        """Whether the safe state is due because the owner's heartbeat stopped."""
        return self.active and self.beat_age(now) > self.heartbeat_timeout

    def set_heartbeat_timeout(self, value: float) -> None:
        """Set the heartbeat timeout (only in state safe, fault or tripped)."""
        self.require_idle("HEARTBEAT:TIMEOUT")
        if not 0.05 <= value <= MAX_HEARTBEAT_TIMEOUT:
            raise Refusal(
                Fault.BAD_PARAMETER,
                f"HEARTBEAT:TIMEOUT must lie between 0.05 and {MAX_HEARTBEAT_TIMEOUT:g} s",
            )
        self.heartbeat_timeout = value

    def set_arm_timeout(self, value: float) -> None:
        """Set the time between ARM and GO."""
        self.require_idle("ARM:TIMEOUT")
        if not 0.0 < value <= MAX_ARM_TIMEOUT:
            raise Refusal(
                Fault.BAD_PARAMETER,
                f"ARM:TIMEOUT must be above 0 and at most {MAX_ARM_TIMEOUT:g} s",
            )
        self.arm_timeout = value

    # ---- arm and go ----------------------------------------------------------------------

    def check_arm(self, command: str, now: float) -> str:
        """Return the token of an ARM command that may be accepted; nothing changes."""
        match = _ARM.fullmatch(command)
        if match is None:
            raise Refusal(
                Fault.BAD_PARAMETER,
                f"ARM takes '<token>@<epoch>', the token {TOKEN_LENGTH} lower-case hexadecimal "
                "digits",
            )
        token, epoch = match[1], int(match[2])
        self.require_idle("ARM")
        if epoch != self.epoch:
            raise Refusal(
                Fault.EPOCH_MISMATCH,
                f"epoch {epoch} is over (now {self.epoch}): read EPOCH again before ARM",
            )
        if not self.owner:
            raise Refusal(Fault.NOT_OWNER, "nobody owns the instrument: write OWNER first")
        if self.beat_age(now) > self.heartbeat_timeout:
            raise Refusal(
                Fault.NO_HEARTBEAT, "no fresh heartbeat of the owner: write HEARTBEAT steadily"
            )
        if token in self._used:
            raise Refusal(Fault.TOKEN_REUSED, f"token {token} was used before: each works once")
        return token

    def arm(self, command: str, now: float) -> None:
        """Arm one exposure with '<token>@<epoch>'; clears a latch."""
        token = self.check_arm(command, now)
        self._used.add(token)
        self.token, self._armed_at = token, now
        self.state, self.mode, self._latched = ControllerState.ARMED, Mode.NONE, (Fault.NONE, "")

    def arm_expired(self, now: float) -> bool:
        """Whether an armed token has outlived ARM:TIMEOUT."""
        return self.state is ControllerState.ARMED and now - self._armed_at > self.arm_timeout

    def expire(self) -> None:
        """Disarm an expired token."""
        self._expired = self.token
        self.state, self.token = ControllerState.SAFE, ""
        self.fault, self.text = Fault.TOKEN_EXPIRED, "the armed token expired before GO: arm anew"

    def go(self, token: str, mode: Mode, now: float) -> None:
        """Energise with the armed token."""
        if self.state is ControllerState.ENERGISED:
            raise Refusal(Fault.BUSY, "an exposure is running")
        if self.arm_expired(now):
            self.expire()
        if self.state is not ControllerState.ARMED:
            raise self._not_armed(token)
        if token != self.token:
            raise Refusal(Fault.TOKEN_MISMATCH, f"token {token[:32]!r} is not the armed one")
        if self.heartbeat_lost(now):
            raise Refusal(Fault.NO_HEARTBEAT, "the owner's heartbeat is too old")
        self.state, self.mode = ControllerState.ENERGISED, mode

    def _not_armed(self, token: str) -> Refusal:
        if token and token == self._expired:
            return Refusal(
                Fault.TOKEN_EXPIRED,
                f"token {token} expired {self.arm_timeout:g} s after ARM: arm a new one",
            )
        if token in self._used:
            return Refusal(Fault.TOKEN_REUSED, f"token {token} was used before: each works once")
        return Refusal(Fault.NOT_ARMED, "not armed: write ARM first")

    def require_software(self, what: str) -> None:
        """Refuse unless energised by SOFT:GO."""
        if self.state is not ControllerState.ENERGISED or self.mode is not Mode.SOFTWARE:
            raise Refusal(Fault.NOT_ARMED, f"{what} needs an exposure started by SOFT:GO")

    # ---- ends ----------------------------------------------------------------------------

    def finish(self, termination: Termination) -> None:
        """Leave ENERGISED after the safe state was reached; trips latch."""
        self.token, self.mode = "", Mode.NONE
        ended = {Termination.COMPLETED, Termination.STOPPED_BY_PLAN}
        self.state = ControllerState.SAFE if termination in ended else ControllerState.TRIPPED

    def fail(self, fault: Fault, text: str) -> None:
        """Latch FAULT."""
        self.token, self.mode = "", Mode.NONE
        self.state, self._latched = ControllerState.FAULT, (fault, text)
        self.accepted()

    def new_epoch(self) -> None:
        """Void every ARM command that was issued before (stays a positive 32-bit integer)."""
        self.epoch = self.epoch % (2**31 - 1) + 1
