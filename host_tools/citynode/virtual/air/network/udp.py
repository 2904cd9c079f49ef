"""The network's door to real packet forwarders: the server's end of Semtech's UDP protocol."""

import contextlib
import socket
from collections.abc import Callable

from citynode.errors import CitynodeError
from citynode.virtual.air.network.gateways import Downlink, Heard
from citynode.virtual.air.network.server import Network
from citynode.virtual.air.semtech import (
    Datagram,
    Lora,
    PullAck,
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
from citynode.virtual.engine import Engine, Timer
from citynode.virtual.world.clock import NS

_RX_BYTES = 65_536
_US = 1000
_MASK = 0xFFFFFFFF
_MOST_GATEWAYS = 256
# A TX_ACK comes at once, or from a slow machine; before this the device does not send again.
_PATIENCE_NS = NS

Address = tuple[str, int]


class UdpAntenna:
    """A gateway that has sent something; `address` is where downlinks go once it asked for them."""

    def __init__(self, server: "SemtechServer", eui: bytes) -> None:
        self.eui = eui
        self.address: Address | None = None
        self.stat: Stat | None = None
        self._server = server

    def send(self, downlink: Downlink, done: Callable[[str | None], object]) -> None:
        """Ask it to send; `done` gets its TX_ACK, None where none comes in time."""
        if self.address is None:
            done("NO_ROUTE")
            return
        packet = TxPacket(
            freq_hz=downlink.freq_hz,
            rate=Lora(downlink.sf, downlink.bw_hz),
            payload=downlink.payload,
            tmst=(downlink.context + downlink.delay_ns) // _US & _MASK,
            power_dbm=downlink.power_dbm,
            iq_inverted=True,
            preamble=8,
            no_crc=True,
        )
        self._server.ask(self, packet, downlink.at_ns, done)


class SemtechServer:
    """Listens for gateways on a UDP port and makes them the network's own.

    Belongs to the engine's thread; `port` 0 takes a free one, `port` then tells which.
    """

    def __init__(
        self, engine: Engine, network: Network, host: str = "127.0.0.1", port: int = 1700
    ) -> None:
        self.host = host
        self.port = port
        self.antennas: dict[bytes, UdpAntenna] = {}
        self.on_gateway: Callable[[UdpAntenna], object] = lambda antenna: None
        self._engine = engine
        self._network = network
        self._rng = engine.rng("semtech server")
        self._pending: dict[int, tuple[bytes, Timer, Callable[[str | None], object]]] = {}
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Begin to listen; raises CitynodeError where the port is taken."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        try:
            self._socket.bind((self.host, self.port))
        except OSError as error:
            self.close()
            raise CitynodeError(
                f"cannot listen on UDP {self.host}:{self.port}: {error.strerror}",
                "end what has the port, or give --port another one",
            ) from error
        self.port = self._socket.getsockname()[1]
        self._engine.add_reader(self._socket, self._receive)

    def close(self) -> None:
        """Listen no more."""
        if self._socket is not None:
            self._engine.remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def ask(
        self,
        antenna: UdpAntenna,
        packet: TxPacket,
        at_ns: int,
        done: Callable[[str | None], object],
    ) -> None:
        """Send a PULL_RESP; a gateway of version 1 answers nothing, and then `done` gets None."""
        token = self._rng.getrandbits(16)
        while token in self._pending:
            token = token + 1 & 0xFFFF
        due_ns = at_ns + _PATIENCE_NS
        timer = self._engine.call_at(due_ns, self._answered, token, antenna.eui, None)
        self._pending[token] = antenna.eui, timer, done
        self._send(PullResp(token, packet), antenna.address)

    def _answered(self, token: int, eui: bytes, error: str | None) -> None:
        asked = self._pending.get(token)
        if asked is not None and asked[0] == eui:
            del self._pending[token]
            asked[1].cancel()
            asked[2](error)

    def _receive(self) -> None:
        while self._socket is not None:
            try:
                data, address = self._socket.recvfrom(_RX_BYTES)
                datagram = decode(data)
            except OSError:
                return
            except SemtechError:
                continue
            self._take(datagram, address)

    def _take(self, datagram: Datagram, address: Address) -> None:
        if not isinstance(datagram, PushData | PullData | TxAck):
            return
        antenna = self._antenna(datagram.eui)
        if antenna is None:
            return
        if isinstance(datagram, PushData):
            self._send(PushAck(datagram.token, datagram.version), address)
            antenna.stat = datagram.stat or antenna.stat
            for packet in datagram.packets:
                self._hear(antenna, packet)
        elif isinstance(datagram, PullData):
            antenna.address = address
            self._send(PullAck(datagram.token, datagram.version), address)
        else:
            self._answered(datagram.token, datagram.eui, datagram.error)

    def _antenna(self, eui: bytes) -> UdpAntenna | None:
        antenna = self.antennas.get(eui)
        if antenna is None and len(self.antennas) < _MOST_GATEWAYS:
            antenna = self.antennas[eui] = UdpAntenna(self, eui)
            self._network.antennas.append(antenna)
            self.on_gateway(antenna)
        return antenna

    def _hear(self, antenna: UdpAntenna, packet: RxPacket) -> None:
        rate = packet.rate
        if packet.crc != 1 or not isinstance(rate, Lora):
            return
        self._network.hear(
            Heard(
                antenna, packet.payload, packet.freq_hz, rate.sf, rate.bw_hz, rate.cr,
                packet.rssi_dbm, packet.snr_db, self._engine.clock.now_ns(), packet.tmst * _US,
            )
        )  # fmt: skip

    def _send(self, datagram: Datagram, address: Address | None) -> None:
        if self._socket is None or address is None:
            return
        with contextlib.suppress(OSError):  # a datagram is lost, as datagrams are
            self._socket.sendto(encode(datagram), address)
