"""What is drawn on a micrograph, blurred and thin as files hold it, against groups of particles."""

import numpy as np
from nucleation_bluesky.analysis.particle_images import annotation_mask, segment_image
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage


def layer(shape, draw):
    """Ink of what ``draw`` draws, 0 to 1, antialiased."""
    picture = Image.new("L", shape[::-1], 0)
    draw(ImageDraw.Draw(picture))
    return np.asarray(picture).astype(float) / 255


def ground(shape, grey, seed=0):
    rng = np.random.default_rng(seed)
    return grey + 4 * ndimage.gaussian_filter(rng.normal(size=shape), 0.5)


def inked(image, ink, grey, blur):
    """Draw ink over an image, blurred as a scaled figure is."""
    soft = np.clip(ndimage.gaussian_filter(ink, blur), 0, 1)
    return np.round(np.clip(image * (1 - soft) + grey * soft, 0, 255)).astype(np.uint8)


def bar_and_label(pen):
    pen.rectangle([150, 214, 230, 218], fill=255)
    pen.text((160, 186), "500 nm", fill=255, font=ImageFont.load_default(size=20))


def test_blurred_bar_and_all_of_its_label_are_found():
    for grey, paper in ((0, 215), (255, 70)):
        ink = layer((256, 256), bar_and_label)
        image = ground((256, 256), paper)
        y, x = np.mgrid[:256, :256]
        for cy, cx in ((60, 60), (70, 170), (130, 110)):
            image[np.hypot(y - cy, x - cx) < 18] = 0.75 * grey + 0.25 * paper
        image = inked(image, ink, grey, 0.9)
        mask = annotation_mask(image)
        left = (np.abs(image.astype(float) - paper) > 0.3 * abs(grey - paper)) & ~mask
        assert left[180:].sum() < 0.02 * (ink > 0.5).sum()
        assert segment_image(image).labels.max() == 3


def test_line_of_thin_letters_without_a_band_is_found():
    font = ImageFont.load_default(size=16)
    ink = layer(
        (256, 400), lambda pen: pen.text((4, 232), "S3400 15.0kV 18.9mm x10.0k SE", 255, font)
    )
    image = ground((256, 400), 35)
    y, x = np.mgrid[:256, :400]
    image[(np.abs(y - 110) < 15) & (np.abs(x - 200) < 60)] = 250
    image = inked(image, ink, 255, 0.6)
    assert image[225:].max() < 0.95 * 255  # nowhere the grey of the ink itself
    mask = annotation_mask(image)
    assert mask[ink > 0.5].mean() > 0.95
    assert not mask[:200].any()


def test_groups_of_unlike_height_side_by_side_are_particles():
    y, x = np.mgrid[:400, :600]
    truth = np.zeros((400, 600), dtype=bool)
    for top in (60, 230):
        for left in (40, 230, 420):
            tall = [(0, 0), (12, 3), (25, 0), (25, 12), (12, -10)]
            small = [(0, 18), (0, 29), (10, 29)]
            for cy, cx in tall + small:
                truth |= np.hypot(y - top - cy, x - left - cx) < 7
    image = np.round(255 * (1 - ndimage.gaussian_filter(truth.astype(float), 0.6)))
    assert annotation_mask(image)[truth].mean() < 0.02


def like_particles(inside, seed):
    """Draw 7 x 7 particles of one kind and any direction on a grid, 0 to 1."""
    y, x = np.mgrid[:320, :320]
    rng = np.random.default_rng(seed)
    image = np.zeros((320, 320))
    for row in range(22, 300, 40):
        for col in range(22, 300, 40):
            angle, scale = rng.uniform(0, 2 * np.pi), np.exp(rng.normal(0, 0.1))
            u = (x - col) * np.cos(angle) + (y - row) * np.sin(angle)
            v = (y - row) * np.cos(angle) - (x - col) * np.sin(angle)
            image[inside(u / scale, v / scale)] = 1
    return image, rng


def test_like_particles_in_rows_are_no_lines_of_text():
    for seed in (0, 2):
        image, rng = like_particles(lambda u, v: (v > -8) & (v < 16 - 3**0.5 * np.abs(u)), seed)
        for noise in (0.02, 0.08, 0.12):
            seen = ndimage.gaussian_filter(image, 0.8) + rng.normal(0, noise, image.shape)
            assert not annotation_mask(seen)[image > 0].any()


def test_a_level_rod_among_others_is_no_scale_bar():
    image, rng = like_particles(lambda u, v: (np.abs(u) < 16) & (np.abs(v) < 3.5), 1)
    image[:42, :42] = 0
    image[19:26, 6:38] = 1
    seen = ndimage.gaussian_filter(image, 0.6) + rng.normal(0, 0.003, image.shape)
    assert not annotation_mask(seen)[image > 0].any()
    assert segment_image(seen).labels.max() == 49
