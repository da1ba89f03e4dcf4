"""Damaged and forged files: a result or the documented error, and nothing is written.

The mistakes that people make are in tests/storage; here bytes and structures are at random.
"""

import contextlib
import re
import tempfile
import tomllib
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nucleation_bluesky.callbacks.journal_codec import encode
from nucleation_bluesky.callbacks.journal_reader import JournalDamagedError, read_journal
from nucleation_bluesky.session.config import (
    Configuration,
    ConfigurationError,
    load_configuration,
)
from nucleation_bluesky.storage.hdf5_input import IngestError
from nucleation_bluesky.storage.ingest import ingest_file
from nucleation_bluesky.storage.neutral import read_ivz
from nucleation_bluesky.storage.neutral_seccm import read_seccm
from nucleation_bluesky.storage.neutral_writer import write_ivz
from nucleation_bluesky.storage.tdms import read_tdms

from tests.properties import EXAMPLES
from tests.storage.seccm_files import hopping_record, make_file, make_movie, write_tdms
from tests.support.ramp_samples import make_ramps, make_topographies

modest = settings(
    max_examples=EXAMPLES, deadline=None, report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
processes = settings(modest, max_examples=max(1, EXAMPLES // 2))  # each example starts one
SECRET = "must-not-be-read"
READERS = {"ivz": read_ivz, "seccm": read_seccm, "tdms": read_tdms}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    directory = tmp_path_factory.mktemp("good")
    ramps = make_ramps(2, 3)[0]
    ivz = write_ivz(directory / "a.h5", ramps, make_topographies(ramps, pixels=64))
    movie = make_movie(15.0, pixels=8)
    seccm, _ = make_file(directory / "b.h5", movie=movie)
    tdms = write_tdms(directory / "c.tdms", hopping_record(samples=30))
    return {"ivz": ivz, "seccm": seccm, "tdms": Path(tdms)}


def damaged(raw, data, top):
    raw = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 6))):
        end = data.draw(st.sampled_from([min(top, len(raw)), len(raw)]))
        at = data.draw(st.integers(0, end - 1))
        raw[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
    if data.draw(st.integers(0, 4)) == 0:
        raw = raw[: data.draw(st.integers(0, len(raw)))]
    return bytes(raw)


# where the parts of an HDF5 file begin that the library trusts
SIGNATURES = (b"\x89HDF", b"TREE", b"HEAP", b"SNOD", b"GCOL", b"format\0\0", b"technique\0")


def places(raw):
    """Offsets of the structures in a file; its first bytes if it has none."""
    found = {m.start() for s in SIGNATURES for m in re.finditer(re.escape(s), raw)}
    return sorted(found) or [0]


@pytest.mark.parametrize("kind", ["ivz", "seccm", "tdms"])
@settings(processes, derandomize=True)
@given(data=st.data())
def test_damaged_bytes(kind, good, tmp_path, data):
    """Nothing but the documented error, and an end to every read."""
    raw = bytearray(damaged(good[kind].read_bytes(), data, 4096))
    for begin in data.draw(st.lists(st.sampled_from(places(bytes(raw))), max_size=2)):
        at = begin + data.draw(st.integers(0, 64))
        if at < len(raw):
            raw[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
    path = tmp_path / good[kind].name
    path.write_bytes(bytes(raw))
    with contextlib.suppress(IngestError):
        READERS[kind](path)
    assert list(tmp_path.iterdir()) == [path]


# -- forged structures ---------------------------------------------------------------------------

numbers = st.sampled_from([0, 1, -1, 2**31, 2**62, -(2**63), np.nan, np.inf, -np.inf, 1e300])
forgeries = st.one_of(
    st.tuples(st.just("dtype"), st.sampled_from(["f2", "i8", "u8", "c8", "S4", "?", ">f8"])),
    st.tuples(st.just("shape"), st.sampled_from([(), (0,), (1,), (3, 2), (1, 1, 1, 1)])),
    st.tuples(st.just("claims"), st.sampled_from([2**31, 2**40, 2**62])),
    st.tuples(st.just("poke"), numbers),
    st.tuples(st.just("external"), st.sampled_from(["../secret.h5", "/etc/passwd", "nowhere.h5"])),
    st.tuples(st.just("storage"), st.sampled_from(["../secret.h5", "/etc/passwd"])),
    st.tuples(st.just("soft"), st.sampled_from(["/", "..", "/../x", "/a/../../b", "/loop"])),
    st.tuples(st.just("group"), st.none()),
    st.tuples(st.just("drop"), st.none()),
)


def forge(file, name, what, value):
    """Put something else at the place of a dataset."""
    old = file[name]
    values, attrs = old[()], dict(old.attrs)
    if what == "poke":
        if np.size(values) and np.ndim(values):
            index = (np.size(values) // 2,)
            with np.errstate(all="ignore"), contextlib.suppress(OverflowError, ValueError):
                values.reshape(-1)[index] = value
            old[...] = values
        return
    del file[name]
    if what == "dtype":
        with np.errstate(all="ignore"):
            file[name] = np.asarray(values).astype(value)
    elif what == "shape":
        file[name] = np.zeros(value, np.asarray(values).dtype)
    elif what == "claims":
        file.create_dataset(name, (value,), np.asarray(values).dtype, chunks=(64,))
    elif what == "external":
        file[name] = h5py.ExternalLink(value, "secret")
    elif what == "storage":
        file.create_dataset(name, (4,), "f4", external=[(value, 0, 16)])
    elif what == "soft":
        file[name] = h5py.SoftLink(value)
    elif what == "group":
        file.create_group(name)
    with contextlib.suppress(KeyError, OSError, RuntimeError):
        for key, attribute in attrs.items():
            file[name].attrs[key] = attribute


def names_of(path):
    found = []
    with h5py.File(path) as file:
        file.visititems(lambda n, node: found.append(n) if isinstance(node, h5py.Dataset) else None)
        attributes = sorted(file.attrs)
    return sorted(found), attributes


@pytest.mark.parametrize("kind", ["ivz", "seccm"])
@processes
@given(data=st.data())
def test_forged_structures(kind, good, data):
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        path = root / "in" / "forged.h5"
        path.parent.mkdir()
        with h5py.File(root / "secret.h5", "w") as file:
            file["secret"] = np.full(4, 42.0)
            file.attrs["note"] = SECRET
        path.write_bytes(good[kind].read_bytes())
        datasets, attributes = names_of(path)
        with h5py.File(path, "a") as file:
            chosen = st.lists(st.sampled_from(datasets), min_size=1, max_size=2, unique=True)
            for name in data.draw(chosen):
                forge(file, name, *data.draw(forgeries))
            if data.draw(st.booleans()):
                name = data.draw(st.sampled_from(attributes))
                file.attrs[name] = data.draw(
                    numbers | st.text(max_size=4).filter(lambda t: "\0" not in t)
                    | st.just(np.array([1.0, 2.0])) | st.just("../../etc/passwd")
                )  # fmt: skip
        before = path.read_bytes()
        said = ""
        try:
            ingest_file(path, journal_dir=root / "j", waveform_dir=root / "w")
        except IngestError as error:
            said = str(error)
        assert "\n" not in said
        assert SECRET not in said
        if said:  # nothing is left behind that could be taken for data
            assert not list(root.glob("j/*.jsonl"))
            assert not list(root.glob("w/*"))
        assert path.read_bytes() == before
        assert list(path.parent.iterdir()) == [path]


# -- journals and configurations -----------------------------------------------------------------

HEADER = {"format": "nucleation-bluesky-journal", "version": 1, "owner": {"pid": 1}, "run": "u"}
LINES = [
    encode("header", HEADER), encode("start", {"uid": "u", "time": 1.0}),
    *(encode("event", {"seq_num": n, "data": {"a": np.arange(3)}}) for n in range(4)),
    encode("stop", {"run_start": "u"}),
]  # fmt: skip


@modest
@given(data=st.data())
def test_damaged_journal_gives_a_true_beginning_or_its_error(tmp_path, data):
    """Documents that are returned are those that were written, in order, and none is skipped."""
    path = tmp_path / "20260101T000000Z_u.open.jsonl"
    path.write_bytes(damaged(b"".join(LINES), data, 200))
    found = []
    with contextlib.suppress(JournalDamagedError):
        for name, doc in read_journal(path):
            found.append(encode(name, doc))
    assert found == LINES[1 : 1 + len(found)]


scalars = st.one_of(
    st.booleans(), st.integers(-(10**20), 10**20), st.floats(), st.text(max_size=8),
    st.sampled_from(["1 V", "10 nm", "1e999 m", "-3 A", "../../x", "/dev/null", "nan"]),
)  # fmt: skip
entries = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=4,
)
sections = sorted(Configuration.model_fields)


@modest
@given(data=st.data())
def test_any_configuration_is_taken_or_refused_in_one_line(tmp_path, data):
    chosen = data.draw(st.dictionaries(st.sampled_from(sections), entries, min_size=1, max_size=3))
    for section, model in ((s, Configuration.model_fields[s].annotation) for s in list(chosen)):
        fields = sorted(getattr(model, "model_fields", {}))
        if fields and data.draw(st.booleans()):
            chosen[section] = data.draw(
                st.dictionaries(st.sampled_from(fields), entries, max_size=3)
            )
    path = tmp_path / "any.toml"
    text = "\n".join(f"{key} = {toml(value)}" for key, value in chosen.items())
    path.write_text(text, encoding="utf-8")
    tomllib.loads(text)
    try:
        load_configuration(path)
    except ConfigurationError as error:
        said = str(error)
    else:
        said = ""
    assert "\n" not in said
    assert list(tmp_path.iterdir()) == [path]


def quoted(text):
    plain = "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text)
    return f'"{plain}"'


def toml(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(v) for v in value) + "]"
    if isinstance(value, float):
        return repr(value) if "e" not in repr(value) else f"{value:e}"
    return str(value)


@modest
@given(raw=st.binary(max_size=200))
def test_any_bytes_as_a_configuration(tmp_path, raw):
    path = tmp_path / "bytes.toml"
    path.write_bytes(raw)
    with contextlib.suppress(ConfigurationError):
        load_configuration(path)
