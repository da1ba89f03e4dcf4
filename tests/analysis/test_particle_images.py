"""Finding particles on micrographs of many kinds, against the truth and the plain method."""

import numpy as np
import pytest
from nucleation_bluesky.analysis.particle_images import (
    annotation_mask,
    find_particles,
    measure_labels,
    segment_image,
)
from nucleation_bluesky.analysis.particle_images.clear import by_threshold, choose, explained
from nucleation_bluesky.analysis.particle_images.doubts import doubts
from nucleation_bluesky.analysis.particle_images.parting import part
from scipy import ndimage
from tests.support.micrographs import (
    annotate,
    errors,
    mean_diameter,
    micrograph,
    otsu_watershed,
)

SIZE = 160


@pytest.mark.parametrize(
    "kind", ["discs", "uneven", "annotated", "lognormal", "cubes", "rods", "faint", "streaks"]
)
def test_counts_and_sizes_many_kinds(kind):
    truth = micrograph(kind, 3, size=SIZE)
    found = segment_image(truth.image)
    count, diameter = errors(found.labels, truth)
    assert found.polarity == truth.polarity
    assert count <= 0.12
    assert diameter <= 0.12


def test_beats_otsu_on_uneven_ground():
    ours, plain = [], []
    for seed in range(3):
        truth = micrograph("uneven", seed, size=SIZE)
        ours.append(errors(segment_image(truth.image).labels, truth)[0])
        plain.append(errors(otsu_watershed(truth.image), truth)[0])
    assert np.mean(ours) < 0.05
    assert np.mean(plain) > 2 * np.mean(ours) + 0.03


def test_negative_gives_the_same_particles_as_the_other_polarity():
    truth = micrograph("discs", 5, size=SIZE)
    first, second = segment_image(truth.image), segment_image(255 - truth.image)
    assert {first.polarity, second.polarity} == {"bright", "dark"}
    assert first.labels.max() == second.labels.max()
    assert mean_diameter(first.labels) == pytest.approx(mean_diameter(second.labels), rel=0.02)


def test_grey_scale_and_offset_do_not_matter():
    truth = micrograph("discs", 6, size=SIZE)
    first = segment_image(truth.image)
    second = segment_image(truth.image * 257.0 - 3000.0)
    np.testing.assert_array_equal(first.labels, second.labels)


def test_chain_of_touching_discs_is_split():
    image = np.zeros((120, 160))
    rows, cols = np.indices(image.shape)
    for k in range(5):
        image[np.hypot(rows - 60, cols - 24 - 26 * k) < 14] = 1
    image = ndimage.gaussian_filter(image, 1) + np.random.default_rng(0).normal(0, 0.03, (120, 160))
    table = find_particles(image)
    assert table.count == 5
    np.testing.assert_allclose(np.sort(table.centroid_x), 24 + 26 * np.arange(5), atol=1)


def test_ellipse_and_rod_are_not_split():
    image = np.zeros((120, 200))
    rows, cols = np.indices(image.shape)
    image[((rows - 60) / 12) ** 2 + ((cols - 50) / 34) ** 2 < 1] = 1
    image[50:70, 110:185] = 1
    image = ndimage.gaussian_filter(image, 1) + np.random.default_rng(0).normal(0, 0.03, (120, 200))
    assert find_particles(image).count == 2


def test_scale_bar_and_text_are_found_and_particles_are_not():
    rng = np.random.default_rng(1)
    plain = micrograph("discs", 2, size=256).image.astype(float)
    assert annotation_mask(plain).mean() < 0.005
    drawn_image, drawn = annotate(plain, rng)
    mask = annotation_mask(drawn_image)
    assert mask[drawn].mean() > 0.9
    assert mask.mean() < 4 * drawn.mean() + 0.02


def test_coloured_marks_are_left_out():
    image = micrograph("discs", 2, size=SIZE).image
    colour = np.dstack([image] * 3)
    colour[100:140, 20:60] = (255, 30, 0)
    assert annotation_mask(colour.mean(axis=2), colour)[100:140, 20:60].all()


def test_measures_in_metres_and_pixels_agree():
    labels = np.zeros((60, 80), dtype=int)
    rows, cols = np.indices(labels.shape)
    labels[np.hypot(rows - 30, cols - 40) < 10.2] = 1
    labels[np.hypot(rows - 10, cols) < 8] = 2
    pixels, metres = measure_labels(labels), measure_labels(labels, pixel_size=4e-9)
    np.testing.assert_allclose(metres.equivalent_diameter, pixels.equivalent_diameter * 4e-9)
    np.testing.assert_allclose(metres.area, pixels.area * 16e-18)
    assert pixels.equivalent_diameter[0] == pytest.approx(20.4, rel=0.02)
    assert pixels.centroid_x[0] == pytest.approx(40)
    assert pixels.centroid_y[0] == pytest.approx(30)
    assert pixels.circularity[0] > 0.95
    np.testing.assert_array_equal(pixels.touches_border, [False, True])
    assert metres.density == pytest.approx(2 / (60 * 80 * 16e-18))


def test_limits_and_footprint():
    truth = micrograph("bimodal", 1, size=SIZE)
    everything = find_particles(truth.image, pixel_size=1e-9)
    limit = float(np.median(everything.area))
    small = find_particles(truth.image, pixel_size=1e-9, max_area=limit)
    assert small.count < everything.count
    assert small.area.max() <= limit
    large = find_particles(truth.image, pixel_size=1e-9, min_diameter=15e-9)
    assert large.equivalent_diameter.min() >= 15e-9
    half = np.zeros(truth.image.shape, dtype=bool)
    half[:, : SIZE // 2] = True
    left = find_particles(truth.image, pixel_size=1e-9, footprint=half)
    assert left.centroid_x.max() < SIZE / 2 * 1e-9
    assert left.analysed_area == pytest.approx(half.sum() * 1e-18)


def test_nothing_on_an_empty_image():
    assert find_particles(np.full((64, 64), 7.0)).count == 0


@pytest.mark.parametrize("rows", [slice(101, 104), slice(1, None, 4), slice(0, None, 2)])
def test_a_part_that_the_coarser_grids_step_over_is_no_mistake(rows):
    # of 400 x 400, every second pixel is searched, at coarser scales every 2nd, 4th, 8th of those
    image = np.random.default_rng(0).normal(0, 0.03, (400, 400))
    image[90:115, 200:225] += 1
    valid = np.zeros(image.shape, dtype=bool)
    valid[rows] = True
    found = segment_image(image, valid=valid)
    assert not found.labels[~valid].any()


@pytest.mark.parametrize(
    ("image", "options", "word"),
    [
        (np.zeros((4, 4, 3)), {}, "dimensions"),
        (np.zeros((4, 40)), {}, "too small"),
        (np.full((40, 40), np.nan), {}, "finite"),
        (np.where(np.eye(40), 1.7e308, -1.7e308), {}, "differ by more"),
        (np.eye(40) * 1j, {}, "complex128 are no grey values"),
        (np.full((40, 40), "a"), {}, "no grey values"),
        (np.eye(40), {"colour": np.ones((3, 3, 3))}, r"colour has the shape \(3, 3, 3\)"),
        (np.eye(40), {"polarity": "grey"}, "polarity"),
        (np.eye(40), {"pixel_size": -1.0}, "pixel size"),
        (np.eye(40), {"max_area": 0.0}, "max_area"),
        (np.eye(40), {"footprint": np.ones((3, 3))}, "footprint"),
    ],
)
def test_bad_input(image, options, word):
    with pytest.raises(ValueError, match=word):
        find_particles(image, **options)


def test_a_steep_ground_is_not_taken_for_two_levels():
    y, x = np.mgrid[:128, :128]
    rng = np.random.default_rng(0)
    image = 3.0 * x / 128 + 0.02 * rng.normal(size=x.shape)
    for cy, cx in ((30, 30), (30, 90), (90, 40), (95, 95)):
        image[np.hypot(y - cy, x - cx) < 12] += 0.6
    table = find_particles(image)
    assert table.count == 4
    assert table.mean_diameter == pytest.approx(24, rel=0.06)


def test_particles_larger_than_the_picture_are_in_doubt():
    y, x = np.mgrid[:128, :128]
    image = (np.hypot(y - 64, x - 64) < 82) + 0.02 * np.random.default_rng(0).normal(size=x.shape)
    found = segment_image(image)
    assert any("cut by the edge of the picture" in doubt for doubt in found.doubts)


def winding_chains(centres, radius, pitch, rng):
    """Groups of five discs that overlap, each with its own grey, as particles and their number."""
    y, x = np.mgrid[:300, :300]
    labels = np.zeros((300, 300), dtype=int)
    for turn, (cy, cx) in enumerate(centres):
        for k in range(5):
            angle = turn + 0.8 * (k % 2)
            oy, ox = cy + pitch * (k - 2) * np.sin(angle), cx + pitch * (k - 2) * np.cos(angle)
            labels[np.hypot(y - oy, x - ox) < radius * rng.uniform(0.92, 1.08)] = 5 * turn + k + 1
    return labels


CHAINS = ((60, 60), (60, 220), (150, 140), (230, 60), (230, 225))


@pytest.mark.parametrize("polarity", ["bright", "dark"])
def test_agglomerates_are_parted_and_counted(polarity):
    rng = np.random.default_rng(0)
    truth = winding_chains(CHAINS, 11.5, 20, rng)
    image = ndimage.gaussian_filter((truth > 0).astype(float), 1.0)
    image = (image if polarity == "bright" else 1 - image) + 0.05 * rng.normal(size=truth.shape)
    found = segment_image(image)
    assert found.polarity == polarity
    assert found.labels.max() == pytest.approx(truth.max(), rel=0.04)
    assert mean_diameter(found.labels) == pytest.approx(mean_diameter(truth), rel=0.06)
    assert any("lower bound" in reason for reason in found.doubts)


def test_groups_of_many_greys_on_uneven_ground_are_parted():
    # as nuclei: some three times as bright as others, the ground as bright as the faintest
    rng = np.random.default_rng(2)
    truth = winding_chains(CHAINS, 11.5, 20, rng)
    grey = np.concatenate([[0.0], rng.uniform(0.35, 1.0, truth.max())])[truth]
    ramp = np.linspace(0, 0.3, 300)[None, :]
    image = ndimage.gaussian_filter(grey, 1.0) + ramp + 0.02 * rng.normal(size=truth.shape)
    found = segment_image(image)
    assert found.labels.max() == pytest.approx(truth.max(), rel=0.08)
    assert mean_diameter(found.labels) == pytest.approx(mean_diameter(truth), rel=0.05)


def test_groups_of_particles_are_not_taken_for_letters():
    y, x = np.mgrid[:600, :600]
    truth = np.zeros((600, 600), dtype=bool)
    first = ((300, 200), (322, 200), (322, 222), (322, 244), (300, 244))
    second = ((300, 290), (300, 312), (322, 312), (322, 334), (300, 356))
    for cy, cx in first + second:
        truth |= np.hypot(y - cy, x - cx) < 12.5
    image = 255 * (1 - ndimage.gaussian_filter(truth.astype(float), 0.6))
    assert annotation_mask(np.round(image))[truth].mean() < 0.02


def test_ground_between_particles_is_not_taken_for_particles():
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:256, :256]
    truth = np.zeros((256, 256), dtype=int)
    for k, (i, j) in enumerate(np.ndindex(11, 11)):
        if rng.random() < 0.1:
            continue
        cy, cx = 4 + 24.5 * i, 4 + 24.5 * j + 12 * (i % 2)
        truth[np.hypot(y - cy, x - cx) < rng.uniform(11.5, 12.8)] = k + 1
    image = ndimage.gaussian_filter((truth == 0).astype(float), 1.0)
    image += 0.03 * rng.normal(size=image.shape)
    # the search has taken one gap for the particle
    wrong = np.where(ndimage.binary_erosion(truth == 0, iterations=2), 1, 0).astype(np.int32)
    valid = np.ones(image.shape, dtype=bool)
    chosen = choose(image, valid, wrong, 12.0, may_reverse=True)
    assert chosen.reversed
    assert chosen.labels.max() == pytest.approx(np.unique(truth).size - 1, rel=0.1)
    assert not choose(image, valid, wrong, 12.0).reversed
    right = choose(-image, valid, truth.astype(np.int32), 12.0, may_reverse=True)
    assert not right.reversed


def parted(mask, shown):
    """Number of parts of a mask whose outline, and what else is given, the image shows."""
    rim = mask & np.logical_not(ndimage.binary_erosion(mask))
    labels = part(mask, (rim | shown).astype(float))
    assert labels is not None
    assert ((labels > 0) <= mask).all()
    return int(labels.max())


def test_parting_knows_no_length():
    mask = winding_chains(CHAINS, 11.5, 20, np.random.default_rng(3)) > 0
    large = np.kron(mask, np.ones((3, 3))) > 0
    assert [parted(m, np.zeros_like(m)) for m in (mask, large)] == [25, 25]


def test_a_border_that_the_image_shows_parts_a_convex_shape():
    mask = np.zeros((60, 100), dtype=bool)
    mask[15:45, 10:90] = True
    y, x = np.indices(mask.shape)
    for notch in (15, 44):
        mask[np.hypot(y - notch, x - 50) < 4] = False
    assert parted(mask, np.zeros_like(mask)) == 1
    assert parted(mask, np.abs(x - 50) < 3) == 2


def test_doubts_say_why():
    labels = np.zeros((40, 40), dtype=int)
    labels[5:15, 5:15], labels[25:35, 25:35] = 1, 2
    assert doubts(labels, (2, 2), 0.9, 0.8) == ()
    assert "disagree: 2 and 9" in doubts(labels, (2, 9), 0.9, 0.8)[0]
    assert "31 %" in doubts(labels, (2,), 0.31, 0.8)[0]
    assert "state the polarity" in doubts(labels, (2,), 0.9, 0.02)[0]
    assert doubts(labels, (2,), 0.9, float("nan")) == ()
    labels[15:25, 5:15] = 3
    assert "67 % of the particles touch" in doubts(labels, (3,), 0.9, 0.8)[0]


def test_a_clear_image_is_not_in_doubt():
    truth = micrograph("discs", 3, size=SIZE)
    table = find_particles(truth.image)
    assert table.certain
    assert table.count == truth.count


def test_a_threshold_is_not_trusted_where_grey_values_are_one_class():
    rng = np.random.default_rng(1)
    texture = ndimage.gaussian_filter(rng.normal(size=(200, 200)), 3.0)
    image = (texture - texture.min()) / np.ptp(texture)
    labels = np.zeros(image.shape, dtype=np.int32)
    labels[90:110, 90:110] = 1
    valid = np.ones(image.shape, bool)
    assert by_threshold(image, valid, 12.0) is None
    chosen = choose(image, valid, labels, 12.0, may_reverse=True)
    assert chosen.labels is labels
    assert chosen.above is None
    assert explained(image, valid, labels > 0) < 0.5
