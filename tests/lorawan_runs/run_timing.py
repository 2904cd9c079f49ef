"""How many downlinks a node hears whose clock is wrong: the node's modem and drivers on a board."""

import json
from dataclasses import dataclass
from pathlib import Path

from citynode.virtual.air import Gateway
from citynode.virtual.air.network.frames import Content, data_down
from citynode.virtual.rack import Rack
from run_site import NS, write_flash

PROGRAM = Path(__file__).with_name("timing_on_board.py")
DEV_ADDR, NWK_KEY, APP_KEY = 0x01020304, bytes(16), bytes(range(16))
RX2_HZ = 869_525_000
RATES = {7: 5, 12: 0}


@dataclass(frozen=True)
class Case:
    """One uplink and its answer.

    The node's clock runs `clock_ppm` too fast, `allowed_ppm` is what it is configured to bear.
    RX1 opens `delay_s` behind the uplink; the answer comes in RX1 or, a second later, in RX2.
    """

    sf: int
    window: int
    delay_s: int
    clock_ppm: int
    allowed_ppm: int


def hear(folder, kind, cases):
    """Return for each case whether the node heard the answer."""
    told = [(RATES[case.sf], case.delay_s, case.allowed_ppm) for case in cases]
    files = {"/main.py": PROGRAM.read_bytes(), "/cases.json": json.dumps(told).encode()}
    write_flash(folder, kind, files=files)
    rack = Rack(kind, seed=5, state_dir=folder, virtual_time=True)

    def answer(uplink):
        number = int.from_bytes(uplink.payload[6:8], "little")  # FCnt
        case = cases[number]
        assert uplink.sf == case.sf
        rack.apps[0].clock_ppm = case.clock_ppm
        content = Content(number, 1, b"downlink")
        delay_s = case.delay_s + case.window - 1
        gateway.send(
            data_down(DEV_ADDR, NWK_KEY, APP_KEY, content),
            at_ns=uplink.end_ns + delay_s * NS,
            freq_hz=RX2_HZ if case.window == 2 else uplink.freq_hz,
            sf=case.sf,
        )

    gateway = Gateway(rack.air, on_uplink=answer)
    rack.open()
    try:
        rack.engine.run(until=lambda: rack.events.lines[-1].endswith(" out end"))
        lines = [line.split(" ", 3)[3] for line in rack.events.lines if " out heard " in line]
    finally:
        rack.close()
    assert len(lines) == len(cases)
    return [line == "heard [True]" for line in lines]
