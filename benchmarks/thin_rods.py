"""Does the particle count keep thin rods whole?

``python -m benchmarks.thin_rods``; results in benchmarks/results/thin_rods.json: every image that
is counted more than 5 % wrong, of 120 drawn ones of rods 5 to 10 px wide.
"""

import itertools

from nucleation_bluesky.analysis.particle_images import segment_image

from benchmarks.drawn_rods import rods_on_a_grid
from benchmarks.report import write_json

WIDTHS = (5, 6, 7, 8, 10)  # px
ASPECTS = (2, 3, 4.5, 6)
NOISE = (0.002, 0.01, 0.04)  # of the contrast
BLUR = (0.5, 1.0)  # px
WRONG = 0.05


def main():
    images, wrong = 0, []
    for width, aspect, noise, blur in itertools.product(WIDTHS, ASPECTS, NOISE, BLUR):
        image, count = rods_on_a_grid(width * aspect, width, noise, blur, int(10 * width + aspect))
        found = int(segment_image(image).labels.max())
        images += 1
        if abs(found - count) > WRONG * count:
            wrong.append(
                {
                    "width": width,
                    "aspect": aspect,
                    "noise": noise,
                    "blur": blur,
                    "counted": found,
                    "drawn": count,
                }
            )
    write_json("thin_rods", {"images": images, "counted_wrong": wrong})


if __name__ == "__main__":
    main()
