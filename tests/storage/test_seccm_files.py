"""nucleation-seccm and TDMS files: content, mistakes, documents."""

import event_model
import h5py
import numpy as np
import pytest
from nucleation_bluesky.callbacks.journal_reader import journals, read_journal
from nucleation_bluesky.contract.documents import SECCM_ROLES, START_KEY
from nucleation_bluesky.storage.analyse_any import analyse_any_file
from nucleation_bluesky.storage.foreign import read_any
from nucleation_bluesky.storage.hdf5_frames import HDF5Frames
from nucleation_bluesky.storage.hdf5_input import IngestError, open_input
from nucleation_bluesky.storage.ingest import ingest_file
from nucleation_bluesky.storage.neutral_seccm import SeccmFile, read_seccm
from nucleation_bluesky.storage.seccm_data import FrameWindow
from nucleation_bluesky.storage.tdms import TdmsOptions, read_tdms
from tests.analysis.seccm_synthetic import PERIOD
from tests.storage.seccm_files import hopping_record, make_file, make_movie, write_tdms


@pytest.fixture
def galvanostatic(tmp_path):
    return make_file(tmp_path / "plating.h5")[0]


def test_written_is_read(tmp_path):
    movie = make_movie(15.0)
    path, _ = make_file(tmp_path / "a.h5", movie=movie, attributes={"sample": "Au-7"})
    found = read_seccm(path)
    assert found.technique == "galvanostatic"
    assert found.reference_scale == "Li/Li+"
    assert found.footprint_area == 380e-12
    assert found.attrs == {"sample": "Au-7"}
    assert found.movie.pixel_size == 40e-9
    np.testing.assert_array_equal(found.movie.timestamps, movie.timestamps)
    np.testing.assert_array_equal(found.movie.frames[3:7], movie.frames[3:7])
    assert isinstance(read_any(path), SeccmFile)
    assert not list(tmp_path.glob(".*.part"))


def test_frames_stay_in_the_file(tmp_path):
    movie = make_movie(15.0)
    path, _ = make_file(tmp_path / "a.h5", movie=movie)
    with open_input(path) as source:
        frames = HDF5Frames(path, source.need("/movie/frames"))
    window = FrameWindow(frames, 5, 8)
    assert window.shape == (8, 48, 48)
    np.testing.assert_array_equal(window[2:4, 10:20], movie.frames[7:9, 10:20])
    np.testing.assert_array_equal(window[-1], movie.frames[12])
    with h5py.File(path, "a"):  # nothing holds it open
        pass


def _set(path, name, value):
    with h5py.File(path, "a") as file:
        attrs = dict(file[name].attrs) if name in file else {}
        del file[name]
        file[name] = value
        file[name].attrs.update(attrs)


def _edit(name, change):
    def apply(path):
        with h5py.File(path) as file:
            value = file[name][()]
        _set(path, name, change(value))

    return apply


def _attribute(name, value, node="/"):
    def apply(path):
        with h5py.File(path, "a") as file:
            if value is None:
                del file[node].attrs[name]
            else:
                file[node].attrs[name] = value

    return apply


def _delete(name):
    def apply(path):
        with h5py.File(path, "a") as file:
            del file[name]

    return apply


def _external(path):
    with h5py.File(path.with_name("other.h5"), "w") as other:
        other["frames"] = np.zeros((4, 9, 9), np.uint16)
    with h5py.File(path, "a") as file:
        del file["movie/frames"]
        file["movie/frames"] = h5py.ExternalLink("other.h5", "/frames")


def _backwards(values):
    values = values.copy()
    values[5], values[6] = values[6], values[5]
    return values


MISTAKES = {
    "another format": (_attribute("format", "nucleation-xyz"), "attribute 'format' must be"),
    "another version": (_attribute("version", 9), "version 9 .* is not known"),
    "technique": (_attribute("technique", "magic"), "must be one of galvanostatic"),
    "no technique": (_attribute("technique", None), "must be one of galvanostatic"),
    "no current": (_delete("electrochemistry/current"), "'electrochemistry/current' is missing"),
    "no frames": (_delete("movie/frames"), "'movie/frames' is missing"),
    "no times": (_delete("movie/timestamps"), "'movie/timestamps' is missing"),
    "no movie": (_delete("movie"), "'movie/frames' is missing"),
    "short current": (_edit("electrochemistry/current", lambda v: v[:-3]), "has shape"),
    "flat frames": (_edit("movie/frames", lambda v: v[0]), "has shape"),
    "float frames": (_edit("movie/frames", lambda v: v.astype(float)), "must hold uint16"),
    "few times": (_edit("movie/timestamps", lambda v: v[:-1]), "one for each frame"),
    "movie backwards": (
        _edit("movie/timestamps", _backwards),
        "'movie/timestamps' does not increase at index 6",
    ),
    "time backwards": (
        _edit("electrochemistry/time", _backwards),
        "'electrochemistry/time' does not increase at index 6",
    ),
    "time nan": (
        _edit("electrochemistry/time", lambda v: np.where(np.arange(v.size) == 4, np.nan, v)),
        "not finite at index 4",
    ),
    "all nan": (_edit("electrochemistry/potential", lambda v: v * np.nan), "no finite values"),
    "text": (_edit("electrochemistry/current", lambda v: np.full(v.size, b"x")), "numbers"),
    "no overlap": (_edit("movie/timestamps", lambda v: v + 1000), "do not overlap in time"),
    "no pixel size": (_attribute("pixel_size", None, "movie"), "'pixel_size' .*is missing"),
    "pixel size": (_attribute("pixel_size", -1.0, "movie"), "greater than 0"),
    "pair": (_attribute("pixel_size", [4e-8, 5e-8], "movie"), "4e-08 m by 5e-08 m: .* square"),
    "bad pair": (_attribute("pixel_size", [4e-8, np.nan], "movie"), "greater than 0"),
    "triple": (_attribute("pixel_size", [4e-8, 4e-8, 4e-8], "movie"), "one finite number"),
    "area": (_attribute("footprint_area", 0.0), "'footprint_area' must be greater than 0"),
    "external": (_external, "link into another file"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_in_one_sentence(mistake, galvanostatic):
    change, message = MISTAKES[mistake]
    change(galvanostatic)
    with pytest.raises(IngestError, match=message) as caught:
        read_seccm(galvanostatic)
    assert str(caught.value).startswith("plating.h5: ")
    assert "\n" not in str(caught.value)


def test_files_that_are_not_hdf5_or_cut_short(tmp_path, galvanostatic):
    cut = tmp_path / "cut.h5"
    cut.write_bytes(galvanostatic.read_bytes()[: galvanostatic.stat().st_size // 2])
    with pytest.raises(IngestError):
        analyse_any_file(cut)
    for name in ("no.h5", "no.tdms"):
        with pytest.raises(IngestError, match="no such file"):
            analyse_any_file(tmp_path / name)
    other = tmp_path / "x.h5"
    with h5py.File(other, "w") as file:
        file.attrs["format"] = "nexus"
    with pytest.raises(IngestError, match="nucleation-ivz' or 'nucleation-seccm"):
        read_any(other)


def test_a_doubled_frame_is_no_mistake(galvanostatic):
    _edit("movie/timestamps", lambda v: np.where(np.arange(v.size) == 6, v[5], v))(galvanostatic)
    assert np.diff(read_seccm(galvanostatic).movie.timestamps).min() == 0


def test_square_pixels_may_be_given_as_a_pair(galvanostatic):
    _attribute("pixel_size", [4e-8, 4e-8], "movie")(galvanostatic)
    assert read_seccm(galvanostatic).movie.pixel_size == pytest.approx(4e-8)


def test_known_clock_offset(galvanostatic):
    _edit("movie/timestamps", lambda v: v + 1000)(galvanostatic)
    _attribute("clock_offset", -1000.0, "movie")(galvanostatic)
    found = read_seccm(galvanostatic).movie
    assert found.times[0] == pytest.approx(found.timestamps[0] - 1000)


def test_documents_of_a_landing(tmp_path, galvanostatic):
    where = {"journal_dir": tmp_path / "journal", "waveform_dir": tmp_path / "w"}
    done = ingest_file(galvanostatic, **where, sample="Au-1")
    docs = list(read_journal(done.journal))
    for name, doc in docs:
        event_model.schema_validators[event_model.DocumentNames[name]].validate(doc)
    block = docs[0][1][START_KEY]
    assert block["family"] == "seccm"
    assert block["technique"] == "seccm-galvanostatic"
    assert block["sample"] == "Au-1"
    descriptors = {d["name"]: d for n, d in docs if n == "descriptor"}
    assert set(descriptors) == {"primary", "film"}
    keys = descriptors["primary"]["data_keys"]
    for role, key in block["roles"].items():
        if role in SECCM_ROLES:
            assert keys[key]["units"] == SECCM_ROLES[role][0]
    assert docs[-1][1]["num_events"]["primary"] == 1
    assert ingest_file(galvanostatic, **where).created is False
    assert len(journals(tmp_path / "journal")) == 1


def test_mistake_leaves_nothing(tmp_path, galvanostatic):
    _delete("movie/frames")(galvanostatic)
    with pytest.raises(IngestError):
        ingest_file(galvanostatic, journal_dir=tmp_path / "j", waveform_dir=tmp_path / "w")
    assert not (tmp_path / "j").exists()
    assert not (tmp_path / "w").exists()


def test_hopping_record(tmp_path):
    record = hopping_record()
    found = read_tdms(write_tdms(tmp_path / "scan.tdms", record))
    assert len(found.hops) == 3
    assert found.technique == "cv"
    assert [hop.line for hop in found.hops] == [7, 7, 7]
    time = np.concatenate([[0], np.cumsum(record["dt"][1:])])
    for k, landing in enumerate(found.landings.landings):
        assert landing.x == pytest.approx(11e-6 * k, abs=1e-12)
        assert landing.y == pytest.approx(5e-6)
        assert landing.contact_z == pytest.approx(-4e-6)
        begin = 50 + k * (50 + 200 + 800 + 300)
        assert landing.contact_time == pytest.approx(time[begin + 199])
        trace = landing.trace
        assert np.count_nonzero(trace.step == -1) == 200
        assert np.count_nonzero(trace.step == 0) == 400
        assert np.count_nonzero(trace.step == 1) == 400
        assert np.count_nonzero(trace.step == -2) == 300
        np.testing.assert_allclose(trace.time, time[begin : begin + 1300])
        rate = 4e-6 / (199 * np.mean(record["dt"]))
        assert landing.speeds[0] == pytest.approx(rate, rel=0.02)
        assert landing.speeds[1] == pytest.approx(8e-6 / (299 * np.mean(record["dt"])), rel=0.02)
    assert set(found.extra) == {
        *("tdms_x", "tdms_y", "tdms_v2", "tdms_current2", "tdms_current3", "tdms_liax"),
    }
    assert found.extra["tdms_current2"].unit == "A"
    assert len(found.extra["tdms_v2"].rows[1]) == 1300


def test_names_with_other_blanks_and_units(tmp_path):
    record = hopping_record()
    names = {
        "x": " x(nm)", "y": "Y (um) ", "z": "Z  (um)", "v": "V1(mV)", "i": "Current 1 (nA)",
        "fb": "FeedbackType", "line": "LineNumber", "dt": "dt (ms)", "v2": "V2 (V)",
        "i2": "Current2 (A)", "i3": "Current 3 (A)", "lia": "LIA",
    }  # fmt: skip
    scaled = {
        **record,
        "x": record["x"] * 1e3,
        "v": record["v"] * 1e3,
        "i": record["i"] * 1e9,
        "dt": record["dt"] * 1e3,
    }
    one = read_tdms(write_tdms(tmp_path / "a.tdms", record)).landings.landings
    other = read_tdms(
        write_tdms(tmp_path / "b.tdms", scaled, names=names, group="Untitled")
    ).landings.landings
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(b.trace.current, a.trace.current, rtol=1e-5, atol=1e-16)
        np.testing.assert_allclose(b.trace.potential, a.trace.potential, atol=1e-6)
        np.testing.assert_allclose(b.trace.time, a.trace.time)
        assert b.x == pytest.approx(a.x)


def test_missing_channels(tmp_path):
    record = hopping_record()
    bare = ("x", "y", "z", "v2", "i2", "i3", "lia", "line")
    full = dict(record)
    found = read_tdms(write_tdms(tmp_path / "a.tdms", full, leave_out=bare))
    assert len(found.landings.landings) == 3
    assert np.isnan(found.landings.landings[0].contact_z)
    assert found.landings.landings[0].trace.z is None
    for gone, told in (("fb", "FeedbackType"), ("v", "V1"), ("i", "Current1"), ("dt", "dt")):
        path = write_tdms(tmp_path / f"{gone}.tdms", full, leave_out=(gone,))
        with pytest.raises(IngestError, match=told):
            read_tdms(path)
    path = write_tdms(tmp_path / "dt.tdms", full, leave_out=("dt",))
    found = read_tdms(path, TdmsOptions(sample_period=PERIOD))
    assert found.landings.landings[0].trace.period == pytest.approx(PERIOD)


def test_tdms_mistakes(tmp_path):
    record = hopping_record()
    idle = {**record, "fb": np.zeros(len(record["fb"]))}
    with pytest.raises(IngestError, match="no approach"):
        read_tdms(write_tdms(tmp_path / "a.tdms", idle))
    stopped = {**record, "dt": np.where(np.arange(len(record["dt"])) == 77, 0, record["dt"])}
    with pytest.raises(IngestError, match=r"dt\(s\)' says 0 s at sample 77"):
        read_tdms(write_tdms(tmp_path / "b.tdms", stopped))
    junk = tmp_path / "c.tdms"
    junk.write_bytes(b"TDSm" + bytes(range(200)))
    with pytest.raises(IngestError, match="not a TDMS file"):
        read_tdms(junk)
    with pytest.raises(ValueError, match="not one of"):
        TdmsOptions(technique="magic")


def test_an_approach_without_measurement_is_a_landing_without_contact(tmp_path):
    record = hopping_record()
    keep = np.ones(len(record["x"]), bool)
    keep[1350 + 250 : 1350 + 1050] = False  # the second landing measures nothing
    found = read_tdms(
        write_tdms(tmp_path / "a.tdms", {k: v[keep] for k, v in record.items()})
    ).landings.landings
    assert [one.contact for one in found] == [True, False, True]
    assert found[1].contact_time is None
    result = analyse_any_file(tmp_path / "a.tdms")
    assert result.table["contact"].values.tolist() == [1, 0, 1]
    ce = result.table["cycle_ce"].values[:, 0]
    np.testing.assert_allclose(ce[[0, 2]], 0.5, atol=0.01)
    assert np.isnan(ce[1])


def test_tdms_documents(tmp_path):
    path = write_tdms(tmp_path / "scan.tdms", hopping_record())
    done = ingest_file(path, journal_dir=tmp_path / "j", waveform_dir=tmp_path / "w")
    docs = list(read_journal(done.journal))
    for name, doc in docs:
        event_model.schema_validators[event_model.DocumentNames[name]].validate(doc)
    assert docs[-1][1]["num_events"] == {"primary": 3}
    assert "tdms_current2" in next(d for n, d in docs if n == "descriptor")["data_keys"]
