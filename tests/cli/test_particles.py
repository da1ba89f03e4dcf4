"""``nucleation-bluesky particles``: every kind of file, the table, the overlay, clear errors."""

import numpy as np
import pandas as pd
import psutil
import pytest
import tifffile
from nucleation_bluesky.cli.app import app
from nucleation_bluesky.storage.micrographs import MicrographError, read_micrograph
from PIL import Image
from typer.testing import CliRunner

runner = CliRunner()
COLUMNS = [
    "label",
    "centroid_x",
    "centroid_y",
    "area",
    "equivalent_diameter",
    "circularity",
    "touches_border",
]


def invoke(*arguments):
    return runner.invoke(app, ["particles", *map(str, arguments)], terminal_width=400)


@pytest.fixture(scope="module")
def picture():
    """Twelve bright discs of diameter 16 px on 96 x 128 px."""
    rng = np.random.default_rng(0)
    rows, cols = np.indices((96, 128))
    image = np.zeros((96, 128))
    for r in (20, 48, 76):
        for c in (20, 50, 80, 110):
            image[np.hypot(rows - r, cols - c) < 8] = 1
    return np.clip(60 + 120 * image + rng.normal(0, 5, image.shape), 0, 255).astype(np.uint8)


def test_table_and_summary(tmp_path, picture):
    path, out, overlay = tmp_path / "a.png", tmp_path / "p.csv", tmp_path / "o.png"
    Image.fromarray(picture).save(path)
    result = invoke(path, "--pixel-size", "4 nm", "--out", out, "--overlay", overlay)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(out)
    assert list(table.columns) == COLUMNS
    assert len(table) == 12
    assert table.equivalent_diameter.mean() == pytest.approx(64e-9, rel=0.06)
    assert table.touches_border.dtype == bool
    assert not table.touches_border.any()
    told = result.output
    assert "12 bright particles" in told
    assert "4 nm (as given)" in told
    assert f"{12 / (96 * 128 * 16e-18) * 1e-4:.4g} cm^-2" in told
    assert "mean diameter" in told
    assert "sd" in told
    drawn = np.asarray(Image.open(overlay))
    assert drawn.shape == (96, 128, 3)
    assert (np.ptp(drawn.astype(int), axis=2) > 100).sum() > 300


def test_pixels_without_pixel_size(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "a.png")
    result = invoke(tmp_path / "a.png", "--out", tmp_path / "p.csv", "--polarity", "bright")
    assert "no pixel size" in result.output
    assert pd.read_csv(tmp_path / "p.csv").equivalent_diameter.mean() == pytest.approx(16, rel=0.06)


def test_limits(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "a.png")
    out = tmp_path / "p.csv"
    for options, count in (
        (["--pixel-size", "100 nm", "--max-area", "0.1 um2"], 0),
        (["--pixel-size", "100 nm", "--max-area", "10 um^2"], 12),
        (["--max-area", "100 px"], 0),
        (["--min-diameter", "25 px"], 0),
        (["--pixel-size", "1 nm", "--min-diameter", "10 nm"], 12),
    ):
        result = invoke(tmp_path / "a.png", "--out", out, *options)
        assert result.exit_code == 0, result.output
        assert len(pd.read_csv(out)) == count
        assert ("no particles" in result.output) == (count == 0)


@pytest.mark.parametrize(
    "kind", ["rgb", "rgba", "palette", "png16", "tif16", "tif_rgb", "tif_planar", "tif_float"]
)
def test_kinds_of_files(tmp_path, picture, kind):
    grey, path = picture, tmp_path / ("a.tif" if kind.startswith("tif") else "a.png")
    if kind == "rgb":
        Image.fromarray(np.dstack([grey] * 3)).save(path)
    elif kind == "rgba":
        Image.fromarray(np.dstack([*[grey] * 3, np.full_like(grey, 255)])).save(path)
    elif kind == "palette":
        Image.fromarray(grey).quantize(64).save(path)
    elif kind == "png16":
        Image.fromarray(grey.astype(np.uint16) * 200).save(path)
    elif kind == "tif16":
        tifffile.imwrite(path, grey.astype(np.uint16) * 16)
    elif kind == "tif_rgb":
        tifffile.imwrite(path, np.dstack([grey] * 3), photometric="rgb")
    elif kind == "tif_planar":
        tifffile.imwrite(path, np.stack([grey] * 3), photometric="rgb", planarconfig="separate")
    else:
        tifffile.imwrite(path, grey.astype(np.float32) / 255)
    read = read_micrograph(path)
    assert read.grey.shape == (96, 128)
    assert np.corrcoef(read.grey.ravel(), grey.ravel())[0, 1] > 0.99


def test_pixel_size_from_imagej(tmp_path, picture):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, picture, imagej=True, resolution=(250, 250), metadata={"unit": "um"})
    result = invoke(path, "--out", tmp_path / "p.csv")
    assert "4 nm (from ImageJ metadata)" in result.output
    mean = pd.read_csv(tmp_path / "p.csv").equivalent_diameter.mean()
    assert mean == pytest.approx(64e-9, rel=0.06)


def test_pixel_size_from_resolution_tags_and_print_resolution(tmp_path, picture):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, picture, resolution=(2.5e6, 2.5e6), resolutionunit="CENTIMETER")
    assert read_micrograph(path).pixel_size == pytest.approx(4e-9)
    tifffile.imwrite(path, picture, resolution=(300, 300), resolutionunit="INCH")
    assert read_micrograph(path).pixel_size is None


def test_pages(tmp_path, picture):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.stack([picture, 255 - picture]), photometric="minisblack")
    result = invoke(path, "--out", tmp_path / "p.csv")
    assert result.exit_code == 1
    assert "has 2 pages: choose one with --page 1 to 2" in " ".join(result.output.split())
    assert invoke(path, "--page", 2, "--out", tmp_path / "p.csv").exit_code == 0
    with pytest.raises(MicrographError, match="page 3"):
        read_micrograph(path, 3)


def test_errors_are_one_sentence(tmp_path, picture):
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "text.tif").write_text("no image")
    Image.fromarray(picture).save(tmp_path / "a.png")
    good, out = tmp_path / "a.png", tmp_path / "p.csv"
    for arguments, word in (
        ([tmp_path / "none.png", "--out", out], "no such file"),
        ([tmp_path / "text.png", "--out", out], "not an image"),
        ([tmp_path / "text.tif", "--out", out], "not a readable TIFF"),
        ([good, "--out", tmp_path / "missing" / "p.csv"], "no folder"),
        ([good, "--out", out, "--pixel-size", "4 V"], "units of m"),
        ([good, "--out", out, "--pixel-size", "-4 nm"], "positive"),
        ([good, "--out", out, "--min-diameter", "20 nm"], "--pixel-size"),
        ([good, "--out", out, "--max-area", "2 um2"], "--pixel-size"),
        ([good, "--out", out, "--max-area", "lots"], "not a quantity"),
        ([good, "--out", out, "--min-diameter", "nan px"], "not finite"),
        ([good, "--out", out, "--min-diameter", "5 V"], "units of m"),
        ([good, "--out", out, "--min-diameter", "-3 px"], "positive"),
        ([good, "--out", out, "--polarity", "grey"], "polarity"),
        ([good, "--out", good], "the image itself"),
        ([good, "--out", out, "--overlay", good], "the image itself"),
        ([good, "--out", out, "--overlay", out], "give two names"),
    ):
        result = invoke(*arguments)
        assert result.exit_code != 0, arguments
        assert isinstance(result.exception, SystemExit), arguments
        assert word in " ".join(result.output.replace("│", " ").split()), arguments
    assert not out.exists()


def test_pixels_without_a_value_are_told(tmp_path, picture):
    image = picture.astype(np.float32)
    image[5:8, 5:9] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", image)
    result = invoke(tmp_path / "a.tif", "--out", tmp_path / "p.csv")
    assert result.exit_code == 0
    assert "12 pixels hold no finite value" in " ".join(result.output.split())


def test_an_image_too_large_for_the_memory_is_refused(tmp_path, picture, monkeypatch):
    path, out = tmp_path / "a.png", tmp_path / "p.csv"
    Image.fromarray(picture).save(path)
    little = psutil.virtual_memory()._replace(available=picture.size)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: little)
    result = invoke(path, "--out", out)
    assert result.exit_code == 1
    assert "128 x 96 pixels need some" in result.output
    assert "crop the image" in result.output
    assert not out.exists()
