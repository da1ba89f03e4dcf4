import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from nucleation_bluesky.contract.files import ROW_DATASETS, WAVEFORM_GROUP, waveform_path
from nucleation_bluesky.segments import SegmentError, SegmentWriter, repair, write_topography


def row(n, seq=1):
    values = np.arange(n) * 1e-12
    scalars = dict.fromkeys(ROW_DATASETS, 0) | {"n_samples": n, "seq": seq, "sample_rate": 1e3}
    return {"bias": values, "current": values + seq, "height": -values}, scalars


@pytest.fixture(params=[None, "gzip"])
def writer(tmp_path, request):
    made = SegmentWriter(tmp_path, "w", 2, 5, compression=request.param, attributes={"boot": "b"})
    yield made
    made.close()


def test_layout_and_rollover(writer, tmp_path):
    assert list(tmp_path.iterdir()) == []  # opened lazily
    assert [writer.append(*row(n, n)) for n in (5, 3, 1)] == [(0, 0), (0, 1), (1, 0)]
    writer.close()
    with h5py.File(tmp_path / "w_00000.h5") as file:
        current = file[waveform_path("current")]
        assert current.shape == (2, 5)
        assert current.chunks == (1, 5)
        assert current.dtype == np.float32
        assert current.attrs["units"] == "A"
        assert np.isnan(current[1, 3:]).all()
        assert current[1, :3] == pytest.approx([3, 3, 3])
        assert list(file[f"{WAVEFORM_GROUP}/n_samples"]) == [5, 3]
        assert file.attrs["boot"] == "b"
    with h5py.File(tmp_path / "w_00001.h5") as file:
        assert file[waveform_path("bias")].shape == (1, 5)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["w_00000.h5", "w_00001.h5"]


def test_refuses_to_overwrite(tmp_path):
    (tmp_path / "a_00003.h5").write_bytes(b"")
    with pytest.raises(SegmentError, match="exists already"):
        SegmentWriter(tmp_path, "a", 2, 5)


def test_refuses_a_file_that_appeared_meanwhile(tmp_path):
    writer = SegmentWriter(tmp_path, "a", 2, 5)
    (tmp_path / "a_00000.h5").write_bytes(b"precious")
    with pytest.raises(SegmentError, match="not overwritten"):
        writer.append(*row(3))
    assert (tmp_path / "a_00000.h5").read_bytes() == b"precious"
    assert len(list(tmp_path.iterdir())) == 1


def test_refuses_bad_input(tmp_path):
    for prefix in ("", "../x", "a/b", "x" * 200, "a b", "ü"):
        with pytest.raises(SegmentError):
            SegmentWriter(tmp_path, prefix, 2, 5)
    with pytest.raises(SegmentError, match="absolute"):
        SegmentWriter("relative", "a", 2, 5)
    with pytest.raises(SegmentError, match="does not exist"):
        SegmentWriter(tmp_path / "absent", "a", 2, 5)
    with pytest.raises(SegmentError):
        SegmentWriter(tmp_path, "a", 0, 5)
    with pytest.raises(SegmentError, match="do not fit"):
        SegmentWriter(tmp_path, "a", 2, 5).append(*row(6))


def test_nearly_full_disk(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(SegmentError, match="nearly full"):
        SegmentWriter(tmp_path, "a", 2, 5)


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from test_segments import row
from nucleation_bluesky.segments import SegmentWriter
writer = SegmentWriter(sys.argv[1], "k", 1000, 3500)
for seq in range(1, 1000):
    segment, index = writer.append(*row(3500, seq))
    print(index, flush=True)
"""


@pytest.mark.parametrize("stop", [signal.SIGKILL])
def test_killed_writer_loses_no_announced_row(tmp_path, stop):
    here = str(Path(__file__).parent)
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path), here], stdout=subprocess.PIPE, text=True
    )
    path = tmp_path / "k_00000.h5"
    announced = -1
    while announced < 20:
        announced = int(process.stdout.readline())
    with h5py.File(path, "r", libver="latest", swmr=True) as file:  # while it is being written
        assert file[waveform_path("current")].shape[0] > announced
        assert file[waveform_path("current")][announced, 0] == announced + 1
    os.kill(process.pid, stop)
    announced = max([announced, *(int(line) for line in process.stdout)])
    process.wait(10)
    process.stdout.close()

    def check(**options):
        with h5py.File(path, "r", **options) as file:
            data = file[waveform_path("current")][: announced + 1]
            assert np.array_equal(data[:, 0], np.arange(1, announced + 2))
            assert (file[f"{WAVEFORM_GROUP}/n_samples"][: announced + 1] == 3500).all()

    check(swmr=True, libver="latest")
    with pytest.raises(OSError, match="open"):
        h5py.File(path, "r")
    assert repair(path)
    check()
    assert not repair(path)
    assert [p.name for p in tmp_path.iterdir()] == ["k_00000.h5"]


def test_repair_of_rubbish(tmp_path):
    path = tmp_path / "x.h5"
    path.write_bytes(b"not HDF5")
    with pytest.raises(SegmentError, match="cannot be repaired"):
        repair(path)
    assert path.read_bytes() == b"not HDF5"


def test_topography(tmp_path):
    path = tmp_path / "before.h5"
    image = np.arange(12.0).reshape(3, 4)
    write_topography(path, image, x=1e-6, y=2e-6, size=2e-6, ticks=5.0)
    with h5py.File(path) as file:
        data = file["/entry/data/topography"]
        assert data.shape == (1, 3, 4)
        assert data.attrs["pixel_size"] == 5e-7
        assert data.attrs["units"] == "m"
    with pytest.raises(SegmentError, match="exists already"):
        write_topography(path, image, x=0, y=0, size=1, ticks=0)
