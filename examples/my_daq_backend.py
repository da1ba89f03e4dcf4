"""A backend for one's own DAQ card, served through the controller front end.

Run it with ``python examples/my_daq_backend.py MY:AFM:`` and set that prefix in the configuration.
Replace ``Card`` by your driver; everything below it stays about as long as it is.
"""

import asyncio
import logging
import sys
import time

import numpy as np
from nucleation_bluesky.contract.enums import AfterTrip, SafeState
from nucleation_bluesky.contract.ramp import RampSpec
from nucleation_bluesky.iocs.backend import Aborted, AfmBackend, Block, Capabilities, Snapshot
from nucleation_bluesky.iocs.driver_threads import in_thread
from nucleation_bluesky.iocs.run import serve

VOLTS_PER_AMPERE = 1e11  # of the current amplifier
FULL_SCALE = 10.0  # of the card's inputs, V
BLOCK_TIME = 0.005  # s: the abort comes at most this long after the tripping sample


class Card:
    """Stands for the vendor's driver: blocking calls in volts. Behind it: a 1 teraohm resistor."""

    def __init__(self) -> None:
        self._waveform, self._rate, self._start, self._read = np.zeros(1), 1.0, 0.0, 0
        self.output = 0.0

    def write(self, volts: float) -> None:
        """Stop any waveform and set the output."""
        self._waveform, self.output = np.zeros(0), volts

    def start(self, waveform: np.ndarray, rate: float) -> None:
        """Start hardware-timed output and input."""
        self._waveform, self._rate, self._start, self._read = waveform, rate, time.monotonic(), 0

    def read(self, samples: int) -> np.ndarray:
        """Wait for and return input samples, shape (2, n): amplifier and height sensor, V."""
        first, self._read = self._read, self._read + samples
        due = self._start + self._read / self._rate
        time.sleep(max(due - time.monotonic(), 0.0))  # noqa: TID251 - a driver blocks
        out = self._waveform[first : self._read]
        if len(out):
            self.output = float(out[-1])
        return np.stack([out / 1e12 * VOLTS_PER_AMPERE, np.zeros(len(out))])

    def read_once(self) -> np.ndarray:
        """Return one sample of both inputs, V."""
        return np.array([self.output / 1e12 * VOLTS_PER_AMPERE, 0.0])


class MyDaq:
    """The page of code a lab writes: SI units, coroutines, no PVs, no tokens, no compliance."""

    capabilities = Capabilities(
        bias_range=(-10.0, 10.0),
        sample_rate_range=(200.0, 50e3),
        current_range=FULL_SCALE / VOLTS_PER_AMPERE,
        current_bandwidth=1e3,
        height_bandwidth=1e3,
        latency=2 * BLOCK_TIME,
        safe_states=frozenset({SafeState.ZERO, SafeState.HOLD}),
    )

    def __init__(self, card: Card):
        self._card, self._index = card, 0
        self._spec: RampSpec | None = None

    async def safe_state(self, policy: SafeState, bias: float) -> None:
        """Set the safe output at once; called at any time, also while a read is pending."""
        self._spec = None
        self._card.write(bias if policy is SafeState.HOLD else 0.0)

    async def start_ramp(self, spec: RampSpec) -> None:
        """Hand the whole waveform to the card's own clock."""
        self._spec, self._index = spec, 0
        self._card.start(spec.bias_at(np.arange(spec.n_samples)), spec.sample_rate)

    async def next_block(self) -> Block | None:
        """Return what was sampled since the last call."""
        spec = self._spec
        if spec is None or self._index >= spec.n_samples:
            return None
        wanted = max(int(BLOCK_TIME * spec.sample_rate), 1)
        block = await self._acquire(spec, min(wanted, spec.n_samples - self._index))
        self._index += len(block)
        return block

    async def _acquire(self, spec: RampSpec, count: int) -> Block:
        volts = await in_thread(self._card.read, count)
        index = self._index + np.arange(volts.shape[1])
        saturated = (np.abs(volts) >= FULL_SCALE).any(axis=0)
        current, height = volts[0] / VOLTS_PER_AMPERE, volts[1] * 1e-6  # 1 um/V
        return Block(self._index, spec.bias_at(index), current, height, saturated)

    async def abort(self, trip_index: int, spec: RampSpec) -> Aborted:
        """Stop the waveform; the samples that ran on until then are reported, never hidden."""
        stop = float(spec.bias_at(max(self._index - 1, trip_index)))
        self._card.write(stop if spec.after_trip is AfterTrip.HOLD else 0.0)
        if spec.after_trip is AfterTrip.HOLD:
            await asyncio.sleep(spec.after_time)
        nothing = np.empty(0)
        latency = (self._index - trip_index) / spec.sample_rate
        return Aborted(Block(trip_index + 1, nothing, nothing, nothing), latency)

    async def set_bias(self, bias: float) -> None:
        """Step of a software ramp."""
        self._card.write(bias)

    async def measure(self) -> Snapshot:
        """Measure outside a ramp."""
        volts = self._card.read_once()
        return Snapshot(self._card.output, volts[0] / VOLTS_PER_AMPERE, volts[1] * 1e-6)

    async def set_parameter(self, name: str, value: float) -> float:
        """Apply settings of the amplifier; this one has none that can be set."""
        raise ValueError(f"{name} is fixed on this amplifier (asked for {value:g})")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    prefix = sys.argv[1] if len(sys.argv) > 1 else "MY:AFM:"
    instrument = AfmBackend(MyDaq(Card()))
    asyncio.run(serve(instrument, prefix, ready=lambda: print(f"serving {prefix}", flush=True)))
