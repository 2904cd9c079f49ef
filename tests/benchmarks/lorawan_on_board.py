"""Runs on a board in the place of `main.py`: the heap of a node with LoRaWAN, as lines of JSON.

The objects are those of `hal.lorawan`; radio and time are arguments. Nobody answers: the session
is made up, and each uplink goes through all of the MAC with both of its windows.
"""

import asyncio
import gc
import json


def told(**values):
    print("heap: " + json.dumps(values))


input()  # someone listens
gc.collect()
before = gc.mem_alloc(), gc.mem_free()
import node.hal.compose  # noqa: E402
import node.hal.lorawan  # noqa: E402
import node.radio.sx126x  # noqa: E402, F401

gc.collect()
told(imported=gc.mem_alloc() - before[0], free_before=before[1], free=gc.mem_free())

import sys  # noqa: E402

from node.core.modem import Modem  # noqa: E402
from node.core.quiet import Quiet  # noqa: E402
from node.hal.lorawan import _aes, _below  # noqa: E402
from node.lorawan.mac import Mac  # noqa: E402
from node.lorawan.session import Session  # noqa: E402
from node.lorawan.settings import Settings  # noqa: E402

MARKS = (100, 500, 1000, 2000)


class Clock:
    """Time that goes on as it is waited for."""

    known = True

    def __init__(self):
        self.us = 0

    def uptime_ms(self):
        return self.us // 1000

    unix_ms = uptime_ms

    def ticks_us(self):
        return self.us & 0x3FFFFFFF

    @staticmethod
    def ticks_add(a, b):
        return (a + b) & 0x3FFFFFFF

    @staticmethod
    def ticks_diff(a, b):
        return ((a - b + 0x20000000) & 0x3FFFFFFF) - 0x20000000

    async def sleep_ms(self, ms):
        self.us += 1000 * ms
        await asyncio.sleep_ms(0)


class Radio:
    MAX_SYMBOLS = 248

    def __init__(self, clock):
        self._clock = clock

    def sleep(self):
        pass

    async def transmit(self, payload, freq_hz, sf, bw_khz, power_dbm):
        await self._clock.sleep_ms(60)
        return self._clock.ticks_us()

    async def receive(self, open_at_us, freq_hz, sf, bw_khz, symbols):
        await self._clock.sleep_ms(1000)


class Sessions:
    saved = 0

    def save(self, state, nonce, unix_s):
        self.saved += 1


class Log:
    def info(self, tag, text):
        pass

    warning = error = info


class Progress:
    def within(self, ms):
        pass


async def main():
    clock, sessions = Clock(), Sessions()
    settings = Settings(adr=False)
    mac = Mac(bytes(8), bytes(8), bytes(16), _aes, _below, settings)
    session = Session(mac.region, b"\x01\x02\x03\x04", bytes(16), bytes(range(16)))
    session.rate = 5
    mac.activate(session)
    modem = Modem(mac, lambda: Radio(clock), sessions, Quiet(clock), clock, Log())
    payload = bytes(30)
    sent = 0
    for mark in MARKS:
        while sent < mark:
            clock.us += 300000000
            (event,) = await modem.send(Progress(), 1, payload)
            sent += event.transmissions
        gc.collect()
        told(samples=sent, free=gc.mem_free())
    told(end=True, saved=sessions.saved, wifi="node.hal.wifi" in sys.modules)


asyncio.run(main())
