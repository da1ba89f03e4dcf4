"""A small page on the loopback that shows the map growing; for who is not at the console."""

import contextlib
import threading
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from nucleation_bluesky.live.follower import Follower
from nucleation_bluesky.live.state import curves_of, state_of

LOOPBACK = "127.0.0.1"
START_TIMEOUT = 15.0


class WatchError(RuntimeError):
    """The page cannot be served."""


def application(data: Path) -> Starlette:
    """Return the web application that follows a data directory; it only reads."""
    follower, lock = Follower(data), threading.Lock()
    page = files("nucleation_bluesky.live").joinpath("watch.html").read_text(encoding="utf-8")

    def index(_: Request) -> Response:
        return HTMLResponse(page, headers={"Content-Security-Policy": CONTENT})

    def state(request: Request) -> Response:
        asked = request.query_params
        since = asked.get("since", "0")
        if not since.isdigit() or len(since) > 9:
            return JSONResponse({"error": "'since' is a number of points"}, status_code=400)
        with lock:
            follower.poll()
            return JSONResponse(state_of(follower, int(since), asked.get("uid", "")))

    def curves(_: Request) -> Response:
        with lock:
            return JSONResponse(curves_of(follower.run))

    # a page of another site must not read this one through a name that resolves to the loopback
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=[LOOPBACK, "localhost"])
    routes = [Route("/", index), Route("/state.json", state), Route("/curves.json", curves)]
    return Starlette(routes=routes, middleware=[hosts])


CONTENT = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'"
)


@contextlib.contextmanager
def watching(data: Path, port: int = 0) -> Iterator[str]:
    """Serve the page while the context lasts.

    Parameters
    ----------
    data : Path
        Data directory.
    port : int
        0 takes a free one.

    Yields
    ------
    str
        Address of the page.

    Raises
    ------
    WatchError
        If the port is taken.
    """
    config = uvicorn.Config(
        application(data), host=LOOPBACK, port=port, log_level="warning", lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=_run, args=(server,), daemon=True)
    thread.start()
    limit = time.monotonic() + START_TIMEOUT
    while not server.started:
        if not thread.is_alive() or time.monotonic() > limit:
            raise WatchError(f"the page cannot be served on port {port}: choose another --port")
        thread.join(0.02)
    try:
        number = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://{LOOPBACK}:{number}/"
    finally:
        server.should_exit = True
        thread.join(10)


def _run(server: uvicorn.Server) -> None:
    with contextlib.suppress(SystemExit):  # how uvicorn says that a port is taken
        server.run()
