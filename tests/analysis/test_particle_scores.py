"""Choosing particles from a pool of candidates by fitted scores."""

import numpy as np
import pytest
from nucleation_bluesky.analysis.particle_images import learned, segment_image
from nucleation_bluesky.analysis.particle_images.forest import Forest
from nucleation_bluesky.analysis.particle_images.pool import (
    disjoint,
    drawn,
    layers_of,
    overlap_before,
    pool_of,
)
from nucleation_bluesky.analysis.particle_images.traits import Field, outline, traits
from scipy import ndimage

SHAPE = (120, 160)
ROWS, COLS = np.indices(SHAPE)


def disc(row, col, radius):
    return np.hypot(ROWS - row, COLS - col) < radius


def numbered(*masks):
    out = np.zeros(SHAPE, dtype=np.int32)
    for k, mask in enumerate(masks, start=1):
        out[mask] = k
    return out


def field_of(mask, noise=0.02):
    rng = np.random.default_rng(0)
    grey = ndimage.gaussian_filter(mask.astype(float), 1.0) + rng.normal(0, noise, SHAPE)
    return Field.of(np.asarray(ndimage.gaussian_filter(grey, 1.0)), np.ones(SHAPE, dtype=bool))


def test_a_forest_sums_what_its_trees_say():
    forest = Forest(
        ("a", "b"),
        1.0,
        trait=np.array([[0, -1, 1, -1, -1], [-1, 0, 0, 0, 0]]),
        limit=np.array([[0.5, 0, 2.0, 0, 0], [0, 0, 0, 0, 0]]),
        left=np.array([[1, 0, 3, 0, 0], [0] * 5]),
        right=np.array([[2, 0, 4, 0, 0], [0] * 5]),
        value=np.array([[0, 10.0, 0, 20.0, 30.0], [0.25, 0, 0, 0, 0]]),
    )
    found = forest({"b": np.array([0.0, 2.0, 3.0]), "a": np.array([0.5, 1.0, 1.0])})
    np.testing.assert_allclose(found, [11.25, 21.25, 31.25])


def test_traits_tell_one_particle_from_two():
    pair = disc(60, 50, 16) | disc(60, 80, 16)
    alone = disc(60, 120, 16)
    found = traits(field_of(pair | alone), numbered(pair, alone), {})
    assert found["solid"][0] < 0.95 < found["solid"][1]
    assert found["round"][0] < found["round"][1]
    assert found["depth"][0] < 0.75 < found["depth"][1]
    halves = traits(field_of(alone), numbered(alone & (COLS < 120), alone & (COLS >= 120)), {})
    # the cut through a particle: a common side where the image shows nothing
    assert (halves["shared"] > 0.25).all()
    assert (halves["gap"] < 0.3).all()
    assert (halves["gap shown"] < 0.5).all()
    assert (halves["shown10"] < 0.3 * halves["shown50"]).all()


def test_traits_do_not_depend_on_magnification():
    mask = disc(60, 50, 10) | disc(40, 120, 14)
    small = traits(field_of(mask), numbered(disc(60, 50, 10), disc(40, 120, 14)), {})
    twice = np.kron(field_of(mask).grey, np.ones((2, 2)))
    field = Field.of(
        np.asarray(ndimage.gaussian_filter(twice, 1.0)), np.ones(twice.shape, dtype=bool)
    )
    labels = np.kron(numbered(disc(60, 50, 10), disc(40, 120, 14)), np.ones((2, 2), dtype=np.int32))
    large = traits(field, labels, {})
    for name in ("axes", "filled", "solid", "share", "beside size", "covered", "grey50"):
        np.testing.assert_allclose(large[name], small[name], atol=0.04, err_msg=name)


def test_the_worthiest_regions_that_hardly_overlap_are_chosen():
    whole = disc(60, 60, 30)
    layers = [
        numbered(whole),
        numbered(whole & (COLS < 60), whole & (COLS >= 60), disc(60, 130, 12)),
        numbered(disc(60, 62, 30)),
    ]
    pool = pool_of(field_of(whole | disc(60, 130, 12)), layers)
    np.testing.assert_array_equal(pool.first, [0, 1, 4])
    assert pool.traits["holds most"][0] == 2
    assert pool.traits["part least"][1] == pytest.approx(0.5, abs=0.05)
    assert pool.traits["found best"][0] > 0.9 > 0.6 > pool.traits["found best"][1]
    assert pool.traits["found best"][3] == 0
    np.testing.assert_array_equal(disjoint(pool, np.array([0.9, 0.8, 0.8, 0.1, 0.7])), [0, 3])
    np.testing.assert_array_equal(disjoint(pool, np.array([0.5, 0.8, 0.7, 0.6, 0.4])), [1, 2, 3])
    chosen = np.array([0, 4])
    overlap = overlap_before(pool, chosen)
    assert overlap[0] == 0
    assert overlap[1] > 0.9
    labels = drawn(pool, chosen)
    np.testing.assert_array_equal(labels == 1, whole)
    assert (labels == 2).sum() == (disc(60, 62, 30) & ~whole).sum()


def test_every_score_asks_for_traits_that_there_are():
    mask = disc(60, 50, 16) | disc(60, 100, 16)
    field = field_of(mask)
    pool = pool_of(field, layers_of(field, [], [numbered(disc(60, 50, 16), disc(60, 100, 16))]))
    scores = {name: learned.forests()[name](pool.traits) for name in learned.FITTED}
    assert (scores["fit"] > 0.6).all()
    assert (scores["purity"] > 0.6).all()
    found = learned.among(pool, disjoint(pool, learned.worth(scores)), scores)
    assert (learned.forests()[learned.COUNTS](found) > learned.LEAST).all()


def test_the_order_of_regions_and_of_segmentations_does_not_matter():
    mask = disc(60, 50, 16) | disc(60, 84, 20) | disc(30, 130, 12)
    field = field_of(mask)
    first = numbered(disc(60, 50, 16), disc(60, 84, 20) & ~disc(60, 50, 16), disc(30, 130, 12))
    second = numbered(disc(60, 50, 16) | disc(60, 84, 20))
    renumbered = np.array([0, 3, 1, 2])[first]
    one = learned.explain(field.grey, field.valid, [second], [first])
    for found, parted in (([second], [renumbered]), ([second, first], [renumbered])):
        other = learned.explain(field.grey, field.valid, found, parted)
        np.testing.assert_array_equal(other > 0, one > 0)
        np.testing.assert_array_equal(np.unique(other[one == 1]).size, 1)
        assert other.max() == one.max() == 3


def test_nothing_to_choose_from_gives_nothing():
    empty = np.zeros(SHAPE, dtype=np.int32)
    valid = np.ones(SHAPE, dtype=bool)
    assert not learned.explain(field_of(disc(60, 60, 20)).grey, valid, [empty], [empty]).any()


def test_pieces_of_rods_are_joined_though_a_segmentation_cut_them():
    rods = [(20, 14), (58, 30), (96, 20)]
    whole = [(np.abs(ROWS - r) < 8) & (np.abs(COLS - c - 50) < 50) for r, c in rods]
    cut = numbered(*(m & (k == COLS // 20) for m in whole for k in range(8)))
    field = field_of(np.logical_or.reduce(whole), noise=0.05)
    found = learned.explain(field.grey, field.valid, [], [cut])
    assert found.max() == 3


def test_the_length_of_an_outline_does_not_depend_on_its_direction():
    rows, cols = np.indices((200, 200)).astype(float) - 100
    lengths = []
    for angle in np.linspace(0, np.pi / 2, 7):
        u = cols * np.cos(angle) + rows * np.sin(angle)
        v = rows * np.cos(angle) - cols * np.sin(angle)
        box = (np.abs(u) < 60) & (np.abs(v) < 30)
        lengths.append(float(outline(box.astype(np.int32))[0]))
    assert lengths == pytest.approx([360.0] * 7, rel=0.07)
    disc = np.hypot(rows, cols) < 50
    assert outline(disc.astype(np.int32))[0] == pytest.approx(100 * np.pi, rel=0.03)


def test_a_cut_through_one_particle_shows_neither_in_the_grey_nor_in_the_shape():
    alone, pair = disc(60, 40, 18), disc(60, 100, 16) | disc(60, 130, 16)
    left, right = COLS < 40, COLS < 115
    cut = numbered(alone & left, alone & ~left, pair & right, pair & ~right)
    found = traits(field_of(alone | pair), cut, {})
    one, two = slice(0, 2), slice(2, 4)
    assert (found["united"][one] > 0.97).all()
    assert (found["united"][two] < 0.93).all()
    assert (found["united dip"][one] < 0).all()
    assert (found["united dip"][two] > found["united dip"][0]).all()
    assert (found["united neck"][one] > 1.0).all()
    assert (found["united neck"][two] < 0.7).all()
    assert (found["united step"] < 0.05).all()
    unlike = traits(field_of(np.where(left, 0.5, 1.0) * alone), cut, {})
    assert (unlike["united step"][one] > 0.3).all()


def test_cuts_that_others_make_are_held_against_a_region_where_the_image_shows_them():
    pair = disc(60, 50, 16) | disc(60, 84, 16)
    rod = (np.abs(ROWS - 100) < 6) & (np.abs(COLS - 80) < 30)
    layers = [
        numbered(pair, rod),
        numbered(disc(60, 50, 16), disc(60, 84, 16), rod & (COLS < 80), rod & (COLS >= 80)),
    ]
    found = pool_of(field_of(pair | rod), layers).traits
    assert found["parts' dip"][0] > 0.3 > 0 > found["parts' dip"][1]
    assert found["parts united"][1] > 0.97
    assert not found["parts' dip"][2:].any()


@pytest.mark.parametrize(
    ("length", "width", "most"),
    [(24, 12, 36), (40, 20, 16), (80, 20, 9), (32, 8, 64), (48, 8, 25), (72, 12, 9), (64, 16, 16)],
)
def test_straight_rods_of_any_direction_stay_whole(length, width, most):
    rng = np.random.default_rng(7)
    step = int(1.3 * length) + 8
    side = step * int(np.sqrt(most)) + 8
    rows, cols = np.indices((side, side)).astype(float)
    image = np.zeros((side, side))
    centres = [(i + 0.5) * step + 4 for i in range(int(np.sqrt(most)))]
    for row in centres:
        for col in centres:
            angle = rng.uniform(0, np.pi)
            u = (cols - col) * np.cos(angle) + (rows - row) * np.sin(angle)
            v = (rows - row) * np.cos(angle) - (cols - col) * np.sin(angle)
            image[(np.abs(u) < length / 2) & (np.abs(v) < width / 2)] = 1
    seen = np.asarray(ndimage.gaussian_filter(image, 1.0)) + rng.normal(0, 0.03, image.shape)
    assert segment_image(seen).labels.max() == most


@pytest.mark.parametrize(
    ("length", "width", "angle"), [(200, 12, np.pi / 2), (120, 12, 0.5), (300, 20, 0.5)]
)
def test_one_long_rod_alone_is_no_hole_in_a_ground(length, width, angle):
    rows, cols = np.indices((384, 384)) - 190.0
    u = cols * np.sin(angle) + rows * np.cos(angle)
    v = cols * np.cos(angle) - rows * np.sin(angle)
    mask = (np.abs(u) < length / 2) & (np.abs(v) < width / 2)
    noise = np.random.default_rng(0).normal(0, 0.07, mask.shape)
    found = segment_image(ndimage.gaussian_filter(mask.astype(float), 0.8) + noise)
    assert found.polarity == "bright"
    assert found.labels.max() == 1
    assert (found.labels > 0)[mask].mean() > 0.9


@pytest.mark.parametrize(
    ("diameter", "overlap"), [(12, 0.1), (16, 0.15), (20, 0.2), (24, 0.2), (30, 0.25)]
)
def test_discs_that_overlap_are_parted(diameter, overlap):
    rng = np.random.default_rng(5)
    step = int(2.4 * diameter) + 8
    rows, cols = np.indices((4 * step + 8, 4 * step + 8)).astype(float)
    image = np.zeros(rows.shape)
    for row in (np.arange(4) + 0.5) * step + 4:
        for col in (np.arange(4) + 0.5) * step + 4:
            angle, apart = rng.uniform(0, np.pi), (1 - overlap) * diameter / 2
            for side in (-apart, apart):
                r, c = row + side * np.sin(angle), col + side * np.cos(angle)
                image[np.hypot(rows - r, cols - c) < diameter / 2] = 1
    seen = np.asarray(ndimage.gaussian_filter(image, 0.8)) + rng.normal(0, 0.03, image.shape)
    assert segment_image(seen).labels.max() == 32


@pytest.mark.parametrize("turn", [0.8, 1.8, 2.3])
def test_arcs_stay_whole(turn):
    rng = np.random.default_rng(5)
    rows, cols = np.indices((300, 300)).astype(float)
    mask = np.zeros(rows.shape, dtype=bool)
    for row in (50, 150, 250):
        for col in (50, 150, 250):
            angle = np.arctan2(rows - row, cols - col) - rng.uniform(0, 2 * np.pi)
            away = np.hypot(rows - row, cols - col)
            mask |= (np.abs(away - 28) < 5) & (angle % (2 * np.pi) < turn)
    seen = ndimage.gaussian_filter(mask.astype(float), 0.8) + rng.normal(0, 0.07, mask.shape)
    assert segment_image(seen).labels.max() == 9


def test_packed_discs_cut_by_the_frame_are_no_ground():
    pitch = 68.0
    rows, cols = np.indices((120, 120)).astype(float)
    away = np.min(
        [
            np.hypot(rows - r * pitch * np.sqrt(3) / 2 - 5, cols - (c + r / 2) * pitch - 9)
            for r in range(-2, 4)
            for c in range(-4, 5)
        ],
        axis=0,
    )
    discs = away < 1.013 * pitch / 2
    noise = np.random.default_rng(1).normal(0, 0.02, discs.shape)
    found = segment_image(ndimage.gaussian_filter(-discs.astype(float), 1.0) + noise)
    assert found.polarity == "dark"
    assert (found.labels > 0)[discs].mean() > 0.9
