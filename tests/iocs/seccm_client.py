"""Landings and films over Channel Access, for tests."""

import time

import numpy as np
from nucleation_bluesky.contract.program import Approach, Program
from nucleation_bluesky.contract.pvs import SECCM_RESULT_FIELDS, family_pvs

from tests.iocs.client import Client


class SeccmClient(Client):
    pvs = family_pvs("seccm")
    fields = SECCM_RESULT_FIELDS

    def program(self, program: Program):
        um, pico = 1e-6, 1e-12
        table = program.table().ravel()
        if len(table):
            self.put("PROGRAM", table)
        self.put("PROGRAM:STEPS", len(program.steps))
        self.put("SAMPLE:PERIOD", program.sample_period)
        self.put("RETRACT:DISTANCE", program.retract_distance / um)
        self.put("RETRACT:SPEED", program.retract_speed / um)
        self.put("APPROACH:ON", int(program.approach is not None))
        if isinstance(approach := program.approach, Approach):
            self.put("APPROACH:SPEED", approach.speed / um)
            self.put("APPROACH:Z_MAX", approach.z_max / um)
            self.put("APPROACH:MODE", int(approach.mode))
            self.put("APPROACH:POTENTIAL", approach.potential)
            self.put("APPROACH:CURRENT", approach.current / pico)
            self.put("APPROACH:THRESHOLD", approach.threshold)
            self.put("APPROACH:CONFIRM", approach.confirm_samples)

    def land(self, program: Program, timeout=30):
        self.program(program)
        self.put("GO", self.arm(), timeout=timeout)
        return self.result

    def capture(self, directory, prefix="s", max_samples=200_000):
        self.put("FILE:CAPTURE", 0)
        self.put("FILE:DIR", str(directory))
        self.put("FILE:PREFIX", prefix)
        self.put("FILE:MAX_SAMPLES", max_samples)
        self.put("FILE:CAPTURE", 1)


class CameraClient(Client):
    pvs = family_pvs("camera")

    def __init__(self, ioc, monkeypatch, prefix="NB:IRM:"):
        super().__init__(ioc, monkeypatch)
        self.prefix = prefix

    def film(self, directory, name="film", frames=0):
        self.put("HDF1:FilePath", str(directory))
        self.put("HDF1:FileName", name)
        self.put("HDF1:NumCapture", frames)
        self.put("HDF1:Capture", 1, wait=False)
        self.wait_value("HDF1:Capture_RBV", 1)

    def wait_value(self, suffix, wanted, timeout=5.0):
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if np.all(self.get(suffix) == wanted):
                return
            time.sleep(0.005)
        raise TimeoutError(f"{suffix} is {self.get(suffix)!r}, not {wanted!r}")
