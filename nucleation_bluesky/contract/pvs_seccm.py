"""PVs of the SECCM family: program, approach, pipette, electrometer."""

from nucleation_bluesky.contract.enums import ContactMode
from nucleation_bluesky.contract.program import MAX_STEPS, N_COLUMNS
from nucleation_bluesky.contract.pv import PV, Kind, axis_pvs, rw

SECCM_RESULT_FIELDS: dict[str, tuple[str, str]] = {
    # name: (SI unit, meaning); the order is the layout of the RESULT waveform
    "seq": ("", "value of SEQ after this exposure"),
    "token_check": ("", "first 12 hexadecimal digits of the token as an integer"),
    "termination": ("", "Termination"),
    "n_samples": ("", "samples recorded: approach, program and withdrawal"),
    "n_post": ("", "always 0: samples after the program carry step -2"),
    "trip_index": ("", "sample that ended the landing early, -1 without"),
    "trip_segment": ("", "step in which it ended, -1 for the approach"),
    "stop_bias": ("V", "potential at the last sample of approach and program"),
    "stop_current": ("A", "current at that sample"),
    "charge": ("C", "net charge of the program, signed (current times sample period)"),
    "latency": ("s", "from the sample that ended the landing early to the abort taking effect"),
    "start_ticks": ("s", "controller's monotonic clock at sample 0"),
    "start_utc": ("s", "controller's UTC at sample 0, seconds since 1970"),
    "duration": ("s", "from sample 0 to the safe state, in the instrument's time"),
    "file_segment": ("", "number of the waveform file, -1 without"),
    "file_row": ("", "row in that file, -1 without"),
    "contact": ("", "1 if the meniscus touched the surface, else 0"),
    "contact_index": (
        "",
        "first sample beyond the threshold of the run that was confirmed as contact, -1 without",
    ),
    "contact_z": ("m", "extension of the pipette at that sample, NaN without contact"),
    "contact_ticks": ("s", "controller's monotonic clock at that sample, NaN without contact"),
    "overtravel": ("m", "way from contact_z to where the approach stopped, NaN without contact"),
    "false_contacts": ("", "runs beyond the threshold that were too short: rejected as spikes"),
}
READING_FIELDS: dict[str, tuple[str, str]] = {
    "count": ("", "increases by one with every new measurement: unchanged means stale"),
    "ticks": ("s", "controller's monotonic clock"),
    "potential": ("V", "potential between the electrodes, raw"),
    "current": ("A", "current"),
    "z": ("m", "extension of the pipette"),
    "saturated": ("", "1 if a channel was at full scale"),
}

PROGRAM: tuple[PV, ...] = (
    rw(
        "PROGRAM",
        Kind.DOUBLES,
        "Steps of the landing, one row of the table after the other, SI units (layout below).",
        length=MAX_STEPS * N_COLUMNS,
        default=(0.0,),
    ),
    rw("PROGRAM:STEPS", Kind.INT, "Steps in PROGRAM; 0 for contact only.", default=0),
    rw("SAMPLE:PERIOD", Kind.DOUBLE, "Time between samples.", egu="s", default=2.57e-3),
    rw(
        "APPROACH:ON",
        Kind.INT,
        "1 to approach until contact, 0 to run the program where the pipette is.",
        default=1,
    ),
    rw("APPROACH:SPEED", Kind.DOUBLE, "Speed of the approach.", egu="um/s", default=2.0),
    rw(
        "APPROACH:Z_MAX",
        Kind.DOUBLE,
        "Extension at which an approach without contact ends: the pipette goes back to where it "
        "started, termination no_contact. Not beyond PIP:Z:SOFT_LIMIT.",
        egu="um",
        default=50.0,
    ),
    rw("APPROACH:MODE", Kind.ENUM, "How contact is recognised.", enum=ContactMode),
    rw(
        "APPROACH:POTENTIAL",
        Kind.DOUBLE,
        "Potential applied during an approach by current, raw.",
        egu="V",
    ),
    rw(
        "APPROACH:CURRENT",
        Kind.DOUBLE,
        "Current applied during an approach by overload.",
        egu="pA",
        default=10.0,
    ),
    rw(
        "APPROACH:THRESHOLD",
        Kind.DOUBLE,
        "By current: magnitude (A) above which a sample counts as contact. By overload: drop (V) "
        "of the magnitude of the potential below that at the start of the approach.",
        default=5e-12,
    ),
    rw(
        "APPROACH:CONFIRM",
        Kind.INT,
        "Consecutive samples that make a contact; shorter runs are counted and ignored.",
        default=2,
    ),
    rw(
        "RETRACT:DISTANCE",
        Kind.DOUBLE,
        "Way back after a landing and after a kill, at most to PIP:Z:LOW.",
        egu="um",
        default=8.0,
    ),
    rw("RETRACT:SPEED", Kind.DOUBLE, "Its speed.", egu="um/s", default=2.0),
)


def _axis(name: str, doc: str) -> tuple[PV, ...]:
    return (
        *axis_pvs(name, doc),
        rw(f"{name}:SPEED", Kind.DOUBLE, "Speed of moves.", egu="um/s", default=2.0),
        PV(f"{name}:SPEED:MAX", Kind.DOUBLE, "Highest accepted speed.", egu="um/s"),
    )


PIPETTE: tuple[PV, ...] = (
    *_axis(
        "PIP:X",
        "Target. Put completion when there; refused outside the limits, while this axis moves, "
        "while armed or energised, and while the pipette is beyond PIP:Z:SAFE.",
    ),
    *_axis("PIP:Y", "As PIP:X."),
    *_axis(
        "PIP:Z",
        "Target extension; larger is nearer to the sample. Refused outside the limits, beyond "
        "PIP:Z:SOFT_LIMIT, while it moves, and while armed or energised. There is no contact "
        "detection in such a move: an approach is a landing (GO).",
    ),
    rw("PIP:STOP", Kind.INT, "Any write stops all motion outside a landing."),
    rw(
        "PIP:Z:SOFT_LIMIT",
        Kind.DOUBLE,
        "Extension that neither moves nor approaches exceed. At boot the upper limit of travel.",
        egu="um",
    ),
    rw(
        "PIP:Z:SAFE",
        Kind.DOUBLE,
        "Largest extension at which lateral moves are accepted. At boot the lower limit of Z; "
        "each contact sets it to contact_z less PIP:CLEARANCE.",
        egu="um",
    ),
    rw(
        "PIP:CLEARANCE",
        Kind.DOUBLE,
        "Distance from the last contact needed for lateral moves; less than RETRACT:DISTANCE.",
        egu="um",
        default=4.0,
    ),
)

ELECTROMETER: tuple[PV, ...] = (
    PV("ELM:CURRENT", Kind.DOUBLE, "Current; negative reduces.", egu="pA"),
    PV("ELM:POTENTIAL", Kind.DOUBLE, "Potential between the electrodes, raw.", egu="V"),
    rw("ELM:RANGE", Kind.DOUBLE, "Full scale of the current channel.", egu="pA", default=1e5),
    rw("ELM:FILTER", Kind.DOUBLE, "-3 dB bandwidth of the current channel.", egu="Hz"),
    PV(
        "READING",
        Kind.DOUBLES,
        "Latest measurement outside a landing, one snapshot in SI units (layout below).",
        length=len(READING_FIELDS),
        default=(0.0,) * len(READING_FIELDS),
    ),
)
