"""The certification protocol of TS009 on FPort 224: what a test laboratory makes a device do.

It is off unless the settings turn it on, and a laboratory can turn it off for good.
"""

from node.lorawan.actions import Certify
from node.lorawan.commands import DEVICE_TIME, LINK_CHECK
from node.wire.const import const

PORT = const(224)

_PACKAGE = const(6)
_PACKAGE_VERSION = const(1)
_LORAWAN = b"\x01\x00\x04\x00"
_REGIONAL = b"\x02\x01\x00\x04"

_ANY = const(-1)
_PERIODS_MS = (0, 5000, 10000, 20000, 30000, 40000, 50000, 60000, 120000, 240000, 480000)


class Certification:
    """The device under test. `answer` waits to be sent on PORT with the next uplink.

    `confirmed` is the type that all uplinks shall have, None where the laboratory does not mind.
    """

    def __init__(self, settings, commands, ledger) -> None:
        self._settings = settings
        self._commands = commands
        self._ledger = ledger
        self.disabled = False
        self.confirmed = None
        self.answer = b""
        self._count = 0
        self._rows = {
            0x00: (1, self._package_version),
            0x01: (1, self._reset),
            0x02: (1, self._join),
            0x04: (2, self._adr),
            0x05: (2, self._duty_cycle),
            0x06: (2, self._periodicity),
            0x07: (_ANY, self._frames_control),
            0x08: (_ANY, self._echo),
            0x09: (1, self._rx_count),
            0x0A: (1, self._reset_rx_count),
            0x20: (1, self._link_check),
            0x21: (1, self._device_time),
            0x7D: (7, self._continuous_wave),
            0x7E: (1, self._disable),
            0x7F: (1, self._versions),
        }

    @property
    def on(self) -> bool:
        """Whether the protocol is spoken."""
        return self._settings.certification and not self.disabled

    def count(self) -> None:
        """A downlink for the application, or an acknowledgement, was heard."""
        self._count = (self._count + 1) & 0xFFFF

    def run(self, data: bytes, out: list) -> None:
        """Obey a payload of PORT; tell in `out` what the application has to do."""
        row = self._rows.get(data[0]) if data else None
        if row is not None and row[0] in (len(data), _ANY):
            row[1](data, out)

    def _package_version(self, data: bytes, out: list) -> None:
        self.answer = bytes((0x00, _PACKAGE, _PACKAGE_VERSION))

    def _reset(self, data: bytes, out: list) -> None:
        out.append(Certify("reset", None))

    def _join(self, data: bytes, out: list) -> None:
        out.append(Certify("join", None))

    def _adr(self, data: bytes, out: list) -> None:
        self._commands.adr = data[1] != 0

    def _duty_cycle(self, data: bytes, out: list) -> None:
        self._ledger.enabled = data[1] != 0

    def _periodicity(self, data: bytes, out: list) -> None:
        if data[1] < len(_PERIODS_MS):
            out.append(Certify("period_ms", _PERIODS_MS[data[1]]))

    def _frames_control(self, data: bytes, out: list) -> None:
        if len(data) > 1 and data[1] in (1, 2):
            self.confirmed = data[1] == 2

    def _echo(self, data: bytes, out: list) -> None:
        self.answer = bytes([0x08] + [(data[i] + 1) & 0xFF for i in range(1, len(data))])

    def _rx_count(self, data: bytes, out: list) -> None:
        self.answer = bytes((0x09, self._count & 0xFF, self._count >> 8))

    def _reset_rx_count(self, data: bytes, out: list) -> None:
        self._count = 0

    def _link_check(self, data: bytes, out: list) -> None:
        self._commands.want(LINK_CHECK)

    def _device_time(self, data: bytes, out: list) -> None:
        self._commands.want(DEVICE_TIME)

    def _continuous_wave(self, data: bytes, out: list) -> None:
        seconds = data[1] | data[2] << 8
        hz = 100 * (data[3] | data[4] << 8 | data[5] << 16)
        out.append(Certify("cw", (seconds, hz, data[6])))

    def _disable(self, data: bytes, out: list) -> None:
        self.disabled = True
        self.confirmed = None
        self._ledger.enabled = True
        self._commands.adr = self._settings.adr
        # What the application does for the laboratory ends with a restart.
        out.append(Certify("reset", None))

    def _versions(self, data: bytes, out: list) -> None:
        self.answer = b"\x7f" + self._settings.version + _LORAWAN + _REGIONAL
