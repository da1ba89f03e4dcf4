import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nucleation_bluesky.plans import sites
from scipy.spatial import KDTree


@given(
    rows=st.integers(1, 9),
    cols=st.integers(1, 9),
    order=st.sampled_from(["raster", "snake", "random"]),
    seed=st.integers(0, 5),
    angle=st.floats(-3, 3),
)
def test_every_order_visits_every_site_once_and_keeps_its_name(rows, cols, order, seed, angle):
    plain = sites.grid(rows, cols, 20e-9, origin=(1e-6, -2e-6), angle=angle)
    visited = plain.ordered(order, seed)
    assert sorted(visited.index) == list(range(rows * cols))
    np.testing.assert_array_equal(plain.x[visited.index], visited.x)
    np.testing.assert_array_equal(visited.index, visited.row * cols + visited.col)
    visited.validate(minimum_distance=20e-9)


def test_snake_steps_are_one_pitch():
    snake = sites.grid(4, 5, 1e-8).ordered("snake")
    steps = np.hypot(np.diff(snake.x), np.diff(snake.y))
    np.testing.assert_allclose(steps, 1e-8)


def test_raster_after_random_restores_rows():
    back = sites.grid(3, 4, 1e-8).ordered("random", 3).ordered("raster")
    np.testing.assert_array_equal(back.index, np.arange(12))


def test_hexagonal_sites_have_six_neighbours_at_one_pitch():
    hexagons = sites.hexagonal(7, 7, 30e-9, angle=0.3)
    gaps, _ = KDTree(hexagons.positions).query(hexagons.positions[24], k=7)
    np.testing.assert_allclose(gaps[1:], 30e-9)


def test_angle_turns_columns_towards_plus_y():
    turned = sites.grid(1, 2, 1e-6, origin=(1e-6, 0), angle=np.pi / 2)
    np.testing.assert_allclose(turned.positions, [[1e-6, 0], [1e-6, 1e-6]], atol=1e-18)


def test_regions_of_interest():
    square = sites.grid(5, 5, 1.0)
    assert sorted(square.inside_box((0.9, 3.1), (0, 1)).index) == [1, 2, 3, 6, 7, 8]
    inside = square.inside_polygon([(-0.5, -0.5), (2.5, -0.5), (-0.5, 2.5)])
    assert sorted(inside.index) == [0, 1, 2, 5, 6, 10]
    assert inside.shape == (5, 5)
    with pytest.raises(ValueError, match="region of interest"):
        square.inside_box((10, 11), (0, 1))
    with pytest.raises(ValueError, match="3 corners"):
        square.inside_polygon([(0, 0), (1, 1)])


def test_overlapping_sites_are_named():
    listed = sites.custom([(0, 0), (1e-6, 0), (1.005e-6, 0)])
    with pytest.raises(ValueError, match=r"overlapping sites: 1 and 2 .*minimum distance"):
        listed.validate(minimum_distance=10e-9)
    listed.validate(minimum_distance=4e-9)
    with pytest.raises(ValueError, match="overlapping sites: 0 and 1"):
        sites.custom([(0, 0), (0, 0)]).validate()


def test_off_stage_and_non_finite_sites_are_named():
    with pytest.raises(ValueError, match=r"site 2, 3 off the stage"):
        sites.grid(2, 2, 1e-6).validate(limits=((0, 5e-6), (0, 0.5e-6)))
    with pytest.raises(ValueError, match="site 1: position is not finite"):
        sites.custom([(0, 0), (np.nan, 0)]).validate()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sites.grid(0, 3, 1e-8), "1 row"),
        (lambda: sites.grid(2, 2, -1e-8), "pitch"),
        (lambda: sites.grid(2, 2, np.nan), "pitch"),
        (lambda: sites.grid(2, 2, 1e-8, origin=(np.inf, 0)), "finite"),
        (lambda: sites.custom([]), "pairs"),
        (lambda: sites.grid(2, 2, 1e-8).ordered("spiral"), "spiral"),
        (lambda: sites.grid(2, 2, 1e-8).interleaved(5), "4 sites into 5"),
    ],
)
def test_bad_parameters(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("method", ["lattice", "random"])
@pytest.mark.parametrize("groups", [2, 3, 4, 5])
def test_groups_are_balanced_and_cover_the_area(method, groups):
    area = sites.grid(20, 20, 1.0)
    dealt = area.interleaved(groups, method=method, seed=1)
    counts = np.bincount(dealt, minlength=groups)
    assert counts.max() - counts.min() <= 1
    for group in range(groups):
        mean = area.positions[dealt == group].mean(axis=0)
        assert np.all(np.abs(mean - 9.5) < 1.5)


def test_lattice_groups_make_no_stripes():
    area = sites.grid(20, 20, 1.0)
    for groups in (2, 3, 4, 5, 7):
        dealt = area.interleaved(groups).reshape(20, 20)
        assert not np.any(dealt[1:] == dealt[:-1])
        assert not np.any(dealt[:, 1:] == dealt[:, :-1])


def test_csv(tmp_path):
    good = tmp_path / "sites.csv"
    good.write_text("x,y,note\n1e-6,2e-6,a\n3e-6,4e-6,b\n")
    np.testing.assert_allclose(sites.from_csv(good).positions, [[1e-6, 2e-6], [3e-6, 4e-6]])
    bad = tmp_path / "bad.csv"
    bad.write_text("x,y\n1e-6,oops\n")
    with pytest.raises(ValueError, match="line 1"):
        sites.from_csv(bad)
    bad.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="columns x and y"):
        sites.from_csv(bad)
