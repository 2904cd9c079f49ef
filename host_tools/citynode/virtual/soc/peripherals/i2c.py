"""The I2C controllers, and the bus with its chips and its faults.

A transfer is whole on the host; its time on the bus is not modelled, what happens on it is: who
acknowledges, what a line that is held low does to each kind of controller.
"""

from collections.abc import Sequence

from citynode.virtual.chips import I2CDevice
from citynode.virtual.soc.peripherals.pins import OPEN_DRAIN, PULL_UP, Host, Pins

ENODEV = 19
ETIMEDOUT = 116  # as the ESP32's C library counts
_CLOCKS = 9  # of a byte with its acknowledge


# (SCL, SDA) of each controller where a program gives none (MicroPython, machine_i2c.h).
_DEFAULT_PINS = {
    "esp32": ((18, 19), (25, 26)),
    "esp32s3": ((18, 19), (9, 8)),
    "esp32c3": ((18, 19),),
}


class I2CBus:
    """Two lines with pull-ups and chips on them; the methods below break it."""

    def __init__(self, pins: Pins, scl: int, sda: int, devices: Sequence[I2CDevice] = ()) -> None:
        self.scl = scl
        self.sda = sda
        self.devices = {device.address: device for device in devices}
        self._pins = pins
        self._held: set[str] = set()
        self._stuck_clocks = 0
        self._refusals: dict[int | None, int] = {}
        self._active: I2CDevice | None = None
        pins.connect(scl, self._scl_level, self._on_scl)
        pins.connect(sda, self._sda_level)

    # -- faults ---------------------------------------------------------------------------------

    def hold_low(self, line: str) -> None:
        """Short `line` ("scl" or "sda") to ground until `release`."""
        self._held.add(line)
        self._pins.changed(self.scl)
        self._pins.changed(self.sda)

    def release(self) -> None:
        """Take all shorts off the lines."""
        self._held.clear()
        self._pins.changed(self.scl)
        self._pins.changed(self.sda)

    def stick(self, clocks: int = _CLOCKS) -> None:
        """Have a chip that lost count of a byte hold SDA low for so many clocks more."""
        self._stuck_clocks = clocks
        self._pins.changed(self.sda)

    def refuse(self, count: int, address: int | None = None) -> None:
        """Have the next `count` addressings (of one chip, or of any) go unacknowledged."""
        self._refusals[address] = count

    # -- lines ----------------------------------------------------------------------------------

    def _scl_level(self) -> int:
        return 0 if "scl" in self._held else 1

    def _sda_level(self) -> int:
        return 0 if "sda" in self._held or self._stuck_clocks else 1

    def _on_scl(self, level: int) -> None:
        if level:
            self.clock(1)

    def clock(self, count: int) -> None:
        """Give clocks: a stuck chip counts them."""
        if self._stuck_clocks and "scl" not in self._held:
            self._stuck_clocks = max(0, self._stuck_clocks - count)
            self._pins.changed(self.sda)

    @property
    def scl_low(self) -> bool:
        """Whether the clock line cannot rise."""
        return not self._scl_level()

    @property
    def sda_low(self) -> bool:
        """Whether the data line cannot rise."""
        return not self._sda_level()

    # -- transfers ------------------------------------------------------------------------------

    def start(self, address: int, read: bool) -> bool:
        """Send START and an address; return whether a chip acknowledges."""
        for key in (address, None):
            if self._refusals.get(key, 0) > 0 and address in self.devices:
                self._refusals[key] -= 1
                return False
        device = self.devices.get(address)
        if device is not self._active:
            self.stop()
        if device is None or not device.begin(read):
            return False
        self._active = device
        return True

    def write(self, byte: int) -> bool:
        """Send a byte; return whether it is acknowledged."""
        return self._active is not None and self._active.write(byte)

    def read(self) -> int:
        """Read a byte; nobody there reads as ones."""
        return 0xFF if self._active is None else self._active.read()

    def stop(self) -> None:
        """Send STOP."""
        if self._active is not None:
            self._active.end()
            self._active = None


class I2C:
    """The controllers of a chip: `machine.I2C` and, by pins alone, `machine.SoftI2C`."""

    def __init__(self, pins: Pins, buses: Sequence[I2CBus]) -> None:
        self.buses = tuple(buses)
        self._pins = pins
        self._defaults = _DEFAULT_PINS[pins.chip.id]
        self._addressing: tuple[int, int] | None = None

    def attach(self, app: Host) -> None:
        """Answer the calls of `machine.I2C` and `machine.SoftI2C`."""
        app.expose("i2c.defaults", lambda: self._defaults)
        app.expose("i2c.open", self._open)
        app.expose("i2c.scan", self._scan)
        app.expose("i2c.write", self._write)
        app.expose("i2c.read", self._read)
        app.expose("i2c.write_read", self._write_read)
        app.expose("i2c.start", self._start)
        app.expose("i2c.stop", self._stop)
        app.expose("i2c.raw_write", self._raw_write)
        app.expose("i2c.raw_read", self._raw_read)

    def reset(self) -> None:
        """Let the bus go. Its chips keep what they have: they are not on the reset line."""
        for bus in self.buses:
            bus.stop()

    def _open(self, scl: int, sda: int) -> None:
        for pin in (scl, sda):
            self._pins.claim(pin, OPEN_DRAIN, PULL_UP)

    def _bus(self, scl: int, sda: int, soft: bool) -> I2CBus | None:
        """Return the bus on two pins, None if there is none; raise what a held line brings."""
        bus = next((bus for bus in self.buses if (bus.scl, bus.sda) == (scl, sda)), None)
        if bus is None:
            return None
        if bus.scl_low:
            raise OSError(ETIMEDOUT, "SCL is held low")
        if bus.sda_low and not soft:
            # The driver gives up and clocks the bus free for the next try (i2c_master_clear_bus).
            bus.clock(_CLOCKS)
            raise OSError(ETIMEDOUT, "SDA is held low")
        return bus

    def _scan(self, scl: int, sda: int, soft: bool) -> tuple[int, ...]:
        # 0000xxx and 1111xxx are reserved.
        found = []
        for address in range(0x08, 0x78):
            try:
                self._write(scl, sda, soft, address, b"", True)
            except OSError:
                continue
            found.append(address)
        return tuple(found)

    def _write(self, scl: int, sda: int, soft: bool, address: int, data: bytes, stop: bool) -> int:
        """Write and return the number of acknowledged bytes; raises OSError ENODEV, ETIMEDOUT."""
        bus = self._bus(scl, sda, soft)
        if bus is not None and bus.sda_low:
            # A bit-banged controller takes the low line for an acknowledge.
            bus.clock(_CLOCKS * (1 + len(data)))
            return len(data)
        if bus is None or not bus.start(address, False):
            if bus is not None:
                bus.stop()
            raise OSError(ENODEV, "no acknowledge")
        acks = 0
        for byte in data:
            if not bus.write(byte):
                break
            acks += 1
        if stop or acks < len(data):
            bus.stop()
        if acks < len(data) and not soft:
            raise OSError(ENODEV, "no acknowledge")
        return acks

    def _read(self, scl: int, sda: int, soft: bool, address: int, count: int, stop: bool) -> bytes:
        """Read; raises OSError ENODEV, ETIMEDOUT."""
        bus = self._bus(scl, sda, soft)
        if bus is not None and bus.sda_low:
            bus.clock(_CLOCKS * (1 + count))
            return bytes(count)
        if bus is None or not bus.start(address, True):
            if bus is not None:
                bus.stop()
            raise OSError(ENODEV, "no acknowledge")
        data = bytes(bus.read() for _ in range(count))
        if stop:
            bus.stop()
        return data

    def _write_read(
        self, scl: int, sda: int, soft: bool, address: int, data: bytes, count: int
    ) -> bytes:
        """Write, repeat the START and read, as `readfrom_mem` does."""
        self._write(scl, sda, soft, address, data, False)
        return self._read(scl, sda, soft, address, count, True)

    # -- SoftI2C's primitive operations ---------------------------------------------------------

    def _start(self, scl: int, sda: int) -> None:
        self._bus(scl, sda, True)
        self._addressing = scl, sda  # the next byte written is an address

    def _stop(self, scl: int, sda: int) -> None:
        bus = self._bus(scl, sda, True)
        self._addressing = None
        if bus is not None:
            bus.stop()

    def _raw_write(self, scl: int, sda: int, data: bytes) -> int:
        """Write bytes, the first after a START being the address; return the acknowledges."""
        bus = self._bus(scl, sda, True)
        acks = 0
        for byte in data:
            if bus is None:
                break
            if bus.sda_low:
                bus.clock(_CLOCKS)
                acknowledged = True
            elif self._addressing == (scl, sda):
                acknowledged = bus.start(byte >> 1, bool(byte & 1))
            else:
                acknowledged = bus.write(byte)
            self._addressing = None
            if not acknowledged:
                break
            acks += 1
        return acks

    def _raw_read(self, scl: int, sda: int, count: int) -> bytes:
        bus = self._bus(scl, sda, True)
        if bus is None:
            return b"\xff" * count
        return bytes(0 if bus.sda_low else bus.read() for _ in range(count))
