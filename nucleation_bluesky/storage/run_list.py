"""Runs of a server by plain HTTP: as `find_runs` gives them, without the imports of its clients."""

import logging
from typing import Any

import httpx
from tiled.query_registration import default_query_registry

from nucleation_bluesky.storage.runs import LATEST_FIRST, RunFilter, RunInfo, describe_run
from nucleation_bluesky.storage.server import ServerError, ServerInfo, named, time_limits

logger = logging.getLogger(__name__)
PAGE = 100  # entries of one answer; a server gives no more than 300


def list_runs(
    server: ServerInfo, wanted: RunFilter, *, limit: int | None = None, timeout: float = 30.0
) -> list[RunInfo]:
    """Return runs, the latest first; `RunInfo.client` is None.

    Parameters
    ----------
    server : ServerInfo
        Embedded or external server.
    wanted : RunFilter
        Which of its runs.
    limit : int, optional
        At most so many.
    timeout : float
        Longest wait for one request, s.

    Raises
    ------
    ServerError
        If the server does not answer, refuses, or is no Tiled server.
    ValueError
        If the filter names a state or date that is none.
    """
    key, direction = LATEST_FIRST
    asked = encoded(wanted.queries()) | {
        "fields": ["metadata"],
        "sort": [f"-{key}" if direction < 0 else key],
    }
    size, last = PAGE if limit is None else min(limit, PAGE), False
    found: dict[str, RunInfo] = {}  # by uid: a run that starts meanwhile moves the others on
    place = 0
    with httpx.Client(
        headers={"Authorization": f"Apikey {server.api_key}"} if server.api_key else {},
        timeout=time_limits(timeout),
        follow_redirects=True,
        trust_env=not server.is_local,
    ) as client:
        while not last and (limit is None or len(found) < limit):
            # by number: a server that counts no further than it must gives no next page
            page = {"page[offset]": [str(place)], "page[limit]": [str(size)]}
            try:
                with named(server):
                    answer = client.get(f"{server.api}/search/", params=asked | page)
                    answer.raise_for_status()
                entries = [entry["attributes"]["metadata"] for entry in answer.json()["data"]]
            except (ValueError, LookupError, TypeError) as error:
                raise ServerError(
                    f"what answers at {server.uri} is no Tiled server with runs; check the address"
                ) from error
            for metadata in entries:
                try:
                    run = describe_run(metadata)
                    found.setdefault(run.uid, run)
                except (ValueError, LookupError, TypeError, AttributeError) as error:
                    logger.warning("a run whose metadata are damaged is left out: %r", error)
            place, last = place + len(entries), len(entries) < size
    return list(found.values())[:limit]


def encoded(queries: list[Any]) -> dict[str, list[str]]:
    """Return queries as the parameters of a request, as Tiled's own client writes them."""
    names = default_query_registry.query_type_to_name
    parameters: dict[str, list[str]] = {}
    for query in queries:
        for field, value in query.encode().items():
            if value is not None:
                name = f"filter[{names[type(query)]}][condition][{field}]"
                parameters.setdefault(name, []).append(value)
    return parameters
