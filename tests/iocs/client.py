"""A small Channel Access client session over an IOC under test."""

import contextlib
import secrets
import threading
import time

import numpy as np
from caproto.threading.client import Context, SharedBroadcaster
from nucleation_bluesky.contract.enums import ControllerState, Fault, Termination
from nucleation_bluesky.contract.pvs import RESULT_FIELDS, Kind, family_pvs


@contextlib.contextmanager
def starting(serve, client_of):
    """A function that starts IOCs, each with a client; all of them end with the context.

    ``serve`` is the context manager of an IOC, ``client_of`` makes the client of a running one.
    """
    with contextlib.ExitStack() as opened:

        def start(**options):
            client = client_of(opened.enter_context(serve(**options)))
            opened.callback(client.close)
            return client

        yield start


class Client:
    pvs = family_pvs("afm")
    fields = RESULT_FIELDS

    def __init__(self, ioc, monkeypatch):
        for name, value in ioc.environment.items():
            monkeypatch.setenv(name, value)
        self.ioc, self.prefix = ioc, ioc.prefix
        self._broadcaster = SharedBroadcaster()
        self._context = Context(self._broadcaster)
        self._pvs = {}
        self._beating = threading.Event()
        self._thread = None

    def pv(self, suffix):
        if suffix not in self._pvs:
            (self._pvs[suffix],) = self._context.get_pvs(self.prefix + suffix, timeout=5)
            self._pvs[suffix].wait_for_connection(timeout=5)
        return self._pvs[suffix]

    def put(self, suffix, value, *, wait=True, timeout=15):
        kind = self.pvs[suffix].kind
        if kind is Kind.CHARS:
            value = value.encode() + b"\0"
        self.pv(suffix).write(value, wait=wait, notify=wait, timeout=timeout)

    def get(self, suffix):
        data = self.pv(suffix).read(timeout=5).data
        kind = self.pvs[suffix].kind
        if kind is Kind.DOUBLES:
            return np.asarray(data)
        if kind is Kind.CHARS:
            return bytes(data).split(b"\0")[0].decode()
        if kind is Kind.STRING:
            return data[0].decode()
        return data[0]

    @property
    def state(self):
        return ControllerState(int(self.get("STATE")))

    @property
    def fault(self):
        return Fault(int(self.get("FAULT")))

    @property
    def result(self):
        return dict(zip(self.fields, self.get("RESULT"), strict=True))

    @property
    def termination(self):
        return Termination(int(self.result["termination"]))

    def own(self):
        if self.get("OWNER") != "test":
            self.put("OWNER", "test")
        if self._thread is None:
            self._beating.set()
            self._thread = threading.Thread(target=self._beat, daemon=True)
            pv = self.pv("HEARTBEAT")
            pv.write(secrets.randbelow(2**30), wait=True, timeout=5)
            self._thread.start()

    def _beat(self):
        pv, value = self.pv("HEARTBEAT"), 0
        while self._beating.is_set():
            value += 1
            pv.write(value, wait=False)
            time.sleep(0.1)

    def stop_beating(self):
        self._beating.clear()
        if self._thread is not None:
            self._thread.join(2)
            self._thread = None

    def arm(self, token=None, epoch=None):
        self.own()
        token = token or secrets.token_hex(12)
        self.put("ARM", f"{token}@{self.get('EPOCH') if epoch is None else epoch}")
        return token

    def ramp(self, vertices=(-1.0,), rates=(10.0,), sample_rate=1000.0, **parameters):
        self.put("RAMP:START", 0.0)
        self.put("RAMP:VERTICES", list(vertices))
        self.put("RAMP:RATES", list(rates))
        self.put("RAMP:SAMPLE_RATE", sample_rate)
        for suffix, value in parameters.items():
            self.put(suffix.replace("_", ":"), value)

    def wait_state(self, wanted, timeout=5.0):
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.state is wanted:
                return
            time.sleep(0.005)
        raise TimeoutError(f"state is {self.state}, not {wanted}")

    def close(self):
        self.stop_beating()
        self._context.disconnect()
        self._broadcaster.disconnect()
