"""A ramp device without an instrument: real HDF5 segments in SWMR mode, real documents.

Run as a script it is a session: journal, RunEngine, courier; used by tests that kill it.
"""

import argparse
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import ClassVar

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import h5py
import numpy as np
from bluesky import RunEngine
from nucleation_bluesky.callbacks.journal import Journal
from nucleation_bluesky.contract.documents import START_KEY
from nucleation_bluesky.storage import courier_process
from ophyd.status import Status

CHANNELS = {"bias": "V", "current": "A", "height": "m"}
WIDTH = 40
SCALARS = {
    "x": ("number", "m"), "y": ("number", "m"), "site": ("integer", ""), "row": ("integer", ""),
    "col": ("integer", ""), "termination": ("integer", ""), "n_samples": ("integer", ""),
    "n_post": ("integer", ""), "sample_rate": ("number", "Hz"), "ramp_start": ("number", "V"),
    "fast_segment_end": ("number", "V"), "charge": ("number", "C"),
}  # fmt: skip


def wait_until(condition, timeout=30.0, what="condition"):
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not come within {timeout} s"
        threading.Event().wait(0.1)
    return found


def site_samples(site: int) -> int:
    return 20 + site % 15


def waveform(channel: str, site: int) -> np.ndarray:
    """What a site must read back as, (n_samples,)."""
    scale = {"bias": -0.01, "current": -1e-13, "height": 1e-10}[channel]
    return (scale * (np.arange(site_samples(site)) + 100 * site)).astype("f4")


class FakeRamp:
    parent = None
    hints: ClassVar[dict] = {"fields": []}

    def __init__(self, directory: Path, name: str = "ramp", rows: int = 8, columns: int = 5):
        self.name, self.directory, self.rows, self.columns = name, Path(directory), rows, columns
        self.overrides: dict[str, dict[int, object]] = {}
        self.count = 0
        self._file = None
        self._uids: dict[str, str] = {}
        self._docs: list[tuple[str, dict]] = []

    def describe(self):
        keys = {}
        for role, unit in CHANNELS.items():
            keys[f"{self.name}_{role}"] = {
                "source": "fake", "dtype": "array", "dtype_numpy": "<f4", "shape": [1, WIDTH],
                "external": "STREAM:", "units": unit,
            }  # fmt: skip
        for role, (dtype, unit) in SCALARS.items():
            keys[f"{self.name}_{role}"] = {
                "source": "fake", "dtype": dtype, "shape": [], "units": unit,
            }  # fmt: skip
        for role in ("vertices", "rates"):
            keys[f"{self.name}_{role}"] = {
                "source": "fake", "dtype": "array", "shape": [4], "units": "V",
                "dtype_numpy": "<f8",
            }  # fmt: skip
        keys[f"{self.name}_exposure"] = {"source": "fake", "dtype": "string", "shape": []}
        return keys

    def describe_configuration(self):
        return {f"{self.name}_gain": {"source": "fake", "dtype": "number", "shape": []}}

    def read_configuration(self):
        return {f"{self.name}_gain": {"value": 1e11, "timestamp": time.time()}}

    def stage(self):
        self.count = 0
        return [self]

    def unstage(self):
        if self._file is not None:
            self._file.close()
            self._file = None
        return [self]

    def _open_segment(self):
        self.unstage()
        path = self.directory / f"seg_{uuid.uuid4().hex[:8]}.h5"
        self._file = h5py.File(path, "w", libver="latest")
        for channel in CHANNELS:
            self._file.create_dataset(
                f"/entry/data/{channel}", shape=(0, WIDTH), maxshape=(None, WIDTH),
                chunks=(1, WIDTH), dtype="f4", fillvalue=np.nan,
            )  # fmt: skip
        self._file.swmr_mode = True
        for channel in CHANNELS:
            self._uids[channel] = str(uuid.uuid4())
            resource = {
                "uid": self._uids[channel], "data_key": f"{self.name}_{channel}",
                "mimetype": "application/x-hdf5", "uri": f"file://localhost{path}",
                "parameters": {"dataset": f"/entry/data/{channel}", "chunk_shape": (1, WIDTH)},
            }  # fmt: skip
            self._docs.append(("stream_resource", resource))

    def trigger(self):
        row = self.count % self.rows
        if row == 0:
            self._open_segment()
        n = site_samples(self.count)
        for channel in CHANNELS:
            data = self._file[f"/entry/data/{channel}"]
            data.resize(row + 1, 0)
            data[row, :n] = waveform(channel, self.count)
            data.flush()
            datum = {
                "uid": f"{self._uids[channel]}/{self.count}",
                "stream_resource": self._uids[channel],
                "descriptor": "",
                "indices": {"start": self.count, "stop": self.count + 1},
                "seq_nums": {"start": 0, "stop": 0},
            }
            self._docs.append(("stream_datum", datum))
        self.count += 1
        status = Status()
        status.set_finished()
        return status

    def collect_asset_docs(self, index=None):
        docs, self._docs = self._docs, []
        yield from docs

    def get_index(self):
        return self.count

    def read(self):
        site = self.count - 1
        values = {
            "x": 1e-7 * (site % self.columns), "y": 1e-7 * (site // self.columns), "site": site,
            "row": site // self.columns, "col": site % self.columns, "termination": 2,
            "n_samples": site_samples(site), "n_post": 0, "sample_rate": 1000.0,
            "ramp_start": 0.0, "fast_segment_end": -0.5 if site % 3 == 0 else np.nan,
            "charge": -1e-15 * site, "exposure": f"{site:024x}",
            "vertices": np.array([-0.5, -2.0, np.nan, np.nan] if site % 3 == 0
                                 else [-2.0, np.nan, np.nan, np.nan]),
            "rates": np.array([5.0, 1.2, np.nan, np.nan] if site % 3 == 0
                              else [1.2, np.nan, np.nan, np.nan]),
        }  # fmt: skip
        for role, by_site in self.overrides.items():
            values[role] = by_site.get(site, values[role])
        now = time.time()
        return {f"{self.name}_{k}": {"value": v, "timestamp": now} for k, v in values.items()}


def block(ramp: FakeRamp, **more) -> dict:
    roles = {role: f"{ramp.name}_{role}" for role in (*SCALARS, *CHANNELS, "vertices", "rates")}
    return {
        START_KEY: {
            "schema": 1, "technique": "afm-nucleation-map", "family": "afm", "roles": roles,
            "sample": "glass-1", "mount_epoch": 1,
            "ramp": {"start": 0.0, "vertices": [-2.0], "rates": [1.2], "sample_rate": 1000.0,
                     "measuring_segment": 0},
            "compliance": {"current": [-1e-11, 1e-11], "height": None},
            "grid": {"shape": [4, ramp.columns], "pitch": 1e-7, "origin": [0, 0], "angle": 0},
            "material": {"name": "Li", "molar_volume": 13e-6, "electrons": 1},
            "equilibrium_potential": {"value": -0.1, "source": "test"},
            "capabilities": {"latency": 1e-3, "current_bandwidth": 1061.0},
            **more,
        }
    }  # fmt: skip


def ramp_plan(ramp: FakeRamp, sites: int, pause: float = 0.0, md: dict | None = None):
    def inner():
        yield from bps.open_run({"plan_name": "fake_map", **block(ramp), **(md or {})})
        for _ in range(sites):
            yield from bps.trigger_and_read([ramp])
            if pause:
                yield from bps.sleep(pause)
        yield from bps.close_run()

    return bpp.stage_wrapper(bpp.finalize_wrapper(inner(), bps.null()), [ramp])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("sites", type=int)
    parser.add_argument("--pause", type=float, default=0.02)
    parser.add_argument("--courier", action="store_true")
    options = parser.parse_args()
    if options.courier:
        courier_process.start(options.data)
    run_engine = RunEngine({})
    Journal(options.data / "journal", session="test").attach(run_engine)
    directory = options.data / "waveforms"
    directory.mkdir(parents=True, exist_ok=True)

    def tell(name, doc):
        sys.stdout.write(f"{name} {doc.get('seq_num', doc.get('uid'))}\n")
        sys.stdout.flush()

    run_engine.subscribe(tell)
    run_engine(ramp_plan(FakeRamp(directory), options.sites, options.pause))


if __name__ == "__main__":
    main()
