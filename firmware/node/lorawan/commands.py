"""MAC commands (TS001 chapter 5): what the network asks for, and what it is answered.

One row a command: length of the request, length of the answer, whether the answer is sticky
(repeated in every uplink until a downlink comes), and what is done. A command that is not known,
or not whole, ends the reading of its frame.
"""

from node.lorawan.actions import ClockSync, LinkCheck
from node.lorawan.region import CHANNELS
from node.lorawan.session import MAX_ANSWERS, frequency_hz
from node.wire.const import const

LINK_CHECK = const(0x02)
_LINK_ADR = const(0x03)
_DUTY_CYCLE = const(0x04)
_RX_PARAM_SETUP = const(0x05)
_DEV_STATUS = const(0x06)
_NEW_CHANNEL = const(0x07)
_RX_TIMING_SETUP = const(0x08)
_TX_PARAM_SETUP = const(0x09)
_DL_CHANNEL = const(0x0A)
DEVICE_TIME = const(0x0D)

_NO_ANSWER = const(-1)
_KEEP = const(0x0F)
_ALL_CHANNELS = const(6)
_MASK_OK = const(0x01)
_RATE_OK = const(0x02)
_POWER_OK = const(0x04)


class Commands:
    """Reads the commands of downlinks and keeps those that the device asks by itself.

    `wanted` are the requests (LINK_CHECK, DEVICE_TIME) for the next uplink, `asked` those of the
    exchange under way; an answer to anything else is not believed. `battery` is that of
    DevStatusAns: 0 external supply, 1 … 254, 255 not known.
    """

    def __init__(self, region, settings) -> None:
        self._region = region
        self._settings = settings
        self.adr = settings.adr
        self.battery = 255
        self.wanted = []
        self.asked = []
        self._truncated = False
        self._rows = {
            LINK_CHECK: (2, _NO_ANSWER, False, self._link_check),
            _LINK_ADR: (4, 1, False, self._link_adr),
            _DUTY_CYCLE: (1, 0, False, self._duty_cycle),
            _RX_PARAM_SETUP: (4, 1, True, self._rx_param_setup),
            _DEV_STATUS: (0, 2, False, self._dev_status),
            _NEW_CHANNEL: (5, 1, False, self._new_channel),
            _RX_TIMING_SETUP: (1, 0, True, self._rx_timing_setup),
            # RP002: not used in this region, so neither obeyed nor answered.
            _TX_PARAM_SETUP: (1, _NO_ANSWER, False, self._ignore),
            _DL_CHANNEL: (4, 1, True, self._dl_channel),
            DEVICE_TIME: (5, _NO_ANSWER, False, self._device_time),
        }

    def want(self, request: int) -> None:
        """Put a request into the next uplink."""
        if request not in self.wanted:
            self.wanted.append(request)

    def run(self, session, data, start: int, end: int, snr: int, at_ms: int, out: list) -> None:
        """Obey the commands in `data[start:end]`, add answers to the session, tell in `out`.

        `at_ms` is when the uplink before had ended.
        """
        self._session = session
        self._snr = snr
        self._at_ms = at_ms
        self._out = out
        self._truncated = False
        while start < end:
            cid = data[start]
            row = self._rows.get(cid)
            if row is None or start + 1 + row[0] > end:
                return
            start += 1
            count = 1
            if cid == _LINK_ADR:
                while start + 5 * count <= end - 4 and data[start + 5 * count - 1] == _LINK_ADR:
                    count += 1
            answer = row[3](data, start, count)
            if row[1] != _NO_ANSWER:
                for _ in range(count):
                    self._answer(cid, answer)
            start += count * (row[0] + 1) - 1

    def pending(self, session) -> int:
        """Return how many bytes of commands the next uplink has to carry."""
        return len(session.answers) + len(self.wanted)

    def take(self, session, room: int) -> bytearray:
        """Return the next uplink's commands, answers first, as many whole ones as fit."""
        answers = session.answers
        end = 0
        while end < len(answers) and end + self._size(answers[end]) <= room:
            end += self._size(answers[end])
        asks = min(room - end, len(self.wanted)) if end == len(answers) else 0
        self.asked = self.wanted[:asks]
        self.wanted = self.wanted[asks:]
        return answers[:end] + bytes(self.asked)

    def untake(self) -> None:
        """The uplink was never sent: ask again with the next one."""
        self.wanted = self.asked + self.wanted
        self.asked = []

    def keep_sticky(self, session) -> None:
        """After an uplink without a downlink: only sticky answers are repeated."""
        answers = session.answers
        kept = bytearray()
        at = 0
        while at < len(answers):
            size = self._size(answers[at])
            if self._rows[answers[at]][2]:
                kept += answers[at : at + size]
            at += size
        session.answers = kept

    def sound(self, answers) -> bool:
        """Return whether the bytes are a list of whole answers."""
        at = 0
        while at < len(answers):
            row = self._rows.get(answers[at])
            if row is None or row[1] == _NO_ANSWER:
                return False
            at += 1 + row[1]
        return at == len(answers)

    def _size(self, cid: int) -> int:
        return 1 + self._rows[cid][1]

    def _answer(self, cid: int, answer: bytes) -> None:
        # TS001 chapter 5: a list that is too long is cut at its end, everything is obeyed.
        answers = self._session.answers
        if len(answers) + 1 + len(answer) > MAX_ANSWERS:
            self._truncated = True
        if not self._truncated:
            answers.append(cid)
            answers.extend(answer)

    def _ignore(self, data, at: int, count: int) -> bytes:
        return b""

    def _link_check(self, data, at: int, count: int) -> bytes:
        if LINK_CHECK in self.asked:
            self._out.append(LinkCheck(data[at], data[at + 1]))
        return b""

    def _device_time(self, data, at: int, count: int) -> bytes:
        if DEVICE_TIME in self.asked:
            seconds = data[at] | data[at + 1] << 8 | data[at + 2] << 16 | data[at + 3] << 24
            self._out.append(ClockSync(seconds, data[at + 4], self._at_ms))
        return b""

    def _link_adr(self, data, at: int, count: int) -> bytes:
        # TS001 section 5.2: masks of a contiguous block are worked through in order, rate, power
        # and NbTrans are the last command's, all of it is accepted or nothing.
        session = self._session
        defined = session.defined()
        mask = session.mask
        sound = True
        for i in range(count):
            cmd = at + 5 * i
            control = (data[cmd + 3] >> 4) & 0x07
            if control == 0:
                mask = data[cmd + 1] | data[cmd + 2] << 8
            elif control == _ALL_CHANNELS:
                mask = defined
            if control not in (0, _ALL_CHANNELS) or mask & ~defined:
                sound = False
        if not mask:
            sound = False
        last = at + 5 * (count - 1)
        rate = data[last] >> 4
        power = data[last] & 0x0F
        if rate == _KEEP:
            rate = session.rate
        if power == _KEEP:
            power = session.power
        status = _MASK_OK if sound else 0
        if not self.adr:
            # The device's own parameters then, but the network's channels (section 4.3.1.1).
            if sound and session.usable(mask, session.rate):
                session.mask = mask
                return bytes((status,))
            return b"\x00"
        if rate < len(self._region.rates) and session.usable(mask if sound else defined, rate):
            status |= _RATE_OK
        if power < self._region.power_steps and self._settings.can_power(power):
            status |= _POWER_OK
        if status == _MASK_OK | _RATE_OK | _POWER_OK:
            session.mask = mask
            session.rate = rate
            session.power = power
            session.nb_trans = max(1, data[last + 3] & 0x0F)
        return bytes((status,))

    def _duty_cycle(self, data, at: int, count: int) -> bytes:
        self._session.max_duty = data[at] & 0x0F
        return b""

    def _rx_param_setup(self, data, at: int, count: int) -> bytes:
        session = self._session
        rate = data[at] & 0x0F
        offset = (data[at] >> 4) & 0x07
        hz = frequency_hz(data, at + 1)
        status = 0x01 if self._region.hearable(hz) else 0
        if rate < len(self._region.rates):
            status |= 0x02
        if offset <= self._region.max_rx1_offset:
            status |= 0x04
        if status == 0x07:
            session.rx2_rate = rate
            session.rx1_offset = offset
            session.rx2_hz = hz
        return bytes((status,))

    def _dev_status(self, data, at: int, count: int) -> bytes:
        margin = min(31, max(-32, self._snr))
        return bytes((self.battery & 0xFF, margin & 0x3F))

    def _new_channel(self, data, at: int, count: int) -> bytes:
        session = self._session
        index = data[at]
        hz = frequency_hz(data, at + 1)
        low, high = data[at + 4] & 0x0F, data[at + 4] >> 4
        if not len(self._region.channels_hz) <= index < CHANNELS:
            return b"\x00"
        status = 0x03
        if hz:
            status = 0x01 if self._region.band(hz) >= 0 else 0
            if low <= high < len(self._region.rates):
                status |= 0x02
        if status == 0x03:
            session.define(index, hz, data[at + 4] if hz else 0)
            session.settle()
        return bytes((status,))

    def _rx_timing_setup(self, data, at: int, count: int) -> bytes:
        self._session.rx_delay_s = max(1, data[at] & 0x0F)
        return b""

    def _dl_channel(self, data, at: int, count: int) -> bytes:
        session = self._session
        index = data[at]
        hz = frequency_hz(data, at + 1)
        status = 0x01 if self._region.hearable(hz) else 0
        if index < CHANNELS and session.up_hz[index]:
            status |= 0x02
        if status == 0x03:
            session.down_hz[index] = hz
        return bytes((status,))
