"""The MAC's memory as bytes: nonces, back-off, duty cycle and session, with version and CRC-32.

All times are relative to the moment of packing. *Reserved* bytes are for flash: they say that
every reserved uplink counter is used and all air time spent, because what happens after them may
not be stored before the power fails. Exact bytes are for memory that sleep does not erase, and
are good for one wake-up only.

    head      magic "LW", version u8, flags u8, tag of the identity (4 bytes)
    join      DevNonce u32, JoinNonce i32 (-1: none yet), attempt u16, period u8, in it u32 ms,
              spent u32 us, wait u32 ms
    ledger    silence u32 ms, credit u32 us of each sub-band
    session   when flagged: see _SESSION; then a row (index u8, up u24 and down u24 in 100 Hz,
              rates u8) for each channel, answers' length u8, answers
    CRC-32    of all before
"""

import struct
from binascii import crc32

from node.lorawan.actions import LorawanError
from node.lorawan.duty import quiet_ms
from node.lorawan.join import MAX_NONCE
from node.lorawan.region import CHANNELS
from node.lorawan.session import Session
from node.lorawan.uplink import MAX_FCNT
from node.wire.const import const

_MAGIC = b"LW"
_VERSION = const(1)
_ACTIVE = const(0x01)
_JOINING = const(0x02)
_NO_CERTIFICATION = const(0x04)

_HEAD = "<2sBB4sIiHBIIII"
_CREDIT = "<I"
# dev_addr, keys, fcnt_up, fcnt_limit, fcnt_down, age_s, rate, power, nb_trans, max_duty,
# rx1_offset, rx2_rate, rx_delay_s, rx2_hz, adr_count, adr_steps, ack, mask, channels
_SESSION = "<4s16s16sQQQIBBBBBBBIHHBHB"
_CHANNEL_BYTES = const(8)
_MAX_MS = const(0x3FFFFFFF)


def pack(mac, reserved: bool) -> bytes:
    """Return the memory of `mac`."""
    session = mac.session
    ledger = mac.ledger
    backoff = mac.backoff
    flags = (
        (_ACTIVE if session else 0)
        | (_JOINING if backoff.active else 0)
        | (_NO_CERTIFICATION if mac.certification.disabled else 0)
    )
    silence_ms = ledger.quiet_ms
    if reserved and session and session.max_duty:
        longest_us = mac.region.airtime_us(13 + mac.region.max_payload[session.rate], session.rate)
        silence_ms = max(silence_ms, quiet_ms(longest_us, session.max_duty))
    out = bytearray(
        struct.pack(
            _HEAD, _MAGIC, _VERSION, flags, mac.tag, mac.dev_nonce, mac.join_nonce,
            backoff.attempt, backoff.period, backoff.into_ms, backoff.spent_us, backoff.wait_ms,
            min(_MAX_MS, silence_ms),
        )
    )  # fmt: skip
    for credit in ledger.credit_us:
        out.extend(struct.pack(_CREDIT, 0 if reserved and session else credit))
    if session:
        _pack_session(session, reserved, out)
    return bytes(out) + struct.pack("<I", crc32(out))


def _pack_session(session, reserved: bool, out: bytearray) -> None:
    channels = [i for i in range(CHANNELS) if session.up_hz[i]]
    fcnt_up = max(session.fcnt_up, session.fcnt_limit if reserved else 0)
    adr_count = min(0xFFFF, session.adr_count + fcnt_up - session.fcnt_up)
    out.extend(
        struct.pack(
            _SESSION, session.dev_addr, session.nwk_key, session.app_key,
            fcnt_up, session.fcnt_limit, session.fcnt_down, session.age_s, session.rate,
            session.power, session.nb_trans, session.max_duty, session.rx1_offset, session.rx2_rate,
            session.rx_delay_s, session.rx2_hz, adr_count, session.adr_steps,
            session.ack, session.mask, len(channels),
        )
    )  # fmt: skip
    for i in channels:
        out.append(i)
        for hz in (session.up_hz[i], session.down_hz[i]):
            steps = hz // 100
            out.extend(bytes((steps & 0xFF, steps >> 8 & 0xFF, steps >> 16)))
        out.append(session.channel_rates[i])
    out.append(len(session.answers))
    out.extend(session.answers)


def unpack(data: bytes, mac) -> None:
    """Give `mac` its memory back; raise LorawanError "state" and change nothing when it is none.

    The memory of another identity leaves only its DevNonce: that may be used up whatever the key.
    """
    n = len(data)
    head = struct.calcsize(_HEAD)
    bands = len(mac.region.bands)
    at = head + 4 * bands
    if n < at + 4 or crc32(data[: n - 4]) != struct.unpack_from("<I", data, n - 4)[0]:
        raise LorawanError("state")
    (
        magic, version, flags, tag, dev_nonce, join_nonce,
        attempt, period, into_ms, spent_us, wait_ms, silence_ms,
    ) = struct.unpack_from(_HEAD, data)  # fmt: skip
    credit_us = [struct.unpack_from(_CREDIT, data, head + 4 * i)[0] for i in range(bands)]
    session = None
    if magic != _MAGIC or version != _VERSION or dev_nonce > MAX_NONCE + 1:
        raise LorawanError("state")
    if max(into_ms, spent_us, wait_ms, silence_ms) > _MAX_MS:
        raise LorawanError("state")
    if flags & _ACTIVE:
        session, at = _unpack_session(data, at, n - 4, mac)
    if at != n - 4:
        raise LorawanError("state")
    mac.dev_nonce = max(mac.dev_nonce, dev_nonce)
    mac.ledger.restore(credit_us, silence_ms)
    if tag == mac.tag:
        mac.join_nonce = join_nonce
        mac.certification.disabled = bool(flags & _NO_CERTIFICATION)
        mac.backoff.restore(bool(flags & _JOINING), attempt, period, into_ms, spent_us, wait_ms)
        if session:
            mac.activate(session)


def _unpack_session(data, at: int, end: int, mac):
    size = struct.calcsize(_SESSION)
    if at + size > end:
        raise LorawanError("state")
    row = struct.unpack_from(_SESSION, data, at)
    at += size
    region = mac.region
    session = Session(region, row[0], row[1], row[2])
    (
        session.fcnt_up, session.fcnt_limit, session.fcnt_down, session.age_s, session.rate,
        session.power, session.nb_trans, session.max_duty, session.rx1_offset, session.rx2_rate,
        session.rx_delay_s, session.rx2_hz, session.adr_count, session.adr_steps,
    ) = row[3:17]  # fmt: skip
    session.ack = bool(row[17])
    count = row[19]
    for i in range(CHANNELS):
        session.define(i, 0, 0)
    good = at + count * _CHANNEL_BYTES < end
    for _ in range(count if good else 0):
        index = data[at]
        up_hz = 100 * int.from_bytes(data[at + 1 : at + 4], "little")
        down_hz = 100 * int.from_bytes(data[at + 4 : at + 7], "little")
        rates = data[at + 7]
        at += _CHANNEL_BYTES
        if (
            index >= CHANNELS
            or region.band(up_hz) < 0
            or not region.hearable(down_hz)
            or not rates & 0x0F <= rates >> 4 < len(region.rates)
        ):
            good = False
            break
        session.define(index, up_hz, rates)
        session.down_hz[index] = down_hz
    if good:
        answers = at + 1
        at = answers + data[at]
        good = at <= end
        session.answers.extend(data[answers:at])
    session.mask = row[18] & session.defined()
    if not (
        good
        and max(session.fcnt_up, session.fcnt_limit, session.fcnt_down) <= MAX_FCNT + 1
        and session.rate < len(region.rates)
        and session.power < region.power_steps
        and 1 <= session.nb_trans <= 15
        and session.max_duty <= 15
        and session.rx1_offset <= region.max_rx1_offset
        and session.rx2_rate < len(region.rates)
        and 1 <= session.rx_delay_s <= 15
        and region.hearable(session.rx2_hz)
        and mac.commands.sound(session.answers)
        and session.usable(session.mask, session.rate)
    ):
        raise LorawanError("state")
    return session, at
