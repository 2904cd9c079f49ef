"""The uplink: the oldest record that was not delivered goes first, until the broker has it."""

import asyncio

from node.core.log import describe
from node.wire.const import const

_WINDOW = const(4)
_ACK_MS = const(20000)
_WAIT_MS = const(45000)
_SLACK_MS = const(90000)
_FIRST_DELAY_MS = const(1000)
_LONGEST_DELAY_MS = const(120000)
_RENEW_AFTER = const(5)


class Uplink:
    """Publishes the spool's records to `topic` with QoS 1 and releases them when acknowledged.

    `link` has the Event `up` and `renew()`. With `needs_clock` (TLS checks dates) it waits until
    the clock is set. `rng()` gives 0…1 for the jitter of the waits between attempts.
    """

    def __init__(
        self, mqtt, topic, spool, recorder, link, needs_clock, clock, rng, counters, log
    ) -> None:
        self._mqtt = mqtt
        self._topic = topic
        self._spool = spool
        self._recorder = recorder
        self._link = link
        self._needs_clock = needs_clock
        self._clock = clock
        self._rng = rng
        self._counters = counters
        self._log = log
        self._delay_ms = _FIRST_DELAY_MS
        self._failures = 0

    async def run(self, progress) -> None:
        """Deliver for ever."""
        again = False
        while True:
            await self._ready(progress)
            try:
                progress.within(_SLACK_MS)
                if again:
                    self._counters.broker_reconnects += 1
                again = True
                await self._mqtt.connect()
                self._log.info("mqtt", "connected")
                await self._deliver(progress)
            except (OSError, asyncio.TimeoutError, self._mqtt.Error) as error:
                self._log.warning("mqtt", describe(error))
            finally:
                await self._mqtt.close()
            self._failures += 1
            if self._failures >= _RENEW_AFTER:
                # The link may say that it is up and be dead all the same.
                self._failures = 0
                self._link.renew()
            delay = int(self._delay_ms * (0.5 + self._rng()))
            self._delay_ms = min(2 * self._delay_ms, _LONGEST_DELAY_MS)
            progress.within(delay + _SLACK_MS)
            await self._clock.sleep_ms(delay)

    async def _ready(self, progress) -> None:
        # Wait for the link, and for the time of day where certificates are checked against it.
        while not self._link.up.is_set() or (self._needs_clock and not self._clock.known):
            progress.within(_SLACK_MS)
            event = self._clock.changed if self._link.up.is_set() else self._link.up
            if event is self._clock.changed:
                await self._clock.sleep_ms(500)
                continue
            try:
                await asyncio.wait_for(event.wait(), _WAIT_MS / 1000)
            except asyncio.TimeoutError:
                pass

    async def _deliver(self, progress) -> None:
        spool, mqtt, clock = self._spool, self._mqtt, self._clock
        spool.rewind()
        flying: list = []  # [packet id or 0 when acknowledged, seq, deadline by the uptime]
        while self._link.up.is_set():
            progress.within(_WAIT_MS + _SLACK_MS)
            self._recorder.accepted.clear()
            for packet_id in mqtt.take_acks():
                for item in flying:
                    if item[0] == packet_id:
                        item[0] = 0
            while flying and not flying[0][0]:
                self._release(flying.pop(0)[1])
            while len(flying) < _WINDOW:
                entry = spool.read()
                if entry is None:
                    break
                packet_id = await mqtt.publish(self._topic, self._recorder.frame(entry))
                flying.append([packet_id, entry[0], clock.uptime_ms() + _ACK_MS])
            wait = _WAIT_MS
            if flying:
                wait = min(wait, flying[0][2] - clock.uptime_ms())
                if wait <= 0:
                    raise mqtt.Error("ack")
            await mqtt.attend(wait)

    def _release(self, seq: int) -> None:
        self._delay_ms = _FIRST_DELAY_MS
        self._failures = 0
        try:
            self._spool.release(seq)
        except OSError as error:
            # Not saved: after a restart it would be sent once more, which the receiver sorts out.
            self._log.warning("spool", "state not saved, " + describe(error))
        self._log.info("uplink", "acked %d" % seq)
