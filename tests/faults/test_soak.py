"""The verdict on the long session: what grows is noticed, what does not is not."""

import copy
import subprocess
import sys
from subprocess import PIPE

import numpy as np
import psutil
import pytest
from benchmarks.soak import CEILING, PROCESSES, growth, trends, verdict
from benchmarks.watchdog import own_memory


def samples(growth=0.0, handles=0.0, spread=0.2):
    """Two hundred samples of a run of 20,000 sites; the session grows by so much, MB a site."""
    made, noise = [], np.random.default_rng(3)
    for k in range(200):
        sites = 100 * k
        one = {"own_mb": 100.0, "uss_mb": 110.0, "rss_mb": 150.0, "fds": 14, "threads": 20}
        one["cpu_s"] = 0.007 * sites
        sample = {"sites": sites, **{p: dict(one) for p in PROCESSES}}
        for process in PROCESSES:
            sample[process]["own_mb"] += noise.normal(0, spread)
        sample["run_engine"]["own_mb"] += growth * sites
        sample["tiled"]["fds"] += int(handles * sites)
        made.append(sample)
    return made


def result(**grown):
    return {
        "sites": 20_164,
        "asked": 20_000,
        "outcome": {"outcome": "success"},
        "interrupted": [],
        "trends_after_warm_up": trends(samples(**grown)),
        "site_times": {"median_ms_of_the_last": 20.5, "median_ms_of_fresh": 20.0},
    }


def test_a_run_without_growth_passes():
    assert all(verdict(result())["met"].values())


def test_growth_is_noticed_and_told_in_kb_a_site():
    found = verdict(result(growth=0.004))
    assert not found["met"]["memory_slopes_within_noise"]
    assert not found["met"]["memory_gains_2_percent_at_most"]
    assert found["memory"]["run_engine"]["kb_per_site"] == pytest.approx(4.1, abs=0.1)


@pytest.mark.parametrize(
    ("grown", "within"), [(0.0, True), (-1e-5, True), (1e-7, True), (2e-6, False)]
)
def test_memory_without_noise_may_shrink_or_grow_by_less_than_a_page(grown, within):
    found = verdict(result(growth=grown, spread=0.0))
    assert found["memory"]["run_engine"]["within_noise"] is within
    assert found["met"]["memory_slopes_within_noise"] is within
    assert found["met"]["memory_gains_2_percent_at_most"]  # 40 kB in 20,000 sites
    assert found["memory"]["run_engine"]["at_most"] == pytest.approx(
        grown * 2 / 3 * 0.9 * 20_000 / 100, rel=0.1, abs=1e-9
    )


def test_growth_after_a_fall_and_growth_within_a_large_error_are_noticed():
    fallen = growth({"blocks": [224.9, *np.linspace(206.8, 218.5, 9)]})
    assert not fallen["within_noise"]
    assert fallen["at_most"] > CEILING
    wild = growth({"blocks": [100 + 8 * (-1) ** k + 0.5 * k for k in range(10)]})
    assert wild["within_noise"]
    assert wild["at_most"] > CEILING
    assert not growth({"blocks": [200.0, 201.0, *[201.5, 201.3] * 4]})["within_noise"]
    level = growth({"blocks": [201.5, 201.3] * 5})
    assert level["within_noise"]
    assert level["at_most"] < CEILING


def test_a_lost_handle_now_and_then_is_noticed():
    found = verdict(result(handles=1e-3))
    assert not found["met"]["handles_and_threads_constant"]
    assert found["constant"]["run_engine"]
    assert not found["constant"]["tiled"]


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({"sites": 14_656}, "all_sites"),
        ({"outcome": {"outcome": "abort"}}, "one_run"),
        ({"interrupted": ["the exposure ended with 'heartbeat_lost'"]}, "one_run"),
        ({"site_times": {"median_ms_of_the_last": 21.5, "median_ms_of_fresh": 20.0}},
         "time_of_a_site_within_5_percent"),
    ],
)  # fmt: skip
def test_what_is_not_met_is_named(change, missed):
    assert not verdict(copy.deepcopy(result()) | change)["met"][missed]


def test_own_memory_is_what_was_written_to_and_no_library():
    """A hundred megabytes that are filled count in full, while another process maps the same."""
    program = (
        "import sys, numpy; kept = numpy.ones(13_107_200); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=PIPE, stdout=PIPE) as one:
        assert one.stdout is not None
        one.stdout.readline()
        alone = own_memory(psutil.Process(one.pid))
        with subprocess.Popen([sys.executable, "-c", program], stdin=PIPE, stdout=PIPE) as other:
            assert other.stdout is not None
            other.stdout.readline()
            beside = own_memory(psutil.Process(one.pid))
            other.communicate()
        one.communicate()
    assert alone == beside
    assert 100 < alone < 200
