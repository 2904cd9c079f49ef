"""The firmware's part of `test_weather_month.py`, on MicroPython: sampler, recorder, spool.

Time is virtual. What the driver does on the bus is asked of the host line by line, with the time
in microseconds: `w TIME ADDRESS BYTES`, `r TIME ADDRESS COUNT`, `m TIME ADDRESS REGISTER COUNT`.
The answer is hexadecimal, or `nack`. Each record goes out as the uplink would send it: `f FRAME`.
"""

import asyncio
import sys
from binascii import hexlify, unhexlify

import _clock
from node.core.config import Sensor
from node.core.sampler import Channel, Sampler
from node_bench import Node, Promise, cancelled, set_date


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


def run():
    """Sample from one Unix time to another: `… CHIP ADDRESS FROM TO INTERVAL`."""
    chip, *numbers = sys.argv[3:]
    address, first, last, interval = [int(number) for number in numbers]
    driver = __import__("node.sensors." + chip, None, None, ("DRIVER",)).DRIVER
    _clock.advance_us(10000000)
    set_date(first - 10)
    with Node() as node:
        node.clock.known = True
        node.log.level = 3
        sampler = Sampler(
            [Channel(driver, Sensor(0, chip, address, 0, 2))],
            Bus(),
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
