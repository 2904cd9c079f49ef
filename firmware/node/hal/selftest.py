"""The self-test of the board that it runs on: joins `core.selftest` to the hardware.

Over the REPL, while the node's program does not run:

    from node.hal import selftest
    selftest.main()                       # every item that needs nobody, to the end
    selftest.main(["radio", "battery"])   # these alone
    selftest.main(["led", "button"])      # for somebody who looks and presses

One line of JSON a value. A host tool asks for an item and how long it wants to wait; while there
is more to come, the last line is `{"more": [item, …]}`, and `resume` goes on. However it ends, the
watchdog starts the node again within ten minutes.
"""

import asyncio
import gc
import json
import os
import sys
from binascii import hexlify, unhexlify

import esp
import esp32
import machine
import network

from node import VERSION
from node.core import config as config_file
from node.core import selftest as core
from node.core import selftest_items as items
from node.core.clock import Clock
from node.hal.about import read, slot
from node.hal.identity import Identity
from node.hal.sensing import Wiring, channels_of, volts_of
from node.wire.const import const

_WATCHDOG_MS = const(600000)
_SHORT_MS = const(15000)  # a scan blocks for some three seconds, erasing two blocks for less
_BUTTON_MS = const(25000)
_SENSORS_MS = const(240000)
_DEFAULT_PPM = const(10000)  # as core.config has it

# What the node takes of the heap once it runs, by its benchmarks (docs/selftest.md).
_HEAP_WIFI = const(51200)
_HEAP_LORAWAN = const(81920)

_SPI = const(1)
_SPI_HZ = const(8000000)
# What the chips' amplifiers go down to, at the connector.
_LEAST_DBM = {"sx1276": 2, "sx1262": -9}
_READY_MS = const(10)  # after a reset both chips are ready
_BUSY_LOOKS = const(30)
_SX1276_VERSION = const(0x42)  # SX1276 datasheet rev. 7, section 6.4
_SX1276_IS = const(0x12)
_SX1262_SYNC_WORD = const(0x0740)  # SX1261/2 datasheet rev. 2.1, table 12-1
_SX1262_IS = const(0x1424)
_SX1262_READ = const(0x1D)
_SX1262_STATUS = const(0xC0)
_SX1276_INVERT_IQ = const(0x33)
_SX1276_INVERT_IQ_2 = const(0x3B)

# The button that chooses the bootloader (strapping pins of the datasheets).
_BOOT_PINS = {"esp32": 0, "esp32s3": 0, "esp32c3": 9}

_board = None
_run = None


class _Board:
    """The configuration and what it names; what cannot be had is among its faults then."""

    def __init__(self) -> None:
        self.config = config_file.load(read("/config.cbor"))
        self.clock = Clock(lambda unix_ms: None, False)
        self.channels = channels_of(self.config, Wiring(self.config, self.clock))
        self.battery = volts_of(self.config, "battery", self.config.battery)
        self.chip = _chip()


def _chip() -> str:
    return os.uname()[4].split(" with ")[-1].replace("-", "").lower()


# -- items: coroutine functions of (report, board, wants) ---------------------------------------


async def _identity(report, board, wants) -> None:
    mac = hexlify(machine.unique_id()).decode()
    node_id = Identity().node_id
    told = "%s %s %s %s %s" % (board.chip, mac, node_id, VERSION, slot())
    wrong = [key for key, is_ in (("chip", board.chip), ("mac", mac)) if wants.get(key, is_) != is_]
    # A MAC from factory is neither empty nor one of a group.
    if int(mac, 16) in (0, 0xFFFFFFFFFFFF) or int(mac[:2], 16) & 1:
        wrong.append("mac")
    detail = "%s, not what was expected: %s" % (told, ", ".join(wrong)) if wrong else told
    report.tell("identity", core.FAIL if wrong else core.PASS, detail=detail)


async def _flash(report, board, wants) -> None:
    # What the partition table needs, and where the host knows the board, exactly what it has.
    end = 0
    for kind in (esp32.Partition.TYPE_APP, esp32.Partition.TYPE_DATA):
        for part in esp32.Partition.find(kind):
            info = part.info()
            end = max(end, info[2] + info[3])
    wanted = wants.get("flash_b")
    report.measured("flash", esp.flash_size(), "B", end if wanted is None else wanted, wanted)


async def _config(report, board, wants) -> None:
    await items.configuration(report, board.config)


async def _files(report, board, wants) -> None:
    await items.files(report, board.config.spool_bytes)


async def _heap(report, board, wants) -> None:
    gc.collect()
    idf = sum([region[1] for region in esp32.idf_heap_info(esp32.HEAP_DATA)])
    least = _HEAP_WIFI if board.config.lorawan is None else _HEAP_LORAWAN
    report.measured("heap", gc.mem_free(), "B", least, None, "and %d bytes of IDF's" % idf)


async def _rtc(report, board, wants) -> None:
    datetime = machine.RTC().datetime

    def now_us() -> int:
        _, _, _, _, hour, minute, second, us = datetime()  # type: ignore[misc]
        return ((hour * 60 + minute) * 60 + second) * 1000000 + us

    lorawan = board.config.lorawan
    limit_ppm = _DEFAULT_PPM if lorawan is None else lorawan.clock_error_ppm
    await items.rtc(report, now_us, board.clock, limit_ppm)


async def _battery(report, board, wants) -> None:
    if board.config.battery is None:
        report.skip("battery", "the board does not measure it")
    else:
        await items.battery(report, board.battery, board.config.battery[1])


async def _sensors(report, board, wants) -> None:
    configured = {each.place: each for each in board.config.sensors}
    await items.sensors(report, board.channels, configured, board.clock)


async def _radio(report, board, wants) -> None:
    radio = _radio_of(report, board, "radio")
    if radio is not None:
        await items.radio(
            report, radio.probe, radio.make, radio.power_dbm, radio.gain_dbi, board.clock
        )


async def _send(report, board, wants) -> None:
    radio = _radio_of(report, board, "send")
    if radio is not None and items.allowed(radio.power_dbm, radio.gain_dbi):
        tag = unhexlify(wants.get("tag", ""))
        await items.send(report, radio.make(), radio.power_dbm, tag, board.clock)


async def _hear(report, board, wants) -> None:
    radio = _radio_of(report, board, "hear")
    if radio is not None:
        tag = unhexlify(wants.get("tag", ""))
        await items.hear(report, radio.make(True), tag, board.clock)


def _radio_of(report, board, item: str):
    """Return the radio; None where there is none, which is told."""
    lorawan = board.config.lorawan
    if lorawan is None:
        report.skip(item, "the profile sends over WiFi")
    elif lorawan.radio is None:
        report.tell(item, core.FAIL, detail="the configuration names none")
    else:
        return _Radio(lorawan.radio, lorawan.antenna_gain_dbi, board.clock)
    return None


async def _wifi(report, board, wants) -> None:
    wlan = network.WLAN(network.STA_IF)
    was_on = wlan.active()
    try:
        wlan.active(True)
        found = wlan.scan()
    finally:
        if not was_on:
            wlan.active(False)
    ssid = (Identity().bytes("wifi_ssid") or b"") if board.config.lorawan is None else None
    await items.wifi(report, found, ssid)


async def _led(report, board, wants) -> None:
    if board.config.led is None:
        report.skip("led", "the board has none")
    else:
        await items.led(report, machine.Pin(board.config.led, machine.Pin.OUT), board.clock)


async def _button(report, board, wants) -> None:
    number = _BOOT_PINS.get(board.chip)
    if number is None:
        report.skip("button", "not known where the board has it")
    else:
        pin = machine.Pin(number, machine.Pin.IN, machine.Pin.PULL_UP)
        await items.button(report, pin, board.clock)


# Name, limit, item; in this order: the second converter and much of the memory are the WiFi's.
_ITEMS = (
    ("identity", _SHORT_MS, _identity),
    ("config", _SHORT_MS, _config),
    ("flash", _SHORT_MS, _flash),
    ("files", _SHORT_MS, _files),
    ("heap", _SHORT_MS, _heap),
    ("rtc", _SHORT_MS, _rtc),
    ("battery", _SHORT_MS, _battery),
    ("sensors", _SENSORS_MS, _sensors),
    ("radio", _SHORT_MS, _radio),
    ("wifi", _SHORT_MS, _wifi),
)
# For these somebody is needed, or a peer.
_BY_CHOICE = (
    ("send", _SHORT_MS, _send),
    ("hear", _SHORT_MS, _hear),
    ("led", _SHORT_MS, _led),
    ("button", _BUTTON_MS, _button),
)


class _Radio:
    """The radio of the configuration, before there is a driver that could refuse it."""

    def __init__(self, radio, gain_dbi: int, clock) -> None:
        self.power_dbm = _LEAST_DBM[radio.chip]
        self.gain_dbi = gain_dbi
        self._radio = radio
        self._clock = clock
        sck, mosi, miso, cs, reset = radio.pins
        pin = machine.Pin
        self._spi = machine.SPI(
            _SPI, baudrate=_SPI_HZ, sck=pin(sck), mosi=pin(mosi), miso=pin(miso)
        )
        # Both were held through deep sleep.
        self._cs = pin(cs, pin.OUT, value=1, hold=False)  # type: ignore[call-arg]
        self._reset = pin(reset, pin.OUT, value=1, hold=False)  # type: ignore[call-arg]
        self._busy = None if radio.busy is None else pin(radio.busy, pin.IN)

    def probe(self) -> tuple:
        """Reset the chip and return (what it is known by, its value, what that is, more)."""
        self._reset(0)
        self._clock.wait_ms(1)
        self._reset(1)
        self._clock.wait_ms(_READY_MS)
        if self._busy is None:
            return "version", self._ask(bytes((_SX1276_VERSION, 0)))[1], _SX1276_IS, ""
        looks = 0
        while self._busy() and looks < _BUSY_LOOKS:
            self._clock.wait_ms(1)
            looks += 1
        more = ", BUSY stays high" if self._busy() else ""
        high, low = _SX1262_SYNC_WORD >> 8, _SX1262_SYNC_WORD & 0xFF
        word = self._ask(bytes((_SX1262_READ, high, low, 0, 0, 0)))
        status = self._ask(bytes((_SX1262_STATUS, 0)))[1]
        more = ", status 0x%02x%s" % (status, more)
        return "sync_word", word[4] << 8 | word[5], _SX1262_IS, more

    def _ask(self, data):
        answer = bytearray(len(data))
        self._cs(0)
        self._spi.write_readinto(data, answer)
        self._cs(1)
        return answer

    def make(self, peer: bool = False):
        """Return the driver, which hears what nodes send if `peer`; raises RadioError."""
        radio = self._radio
        if self._busy is None:
            from node.radio.sx127x import SX127x

            class Peer127x(SX127x):
                def _set_up_rx(self, freq_hz, sf, bw_khz, symbols) -> None:
                    super()._set_up_rx(freq_hz, sf, bw_khz, symbols)
                    self._write(_SX1276_INVERT_IQ, 0x27)  # as the driver has it for sending
                    self._write(_SX1276_INVERT_IQ_2, 0x1D)

            kind = Peer127x if peer else SX127x
            return kind(self._spi, self._cs, self._reset, self._clock)
        from node.radio.sx126x import SX126x

        class Peer126x(SX126x):
            def _set_up(self, freq_hz, sf, bw_khz, length, inverted) -> None:
                super()._set_up(freq_hz, sf, bw_khz, length, False)

        kind = Peer126x if peer else SX126x
        return kind(
            self._spi,
            self._cs,
            self._reset,
            self._busy,
            self._clock,
            radio.tcxo_mv,
            radio.dio2_switch,
        )


# -- what is called -------------------------------------------------------------------------------


def names() -> None:
    """Print a line of JSON: the items that need nobody, and those that do."""
    told = [[each[0] for each in some] for some in (_ITEMS, _BY_CHOICE)]
    print(json.dumps({"items": told[0], "by_choice": told[1]}))


def main(chosen=None, wants=None, within_ms=None) -> None:
    """Test these items, those that need nobody if None; print a line for each value.

    `wants` is what a host knows of the board: "chip", "mac", "flash_b". With `within_ms` it comes
    back after about that long, and `resume` goes on.
    """
    global _board, _run
    machine.WDT(timeout=_WATCHDOG_MS)
    report = core.Report(sys.stdout.write)
    if _board is None:
        _board = _Board()
    board, known, found = _board, wants or {}, []
    for name in [each[0] for each in _ITEMS] if chosen is None else chosen:
        item = _item(name)
        if item is None:
            report.tell(name, core.ERROR, detail="this firmware has no such item")
        else:
            found.append((name, item[1], _bound(item[2], board, known)))
    if _run is not None:
        _run.cancel()
    _run = core.Run(report, found, board.clock)
    _go(within_ms)


def resume(within_ms=None) -> None:
    """Go on with what `main` has begun."""
    machine.WDT(timeout=_WATCHDOG_MS)
    _go(within_ms)


def _go(within_ms) -> None:
    if _run is not None and asyncio.run(_run.go(within_ms)):
        print(json.dumps({"more": _run.doing}))


def _item(name):
    for each in _ITEMS + _BY_CHOICE:
        if each[0] == name:
            return each
    return None


def _bound(item, board, wants):
    return lambda report: item(report, board, wants)
