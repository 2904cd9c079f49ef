"""The reset circuit under the sequences that the vendor's tools really send."""

from types import SimpleNamespace

import pytest
from citynode.virtual.engine import Engine
from citynode.virtual.soc.autoreset import AutoReset
from esp_pylib import serial_reset


class Port:
    """A serial port whose two lines lead to the circuit."""

    is_open = True

    def __init__(self, circuit):
        self._circuit = circuit
        self._dtr = self._rts = False

    def _set(self):
        self._circuit.set_lines(dtr=self._dtr, rts=self._rts)

    @property
    def dtr(self):
        return self._dtr

    @dtr.setter
    def dtr(self, value):
        self._dtr = value
        self._set()

    @property
    def rts(self):
        return self._rts

    @rts.setter
    def rts(self, value):
        self._rts = value
        self._set()

    setDTR = dtr.fset  # noqa: N815
    setRTS = rts.fset  # noqa: N815


def opened(port):
    """Set the lines as pyserial's RFC 2217 client does when it opens."""
    port.dtr = True
    port.rts = True


def hard_reset(port):
    """Reset as most serial monitors do."""
    port.dtr = False
    serial_reset.hard_reset(port, hold_delay=0.1)


SEQUENCES = {
    "classic": serial_reset.classic_bootloader_reset,
    "usb": serial_reset.usb_jtag_bootloader_reset,
    "hard": hard_reset,
    "opened": opened,
    "custom": lambda port: serial_reset.execute_custom_reset(port, "D0|R1|W0.1|D1|R0|W0.05|D0"),
}


@pytest.mark.parametrize("own_usb", [False, True], ids=["bridge", "own USB"])
@pytest.mark.parametrize(
    ("steps", "starts"),
    [
        (["opened"], []),
        (["opened", "classic"], ["download"]),
        (["opened", "hard"], ["boot"]),
        (["opened", "custom"], ["download"]),
        (["classic", "hard"], ["download", "boot"]),
        (["opened", "usb"], ["by USB"]),
        (["opened", "usb", "hard"], ["by USB", "boot"]),
        (["usb", "classic", "hard"], ["by USB", "download", "boot"]),
    ],
)
def test_sequences_of_the_tools(monkeypatch, own_usb, steps, starts):
    engine = Engine()
    seen = []

    def on_reset(held):
        if not held:
            seen.append("download" if circuit.io0_low else "boot")

    def wait(seconds):
        engine.run(until=engine.clock.now_ns() + 5_000_000)

    monkeypatch.setattr(serial_reset, "time", SimpleNamespace(sleep=wait))
    circuit = AutoReset(engine, on_reset, usb_serial=own_usb)
    port = Port(circuit)
    for step in steps:
        SEQUENCES[step](port)
        wait(0)
    engine.close()
    by_usb = "download" if own_usb else "boot"
    assert seen == [by_usb if each == "by USB" else each for each in starts]
