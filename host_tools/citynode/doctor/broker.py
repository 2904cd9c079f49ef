"""Checks of the MQTT broker: the one that nodes send to, or that we could start one of our own."""

from collections.abc import Callable, Iterable

from citynode.doctor.finding import Finding, ok
from citynode.soak.broker import BenchBroker
from citynode.soak.listener import Address, Listener


def given(address: Callable[[], Address]) -> Iterable[Finding]:
    """See whether a broker takes us; raises CitynodeError that says why it does not."""
    broker = address()
    with Listener(broker, lambda *_: None):
        yield ok(f"the broker at {broker} takes us")


def own() -> Iterable[Finding]:
    """See whether a broker for the bench can be started here; raises CitynodeError."""
    with BenchBroker() as broker, Listener(Address("127.0.0.1", broker.port), lambda *_: None):
        yield ok("the bench's own broker starts; give --broker to check another")
