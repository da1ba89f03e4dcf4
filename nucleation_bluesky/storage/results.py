"""Analysis results next to their runs: xarray datasets in the top-level container ``maps``.

A result's key is ``<name>-<first 8 of the run's uid>-<digest>``. The digest covers run uids,
parameters, package version and schema: the same computation has the same key, and computing it
again finds, or replaces, what is there; other parameters or another version give another result.
Stock clients read a result with ``client["maps"][key].read()``, a request for each variable; ours
takes the same from the container ``maps-packed`` in one.
"""

import hashlib
import json
import logging
import math
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import xarray as xr
from tiled.structures.core import Spec

from nucleation_bluesky.contract.documents import RESULTS_CONTAINER, SCHEMA_VERSION
from nucleation_bluesky.storage.event_table import IncompleteRunError
from nucleation_bluesky.storage.packed import pack, unpack
from nucleation_bluesky.storage.result_files import package_version
from nucleation_bluesky.storage.runs import series_of

RESULTS_KEY = "nucleation_results"  # in a run's metadata: name of the result to its key
_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SPEC = "NucleationResult"
_COORDINATE = "xarray_coord"
PACKED_CONTAINER = f"{RESULTS_CONTAINER}-packed"
LARGEST_PACKED = 64_000_000  # bytes; above, the data are the time, not the requests
AT_A_TIME = 4  # variables that are sent beside each other
logger = logging.getLogger(__name__)


class ResultError(ValueError):
    """A result cannot be stored or found."""


def checked_key(key: str) -> str:
    """Return a node key, or refuse one that is not safe in a path.

    Raises
    ------
    ResultError
        If it has other than 1 to 64 letters, digits, '_' or '-'.
    """
    if not _KEY.fullmatch(key):
        raise ResultError(f"'{key}' is no key: use 1 to 64 letters, digits, '_' or '-'")
    return key


def _plain(value: Any) -> Any:
    """Value as JSON holds it; NaN and infinities as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _sha256(value: Any) -> str:
    text = json.dumps(_plain(value), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def result_key(name: str, run_uids: Sequence[str], parameters: Mapping[str, Any]) -> str:
    """Key under which a computation's result is stored (see the module)."""
    identity = {
        "name": name,
        "runs": sorted(run_uids),
        "parameters": parameters,
        "software": package_version(),
        "schema": SCHEMA_VERSION,
    }
    return checked_key(f"{name}-{run_uids[0][:8]}-{_sha256(identity)[:12]}")


def _content_digest(dataset: xr.Dataset) -> str:
    digest = hashlib.sha256()
    for name in sorted(map(str, dataset.variables)):
        variable = dataset.variables[name]
        values = np.ascontiguousarray(_storable(variable.values))
        digest.update(repr((name, variable.dims, values.dtype.str, values.shape)).encode())
        digest.update(values.tobytes())
        digest.update(_sha256(variable.attrs).encode())
    return digest.hexdigest()


def _storable(values: np.ndarray) -> np.ndarray:
    return values.astype(str) if values.dtype.kind in "OT" else values


def write_result(
    client: Any,
    dataset: xr.Dataset,
    *,
    name: str = "sites",
    runs: Sequence[Any],
    parameters: Mapping[str, Any] | None = None,
) -> str:
    """Store a result and link it with its runs, both ways.

    Parameters
    ----------
    client : tiled client
        Top level of the server.
    dataset : xarray.Dataset
        The result. Every variable must carry ``units`` ("1" where it has none).
    name : str
        Kind of result ("sites", "kinetics" ...).
    runs : sequence of tiled client
        The runs it was computed from.
    parameters : mapping, optional
        Parameters of the computation.

    Returns
    -------
    str
        Key of the result in the container ``maps``.

    Raises
    ------
    ResultError
        If a variable has no units, the name cannot be used, or there are no runs.
    """
    if not runs:
        raise ResultError("a result needs the runs it was computed from")
    bare = [str(n) for n, v in dataset.variables.items() if "units" not in v.attrs]
    if bare:
        raise ResultError(f"these variables have no units: {', '.join(sorted(bare))}")
    uids = [run.metadata["start"]["uid"] for run in runs]
    key = result_key(name, uids, parameters or {})
    digest = _content_digest(dataset)
    container = _container(client)
    if key in container:
        held = container[key]
        if held.metadata.get("sha256") == digest and held.metadata.get("complete"):
            _link(runs, name, key)
            return key
        container.delete_contents(key, recursive=True, external_only=False)
    packed = _write_packed(client, key, dataset)
    metadata = {
        "attrs": _plain(dataset.attrs),
        "name": name,
        "run_uids": uids,
        "parameters": _plain(parameters or {}),
        "software": f"nucleation_bluesky {package_version()}",
        "schema": SCHEMA_VERSION,
        "sha256": digest,
        "packed": packed,
        "created": time.time(),
        "empty": {str(n): _empty(dataset, n) for n, v in dataset.variables.items() if not v.size},
        "complete": False,
    }
    node = container.create_container(
        key=key, metadata=metadata, specs=[Spec(_SPEC, version="1"), Spec("xarray_dataset")]
    )
    _write_variables(node, dataset)
    node.update_metadata(metadata={"complete": True}, drop_revision=True)
    _link(runs, name, key)
    return key


def _write_packed(client: Any, key: str, dataset: xr.Dataset) -> str:
    """Keep the whole dataset as one array as well, for reading at once; returns its key."""
    if dataset.nbytes > LARGEST_PACKED:
        return ""
    parts: tuple[dict[str, Any], dict[str, Any]] = {}, {}
    for name, variable in dataset.variables.items():
        values = _storable(np.asarray(variable.values))
        attrs = _plain(variable.attrs)
        parts[name in dataset.coords][str(name)] = xr.Variable(variable.dims, values, attrs)
    plain = xr.Dataset(*parts)
    container = _container(client, PACKED_CONTAINER, "Results as bytes, for reading at once.")
    if key in container:
        container.delete_contents(key, external_only=False)
    container.write_array(pack(plain), key=key)
    return key


def _write_variables(node: Any, dataset: xr.Dataset) -> None:
    """Write every variable; several at a time, as most of a request is waiting."""
    with ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="write-result") as pool:
        tasks = [
            pool.submit(
                _write_variable,
                node,
                str(name),
                variable,
                _COORDINATE if name in dataset.coords else "xarray_data_var",
            )
            for name, variable in dataset.variables.items()
        ]
        try:
            for task in tasks:
                task.result()
        finally:
            for task in tasks:
                task.cancel()


def _write_variable(node: Any, name: str, variable: xr.Variable, spec: str) -> None:
    values = _storable(np.asarray(variable.values))
    if values.size == 0:
        return  # an array store has no empty arrays: they are in the container's metadata
    node.write_array(
        values,
        key=checked_key(name),
        metadata={"attrs": _plain(variable.attrs)},
        dims=tuple(str(dim) for dim in variable.dims),
        specs=[Spec(spec)],
    )


def _empty(dataset: xr.Dataset, name: Any) -> dict[str, Any]:
    variable = dataset.variables[name]
    return {
        "dims": [str(dim) for dim in variable.dims],
        "shape": list(variable.shape),
        "dtype": _storable(variable.values).dtype.str,
        "attrs": _plain(variable.attrs),
        "coordinate": name in dataset.coords,
    }


def _with_empty(dataset: xr.Dataset, found: Mapping[str, Any]) -> xr.Dataset:
    for name, said in found.items():
        values = np.empty(said["shape"], said["dtype"])
        variable = xr.Variable(said["dims"], values, said["attrs"])
        if said["coordinate"]:
            dataset = dataset.assign_coords({name: variable})
        else:
            dataset = dataset.assign({name: variable})
    return dataset


def _container(
    client: Any,
    key: str = RESULTS_CONTAINER,
    description: str = "Results computed from the runs of this catalogue.",
) -> Any:
    try:
        return client[key]
    except KeyError:
        return client.create_container(key=key, metadata={"description": description})


def _link(runs: Sequence[Any], name: str, key: str) -> None:
    for run in runs:
        links = {name: f"{RESULTS_CONTAINER}/{key}"}
        held = run.metadata.get(RESULTS_KEY) or {}
        if held.get(name) != links[name]:
            run.update_metadata(metadata={RESULTS_KEY: {**held, **links}}, drop_revision=True)


def read_result(client: Any, key: str) -> xr.Dataset:
    """Read a result by its key.

    Its provenance is added to the attributes: ``run_uids``, ``parameters``, ``software``.

    Raises
    ------
    ResultError
        If there is none, or its writing was interrupted.
    """
    key = checked_key(key.removeprefix(f"{RESULTS_CONTAINER}/"))
    try:
        node = client[RESULTS_CONTAINER, key]
    except KeyError:
        raise ResultError(f"there is no result '{key}'; analyse the run first") from None
    said = node.metadata
    if not said.get("complete"):
        raise ResultError(f"the result '{key}' is incomplete; analyse the run again")
    dataset = _read_packed(client, said) if said.get("packed") else None
    if dataset is None:
        # exact types: the wide-table shortcut of the client would pass them through a table
        dataset = node.read(optimize_wide_table=False)
        dataset = _with_empty(dataset, said.get("empty") or {})
    kept = ("run_uids", "parameters", "software", "schema", "created")
    provenance = {name: said[name] for name in kept}
    return dataset.assign_attrs({**said["attrs"], **provenance})


def _read_packed(client: Any, said: Mapping[str, Any]) -> xr.Dataset | None:
    """Return the dataset from its bytes; None where they are not what was written."""
    try:
        dataset = unpack(np.asarray(client[PACKED_CONTAINER, said["packed"]].read()))
    except (KeyError, ValueError) as error:
        logger.warning("reading result '%s' variable by variable: %s", said["packed"], error)
        return None
    return dataset if _content_digest(dataset) == said["sha256"] else None


def maps(run: Any, name: str = "sites", *, allow_partial: bool = False) -> xr.Dataset:
    """Read the latest result of a run, or of the resumed map it is a part of.

    Parameters
    ----------
    run : tiled client
        The run. An aborted one is complete in the sites that it holds.
    name : str
        Kind of result.
    allow_partial : bool
        Also a result that does not cover everything; its ``attrs["problems"]`` tells what is
        missing.

    Returns
    -------
    xarray.Dataset
        Results of each site and their maps; units in ``attrs`` of every variable, origin in those
        of the dataset.

    Raises
    ------
    IncompleteRunError
        If the run had not ended or lacked data when it was analysed, or a later run continues its
        map, and ``allow_partial`` is False; the message says which.
    ResultError
        If the run has not been analysed.
    """
    base = run.base if hasattr(run, "base") else run
    container = base.parent
    uid = run.metadata["start"]["uid"]
    metadata = container[uid].metadata
    links = metadata.get(RESULTS_KEY) or {}
    if name not in links:
        ended = "" if metadata.get("stop") else "; it has not ended, or its session died"
        raise ResultError(f"run {uid[:8]} has no result '{name}'{ended}; analyse it first")
    result = read_result(container, links[name])
    known = set(result.attrs["run_uids"])
    series = [one.metadata["start"]["uid"] for one in series_of(container, run)]
    problems = [str(text) for text in result.attrs.get("problems") or ()]
    problems += [f"run {more[:8]} continues its map" for more in series if more not in known]
    if problems and not allow_partial:
        raise IncompleteRunError(
            f"the result '{name}' of run {uid[:8]} is not complete: {'; '.join(problems)}. "
            "Analyse it again, or allow partial data to read what is there"
        )
    return result.assign_attrs({"problems": problems}) if problems else result


def results_of(run: Any) -> dict[str, str]:
    """Return the paths of a run's results by kind."""
    return dict(run.metadata.get(RESULTS_KEY) or {})
