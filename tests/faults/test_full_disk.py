"""A full disk met by what writes HDF5: the process lives on, and what was written can be read.

HDF5 itself crashes some time after it could not flush a file: each case has a process of its own.
"""

import subprocess
import sys
import textwrap

import pytest
from benchmarks.fault_machine import SmallDisk

BEFORE = """
import sys, warnings
from pathlib import Path
import h5py, numpy as np
from benchmarks.fault_machine import SmallDisk
from nucleation_bluesky import segments
from nucleation_bluesky.segments import SegmentWriter, SegmentError

directory = Path(sys.argv[1])
disk = SmallDisk.__new__(SmallDisk)
disk.path, disk._ballast = directory, directory / ".ballast"
scalars = dict(n_samples=800, n_post=0, termination=1, seq=0, start_ticks=0.0, sample_rate=1e3)

def row(value):
    return {name: np.full(800, float(value)) for name in ("bias", "current", "height")}
"""
ROWS = """
kept = {}
for turn in range(12):
    writer = SegmentWriter(directory, f"turn{turn}", 500, 1000)
    for number in range(5):
        writer.append(row(number), scalars)
    disk.fill()
    try:
        for number in range(2000):
            writer.append(row(number), scalars)
        print("never full")
    except SegmentError as error:
        assert "full" in str(error) or "No space" in str(error), error
    disk.free()
    writer.append(row(1), scalars)  # a new file
    writer.close()
    with h5py.File(writer.path(0), "r") as file:
        assert len(file["/entry/data/bias"]) >= 5
        assert file["/entry/data/bias"][4, 799] == 4.0
    assert not list(directory.glob("*.reserve")) + list(directory.glob(".*.reserve"))
print("lived on")
"""
# the disk fills between the look and the write: HDF5 meets it
UNSEEN = "segments.DiskReserve.require_room = lambda self: None\n"
NO_RESERVE = "segments.DiskReserve.release = lambda self: None\n"
FRAMES = """
from nucleation_bluesky.iocs.frames import FrameWriter
from nucleation_bluesky.iocs.seccm_backend import Frame
import time
for turn in range(8):
    writer = FrameWriter(directory / f"film{turn}.h5", (64, 64))
    def put(n):
        image = np.full((64, 64), n, dtype=np.uint16)
        writer.put(Frame(image=image, timestamp=1e9 + n, unique_id=n))
    for n in range(20):
        put(n)
    while writer.written.frames < 20:
        time.sleep(0.01)
    disk.fill()
    for n in range(20, 300):
        put(n)
        time.sleep(0.0005)
    found = writer.close()
    disk.free()
    assert found.error and found.dropped, found
    with h5py.File(writer.path, "r") as file:
        data = file["/entry/data/data"]
        assert len(data) >= 20 and data[19, 0, 0] == 19
print("lived on")
"""


@pytest.fixture
def small_disk(tmp_path):
    disk = SmallDisk(tmp_path / "disk", 128)
    if not disk.mounted:
        pytest.skip("no file system may be mounted here")
    yield disk
    disk.close()


def run(code, directory):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(BEFORE + code), str(directory)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("code", [ROWS, UNSEEN + ROWS, FRAMES, UNSEEN + FRAMES])
def test_process_lives_on(small_disk, code):
    done = run(code, small_disk.path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split("\n")[-2] == "lived on"


def test_without_the_reserve_it_does_not(small_disk):
    """What the reserve is for: HDF5 left with a file that it could not flush."""
    done = run(UNSEEN + NO_RESERVE + ROWS, small_disk.path)
    assert done.returncode != 0 or "Can't decrement id ref count" in done.stderr
