"""Channel Access settings of this process, for instruments on loopback.

They must be in place before the first EPICS context is made, that is, before ophyd is imported.
"""

import contextlib
import os
import socket
import struct
import threading
from functools import cache

LOOPBACK = "127.0.0.1"
REPEATER_CONFIRM = 17  # Channel Access protocol command


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return a port on loopback that is free now."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


@cache
def process_port() -> int:
    """Return the port at which this process meets its virtual instruments."""
    return free_port()


def loopback_environment(port: int) -> dict[str, str]:
    """Return the variables for a client and a server that meet on loopback at ``port``."""
    return {
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CA_ADDR_LIST": f"{LOOPBACK}:{port}",
        "EPICS_CA_SERVER_PORT": str(port),
        "EPICS_CAS_SERVER_PORT": str(port),
        "EPICS_CAS_INTF_ADDR_LIST": LOOPBACK,
        "EPICS_CAS_BEACON_ADDR_LIST": LOOPBACK,
        "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
    }


def use_loopback(port: int | None = None) -> dict[str, str]:
    """Point this process's Channel Access at a port on loopback, and answer repeater requests.

    libca reads its environment once, so every session of a process meets its virtual instrument
    at the same port, unless the caller names another.

    Returns
    -------
    dict of str
        The variables that were set, for child processes.
    """
    variables = loopback_environment(process_port() if port is None else port)
    if "EPICS_CA_REPEATER_PORT" not in os.environ:
        variables["EPICS_CA_REPEATER_PORT"] = str(_answer_registrations())
    os.environ.update(variables)
    return variables


def _answer_registrations() -> int:
    """Confirm Channel Access repeater registrations on a free port; return the port.

    libca looks for a repeater, which on loopback with one server has nothing to repeat, and
    complains on the terminal if none confirms its (empty) registration. caproto's repeater does
    not confirm empty ones.
    """
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((LOOPBACK, 0))
    confirm = struct.pack("!HHHHI4s", REPEATER_CONFIRM, 0, 0, 0, 0, socket.inet_aton(LOOPBACK))

    def serve() -> None:
        while True:
            _, client = server.recvfrom(1024)
            with contextlib.suppress(OSError):  # a client that has gone needs no answer
                server.sendto(confirm, client)

    threading.Thread(target=serve, name="ca-repeater", daemon=True).start()
    return int(server.getsockname()[1])
