"""Finding particles on micrographs of many kinds, against the truth and the plain method."""

import numpy as np
import pytest
from nucleation_bluesky.analysis.particle_images import (
    annotation_mask,
    find_particles,
    measure_labels,
    segment_image,
)
from nucleation_bluesky.analysis.particle_images.clear import by_threshold, choose
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


@pytest.mark.parametrize(
    ("image", "options", "word"),
    [
        (np.zeros((4, 4, 3)), {}, "dimensions"),
        (np.zeros((4, 40)), {}, "too small"),
        (np.full((40, 40), np.nan), {}, "finite"),
        (np.eye(40), {"polarity": "grey"}, "polarity"),
        (np.eye(40), {"pixel_size": -1.0}, "pixel size"),
        (np.eye(40), {"max_area": 0.0}, "max_area"),
        (np.eye(40), {"footprint": np.ones((3, 3))}, "footprint"),
    ],
)
def test_bad_input(image, options, word):
    with pytest.raises(ValueError, match=word):
        find_particles(image, **options)


def test_groups_on_a_clear_image_are_parted():
    y, x = np.mgrid[:300, :300]
    image, n = np.zeros((300, 300)), 0
    for cy, cx, turn in ((60, 60, 0), (60, 220, 1), (150, 140, 2), (230, 60, 3), (230, 225, 4)):
        for k in range(5):  # a winding chain of discs that overlap
            angle = turn + 0.8 * (k % 2)
            oy, ox = cy + 20 * (k - 2) * np.sin(angle), cx + 20 * (k - 2) * np.cos(angle)
            image[np.hypot(y - oy, x - ox) < 11.5] = 1.0
            n += 1
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(image, 1.0) + 0.05 * rng.normal(size=image.shape)
    labels = by_threshold(ndimage.gaussian_filter(image, 1.0), np.ones(image.shape, bool), 12.0)
    assert labels.max() == n
    found = segment_image(image)
    assert abs(found.labels.max() - n) <= 0.12 * n
    diameter = 2 * np.sqrt(np.bincount(found.labels.ravel())[1:].mean() / np.pi)
    assert diameter == pytest.approx(22.0, rel=0.12)


def test_a_threshold_is_not_trusted_where_grey_values_are_one_class():
    rng = np.random.default_rng(1)
    texture = ndimage.gaussian_filter(rng.normal(size=(200, 200)), 3.0)
    image = (texture - texture.min()) / np.ptp(texture)
    labels = np.zeros(image.shape, dtype=np.int32)
    labels[90:110, 90:110] = 1
    assert choose(image, np.ones(image.shape, bool), labels, 12.0) is labels
