"""UART and SPI controllers, and the lines and buses that a board has on their pins."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from citynode.virtual.engine import Engine, Timer
from citynode.virtual.soc.peripherals.pins import Host, Pins
from citynode.virtual.soc.rpc import HardwareError
from citynode.virtual.world.clock import NS

CHANNEL = 400  # of the soft interrupts: this plus the controller's number
IRQ_RX, IRQ_BREAK, IRQ_RXIDLE = 1, 2, 0x1000
_IDLE_BITS, _IDLE_MIN_S = 20, 0.0005

_UARTS = {"esp32": 3, "esp32s3": 3, "esp32c3": 2}


class UartLine:
    """What is on a pair of UART pins (numbers as the chip sees them).

    `on_data` gets what the board sends, with the speed; `send` gives the board bytes, which are
    noise to it if the speeds differ. `spoil` has what becomes of the chip's bytes on their way.
    While it is `cut`, nothing gets through.
    """

    def __init__(self, rx: int, tx: int, baud: int = 9600) -> None:
        self.rx = rx
        self.tx = tx
        self.baud = baud
        self.on_data: Callable[[bytes, int], None] = lambda data, baud: None
        self.spoil: Callable[[bytes], bytes] = bytes
        self.cut = False
        self._port: _Port | None = None

    def bind(self, port: "_Port | None") -> None:
        """Lead the line to a controller (the controller's business)."""
        self._port = port

    def send(self, data: bytes) -> None:
        """Send to the board."""
        if self._port is not None and not self.cut:
            self._port.receive(self.spoil(data), self.baud)


class _Port:
    """One controller that a program has opened."""

    def __init__(self, baud: int, bits: int, limit: int, line: UartLine | None) -> None:
        self.baud = baud
        self.bits = bits
        self.line = line
        self.buffer = bytearray()
        self.busy_until_ns = 0
        self.on_data: Callable[[], None] = lambda: None
        self._limit = limit
        if line is not None:
            line.bind(self)

    def receive(self, data: bytes, baud: int) -> None:
        """Take bytes off the line: what does not fit is lost, what is too fast is noise."""
        if abs(baud - self.baud) > self.baud * 0.03:
            data = bytes(byte ^ 0xFF for byte in data)
        self.buffer += data[: max(0, self._limit - len(self.buffer))]
        self.on_data()


class Uart:
    """`machine.UART` over the lines of the board."""

    def __init__(self, engine: Engine, chip_id: str, lines: Sequence[UartLine] = ()) -> None:
        self.lines = tuple(lines)
        self._engine = engine
        self._chip_id = chip_id
        self._ports: dict[int, _Port] = {}
        self._triggers: dict[int, int] = {}
        self._idle: dict[int, Timer] = {}
        self._host: Host | None = None
        # Hears that there is more to read, for who waits without asking again.
        self.on_input: Callable[[], None] = lambda: None

    def attach(self, app: Host) -> None:
        """Answer the calls of `machine.UART`."""
        self._host = app
        app.at_soft_reset(self.reset)
        app.expose("uart.count", lambda: _UARTS[self._chip_id])
        app.expose("uart.open", self._open)
        app.expose("uart.close", self._close)
        app.expose("uart.any", lambda number: len(self._port(number).buffer))
        app.expose("uart.read", self._read)
        app.expose("uart.write", self._write)
        app.expose("uart.break", self._break)
        app.expose("uart.pending", lambda number: self._pending_us(self._port(number)))
        app.expose("uart.irq", self._irq)

    def reset(self) -> None:
        """Close all controllers."""
        self._triggers.clear()
        for number in list(self._ports):
            self._close(number)

    def _open(self, number: int, baud: int, bits: int, rx: int, tx: int, limit: int) -> None:
        self._close(number)
        line = next((line for line in self.lines if (line.rx, line.tx) == (rx, tx)), None)
        port = self._ports[number] = _Port(baud, bits, limit, line)
        port.on_data = partial(self._received, number)

    def _close(self, number: int) -> None:
        port = self._ports.pop(number, None)
        if port is not None and port.line is not None:
            port.line.bind(None)
        idle = self._idle.pop(number, None)
        if idle is not None:
            idle.cancel()

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
        """Send, and return the µs until the last bit is out; there it arrives."""
        port = self._port(number)
        self._occupy(port, len(data) * port.bits)
        if port.line is not None:
            self._engine.call_at(port.busy_until_ns, self._arrive, port.line, data, port.baud)
        return self._pending_us(port)

    def _arrive(self, line: UartLine, data: bytes, baud: int) -> None:
        if not line.cut:
            line.on_data(data, baud)

    def _break(self, number: int) -> int:
        """Hold the line low for a character and a half; return the µs that it takes."""
        port = self._port(number)
        self._occupy(port, port.bits * 5 // 2)
        return self._pending_us(port)

    def _occupy(self, port: _Port, bits: int) -> None:
        start = max(self._engine.clock.now_ns(), port.busy_until_ns)
        port.busy_until_ns = start + bits * NS // port.baud

    def _pending_us(self, port: _Port) -> int:
        return max(0, port.busy_until_ns - self._engine.clock.now_ns() + 999) // 1000

    # -- interrupts -----------------------------------------------------------------------------

    def _irq(self, number: int, trigger: int) -> None:
        self._triggers[number] = trigger

    def _received(self, number: int) -> None:
        self.on_input()
        trigger = self._triggers.get(number, 0)
        if trigger & IRQ_RX:
            self._post(number, IRQ_RX)
        if trigger & IRQ_RXIDLE:
            idle = self._idle.pop(number, None)
            if idle is not None:
                idle.cancel()
            wait_s = max(_IDLE_MIN_S, 2 * _IDLE_BITS / self._ports[number].baud)
            self._idle[number] = self._engine.call_later(wait_s, self._quiet, number)

    def _quiet(self, number: int) -> None:
        self._idle.pop(number, None)
        if self._triggers.get(number, 0) & IRQ_RXIDLE:
            self._post(number, IRQ_RXIDLE)

    def _post(self, number: int, flags: int) -> None:
        if self._host is not None:
            self._host.post_irq(CHANNEL + number, flags)


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
