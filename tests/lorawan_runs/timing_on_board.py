"""Runs on a board in the place of `main.py`: an uplink for each case, and whether it was answered.

Modem, MAC and driver are the node's; the session is made up. `/cases.json` has the cases: data rate
of uplink and RX2, RX1's delay in seconds, and the clock error that is configured.
"""

import asyncio
import json

from node.core import config as config_file
from node.core.clock import Clock
from node.core.modem import Modem
from node.core.quiet import Quiet
from node.hal.lorawan import _aes, _below, _maker
from node.lorawan.actions import Sent
from node.lorawan.mac import Mac
from node.lorawan.session import Session
from node.lorawan.settings import Settings

PAUSE_MS, PHASES_MS = 4000, 37  # the last answer, which was not heard, is over by then


class Sessions:
    def save(self, state, nonce, unix_s):
        pass


class Log:
    def info(self, tag, text):
        print(tag, text)

    warning = error = info


class Progress:
    def within(self, ms):
        pass


async def main():
    with open("/config.cbor", "rb") as file:
        radio = config_file.load(file.read()).lorawan.radio
    with open("/cases.json") as file:
        cases = json.load(file)
    clock = Clock(None, True)
    settings = Settings(adr=False)
    mac = Mac(bytes(8), bytes(8), bytes(16), _aes, _below, settings)
    session = Session(mac.region, b"\x04\x03\x02\x01", bytes(16), bytes(range(16)))
    mac.activate(session)
    mac.ledger.enabled = False
    modem = Modem(mac, _maker(radio, clock), Sessions(), Quiet(clock), clock, Log())
    for rate, delay_s, error_ppm in cases:
        await clock.sleep_ms(PAUSE_MS + _below(PHASES_MS))
        session.rate = session.rx2_rate = rate
        session.rx_delay_s = delay_s
        settings.clock_error_ppm = error_ppm
        events = await modem.send(Progress(), 1, b"uplink")
        print("heard", [event.heard for event in events if type(event) is Sent])
    print("end")


asyncio.run(main())
