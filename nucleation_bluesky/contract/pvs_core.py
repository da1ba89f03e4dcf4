"""PVs that controllers of every family serve: exposures, safety, capabilities, files."""

from nucleation_bluesky.contract.enums import (
    AbortLocation,
    ControllerState,
    Fault,
    SafeState,
)
from nucleation_bluesky.contract.pv import PV, Kind, rw

CONTRACT_VERSION = "nucleation-bluesky/1"

CLOCK_FIELDS: dict[str, tuple[str, str]] = {
    "ticks": ("s", "controller's monotonic clock"),
    "utc": ("s", "controller's UTC, seconds since 1970"),
}


CORE: tuple[PV, ...] = (
    PV("CONTRACT", Kind.STRING, "Version of this contract.", default=CONTRACT_VERSION),
    PV("FAMILY", Kind.STRING, "Instrument family: afm, seccm or tem."),
    PV("BOOT", Kind.STRING, "Random identifier made anew at every start of the controller."),
    PV(
        "EPOCH",
        Kind.INT,
        "Part of every ARM command. The controller increases it at boot (from a random start), "
        "after a kill and whenever it finds that its own process was suspended, so that commands "
        "queued before cannot take effect.",
    ),
    PV("STATE", Kind.ENUM, "State of the controller.", enum=ControllerState),
    PV(
        "FAULT",
        Kind.ENUM,
        "Why the last command was refused, or why the state is fault. A refused write completes "
        "normally and leaves the value of its PV unchanged. The next accepted command sets it back "
        "to none, or in state fault to the latched reason; HEARTBEAT and CLOCK:SYNC leave it.",
        enum=Fault,
    ),
    PV("FAULT:TEXT", Kind.CHARS, "The same in words.", length=256, default=""),
    PV("SEQ", Kind.INT, "Increases by one each time RESULT is published."),
    rw("CLOCK:SYNC", Kind.INT, "Any write latches CLOCK."),
    PV(
        "CLOCK",
        Kind.DOUBLES,
        "Clocks at the last write to CLOCK:SYNC (layout below).",
        length=len(CLOCK_FIELDS),
        default=(0.0,) * len(CLOCK_FIELDS),
    ),
    rw(
        "OWNER",
        Kind.STRING,
        "Session that owns the instrument. A write is refused (value unchanged) while another "
        "owner's heartbeat is alive, and while armed or energised. The empty string releases. An "
        "owner may be replaced once its last beat, or its claim if it never beat, is older than "
        "HEARTBEAT:TIMEOUT. Claiming is not a beat.",
        default="",
    ),
    rw(
        "HEARTBEAT",
        Kind.INT,
        "Written with a changing value at least three times per HEARTBEAT:TIMEOUT by the owner. "
        "While armed or energised, a beat older than HEARTBEAT:TIMEOUT brings the safe state and "
        "latches fault. A write of the same value is not a beat.",
    ),
    rw(
        "HEARTBEAT:TIMEOUT",
        Kind.DOUBLE,
        "Wall time, 0.05 to 60 s; refused while armed or energised.",
        egu="s",
        default=1.0,
    ),
    rw(
        "KILL",
        Kind.INT,
        "Any write, whatever its value, brings the safe state at once, latches fault and increases "
        "EPOCH. Accepted in every state, from anyone. In state safe it only increases EPOCH. A "
        "running GO completes after it, with RESULT of what was acquired.",
    ),
    rw(
        "ARM",
        Kind.STRING,
        "'<token>@<epoch>': arms one exposure. The token is 24 lower-case hexadecimal digits; each "
        "works once, and expires ARM:TIMEOUT after arming. Refused without owner, fresh heartbeat, "
        "current epoch or valid parameters, and (busy) while the exposure before is still ending. "
        "Clears a latch.",
        default="",
    ),
    rw("ARM:TIMEOUT", Kind.DOUBLE, "Wall time from ARM to GO.", egu="s", default=5.0),
    rw(
        "GO",
        Kind.STRING,
        "The armed token: runs the exposure. Put completion is given when RESULT is published and "
        "the instrument is in its safe state, also when the exposure failed. A token that is not "
        "the armed one is refused and leaves the armed one armed.",
        default="",
    ),
    rw(
        "SAFE:POLICY",
        Kind.ENUM,
        "Safe state; only those in CAP:SAFE are accepted. At boot the first supported one of "
        "open_circuit, retract_then_zero, zero, zero_current, hold.",
        enum=SafeState,
    ),
    rw("SAFE:BIAS", Kind.DOUBLE, "Bias of the safe state 'hold'.", egu="V", default=0.0),
)


def core(result: dict[str, tuple[str, str]]) -> tuple[PV, ...]:
    """Return the PVs that every controller serves, with its family's layout of RESULT."""
    layout = PV(
        "RESULT",
        Kind.DOUBLES,
        "Summary of the last exposure, one consistent snapshot in SI units (layout below).",
        length=len(result),
        default=(0.0,) * len(result),
    )
    return (*CORE, layout)


CAPABILITIES: tuple[PV, ...] = (
    PV("CAP:ABORT", Kind.ENUM, "Where compliance is enforced.", enum=AbortLocation),
    PV("CAP:LATENCY", Kind.DOUBLE, "Upper bound from the tripping sample to the abort.", egu="s"),
    PV("CAP:CURRENT:BANDWIDTH", Kind.DOUBLE, "-3 dB bandwidth of the current channel.", egu="Hz"),
    PV("CAP:HEIGHT:BANDWIDTH", Kind.DOUBLE, "-3 dB bandwidth of the height channel.", egu="Hz"),
    PV("CAP:CURRENT:RANGE", Kind.DOUBLE, "Full scale of the current channel.", egu="pA"),
    PV("CAP:RATE:MIN", Kind.DOUBLE, "Lowest sample rate.", egu="Hz"),
    PV("CAP:RATE:MAX", Kind.DOUBLE, "Highest sample rate.", egu="Hz"),
    PV("CAP:BIAS:MIN", Kind.DOUBLE, "Lowest bias; setpoints below are refused.", egu="V"),
    PV("CAP:BIAS:MAX", Kind.DOUBLE, "Highest bias; setpoints above are refused.", egu="V"),
    PV("CAP:SAFE", Kind.INT, "Bit mask of supported safe states (bit = value of SafeState)."),
    PV("CAP:FILES", Kind.INT, "1 if the controller writes waveform files, else 0."),
    PV("CAP:RAMP", Kind.INT, "1 if the controller runs ramps with compliance by itself (GO)."),
    PV("CAP:SOFTWARE", Kind.INT, "1 if software ramps (SOFT:GO, BIAS) are possible."),
)

FILES: tuple[PV, ...] = (
    rw(
        "FILE:DIR",
        Kind.CHARS,
        "Directory of the waveform files, as the controller sees it.",
        length=1024,
        default="",
    ),
    rw(
        "FILE:PREFIX",
        Kind.CHARS,
        "Segment n is '<dir>/<prefix>_<n, five digits>.h5'; letters, digits, '-', '_' only.",
        length=128,
        default="",
    ),
    rw(
        "FILE:ROWS",
        Kind.INT,
        "Exposures per file; a full file is closed and immutable.",
        default=500,
    ),
    rw(
        "FILE:MAX_SAMPLES",
        Kind.INT,
        "Width of a row, set before capture; longer ramps are refused.",
        default=4096,
    ),
    rw(
        "FILE:CAPTURE",
        Kind.INT,
        "1 opens capture (segment numbers count from 0), 0 closes the open file. While it is 1 "
        "every exposure of GO is recorded and the other FILE: PVs are refused. A file is made with "
        "its first row. Refused (file_error) where a segment of this prefix exists. Put completion "
        "when done.",
        default=0,
    ),
    PV("FILE:SEGMENT", Kind.INT, "Number of the open file, -1 without.", default=-1),
)
