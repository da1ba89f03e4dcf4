"""The report: figures show the data they were given; the page needs nothing but itself."""

import re
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from nucleation_bluesky.report.build import write_report
from nucleation_bluesky.report.figures import (
    curves,
    maps,
    nucleation_bias,
    overshoot,
    style,
    volumes,
)
from nucleation_bluesky.report.plates import volume_groups
from nucleation_bluesky.report.text import headline, quantity, rounded
from nucleation_bluesky.storage.analyse_summary import headlines
from nucleation_bluesky.storage.analysis_result import (
    AnalysisResult,
    BoundaryProfile,
    Headline,
    Kinetics,
    Split,
    Survival,
    Transference,
)
from tests.support.ramp_samples import make_ramps, make_topographies
from tests.support.site_samples import make_sites


def make_result(mode="current", label="current compliance", **ramp_options):
    ramps, onset = make_ramps(6, 7, sample_rate=500, mode=mode, **ramp_options)
    sites = make_sites(ramps, onset, false_trips=2)
    images = make_topographies(ramps, pixels=64)
    grains = images.before.height < np.percentile(images.before.height, 10)
    result = AnalysisResult(
        label=label,
        ramps=ramps,
        sites=sites,
        before=images.before,
        after=images.after,
        grains=grains.astype(int),
        provenance={"source": "a.h5", "source_sha256": "ab" * 32, "parameters": {"x": 1}},
        missing={"kinetics": "only one sweep rate was measured"},
    )
    return replace(result, summary=headlines(result))


@pytest.fixture(scope="module")
def result():
    return make_result()


def rich(result):
    n = np.linspace(1e9, 5e10, 30)
    curve = Survival(
        1.2,
        np.linspace(-3.5, -3.9, 20),
        np.linspace(1, 0, 20),
        median=-3.7,
        median_low=-3.69,
        median_high=-3.71,
    )
    return replace(
        result,
        transference=Transference(n, 0.98 * n, 0.02 * n, 0.98, 0.01, (0.96, 1.0), n * 1e-29),
        boundary=BoundaryProfile(
            np.array([1e-8, 1e-7]), *(np.array([-3.6, -3.8]) + d for d in (0, -0.02, 0.02))
        ),
        kinetics=Kinetics(
            (curve, replace(curve, rate=12.0)), 6e3, 3.2, 0.3, (4e3, 9e3), (3.0, 3.4), 400, 6e-8
        ),
        split=Split({"Equilibrium": (-3.04, None), "Overpotential": (-0.6, 0.1)}, (-3.64, 0.1)),
    )


def test_map_shows_every_value_in_its_place(result):
    figure = maps.fig_site_map(result.sites, "onset_bias")
    axes, bar = figure.axes
    shown = axes.images[-1].get_array()
    assert shown.shape == (6, 7)
    onset = result.sites["onset_bias"].values
    for k, value in enumerate(onset):
        cell = shown[result.sites["row"].values[k], result.sites["col"].values[k]]
        assert cell is np.ma.masked if np.isnan(value) else cell == value
    left, right, bottom, top = axes.images[-1].get_extent()
    assert right - left == pytest.approx(7 * 20e-9)
    assert top - bottom == pytest.approx(6 * 20e-9)
    assert bar.get_ylabel() == "Nucleation bias (V)"
    assert not axes.get_xticks().size
    assert any("nm" in t.get_text() for t in axes.texts)
    low, high = axes.images[-1].get_clim()
    assert low <= np.nanmedian(onset) <= high


def test_outlier_does_not_ruin_the_scale(result):
    sites = result.sites.copy(deep=True)
    sites["stop_current"][3] = -5e-9
    figure = maps.fig_site_map(sites, "stop_current")
    low, high = figure.axes[0].images[-1].get_clim()
    factor = 1e12
    assert low > -5e-9 * factor * 0.9
    assert figure.axes[1].get_ylabel() == "Current (pA)"
    assert high < 5


def test_ungridded_sites_are_drawn_as_dots(result):
    loose = result.sites.drop_vars(["row", "col"])
    figure = maps.fig_site_map(loose, "height_change")
    dots = figure.axes[0].collections[-1]
    assert len(dots.get_offsets()) == loose.sizes["site"]


def test_panels_of_figure_4_and_5(result):
    figure = maps.fig_map_panels(
        result.sites,
        ["stop_current", "onset_bias", "height_change"],
        before=result.before,
        after=result.after,
        grains=result.grains,
    )
    titles = [a.get_title(loc="left") for a in figure.axes if a.get_title(loc="left")]
    assert [t.split()[-1] for t in titles] == ["before", "after", "sweep", "bias", "change"]
    labels = {a.get_ylabel() for a in figure.axes}
    assert {"Current (pA)", "Nucleation bias (V)", "ΔZ (nm)"} <= labels
    legend = [t.get_text() for t in figure.legends[0].get_texts()]
    assert "no nucleation" in legend
    fewer = maps.fig_map_panels(result.sites.isel(site=slice(0, 30)), ["onset_bias"])
    assert "not measured" in [t.get_text() for t in fewer.legends[0].get_texts()]


def test_site_curves_mark_onset_and_cut_off(result):
    k = int(np.flatnonzero(result.sites["nucleated"].values)[0])
    ramps = result.ramps
    window = slice(ramps.offsets[k], ramps.offsets[k + 1])
    onset, stop = (float(result.sites[n][k]) for n in ("onset_bias", "stop_bias"))
    figure = curves.fig_iv_zv(
        ramps.site_bias(k),
        ramps.current[window],
        ramps.height[window],
        onset=onset,
        stop=stop,
        current_compliance=10e-12,
        n_post=int(ramps.n_post[k]),
    )
    left, right = figure.axes[:2]
    assert left.get_ylabel() == "Current (pA)"
    assert right.get_ylabel() == "Height change ΔZ (nm)"
    verticals = {round(float(line.get_xdata()[0]), 9) for line in left.lines[1:]}
    assert {round(onset, 9), round(stop, 9)} <= verticals
    assert -10.0 in [pytest.approx(float(line.get_ydata()[0])) for line in left.lines]
    assert left.xaxis_inverted()


def test_statistics_figures(result):
    n = np.linspace(1e9, 4e10, 20)
    axes = volumes.fig_transference(n, 0.97 * n, slope=0.97, interval=(0.95, 0.99)).axes[0]
    text = " ".join(t.get_text() for t in axes.get_legend().get_texts())
    assert "0.970" in text
    assert "0.950 to 0.990" in text
    rng = np.random.default_rng(0)
    groups = {
        "Normal sweep": rng.lognormal(-41, 1.5, 80),
        "Compliance": rng.lognormal(-53, 0.2, 200),
    }
    first, second = volumes.fig_volume_histograms(groups).axes
    assert first.get_xlabel().endswith("(µm³)")
    assert second.get_xlabel().endswith("(nm³)")
    assert sum(p.get_height() for p in second.patches) == 200
    rich_result = rich(result)
    figure = nucleation_bias.fig_kinetics(rich_result.kinetics.curves)
    assert figure.axes[1].get_xscale() == "log"
    with pytest.raises(ValueError, match="compliance"):
        overshoot.fig_overshoot(np.full(3, np.nan))


def test_no_pyplot_state():
    before = sys.modules.get("matplotlib.pyplot")
    maps.fig_site_map(make_result().sites, "stop_bias")
    assert before is not None or "matplotlib.pyplot" not in sys.modules


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.sources, self.text, self.ids, self.alts = [], [], [], []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag in ("img", "script", "link", "iframe", "source"):
            self.sources.append(attrs.get("src") or attrs.get("href") or "")
        if tag == "img":
            self.alts.append(attrs.get("alt", ""))
        if "id" in attrs:
            self.ids.append(attrs["id"])

    def handle_data(self, data):
        self.text.append(data)


def parse(path):
    page = Page()
    raw = path.read_text("utf-8")
    page.feed(raw)
    return page, raw, " ".join(" ".join(page.text).split())


def test_report_is_one_self_contained_page(result, tmp_path):
    path = write_report(rich(result), tmp_path, title="Map <7>")
    page, raw, text = parse(path)
    assert page.sources
    assert all(s.startswith("data:image/png;base64,") for s in page.sources)
    assert all(page.alts)
    bare = re.sub(r"base64,[A-Za-z0-9+/=]+", "", raw)
    assert not re.search(r"https?://|@import|url\(", bare)
    assert "Map <7>" in text
    assert "&lt;7&gt;" in raw
    for word in ("Nucleation bias (onset)", "20 nm", "10 pA", "Cu/Ag", "ab" * 32, "Fig. 4a–e"):
        assert word in text, word
    pngs = {p.stem for p in (tmp_path / "figures").glob("*.png")}
    assert {"maps", "iv_zv", "boundary", "kinetics", "split", "transference"} <= pngs
    assert pngs <= set(page.ids)


def test_absent_figures_are_explained(tmp_path):
    result = replace(make_result(), before=None, after=None, grains=None)
    _, _, text = parse(write_report(result, tmp_path))
    assert "Figures left out" in text
    assert "only one sweep rate was measured" in text
    assert not (tmp_path / "figures" / "kinetics.png").exists()
    assert not (tmp_path / "figures" / "topography.png").exists()
    assert (tmp_path / "figures" / "maps.png").exists()


def test_nothing_nucleated_still_gives_a_report(tmp_path):
    result = make_result(inert=1.1)
    _, _, text = parse(write_report(result, tmp_path))
    assert "no site nucleated" in text


def test_several_results_are_compared(result, tmp_path):
    normal = rich(make_result("none", "normal sweep"))
    height = make_result("height", "height compliance", n_post=0)
    page, _, text = parse(write_report([result, normal, height], tmp_path))
    assert {"current_compliance", "normal_sweep", "height_compliance", "comparison"} <= set(
        page.ids
    )
    assert list(volume_groups([result, normal])) == ["Normal sweep", "Current compliance"]
    assert (tmp_path / "figures" / "volumes.png").exists()
    assert (tmp_path / "figures" / "transference.png").exists()
    assert (tmp_path / "figures" / "normal_sweep_topography_after.png").exists()
    assert "Fig. 5a–d" in text
    with pytest.raises(ValueError, match="at least one"):
        write_report([], tmp_path)


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        (-3.7108, 0.1253, "−3.71 ± 0.13"),
        (0.98123, 0.0072, "0.9812 ± 0.0072"),
        (1234.0, 56.0, "1234 ± 56"),
        (float("nan"), None, "not determined"),
        (2.5, None, "2.5"),
    ],
)
def test_rounding(value, error, expected):
    assert rounded(value, error) == expected


def test_units_in_words():
    assert quantity(20e-9, "m") == "20 nm"
    assert quantity(10e-12, "A") == "10 pA"
    assert quantity(3.76e-10, "m2") == "376 µm²"
    assert quantity(4e-17, "m2") == "40 nm²"
    assert quantity(1.2, "V/s") == "1.2 V/s"
    assert headline(Headline("v", 1.39e-23, "m3")).endswith("nm³")
    assert headline(Headline("a", 6e3, "1/s", interval=(5e3, 7e3))) == (
        "6000 (95 % CI 5000 to 7000) s⁻¹"
    )


def test_scale_bar_lengths_are_round():
    for width in np.geomspace(1e-8, 1e-4, 37):
        length = style.nice_length(width)
        assert length <= 0.28 * width * 1.001
        assert length >= 0.1 * width
        mantissa = length / 10 ** np.floor(np.log10(length) + 1e-9)
        assert round(mantissa, 6) in (1, 2, 5)
