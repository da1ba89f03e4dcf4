"""Files whose bytes loop or crash the HDF5 library: one sentence, and this process goes on."""

import os
import signal

import h5py
import numpy as np
import pytest
from nucleation_bluesky.storage import hdf5_process
from nucleation_bluesky.storage.foreign import read_any
from nucleation_bluesky.storage.hdf5_frames import HDF5Frames
from nucleation_bluesky.storage.hdf5_input import IngestError, InputFile, open_input
from nucleation_bluesky.storage.neutral_writer import write_ivz
from tests.support.ramp_samples import make_ramps

NAME = b"format\0\0"  # of an attribute, padded; its type follows
OBJECT = 8  # bytes from an object's header in a global heap to its length
HEAP_HEADER = 16


@pytest.fixture
def good(tmp_path):
    return write_ivz(tmp_path / "good.h5", make_ramps(2, 3)[0])


def change(path, at, value, was):
    raw = bytearray(path.read_bytes())
    assert raw[at] == was
    raw[at] = value
    path.write_bytes(raw)
    return path


def looping(path):
    """One byte: the length of the first text in the heap of texts; its walk has no end."""
    heap = path.read_bytes().index(b"GCOL")
    return change(path, heap + HEAP_HEADER + OBJECT, 0xFF, was=len("nucleation-ivz"))


def crashing(path):
    """One byte: a text's type is given flags that do not exist; a null pointer is followed."""
    kind = path.read_bytes().index(NAME) + len(NAME)
    return change(path, kind + 1, 0x93, was=1)


def test_a_file_whose_reading_has_no_end(good):
    with (
        open_input(looping(good), processor_time=0.3) as source,
        pytest.raises(IngestError, match=r"good\.h5: attribute 'format' cannot be read") as caught,
    ):
        source.text("format")
    assert "damaged" in str(caught.value)


def test_a_file_that_crashes_the_library(good):
    with pytest.raises(IngestError, match=r"good\.h5: attribute 'format' cannot be read.*damaged"):
        read_any(crashing(good))


def test_after_a_crash_the_same_words_again(good):
    with open_input(good) as source:
        assert source.text("format") == "nucleation-ivz"
        node = source.need("current")
        source._reader.process.kill()
        for _ in range(2):
            with pytest.raises(IngestError, match="dataset 'current' cannot be read"):
                source.rows(node, 0, 4)


def test_a_reader_that_does_not_answer(good, monkeypatch):
    with open_input(good) as source:
        monkeypatch.setattr(hdf5_process, "WAIT", 0.2)
        source._reader.process.send_signal(signal.SIGSTOP)
        with pytest.raises(IngestError, match=r"not read within 0\.2 s"):
            source.text("format")
        assert source._reader.process.returncode == -signal.SIGKILL


def test_the_process_ends_with_the_file_and_keeps_no_lock(good):
    source = InputFile(good)
    with h5py.File(good, "a") as file:
        file.attrs["note"] = "written meanwhile"
    source.close()
    assert source._reader.process.returncode == 0
    with pytest.raises(ProcessLookupError):
        os.kill(source._reader.process.pid, 0)


def test_a_file_that_is_being_written_is_refused(good):
    with h5py.File(good, "a"), pytest.raises(IngestError, match="in use"):
        read_any(good)


def test_memory_is_bounded(tmp_path):
    """A chunk of 4 GB is refused by the system, not by this machine's last page."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("x", (2**29 - 1,), "f8", chunks=(2**29 - 1,), compression=1)
        data.id.write_direct_chunk((0,), b"\0" * 3_000_000)
    with open_input(path) as source, pytest.raises(IngestError, match="'x' cannot be read"):
        source.rows(source.need("x"), 0, 10)


def test_values_arrive_as_they_are(tmp_path):
    path = tmp_path / "a.h5"
    values = {
        "text": "\u00b5m", "bytes": np.bytes_("x"), "flag": True, "count": 2**62, "nan": np.nan,
        "list": ["a", "b"], "array": np.arange(6.0).reshape(2, 3), "empty": np.zeros(0),
    }  # fmt: skip
    frames = np.random.default_rng(0).integers(0, 60000, (40, 9, 11)).astype(">u2")
    with h5py.File(path, "w") as file:
        file.attrs.update(values)
        file.attrs["complex"] = 1 + 2j
        file.attrs["void"] = h5py.Empty("f8")
        file.create_dataset("a/frames", data=frames, chunks=(7, 9, 11), compression="gzip")
    with open_input(path) as source:
        for name, value in values.items():
            found = source.attribute(name)
            np.testing.assert_array_equal(found, "x" if name == "bytes" else value)
        assert source.attribute("void") == ""
        assert source.attribute("absent") is None
        assert set(source.others(frozenset())) == {*values, "complex", "void"}
        lazy = HDF5Frames(path, source.need("a/frames"))
    assert lazy.dtype == frames.dtype
    for key in (
        3, -1, slice(2, 9), slice(None, None, 7), slice(9, 2), [1, 5, 3], (-2, 3),
        (slice(1, 4), slice(2, 5)), (slice(None), 0, 1), np.arange(40) % 9 == 0,
    ):  # fmt: skip
        np.testing.assert_array_equal(lazy[key], frames[key])
    with pytest.raises(IndexError):
        lazy[40]
