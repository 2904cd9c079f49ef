"""A broker's end of a connection, scripted: what it gets is checked, what it does is set."""

import asyncio

CONNECT, PUBLISH, PUBACK, PINGREQ, DISCONNECT = 1, 3, 4, 12, 14
ACCEPTED = b"\x20\x02\x00\x00"


def text(body, at):
    """Return a string with two bytes of length, and where it ends (section 1.5.3)."""
    end = at + 2 + (body[at] << 8 | body[at + 1])
    assert end <= len(body)
    return bytes(body[at + 2 : end]), end


def packets(data):
    """Return the complete packets at the front as (type, flags, body), and the rest."""
    found = []
    while len(data) >= 2:
        length = shift = at = 0
        while True:
            at += 1
            if at == len(data):
                return found, data
            length |= (data[at] & 127) << shift
            shift += 7
            if data[at] < 128:
                break
        end = at + 1 + length
        if len(data) < end:
            break
        found.append((data[0] >> 4, data[0] & 15, data[at + 1 : end]))
        data = data[end:]
    return found, data


class Broker:
    """Accepts connections one after another.

    `greeting` is sent on CONNECT (None: nothing), `takes(payload)` says whether a PUBLISH is
    acknowledged, `pongs` whether a PINGREQ is. `stalled` holds up all writes, `deaf` swallows
    them, `unreachable` is raised or, as a number of ms, waited for before a connection is there.
    """

    def __init__(self, clock):
        self.clock = clock
        self.greeting = ACCEPTED
        self.takes = lambda payload: True
        self.pongs = True
        self.stalled = self.deaf = False
        self.unreachable = None
        self.connections = []  # when each was made
        self.closings = []
        self.connects = []  # bodies of CONNECT
        self.got = []  # (topic, payload, retain) of each PUBLISH
        self.acked = []  # payloads
        self.pings = []  # when
        self.goodbyes = 0
        self.unacked = self.most_unacked = 0
        self.stream = None

    async def open(self):
        self.connections.append(self.clock.uptime_ms())
        if isinstance(self.unreachable, int):
            await self.clock.sleep_ms(self.unreachable)
        elif self.unreachable is not None:
            raise self.unreachable
        self.unacked = 0
        self.stream = Stream(self)
        return self.stream

    def say(self, data):
        """Send bytes to the client."""
        self.stream.come(data)

    def hang_up(self, error=b""):
        """Close from the broker's end: b"" in good order, else what `read` raises."""
        if self.stream is not None:
            self.stream.ended = error
            self.stream.arrived.set()

    def hear(self, data):
        stream = self.stream
        found, stream.rest = packets(stream.rest + data)
        for kind, flags, body in found:
            # Section 3.1: the first packet is CONNECT, and there is no second one.
            assert (kind == CONNECT) == (not stream.connected)
            if kind == CONNECT:
                assert flags == 0
                stream.connected = True
                self.connects.append(body)
                if self.greeting is not None:
                    self.say(self.greeting)
            elif kind == PUBLISH:
                assert flags & ~1 == 2  # QoS 1, not a duplicate (section 3.3.1)
                topic, at = text(body, 0)
                packet_id = body[at : at + 2]
                assert packet_id != b"\0\0"
                payload = bytes(body[at + 2 :])
                self.got.append((topic.decode(), payload, flags & 1))
                self.unacked += 1
                self.most_unacked = max(self.most_unacked, self.unacked)
                if self.takes(payload):
                    self.unacked -= 1
                    self.acked.append(payload)
                    self.say(b"\x40\x02" + packet_id)
            elif kind == PINGREQ:
                assert flags == 0
                assert body == b""
                self.pings.append(self.clock.uptime_ms())
                if self.pongs:
                    self.say(b"\xd0\x00")
            elif kind == PUBACK:
                stream.pubacks.append(bytes(body))
            else:
                assert (kind, flags, body) == (DISCONNECT, 0, b"")
                self.goodbyes += 1


class Stream:
    def __init__(self, broker):
        self.broker = broker
        self.rest = self.data = b""
        self.connected = self.closed = False
        self.ended = None
        self.pubacks = []
        self.arrived = asyncio.Event()

    def come(self, data):
        self.data += data
        self.arrived.set()

    async def read(self, n):
        while not self.data:
            if self.ended is not None:
                if isinstance(self.ended, Exception):
                    raise self.ended
                return b""
            self.arrived.clear()
            await self.arrived.wait()
        data, self.data = self.data[:n], self.data[n:]
        return data

    async def write(self, data):
        assert not self.closed
        if self.broker.stalled:
            await asyncio.Event().wait()
        if self.ended is not None:
            raise OSError(104)
        if not self.broker.deaf:
            self.broker.hear(data)

    def close(self):
        assert not self.closed
        self.closed = True
        self.broker.closings.append(self.broker.clock.uptime_ms())
