"""The access server's end of RFC 2217 (Telnet Com Port Control Option), without I/O.

pyserial brings a server of its own (`serial.rfc2217.PortManager`). It is not used: it raises on a
short or unknown setting and on a stray `IAC SE`, leaves queries for DTR, RTS and break unanswered,
lets a subnegotiation grow without limit, asks the machine's clock, and filters byte by byte. Its
client is what this end is tested against.
"""

import struct
from dataclasses import dataclass, field, replace

from citynode.virtual.soc import telnet
from citynode.virtual.soc.telnet import BINARY, COM_PORT, ECHO, SUPPRESS_GO_AHEAD, Data, Telnet

# Client to server (RFC 2217 section 3); the server's number is 100 more.
SIGNATURE, SET_BAUDRATE, SET_DATASIZE, SET_PARITY, SET_STOPSIZE, SET_CONTROL = range(6)
NOTIFY_LINESTATE, NOTIFY_MODEMSTATE, SUSPEND, RESUME = range(6, 10)
SET_LINESTATE_MASK, SET_MODEMSTATE_MASK, PURGE_DATA = range(10, 13)
SERVER = 100

# Values of SET-CONTROL.
ASK_FLOW, ASK_BREAK, ASK_DTR, ASK_RTS, ASK_FLOW_IN = 0, 4, 7, 10, 13
BREAK_ON, BREAK_OFF, DTR_ON, DTR_OFF, RTS_ON, RTS_OFF = 5, 6, 8, 9, 11, 12
_FLOW = frozenset((1, 2, 3, 17, 19))
_FLOW_IN = frozenset((14, 15, 16, 18))

# Bits of the line state.
LINE_FRAMING_ERROR, LINE_OVERRUN, LINE_BREAK = 0x08, 0x02, 0x10
# Bits of the modem state; the low four tell what changed.
MODEM_CTS, MODEM_DSR, MODEM_RI, MODEM_CD = 0x10, 0x20, 0x40, 0x80

NO_PARITY, ODD, EVEN, MARK, SPACE = range(1, 6)
_BAUD_MIN, _BAUD_MAX = 50, 5_000_000
_NAME = b"citynode virtual board"


@dataclass(frozen=True)
class Settings:
    """How characters stand on the line; parity and stop bits in RFC 2217's numbers."""

    baud: int = 115_200
    data_bits: int = 8
    parity: int = NO_PARITY
    stop_bits: int = 1  # 3 means one and a half


@dataclass(frozen=True)
class Lines:
    """DTR and RTS as the client has set them; True is asserted (the pin is low)."""

    dtr: bool
    rts: bool


@dataclass(frozen=True)
class Break:
    """The transmit line is held in break, or no longer."""

    on: bool


@dataclass(frozen=True)
class Purge:
    """Data that waits is to be thrown away: `receive` towards the client, `transmit` from it."""

    receive: bool
    transmit: bool


@dataclass(frozen=True)
class Suspend:
    """The client asks for no more data (True), or for data again."""

    on: bool


Event = Data | Settings | Lines | Break | Purge | Suspend


@dataclass
class Rfc2217:
    """One connection of an RFC 2217 client.

    `receive` takes bytes and returns events; after it, and at the start, `take_output` has what is
    to be sent. Numbers out of range are answered with the value that stays in force, malformed
    requests are ignored.
    """

    settings: Settings = field(default_factory=Settings)
    lines: Lines = field(default_factory=lambda: Lines(dtr=False, rts=False))
    breaking: bool = False

    def __post_init__(self) -> None:
        self._telnet = Telnet(
            ours=(BINARY, ECHO, SUPPRESS_GO_AHEAD, COM_PORT),
            theirs=(BINARY, SUPPRESS_GO_AHEAD, COM_PORT),
        )
        self._flow, self._flow_in = 1, 14
        self._modem_state = 0
        self._told = False  # whether the client knows the modem state
        self._line_mask, self._modem_mask = 0, 0xFF

    def take_output(self) -> bytes:
        """Return what is to be sent to the client, and forget it."""
        return self._telnet.take_output()

    @staticmethod
    def escape(data: bytes) -> bytes:
        """Return data for the client as it goes on the connection."""
        return Telnet.escape(data)

    def set_modem_state(self, bits: int) -> None:
        """Tell the client of new levels of CTS, DSR, RI and CD, if it wants to know."""
        changed = (bits ^ self._modem_state) >> 4
        self._modem_state = bits & 0xF0
        if self._modem_mask & (changed | changed << 4):
            state = (self._modem_state | changed) & self._modem_mask
            self._answer(NOTIFY_MODEMSTATE, bytes([state]))

    def line_event(self, bits: int) -> None:
        """Tell the client of a framing error, an overrun or a break, if it wants to know."""
        if bits & self._line_mask:
            self._answer(NOTIFY_LINESTATE, bytes([bits & self._line_mask]))

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes from the client and return what they ask for, in order."""
        events: list[Event] = []
        for event in self._telnet.receive(data):
            if isinstance(event, Data):
                events.append(event)
            elif isinstance(event, telnet.Subnegotiation):
                # Without a look at the negotiation: pyserial's client takes our request for the
                # answer to its own when they cross, and then never says WILL.
                if event.option == COM_PORT and event.payload:
                    if not self._told:
                        self._told = True
                        self._answer(NOTIFY_MODEMSTATE, bytes([self._modem_state]))
                    events += self._com_port(event.payload[0], event.payload[1:])
            elif isinstance(event, telnet.Agreed):
                continue
            elif event.code == telnet.AYT:
                self._telnet.send(b"\r\n[" + _NAME + b"]\r\n")
            elif event.code == telnet.BRK:
                events += [Break(on=True), Break(on=False)]
        return events

    def _answer(self, code: int, value: bytes) -> None:
        self._telnet.subnegotiate(COM_PORT, bytes([SERVER + code]) + value)

    def _com_port(self, code: int, value: bytes) -> list[Event]:
        if code == SIGNATURE:
            if not value:
                self._answer(SIGNATURE, _NAME)
            return []
        if code in (SUSPEND, RESUME):
            return [Suspend(on=code == SUSPEND)]
        if code == SET_BAUDRATE:
            return self._set_baud(value)
        if not value:
            # pyserial's client may ask for the state with the number of the notification.
            if code == NOTIFY_MODEMSTATE:
                self._answer(code, bytes([self._modem_state]))
            elif code == NOTIFY_LINESTATE:
                self._answer(code, b"\0")
            return []
        number = value[0]
        if code in (SET_DATASIZE, SET_PARITY, SET_STOPSIZE):
            return self._set_framing(code, number)
        if code == SET_CONTROL:
            return self._control(number)
        if code == SET_LINESTATE_MASK:
            self._line_mask = number
            self._answer(code, value[:1])
        elif code == SET_MODEMSTATE_MASK:
            self._modem_mask = number
            self._answer(code, value[:1])
        elif code == PURGE_DATA and 1 <= number <= 3:
            self._answer(code, value[:1])
            return [Purge(receive=bool(number & 1), transmit=bool(number & 2))]
        return []

    def _set_baud(self, value: bytes) -> list[Event]:
        if len(value) < 4:
            return []
        (baud,) = struct.unpack_from(">I", value)
        before = self.settings
        if _BAUD_MIN <= baud <= _BAUD_MAX:
            self.settings = replace(before, baud=baud)
        self._answer(SET_BAUDRATE, struct.pack(">I", self.settings.baud))
        return [self.settings] if self.settings != before else []

    def _set_framing(self, code: int, number: int) -> list[Event]:
        before = self.settings
        if code == SET_DATASIZE:
            if 5 <= number <= 8:
                self.settings = replace(before, data_bits=number)
            now = self.settings.data_bits
        elif code == SET_PARITY:
            if NO_PARITY <= number <= SPACE:
                self.settings = replace(before, parity=number)
            now = self.settings.parity
        else:
            if 1 <= number <= 3:
                self.settings = replace(before, stop_bits=number)
            now = self.settings.stop_bits
        self._answer(code, bytes([now]))
        return [self.settings] if self.settings != before else []

    def _control(self, number: int) -> list[Event]:
        events: list[Event] = []
        if number in _FLOW:
            self._flow = number
        elif number in _FLOW_IN:
            self._flow_in = number
        elif number in (BREAK_ON, BREAK_OFF):
            self.breaking = number == BREAK_ON
            events.append(Break(self.breaking))
        elif number in (DTR_ON, DTR_OFF):
            self.lines = replace(self.lines, dtr=number == DTR_ON)
            events.append(self.lines)
        elif number in (RTS_ON, RTS_OFF):
            self.lines = replace(self.lines, rts=number == RTS_ON)
            events.append(self.lines)
        states = {
            ASK_FLOW: self._flow,
            ASK_FLOW_IN: self._flow_in,
            ASK_BREAK: BREAK_ON if self.breaking else BREAK_OFF,
            ASK_DTR: DTR_ON if self.lines.dtr else DTR_OFF,
            ASK_RTS: RTS_ON if self.lines.rts else RTS_OFF,
        }
        if number <= 19:
            self._answer(SET_CONTROL, bytes([states.get(number, number)]))
        return events
