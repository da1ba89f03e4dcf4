"""nucleation-ivz: what is written is read, and every malformed file gives one sentence."""

import shutil
from dataclasses import replace as change

import h5py
import numpy as np
import pytest
from nucleation_bluesky.storage.hdf5_input import IngestError
from nucleation_bluesky.storage.neutral import read_ivz
from nucleation_bluesky.storage.neutral_writer import write_ivz
from tests.support.ramp_samples import make_ramps, make_topographies


@pytest.fixture(scope="module")
def ramps():
    return make_ramps(3, 4)[0]


@pytest.fixture(scope="module")
def good(tmp_path_factory, ramps):
    path = tmp_path_factory.mktemp("ivz") / "good.h5"
    return write_ivz(path, ramps, make_topographies(ramps, pixels=64))


@pytest.fixture
def copy(good, tmp_path):
    path = tmp_path / "sample.h5"
    shutil.copy(good, path)
    return path


def replace(file, name, values, attrs=()):
    if name in file:
        kept = dict(file[name].attrs)
        del file[name]
    else:
        kept = {}
    file[name] = values
    for key, value in {**kept, **dict(attrs)}.items():
        file[name].attrs[key] = value


def test_round_trip(good, ramps):
    back = read_ivz(good)
    for name in ("offsets", "current", "height", "x", "y", "n_post", "termination", "row", "col"):
        np.testing.assert_array_equal(getattr(back.ramps, name), getattr(ramps, name), name)
    for name in ("bias_start", "bias_stop", "ramp_rate"):
        np.testing.assert_allclose(getattr(back.ramps, name), getattr(ramps, name))
    for name in ("mode", "current_compliance", "height_compliance", "grid_shape", "pitch"):
        assert getattr(back.ramps, name) == getattr(ramps, name)
    assert back.ramps.material == ramps.material
    assert back.ramps.instrument == ramps.instrument
    assert back.ramps.equilibrium_potential == ramps.equilibrium_potential
    assert back.ramps.attrs["sample"] == "LICGC-7"
    assert back.ramps.termination_labels[2] == "current_compliance"
    assert back.ramps.bias is None
    original = make_topographies(ramps, pixels=64)
    np.testing.assert_array_equal(back.topographies.before.height, original.before.height)
    assert back.topographies.after.pixel_size == original.after.pixel_size
    assert len(back.sha256) == 64


def test_bias_time_and_rates_per_site(tmp_path, ramps):
    n = ramps.n_sites
    rate = np.linspace(0.5, 2, n)
    bias = np.concatenate([ramps.site_bias(k) for k in range(n)])
    time = np.concatenate([ramps.site_time(k) ** 1.01 for k in range(n)])
    given_ = change(ramps, ramp_rate=rate, bias=bias, time=time, bias_stop=np.linspace(-4, -4.2, n))
    back = read_ivz(write_ivz(tmp_path / "a.h5", given_)).ramps
    np.testing.assert_allclose(back.ramp_rate, rate)
    np.testing.assert_allclose(back.bias, bias, atol=1e-6)
    np.testing.assert_allclose(back.time, time)
    longest = np.argmax(given_.counts)
    assert back.bias_stop[longest] == pytest.approx(back.site_bias(longest).min())


def test_time_counts_from_each_sites_first_sample(copy, ramps):
    with h5py.File(copy, "a") as file:
        file["time"] = np.arange(ramps.offsets[-1]) * 2e-3 + 100.0
        del file.attrs["sample_period"]
    back = read_ivz(copy).ramps
    assert back.site_time(3)[0] == 0
    assert back.site_time(3)[5] == pytest.approx(0.01)
    assert back.sample_period == pytest.approx(2e-3)


def test_ungridded_any_order_and_missing(tmp_path, ramps):
    with h5py.File(write_ivz(tmp_path / "a.h5", ramps), "a") as file:
        del file["site_index"], file.attrs["grid_shape"], file.attrs["pitch"]
        order = np.random.default_rng(0).permutation(ramps.n_sites)
        replace(file, "site_position", np.column_stack([ramps.x, ramps.y])[order])
        del file["n_post"], file["termination"]
    back = read_ivz(tmp_path / "a.h5").ramps
    assert back.row is None
    assert back.grid_shape is None
    assert back.termination is None
    assert not back.n_post.any()
    np.testing.assert_array_equal(back.x, ramps.x[order])


def test_grid_with_missing_sites_takes_positions_from_the_pitch(tmp_path, ramps):
    picked = ramps.select(np.array([7, 2, 11]))
    with h5py.File(write_ivz(tmp_path / "a.h5", picked), "a") as file:
        del file["site_position"]
    back = read_ivz(tmp_path / "a.h5").ramps
    assert back.row.tolist() == [1, 0, 2]
    np.testing.assert_allclose(back.x, back.col * 20e-9)


def test_float64_big_endian_and_compressed_input(copy):
    with h5py.File(copy, "a") as file:
        values = file["current"][:].astype(">f8")
        del file["current"]
        file.create_dataset("current", data=values, compression="gzip", chunks=(1000,))
    assert read_ivz(copy).ramps.current.dtype == np.float32


def test_inner_soft_link_is_followed(copy):
    with h5py.File(copy, "a") as file:
        file.move("current", "raw_current")
        file["current"] = h5py.SoftLink("/raw_current")
    assert read_ivz(copy).ramps.current.size


def _set(name, value):
    def spoil(file):
        file.attrs[name] = value

    return spoil


def _drop_attr(name):
    def spoil(file):
        del file.attrs[name]

    return spoil


def _drop(name):
    def spoil(file):
        del file[name]

    return spoil


def _edit(name, function):
    def spoil(file):
        replace(file, name, function(file[name][:]))

    return spoil


def _poke(index, value):
    def function(values):
        values[index] = value
        return values

    return function


def _link(name, link):
    def spoil(file):
        if name in file:
            del file[name]
        file[name] = link

    return spoil


def _virtual(file):
    total = file["current"].size
    del file["current"]
    layout = h5py.VirtualLayout((total,), dtype="f4")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "current", shape=(total,))
    file.create_virtual_dataset("current", layout)


def _external_storage(file):
    total = file["current"].size
    del file["current"]
    file.create_dataset(
        "current", (total,), "f4", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)]
    )


def _huge(file):
    del file["current"], file["height"]
    for name in ("current", "height"):
        file.create_dataset(name, (10**13,), "f4", chunks=(1024,))
    replace(file, "offsets", _poke(-1, 10**13)(file["offsets"][:]))


def _times(function):
    def spoil(file):
        offsets = file["offsets"][:]
        file["time"] = function(np.arange(offsets[-1]) * 1e-3)

    return spoil


def _bias(function):
    def spoil(file):
        file["bias"] = function(-np.arange(file["offsets"][-1]) * 1e-3)

    return spoil


def _circle(file):
    del file["current"]
    file["current"] = h5py.SoftLink("/other")
    file["other"] = h5py.SoftLink("/current")


MALFORMED = {
    "format": (_set("format", "nucleation-seccm"), "format"),
    "no format": (_drop_attr("format"), "format"),
    "version": (_set("version", 2), "version"),
    "version text": (_set("version", "one"), "version"),
    "mode": (_set("mode", "charge"), "mode"),
    "mode number": (_set("mode", 3), "mode"),
    "no mode": (_drop_attr("mode"), "mode"),
    "no compliance": (_drop_attr("current_compliance"), "current_compliance"),
    "signed compliance": (_set("current_compliance", -1e-11), "current_compliance"),
    "NaN rate": (_set("ramp_rate", np.nan), "ramp_rate"),
    "negative rate": (_set("ramp_rate", -1.2), "ramp_rate"),
    "no rate": (_drop_attr("ramp_rate"), "ramp_rate"),
    "no start": (_drop_attr("bias_start"), "bias_start"),
    "equal ends": (_set("bias_stop", 0.0), "bias_stop"),
    "no period": (_drop_attr("sample_period"), "sample_period"),
    "zero period": (_set("sample_period", 0.0), "sample_period"),
    "text period": (_set("sample_period", "1 ms"), "sample_period"),
    "list period": (_set("sample_period", [1e-3, 2e-3]), "sample_period"),
    "side": (_set("bias_applied_to", "table"), "bias_applied_to"),
    "grid shape": (_set("grid_shape", [0, 4]), "grid_shape"),
    "grid scalar": (_set("grid_shape", 4), "grid_shape"),
    "grid fraction": (_set("grid_shape", [2.5, 4]), "grid_shape"),
    "grid huge": (_set("grid_shape", [10**9, 10**9]), "grid_shape"),
    "no grid": (_drop_attr("grid_shape"), "grid_shape"),
    "electrons": (_set("electrons", 1.5), "electrons"),
    "molar volume": (_set("material_molar_volume", 0.0), "material_molar_volume"),
    "E_eq": (_set("equilibrium_potential", np.inf), "equilibrium_potential"),
    "no offsets": (_drop("offsets"), "offsets"),
    "offsets not monotone": (_edit("offsets", _poke(3, 0)), "offsets"),
    "offsets from 1": (_edit("offsets", _poke(0, 1)), "offsets"),
    "offsets negative": (_edit("offsets", _poke(1, -5)), "offsets"),
    "offsets beyond": (_edit("offsets", _poke(-1, 10**9)), "offsets"),
    "offsets enormous": (_edit("offsets", _poke(-1, 2**63 - 1)), "offsets"),
    "offsets unsigned": (
        lambda f: replace(f, "offsets", np.array([0, 2**64 - 1], "u8")),
        "offsets",
    ),
    "offsets short": (_edit("offsets", lambda v: v[:-1]), "offsets"),
    "offsets float": (_edit("offsets", lambda v: v.astype(float)), "offsets"),
    "offsets 2-D": (_edit("offsets", lambda v: v[None]), "offsets"),
    "offsets scalar": (lambda f: replace(f, "offsets", 3), "offsets"),
    "offsets empty": (lambda f: replace(f, "offsets", np.array([], "i8")), "offsets"),
    "no current": (_drop("current"), "current"),
    "no height": (_drop("height"), "height"),
    "current 2-D": (_edit("current", lambda v: v[:, None]), "current"),
    "current text": (lambda f: replace(f, "current", ["a", "b"]), "current"),
    "current complex": (_edit("current", lambda v: v.astype(complex)), "current"),
    "current integer": (_edit("current", lambda v: v.astype(int)), "current"),
    "current all NaN": (_edit("current", lambda v: v * np.nan), "current"),
    "current group": (lambda f: (f.__delitem__("current"), f.create_group("current")), "current"),
    "height short": (_edit("height", lambda v: v[:-1]), "height"),
    "external link": (_link("current", h5py.ExternalLink("other.h5", "/x")), "another file"),
    "soft link outside": (
        lambda f: (
            f.__setitem__("out", h5py.ExternalLink("other.h5", "/")),
            _link("current", h5py.SoftLink("/out/current"))(f),
        ),
        "another file",
    ),
    "dangling": (_link("current", h5py.SoftLink("/nowhere")), "nowhere"),
    "circle": (_circle, "circle"),
    "virtual": (_virtual, "other files"),
    "external storage": (_external_storage, "other files"),
    "claims 40 TB": (_huge, "claims 4e+04 GB"),
    "bias NaN": (_bias(_poke(17, np.nan)), "bias"),
    "bias infinite": (_bias(_poke(17, np.inf)), "bias"),
    "time back": (_times(_poke(17, 0.0)), "time"),
    "time NaN": (_times(_poke(17, np.nan)), "time"),
    "n_post long": (_edit("n_post", _poke(2, 10**6)), "n_post"),
    "n_post negative": (_edit("n_post", _poke(2, -1)), "n_post"),
    "n_post shape": (_edit("n_post", lambda v: v[:-1]), "n_post"),
    "no sites": (
        lambda f: (f.__delitem__("site_index"), f.__delitem__("site_position")),
        "site_index",
    ),
    "duplicate index": (_edit("site_index", lambda v: _poke(1, v[0])(v)), "twice"),
    "outside grid": (_edit("site_index", _poke((1, 0), 3)), "outside"),
    "negative index": (_edit("site_index", _poke((1, 0), -1)), "outside"),
    "index shape": (_edit("site_index", lambda v: v.T), "site_index"),
    "index float": (_edit("site_index", lambda v: v * 0.5), "site_index"),
    "position NaN": (_edit("site_position", _poke((1, 0), np.nan)), "site_position"),
    "position shape": (_edit("site_position", lambda v: v[:, 0]), "site_position"),
    "no pitch": (lambda f: (_drop_attr("pitch")(f), f.__delitem__("site_position")), "pitch"),
    "rate dataset shape": (lambda f: f.__setitem__("ramp_rate", [1.0, 2.0]), "ramp_rate"),
    "rate dataset NaN": (
        lambda f: f.__setitem__("ramp_rate", np.full(f["offsets"].size - 1, np.nan)),
        "ramp_rate",
    ),
    "termination unknown": (_edit("termination", _poke(0, 99)), "99"),
    "termination shape": (_edit("termination", lambda v: v[:-1]), "termination"),
    "no meanings": (lambda f: f["termination"].attrs.pop("flag_meanings"), "flag_meanings"),
    "flags mismatch": (
        lambda f: f["termination"].attrs.__setitem__("flag_values", [1]),
        "flag_values",
    ),
    "topography 1-D": (_edit("topography/before", lambda v: v[0]), "topography/before"),
    "topography NaN": (_edit("topography/after", lambda v: v * np.nan), "topography/after"),
    "no pixel size": (lambda f: f["topography/after"].attrs.pop("pixel_size"), "pixel_size"),
    "pixel size": (
        lambda f: f["topography/after"].attrs.__setitem__("pixel_size", -1.0),
        "pixel_size",
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed(copy, case):
    spoil, word = MALFORMED[case]
    with h5py.File(copy, "a") as file:
        spoil(file)
    with pytest.raises(IngestError) as caught:
        read_ivz(copy)
    message = str(caught.value)
    assert message.startswith("sample.h5: ")
    assert word in message
    assert "\n" not in message


def test_not_hdf5_absent_and_truncated(copy, tmp_path):
    text = tmp_path / "notes.h5"
    text.write_text("no data here")
    with pytest.raises(IngestError, match=r"notes\.h5: this is not an HDF5 file"):
        read_ivz(text)
    with pytest.raises(IngestError, match="no such file"):
        read_ivz(tmp_path / "absent.h5")
    whole = copy.read_bytes()
    for share in (0.1, 0.5, 0.9, 0.999):
        copy.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(IngestError, match=r"sample\.h5: "):
            read_ivz(copy)
