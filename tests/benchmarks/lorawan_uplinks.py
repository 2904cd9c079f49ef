"""Runs on a board in the place of `main.py`: uplinks through modem and MAC without a radio.

Each is built, accounted for, and given up after two empty windows. What they allocate is never
collected in between, or it would not be seen.
"""

import asyncio
import gc
import json

from node.core import modem as modem_module
from node.core.modem import Modem
from node.core.quiet import Quiet
from node.hal.lorawan import _aes, _below
from node.lorawan.mac import Mac
from node.lorawan.session import Session
from node.lorawan.settings import Settings

PAYLOAD = bytes(30)
FOR_A_LOOK = 10  # uplinks


class Uncollected:
    """In the place of `gc` for the modem."""

    @staticmethod
    def collect():
        pass


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


class Radio:
    MAX_SYMBOLS = 248

    def __init__(self, clock):
        self._clock = clock

    def sleep(self):
        pass

    async def transmit(self, payload, freq_hz, sf, bw_khz, power_dbm):
        self._clock.us += 60000
        return self._clock.ticks_us()

    async def receive(self, open_at_us, freq_hz, sf, bw_khz, symbols):
        self._clock.us += 500000


class Sessions:
    def save(self, state, nonce, unix_s):
        pass


class Log:
    def info(self, tag, text):
        pass

    warning = error = info


class Progress:
    def within(self, ms):
        pass


async def main():
    with open("/count") as file:
        count = int(file.read())
    clock = Clock()
    mac = Mac(bytes(8), bytes(8), bytes(16), _aes, _below, Settings(adr=False))
    session = Session(mac.region, b"\x01\x02\x03\x04", bytes(16), bytes(range(16)))
    session.rate = 5
    mac.activate(session)
    modem = Modem(mac, lambda: Radio(clock), Sessions(), Quiet(clock), clock, Log())
    progress = Progress()
    modem_module.gc = Uncollected
    sent = allocated = 0
    print("start")
    while sent < count:
        gc.collect()
        gc.disable()
        free = gc.mem_free()
        for _ in range(FOR_A_LOOK):
            clock.us += 300000000
            (event,) = await modem.send(progress, 1, PAYLOAD)
            sent += event.transmissions
        allocated += free - gc.mem_free()
        gc.enable()
    print("end", json.dumps({"sent": sent, "allocated": allocated, "payload": len(PAYLOAD)}))


asyncio.run(main())
