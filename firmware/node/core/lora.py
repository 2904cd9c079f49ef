"""The uplink over LoRaWAN: joins, sends what `Delivery` wants when the air time allows, obeys."""

import asyncio
import struct

from node.core import commands
from node.core.delivery import Delivery
from node.core.log import describe
from node.lorawan.actions import (
    Certify,
    ClockSync,
    Deliver,
    Joined,
    LinkCheck,
    LorawanError,
    Sent,
)
from node.wire.const import const

RECORDS_PORT = const(1)

_SLACK_MS = const(60000)
_LONGEST_WAIT_MS = const(600000)
_HOUR_MS = const(3600000)
_DAY_S = const(86400)
_DAY_MS = const(86400000)
_FIRST_PAUSE_MS = const(10000)

# The part of the day's air time that new records may plan with, in tenths; the rest is for
# repetitions and for what is left over from an outage.
_SHARE = const(8)
# A sub-band of 1 % gives so many air times of pause, with the ledger's own margin.
_DUTY = const(120)
# What a record takes alone, and each one more in a batch (`docs/frames.md`).
_RECORD_BYTES = const(30)
_MORE_BYTES = const(5)

# A start after deep sleep stays awake for what is due within so long, and for so long at most.
_NEAR_MS = const(5000)
_NEAR_JOIN_MS = const(25000)
_AWAKE_MS = const(120000)
_POLL_MS = const(100)

# GPS and Unix time (IERS Bulletin C: 18 leap seconds since 2017).
_GPS_EPOCH_S = const(315964800)
_LEAP_S = const(18)
_EARLIEST_S = const(1704067200)  # 2024: before that no such node was there

_MAGIC = b"clu1"
# magic, saved (Unix ms), budget us, last sync (Unix s), ms until new records may go, stretch
_FORM = "<4sQiIIH"


class LoraUplink:
    """Sends the spool's records through `modem` and releases them.

    `options` are those of the profile, `signed` the Commands. `pace(interval_s)` makes the sampler
    slower or faster, `on_time(unix_ms)` gets the network's time, `obey(code, argument)` the
    commands; `battery()` gives the level as DevStatusAns has it, `random(n)` 0 … n-1.
    """

    def __init__(
        self, modem, spool, recorder, budget, options, signed, interval_s, pace, on_time, obey,
        battery, random, sync_each_s, clock, counters, log,
    ) -> None:  # fmt: skip
        self.mac = modem.mac
        self.interval_s = interval_s
        self.stretch = 1
        self._modem = modem
        self._delivery = Delivery(spool, recorder, options.confirmed_every, random, log)
        self._accepted = recorder.accepted
        self._budget = budget
        self._link_check = options.link_check
        self._signed = signed
        self._pace = pace
        self._on_time = on_time
        self._obey = obey
        self._battery = battery
        self._sync_each_s = sync_each_s
        self._clock = clock
        self._counters = counters
        self._log = log
        self._rejoin = False
        self._carrier = None
        self._rate = -1
        self._join_ms = 0  # with a session, before that there is no new join
        self._broken_ms = 0
        self._pauses = 0
        self._spaced_ms = 0
        self._period_ms = 0
        self._period_at_ms = 0
        self._synced_s = 0
        self._spent_us = 0
        self._next_ms = 0
        self._held = False

    # -- what commands change -------------------------------------------------------------------

    def set_interval(self, interval_s: int) -> None:
        """Have another interval between samples, before it is stretched."""
        self.interval_s = interval_s
        self._adapt()
        self._pace(interval_s * self.stretch)

    def ask_rejoin(self) -> None:
        """Join anew as soon as possible; the session is kept until there is another one."""
        self._rejoin = True
        self._join_ms = 0

    # -- deep sleep -----------------------------------------------------------------------------

    async def finish(self, progress) -> None:
        """Come back when the node may sleep: nothing is on the air, and nothing due soon."""
        clock = self._clock
        start = clock.uptime_ms()
        while self._working() and clock.uptime_ms() - start < _AWAKE_MS:
            progress.within(_SLACK_MS)
            await clock.sleep_ms(_POLL_MS)
        self._held = True
        while self._modem.on_air:
            progress.within(_SLACK_MS)
            await clock.sleep_ms(_POLL_MS)

    def resume(self) -> None:
        """Go on: the node does not sleep after all."""
        self._held = False
        self._accepted.set()

    def _working(self) -> bool:
        if self._modem.on_air or self._accepted.is_set():
            return True
        near = _NEAR_MS if self.mac.joined else _NEAR_JOIN_MS
        waits = self._modem.until_ms
        return (self._next_ms if waits is None else waits) - self._clock.uptime_ms() <= near

    def pack(self) -> bytes:
        """Return what a deep sleep has to outlive, good for one `unpack`; b"" in an exchange."""
        now = self._clock.uptime_ms()
        try:
            state = self.mac.snapshot(now)
        except LorawanError:
            return b""
        return (
            struct.pack(
                _FORM, _MAGIC, self._clock.unix_ms(), self._budget.credit_at(now), self._synced_s,
                max(0, self._spaced_ms - now), self.stretch,
            )
            + self._delivery.pack(now)
            + state
        )  # fmt: skip

    def unpack(self, data: bytes) -> bool:
        """Take over what `pack` gave before a deep sleep; False if it is none."""
        if len(data) < struct.calcsize(_FORM) or data[:4] != _MAGIC:
            return False
        _, saved_ms, credit_us, synced_s, spaced_ms, stretch = struct.unpack_from(_FORM, data)
        now = self._clock.uptime_ms()
        # The clock that runs in deep sleep is not a good one.
        off_ms = max(0, min(_DAY_MS, self._clock.unix_ms() - saved_ms))
        off_ms -= off_ms >> 5
        try:
            at = self._delivery.unpack(data, struct.calcsize(_FORM), now, off_ms)
            self.mac.restore(data[at:], off_ms)
        except (ValueError, LorawanError):
            return False
        self._budget.restore(credit_us, off_ms)
        self._synced_s = synced_s
        self._spaced_ms = now + max(0, spaced_ms - off_ms)
        self._set_stretch(stretch)
        return True

    # -- the loop -------------------------------------------------------------------------------

    async def run(self, progress) -> None:
        """Deliver for ever."""
        mac = self.mac
        while True:
            progress.within(_SLACK_MS)
            self._accepted.clear()
            now = self._clock.uptime_ms()
            if self._held:
                await self._wait(_LONGEST_WAIT_MS, progress)
            elif now < self._broken_ms:
                await self._wait(self._broken_ms - now, progress)
            elif self._carrier is not None:
                (seconds, hz, power_dbm), self._carrier = self._carrier, None
                self._next_ms = 0
                await self._modem.carry(hz, power_dbm, seconds, progress)
            elif not mac.joined or ((mac.lost or self._rejoin) and now >= self._join_ms):
                await self._join(progress)
            else:
                await self._turn(progress)

    async def _join(self, progress) -> None:
        self._next_ms = 0
        force, self._rejoin = self._rejoin, False
        self._join_ms = self._clock.uptime_ms() + _HOUR_MS
        before = self.mac.session
        self._take(await self._modem.join(progress, force))
        if force and self.mac.session is before:
            self._rejoin = True  # it would have had to wait for too long
        if before is not None and self.mac.session is not before:
            self._counters.link_reconnects += 1
        if not self.mac.joined:
            self._log.error("lora", "no DevNonce left: give the node another identity")
            await self._wait(_HOUR_MS, progress)

    async def _turn(self, progress) -> None:
        # Send what is due now, or wait for it.
        mac, clock, delivery, budget = self.mac, self._clock, self._delivery, self._budget
        now = clock.uptime_ms()
        delivery.tidy()
        mac.commands.battery = self._battery()
        past_s = clock.unix_ms() // 1000 - self._synced_s
        if not clock.known or not 0 <= past_s < self._sync_each_s:
            mac.ask_time()
        room = mac.max_payload() - 1  # a link check may come to it
        soonest = _LONGEST_WAIT_MS
        if room > 0:
            rare = self._spacing_ms(mac.airtime_us(room)) >= _HOUR_MS
            cargo = delivery.live(room, now, rare)
            if cargo is not None:
                # As long as half of the burst is left there is no need to collect records.
                spaced = min(self._spaced_ms - now, budget.wait_ms(now, 0, budget.burst_us // 2))
                wait = max(self._wait_ms(now, cargo.size, 0), spaced)
                if wait <= 0:
                    await self._send(progress, cargo)
                    return
                soonest = min(soonest, wait)
            cargo = delivery.backlog(room, now)
            if cargo is not None:
                wait = self._wait_ms(now, cargo.size, budget.burst_us // 2)
                wait = max(wait, delivery.retry_ms - now)
                if wait <= 0:
                    await self._send(progress, cargo)
                    return
                soonest = min(soonest, wait)
        # What only the MAC wants, or a test laboratory.
        wait = self._period_at_ms - now if self._period_ms else _LONGEST_WAIT_MS
        if mac.urgent or room < 0 or mac.certification.answer:
            wait = 0
        if self._period_ms:
            wait = max(wait, mac.ready_ms(now, 0) - now)
        elif not wait:
            # The network waits for it: the budget may be overdrawn.
            wait = self._wait_ms(now, 0, -budget.burst_us)
        if wait <= 0:
            await self._send(progress, None)
            return
        soonest = min(soonest, wait)
        await self._wait(soonest, progress)

    def _wait_ms(self, now: int, size: int, keep_us: int) -> int:
        mac = self.mac
        airtime_us = mac.airtime_us(size) * mac.session.nb_trans
        return max(self._budget.wait_ms(now, airtime_us, keep_us), mac.ready_ms(now, size) - now)

    async def _send(self, progress, cargo) -> None:
        mac, delivery = self.mac, self._delivery
        self._next_ms = 0
        confirmed = False
        data, port = b"", None
        if cargo is not None:
            data, port = delivery.payload(cargo), RECORDS_PORT
            confirmed = cargo.asks and (delivery.due_confirmed or not self._link_check)
            if cargo.asks and not confirmed:
                mac.check_link()
        self._period_at_ms = self._clock.uptime_ms() + self._period_ms
        try:
            events = await self._modem.send(progress, port, data, confirmed)
        except LorawanError as error:
            # What was worked out before no longer holds; it is worked out again.
            self._log.warning("lora", describe(error))
            self._pause()
            return
        sent = None
        for event in events:
            if type(event) is Sent:
                sent = event
        if sent is None or not sent.transmissions:
            self._take(events)
            self._pause()
            return
        self._pauses = 0
        now = self._clock.uptime_ms()
        if sent.heard:
            delivery.heard(now)
        if cargo is not None:
            self._log.info(
                "uplink",
                "sent %d to %d%s, fcnt %d, DR%d"
                % (cargo.first, cargo.last, " asking" if cargo.asks else "", sent.fcnt, mac.rate),
            )
            airtime_us = mac.airtime_us(cargo.size) * sent.transmissions
            self._spaced_ms = now + self._spacing_ms(airtime_us)
            delivery.sent(cargo, confirmed, sent.heard, now)
        self._take(events)

    def _pause(self) -> None:
        # The radio or the flash does not do as it should: try again, but not all the time.
        pause = min(_LONGEST_WAIT_MS, _FIRST_PAUSE_MS << min(self._pauses, 6))
        self._pauses += 1
        self._broken_ms = self._clock.uptime_ms() + pause

    async def _wait(self, ms: int, progress) -> None:
        # A new record ends it, too.
        progress.within(ms + _SLACK_MS)
        self._next_ms = self._clock.uptime_ms() + ms
        try:
            await asyncio.wait_for(self._accepted.wait(), ms / 1000)
        except asyncio.TimeoutError:
            pass

    # -- what happened --------------------------------------------------------------------------

    def _take(self, events: list) -> None:
        now = self._clock.uptime_ms()
        spent_us = self._modem.airtime_us
        self._budget.take(now, spent_us - self._spent_us)
        self._spent_us = spent_us
        for event in events:
            kind = type(event)
            if kind is Joined:
                self._delivery.heard(now)
                self._log.info("lora", "joined")
            elif kind is ClockSync:
                self._time(event, now)
            elif kind is LinkCheck:
                self._log.debug(
                    "lora", "margin %d dB, gateways %d" % (event.margin_db, event.gateways)
                )
            elif kind is Certify:
                self._certify(event)
        self._adapt()
        # At last, because one of them is to restart the node.
        for event in events:
            if type(event) is Deliver:
                self._command(event)

    def _time(self, event, now: int) -> None:
        unix_s = event.gps_s + _GPS_EPOCH_S - _LEAP_S
        if unix_s < _EARLIEST_S:
            self._log.warning("lora", "no time of day")
            return
        self._synced_s = unix_s
        self._on_time(1000 * unix_s + event.gps_256 * 1000 // 256 + now - event.at_ms)

    def _command(self, event) -> None:
        try:
            found = self._signed.take(event.port, event.payload)
            if found is not None and self._obey(found[0], found[1]):
                return
        except OSError as error:
            self._log.error("lora", "command not stored, " + describe(error))
        self._counters.ignored += 1
        self._log.warning("lora", "downlink on port %d ignored" % event.port)

    def _certify(self, event) -> None:
        if event.command == "period_ms":
            self._period_ms = event.value
            self._period_at_ms = self._clock.uptime_ms()
        elif event.command == "join":
            self.ask_rejoin()
        elif event.command == "cw":
            self._carrier = event.value
        else:
            self._obey(commands.RESTART, 0)

    # -- how much, how often --------------------------------------------------------------------

    def _spacing_ms(self, airtime_us: int) -> int:
        """Return how far apart uplinks of such an air time are, by budget and duty cycle."""
        spacing_ms = 10 * 1000 * _DAY_S * airtime_us // (self._budget.day_us * _SHARE)
        pause_us = max(airtime_us * _DUTY, airtime_us << self.mac.session.max_duty)
        return max(spacing_ms, pause_us // 1000)

    def _adapt(self) -> None:
        # Sample no more than can be sent.
        mac = self.mac
        if not mac.joined:
            return
        if mac.rate > self._rate:
            self._delivery.better_rate()
        self._rate = mac.rate
        room = mac.max_payload()
        count = 1 + max(0, room - _RECORD_BYTES) // _MORE_BYTES
        airtime_us = mac.airtime_us(room) * mac.session.nb_trans
        spacing_ms = self._spacing_ms(airtime_us)
        stretch = -(-spacing_ms // (1000 * self.interval_s * count))
        self._set_stretch(max(1, min(stretch, _DAY_S // self.interval_s)))

    def _set_stretch(self, stretch: int) -> None:
        if stretch != self.stretch:
            self.stretch = stretch
            self._log.info("lora", "samples every %d s" % (self.interval_s * stretch))
            self._pace(self.interval_s * stretch)
