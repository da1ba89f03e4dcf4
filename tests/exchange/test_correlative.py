"""Pictures of other instruments come to lie where they belong."""

import numpy as np
import pytest
from nucleation_bluesky.exchange.correlative import (
    Alignment,
    align_points,
    mutual_information,
    refine,
    resample,
)
from nucleation_bluesky.exchange.fields import ExchangeError, Field
from scipy.ndimage import gaussian_filter
from skimage.transform import SimilarityTransform

PIXEL = 10e-9


def true_matrix(scale=1.0, rotation=0.1, shift=(3e-7, -2e-7)):
    """From picture pixels to the sample, m."""
    return SimilarityTransform(scale=PIXEL * scale, rotation=rotation, translation=shift).params


def test_control_points_give_the_transform():
    rng = np.random.default_rng(0)
    pixels = rng.uniform(0, 500, (8, 2))
    matrix = true_matrix()
    exact = (np.c_[pixels, np.ones(8)] @ matrix.T)[:, :2]
    found = align_points(pixels, exact)
    np.testing.assert_allclose(found.matrix, matrix, atol=1e-15)
    noisy = align_points(pixels, exact + rng.normal(0, 5e-9, exact.shape))
    assert 2e-9 < noisy.residual < 12e-9
    assert np.isnan(align_points(pixels[:2], exact[:2]).residual)


@pytest.mark.parametrize(
    ("pixels", "model", "words"),
    [
        ([[0, 0]], "similarity", "needs 2"),
        ([[0, 0], [1, 1], [2, 2]], "affine", "on a line"),
        ([[0, 0], [1, 1]], "spline", "not one of"),
    ],
)
def test_poor_points_are_refused(pixels, model, words):
    with pytest.raises(ExchangeError, match=words):
        align_points(np.array(pixels), np.array(pixels) * 1e-8, model)


def test_intensities_refine_a_rough_guess_though_contrast_is_inverted():
    rng = np.random.default_rng(3)
    scene = gaussian_filter(rng.normal(size=(160, 160)), 5)
    scene /= scene.std()
    picture = np.exp(-scene)  # another instrument: inverted and not linear
    matrix = true_matrix(rotation=0.05, shift=(2e-7, 1e-7))
    onto = Field("onset_bias", np.zeros((50, 50)), "V", (20e-9, 20e-9), (3e-7, 3e-7))
    shown = resample(scene, Alignment(matrix), onto)
    onto = Field(
        "onset_bias", shown + rng.normal(0, 0.2, shown.shape), "V", onto.pitch, onto.origin
    )
    rough = matrix.copy()
    rough[:2, 2] += (4e-8, -3e-8)
    found = refine(picture, onto, Alignment(rough))
    corners = np.array([[40, 40, 1], [120, 40, 1], [80, 120, 1.0]])
    miss = np.hypot(*((corners @ (found.matrix - matrix).T)[:, :2].T)).max()
    before = np.hypot(*((corners @ (rough - matrix).T)[:, :2].T)).max()
    assert miss < 8e-9 < before
    assert found.score > mutual_information(onto.values, resample(picture, Alignment(rough), onto))


def test_no_overlap_is_refused():
    onto = Field("onset_bias", np.ones((20, 20)), "V", (1e-8, 1e-8), (1.0, 1.0))
    with pytest.raises(ExchangeError, match="hardly overlap"):
        refine(np.ones((50, 50)), onto, Alignment(true_matrix()))
