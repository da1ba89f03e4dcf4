"""PVs of the AFM family: ramp and compliance, software ramp, stage, amplifier, topography."""

from nucleation_bluesky.contract.enums import AfterTrip, Background, Termination
from nucleation_bluesky.contract.pv import PV, Kind, axis_pvs, rw
from nucleation_bluesky.contract.ramp import MAX_SEGMENTS

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
RAMP: tuple[PV, ...] = (
    rw("RAMP:START", Kind.DOUBLE, "Bias at the start of the ramp.", egu="V"),
    rw(
        "RAMP:VERTICES",
        Kind.DOUBLES,
        "Bias at the end of each segment.",
        egu="V",
        length=MAX_SEGMENTS,
        default=(-1.0,),
    ),
    rw(
        "RAMP:RATES",
        Kind.DOUBLES,
        "Sweep rate (magnitude) of each segment.",
        egu="V/s",
        length=MAX_SEGMENTS,
        default=(1.0,),
    ),
    rw("RAMP:SAMPLE_RATE", Kind.DOUBLE, "Samples per second.", egu="Hz", default=1000.0),
    rw("COMP:CURRENT:ON", Kind.INT, "1 to enforce the current window."),
    rw("COMP:CURRENT:LOW", Kind.DOUBLE, "Lower edge, below 0.", egu="pA", default=-10.0),
    rw("COMP:CURRENT:HIGH", Kind.DOUBLE, "Upper edge, above 0.", egu="pA", default=10.0),
    rw("COMP:HEIGHT:ON", Kind.INT, "1 to enforce the height window."),
    rw("COMP:HEIGHT:LOW", Kind.DOUBLE, "Lower edge, below 0.", egu="nm", default=-1000.0),
    rw("COMP:HEIGHT:HIGH", Kind.DOUBLE, "Upper edge, above 0.", egu="nm", default=8.0),
    rw(
        "COMP:BLANKING",
        Kind.DOUBLE,
        "After the start of each segment compliance is not compared for this time.",
        egu="s",
    ),
    rw("COMP:CONFIRM", Kind.INT, "Consecutive samples outside the window that trip.", default=1),
    rw(
        "COMP:BACKGROUND",
        Kind.ENUM,
        "Subtract leakage and C dV/dt before comparing.",
        enum=Background,
    ),
    rw(
        "COMP:BACKGROUND:TIME",
        Kind.DOUBLE,
        "Window after blanking at the start of each segment for estimating the background.",
        egu="s",
        default=0.05,
    ),
    rw("AFTER:ACTION", Kind.ENUM, "Between the trip and the safe state.", enum=AfterTrip),
    rw("AFTER:TIME", Kind.DOUBLE, "Duration of that action.", egu="s"),
    rw("AFTER:SAMPLES", Kind.INT, "Samples recorded after the trip (n_post)."),
)

SOFTWARE_RAMP: tuple[PV, ...] = (
    rw(
        "SOFT:GO",
        Kind.STRING,
        "The armed token: energised under the plan's control; BIAS is live until SOFT:END.",
        default="",
    ),
    rw(
        "BIAS",
        Kind.DOUBLE,
        "Bias setpoint. Refused unless energised by SOFT:GO; non-finite or out-of-range values are "
        "refused. Put completion when the output has settled.",
        egu="V",
    ),
    rw(
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

AFM: tuple[PV, ...] = (
    PV("BIAS:RBV", Kind.DOUBLE, "Bias at the tip.", egu="V"),
    PV("AMP:CURRENT", Kind.DOUBLE, "Tip current; negative reduces.", egu="pA"),
    rw("AMP:GAIN", Kind.DOUBLE, "Transimpedance gain.", egu="V/A", default=1e11),
    rw(
        "AMP:FILTER",
        Kind.DOUBLE,
        "-3 dB bandwidth of the amplifier's filter.",
        egu="Hz",
        default=1061.0,
    ),
    PV("Z:RBV", Kind.DOUBLE, "Height of the tip.", egu="nm"),
    rw("Z:FEEDBACK", Kind.INT, "1 while the force feedback loop is closed.", default=1),
    *axis_pvs(
        "STAGE:X",
        "Target. Put completion when settled; refused outside the limits, while this axis moves, "
        "during an image, and while armed or energised.",
    ),
    *axis_pvs("STAGE:Y", "As STAGE:X."),
    rw("STAGE:STOP", Kind.INT, "Any write stops all motion."),
    rw("STAGE:SETTLE", Kind.DOUBLE, "Settling time after a move.", egu="s", default=0.005),
    rw("TOPO:X", Kind.DOUBLE, "Centre of the image.", egu="um"),
    rw("TOPO:Y", Kind.DOUBLE, "Centre of the image.", egu="um"),
    rw("TOPO:SIZE", Kind.DOUBLE, "Edge length of the image.", egu="um", default=2.0),
    rw("TOPO:PIXELS", Kind.INT, "Pixels per edge.", default=256),
    rw(
        "TOPO:NAME",
        Kind.CHARS,
        "File of the image in FILE:DIR, without '.h5'; letters, digits, '-', '_' only.",
        length=128,
        default="",
    ),
    rw(
        "TOPO:GO",
        Kind.INT,
        "Takes the image; put completion when the file is closed. Refused while armed, energised "
        "or moving, and where the file exists (file_error).",
    ),
    PV("TOPO:SEQ", Kind.INT, "Increases by one with every image written."),
)
