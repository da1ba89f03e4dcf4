"""The Redis of a queue: where it is, and whether it lets us in."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from nucleation_bluesky.session.queue.client import pause
from nucleation_bluesky.session.queue.files import Keys
from nucleation_bluesky.session.queue.parts import QueueError

OWN_PREFIX = "nucleation"
SOCKET_TIMEOUT = 2.0  # s for each answer
LOADING = 60.0  # s for a Redis that reads its file
LOOK_AT_FILE = "correct the address in the file that queue.redis_file names"


def read_address(named: Path) -> str:
    """Return the address in a file, without the scheme: the manager wants none.

    Raises
    ------
    QueueError
        If there is none; what the file holds is not shown, as it may be a password.
    """
    try:
        address = named.read_text(encoding="utf-8").strip().removeprefix("redis://")
    except OSError as error:
        raise QueueError(f"queue.redis_file: cannot read {named}: {error.strerror}") from error
    except UnicodeDecodeError:
        address = ""
    if not _is_address(address):
        raise QueueError(
            f"queue.redis_file: {named} holds no address of a Redis; write for instance "
            "':password@127.0.0.1:6379/0'"
        )
    return address


def key_prefix(keys: Keys, *, own: bool) -> str:
    """Return what the names of the manager's keys begin with.

    In a Redis that serves others as well, every data directory has its own: two queues with the
    same would run each other's items.
    """
    if own:
        return OWN_PREFIX
    return f"{OWN_PREFIX}_{hashlib.sha256(keys.gateway_public.encode()).hexdigest()[:12]}"


def await_redis(
    address: str, patience: float, still_there: Callable[[], None] = lambda: None
) -> None:
    """Wait until a Redis answers.

    Parameters
    ----------
    address : str
        Without a scheme.
    patience : float
        s without an answer; one that is reading its file is given longer.
    still_there : callable
        Called between attempts; raises where waiting is of no use any more.

    Raises
    ------
    QueueError
        If it refuses, or does not answer.
    """
    import redis  # noqa: PLC0415 - an optional extra
    from redis.backoff import NoBackoff  # noqa: PLC0415
    from redis.connection import parse_url  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415

    url, begun = _url(address), time.monotonic()
    where = parse_url(url)
    place = f"{where['host']}:{where.get('port', 6379)}"  # without the password
    once = Retry(NoBackoff(), 0)  # its own pauses grow to seconds
    with redis.Redis.from_url(url, socket_timeout=SOCKET_TIMEOUT, retry=once) as client:
        while True:
            try:
                client.ping()
            except redis.AuthenticationError as error:
                raise QueueError(
                    f"the Redis at {place} wants another password; {LOOK_AT_FILE}"
                ) from error
            except redis.ResponseError as error:
                raise QueueError(
                    f"the Redis at {place} refuses ({error}); {LOOK_AT_FILE}"
                ) from error
            except redis.InvalidResponse as error:
                raise QueueError(f"what answers at {place} is no Redis; {LOOK_AT_FILE}") from error
            except redis.RedisError as error:
                still_there()
                loading = isinstance(error, redis.BusyLoadingError)
                if time.monotonic() - begun > (max(patience, LOADING) if loading else patience):
                    raise QueueError(
                        f"no Redis answers at {place} ({str(error).rstrip('.')}); start it, or "
                        f"{LOOK_AT_FILE}"
                    ) from error
                pause()
            else:
                return


def _url(address: str) -> str:
    return f"redis://{address}"


def _is_address(address: str) -> bool:
    """Tell whether this can be the address of a Redis, whether one is there or not."""
    from redis.connection import parse_url  # noqa: PLC0415 - an optional extra

    try:
        return "://" not in address and bool(parse_url(_url(address)).get("host"))
    except ValueError:
        return False
