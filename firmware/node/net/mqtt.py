"""An MQTT client that publishes with QoS 1 and reports PUBACKs; every wait is bounded."""

import asyncio

from node.net import packets
from node.net.packets import MqttError
from node.wire.const import const

_CONNECT_S = const(15)
_WRITE_S = const(10)
_PING_MS = const(10000)
_READ = const(256)
_MAX_ID = const(0xFFFF)


class Mqtt:
    """A connection to a broker, made again as often as needed.

    `open_stream()` is a coroutine that returns an object with the coroutines `read(n)` and
    `write(data)` and with `close()`. The last will is `offline` at `status_topic`, and `online`
    is published there. `wake` is an Event set whenever there is something for `take_acks` or
    `attend`.
    """

    Error = MqttError

    def __init__(
        self, open_stream, client_id, user, password, keepalive_s, status_topic, clock, wake
    ) -> None:
        self._open_stream = open_stream
        self._client_id = client_id
        self._user = user
        self._password = password
        self._keepalive_s = keepalive_s
        self._status_topic = status_topic
        self._clock = clock
        self._wake = wake
        self._stream = None
        self._reader = None
        self._failure = None
        self._acks: list = []
        self._replies = b""  # owed to the broker; one task alone writes to the stream
        self._last_id = 0
        self._sent_ms = 0
        self._ping_ms = 0

    async def connect(self) -> None:
        """Connect and say that the node is online.

        Raises OSError, asyncio.TimeoutError or MqttError; `close` is due in any case.
        """
        self._failure = None
        self._acks = []
        self._replies = b""
        self._ping_ms = 0
        await asyncio.wait_for(self._connect(), _CONNECT_S)
        await self.publish(self._status_topic, b"online", True)

    async def _connect(self) -> None:
        self._stream = await self._open_stream()
        await self._stream.write(
            packets.connect(
                self._client_id,
                self._user,
                self._password,
                self._keepalive_s,
                self._status_topic,
                b"offline",
            )
        )
        self._sent_ms = self._clock.uptime_ms()
        parser = packets.Parser()
        while True:
            received = parser.feed(await self._receive())
            if received:
                break
        packets.connack(received.pop(0))
        self._reader = asyncio.create_task(self._read(parser, received))

    async def publish(self, topic: str, payload: bytes, retain: bool = False) -> int:
        """Send a message and return the packet id that will be acknowledged."""
        self._last_id = self._last_id % _MAX_ID + 1
        await self._send(packets.publish(topic, payload, self._last_id, retain))
        return self._last_id

    def take_acks(self) -> list:
        """Return the packet ids acknowledged since the last call."""
        acks, self._acks = self._acks, []
        return acks

    async def attend(self, wait_ms: int) -> None:
        """Wait for `wake` at most `wait_ms` and keep the connection alive.

        Raises what ended the connection: MqttError or OSError.
        """
        if self._failure is not None:
            raise self._failure
        if self._replies:
            replies, self._replies = self._replies, b""
            await self._send(replies)
        now = self._clock.uptime_ms()
        # Well before the broker's patience of 1.5 keep-alives (section 3.1.2.10) ends.
        due = self._sent_ms + 750 * self._keepalive_s
        if self._ping_ms:
            if now - self._ping_ms > _PING_MS:
                raise MqttError("ping")
            due = self._ping_ms + _PING_MS + 1
        elif now >= due:
            # Noted before it is sent: the answer may be there before `_send` returns.
            self._ping_ms = now or 1
            await self._send(packets.PINGREQ)
            due = now + _PING_MS + 1
        wait_ms = min(wait_ms, due - now)
        if wait_ms > 0:
            try:
                await asyncio.wait_for(self._wake.wait(), wait_ms / 1000)
            except asyncio.TimeoutError:
                pass
        if self._failure is not None:
            raise self._failure

    async def close(self) -> None:
        """End the connection, in good order where there is still one."""
        stream, self._stream = self._stream, None
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            try:
                await reader
            except asyncio.CancelledError:
                pass
        if stream is not None:
            if reader is not None and self._failure is None:
                try:
                    await asyncio.wait_for(stream.write(packets.DISCONNECT), 1)
                except (OSError, asyncio.TimeoutError):
                    pass
            stream.close()

    async def _send(self, data: bytes) -> None:
        if self._stream is None:
            raise MqttError("closed")
        await asyncio.wait_for(self._stream.write(data), _WRITE_S)
        self._sent_ms = self._clock.uptime_ms()

    async def _receive(self) -> bytes:
        if self._stream is None:
            raise MqttError("closed")
        data = await self._stream.read(_READ)
        if not data:
            raise MqttError("closed")
        return data

    async def _read(self, parser, received: list) -> None:
        try:
            while True:
                for packet in received:
                    if packet[0] == packets.PUBLISH:
                        if len(self._replies) < _READ:
                            self._replies += packets.puback_for(packet)
                        continue
                    packet_id = packets.answer(packet)
                    if packet_id:
                        self._acks.append(packet_id)
                    else:
                        self._ping_ms = 0
                if received:
                    self._wake.set()
                received = parser.feed(await self._receive())
        except (OSError, MqttError) as error:
            self._failure = error
            self._wake.set()
