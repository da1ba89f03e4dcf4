"""Enumerations shared by controllers, devices, documents and analysis.

Every member's value is what travels over EPICS and into documents; its label is the lower-case
name. EPICS enumerations hold at most 16 members.
"""

from enum import IntEnum


class ContractEnum(IntEnum):
    """An integer enumeration with a lower-case label for documents and EPICS."""

    @property
    def label(self) -> str:
        """The lower-case name, as published in EPICS enumeration strings and flag meanings."""
        return self.name.lower()

    @classmethod
    def labels(cls) -> list[str]:
        """All labels in order of value (values count from 0 without gaps)."""
        return [member.label for member in cls]

    @classmethod
    def from_label(cls, label: str) -> "ContractEnum":
        """Return the member with this label.

        Raises
        ------
        ValueError
            If no member has the label.
        """
        try:
            return cls[label.strip().upper()]
        except KeyError:
            raise ValueError(
                f"'{label}' is not one of {', '.join(cls.labels())} ({cls.__name__})"
            ) from None


class Termination(ContractEnum):
    """Why an exposure ended, as the controller saw it."""

    NONE = 0  # no exposure since boot
    COMPLETED = 1  # the waveform ran to its end
    CURRENT_COMPLIANCE = 2
    HEIGHT_COMPLIANCE = 3
    CHARGE_LIMIT = 4
    POTENTIAL_LIMIT = 5
    SATURATED = 6  # a channel was at its full scale
    NONFINITE = 7  # a sample was NaN or infinite
    STALE = 8  # the data source stopped delivering new samples
    KILLED = 9  # the kill PV, or stop() of a device
    HEARTBEAT_LOST = 10
    BACKEND_FAULT = 11
    STOPPED_BY_PLAN = 12  # a software ramp that the plan ended on its own compliance
    NO_CONTACT = 13  # the approach reached its end without contact; the pipette was withdrawn


class ControllerState(ContractEnum):
    """State of the controller front end; only ENERGISED has the bias away from the safe state."""

    SAFE = 0
    ARMED = 1
    ENERGISED = 2
    TRIPPED = 3  # safe, latched by compliance or a bad sample; only ARM with a new token leaves it
    FAULT = 4  # safe, latched by kill, lost heartbeat, stall or error; likewise


class Fault(ContractEnum):
    """Why the last command was refused, or why the controller is in FAULT."""

    NONE = 0
    TOKEN_REUSED = 1
    TOKEN_EXPIRED = 2
    TOKEN_MISMATCH = 3
    EPOCH_MISMATCH = 4
    NOT_OWNER = 5
    NO_HEARTBEAT = 6
    BAD_PARAMETER = 7
    NOT_ARMED = 8
    BUSY = 9
    FILE_ERROR = 10
    BACKEND_ERROR = 11
    KILLED = 12
    STALLED = 13  # the controller process itself was suspended; everything queued is void


class SafeState(ContractEnum):
    """What the instrument does when it must be harmless: a policy, recorded with every run."""

    OPEN_CIRCUIT = 0
    HOLD = 1  # hold SAFE:BIAS
    ZERO = 2
    ZERO_CURRENT = 3
    RETRACT_THEN_ZERO = 4


class AfterTrip(ContractEnum):
    """What the controller does between a trip and the safe state."""

    SAFE_STATE = 0
    HOLD = 1  # hold the bias at the trip for AFTER:TIME
    REVERSE_SWEEP = 2  # sweep back to the start at the last segment's rate


class AbortLocation(ContractEnum):
    """Where compliance is enforced."""

    CONTROLLER = 0
    IOC = 1
    PLAN = 2


class Background(ContractEnum):
    """Background subtraction before the compliance comparison."""

    OFF = 0
    SUBTRACT = 1


class Classification(ContractEnum):
    """What analysis says of a site."""

    NO_NUCLEATION = 0
    NUCLEATED = 1
    FALSE_TRIP = 2
    UNDETERMINED = 3


class StepMode(ContractEnum):
    """What a step of a landing's program controls."""

    POTENTIAL = 0  # linear sweep of potential, or a hold
    CURRENT = 1  # linear sweep of current, or a hold
    OPEN_CIRCUIT = 2


class StepKind(ContractEnum):
    """What a step is for: a label for analysis, without effect on the controller."""

    REST = 0
    PLATE = 1
    STRIP = 2
    SWEEP = 3
    HOLD = 4


class OnLimit(ContractEnum):
    """What follows when a step reaches one of its limits."""

    ABORT = 0  # safe state, pipette withdrawn
    NEXT_STEP = 1


class ContactMode(ContractEnum):
    """How the controller recognises that the meniscus touches the surface."""

    CURRENT = 0  # potential applied, |current| above the threshold
    OVERLOAD = 1  # current applied into the open circuit, potential drops from its overload
