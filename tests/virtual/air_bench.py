"""A receiver on the air that writes down what it hears, and what goes with it."""

import pytest
from citynode.virtual.air import Air, Modulation
from radio_bench import NS, SimTime

HZ = 868_100_000
SF7 = Modulation(HZ, 7)
SYMBOL_NS = SF7.symbol_ns


class Ear:
    """A receiver that is tuned to one modulation and writes down what it hears."""

    capacity = 1
    noise_figure_db = 6.0

    def __init__(self, air, name="ear", modulation=SF7):
        self.name = name
        self.modulation = modulation
        self.heard = []
        self.stages = []
        self._air = air

    def open(self, at_ns=0):
        self._air.listen(self, at_ns)
        return self

    def tuned(self, modulation):
        own = self.modulation
        return (own.sf, own.freq_hz) == (modulation.sf, modulation.freq_hz)

    def on_preamble(self, reception):
        self.stages.append((reception.detected_ns, "preamble"))

    def on_sync(self, reception):
        self.stages.append((self._air.engine.now_ns(), "sync"))
        return reception.frame.modulation.sync_word == self.modulation.sync_word

    def on_header(self, reception):
        self.stages.append((self._air.engine.now_ns(), "header"))
        return reception.header_ok

    def on_end(self, reception):
        self.stages.append((self._air.engine.now_ns(), "end"))
        self.heard.append((reception.payload, reception.payload_ok))


def missed(events, receiver="ear"):
    return [e.reason for e in events if e.kind == "missed" and e.receiver == receiver]


def finish(air):
    air.engine.advance(100 * NS)


@pytest.fixture
def air():
    return Air(SimTime())


@pytest.fixture
def events(air):
    seen = []
    air.observe(seen.append)
    return seen
