"""Open the catalogue of a configuration: the embedded Tiled server, or one given by address."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nucleation_bluesky.session.config import Configuration
from nucleation_bluesky.storage.server import (
    ServerError,
    ServerInfo,
    ensure_server,
    release_server,
)

# what asking a catalogue may raise, each a sentence for the person who asked
CATALOGUE_ERRORS = (ValueError, LookupError, OSError, ServerError)


def external_server(config: Configuration) -> ServerInfo | None:
    """Return the configured server, None for the embedded one."""
    tiled = config.tiled
    if tiled.uri is None:
        return None
    key = tiled.api_key_file.read_text().strip() if tiled.api_key_file else ""
    return ServerInfo(tiled.uri, key)


_OPEN: Counter[Path] = Counter()  # contexts of this process, which registers as one user only


@contextmanager
def serving(config: Configuration) -> Iterator[ServerInfo]:
    """Serve the configured data while the context lasts; contexts may be nested.

    Raises
    ------
    ServerError
        If the server does not answer.
    """
    external = external_server(config)
    if external is not None:
        yield external
        return
    data = config.data_directory.absolute()
    _OPEN[data] += 1
    try:
        yield ensure_server(data)
    finally:
        _OPEN[data] -= 1
        if not _OPEN[data]:
            release_server(data)
