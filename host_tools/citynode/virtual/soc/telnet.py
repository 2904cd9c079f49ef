"""Telnet without I/O: commands, option negotiation, subnegotiation (RFC 854, 855, 856, 858).

Negotiation follows the state table of RFC 1143 without its queue: an option is asked for once, at
the start, so that an answer can never start a loop.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

IAC, DONT, DO, WONT, WILL, SB = 0xFF, 0xFE, 0xFD, 0xFC, 0xFB, 0xFA
AYT, BRK, SE = 0xF6, 0xF3, 0xF0
BINARY, ECHO, SUPPRESS_GO_AHEAD, COM_PORT = 0, 1, 3, 44

_SUBNEGOTIATION_LIMIT = 256  # bytes; a signature is the longest thing RFC 2217 sends
_CR, _NUL = 0x0D, 0x00


@dataclass(frozen=True)
class Data:
    """Bytes of the data stream."""

    data: bytes


@dataclass(frozen=True)
class Command:
    """A Telnet command without an argument, such as AYT or BRK."""

    code: int


@dataclass(frozen=True)
class Agreed:
    """An option came into force: on our side (`ours`) or on the peer's."""

    option: int
    ours: bool


@dataclass(frozen=True)
class Subnegotiation:
    """The payload of an option's subnegotiation, IAC doubling undone."""

    option: int
    payload: bytes


Event = Data | Command | Agreed | Subnegotiation


class _Side(Enum):
    NO = 0
    ASKED = 1
    YES = 2


class _Parse(Enum):
    DATA = 0
    IAC = 1
    OPTION = 2
    SUB = 3
    SUB_IAC = 4


class Telnet:
    """The server's end of one Telnet connection.

    `ours` and `theirs` are the options we are ready to use and to let the peer use; all of them
    are asked for at the start. Answers to the peer collect in `take_output`.
    """

    def __init__(self, ours: Iterable[int], theirs: Iterable[int]) -> None:
        self._ours = dict.fromkeys(ours, _Side.ASKED)
        self._theirs = dict.fromkeys(theirs, _Side.ASKED)
        self._output = bytearray()
        for option in self._theirs:
            self._output += bytes((IAC, DO, option))
        for option in self._ours:
            self._output += bytes((IAC, WILL, option))
        self._parse = _Parse.DATA
        self._verb = 0
        self._sub = bytearray()
        self._after_cr = False

    def in_force(self, option: int, *, ours: bool) -> bool:
        """Tell whether an option was agreed on for one side."""
        return (self._ours if ours else self._theirs).get(option) is _Side.YES

    def take_output(self) -> bytes:
        """Return what is to be sent to the peer, and forget it."""
        output = bytes(self._output)
        self._output.clear()
        return output

    @staticmethod
    def escape(data: bytes) -> bytes:
        """Return data as it goes on the connection.

        A peer that refused BINARY gets its eight bits all the same, as from other serial servers:
        CR is not padded with NUL, which no client of a serial port expects.
        """
        return data.replace(b"\xff", b"\xff\xff")

    def subnegotiate(self, option: int, payload: bytes) -> None:
        """Put a subnegotiation into the output."""
        self._output += bytes((IAC, SB, option)) + self.escape(payload) + bytes((IAC, SE))

    def send(self, raw: bytes) -> None:
        """Put bytes into the output as they are, in line with the answers."""
        self._output += raw

    def receive(self, data: bytes) -> Iterator[Event]:
        """Take bytes from the peer and yield what they say, in order; any bytes are taken.

        The iterator must be used up. It is one so that what its user answers to an event stands
        in the output before our answers to what comes after.
        """
        plain = bytearray()
        if self._parse is _Parse.DATA and IAC not in data and self._binary():
            if data:
                yield Data(data)
            return
        for byte in data:
            if self._parse is _Parse.DATA:
                if byte == IAC:
                    self._parse = _Parse.IAC
                elif not (byte == _NUL and self._after_cr and not self._binary()):
                    plain.append(byte)
                self._after_cr = byte == _CR
            elif self._parse is _Parse.IAC:
                self._parse = _Parse.DATA
                if byte == IAC:
                    plain.append(byte)
                else:
                    if plain:
                        yield Data(bytes(plain))
                        plain.clear()
                    yield from self._command(byte)
            elif self._parse is _Parse.OPTION:
                self._parse = _Parse.DATA
                yield from self._negotiate(byte)
            elif self._parse is _Parse.SUB:
                if byte == IAC:
                    self._parse = _Parse.SUB_IAC
                else:
                    self._grow(byte)
            elif byte == IAC:
                self._parse = _Parse.SUB
                self._grow(byte)
            else:
                # RFC 855 knows SE alone here; any other command means that the end was lost.
                self._parse = _Parse.DATA
                yield from self._end_of_sub() if byte == SE else self._command(byte)
        if plain:
            yield Data(bytes(plain))

    def _binary(self) -> bool:
        return self.in_force(BINARY, ours=False)

    def _command(self, code: int) -> list[Event]:
        if code in (WILL, WONT, DO, DONT):
            self._verb = code
            self._parse = _Parse.OPTION
            return []
        if code == SB:
            self._sub.clear()
            self._parse = _Parse.SUB
            return []
        return [Command(code)]

    def _grow(self, byte: int) -> None:
        # One byte past the limit marks it as too long; the rest is not kept.
        if len(self._sub) <= _SUBNEGOTIATION_LIMIT:
            self._sub.append(byte)

    def _end_of_sub(self) -> list[Event]:
        sub = bytes(self._sub)
        self._sub.clear()
        if not 0 < len(sub) <= _SUBNEGOTIATION_LIMIT:
            return []
        return [Subnegotiation(sub[0], sub[1:])]

    def _negotiate(self, option: int) -> list[Event]:
        ours = self._verb in (DO, DONT)
        wanted = self._verb in (DO, WILL)
        sides = self._ours if ours else self._theirs
        yes, no = (WILL, WONT) if ours else (DO, DONT)
        side = sides.get(option)
        if side is None:
            if wanted:
                self._output += bytes((IAC, no, option))
            return []
        if not wanted:
            if side is _Side.YES:
                self._output += bytes((IAC, no, option))
            sides[option] = _Side.NO
            return []
        if side is _Side.NO:
            self._output += bytes((IAC, yes, option))
        sides[option] = _Side.YES
        return [] if side is _Side.YES else [Agreed(option, ours)]
