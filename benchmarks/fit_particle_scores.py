"""Fit the scores by which particles are chosen, on the development halves of public micrographs.

``python -m benchmarks.fit_particle_scores FOLDER POOLS [--each N] [--write]``

FOLDER is that of `benchmarks.particles_public`; POOLS keeps the candidates of every image between
runs. The untouched halves are never read. Drawn images are fitted with them, so that what is plain
stays right. Needs scikit-learn, which the package itself does not.

Errors are told by cross-validation: for five parts of the images of each source (``parts``), and
with every source left out in turn (``kinds``; both kinds of TiO2 images together, as they show the
same fields). With ``--write`` the scores of all images are written to the package.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from nucleation_bluesky.analysis.particle_images import learned
from nucleation_bluesky.analysis.particle_images.annotations import annotation_mask
from nucleation_bluesky.analysis.particle_images.find import (
    MIN_DIAMETER,
    as_grey,
    as_unit,
    look,
)
from nucleation_bluesky.analysis.particle_images.forest import Forest
from nucleation_bluesky.analysis.particle_images.pool import (
    Pool,
    agreement,
    disjoint,
    drawn,
    layers_of,
    pool_of,
)
from nucleation_bluesky.analysis.particle_images.traits import Field
from nucleation_bluesky.storage.micrographs import read_micrograph
from sklearn.ensemble import (  # pyright: ignore[reportMissingImports]
    HistGradientBoostingRegressor,
)
from tests.support import micrographs

from benchmarks.drawn_groups import overlapping_discs
from benchmarks.drawn_rods import bent_rods, long_rods
from benchmarks.particles_public import half_of, without_specks

# what a source weighs in all: as many images as its untouched half has; drawn ones as EMPS
WEIGHTS = {
    "emps": 40.0, "nuclei_fluorescence": 40.0, "nuclei_stained": 40.0, "tio2_sem": 20.0,
    "tio2_tsem": 20.0, "tem_au_film": 5.0, "drawn": 40.0,
}  # fmt: skip
SAME = {"tio2_sem": "tio2", "tio2_tsem": "tio2"}
# regions taken of one image
MOST = 400
PARTS = 5
REGIONS = {"max_iter": 80, "max_leaf_nodes": 16, "learning_rate": 0.12}
CHOSEN = {"max_iter": 50, "max_leaf_nodes": 8, "learning_rate": 0.1}
ALWAYS = {"l2_regularization": 5.0, "min_samples_leaf": 40, "random_state": 0}


@dataclass
class Example:
    """One image: its candidates, the truth, and what is wanted of each candidate."""

    source: str
    name: str
    pool: Pool
    truth: np.ndarray
    wanted: dict[str, np.ndarray]


def collect(image, truth, file, colour=None):
    """Keep the candidates of one image in a file."""
    array = as_grey(image, "auto")
    usable = ~annotation_mask(array, colour)
    seen = look(as_unit(array, usable), usable, "auto", MIN_DIAMETER)
    field = Field.of(seen.grey, usable)
    layers = layers_of(field, [seen.first], [seen.second, *seen.above])
    if not layers or not truth.any():
        return
    found = pool_of(field, layers).traits
    kept = {f"layer{k}": labels for k, labels in enumerate(layers)} | {
        "truth": truth.astype(np.int32),
        "names": np.array(list(found)),
        "traits": np.stack(list(found.values()), axis=1).astype(np.float32),
    }
    np.savez_compressed(file, allow_pickle=False, **kept)


def example(file):
    """Read the candidates of one image and hold them against the truth."""
    with np.load(file) as kept:
        layers = [kept[f"layer{k}"] for k in range(sum("layer" in name for name in kept))]
        truth = without_specks(kept["truth"])
        found = dict(zip(kept["names"].tolist(), kept["traits"].T, strict=True))
    first = np.concatenate([[0], np.cumsum([int(labels.max()) for labels in layers])])
    area = np.concatenate([np.bincount(labels.ravel())[1:] for labels in layers]).astype(float)
    pool = Pool(tuple(layers), first[:-1], area, agreement(layers, first, area)[0], found)
    wanted = {name: np.zeros(area.size) for name in learned.FITTED}
    size = np.bincount(truth.ravel()).astype(float)
    for labels, start in zip(layers, first, strict=False):
        seen = labels[: truth.shape[0], : truth.shape[1]]
        both = (seen > 0) & (truth > 0)
        key, common = np.unique(
            seen[both].astype(np.int64) * size.size + truth[both], return_counts=True
        )
        region, particle = key // size.size - 1 + start, key % size.size
        like = common / (area[region] + size[particle] - common)
        np.maximum.at(wanted["fit"], region, like)
        np.add.at(wanted["purity"], region, common / area[region])
        np.add.at(wanted["number"], region, common / size[particle])
    wanted["number"] = np.clip(wanted["number"], 0, 4)
    source = next(s for s in WEIGHTS if file.stem.startswith(f"{s}_"))
    return Example(source, file.stem, pool, truth, wanted)


def counted(chosen, labels, truth):
    """How far each chosen region should count: half for its purity, half if it is a particle's."""
    labels = labels[: truth.shape[0], : truth.shape[1]]
    n = chosen.size + 1
    common = np.bincount(truth.ravel().astype(np.int64) * n + labels.ravel(), minlength=n)
    common = np.pad(common, (0, -common.size % n)).reshape(-1, n)
    area, purity = common.sum(axis=0)[1:], common[1:].sum(axis=0)[1:]
    one = np.zeros(chosen.size)
    for row in common[1:]:
        if row.sum() and row[1:].max(initial=0) > 0.25 * row.sum():
            one[row[1:].argmax()] = 1
    return 0.5 * one + 0.5 * purity / np.maximum(area, 1)


def weights(examples, sizes):
    """One number a row: sources as `WEIGHTS`, images as the root of their rows."""
    of = {s: sum(e.source == s for e in examples) for s in WEIGHTS}
    rows = [
        np.full(n, WEIGHTS[e.source] / of[e.source] / np.sqrt(max(n, 1)))
        for e, n in zip(examples, sizes, strict=True)
    ]
    joined = np.concatenate(rows)
    return joined / joined.mean()


def fitted(found, wanted, weight, options):
    """Fit one forest to rows of traits."""
    names = tuple(found)
    model = HistGradientBoostingRegressor(**options, **ALWAYS)
    model.fit(np.stack([found[n] for n in names], axis=1), wanted, sample_weight=weight)
    trees = [stage[0].nodes for stage in model._predictors]
    width = max(len(t) for t in trees)

    def column(name, kind):
        out = np.zeros((len(trees), width), dtype=kind)
        for k, tree in enumerate(trees):
            out[k, : len(tree)] = tree[name]
        return out

    leaf = column("is_leaf", bool)
    return Forest(
        names, float(np.ravel(model._baseline_prediction)[0]),
        np.where(leaf, -1, column("feature_idx", np.int16)).astype(np.int16),
        column("num_threshold", np.float32), column("left", np.int16),
        column("right", np.int16), column("value", np.float32),
    )  # fmt: skip


def fit_regions(examples):
    """Fit the scores of single regions."""
    rng = np.random.default_rng(0)
    rows = [rng.permutation(e.pool.area.size)[:MOST] for e in examples]
    pairs = list(zip(examples, rows, strict=True))
    found = {
        name: np.concatenate([e.pool.traits[name][r] for e, r in pairs])
        for name in examples[0].pool.traits
    }
    weight = weights(examples, [r.size for r in rows])
    return {
        name: fitted(found, np.concatenate([e.wanted[name][r] for e, r in pairs]), weight, REGIONS)
        for name in learned.FITTED
    }


def choose(one, forests):
    """Return the regions chosen of one image, and what is said of them."""
    scores = {name: forests[name](one.pool.traits) for name in learned.FITTED}
    chosen = disjoint(one.pool, learned.worth(scores))
    return chosen, learned.among(one.pool, chosen, scores)


def fit(examples, held_out):
    """Fit all scores; the last on what scores that never saw an image choose on it."""
    said, wanted = [], []
    for one, (chosen, found) in zip(examples, held_out, strict=True):
        said.append(found)
        wanted.append(counted(chosen, drawn(one.pool, chosen), one.truth))
    together = {name: np.concatenate([f[name] for f in said]) for name in said[0]}
    weight = weights(examples, [w.size for w in wanted])
    return fitted(together, np.concatenate(wanted), weight, CHOSEN)


def errors(labels, truth):
    """Relative errors of number and mean diameter."""
    size = [np.bincount(a.ravel())[1:] for a in (without_specks(labels), truth)]
    (n, d), (m, e) = ((s[s > 0].size, np.sqrt(s[s > 0]).sum()) for s in size)
    return (abs(n - m) / m, abs(d / n * m / e - 1)) if n else (1.0, 1.0)


def weighted_median(values, weight):
    order = np.argsort(values)
    at = np.searchsorted(np.cumsum(weight[order]), weight.sum() / 2)
    return float(values[order][at])


def cross_validated(examples, groups):
    """Errors of each image under scores fitted without its group, by source and over all."""
    groups = np.array(groups)
    held_out: list = [None] * len(examples)
    for group in np.unique(groups):
        forests = fit_regions([e for e, g in zip(examples, groups, strict=True) if g != group])
        for k in np.flatnonzero(groups == group):
            held_out[k] = choose(examples[k], forests)
    rows: list = [None] * len(examples)
    for group in np.unique(groups):
        others = np.flatnonzero(groups != group)
        last = fit([examples[k] for k in others], [held_out[k] for k in others])
        for k in np.flatnonzero(groups == group):
            chosen, found = held_out[k]
            kept = chosen[last(found) >= learned.LEAST]
            rows[k] = errors(drawn(examples[k].pool, kept), examples[k].truth)
    return held_out, np.array(rows)


def tell(title, examples, rows):
    """Print medians by source and over all, weighted as the untouched halves are."""
    source = np.array([e.source for e in examples])
    weight = np.zeros(len(examples))
    for name, share in WEIGHTS.items():
        own = source == name
        if own.any():
            weight[own] = share / own.sum() if name != "drawn" else 0.0
            print(title, name, own.sum(), *(f"{100 * v:.1f}" for v in np.median(rows[own], axis=0)))
    print(title, "all", *(f"{100 * weighted_median(rows[:, k], weight):.1f}" for k in (0, 1)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("pools", type=Path)
    parser.add_argument("--each", type=int, default=1000, help="images of a source")
    parser.add_argument("--drawn", type=int, default=4, help="drawn images of a kind")
    parser.add_argument("--rods", type=int, default=120, help="drawn images of rods")
    parser.add_argument("--bent", type=int, default=64, help="drawn images of bent rods")
    parser.add_argument("--groups", type=int, default=72, help="drawn images of overlapping discs")
    parser.add_argument("--kinds", action="store_true", help="leave out each source in turn, too")
    parser.add_argument("--write", action="store_true", help="write the scores to the package")
    parser.add_argument("--kept", action="store_true", help="only candidates that POOLS has")
    options = parser.parse_args()
    options.pools.mkdir(exist_ok=True)
    for source in WEIGHTS if not options.kept else ():
        if source == "drawn":
            continue
        for path in half_of(options.folder / source, "development")[: options.each]:
            file = options.pools / f"{source}_{path.stem}.npz"
            if not file.exists():
                read = read_micrograph(path)
                truth = tifffile.imread(path.parent.parent / "labels" / f"{path.stem}.tif")
                collect(read.grey, without_specks(truth), file, read.colour)
    for kind in micrographs.KINDS:
        for seed in range(1000, 1000 + options.drawn):
            file = options.pools / f"drawn_{kind}_{seed}.npz"
            if not file.exists():
                one = micrographs.micrograph(kind, seed, size=192)
                collect(one.image, one.labels, file)
    for name, draw, number in (
        ("longrods", long_rods, options.rods),
        ("bent", bent_rods, options.bent),
        ("groups", overlapping_discs, options.groups),
    ):
        for seed in range(number):
            file = options.pools / f"drawn_{name}_{seed}.npz"
            if not file.exists():
                collect(*draw(seed), file)
    examples = [example(file) for file in sorted(options.pools.glob("*.npz"))]
    part = {}
    for source in WEIGHTS:
        own = [k for k, e in enumerate(examples) if e.source == source]
        part |= {k: i % PARTS for i, k in enumerate(np.random.default_rng(1).permutation(own))}
    held_out, rows = cross_validated(examples, [part[k] for k in range(len(examples))])
    tell("parts", examples, rows)
    if options.kinds:
        tell("kinds", examples, cross_validated(
            examples, [SAME.get(e.source, e.source) for e in examples]
        )[1])  # fmt: skip
    if options.write:
        forests = fit_regions(examples) | {learned.COUNTS: fit(examples, held_out)}
        arrays = {}
        for name, forest in forests.items():
            arrays |= {f"{name}_{key}": np.array(value) for key, value in vars(forest).items()}
        np.savez_compressed(learned.SCORES, **arrays)


if __name__ == "__main__":
    main()
