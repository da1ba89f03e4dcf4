"""Results of a map's sites, kept without an object for each."""

import math
import tracemalloc
from dataclasses import asdict

import pytest
from nucleation_bluesky.contract.enums import Termination
from nucleation_bluesky.plans.result_table import ResultTable
from nucleation_bluesky.plans.results import RampResult


def result(n: int) -> RampResult:
    return RampResult(
        Termination.CURRENT_COMPLIANCE if n % 2 else Termination.COMPLETED,
        stop_bias=-3.7 - 1e-4 * n, n_samples=3000 + n, trip_index=n, exposure=f"{n:032x}",
    )  # fmt: skip


def same(one: RampResult, other: RampResult) -> bool:
    def plain(values):
        return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in values.items()}

    return plain(asdict(one)) == plain(asdict(other))


def test_results_come_back_as_they_were():
    table = ResultTable(5)
    for n, site in enumerate([40, 2, 17]):
        table.add(site, result(n))
    assert list(table) == [40, 2, 17]  # in order of visit
    assert len(table) == 3
    for n, site in enumerate([40, 2, 17]):
        assert same(table[site], result(n))
        assert isinstance(table[site].termination, Termination)
        assert isinstance(table[site].n_samples, int)
    assert table.n_tripped == sum(r.tripped for r in table.values()) == 1
    with pytest.raises(KeyError):
        table[-1]
    with pytest.raises(ValueError, match="site 2 has"):
        table.add(2, result(0))


def test_nothing_grows_with_the_sites():
    table = ResultTable(4000)
    table.add(0, result(0))
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for n in range(1, 4000):
            table.add(n, result(n))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / 4000 < 10  # bytes a site; an object takes hundreds
