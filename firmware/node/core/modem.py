"""The MAC at work: does its actions on a radio and in flash, one exchange at a time."""

import gc

from node.core.log import describe
from node.lorawan.actions import (
    Deliver,
    Idle,
    Joined,
    JoinFailed,
    LorawanError,
    Rx,
    Save,
    Sent,
    Tx,
)
from node.lorawan.region import symbol_us
from node.radio import RadioError
from node.wire.const import const

_SLACK_MS = const(60000)
_LONGEST_REST_MS = const(600000)
# One who has a session already does not wait for long to get another one.
_PATIENCE_MS = const(30000)
# Before a window that is as far away there is time to tidy up.
_COLLECT_MS = const(700)
_CARRIER_S = const(60)
# From any state the MAC is at rest after so many events.
_STEPS = const(4)


class Modem:
    """`mac` on the radio that `make_radio()` gives, with its memory in `sessions`.

    `on_air` from before a transmission to the end of its windows; `until_ms` is the uptime that
    an exchange waits for, else None. `airtime_us` is all that was sent since the start. `rssi`
    and `snr` are those of the last downlink that was for us, None before.
    """

    def __init__(self, mac, make_radio, sessions, quiet, clock, log) -> None:
        self.mac = mac
        self.on_air = False
        self.until_ms = None
        self.airtime_us = 0
        self.rssi = None
        self.snr = None
        self._make_radio = make_radio
        self._radio = None
        self._ready = False
        self._sessions = sessions
        self._quiet = quiet
        self._clock = clock
        self._log = log
        self._end_us = 0
        self._heard = (0, 0)
        self._patient = True

    async def join(self, progress, force: bool = False) -> list:
        """Join; return the MAC's events, with Joined where there is a new session.

        Without a session this goes on until there is one. Raises LorawanError.
        """
        self._patient = not self.mac.joined
        return await self._do(self.mac.join(self._clock.uptime_ms(), force), progress)

    async def send(self, progress, port=None, payload=b"", confirmed=False) -> list:
        """Send an uplink; return the MAC's events when it is over. Raises LorawanError."""
        self._patient = True
        actions = self.mac.send(self._clock.uptime_ms(), port, payload, confirmed)
        return await self._do(actions, progress)

    async def carry(self, freq_hz: int, power_dbm: int, seconds: int, progress) -> None:
        """Send a bare carrier for a time, as a test laboratory wants."""
        self.on_air = True
        try:
            radio = self._awake()
            radio.start_carrier(freq_hz, power_dbm)
            while seconds > 0:
                part = min(seconds, _CARRIER_S)
                progress.within(1000 * part + _SLACK_MS)
                await self._clock.sleep_ms(1000 * part)
                seconds -= part
            radio.start()
            radio.sleep()
        except (RadioError, ValueError, OSError) as error:
            self._broken(error)
        finally:
            self.on_air = False

    async def _do(self, actions: list, progress) -> list:
        events: list = []
        try:
            while True:
                step = None
                stored = True
                for action in actions:
                    kind = type(action)
                    if kind is Save:
                        stored = self._save(action.state)
                    elif kind in (Tx, Rx, Idle):
                        step = action
                    elif stored or kind is not Deliver:
                        self._note(action)
                        events.append(action)
                kind = type(step)
                if kind is Tx:
                    progress.within(_SLACK_MS)
                    actions = await self._transmit(step, stored)
                elif kind is Rx:
                    actions = await self._listen(step)
                elif step is None or step.until_ms is None:
                    return events
                else:
                    actions = await self._rest(step.until_ms, progress)
        finally:
            self.until_ms = None
            self.on_air = False
            self._settle()

    def _note(self, event) -> None:
        kind = type(event)
        if kind is Joined or (kind is Sent and event.heard):
            self.rssi, self.snr = self._heard
        if kind is JoinFailed:
            self._log.info("lora", "join %s" % event.reason)

    def _save(self, state: bytes) -> bool:
        clock = self._clock
        unix_s = clock.unix_ms() // 1000 if clock.known else 0
        try:
            self._sessions.save(state, self.mac.dev_nonce, unix_s)
            return True
        except OSError as error:
            self._log.error("lora", "session not saved, " + describe(error))
            return False

    async def _transmit(self, tx, stored: bool) -> list:
        clock = self._clock
        if not stored:
            return self.mac.failed(clock.uptime_ms())
        self.on_air = True
        try:
            radio = self._awake()
            self.airtime_us += tx.airtime_us
            end_us = await radio.transmit(tx.payload, tx.freq_hz, tx.sf, tx.bw_khz, tx.power_dbm)
        except (RadioError, ValueError, OSError) as error:
            self._broken(error)
            return self.mac.failed(clock.uptime_ms())
        self._end_us = end_us
        past_us = clock.ticks_diff(clock.ticks_us(), end_us)
        return self.mac.done(clock.uptime_ms() - max(0, past_us) // 1000)

    async def _listen(self, rx) -> list:
        clock = self._clock
        try:
            radio = self._awake()
            symbols, delay_us = rx.symbols, rx.delay_us
            cut = symbols - radio.MAX_SYMBOLS
            if cut > 0:
                # What the chip cannot do is missing at both ends, where a frame is least likely.
                symbols -= cut
                delay_us += cut * symbol_us(rx.sf, rx.bw_khz) // 2
            open_us = clock.ticks_add(self._end_us, delay_us)
            left_ms = clock.ticks_diff(open_us, clock.ticks_us()) // 1000
            self._quiet.plan(clock.uptime_ms() + left_ms)
            if left_ms > _COLLECT_MS:
                gc.collect()
            heard = await radio.receive(open_us, rx.freq_hz, rx.sf, rx.bw_khz, symbols)
        except (RadioError, ValueError, OSError) as error:
            self._broken(error)
            heard = None
        now = clock.uptime_ms()
        if heard is None:
            return self.mac.missed(now)
        payload, rssi, snr = heard
        self._heard = (rssi, snr)
        return self.mac.received(now, payload, rssi, round(snr))

    async def _rest(self, until_ms: int, progress) -> list:
        # The exchange waits for its (next) transmission.
        clock = self._clock
        self._sleep_radio()
        self.on_air = False
        self.until_ms = until_ms
        left = until_ms - clock.uptime_ms()
        if left > _PATIENCE_MS and not self._patient:
            return self.mac.cancel(clock.uptime_ms())
        while left > 0:
            part = min(left, _LONGEST_REST_MS)
            progress.within(part + _SLACK_MS)
            await clock.sleep_ms(part)
            left = until_ms - clock.uptime_ms()
        self.until_ms = None
        return self.mac.tick(clock.uptime_ms())

    def _settle(self) -> None:
        # Where the exchange was cut short, lead the MAC to its end.
        mac = self.mac
        for _ in range(_STEPS):
            if not mac.busy:
                break
            for end in (mac.cancel, mac.failed, mac.missed):
                try:
                    actions = end(self._clock.uptime_ms())
                except LorawanError:
                    continue
                for action in actions:
                    if type(action) is Save:
                        self._save(action.state)
                break
        self._sleep_radio()

    def _awake(self):
        if self._radio is None:
            self._radio = self._make_radio()
        elif not self._ready:
            self._radio.start()
        self._ready = True
        return self._radio

    def _sleep_radio(self) -> None:
        if self._ready and self._radio is not None:
            try:
                self._radio.sleep()
            except (RadioError, OSError) as error:
                self._broken(error)

    def _broken(self, error) -> None:
        # The next use begins with a reset.
        self._ready = False
        self._log.warning("radio", describe(error))
