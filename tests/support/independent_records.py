"""Records of the independent controller, from docs/reference/pv-contract.md alone.

Imports nothing of nucleation_bluesky.
"""

import secrets
from collections.abc import Callable

import numpy as np
from softioc import builder

STATES = ["safe", "armed", "energised", "tripped", "fault"]
FAULTS = [
    "none", "token_reused", "token_expired", "token_mismatch", "epoch_mismatch", "not_owner",
    "no_heartbeat", "bad_parameter", "not_armed", "busy", "file_error", "backend_error", "killed",
    "stalled",
]  # fmt: skip
TERMINATIONS = [
    "none", "completed", "current_compliance", "height_compliance", "charge_limit",
    "potential_limit", "saturated", "nonfinite", "stale", "killed", "heartbeat_lost",
    "backend_fault", "stopped_by_plan",
]  # fmt: skip
SAFE_STATES = ["open_circuit", "hold", "zero", "zero_current", "retract_then_zero"]
BIAS_RANGE = (-10.0, 10.0)
RATE_RANGE = (10.0, 100e3)


def published(epoch: int) -> dict:
    """Records that only the controller writes."""
    r, b = {}, builder
    r["CONTRACT"] = b.stringIn("CONTRACT", initial_value="nucleation-bluesky/1")
    r["FAMILY"] = b.stringIn("FAMILY", initial_value="afm")
    r["BOOT"] = b.stringIn("BOOT", initial_value=secrets.token_hex(8))
    r["EPOCH"] = b.longIn("EPOCH", initial_value=epoch)
    r["STATE"] = b.mbbIn("STATE", *STATES, initial_value=0)
    r["FAULT"] = b.mbbIn("FAULT", *FAULTS, initial_value=0)
    r["FAULT:TEXT"] = b.WaveformIn("FAULT:TEXT", length=256, datatype=np.uint8)
    r["SEQ"] = b.longIn("SEQ", initial_value=0)
    r["RESULT"] = b.WaveformIn("RESULT", initial_value=np.zeros(19))
    r["CLOCK"] = b.WaveformIn("CLOCK", initial_value=np.zeros(2))
    r["MEASUREMENT"] = b.WaveformIn("MEASUREMENT", initial_value=np.zeros(6))
    for name, value, egu in (
        ("CAP:LATENCY", 1e-4, "s"), ("CAP:CURRENT:BANDWIDTH", 1e6, "Hz"),
        ("CAP:HEIGHT:BANDWIDTH", 1e6, "Hz"), ("CAP:CURRENT:RANGE", 10.0, "nA"),
        ("CAP:RATE:MIN", RATE_RANGE[0], "Hz"), ("CAP:RATE:MAX", RATE_RANGE[1], "Hz"),
        ("CAP:BIAS:MIN", BIAS_RANGE[0], "V"), ("CAP:BIAS:MAX", BIAS_RANGE[1], "V"),
        ("BIAS:RBV", 0.0, "V"), ("AMP:CURRENT", 0.0, "nA"), ("Z:RBV", 0.0, "nm"),
        ("STAGE:X:RBV", 0.0, "nm"), ("STAGE:X:LOW", -50e3, "nm"),
        ("STAGE:X:HIGH", 50e3, "nm"), ("STAGE:Y:RBV", 0.0, "nm"),
        ("STAGE:Y:LOW", -50e3, "nm"), ("STAGE:Y:HIGH", 50e3, "nm"),
    ):  # fmt: skip
        r[name] = b.aIn(name, initial_value=value, EGU=egu, PREC=6)
    r["CAP:ABORT"] = b.mbbIn("CAP:ABORT", "controller", "ioc", "plan", initial_value=0)
    numbers = {"CAP:SAFE": 0b00101, "CAP:FILES": 1, "CAP:RAMP": 1, "CAP:SOFTWARE": 1}
    for name, value in (numbers | {"FILE:SEGMENT": -1, "TOPO:SEQ": 0}).items():
        r[name] = b.longIn(name, initial_value=value)
    return r


def settings(may_set: Callable, safe_policy: Callable) -> dict:
    """Records that clients write, where the controller agrees."""
    r, b = {}, builder
    quiet = {"always_update": True}
    for name, value, egu in (
        ("HEARTBEAT:TIMEOUT", 1.0, "s"), ("ARM:TIMEOUT", 5.0, "s"), ("SAFE:BIAS", 0.0, "V"),
        ("RAMP:START", 0.0, "V"), ("RAMP:SAMPLE_RATE", 1000.0, "Hz"),
        ("COMP:CURRENT:LOW", -0.01, "nA"), ("COMP:CURRENT:HIGH", 0.01, "nA"),
        ("COMP:HEIGHT:LOW", -1000.0, "nm"), ("COMP:HEIGHT:HIGH", 8.0, "nm"),
        ("COMP:BLANKING", 0.0, "s"), ("COMP:BACKGROUND:TIME", 0.05, "s"),
        ("AFTER:TIME", 0.0, "s"), ("AMP:GAIN", 1e9, "V/A"), ("AMP:FILTER", 1e5, "Hz"),
        ("STAGE:SETTLE", 0.0, "s"), ("TOPO:X", 0.0, "nm"), ("TOPO:Y", 0.0, "nm"),
        ("TOPO:SIZE", 2000.0, "nm"),
    ):  # fmt: skip
        r[name] = b.aOut(name, initial_value=value, EGU=egu, PREC=6, validate=may_set,
                         **quiet)  # fmt: skip
    for name, value in (("COMP:CURRENT:ON", 0), ("COMP:HEIGHT:ON", 0), ("COMP:CONFIRM", 1),
                        ("AFTER:SAMPLES", 0), ("FILE:ROWS", 500), ("FILE:MAX_SAMPLES", 4096),
                        ("TOPO:PIXELS", 64), ("Z:FEEDBACK", 1)):  # fmt: skip
        r[name] = b.longOut(name, initial_value=value, validate=may_set, **quiet)
    for name, value in (("RAMP:VERTICES", -1.0), ("RAMP:RATES", 1.0)):
        egu = "V" if name == "RAMP:VERTICES" else "V/s"
        r[name] = b.WaveformOut(name, initial_value=np.array([value]), length=16,
                                validate=may_set, EGU=egu, **quiet)  # fmt: skip
    r["COMP:BACKGROUND"] = b.mbbOut("COMP:BACKGROUND", "off", "subtract", initial_value=0,
                                    validate=may_set, **quiet)  # fmt: skip
    r["AFTER:ACTION"] = b.mbbOut("AFTER:ACTION", "safe_state", "hold", "reverse_sweep",
                                 initial_value=0, validate=may_set, **quiet)  # fmt: skip
    r["SAFE:POLICY"] = b.mbbOut("SAFE:POLICY", *SAFE_STATES, initial_value=2,
                                validate=safe_policy, **quiet)  # fmt: skip
    for name, length in (("FILE:DIR", 1024), ("FILE:PREFIX", 128), ("TOPO:NAME", 128)):
        r[name] = b.longStringOut(name, length=length, initial_value="", validate=may_set,
                                  **quiet)  # fmt: skip
    return r
