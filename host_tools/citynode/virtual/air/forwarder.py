"""A virtual gateway: a gateway of the air behind a socket, as Semtech's packet forwarder is.

The other end is a network server's (ChirpStack Gateway Bridge, The Things Stack, `network/udp.py`).
"""

import contextlib
import socket
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from citynode.errors import CitynodeError
from citynode.virtual.air import gps as gps_time
from citynode.virtual.air.frames import Frame, Modulation
from citynode.virtual.air.gateway import Gateway, Uplink
from citynode.virtual.air.jit import TX_JIT_US, JitQueue, Slot
from citynode.virtual.air.semtech import (
    Datagram,
    Lora,
    PullData,
    PullResp,
    PushAck,
    PushData,
    RxPacket,
    SemtechError,
    Stat,
    TxAck,
    TxPacket,
    decode,
    encode,
)
from citynode.virtual.engine import Engine

# global_conf.json of the forwarder for EU868: what it sends on, and with (dBm).
TX_LOW_HZ, TX_HIGH_HZ = 863_000_000, 870_000_000
TX_POWERS_DBM = (-6, -3, 0, 3, 6, 10, 11, 12, 13, 14, 16, 20, 23, 25, 26, 27)
# Its channels there: number, and the radio that hears it.
_CHANNELS = {
    868_100_000: (0, 1), 868_300_000: (1, 1), 868_500_000: (2, 1), 867_100_000: (3, 0),
    867_300_000: (4, 0), 867_500_000: (5, 0), 867_700_000: (6, 0), 867_900_000: (7, 0),
}  # fmt: skip
KEEPALIVE_S = 10.0
STAT_S = 30.0

_US = 1000
_MS = 1_000_000
_MASK = 0xFFFFFFFF
_MIN_PREAMBLE = 6
_PREAMBLE = 8
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RX_BYTES = 65_536
_UNANSWERED = 64  # datagrams whose acknowledgement is still waited for


@dataclass
class _Counts:
    """What `stat` tells of the time since the last one."""

    rx_ok: int = 0
    pushed: int = 0
    acknowledged: int = 0
    downlinks: int = 0
    tx: int = 0


class Forwarder:
    """Joins a gateway to a server.

    `eui` has 8 bytes; `counter` is where the concentrator's microseconds begin; with `gps` it knows
    the time and takes downlinks for a GPS time. `dropped` counts downlinks that it has accepted and
    not sent, as the one before was not over or this machine was late. Belongs to the engine's
    thread.
    """

    def __init__(
        self,
        engine: Engine,
        gateway: Gateway,
        server: tuple[str, int],
        eui: bytes,
        *,
        counter: int = 0,
        gps: bool = False,
        keepalive_s: float = KEEPALIVE_S,
        stat_s: float = STAT_S,
    ) -> None:
        self.gateway = gateway
        self.eui = eui
        self.dropped = 0
        self._engine = engine
        self._server = server
        self._counter = counter
        self._gps = gps
        self._keepalive_s = keepalive_s
        self._stat_s = stat_s
        self._rng = engine.rng(f"forwarder {eui.hex()}")
        self._queue = JitQueue()
        self._on_air: Frame | None = None
        self._counts = _Counts()
        self._crc_errors = 0
        self._tokens: deque[int] = deque(maxlen=_UNANSWERED)
        self._socket: socket.socket | None = None
        self._before = gateway.on_uplink
        gateway.on_uplink = self._hear

    def open(self) -> None:
        """Open the socket and begin; raises CitynodeError where the server has no address."""
        host, port = self._server
        try:
            family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
            self._socket = socket.socket(family, kind)
            self._socket.setblocking(False)
            self._socket.connect(address)
        except OSError as error:
            self.close()
            raise CitynodeError(
                f"no way to {host}:{port}: {error.strerror}", "give the server's HOST:PORT"
            ) from error
        self._engine.add_reader(self._socket, self._receive)
        self._keep_alive()
        self._engine.call_later(self._stat_s, self._tell_stat)

    def close(self) -> None:
        """Close the socket; what was accepted is still sent."""
        if self._socket is not None:
            self._engine.remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    # -- up -------------------------------------------------------------------------------------

    def _hear(self, uplink: Uplink) -> None:
        self._before(uplink)
        self._counts.rx_ok += 1
        unix_ns = self._engine.clock.unix_ns() - self._engine.clock.now_ns() + uplink.end_ns
        channel, radio = _CHANNELS.get(uplink.freq_hz, (0, 0))
        packet = RxPacket(
            tmst=self._counter_at(uplink.end_ns),
            freq_hz=uplink.freq_hz,
            rate=Lora(uplink.sf, uplink.bw_hz, uplink.cr),
            payload=uplink.payload,
            rssi_dbm=uplink.rssi_dbm,
            snr_db=uplink.snr_db,
            channel=channel,
            rf_chain=radio,
            time=f"{_date(unix_ns):%Y-%m-%dT%H:%M:%S.%fZ}" if self._gps else None,
            gps_ms=gps_time.from_unix(unix_ns) // _MS if self._gps else None,
        )
        self._push(PushData(self._token(), self.eui, (packet,)))

    def _push(self, datagram: PushData) -> None:
        self._counts.pushed += 1
        self._tokens.append(datagram.token)
        self._send(datagram)

    def _keep_alive(self) -> None:
        if self._socket is not None:
            self._send(PullData(self._token(), self.eui))
            self._engine.call_later(self._keepalive_s, self._keep_alive)

    def _tell_stat(self) -> None:
        if self._socket is None:
            return
        counts, self._counts = self._counts, _Counts()
        bad, self._crc_errors = self.gateway.crc_errors - self._crc_errors, self.gateway.crc_errors
        share = 100.0 * counts.acknowledged / counts.pushed if counts.pushed else 0.0
        stat = Stat(
            f"{_date(self._engine.clock.unix_ns()):%Y-%m-%d %H:%M:%S GMT}",
            counts.rx_ok + bad,
            counts.rx_ok,
            counts.rx_ok,
            share,
            counts.downlinks,
            counts.tx,
        )
        self._push(PushData(self._token(), self.eui, stat=stat))
        self._engine.call_later(self._stat_s, self._tell_stat)

    # -- down -----------------------------------------------------------------------------------

    def _receive(self) -> None:
        while self._socket is not None:
            try:
                datagram = decode(self._socket.recv(_RX_BYTES))
            except OSError:
                return  # there is no more, or nobody there (yet)
            except SemtechError:
                continue
            if isinstance(datagram, PushAck) and datagram.token in self._tokens:
                self._tokens.remove(datagram.token)
                self._counts.acknowledged += 1
            elif isinstance(datagram, PullResp):
                self._counts.downlinks += 1
                self._send(self._accept(datagram.token, datagram.packet))

    def _accept(self, token: int, packet: TxPacket) -> TxAck:
        """Queue a downlink; return what the server is told."""
        power = _power(packet)
        slot: Slot | str
        if not TX_LOW_HZ <= packet.freq_hz <= TX_HIGH_HZ:
            slot = "TX_FREQ"
        elif power is None:
            slot = "TX_POWER"
        elif not isinstance(packet.rate, Lora):
            return TxAck(token, self.eui, "TX_FREQ")  # the air carries no FSK
        else:
            slot = self._enqueue(packet, power)
        if isinstance(slot, str):
            return TxAck(token, self.eui, slot)
        if power != packet.power_dbm and packet.power_dbm is not None:
            return TxAck(token, self.eui, warning="TX_POWER", value=power)
        return TxAck(token, self.eui)

    def _enqueue(self, packet: TxPacket, power_dbm: int) -> Slot | str:
        modulation = _modulation(packet)
        now = self._engine.clock.now_ns()
        now_us = self._counter_at(now)
        airtime_us = -(-modulation.airtime_ns(len(packet.payload)) // _US)
        if packet.immediately:
            slot = self._queue.enqueue_soon(now_us, airtime_us)
        elif packet.tmst is not None:
            slot = self._queue.enqueue(now_us, packet.tmst, airtime_us)
        elif not self._gps:
            slot = "GPS_UNLOCKED"
        else:
            unix_ns = gps_time.to_unix((packet.gps_ms or 0) * _MS)
            start = now + unix_ns - self._engine.clock.unix_ns()
            slot = self._queue.enqueue(now_us, self._counter_at(start), airtime_us)
        if isinstance(slot, Slot):
            ahead_us = slot.start_us - now_us & _MASK
            at_ns = (now // _US + ahead_us) * _US
            call = partial(self._emit, slot, packet.payload, modulation, power_dbm, at_ns)
            self._engine.call_at(at_ns - TX_JIT_US * _US, call)
        return slot

    def _emit(
        self, slot: Slot, payload: bytes, modulation: Modulation, power_dbm: int, at_ns: int
    ) -> None:
        """Hand a packet to the concentrator, which has room for one."""
        self._queue.take(slot)
        now = self._engine.clock.now_ns()
        if self._on_air is not None and now < self._on_air.end_ns:
            self.dropped += 1
            return
        try:
            self._on_air = self.gateway.send(
                payload,
                at_ns=at_ns,
                freq_hz=modulation.freq_hz,
                sf=modulation.sf,
                bw_hz=modulation.bw_hz,
                power_dbm=float(power_dbm),
                cr=modulation.cr,
                preamble=modulation.preamble,
                iq_inverted=modulation.iq_inverted,
                crc=modulation.crc,
            )
        except ValueError:  # this machine was late
            self.dropped += 1
        else:
            self._counts.tx += 1

    # -- small things ---------------------------------------------------------------------------

    def _counter_at(self, ns: int) -> int:
        return ns // _US + self._counter & _MASK

    def _token(self) -> int:
        return self._rng.getrandbits(16)

    def _send(self, datagram: Datagram) -> None:
        if self._socket is None:
            return
        with contextlib.suppress(OSError):  # a datagram is lost, as datagrams are
            self._socket.send(encode(datagram))


def _date(unix_ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=unix_ns // _US)


def _power(packet: TxPacket) -> int | None:
    """Return the greatest power of the table that is not above what is wanted."""
    wanted = TX_POWERS_DBM[-1] if packet.power_dbm is None else packet.power_dbm
    return max((power for power in TX_POWERS_DBM if power <= wanted), default=None)


def _modulation(packet: TxPacket) -> Modulation:
    rate = packet.rate
    if not isinstance(rate, Lora):
        raise TypeError(rate)
    return Modulation(
        packet.freq_hz,
        rate.sf,
        rate.bw_hz,
        cr=rate.cr,
        preamble=_PREAMBLE if packet.preamble is None else max(packet.preamble, _MIN_PREAMBLE),
        iq_inverted=packet.iq_inverted,
        crc=not packet.no_crc,
    )
