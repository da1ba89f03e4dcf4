"""Process variables: name, type, unit and meaning of every PV a controller serves.

Suffixes are appended to the instrument's prefix (``NB:AFM:`` + ``STATE``). ``egu`` is what the
reference controller publishes; a device accepts any unit of the same dimension and converts.
"""

from dataclasses import dataclass
from enum import Enum

from nucleation_bluesky.contract.enums import (
    AbortLocation,
    AfterTrip,
    Background,
    ContractEnum,
    ControllerState,
    Fault,
    SafeState,
    Termination,
)

CONTRACT_VERSION = "nucleation-bluesky/1"
TOKEN_LENGTH = 24  # lower-case hexadecimal digits


class Kind(Enum):
    """Data type of a PV."""

    DOUBLE = "double"
    INT = "int"
    ENUM = "enum"
    STRING = "string"  # EPICS string, at most 39 characters
    CHARS = "char waveform"  # long string, UTF-8, NUL-terminated
    DOUBLES = "double waveform"


@dataclass(frozen=True)
class PV:
    """One process variable.

    Parameters
    ----------
    suffix : str
        Name after the instrument's prefix.
    kind : Kind
        Data type.
    doc : str
        Meaning and behaviour, one or two sentences.
    egu : str
        Engineering unit the reference controller publishes ("" where dimensionless).
    writable : bool
        Whether clients may write it.
    enum : type of ContractEnum or None
        Enumeration of an ENUM PV.
    length : int
        Elements of a waveform.
    default : object
        Value at boot.
    """

    suffix: str
    kind: Kind
    doc: str
    egu: str = ""
    writable: bool = False
    enum: type[ContractEnum] | None = None
    length: int = 1
    default: float | int | str | tuple[float, ...] = 0


def _rw(suffix: str, kind: Kind, doc: str, **kwargs: object) -> PV:
    return PV(suffix, kind, doc, writable=True, **kwargs)  # type: ignore[arg-type]


RESULT_FIELDS: dict[str, tuple[str, str]] = {
    # name: (SI unit, meaning); the order is the layout of the RESULT waveform
    "seq": ("", "value of SEQ after this exposure"),
    "token_check": ("", "first 12 hexadecimal digits of the token as an integer"),
    "termination": ("", "Termination"),
    "n_samples": ("", "samples recorded, those after the trip included"),
    "n_post": ("", "samples recorded after the trip"),
    "trip_index": ("", "sample that tripped, -1 without a trip"),
    "trip_segment": ("", "segment of the ramp in which it ended"),
    "stop_bias": ("V", "bias at the last sample before the abort took effect"),
    "stop_current": ("A", "measured current at that sample (background not subtracted)"),
    "height_change": (
        "m",
        "height at that sample less the median of the first 5 ms (3 samples at least)",
    ),
    "peak_current": ("A", "recorded current of largest magnitude, signed, post-trip included"),
    "charge": (
        "C",
        "net charge over the whole record, post-trip included, signed (trapezoid rule)",
    ),
    "latency": ("s", "from the tripping sample to the abort taking effect"),
    "start_ticks": ("s", "controller's monotonic clock at sample 0"),
    "start_utc": ("s", "controller's UTC at sample 0, seconds since 1970"),
    "duration": (
        "s",
        "from sample 0 to the safe state, in the instrument's time (software ramp: wall time)",
    ),
    "file_segment": ("", "number of the waveform file, -1 without"),
    "file_row": ("", "row in that file, -1 without"),
    "height_feedback": ("", "1 if the Z feedback loop was closed during the ramp, else 0"),
}
MEASUREMENT_FIELDS: dict[str, tuple[str, str]] = {
    "count": ("", "increases by one with every new measurement: unchanged means stale"),
    "ticks": ("s", "controller's monotonic clock"),
    "bias": ("V", "bias at the electrode"),
    "current": ("A", "current averaged since the bias last changed"),
    "height": ("m", "height"),
    "saturated": ("", "1 if a channel was at full scale"),
}
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
    PV(
        "RESULT",
        Kind.DOUBLES,
        "Summary of the last exposure, one consistent snapshot in SI units (layout below).",
        length=len(RESULT_FIELDS),
        default=(0.0,) * len(RESULT_FIELDS),
    ),
    _rw("CLOCK:SYNC", Kind.INT, "Any write latches CLOCK."),
    PV(
        "CLOCK",
        Kind.DOUBLES,
        "Clocks at the last write to CLOCK:SYNC (layout below).",
        length=len(CLOCK_FIELDS),
        default=(0.0,) * len(CLOCK_FIELDS),
    ),
    _rw(
        "OWNER",
        Kind.STRING,
        "Session that owns the instrument. A write is refused (value unchanged) while another "
        "owner's heartbeat is alive, and while armed or energised. The empty string releases. An "
        "owner may be replaced once its last beat, or its claim if it never beat, is older than "
        "HEARTBEAT:TIMEOUT. Claiming is not a beat.",
        default="",
    ),
    _rw(
        "HEARTBEAT",
        Kind.INT,
        "Written with a changing value at least three times per HEARTBEAT:TIMEOUT by the owner. "
        "While armed or energised, a beat older than HEARTBEAT:TIMEOUT brings the safe state and "
        "latches fault. A write of the same value is not a beat.",
    ),
    _rw(
        "HEARTBEAT:TIMEOUT",
        Kind.DOUBLE,
        "Wall time, 0.05 to 60 s; refused while armed or energised.",
        egu="s",
        default=1.0,
    ),
    _rw(
        "KILL",
        Kind.INT,
        "Any write, whatever its value, brings the safe state at once, latches fault and increases "
        "EPOCH. Accepted in every state, from anyone. In state safe it only increases EPOCH. A "
        "running GO completes after it, with RESULT of what was acquired.",
    ),
    _rw(
        "ARM",
        Kind.STRING,
        "'<token>@<epoch>': arms one exposure. The token is 24 lower-case hexadecimal digits; each "
        "works once, and expires ARM:TIMEOUT after arming. Refused without owner, fresh heartbeat, "
        "current epoch or valid parameters. Clears a latch.",
        default="",
    ),
    _rw("ARM:TIMEOUT", Kind.DOUBLE, "Wall time from ARM to GO.", egu="s", default=5.0),
    _rw(
        "GO",
        Kind.STRING,
        "The armed token: runs the exposure. Put completion is given when RESULT is published and "
        "the instrument is in its safe state, also when the exposure failed. A token that is not "
        "the armed one is refused and leaves the armed one armed.",
        default="",
    ),
    _rw(
        "SAFE:POLICY",
        Kind.ENUM,
        "Safe state; only those in CAP:SAFE are accepted. At boot the first supported one of "
        "open_circuit, retract_then_zero, zero, zero_current, hold.",
        enum=SafeState,
    ),
    _rw("SAFE:BIAS", Kind.DOUBLE, "Bias of the safe state 'hold'.", egu="V", default=0.0),
)

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

RAMP: tuple[PV, ...] = (
    _rw("RAMP:START", Kind.DOUBLE, "Bias at the start of the ramp.", egu="V"),
    _rw(
        "RAMP:VERTICES",
        Kind.DOUBLES,
        "Bias at the end of each segment.",
        egu="V",
        length=16,
        default=(-1.0,),
    ),
    _rw(
        "RAMP:RATES",
        Kind.DOUBLES,
        "Sweep rate (magnitude) of each segment.",
        egu="V/s",
        length=16,
        default=(1.0,),
    ),
    _rw("RAMP:SAMPLE_RATE", Kind.DOUBLE, "Samples per second.", egu="Hz", default=1000.0),
    _rw("COMP:CURRENT:ON", Kind.INT, "1 to enforce the current window."),
    _rw("COMP:CURRENT:LOW", Kind.DOUBLE, "Lower edge, below 0.", egu="pA", default=-10.0),
    _rw("COMP:CURRENT:HIGH", Kind.DOUBLE, "Upper edge, above 0.", egu="pA", default=10.0),
    _rw("COMP:HEIGHT:ON", Kind.INT, "1 to enforce the height window."),
    _rw("COMP:HEIGHT:LOW", Kind.DOUBLE, "Lower edge, below 0.", egu="nm", default=-1000.0),
    _rw("COMP:HEIGHT:HIGH", Kind.DOUBLE, "Upper edge, above 0.", egu="nm", default=8.0),
    _rw(
        "COMP:BLANKING",
        Kind.DOUBLE,
        "After the start of each segment compliance is not compared for this time.",
        egu="s",
    ),
    _rw("COMP:CONFIRM", Kind.INT, "Consecutive samples outside the window that trip.", default=1),
    _rw(
        "COMP:BACKGROUND",
        Kind.ENUM,
        "Subtract leakage and C dV/dt before comparing.",
        enum=Background,
    ),
    _rw(
        "COMP:BACKGROUND:TIME",
        Kind.DOUBLE,
        "Window after blanking at the start of each segment for estimating the background.",
        egu="s",
        default=0.05,
    ),
    _rw("AFTER:ACTION", Kind.ENUM, "Between the trip and the safe state.", enum=AfterTrip),
    _rw("AFTER:TIME", Kind.DOUBLE, "Duration of that action.", egu="s"),
    _rw("AFTER:SAMPLES", Kind.INT, "Samples recorded after the trip (n_post)."),
)

SOFTWARE_RAMP: tuple[PV, ...] = (
    _rw(
        "SOFT:GO",
        Kind.STRING,
        "The armed token: energised under the plan's control; BIAS is live until SOFT:END.",
        default="",
    ),
    _rw(
        "BIAS",
        Kind.DOUBLE,
        "Bias setpoint. Refused unless energised by SOFT:GO; non-finite or out-of-range values are "
        "refused. Put completion when the output has settled.",
        egu="V",
    ),
    _rw(
        "SOFT:END",
        Kind.ENUM,
        "Ends the software ramp with this termination: safe state, then RESULT (n_samples 0, "
        "file_segment -1, stop_bias the last setpoint, charge and height_change NaN). State safe "
        "after completed and stopped_by_plan, else tripped. 'none' is refused. Put completion when "
        "done.",
        enum=Termination,
    ),
    PV(
        "MEASUREMENT",
        Kind.DOUBLES,
        "Latest measurement, one consistent snapshot in SI units (layout below); at least 100 Hz "
        "while energised.",
        length=len(MEASUREMENT_FIELDS),
        default=(0.0,) * len(MEASUREMENT_FIELDS),
    ),
)

FILES: tuple[PV, ...] = (
    _rw(
        "FILE:DIR",
        Kind.CHARS,
        "Directory of the waveform files, as the controller sees it.",
        length=1024,
        default="",
    ),
    _rw(
        "FILE:PREFIX",
        Kind.CHARS,
        "Segment n is '<dir>/<prefix>_<n, five digits>.h5'; letters, digits, '-', '_' only.",
        length=128,
        default="",
    ),
    _rw(
        "FILE:ROWS",
        Kind.INT,
        "Exposures per file; a full file is closed and immutable.",
        default=500,
    ),
    _rw(
        "FILE:MAX_SAMPLES",
        Kind.INT,
        "Width of a row, set before capture; longer ramps are refused.",
        default=4096,
    ),
    _rw(
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

AFM: tuple[PV, ...] = (
    PV("BIAS:RBV", Kind.DOUBLE, "Bias at the tip.", egu="V"),
    PV("AMP:CURRENT", Kind.DOUBLE, "Tip current; negative reduces.", egu="pA"),
    _rw("AMP:GAIN", Kind.DOUBLE, "Transimpedance gain.", egu="V/A", default=1e11),
    _rw(
        "AMP:FILTER",
        Kind.DOUBLE,
        "-3 dB bandwidth of the amplifier's filter.",
        egu="Hz",
        default=1061.0,
    ),
    PV("Z:RBV", Kind.DOUBLE, "Height of the tip.", egu="nm"),
    _rw("Z:FEEDBACK", Kind.INT, "1 while the force feedback loop is closed.", default=1),
    _rw(
        "STAGE:X",
        Kind.DOUBLE,
        "Target. Put completion when settled; refused outside the limits, while this axis moves, "
        "during an image, and while armed or energised.",
        egu="um",
    ),
    PV("STAGE:X:RBV", Kind.DOUBLE, "Position.", egu="um"),
    PV("STAGE:X:LOW", Kind.DOUBLE, "Lower limit of travel.", egu="um"),
    PV("STAGE:X:HIGH", Kind.DOUBLE, "Upper limit of travel.", egu="um"),
    _rw("STAGE:Y", Kind.DOUBLE, "As STAGE:X.", egu="um"),
    PV("STAGE:Y:RBV", Kind.DOUBLE, "Position.", egu="um"),
    PV("STAGE:Y:LOW", Kind.DOUBLE, "Lower limit of travel.", egu="um"),
    PV("STAGE:Y:HIGH", Kind.DOUBLE, "Upper limit of travel.", egu="um"),
    _rw("STAGE:STOP", Kind.INT, "Any write stops all motion."),
    _rw("STAGE:SETTLE", Kind.DOUBLE, "Settling time after a move.", egu="s", default=0.005),
    _rw("TOPO:X", Kind.DOUBLE, "Centre of the image.", egu="um"),
    _rw("TOPO:Y", Kind.DOUBLE, "Centre of the image.", egu="um"),
    _rw("TOPO:SIZE", Kind.DOUBLE, "Edge length of the image.", egu="um", default=2.0),
    _rw("TOPO:PIXELS", Kind.INT, "Pixels per edge.", default=256),
    _rw(
        "TOPO:NAME",
        Kind.CHARS,
        "File of the image in FILE:DIR, without '.h5'; letters, digits, '-', '_' only.",
        length=128,
        default="",
    ),
    _rw(
        "TOPO:GO",
        Kind.INT,
        "Takes the image; put completion when the file is closed. Refused while armed, energised "
        "or moving, and where the file exists (file_error).",
    ),
    PV("TOPO:SEQ", Kind.INT, "Increases by one with every image written."),
)

FAMILIES: dict[str, dict[str, tuple[PV, ...]]] = {
    "afm": {
        "Core": CORE,
        "Capabilities": CAPABILITIES,
        "Ramp and compliance": RAMP,
        "Software ramp": SOFTWARE_RAMP,
        "Waveform files": FILES,
        "AFM": AFM,
    },
}


def family_pvs(family: str) -> dict[str, PV]:
    """Every PV of an instrument family by suffix.

    Raises
    ------
    ValueError
        If the family is unknown.
    """
    if family not in FAMILIES:
        raise ValueError(f"unknown instrument family '{family}' (known: {', '.join(FAMILIES)})")
    return {pv.suffix: pv for group in FAMILIES[family].values() for pv in group}


def token_check(token: str) -> float:
    """Return the number by which RESULT names its token (exact in a double)."""
    return float(int(token[:12], 16))
