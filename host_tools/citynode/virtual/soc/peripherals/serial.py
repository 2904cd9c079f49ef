"""UART and SPI controllers, and the lines and buses that a board has on their pins."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from citynode.virtual.soc.peripherals.pins import Host, Pins
from citynode.virtual.soc.rpc import HardwareError

_UARTS = {"esp32": 3, "esp32s3": 3, "esp32c3": 2}


class UartLine:
    """What is on a pair of UART pins (numbers as the chip sees them).

    `on_data` gets what the chip sends, with the speed; `send` gives the chip bytes, which are
    noise to it if the speeds differ.
    """

    def __init__(self, rx: int, tx: int, baud: int = 9600) -> None:
        self.rx = rx
        self.tx = tx
        self.baud = baud
        self.on_data: Callable[[bytes, int], None] = lambda data, baud: None
        self._port: _Port | None = None

    def bind(self, port: "_Port | None") -> None:
        """Lead the line to a controller (the controller's business)."""
        self._port = port

    def send(self, data: bytes) -> None:
        """Send to the chip."""
        if self._port is not None:
            self._port.receive(data, self.baud)


class _Port:
    """One controller that a program has opened."""

    def __init__(self, baud: int, limit: int, line: UartLine | None) -> None:
        self.baud = baud
        self.line = line
        self.buffer = bytearray()
        self._limit = limit
        if line is not None:
            line.bind(self)

    def receive(self, data: bytes, baud: int) -> None:
        """Take bytes off the line: what does not fit is lost, what is too fast is noise."""
        if abs(baud - self.baud) > self.baud * 0.03:
            data = bytes(byte ^ 0xFF for byte in data)
        self.buffer += data[: max(0, self._limit - len(self.buffer))]


class Uart:
    """`machine.UART` over the lines of the board."""

    def __init__(self, chip_id: str, lines: Sequence[UartLine] = ()) -> None:
        self.lines = tuple(lines)
        self._chip_id = chip_id
        self._ports: dict[int, _Port] = {}

    def attach(self, app: Host) -> None:
        """Answer the calls of `machine.UART`."""
        app.at_soft_reset(self.reset)
        app.expose("uart.count", lambda: _UARTS[self._chip_id])
        app.expose("uart.open", self._open)
        app.expose("uart.close", self._close)
        app.expose("uart.any", lambda number: len(self._port(number).buffer))
        app.expose("uart.read", self._read)
        app.expose("uart.write", self._write)

    def reset(self) -> None:
        """Close all controllers."""
        for number in list(self._ports):
            self._close(number)

    def _open(self, number: int, baud: int, rx: int, tx: int, limit: int) -> None:
        self._close(number)
        line = next((line for line in self.lines if (line.rx, line.tx) == (rx, tx)), None)
        self._ports[number] = _Port(baud, limit, line)

    def _close(self, number: int) -> None:
        port = self._ports.pop(number, None)
        if port is not None and port.line is not None:
            port.line.bind(None)

    def _port(self, number: int) -> _Port:
        port = self._ports.get(number)
        if port is None:
            raise HardwareError("OSError", "UART not initialised")
        return port

    def _read(self, number: int, count: int) -> bytes:
        port = self._port(number)
        data = bytes(port.buffer[:count])
        del port.buffer[:count]
        return data

    def _write(self, number: int, data: bytes) -> int:
        port = self._port(number)
        if port.line is not None:
            port.line.on_data(data, port.baud)
        return len(data)


class SpiDevice(Protocol):
    """A chip on an SPI bus, selected by a pin of its own."""

    def select(self) -> None:
        """Hear the select line fall."""
        ...

    def transfer(self, byte: int) -> int:
        """Take a byte and give one."""
        ...

    def deselect(self) -> None:
        """Hear the select line rise."""
        ...


def _select(device: SpiDevice, level: int) -> None:
    if level:
        device.deselect()
    else:
        device.select()


class SpiBus:
    """SCK, MOSI, MISO and the chips on them by the number of their select pin."""

    def __init__(
        self, pins: Pins, sck: int, mosi: int, miso: int, devices: dict[int, SpiDevice]
    ) -> None:
        self.pins = sck, mosi, miso
        self._pads = pins
        self._devices = devices
        for pin, device in devices.items():
            pins.watch(pin, partial(_select, device))

    def transfer(self, data: bytes) -> bytes:
        """Clock bytes through; a line that nobody drives reads as zeros."""
        selected = [
            device
            for pin, device in self._devices.items()
            if self._pads.is_output(pin) and not self._pads.level(pin)
        ]
        answer = bytearray()
        for byte in data:
            value = 0
            for device in selected:
                value |= device.transfer(byte)
            answer.append(value)
        return bytes(answer)


class Spi:
    """`machine.SPI` and `machine.SoftSPI`, which differ in nothing that a chip sees."""

    def __init__(self, buses: Sequence[SpiBus] = ()) -> None:
        self._buses = {bus.pins: bus for bus in buses}

    def attach(self, app: Host) -> None:
        """Answer the calls of `machine.SPI`."""
        app.expose("spi.transfer", self._transfer)

    def reset(self) -> None:
        """Nothing stays: the chips are not on the reset line."""

    def _transfer(self, sck: int, mosi: int, miso: int, data: bytes) -> bytes:
        bus = self._buses.get((sck, mosi, miso))
        return bytes(len(data)) if bus is None else bus.transfer(data)
