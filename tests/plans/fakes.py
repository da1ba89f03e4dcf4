"""An AFM in this process: the plans' protocols over a real ledger, every command written down."""

import math
import threading
import time
from types import SimpleNamespace

import numpy as np
from bluesky.utils import NoReplayAllowed
from nucleation_bluesky.contract.documents import PRIMARY_ROLES, TOPOGRAPHY_ROLES
from nucleation_bluesky.contract.enums import Termination
from nucleation_bluesky.contract.files import WAVEFORM_CHANNELS
from nucleation_bluesky.ledger import Guard, Ledger, Position
from ophyd import Device, Signal, SoftPositioner
from ophyd.status import Status
from scipy.ndimage import gaussian_filter, shift

TEXT, INTEGER = ("exposure",), ("site", "row", "col", "termination", "trip_segment", "n_samples")


class Part(SimpleNamespace):
    __hash__ = object.__hash__
    __eq__ = object.__eq__


class FakeAxis(SoftPositioner):
    def __init__(self, log, **kwargs):
        self._moves = log
        super().__init__(init_pos=0.0, limits=(-20e-6, 20e-6), **kwargs)
        log.clear()

    def set(self, value, **kwargs):
        self._moves.append(("move", self.name, value))
        return super().set(value, **kwargs)


class FakeStage:
    parent = None

    def __init__(self, log):
        self.name = "stage"
        self.x, self.y = FakeAxis(log, name="stage_x"), FakeAxis(log, name="stage_y")
        self.frame_x, self.frame_y = Signal(name="fx", value=0.0), Signal(name="fy", value=0.0)
        self.frame_uncertainty = Signal(name="fu", value=0.5e-9)

    @property
    def frame_offset(self):
        return (self.frame_x.get(), self.frame_y.get())

    def position(self):
        return Position(self.x.position, self.y.position, self.frame_uncertainty.get())


class FakeExposer(Device):
    """Nucleates where ``onset(x, y)`` says (None: never)."""

    def __init__(self, afm, *, name):
        super().__init__("", name=name)
        self.afm, self.guard = afm, None
        self.site, self.row, self.col = (Signal(name=f"{name}_{k}", value=-1) for k in "src")
        self.fast_segment_end = Signal(name=f"{name}_f", value=math.nan)
        self.waveform = Part(name="waveform", parent=None, set=self._set_waveform)
        self.spec = self.compliance = None
        self.values, self.fail_with, self.active = {}, {}, False
        self.idle = threading.Event()

    @property
    def roles(self):
        return {r: f"{self.name}_{r}" for r in PRIMARY_ROLES if r not in WAVEFORM_CHANNELS}

    def configure_exposure(self, spec, compliance=None, *, max_samples=None):
        self.check_spec(spec)
        self.next_spec, self.compliance = spec, compliance

    def check_spec(self, spec):
        if min(spec.start, *spec.vertices) < -10:
            raise ValueError("the controller allows -10 to 10 V")

    def stage(self):
        self.spec = self.next_spec
        self.afm.log.append(("stage", self.name))
        return super().stage()

    def unstage(self):
        self.afm.log.append(("unstage", self.name))
        if "unstage" in self.fail_with:
            raise RuntimeError("unstage failed")
        return super().unstage()

    def stop(self, *, success=False):
        if self.active or not success:
            self.afm.log.append(("kill", self.name))
            self.killed = self.active

    killed = False

    def pause(self):
        self.stop()
        raise NoReplayAllowed

    def resume(self):
        pass

    def _set_waveform(self, spec):
        self.spec = spec
        status = Status()
        status.set_finished()
        return status

    def _claim(self):
        self.afm.log.append(("attempt", self.site.get()))
        self.claim = self.guard.claim()
        self.afm.log.append(("claim", self.claim.x, self.claim.y))
        self.guard.energised(self.claim)
        self.afm.log.append(("energise", self.claim.token))

    def publish(self, termination, stop, segment):
        x, y = self.claim.x, self.claim.y
        nan = [math.nan] * 16
        spec = self.spec
        self.values = dict.fromkeys(self.roles, math.nan) | {
            "x": x, "y": y, "site": self.site.get(), "row": self.row.get(), "col": self.col.get(),
            "exposure": self.claim.token, "termination": int(termination), "stop_bias": stop,
            "height_change": 8e-9, "trip_segment": segment, "n_samples": 10,
            "vertices": [*spec.vertices, *nan][:16], "rates": [*spec.rates, *nan][:16],
            "ramp_start": spec.start, "sample_rate": spec.sample_rate,
            "fast_segment_end": self.fast_segment_end.get(),
        }  # fmt: skip
        self.guard.finished(self.claim, {"termination": int(termination)})

    def read(self):
        now = time.time()
        return {
            key: {"value": self.values[role], "timestamp": now} for role, key in self.roles.items()
        }

    def describe(self):
        keys = {}
        for role, key in self.roles.items():
            dtype = "string" if role in TEXT else "integer" if role in INTEGER else "number"
            keys[key] = {"source": "fake", "dtype": dtype, "shape": []}
            if role in ("vertices", "rates"):
                keys[key].update(dtype="array", shape=[16])
            if PRIMARY_ROLES[role][0]:
                keys[key]["units"] = PRIMARY_ROLES[role][0]
        return keys

    @property
    def hints(self):
        return {"fields": [f"{self.name}_stop_bias"]}


class FakeRamp(FakeExposer):
    delay = 0.0

    def trigger(self):
        status = Status(timeout=10)
        self.active, self.killed = True, False
        self.idle.clear()
        if self.delay:
            threading.Timer(self.delay, self._run, (status,)).start()
        else:
            self._run(status)
        return status

    def _run(self, status):
        try:
            self._claim()
            if self.killed:
                self.guard.burned(self.claim, "killed")
                raise RuntimeError("killed; its site is burned")  # noqa: TRY301
            self._expose()
        except Exception as error:  # noqa: BLE001 - as a device's thread does
            status.set_exception(error)
        else:
            status.set_finished()
        finally:
            self.active = False
            self.idle.set()

    def _expose(self):
        site = self.site.get()
        if site in self.fail_with:
            self.guard.burned(self.claim, "fault")
            raise self.fail_with[site]
        onset = self.afm.onset(self.claim.x, self.claim.y)
        limited = self.compliance.current or self.compliance.height
        if onset is None or not limited:
            self.publish(Termination.COMPLETED, self.spec.vertices[-1], len(self.spec.rates) - 1)
            return
        segment = next(k for k, v in enumerate(self.spec.vertices) if v <= onset)
        current = self.compliance.current is not None
        self.publish(Termination(2 if current else 3), onset, segment)


class FakeStepper(FakeExposer):
    """Current grows within the nucleus' voltage from 0 to beyond compliance; C dV/dt and leak."""

    @property
    def begin(self):
        return Part(name="begin", parent=None, trigger=self._begin)

    @property
    def bias(self):
        last = SimpleNamespace(**self.history[-1]) if self.history else None
        return Part(name="bias", parent=None, set=self._step, last=last)

    @property
    def end(self):
        return Part(name="end", parent=None, set=self._end)

    history = ()

    def _begin(self):
        status = Status()
        try:
            self._claim()
            self.count, self.ticks, self.history = 0, 0.0, []
        except Exception as error:  # noqa: BLE001 - as a device's thread does
            status.set_exception(error)
        else:
            status.set_finished()
        return status

    def _step(self, value):
        last = self.history[-1]["bias"] if self.history else 0.0
        elapsed = 0.01
        onset = self.afm.onset(self.claim.x, self.claim.y)
        over = max(0.0, onset - value) if onset is not None else 0.0
        current = -1e-12 - 8e-12 * abs(value - last) / elapsed - 10e-12 * (over / 0.02) ** 2
        self.count, self.ticks = self.count + 1, self.ticks + elapsed
        rng = np.random.default_rng(self.count)
        self.history.append(
            {
                "count": self.count,
                "ticks": self.ticks,
                "bias": value,
                "current": current + 0.2e-12 * rng.normal(),
                "height": 3e-9 + 8e-9 * over / 0.03,
                "saturated": 0.0,
            }
        )
        self.afm.log.append(("bias", value))
        status = Status()
        status.set_finished()
        return status

    def _end(self, termination):
        self.publish(termination, self.history[-1]["bias"], 0)
        self.afm.log.append(("end", termination))
        status = Status()
        status.set_finished()
        return status


class FakeImager:
    """Looks at a fixed landscape that may have drifted under the stage."""

    parent, hints = None, {"fields": []}

    def __init__(self, afm):
        self.name, self.afm, self.count = "imager", afm, 0
        rng = np.random.default_rng(4)
        self.land = gaussian_filter(rng.normal(size=(160, 160)), 3) * 100e-9
        self.blank = False
        self.stream = Signal(name="stream", value="")

    @property
    def roles(self):
        return {role: f"imager_{role}" for role in TOPOGRAPHY_ROLES if role != "topography"}

    def configure_image(self, x, y, size, pixels):
        self.request = {"x": x, "y": y, "size": size, "pixels": pixels}

    def trigger(self):
        self.count += 1
        pixel = self.request["size"] / self.request["pixels"]
        frame = self.afm.stage_xy.frame_offset
        # a feature lies at sample position + drift on the stage; the image is taken at + frame
        moved = (np.subtract(self.afm.drift, frame) / pixel)[::-1]
        n = self.request["pixels"]
        image = shift(self.land, moved, mode="nearest")[20 : 20 + n, 20 : 20 + n]
        noise = np.random.default_rng(self.count).normal(size=image.shape)
        self.image = 50e-9 * noise if self.blank else image + 0.05e-9 * noise
        self.afm.log.append(("image", self.request["x"], self.request["y"]))
        status = Status()
        status.set_finished()
        return status

    def read_image(self):
        pixel_size = self.request["size"] / self.request["pixels"]
        return SimpleNamespace(heights=self.image, pixel_size=pixel_size)

    def read(self):
        values = {
            "topography_x": self.request["x"],
            "topography_y": self.request["y"],
            "topography_pixel_size": self.request["size"] / self.request["pixels"],
        }
        return {self.roles[k]: {"value": v, "timestamp": time.time()} for k, v in values.items()}

    def describe(self):
        return {
            key: {"source": "fake", "dtype": "number", "shape": [], "units": "m"}
            for key in self.roles.values()
        }


class FakeAfm:
    def __init__(self, directory, *, min_distance=10e-9, onset=lambda x, y: -3.7):
        self.name, self.log, self.drift = "afm", [], (0.0, 0.0)
        self.onset = onset
        self.stage_xy = FakeStage(self.log)
        self.ramp = FakeRamp(self, name="ramp")
        self.software_ramp = FakeStepper(self, name="stepper")
        self.imager = FakeImager(self)
        self.ledger = Ledger(directory / "ledger.sqlite")
        self.ledger.add_sample("S1")
        guard = Guard(
            self.ledger,
            "S1",
            self.ledger.mount("S1"),
            "session-1",
            self.stage_xy.position,
            min_distance=min_distance,
        )
        self.ramp.guard = self.software_ramp.guard = guard

    def start_metadata(self):
        return {"sample": "S1", "mount_epoch": 1, "session": "session-1", "bias_applied_to": "tip"}

    def read(self):
        return {}

    def describe(self):
        return {}

    parent = None

    def logged(self, *names):
        return [entry for entry in self.log if entry[0] in names]
