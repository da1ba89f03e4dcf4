"""Blocks of rows give what Tiled's own adapter gives, with few openings of the files."""

import h5py
import numpy as np
import pytest
from nucleation_bluesky.storage import hdf5_adapter
from nucleation_bluesky.storage.hdf5_adapter import BlockwiseArrayAdapter, Rows
from tiled.adapters.hdf5 import HDF5ArrayAdapter
from tiled.ndslice import NDSlice

DATASET = "/entry/data/current"


@pytest.fixture
def uris(tmp_path):
    made = []
    for number, rows in enumerate((7, 5, 1)):
        path = tmp_path / f"segment_{number}.h5"
        values = np.random.default_rng(number).normal(size=(rows, 3, 40)).astype("f4")
        with h5py.File(path, "w") as file:
            file.create_dataset(DATASET, data=values, chunks=(1, 3, 40))
        made.append(path.as_uri().replace("file://", "file://localhost"))
    return made


@pytest.mark.parametrize("block", [1, 1000, 8_000_000])
@pytest.mark.parametrize(
    "part", ["", ":", "3", "-1", "2:9", "::2", "10:2:-1", "5:8,1", ":,:,7", "...,3:9", "12:13"]
)
def test_as_tiled(uris, part, block, monkeypatch):
    monkeypatch.setattr(hdf5_adapter, "BLOCK", block)
    wanted = HDF5ArrayAdapter.from_uris(*uris, dataset=DATASET)
    served = BlockwiseArrayAdapter.from_uris(*uris, dataset=DATASET)
    key = NDSlice.from_numpy_str(part) if part else NDSlice()
    assert np.array_equal(served.read(key), wanted.read(key))


def test_opens_each_file_once_for_a_whole_read(uris, monkeypatch):
    adapter = BlockwiseArrayAdapter.from_uris(*uris, dataset=DATASET)
    opened = []
    original = Rows._open
    monkeypatch.setattr(Rows, "_open", lambda rows: opened.append(rows) or original(rows))
    adapter.read()
    assert len(opened) == len(uris)
    opened.clear()
    assert adapter.read(NDSlice.from_numpy_str("8")).shape == (3, 40)
    assert len(opened) == 1


@pytest.mark.parametrize("shape", [(), (0, 5)])
def test_empty_and_scalar(tmp_path, shape):
    path = tmp_path / "one.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset(DATASET, data=np.ones(shape))
    wanted = HDF5ArrayAdapter.from_uris(path.as_uri(), dataset=DATASET)
    served = BlockwiseArrayAdapter.from_uris(path.as_uri(), dataset=DATASET)
    assert np.array_equal(served.read(), wanted.read())


def test_no_such_dataset(uris):
    with pytest.raises(KeyError):
        BlockwiseArrayAdapter.from_uris(*uris, dataset="/entry/data/none")
