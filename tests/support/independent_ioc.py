"""A second AFM controller on softioc (EPICS base), from docs/reference/pv-contract.md alone.

It imports nothing of nucleation_bluesky. Its hardware is an arithmetic toy: a site nucleates at a
bias that depends on its position, then the current grows by a power law. Units differ on purpose
from the reference controller's (nA, nm) to show that a device reads EGU.

Run: python independent_ioc.py PREFIX [--tau SECONDS]
"""

import argparse
import asyncio
import os
import re
import secrets
import time
from pathlib import Path

os.environ.setdefault("EPICS_CAS_INTF_ADDR_LIST", "127.0.0.1")

import h5py
import numpy as np
from softioc import asyncio_dispatcher, builder, softioc

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


class Controller:
    """State, safety and the toy's physics."""

    def __init__(self, tau: float) -> None:
        self.tau = tau  # wall time a ramp takes, s
        self.state = 0
        self.epoch = secrets.randbelow(10**6)
        self.used: set[str] = set()
        self.token = ""
        self.armed_at = 0.0
        self.last_beat = float("-inf")
        self.last_tick = time.monotonic()
        self.seq = 0
        self.bias = 0.0
        self.count = 0
        self.abort: str | None = None
        self.file: h5py.File | None = None
        self.segment = -1
        self.row = 0
        self.topo_seq = 0
        self.pv: dict = {}

    # -- records ---------------------------------------------------------------------------------

    def make_records(self) -> None:
        r, b = self.pv, builder
        r["CONTRACT"] = b.stringIn("CONTRACT", initial_value="nucleation-bluesky/1")
        r["FAMILY"] = b.stringIn("FAMILY", initial_value="afm")
        r["BOOT"] = b.stringIn("BOOT", initial_value=secrets.token_hex(8))
        r["EPOCH"] = b.longIn("EPOCH", initial_value=self.epoch)
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
        self._numbers()
        self._commands()

    def _numbers(self) -> None:
        r, b = self.pv, builder
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
            r[name] = b.aOut(name, initial_value=value, EGU=egu, PREC=6, validate=self.may_set,
                             **quiet)  # fmt: skip
        for name, value in (("COMP:CURRENT:ON", 0), ("COMP:HEIGHT:ON", 0), ("COMP:CONFIRM", 1),
                            ("AFTER:SAMPLES", 0), ("FILE:ROWS", 500), ("FILE:MAX_SAMPLES", 4096),
                            ("TOPO:PIXELS", 64), ("Z:FEEDBACK", 1)):  # fmt: skip
            r[name] = b.longOut(name, initial_value=value, validate=self.may_set, **quiet)
        for name, value in (("RAMP:VERTICES", -1.0), ("RAMP:RATES", 1.0)):
            egu = "V" if name == "RAMP:VERTICES" else "V/s"
            r[name] = b.WaveformOut(name, initial_value=np.array([value]), length=16,
                                    validate=self.may_set, EGU=egu, **quiet)  # fmt: skip
        r["COMP:BACKGROUND"] = b.mbbOut("COMP:BACKGROUND", "off", "subtract", initial_value=0,
                                        validate=self.may_set, **quiet)  # fmt: skip
        r["AFTER:ACTION"] = b.mbbOut("AFTER:ACTION", "safe_state", "hold", "reverse_sweep",
                                     initial_value=0, validate=self.may_set, **quiet)  # fmt: skip
        r["SAFE:POLICY"] = b.mbbOut("SAFE:POLICY", *SAFE_STATES, initial_value=2,
                                    validate=self.safe_policy, **quiet)  # fmt: skip
        for name, length in (("FILE:DIR", 1024), ("FILE:PREFIX", 128), ("TOPO:NAME", 128)):
            r[name] = b.longStringOut(name, length=length, initial_value="", validate=self.may_set,
                                      **quiet)  # fmt: skip

    def _commands(self) -> None:
        r, b = self.pv, builder
        on = {"always_update": True, "blocking": True}
        r["HEARTBEAT"] = b.longOut("HEARTBEAT", on_update=self.beat, always_update=True)
        r["KILL"] = b.longOut("KILL", on_update=self.kill, always_update=True)
        r["CLOCK:SYNC"] = b.longOut("CLOCK:SYNC", on_update=self.clock, **on)
        r["OWNER"] = b.stringOut("OWNER", initial_value="", validate=self.may_own,
                                 on_update=self.owned, always_update=True)  # fmt: skip
        r["ARM"] = b.stringOut("ARM", initial_value="", on_update=self.arm, **on)
        r["GO"] = b.stringOut("GO", initial_value="", on_update=self.go, **on)
        r["SOFT:GO"] = b.stringOut("SOFT:GO", initial_value="", on_update=self.soft_go, **on)
        r["SOFT:END"] = b.mbbOut("SOFT:END", *TERMINATIONS, on_update=self.soft_end, **on)
        r["BIAS"] = b.aOut("BIAS", initial_value=0.0, EGU="V", PREC=6, validate=self.may_bias,
                           on_update=self.set_bias, **on)  # fmt: skip
        r["FILE:CAPTURE"] = b.longOut("FILE:CAPTURE", initial_value=0, on_update=self.capture, **on)
        r["STAGE:X"] = b.aOut("STAGE:X", initial_value=0.0, EGU="nm", PREC=6,
                              validate=self.may_move, on_update=self.move_x, **on)  # fmt: skip
        r["STAGE:Y"] = b.aOut("STAGE:Y", initial_value=0.0, EGU="nm", PREC=6,
                              validate=self.may_move, on_update=self.move_y, **on)  # fmt: skip
        r["STAGE:STOP"] = b.longOut("STAGE:STOP", always_update=True)
        r["TOPO:GO"] = b.longOut("TOPO:GO", on_update=self.image, **on)

    # -- refusals --------------------------------------------------------------------------------

    def refuse(self, fault: str, text: str) -> bool:
        data = np.zeros(256, dtype=np.uint8)
        raw = text.encode()[:255]
        data[: len(raw)] = list(raw)
        self.pv["FAULT:TEXT"].set(data)
        self.pv["FAULT"].set(FAULTS.index(fault))
        return False

    def may_set(self, _record: object, value: object) -> bool:
        if self.state in (1, 2):
            return self.refuse("busy", "armed or energised: parameters cannot change")
        numeric = isinstance(value, (int, float, np.ndarray))
        if numeric and not np.all(np.isfinite(np.asarray(value, dtype=float))):
            return self.refuse("bad_parameter", "a value that is not finite was refused")
        return True

    def safe_policy(self, record: object, value: int) -> bool:
        if value not in (0, 2):
            return self.refuse("bad_parameter", "safe states here are open_circuit and zero")
        return self.may_set(record, value)

    def may_own(self, _record: object, value: str) -> bool:
        owner = self.pv["OWNER"].get()
        if owner and value not in ("", owner) and self.beating():
            return self.refuse("not_owner", f"owned by {owner}")
        return True

    def may_move(self, record: object, value: float) -> bool:
        if self.state == 2:
            return self.refuse("busy", "energised: the stage stays")
        if not (np.isfinite(value) and abs(value) <= 50e3):
            return self.refuse("bad_parameter", "target outside the limits of travel")
        return True

    def may_bias(self, _record: object, value: float) -> bool:
        if self.state != 2:
            return self.refuse("not_armed", "the bias is live only in a software ramp")
        if not (np.isfinite(value) and BIAS_RANGE[0] <= value <= BIAS_RANGE[1]):
            return self.refuse("bad_parameter", "bias not finite or out of range")
        return True

    # -- safety ----------------------------------------------------------------------------------

    def beating(self) -> bool:
        return time.monotonic() - self.last_beat <= self.pv["HEARTBEAT:TIMEOUT"].get()

    def set_state(self, name: str) -> None:
        self.state = STATES.index(name)
        self.pv["STATE"].set(self.state)

    def safe(self) -> None:
        self.bias = 0.0
        self.pv["BIAS:RBV"].set(0.0)

    def beat(self, _value: int) -> None:
        self.last_beat = time.monotonic()

    def kill(self, _value: int) -> None:
        self.epoch += 1
        self.pv["EPOCH"].set(self.epoch)
        self.fail("killed", "killed by a client")

    def fail(self, fault: str, text: str) -> None:
        if self.state == 0 and fault == "killed":
            return
        was_energised = self.state == 2
        self.safe()
        self.abort = fault
        self.refuse(fault, text)
        self.set_state("fault")
        if not was_energised:
            self.token = ""

    async def watchdog(self) -> None:
        while True:
            await asyncio.sleep(0.02)
            now = time.monotonic()
            late, self.last_tick = now - self.last_tick, now
            if late > 0.5:
                self.stalled()
            elif self.state in (1, 2) and not self.beating():
                self.fail("no_heartbeat", "the heartbeat of the owner stopped")
            elif self.state == 1 and now - self.armed_at > self.pv["ARM:TIMEOUT"].get():
                self.refuse("token_expired", "armed, but no GO followed")
                self.set_state("safe")

    def stalled(self) -> None:
        self.epoch += 1
        self.pv["EPOCH"].set(self.epoch)
        if self.state:
            self.fail("stalled", "the controller was suspended; queued commands are void")

    def check_stall(self) -> None:
        if time.monotonic() - self.last_tick > 0.5:
            self.last_tick = time.monotonic()
            self.stalled()

    def owned(self, _value: str) -> None:
        self.last_beat = time.monotonic()

    def clock(self, _value: int) -> None:
        self.pv["CLOCK"].set(np.array([time.monotonic(), time.time()]))

    # -- exposure --------------------------------------------------------------------------------

    async def arm(self, command: str) -> None:
        self.check_stall()
        token, _, epoch = command.partition("@")
        if self.state in (1, 2):
            self.refuse("busy", "an exposure is under way")
        elif not re.fullmatch(r"[0-9a-f]{24}@\d+", command):
            self.refuse("bad_parameter", "ARM takes '<24 hex digits>@<epoch>'")
        elif int(epoch) != self.epoch:
            self.refuse("epoch_mismatch", f"the epoch is {self.epoch}")
        elif not self.pv["OWNER"].get():
            self.refuse("not_owner", "no owner")
        elif not self.beating():
            self.refuse("no_heartbeat", "no fresh heartbeat")
        elif token in self.used:
            self.refuse("token_reused", "this token was used before")
        elif (wrong := self.check_parameters()) is not None:
            self.refuse("bad_parameter", wrong)
        else:
            self.used.add(token)
            self.token, self.armed_at, self.abort = token, time.monotonic(), None
            self.refuse("none", "")
            self.set_state("armed")

    def segments(self) -> tuple[np.ndarray, np.ndarray]:
        return np.asarray(self.pv["RAMP:VERTICES"].get()), np.asarray(self.pv["RAMP:RATES"].get())

    def check_parameters(self) -> str | None:
        vertices, rates = self.segments()
        if len(vertices) != len(rates) or np.any(rates <= 0):
            return "one positive rate per vertex is needed"
        ends = np.concatenate([[self.pv["RAMP:START"].get()], vertices])
        if ends.min() < BIAS_RANGE[0] or ends.max() > BIAS_RANGE[1]:
            return "the ramp leaves the bias range"
        rate = self.pv["RAMP:SAMPLE_RATE"].get()
        if not RATE_RANGE[0] <= rate <= RATE_RANGE[1]:
            return "the sample rate is out of range"
        if self.file_wanted() and len(self.waveform()[0]) > self.pv["FILE:MAX_SAMPLES"].get():
            return "the ramp is longer than FILE:MAX_SAMPLES"
        return None

    def file_wanted(self) -> bool:
        return self.pv["FILE:CAPTURE"].get() == 1

    def waveform(self) -> tuple[np.ndarray, np.ndarray]:
        vertices, rates = self.segments()
        bounds = np.concatenate([[self.pv["RAMP:START"].get()], vertices])
        ends = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(bounds)) / rates)])
        n = int(ends[-1] * self.pv["RAMP:SAMPLE_RATE"].get() + 1e-6) + 1
        t = np.arange(n) / self.pv["RAMP:SAMPLE_RATE"].get()
        return np.interp(t, ends, bounds), np.minimum(
            np.searchsorted(ends[1:], t, side="left"), len(vertices) - 1
        )

    def physics(self, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Current (A) and height (m) along a falling bias: nucleation, then a power law."""
        x = self.pv["STAGE:X:RBV"].get()
        y = self.pv["STAGE:Y:RBV"].get()
        onset = -1.0 - 0.4 * ((x * 7 + y * 3) % 100 / 100)
        rng = np.random.default_rng(abs(int(x * 131 + y * 17)))
        over = np.clip(onset - bias, 0, None)
        current = -1e-9 * over**2 / 0.01 + rng.normal(0, 2e-13, len(bias))
        current += 2e-12 * bias - 3e-12  # leakage and C dV/dt
        height = 100e-9 * over + rng.normal(0, 3e-11, len(bias))
        return current, height

    async def go(self, token: str) -> None:
        self.check_stall()
        if self.state != 1:
            self.refuse("not_armed", "GO without ARM")
            return
        if token != self.token:
            self.refuse("token_mismatch", "GO names another token than ARM")
            return
        self.set_state("energised")
        start = (time.monotonic(), time.time())
        bias, segment = self.waveform()
        current, height = self.physics(bias)
        index, cause = self.trip(current, height, segment)
        n = len(bias) if index is None else index + 1
        full = max(self.tau * n / len(bias), 0.0)
        while self.abort is None and time.monotonic() - start[0] < full:
            self.bias = float(np.interp(time.monotonic() - start[0], [0, full], bias[[0, n - 1]]))
            await asyncio.sleep(0.005)
        if self.abort is not None:
            n = max(1, int(n * min(1.0, (time.monotonic() - start[0]) / max(full, 1e-9))))
            index, cause = None, 9 if self.abort == "killed" else 10
        self.safe()
        self.publish(token, cause, bias[:n], current[:n], height[:n], index, segment[n - 1], start)
        if self.abort is None:
            self.set_state("safe" if cause == 1 else "tripped")

    def trip(
        self, current: np.ndarray, height: np.ndarray, segment: np.ndarray
    ) -> tuple[int | None, int]:
        found: list[tuple[int, int]] = []
        confirm = self.pv["COMP:CONFIRM"].get()
        early = max(3, round(5e-3 * self.pv["RAMP:SAMPLE_RATE"].get()))
        base = np.median(height[:early])
        first = np.searchsorted(segment, segment, side="left")  # each sample's segment begins there
        since = np.arange(len(current)) - first
        blank = round(self.pv["COMP:BLANKING"].get() * self.pv["RAMP:SAMPLE_RATE"].get())
        quiet = {
            "CURRENT": since < blank,
            "HEIGHT": (since < blank) | (np.arange(len(height)) < early),
        }
        if self.pv["COMP:BACKGROUND"].get():
            current = current - self.background(current, segment, blank, early)
            quiet["CURRENT"] |= since < blank + early
        for channel, values, scale, cause in (
            ("CURRENT", current, 1e-9, 2), ("HEIGHT", height - base, 1e-9, 3),
        ):  # fmt: skip
            if not self.pv[f"COMP:{channel}:ON"].get():
                continue
            low = self.pv[f"COMP:{channel}:LOW"].get() * scale
            high = self.pv[f"COMP:{channel}:HIGH"].get() * scale
            outside = ((values < low) | (values > high)) & ~quiet[channel]
            run = np.convolve(outside, np.ones(confirm), "valid")
            hit = np.flatnonzero(run >= confirm)
            if len(hit):
                found.append((int(hit[0]) + confirm - 1, cause))
        return min(found) if found else (None, 1)

    def background(
        self, current: np.ndarray, segment: np.ndarray, blank: int, early: int
    ) -> np.ndarray:
        """Leakage and C dV/dt, from the window after the blanking of each segment."""
        out = np.zeros(len(current))
        edge = 1e-9 * min(abs(self.pv[f"COMP:CURRENT:{end}"].get()) for end in ("LOW", "HIGH"))
        window = round(self.pv["COMP:BACKGROUND:TIME"].get() * self.pv["RAMP:SAMPLE_RATE"].get())
        for number in np.unique(segment):
            where = np.flatnonzero(segment == number)[blank:]
            inside = where[:window]
            if len(inside) < 3:
                continue
            values, t = current[inside], np.arange(len(inside), dtype=float)
            good = np.ones(len(t), dtype=bool)
            for _ in range(3):
                slope, level = np.polyfit(t[good], values[good], 1)
                rest = values - level - slope * t
                spread = np.median(np.abs(rest - np.median(rest[good])))
                good = np.abs(rest) <= 5 * max(spread, 1e-18)
            error = np.std(rest[good]) / np.sqrt(np.sum((t[good] - t[good].mean()) ** 2))
            if error * len(where) > edge / 4:
                slope, level = 0.0, float(np.mean(values[good]))
            out[where] = level + slope * np.arange(len(where))
            out[inside] = np.median(values[:early])
        return out

    def publish(self, token, cause, bias, current, height, index, segment, start) -> None:
        row, number = -1, -1
        if self.file_wanted():
            row, number = self.write_row(bias, current, height, cause, start[0])
        self.seq += 1
        rate = self.pv["RAMP:SAMPLE_RATE"].get()
        peak = current[np.argmax(np.abs(current))] if len(current) else 0.0
        last = -1
        self.pv["RESULT"].set(
            np.array([
                self.seq, int(token[:12], 16), cause, len(bias), 0,
                -1 if index is None else index, segment, bias[last] if len(bias) else 0.0,
                current[last] if len(bias) else 0.0,
                height[last] - np.median(height[:5]) if len(bias) else 0.0, peak,
                np.trapezoid(current, dx=1 / rate), 1e-5, *start,
                len(bias) / rate, number, row, self.pv["Z:FEEDBACK"].get(),
            ], dtype=float)
        )  # fmt: skip
        self.pv["SEQ"].set(self.seq)

    # -- software ramp ---------------------------------------------------------------------------

    async def soft_go(self, token: str) -> None:
        self.check_stall()
        if self.state != 1:
            self.refuse("not_armed", "SOFT:GO without ARM")
        elif token != self.token:
            self.refuse("token_mismatch", "SOFT:GO names another token than ARM")
        else:
            self.bias = 0.0
            self.started = (time.monotonic(), time.time())
            self.set_state("energised")
            self.measure()

    async def set_bias(self, value: float) -> None:
        self.bias = value
        self.pv["BIAS:RBV"].set(value)
        self.measure()

    def measure(self) -> None:
        current, height = self.physics(np.array([self.bias]))
        self.count += 1
        self.pv["MEASUREMENT"].set(
            np.array([self.count, time.monotonic(), self.bias, current[0], height[0], 0.0])
        )

    async def soft_end(self, cause: int) -> None:
        if self.state != 2:
            self.refuse("not_armed", "no software ramp is under way")
            return
        stop = self.bias
        self.safe()
        empty = np.zeros(0)
        self.publish(self.token, cause, empty, empty, empty, None, 0, self.started)
        result = np.array(self.pv["RESULT"].get())
        result[7] = stop
        self.pv["RESULT"].set(result)
        self.set_state("safe")

    async def sampler(self) -> None:
        while True:
            await asyncio.sleep(0.005)
            if self.state == 2 and hasattr(self, "started"):
                self.measure()

    # -- stage, files, images --------------------------------------------------------------------

    async def move_x(self, value: float) -> None:
        self.pv["STAGE:X:RBV"].set(value)

    async def move_y(self, value: float) -> None:
        self.pv["STAGE:Y:RBV"].set(value)

    async def capture(self, on: int) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None
        self.segment, self.row = -1, 0
        if on and not Path(self.pv["FILE:DIR"].get()).is_dir():
            self.refuse("file_error", "FILE:DIR is not a directory")
            self.pv["FILE:CAPTURE"].set(0, process=False)

    def write_row(self, bias, current, height, cause, ticks) -> tuple[int, int]:
        rows, width = self.pv["FILE:ROWS"].get(), self.pv["FILE:MAX_SAMPLES"].get()
        if self.file is None or self.row >= rows:
            if self.file is not None:
                self.file.close()
            self.segment, self.row = self.segment + 1, 0
            name = f"{self.pv['FILE:PREFIX'].get()}_{self.segment:05d}.h5"
            self.file = h5py.File(Path(self.pv["FILE:DIR"].get()) / name, "x", libver="latest")
            self.file.attrs["format"] = "nucleation-bluesky-waveforms"
            self.file.attrs["version"] = 1
            group = self.file.create_group("/entry/data")
            for channel, unit in (("bias", "V"), ("current", "A"), ("height", "m")):
                made = group.create_dataset(channel, (rows, width), "f4", chunks=(1, width),
                                            fillvalue=np.nan)  # fmt: skip
                made.attrs["units"] = unit
            for name, kind in (
                ("n_samples", "i8"),
                ("n_post", "i8"),
                ("termination", "i8"),
                ("seq", "i8"),
                ("start_ticks", "f8"),
                ("sample_rate", "f8"),
            ):
                group.create_dataset(name, (rows,), kind)
            self.file.swmr_mode = True
            self.pv["FILE:SEGMENT"].set(self.segment)
        group, row = self.file["/entry/data"], self.row
        for channel, values in (("bias", bias), ("current", current), ("height", height)):
            group[channel][row, : len(values)] = values
        group["n_samples"][row], group["termination"][row] = len(bias), cause
        group["seq"][row], group["start_ticks"][row] = self.seq + 1, ticks
        group["sample_rate"][row] = self.pv["RAMP:SAMPLE_RATE"].get()
        self.file.flush()
        self.row += 1
        return row, self.segment

    async def image(self, _value: int) -> None:
        pixels = self.pv["TOPO:PIXELS"].get()
        size = self.pv["TOPO:SIZE"].get()
        x = self.pv["TOPO:X"].get() + np.linspace(-0.5, 0.5, pixels) * size
        y = self.pv["TOPO:Y"].get() + np.linspace(-0.5, 0.5, pixels) * size
        z = 5e-9 * np.sin(x[None, :] / 150) * np.cos(y[:, None] / 210)
        path = Path(self.pv["FILE:DIR"].get()) / f"{self.pv['TOPO:NAME'].get()}.h5"
        with h5py.File(path, "x") as file:
            made = file.create_dataset("/entry/data/topography", data=z[None].astype("f4"))
            made.attrs["units"] = "m"
        self.topo_seq += 1
        self.pv["TOPO:SEQ"].set(self.topo_seq)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("prefix")
    parser.add_argument("--tau", type=float, default=0.0)
    options = parser.parse_args()
    dispatcher = asyncio_dispatcher.AsyncioDispatcher()
    builder.SetDeviceName(options.prefix.rstrip(":"))
    controller = Controller(options.tau)
    controller.make_records()
    builder.LoadDatabase()
    softioc.iocInit(dispatcher)
    dispatcher(controller.watchdog)
    dispatcher(controller.sampler)
    softioc.non_interactive_ioc()


if __name__ == "__main__":
    main()
