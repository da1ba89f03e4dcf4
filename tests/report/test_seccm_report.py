"""Reports of landings: of a neutral file with its film, and of a screen."""

import re
from dataclasses import replace

import numpy as np
import pytest
from nucleation_bluesky.report.build import write_report
from nucleation_bluesky.report.seccm_tables import screen_table
from nucleation_bluesky.storage.analyse_any import analyse_any_file
from nucleation_bluesky.storage.analyse_seccm import analyse_landings
from nucleation_bluesky.storage.neutral_seccm import read_seccm
from nucleation_bluesky.worlds.seccm import SeccmSettings
from PIL import Image
from tests.support.seccm_samples import galvanostatic, write_neutral

SETTINGS = SeccmSettings(frame_size=100, pixel_size=28e-8)


@pytest.fixture(scope="module")
def landing(tmp_path_factory):
    path = tmp_path_factory.mktemp("landing") / "plating.h5"
    return write_neutral(path, galvanostatic(SETTINGS, 7.8, 15.0, seed=3), "galvanostatic")


def test_landing_with_its_film(landing, tmp_path):
    result = analyse_any_file(landing)
    page = write_report(result, tmp_path, title="One <landing>").read_text()
    assert "One &lt;landing&gt;" in page
    drawn = {p.name for p in (tmp_path / "figures").iterdir()}
    assert {"transient.png", "frames.png", "charge_intensity.png", "film_0.gif"} <= drawn
    for name in drawn:
        picture = np.asarray(Image.open(tmp_path / "figures" / name).convert("RGB"))
        assert picture.std() > 5
    with Image.open(tmp_path / "figures" / "film_0.gif") as film:
        assert film.n_frames > 20
    assert "Martín-Yerga" in page
    assert "Kumar" not in page
    value = re.search(r"nucleation potential</th><td class=\"value\">([^<]+)<", page)
    assert value is not None
    shown = float(value.group(1).split()[0].replace("−", "-"))
    assert shown == pytest.approx(result.landings[0].value("e_nuc"), abs=1e-4)
    assert not re.search(r"(src|href)=\"https?:", page)  # needs no network


def test_screen(tmp_path):
    landings, densities = [], (7.8, 20.0)
    for number, (condition, seed) in enumerate([(0, 1), (0, 2), (1, 3), (1, 4)]):
        path = write_neutral(
            tmp_path / f"{number}.h5",
            galvanostatic(SETTINGS, densities[condition], 6.0, seed=seed),
            "galvanostatic",
        )
        source = read_seccm(path).landings()
        one = replace(
            source.landings[0], site=number, condition=condition, repeat=seed % 2,
            x=number * 1e-5, y=0.0, contact=number != 3, movie=None,
            footprint_area=SETTINGS.footprint_area,
        )  # fmt: skip
        landings.append(one)
    source = replace(source, landings=landings, conditions=[{"label": "low"}, {"label": "high"}])
    result = analyse_landings(source)
    assert result.screen is not None
    write_report([result], tmp_path / "out")
    drawn = {p.name for p in (tmp_path / "out" / "figures").iterdir()}
    assert {"screen.png", "screen_curves.png", "screen_positions.png"} <= drawn
    table = screen_table(result.screen)
    assert table.columns[:3] == ["Condition", "Nucleated", "j (mA/cm²)"]
    assert [row[0] for row in table.rows] == ["low", "high"]
    assert table.rows[1][1] == "1 of 1"  # the landing without contact does not count
    assert all("nan" not in cell for row in table.rows for cell in row)
