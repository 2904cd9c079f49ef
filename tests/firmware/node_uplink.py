"""An uplink on a node, with a link and a broker; MicroPython only."""

import asyncio

from node.core.uplink import Uplink
from node.net.mqtt import Mqtt
from node.wire import frame, schema
from node_bench import YEAR_2024, Promise, cancelled, set_date
from node_broker import Broker
from node_tools import steps

KEEPALIVE_S = 60
UP, STATUS = "citynode/n1/up", "citynode/n1/status"


class Link:
    def __init__(self):
        self.up = asyncio.Event()
        self.up.set()
        self.renewals = 0

    def renew(self):
        self.renewals += 1


class Desk:
    """An uplink on a node, with its link and broker; `run` lets time go by."""

    def __init__(self, node, needs_clock=False, rng=lambda: 0.5, user=None, password=None):
        self.node = node
        self.broker = Broker(node.clock)
        self.link = Link()
        self.promise = Promise(node.clock)
        self.released = []
        mqtt = Mqtt(
            self.broker.open,
            "n1",
            user,
            password,
            KEEPALIVE_S,
            STATUS,
            node.clock,
            node.recorder.accepted,
        )
        self.uplink = Uplink(
            mqtt,
            UP,
            self,
            node.recorder,
            self.link,
            needs_clock,
            node.clock,
            rng,
            node.counters,
            node.log,
        )

    # The spool as the uplink sees it: nothing is released that was not acknowledged.

    def read(self):
        return self.node.spool.read()

    def rewind(self):
        self.node.spool.rewind()

    def release(self, seq):
        assert seq in self.delivered(self.broker.acked), seq
        self.released.append(seq)
        self.node.spool.release(seq)

    def delivered(self, payloads=None):
        """Return the numbers of the records that the broker got, or of these."""
        if payloads is None:
            payloads = [payload for topic, payload, _ in self.broker.got if topic == UP]
        return [frame.peek(payload)[1] for payload in payloads if payload != b"online"]

    def accept(self, count=1):
        for _ in range(count):
            assert self.node.recorder.accept(schema.EVENT, {"code": "tamper"})

    def run(self, seconds, *events):
        """Run for some time; events are (seconds from the start, what to call)."""

        async def main():
            clock = self.node.clock
            task = asyncio.create_task(self.uplink.run(self.promise))
            start = clock.uptime_ms()
            for at, call in events + ((seconds, None),):
                await clock.sleep_ms(int(1000 * at) - clock.uptime_ms() + start)
                if call:
                    call()
            assert not task.done()
            await cancelled(task)
            self.promise.within(0)

        asyncio.run(main())
        assert self.promise.broken == []
        return self

    def gaps(self, times=None):
        """Return the seconds between connections, rounded."""
        times = times or self.broker.connections
        return [(ms + 500) // 1000 for ms in steps(times)]


def desk(node, **options):
    set_date(YEAR_2024)
    node.clock.known = True
    return Desk(node, **options)


def settings(target, **values):
    """Return a call that sets attributes."""

    def change():
        for name, value in values.items():
            setattr(target, name, value)

    return change
