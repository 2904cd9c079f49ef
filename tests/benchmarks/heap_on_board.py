"""Runs on a board in the place of `main.py`: what the node takes of the heap, as lines of JSON.

The objects are those of `hal.compose`; time, the sensor's bus and the broker are arguments, so
that a month of five-minute samples takes a minute.
"""

import asyncio
import gc
import json
import sys


def told(**values):
    print("heap: " + json.dumps(values))


input()  # someone listens
gc.collect()
before = gc.mem_alloc(), gc.mem_free()
import node.hal.compose  # noqa: E402
import node.hal.wifi  # noqa: E402, F401

gc.collect()
told(imported=gc.mem_alloc() - before[0], free_before=before[1], free=gc.mem_free())

from node.core.channel import Channel  # noqa: E402
from node.core.config import Sensor  # noqa: E402
from node.core.counters import Counters  # noqa: E402
from node.core.crumb import Crumb  # noqa: E402
from node.core.log import Log  # noqa: E402
from node.core.record import Recorder  # noqa: E402
from node.core.sampler import Sampler  # noqa: E402
from node.core.spool import Spool  # noqa: E402
from node.core.state import State  # noqa: E402
from node.core.uplink import Uplink  # noqa: E402
from node.net.mqtt import Mqtt  # noqa: E402
from node.sensors.bme280 import BME280  # noqa: E402

INTERVAL_S = 300
SAMPLES = 10000
MARKS = (100, 1000, 2500, 5000, 7500, 10000)


class Changed:
    """In the place of the clock's Event: nobody sets the clock, and the wait is over at once."""

    def __init__(self, clock):
        self._clock = clock

    def clear(self):
        pass

    async def wait(self):
        # No time goes by while a record is on its way: the broker is quick.
        while spool.pending:
            await asyncio.sleep_ms(0)
        self._clock.ms += 1000 * INTERVAL_S
        raise asyncio.TimeoutError  # noqa: UP041


class Clock:
    """Time that goes on as it is waited for."""

    known = True

    def __init__(self):
        self.ms = 1717200000000
        self.changed = Changed(self)

    def ticks_ms(self):
        return self.ms & 0x3FFFFFFF

    @staticmethod
    def ticks_diff(a, b):
        return a - b

    def uptime_ms(self):
        return self.ms

    unix_ms = uptime_ms

    def wait_ms(self, ms):
        self.ms += ms

    async def sleep_ms(self, ms):
        self.ms += ms
        await asyncio.sleep_ms(0)


class Bus:
    """A BME280 that is always ready: its registers."""

    def __init__(self):
        self._cells = bytearray(256)
        self._cells[0xD0] = 0x60
        words = "706b436718fc7d8e43d6d00b270b8c00f9ff8c3cf8c67017004b"
        self._cells[0x88:0xA2] = bytes.fromhex(words)
        self._cells[0xE1:0xE8] = bytes.fromhex("6901001329031e")
        self._number = 0

    def writeto_mem(self, address, register, data):
        if register == 0xF4:
            self._number += 1
            self._cells[0xF7:0xFF] = bytes.fromhex("655ac07eed007530")
            self._cells[0xF8] = self._number & 0xFF
            self._cells[0xFB] = self._number >> 3 & 0xFF

    def readfrom_mem_into(self, address, register, buffer):
        memoryview(buffer)[:] = memoryview(self._cells)[register : register + len(buffer)]


class Stream:
    """A broker that acknowledges all at once."""

    def __init__(self):
        self.got = 0
        self._answers = b"\x20\x02\x00\x00"
        self._ready = asyncio.Event()

    async def read(self, n):
        while not self._answers:
            self._ready.clear()
            await self._ready.wait()
        data, self._answers = self._answers[:n], self._answers[n:]
        return data

    async def write(self, data):
        if data[0] & 0xF0 == 0x30:
            self.got += 1
            at = 4 + data[3]
            self._answers += b"\x40\x02" + data[at : at + 2]
        elif data[0] == 0xC0:
            self._answers += b"\xd0\x00"
        self._ready.set()

    def close(self):
        pass


class Link:
    def __init__(self):
        self.up = asyncio.Event()
        self.up.set()


class Progress:
    def within(self, ms):
        pass


async def main():
    global spool
    clock, counters, stream = Clock(), Counters(), Stream()
    memory = bytearray()
    crumb = Crumb(lambda: memory, lambda data: None)
    log = Log(lambda text: None, clock)
    state = State("/spool/state")
    spool = Spool("/spool", 65536, state, lambda: 1)
    recorder = Recorder(spool, state, clock, crumb, counters, log)
    bus = Bus()
    make = lambda: BME280(bus, 0x76, clock)  # noqa: E731
    channels = [Channel(Sensor(0, "bme280", 0x76, 0, 2), BME280.FIELDS, make)]
    sampler = Sampler(channels, lambda: 3.7, INTERVAL_S, recorder, clock, counters, log)

    async def open_stream():
        return stream

    mqtt = Mqtt(open_stream, "n1", None, None, 65535, "status", clock, recorder.accepted)
    uplink = Uplink(mqtt, "up", spool, recorder, Link(), False, clock, lambda: 0.5, counters, log)
    tasks = [asyncio.create_task(each.run(Progress())) for each in (uplink, sampler)]
    for samples in MARKS:
        while spool.next_seq < samples:
            await asyncio.sleep_ms(1)
        gc.collect()
        told(samples=spool.next_seq, free=gc.mem_free(), delivered=stream.got - 1)
    for task in tasks:
        task.cancel()
    told(
        lorawan="node.hal.lorawan" in sys.modules,
        dropped=counters.dropped,
        lost=counters.lost,
        faults=counters.sensor_faults,
        reconnects=counters.broker_reconnects,
        end=True,
    )


asyncio.run(main())
