"""Every run of a catalogue held against its journal, with few requests.

`benchmarks.outage.compare` reads a run as its user does, in some sixty requests. Here the listings
of catalogue, run and stream already say what there is, and only values are asked for one by one.
"""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from nucleation_bluesky.callbacks.journal_reader import JournalReader

from benchmarks.outage import same

TABLE = "internal"


def listed(client: Any) -> dict[str, list[Any]]:
    """Nodes of all runs by the uid in their start document."""
    found: dict[str, list[Any]] = defaultdict(list)
    for node in client.values():
        if start := node.metadata.get("start"):
            found[start["uid"]].append(node)
    return found


def compare_all(client: Any, paths: Iterable[Path], *, files: bool) -> list[dict[str, Any]]:
    """Compare each journal with Tiled, value by value.

    Parameters
    ----------
    client : tiled client
        The catalogue.
    paths : iterable of Path
        Journals.
    files : bool
        Whether to read the waveforms through Tiled as well.

    Returns
    -------
    list of dict
        As `benchmarks.outage.compare`; `benchmarks.outage.equal` judges them.
    """
    nodes = listed(client)
    return [_compare(nodes, path, files=files) for path in paths]


def _compare(nodes: dict[str, list[Any]], path: Path, *, files: bool) -> dict[str, Any]:
    with JournalReader(path) as reader:
        documents = [pair for batch in iter(reader.read, []) for pair in batch]
    uid, stop = documents[0][1]["uid"], documents[-1][1]
    descriptors = {d["uid"]: d for n, d in documents if n == "descriptor"}
    streams: dict[str, list[dict[str, Any]]] = {d["name"]: [] for d in descriptors.values()}
    for name, doc in documents:
        if name == "event":
            streams[descriptors[doc["descriptor"]]["name"]].append(doc)
    found: dict[str, Any] = {"uid": uid, "runs": len(nodes[uid]), "rows": 0, "cells": 0}
    found |= {"differing_cells": 0, "wrong_sequences": 0, "wrong_file_rows": 0}
    found |= {"events": sum(map(len, streams.values())), "stop_equal": False}
    if len(nodes[uid]) != 1:
        return found
    (run,) = nodes[uid]
    found["stop_equal"] = (run.metadata.get("stop") or {}).get("uid") == stop["uid"]
    kept = {name: node for name, node in run.base.items() if streams.get(name)}
    for name, events in streams.items():
        if events and name in kept:
            external = {
                key
                for descriptor in descriptors.values()
                if descriptor["name"] == name
                for key, entry in descriptor["data_keys"].items()
                if "external" in entry
            }
            _compare_stream(dict(kept[name].base.items()), events, external, found, files=files)
    return found


def _compare_stream(
    leaves: dict[str, Any],
    events: list[dict[str, Any]],
    external: set[str],
    found: dict[str, Any],
    *,
    files: bool,
) -> None:
    table = leaves[TABLE].read() if TABLE in leaves else {}
    order = np.asarray(table["seq_num"]) if "seq_num" in table else np.empty(0)
    found["rows"] += len(order)
    expected = np.array([event["seq_num"] for event in events])
    found["wrong_sequences"] += not np.array_equal(order, expected)
    for key in events[0]["data"]:
        found["cells"] += len(events)
        if key not in table and key not in leaves:
            found["differing_cells"] += len(events)
            continue
        column = np.asarray(table[key] if key in table else leaves[key].read())
        values = (event["data"][key] for event in events)
        agreeing = sum(same(a, b) for a, b in zip(column, values, strict=False))
        found["differing_cells"] += len(events) - agreeing
    for key in external:
        rows = int(leaves[key].shape[0]) if key in leaves else -1
        if rows == len(events) and files:
            rows = len(leaves[key].read())
        found["wrong_file_rows"] += rows != len(events)
