"""SNTP (RFC 4330): the time of day, from a server that is asked now and then."""

import asyncio
import socket
import struct

from node.wire.const import const

_PORT = const(123)
_PACKET = const(48)
_CLIENT = const(0x23)  # version 4, mode 3
_MODE_SERVER = const(4)
_UNSYNCHRONISED = const(3)
_MAX_STRATUM = const(15)
_EPOCH_1900 = const(2208988800)

_ANSWER_MS = const(3000)
_POLL_MS = const(20)
_FIRST_DELAY_MS = const(2000)
_LONGEST_DELAY_MS = const(600000)
_EACH_MS = const(3600000)
_SLACK_MS = const(60000)
_LINK_S = const(15)
# Below this a step would only carry the network's jitter into the clock.
_STEP_MS = const(20)


class NtpError(Exception):
    """An answer that is none; `kind`: "length", "mode", "origin", "stratum", "leap", "time"."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def request(nonce: bytes) -> bytes:
    """Return a request; the 8 bytes `nonce` stand for our time and come back in the answer."""
    packet = bytearray(_PACKET)
    packet[0] = _CLIENT
    packet[40:48] = nonce
    return bytes(packet)


def unix_ms(packet: bytes, nonce: bytes, elapsed_ms: int) -> int:
    """Return the Unix time in ms at the arrival of an answer, `elapsed_ms` after the request.

    Checks it as RFC 4330 section 5 asks; raises NtpError.
    """
    if len(packet) < _PACKET:
        raise NtpError("length")
    if packet[0] & 7 != _MODE_SERVER:
        raise NtpError("mode")
    # Anything else is late, or from someone who did not see the request.
    if packet[24:32] != nonce:
        raise NtpError("origin")
    if not 1 <= packet[1] <= _MAX_STRATUM:
        raise NtpError("stratum")
    if packet[0] >> 6 == _UNSYNCHRONISED:
        raise NtpError("leap")
    received, sent = _ms(packet, 32), _ms(packet, 40)
    if sent < received or not any(packet[40:48]):
        raise NtpError("time")
    return sent + max(0, elapsed_ms - (sent - received)) // 2


def _ms(packet: bytes, offset: int) -> int:
    seconds, fraction = struct.unpack_from(">II", packet, offset)
    # Section 3: with the top bit clear it is the era that began in 2036.
    if not seconds & 0x80000000:
        seconds += 1 << 32
    return (seconds - _EPOCH_1900) * 1000 + (fraction * 1000 >> 32)


class Sntp:
    """Asks `host` and gives the time to `on_time(unix_ms)` while `link.up` is set.

    `entropy(n)` returns n random bytes, `rng()` 0…1.
    """

    def __init__(self, host: str, link, clock, entropy, rng, on_time, log) -> None:
        self._host = host
        self._link = link
        self._clock = clock
        self._entropy = entropy
        self._rng = rng
        self._on_time = on_time
        self._log = log

    async def run(self, progress) -> None:
        """Keep the clock for ever."""
        delay = _FIRST_DELAY_MS
        while True:
            while not self._link.up.is_set():
                progress.within(_SLACK_MS)
                try:
                    await asyncio.wait_for(self._link.up.wait(), _LINK_S)
                except asyncio.TimeoutError:
                    pass  # only to say that the task is alive
            progress.within(_SLACK_MS)
            wait = delay
            try:
                now = await self.ask()
                if abs(now - self._clock.unix_ms()) >= _STEP_MS or not self._clock.known:
                    self._on_time(now)
                else:
                    self._on_time(self._clock.unix_ms())
                delay = _FIRST_DELAY_MS
                wait = _EACH_MS
            except NtpError as error:
                self._log.warning("ntp", "bad answer: " + error.kind)
                delay = min(2 * delay, _LONGEST_DELAY_MS)
            except OSError as error:
                self._log.warning("ntp", "no answer, errno %s" % (error.args or ("?",))[0])
                delay = min(2 * delay, _LONGEST_DELAY_MS)
            wait = int(wait * (0.75 + 0.5 * self._rng()))
            progress.within(wait + _SLACK_MS)
            await self._clock.sleep_ms(wait)

    async def ask(self) -> int:
        """Ask once and return the Unix time in ms; raises OSError, NtpError."""
        family, kind, protocol, _, address = socket.getaddrinfo(
            self._host, _PORT, 0, socket.SOCK_DGRAM
        )[0]
        clock = self._clock
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            nonce = self._entropy(8)
            start = clock.ticks_ms()
            sock.sendto(request(nonce), address)
            failure = None
            while True:
                elapsed = clock.ticks_diff(clock.ticks_ms(), start)
                if elapsed > _ANSWER_MS:
                    if failure is not None:
                        raise failure
                    raise OSError(110)  # ETIMEDOUT
                try:
                    packet, _ = sock.recvfrom(2 * _PACKET)
                except OSError:
                    await clock.sleep_ms(_POLL_MS)
                    continue
                try:
                    return unix_ms(packet, nonce, clock.ticks_diff(clock.ticks_ms(), start))
                except NtpError as error:
                    # Anyone can send a bad answer; the good one may still come.
                    failure = error
        finally:
            sock.close()
