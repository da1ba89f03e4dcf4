"""Frames a second from camera to file: 700 x 700 pixels at 100 frames/s while a landing runs.

A camera of the demonstration instrument delivers frames of noise on time, each with its number in
its first pixels, through the same front end, writer thread and HDF5 file as any other. Controller
and camera live in one process; a galvanostatic landing with heartbeat runs throughout. Counted are
the frames that were due, those in the file, and those that are in the file unharmed and in order.
Higher rates show the reserve. A second part films Micro-Manager's demonstration camera.

Run: ``python -m benchmarks camera_path [--seconds 20] [--rates 100 200 400]``.
"""

import argparse
import contextlib
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
import psutil
import pytest
from nucleation_bluesky.contract.camera import (
    EPICS_EPOCH,
    FRAMES_DATASET,
    TIMESTAMP_DATASET,
    UNIQUE_ID_DATASET,
    ImageMode,
)
from nucleation_bluesky.contract.program import Approach, Program
from nucleation_bluesky.contract.program_builders import chronopotentiometry
from tests.iocs.seccm_client import CameraClient, SeccmClient
from tests.support.ioc import DEMO_SECCM, RunningIoc, seccm_ioc

from benchmarks.report import show, write_json

SIZE = 700
POLL = 0.05
FULL = 10.0  # s: shorter runs leave the kept result alone
WATCHED = ("heartbeat_lost", "stalled", "killed", "backend_fault", "unsafe")


def check(path: Path) -> dict[str, Any]:
    """What is in the file: number of frames, of gaps, of frames that are not what was sent."""
    with h5py.File(path) as file:
        frames, ids = file[FRAMES_DATASET], file[UNIQUE_ID_DATASET][:].astype(int)
        stamps = file[TIMESTAMP_DATASET][:] + EPICS_EPOCH
        wrong = sum(
            int(frames[n, 0, 0]) != ids[n] % 65536 or int(frames[n, -1, -1]) != ids[n] % 65536
            for n in range(len(ids))
        )
    return {
        "written": len(ids),
        "missing": int(ids[-1] - ids[0] + 1 - len(ids)) if len(ids) else 0,
        "harmed": wrong,
        "seconds": float(stamps[-1] - stamps[0]) if len(ids) > 1 else 0.0,
        "bytes": path.stat().st_size,
    }


def film(
    ioc: RunningIoc, camera: CameraClient, directory: Path, rate: float, seconds: float
) -> dict[str, Any]:
    """One film at this rate; a landing runs beside it where the instrument has a controller."""
    camera.put("cam1:AcquireTime", 0.5 / rate)
    camera.put("cam1:AcquirePeriod", 1 / rate)
    frames = round(rate * seconds)
    camera.put("cam1:ImageMode", int(ImageMode.MULTIPLE))
    camera.put("cam1:NumImages", frames)
    camera.film(directory, f"film{rate:.0f}")
    process = psutil.Process(ioc.pid)
    before, began = sum(process.cpu_times()[:2]), time.monotonic()
    camera.put("cam1:Acquire", 1, wait=False)
    camera.wait_value("cam1:Acquire_RBV", 1)
    size, least = int(camera.get("HDF1:QueueSize")), 10**6
    while camera.get("cam1:Acquire_RBV") and time.monotonic() - began < 3 * seconds + 30:
        least = min(least, int(camera.get("HDF1:QueueFree")))
        time.sleep(POLL)
    acquired = time.monotonic() - began
    camera.put("HDF1:Capture", 0, timeout=120)
    closed = time.monotonic() - began
    path = Path(camera.get("HDF1:FullFileName_RBV"))
    result = {
        "rate": rate,
        "due": frames,
        **check(path),
        "dropped": int(camera.get("HDF1:DroppedArrays_RBV")),
        "acquisition_s": acquired,
        "file_closed_after_s": closed - acquired,
        "most_frames_waiting": size - least,
        "queue": size,
        "cpu_ms_per_frame": (sum(process.cpu_times()[:2]) - before) / frames * 1e3,
        "alarms": len(ioc.events(*WATCHED)),
    }
    path.unlink()
    return result


def demonstration(directory: Path, rates: list[float], seconds: float) -> list[dict[str, Any]]:
    """Films of the demonstration camera, each beside a landing."""
    world = {"rows": SIZE, "columns": SIZE, "noise_frames": 32, "surface": 0.2e-6}
    results = []
    with (
        pytest.MonkeyPatch.context() as patch,
        seccm_ioc(directory, factory=DEMO_SECCM, speed=1, world=world) as ioc,
        contextlib.closing(SeccmClient(ioc, patch)) as controller,
        contextlib.closing(CameraClient(ioc, patch)) as camera,
    ):
        for rate in rates:
            hold = chronopotentiometry(-1e-9, 3 * seconds + 30)
            controller.program(Program(Approach(potential=1.0, z_max=1e-6), hold))
            controller.put("PIP:Z", 0.0)
            controller.put("GO", controller.arm(), wait=False)
            controller.ioc.wait_event("energised", count=len(results) + 1)
            results.append(film(ioc, camera, directory, rate, seconds))
            samples = controller.ioc.events("result")
            assert not samples or len(samples) == len(results) - 1  # the landing still runs
            controller.put("KILL", 1)
            controller.ioc.wait_event("result", count=len(results))
            results[-1]["landing_s"] = float(controller.result["duration"])
            results[-1]["alarms"] -= len(results) - 1  # our own kills
    return results


def micromanager(directory: Path, seconds: float) -> dict[str, Any]:
    """A film of Micro-Manager's demonstration camera as fast as 2 ms of exposure allow."""
    with (
        pytest.MonkeyPatch.context() as patch,
        seccm_ioc(directory, factory=DEMO_SECCM, speed=1, camera="micromanager") as ioc,
        contextlib.closing(CameraClient(ioc, patch)) as camera,
    ):
        camera.put("cam1:AcquireTime", 0.002)
        camera.put("cam1:AcquirePeriod", 0.002)
        camera.put("cam1:ImageMode", int(ImageMode.CONTINUOUS))
        camera.film(directory, "mm")
        camera.put("cam1:Acquire", 1, wait=False)
        time.sleep(seconds)
        camera.put("cam1:Acquire", 0)
        camera.put("HDF1:Capture", 0, timeout=60)
        path = Path(camera.get("HDF1:FullFileName_RBV"))
        with h5py.File(path) as file:
            ids = file[UNIQUE_ID_DATASET][:].astype(int)
            shape = file[FRAMES_DATASET].shape[1:]
            span = float(np.ptp(file[TIMESTAMP_DATASET][:]))
        dropped = int(camera.get("HDF1:DroppedArrays_RBV"))
        path.unlink()
    return {
        "frame": [int(n) for n in shape],
        "written": len(ids),
        "missing": int(ids[-1] - ids[0] + 1 - len(ids)),
        "dropped": dropped,
        "rate": float((len(ids) - 1) / span),
    }


def main() -> None:
    """Run, print and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rates", type=float, nargs="+", default=[100.0, 200.0, 400.0])
    parser.add_argument("--directory", type=Path, default=None)
    options = parser.parse_args()
    with TemporaryDirectory(dir=options.directory) as name:
        directory = Path(name)
        films = demonstration(directory, options.rates, options.seconds)
        core = micromanager(directory, min(options.seconds, 10.0))
    show(
        f"Camera path, {SIZE} x {SIZE} uint16, a landing running beside it",
        ["frames/s", "due", "written", "dropped", "harmed", "most waiting", "MB/s",
         "CPU ms/frame", "alarms"],
        [
            [
                f"{f['rate']:g}", str(f["due"]), str(f["written"]), str(f["dropped"]),
                str(f["harmed"]), f"{f['most_frames_waiting']} of {f['queue']}",
                f"{f['written'] * SIZE**2 * 2e-6 / f['acquisition_s']:.0f}",
                f"{f['cpu_ms_per_frame']:.2f}", str(f["alarms"]),
            ]
            for f in films
        ],
    )  # fmt: skip
    show(
        "Micro-Manager's demonstration camera",
        ["frame", "written", "missing", "dropped", "frames/s"],
        [[str(core["frame"]), str(core["written"]), str(core["missing"]), str(core["dropped"]),
          f"{core['rate']:.0f}"]],
    )  # fmt: skip
    if options.seconds < FULL:
        return  # a short look is no result
    write_json("camera_path", {"size": SIZE, "seconds": options.seconds, "films": films,
                               "micromanager": core})  # fmt: skip


if __name__ == "__main__":
    main()
