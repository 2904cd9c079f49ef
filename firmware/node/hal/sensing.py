"""What a node measures with, out of the configuration.

What only the hardware can find wrong there adds to the configuration's faults like all the rest.
"""

import machine

from node.core.sampler import Channel
from node.hal.bus import Bus, NoBus
from node.wire.cbor import UNDEFINED


def bus_of(config):
    """Return the bus that the sensors are on."""
    if config.i2c is None:
        return NoBus()
    try:
        return Bus(*config.i2c)
    except (ValueError, OSError):
        config.faults.append("board.i2c")
        return NoBus()


def channels_of(config) -> list:
    """Return the sensors."""
    channels = []
    for sensor in config.sensors:
        name = "node.sensors." + sensor.chip
        try:
            driver = __import__(name, None, None, ("DRIVER",)).DRIVER
        except (ImportError, AttributeError):
            config.faults.append("sensors[%d].chip" % sensor.place)
            continue
        channels.append(Channel(driver, sensor))
    return channels


def battery_of(config):
    """Return a function that gives the battery's voltage, None where it is not measured."""
    if config.battery is None:
        return lambda: None
    pin, ratio = config.battery
    try:
        adc = machine.ADC(machine.Pin(pin), atten=machine.ADC.ATTN_11DB)
    except (ValueError, OSError):
        config.faults.append("board.battery")
        return lambda: None

    def volts():
        try:
            return adc.read_uv() * ratio / 1000000
        except OSError:
            return UNDEFINED  # the second ADC belongs to the WiFi while that is on

    return volts
