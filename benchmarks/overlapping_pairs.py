"""Does the particle count part discs that overlap?

``python -m benchmarks.overlapping_pairs``; results in benchmarks/results/overlapping_pairs.json:
discs counted of 50, in 25 pairs, on drawn images with discs 10 to 30 px wide.
"""

import itertools

from nucleation_bluesky.analysis.particle_images import segment_image

from benchmarks.drawn_groups import pairs_on_a_grid
from benchmarks.report import write_json

DIAMETERS = (10, 12, 16, 20, 24, 30)  # px
OVERLAPS = (0.05, 0.1, 0.15, 0.2, 0.25)  # of the diameter
NOISE = (0.02, 0.07)  # of the contrast
BLUR = 0.8  # px
WRONG = 0.05


def main():
    images = []
    for diameter, overlap, noise in itertools.product(DIAMETERS, OVERLAPS, NOISE):
        seed = int(1000 * overlap + diameter)
        image, count = pairs_on_a_grid(diameter, overlap, noise, BLUR, seed)
        found = int(segment_image(image).labels.max())
        images.append(
            {"diameter": diameter, "overlap": overlap, "noise": noise, "counted": found}
            | {"drawn": count, "wrong": abs(found - count) > WRONG * count}
        )
    wrong = sum(image["wrong"] for image in images)
    write_json("overlapping_pairs", {"wrong": wrong, "images": images})


if __name__ == "__main__":
    main()
