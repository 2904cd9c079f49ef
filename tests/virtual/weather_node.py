"""The firmware's part of `test_weather_month.py`, on MicroPython: sampler, recorder, spool.

Time is virtual. What the driver does on the bus is asked of the host line by line, with the time
in microseconds: `w TIME ADDRESS BYTES`, `r TIME ADDRESS COUNT`, `m TIME ADDRESS REGISTER COUNT`.
What a counter has, and a voltage in mV, are asked for with `c TIME NAME`. The answer is in
hexadecimal, or `nack`. Each record goes out as the uplink would send it: `f FRAME`.
"""

import asyncio
import sys
from binascii import hexlify, unhexlify

import _clock
from node.core.channel import Channel
from node.core.config import Sensor
from node.core.sampler import Sampler
from node_bench import Node, Promise, cancelled, channel_on, set_date


def ask(line):
    sys.stdout.write(line + "\n")
    answer = sys.stdin.readline().strip()
    if answer == "nack":
        raise OSError(19)
    return unhexlify(answer)


class Bus:
    """The host's chip, as machine.I2C has it."""

    def writeto(self, address, data):
        ask(f"w {_clock.us()} {address} {hexlify(data).decode()}")

    def readfrom_into(self, address, buffer):
        buffer[:] = ask(f"r {_clock.us()} {address} {len(buffer)}")

    def writeto_mem(self, address, register, data):
        self.writeto(address, bytes((register,)) + bytes(data))

    def readfrom_mem_into(self, address, register, buffer):
        buffer[:] = ask(f"m {_clock.us()} {address} {register} {len(buffer)}")

    def recover(self):
        return True


class Counter:
    """A counter of the host's: `c TIME NAME`."""

    def __init__(self, name):
        self.name = name

    def value(self):
        return int.from_bytes(ask(f"c {_clock.us()} {self.name}"), "big")

    def read_uv(self):
        return 1000 * self.value()


def run():
    """Sample one chip: `… CHIP ADDRESS FROM TO INTERVAL` (Unix times)."""
    chip, address, *times = sys.argv[3:]
    driver = __import__("node.sensors." + chip, None, None, ("DRIVER",)).DRIVER
    sensor = Sensor(0, chip, int(address), 0, 2)
    sample(lambda clock: [channel_on(Bus(), sensor, driver, clock)], *times)


def mast():
    """Sample rain, wind and its direction: `… FROM TO INTERVAL`."""
    from node.sensors.anemometer import Anemometer
    from node.sensors.raingauge import RainGauge
    from node.sensors.windvane import WindVane

    def channels(clock):
        made = []
        for place, (driver, name, each) in enumerate(
            ((RainGauge, "rain", 0), (Anemometer, "wind", 0), (WindVane, "vane", 150))
        ):
            sensor = Sensor(place, name, 0, 0, 0)
            sensor.interval_s = each
            make = lambda driver=driver, name=name: driver(Counter(name), clock)  # noqa: E731
            made.append(Channel(sensor, driver.FIELDS, make, None, each == 0))
        return made

    sample(channels, *sys.argv[3:])


def sample(channels, first, last, interval):
    first, last, interval = int(first), int(last), int(interval)
    _clock.advance_us(10000000)
    set_date(first - 10)
    with Node() as node:
        node.clock.known = True
        node.log.level = 3
        sampler = Sampler(
            channels(node.clock),
            lambda: None,
            interval,
            node.recorder,
            node.clock,
            node.counters,
            node.log,
        )

        async def main():
            promise = Promise(node.clock)
            task = asyncio.create_task(sampler.run(promise))
            while node.unix_s() < last + 2:
                await node.clock.sleep_ms(1000 * interval)
                entry = node.spool.read()
                while entry is not None:
                    sys.stdout.write("f " + hexlify(node.recorder.frame(entry)).decode() + "\n")
                    node.spool.release(entry[0])
                    entry = node.spool.read()
            assert not task.done()
            await cancelled(task)
            assert promise.broken == []

        asyncio.run(main())
    sys.stdout.write("end\n")
