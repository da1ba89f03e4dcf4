"""Every exported file is read back by the third party's reader."""

import json

import gwyfile
import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
import xarray as xr
from nexusformat.nexus import nxload
from nucleation_bluesky.analysis.site_results import add_maps
from nucleation_bluesky.exchange.export import Exportable, export, of_film_file
from nucleation_bluesky.exchange.fields import ExchangeError, Field, Stack, fields_of
from nucleation_bluesky.exchange.foreign_files import read_foreign, read_picture
from nucleation_bluesky.exchange.gwyddion import read_gwy, write_gwy
from nucleation_bluesky.exchange.igor import read_ibw
from nucleation_bluesky.exchange.imagej import write_stack
from nucleation_bluesky.exchange.nexus import write_nexus
from nucleation_bluesky.exchange.tables import write_csv
from PIL import Image

from tests.exchange.ibw import write_ibw
from tests.support.ramp_samples import make_ramps
from tests.support.site_samples import make_sites


@pytest.fixture(scope="module")
def sites():
    ramps, onset = make_ramps(4, 5, sample_rate=500)
    onset = np.asarray(onset["onset"] if isinstance(onset, dict) else onset, dtype=float)
    return add_maps(make_sites(ramps, onset, false_trips=1))


@pytest.fixture
def field():
    values = np.arange(12.0).reshape(3, 4) * 1e-9
    values[1, 2] = np.nan
    return Field("height", values, "m", (10e-9, 20e-9), (1e-6, -2e-6))


def test_maps_carry_pitch_and_origin(sites):
    found = {f.name: f for f in fields_of(sites)}
    onset = found["onset_bias"]
    assert onset.values.shape == (4, 5)
    step = float(
        sites.x.values[sites.col.values == 1][0] - sites.x.values[sites.col.values == 0][0]
    )
    assert onset.pitch == pytest.approx((step, step))
    assert onset.origin[0] == pytest.approx(float(sites.x.min()) - step / 2)
    assert onset.unit == "V"
    row, col = int(sites.row[7]), int(sites.col[7])
    np.testing.assert_equal(onset.values[row, col], sites.onset_bias.values[7])


def test_gwyddion(field, tmp_path):
    path = write_gwy(tmp_path / "a.gwy", [field], comment="uid: abc")
    container = gwyfile.load(str(path))
    data = gwyfile.util.get_datafields(container)["height"]
    assert (data.xreal, data.yreal) == pytest.approx((40e-9, 60e-9))
    assert data.si_unit_z.unitstr == "m"
    assert data.data[0, 0] == field.values[-1, 0]  # Gwyddion's first row is the top
    assert container["/0/mask"].data.sum() == 1
    assert container["/0/meta"]["Source"] == "uid: abc"
    (back,) = read_gwy(path)
    np.testing.assert_array_equal(back.values, field.values)
    assert (back.pitch, back.origin, back.unit) == (
        pytest.approx(field.pitch), pytest.approx(field.origin), "m",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.inf, "holds numbers that no instrument gives"),
        (-np.inf, "holds numbers that no instrument gives"),
        (1e31, "holds numbers that no instrument gives"),
        (np.nan, "holds no value at all"),
    ],
)
def test_a_field_of_nothing_measured_is_refused(value, words, tmp_path):
    values = np.full((3, 4), value)
    with pytest.raises(ExchangeError, match=words):
        read_foreign(topography_file(tmp_path / "a.gwy", values))
    values = np.full((3, 4), np.nan)
    values[2, 1] = 1e-9  # missing pixels are no reason
    read = read_foreign(topography_file(tmp_path / "b.gwy", values))
    assert np.isfinite(read.arrays["topography"][0]).sum() == 1


def topography_file(path, values):
    """As another program writes it, without a mask."""
    height = gwyfile.objects.GwyDataField(
        np.array(values), xreal=4e-8, yreal=3e-8,
        si_unit_xy=gwyfile.objects.GwySIUnit(unitstr="m"),
        si_unit_z=gwyfile.objects.GwySIUnit(unitstr="m"),
    )  # fmt: skip
    container = gwyfile.objects.GwyContainer()
    container["/0/data"], container["/0/data/title"] = height, "Height"
    container.tofile(str(path))
    return path


def test_imagej_film_keeps_irregular_times(tmp_path):
    rng = np.random.default_rng(1)
    times = np.cumsum(rng.normal(0.23, 0.018, 9))
    frames = rng.integers(0, 4095, (9, 16, 20)).astype(np.uint16)
    path = write_stack(tmp_path / "film.tif", Stack("film", frames, times, 40e-9))
    with tifffile.TiffFile(path) as file:
        meta = file.imagej_metadata
        np.testing.assert_array_equal(file.asarray(), frames)
        assert meta["finterval"] == pytest.approx(np.median(np.diff(times)))
        assert json.loads(meta["Info"])["times"] == pytest.approx(times.tolist(), abs=1e-12)
        numerator, denominator = file.pages[0].tags["XResolution"].value
        assert numerator / denominator == pytest.approx(25, rel=1e-6)  # pixels per um
        assert meta["unit"] == "um"


def test_film_of_a_neutral_file(tmp_path):
    path = tmp_path / "landing.h5"
    with h5py.File(path, "w") as file:
        file["movie/frames"] = np.ones((5, 8, 8), np.uint16)
        file["movie/timestamps"] = np.arange(5.0)
        file["movie"].attrs["pixel_size"] = 40e-9
    (written,) = export(of_film_file(path), ["tiff"], tmp_path)
    assert tifffile.imread(written).shape == (5, 8, 8)


def test_nexus_is_plottable(field, tmp_path):
    other = Field("onset_bias", np.ones((2, 2)), "V", (1e-8, 1e-8))
    path = write_nexus(tmp_path / "a.nxs", [field, other], sample="S1", time=0.0,
                       provenance={"uid": "abc", "software": "x 1"})  # fmt: skip
    root = nxload(str(path))
    default = root.get_default()
    assert default.nxsignal.nxname == "onset_bias"
    assert default.nxsignal.attrs["units"] == "V"
    height = root["entry/height"]
    assert [axis.nxname for axis in height.nxaxes] == ["y", "x"]
    np.testing.assert_allclose(height["x"].nxvalue, 1e-6 + (np.arange(4) + 0.5) * 10e-9)
    np.testing.assert_array_equal(height.nxsignal.nxvalue, field.values)
    assert root["entry/sample/name"].nxvalue == "S1"
    assert root["entry/start_time"].nxvalue.startswith("1970-01-01T00:00:00")
    checked = [group for group in root["entry"].NXdata if group.is_plottable()]
    assert len(checked) == 2


def test_csv_has_units_and_words(sites, tmp_path):
    table = pd.read_csv(write_csv(tmp_path / "a.csv", sites))
    assert len(table) == sites.sizes["site"]
    np.testing.assert_allclose(table["onset_bias (V)"], sites.onset_bias.values, rtol=1e-8)
    assert set(table["classification"]) <= {"no_nucleation", "nucleated", "false_trip"}
    assert (table["classification"] == "false_trip").sum() == 1
    assert not any("_map" in name for name in table.columns)


def test_cycles_become_one_field_each():
    data = xr.Dataset(
        {"ce": (("cycle", "y", "x"), np.ones((2, 3, 4)), {"units": "1"})},
        coords={"cycle": [1, 2]}, attrs={"pixel_size": 40e-9},
    )  # fmt: skip
    assert [f.name for f in fields_of(data)] == ["ce cycle 1", "ce cycle 2"]
    with pytest.raises(ExchangeError, match="large a pixel"):
        fields_of(data.drop_attrs())


def test_igor_image_and_curve(tmp_path):
    z = np.random.default_rng(2).normal(size=(12, 8, 2)) * 1e-9
    write_ibw(tmp_path / "i.ibw", z, steps=(1e-8, 1e-8), labels=(b"HeightRetrace", b"PhaseRetrace"),
              note=b"ScanSize: 1e-6\rSpringConstant: 2.1\r")  # fmt: skip
    content = read_foreign(tmp_path / "i.ibw")
    assert content.technique == "topography"
    values, unit = content.arrays["topography"]
    np.testing.assert_allclose(values, z[:, :, 0].T, rtol=1e-6)
    assert (unit, content.arrays["phaseretrace"][1]) == ("m", "deg")
    assert content.metadata["SpringConstant"] == "2.1"
    write_ibw(tmp_path / "c.ibw", np.ones((50, 2)), steps=(5e-4,), axis_unit=b"s",
              labels=(b"Current", b"Bias"), labelled=1)  # fmt: skip
    curve = read_ibw(tmp_path / "c.ibw")
    assert {k: u for k, (_, u) in curve.channels.items()} == {"Current": "A", "Bias": "V"}
    assert curve.sample_period == 5e-4


@pytest.mark.parametrize("name", ["a.ibw", "a.gwy"])
@pytest.mark.parametrize("content", [b"", b"GWYPxx", b"\x05\x00" + b"\xff" * 400, b"hello" * 100])
def test_corrupt_files_are_refused(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ExchangeError, match="a\\."):
        read_foreign(path)


def test_nothing_to_export_is_said(tmp_path):
    with pytest.raises(ExchangeError, match="nothing to write as gwy"):
        export(Exportable("x"), ["gwy"], tmp_path)
    with pytest.raises(ExchangeError, match="'docx' is no format"):
        export(Exportable("x"), ["docx"], tmp_path)


def damaged(raw, seed):
    rng = np.random.default_rng(seed)
    raw = bytearray(raw)
    for _ in range(rng.integers(1, 5)):
        raw[rng.integers(0, min(rng.choice([64, 400, len(raw)]), len(raw)))] = rng.choice(
            [0, 1, 127, 128, 255]
        )
    return bytes(raw if seed % 8 else raw[: rng.integers(0, len(raw))])


@pytest.mark.parametrize("name", ["a.ibw", "a.gwy", "a.tif", "a.png", "a.jpg"])
def test_damaged_files_give_one_sentence(tmp_path, name):
    path, rng = tmp_path / name, np.random.default_rng(0)
    if name == "a.ibw":
        write_ibw(path, rng.normal(size=(9, 9)), steps=(1e-8, 1e-8))
    elif name == "a.gwy":
        write_gwy(path, [Field("h", rng.normal(size=(9, 9)), "m", (1e-9, 1e-9))])
    else:
        Image.fromarray(rng.integers(0, 255, (40, 50), dtype=np.uint8)).save(path)
    raw, refused = path.read_bytes(), []
    for seed in range(60):
        path.write_bytes(damaged(raw, seed))
        try:
            read_foreign(path) if name in ("a.ibw", "a.gwy") else read_picture(path, "SEM", None)
        except ExchangeError as error:
            refused.append(str(error))
    assert len(refused) > 5
    assert all(text.startswith(name) and "\n" not in text for text in refused)


def test_damaged_headers_of_igor_allocate_nothing(tmp_path):
    """The count of points is made enormous; the headers no longer add up."""
    path = tmp_path / "a.ibw"
    write_ibw(path, np.ones((9, 9)), steps=(1e-8, 1e-8))
    raw = bytearray(path.read_bytes())
    raw[64 + 15] = 0x7F
    path.write_bytes(bytes(raw))
    with pytest.raises(ExchangeError, match="headers are damaged"):
        read_foreign(path)


def test_a_text_without_end_in_a_gwyddion_file_ends(tmp_path, field):
    """gwyfile alone would go round for ever."""
    path = write_gwy(tmp_path / "a.gwy", [field])
    raw = bytearray(path.read_bytes())
    at = raw.rindex(b"Source\0s") + len(b"Source\0s")
    raw[at:] = raw[at:].replace(b"\0", b"x")
    path.write_bytes(bytes(raw))
    with pytest.raises(ExchangeError, match="has no end"):
        read_gwy(path)
