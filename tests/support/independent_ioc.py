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

import numpy as np
from independent_files import Segments, write_image  # next to this script
from independent_records import (
    BIAS_RANGE,
    FAULTS,
    RATE_RANGE,
    STATES,
    TERMINATIONS,
    published,
    settings,
)
from independent_toy import Comparison, physics, waveform
from softioc import asyncio_dispatcher, builder, softioc


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
        self.files = Segments()
        self.topo_seq = 0
        self.pv: dict = {}

    # -- records ---------------------------------------------------------------------------------

    def make_records(self) -> None:
        self.pv |= published(self.epoch) | settings(self.may_set, self.safe_policy)
        self._commands()

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
        rate = self.pv["RAMP:SAMPLE_RATE"].get()
        return waveform(self.pv["RAMP:START"].get(), *self.segments(), rate)

    def place(self) -> tuple[float, float]:
        return self.pv["STAGE:X:RBV"].get(), self.pv["STAGE:Y:RBV"].get()

    def comparison(self) -> Comparison:
        def edge(channel: str, end: str) -> float:
            return 1e-9 * self.pv[f"COMP:{channel}:{end}"].get()  # nA, nm

        def window(channel: str) -> tuple[float, float] | None:
            on = self.pv[f"COMP:{channel}:ON"].get()
            return (edge(channel, "LOW"), edge(channel, "HIGH")) if on else None

        return Comparison(
            sample_rate=self.pv["RAMP:SAMPLE_RATE"].get(),
            current=window("CURRENT"),
            height=window("HEIGHT"),
            edge=min(abs(edge("CURRENT", end)) for end in ("LOW", "HIGH")),
            confirm=self.pv["COMP:CONFIRM"].get(),
            blanking=self.pv["COMP:BLANKING"].get(),
            background=bool(self.pv["COMP:BACKGROUND"].get()),
            background_time=self.pv["COMP:BACKGROUND:TIME"].get(),
        )

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
        current, height = physics(bias, *self.place())
        index, cause = self.comparison().trip(current, height, segment)
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

    def publish(self, token, cause, bias, current, height, index, segment, start) -> None:
        number, row = -1, -1
        rate = self.pv["RAMP:SAMPLE_RATE"].get()
        if self.file_wanted():
            number, row = self.files.append(
                self.pv["FILE:DIR"].get(), self.pv["FILE:PREFIX"].get(),
                (self.pv["FILE:ROWS"].get(), self.pv["FILE:MAX_SAMPLES"].get()),
                {"bias": bias, "current": current, "height": height},
                {"n_samples": len(bias), "termination": cause, "seq": self.seq + 1,
                 "start_ticks": start[0], "sample_rate": rate},
            )  # fmt: skip
            self.pv["FILE:SEGMENT"].set(number)
        self.seq += 1
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
        current, height = physics(np.array([self.bias]), *self.place())
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
        self.files.close()
        if on and not Path(self.pv["FILE:DIR"].get()).is_dir():
            self.refuse("file_error", "FILE:DIR is not a directory")
            self.pv["FILE:CAPTURE"].set(0, process=False)

    async def image(self, _value: int) -> None:
        x, y, size = (self.pv[f"TOPO:{name}"].get() for name in ("X", "Y", "SIZE"))
        path = Path(self.pv["FILE:DIR"].get()) / f"{self.pv['TOPO:NAME'].get()}.h5"
        write_image(path, x, y, size, self.pv["TOPO:PIXELS"].get())
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
