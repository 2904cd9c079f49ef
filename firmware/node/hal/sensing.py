"""What a node measures with, out of the configuration.

What only the hardware can find wrong there adds to the configuration's faults like all the rest.
"""

import time

import machine

from node.core.channel import Channel
from node.hal.bus import Bus, NoBus
from node.sensors.pulses import Debounced
from node.wire.cbor import UNDEFINED
from node.wire.const import const

_RX_BYTES = const(256)
_DIVIDER_MS = const(5)  # until a switched divider has charged what is behind it


class Wiring:
    """The buses and pins of the board, opened when the first sensor asks for them."""

    def __init__(self, config, clock) -> None:
        self._config = config
        self._clock = clock
        self._buses: list = [None, None]

    def bus(self, number: int):
        """Return the I2C bus 1 or 2; one that cannot be is a fault of the configuration."""
        bus = self._buses[number - 1]
        if bus is None:
            bus = self._buses[number - 1] = self._bus(number)
        return bus

    def _bus(self, number: int):
        config = self._config
        name = "i2c2" if number == 2 else "i2c"
        pins = config.i2c2 if number == 2 else config.i2c
        if pins is None:
            return NoBus()
        try:
            return Bus(number - 1, *pins)
        except (ValueError, OSError):
            config.faults.append("board." + name)
            return NoBus()

    def uart(self, number: int, baud: int):
        """Return the serial port 1 or 2; ValueError, OSError or IndexError where it cannot be."""
        rx, tx = self._config.uarts[number - 1]
        return machine.UART(number, baud, rx=rx, tx=tx, timeout=0, rxbuf=_RX_BYTES)

    def maker(self, driver, sensor):
        """Return a function that makes the driver of a sensor, as its `BUS` says."""
        clock, options = self._clock, sensor.options
        kind = driver.BUS
        if kind == "i2c":
            bus = self.bus(sensor.bus)
            return lambda: driver(bus, sensor.address, clock, **options)
        if kind == "uart":
            if sensor.switch is not None:
                options = dict(options)
                options["switch"] = machine.Pin(sensor.switch, machine.Pin.OUT, value=1)
            # The port stays open: what a driver made anew finds in it belongs to the sensor.
            port = self.uart(sensor.uart, driver.BAUD)
            return lambda: driver(port, clock, **options)
        if kind == "onewire":
            import onewire

            way = onewire.OneWire(machine.Pin(sensor.pin))
        elif kind == "adc":
            way = _adc(sensor.pin)
        else:
            way = machine.Pin(sensor.pin, machine.Pin.IN, machine.Pin.PULL_UP)
            if kind == "pulses":
                way = Debounced(way, clock, driver.DEAD_MS, driver.BOTH_EDGES)
        return lambda: driver(way, clock, **options)


def channels_of(config, wiring) -> list:
    """Return the sensors."""
    channels = []
    for sensor in config.sensors:
        path = "sensors[%d]." % sensor.place
        name = "node.sensors." + sensor.chip
        try:
            driver = __import__(name, None, None, ("DRIVER",)).DRIVER
            fields = driver.FIELDS
        except (ImportError, AttributeError):
            config.faults.append(path + "chip")
            continue
        if not _is_wired(driver.BUS, sensor):
            config.faults.append(path + driver.BUS)
            continue
        try:
            make = wiring.maker(driver, sensor)
        except (ValueError, OSError, IndexError):
            config.faults.append(path + driver.BUS)
            continue
        recover = wiring.bus(sensor.bus).recover if driver.BUS == "i2c" else None
        early = driver.BUS == "pulses" or hasattr(driver, "WARM_UP_MS")
        channels.append(Channel(sensor, fields, make, recover, early))
    return channels


def _is_wired(kind: str, sensor) -> bool:
    if kind == "i2c":
        return sensor.address > 0
    return sensor.uart > 0 if kind == "uart" else sensor.pin is not None


def _adc(pin: int):
    return machine.ADC(machine.Pin(pin), atten=machine.ADC.ATTN_11DB)


def volts_of(config, name: str, divider):
    """Return a function that gives the voltage before a divider, None where it is not measured.

    `divider` is the configuration's (pin, ratio, switch, level).
    """
    if divider is None:
        return lambda: None
    pin, ratio, switch, level = divider
    try:
        adc = _adc(pin)
        gate = None if switch is None else machine.Pin(switch, machine.Pin.OUT, value=1 - level)
    except (ValueError, OSError):
        config.faults.append("board." + name)
        return lambda: None

    def volts():
        try:
            if gate is None:
                return adc.read_uv() * ratio / 1000000
            gate.value(level)
            time.sleep_ms(_DIVIDER_MS)
            try:
                return adc.read_uv() * ratio / 1000000
            finally:
                gate.value(1 - level)
        except OSError:
            return UNDEFINED  # the second ADC belongs to the WiFi while that is on

    return volts
