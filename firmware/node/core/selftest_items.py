"""The items of the self-test: what is measured, and what it has to be; the hardware is given.

`docs/selftest.md` says where the limits come from.
"""

import asyncio
import os
from binascii import crc32

from node.core.log import describe
from node.core.plausible import Plausible
from node.core.selftest import FAIL, PASS, TIMEOUT
from node.radio.base import airtime_us
from node.wire import schema
from node.wire.cbor import UNDEFINED
from node.wire.const import const

_ENOSPC = const(28)

_FILE = "/selftest.tmp"
_SPOOL = "/spool"
_CHUNK = const(512)
_CHUNKS = const(16)  # two blocks of flash
# What of the file system the node keeps free of records (hal.compose).
_KEEP_FREE = const(65536)

_RTC_MS = const(1000)
_RTC_LOOKS = const(5)
_RTC_APART_US = const(1000)
_DAY_US = const(86400000000)

# A CO2 sensor's first reading takes 16 s; who has to warm up may do it twice.
_READING_MS = const(30000)
_WARM_UPS = const(2)
_NO_LIMIT = 1e9
_STEPS = const(8)  # of half a second: a gust is one of 3 s
_STEP_MS = const(500)

# A lithium cell: empty as hal.lorawan counts it, full as chargers leave it (4.2 V ± 1.5 %).
_CELL_EMPTY_V = 3.0
_CELL_FULL_V = 4.263
# The converter's error at the pin after calibration (ESP32 datasheet, "ADC Calibration Results").
_ADC_ERROR_V = 0.06

# What a receiver has to understand at the lowest rate of 20 MHz (IEEE 802.11-2020, table 17-18).
_LEAST_DBM = const(-82)

# In 869.7 … 870 MHz up to 5 mW (7 dBm) e.r.p. have no limit on the duty cycle (ETSI EN 300 220-2,
# annex B), so that the MAC's account stays right; and no network has its channels there by default.
_TX_HZ = const(869850000)
_TX_SF = const(7)
_TX_KHZ = const(125)
_TX_ERP_DBM = const(7)
_DIPOLE_DBI = const(2)
# MHDR of the type "proprietary" (LoRaWAN 1.0.4, section 4.2.1): no network takes it for its own.
_TX_FRAME = b"\xe0selftest"

_PEER_FRAMES = const(6)
_PEER_EVERY_MS = const(300)
_PEER_MS = const(5000)  # until the other one is ready, and has sent all

_BUTTON_MS = const(20000)
_BUTTON_LOOK_MS = const(10)
_BLINKS = const(6)
_BLINK_MS = const(250)


async def configuration(report, config) -> None:
    """Tell the number of what is wrong in the configuration."""
    faults = config.faults
    report.measured("config", len(faults), "faults", 0, 0, ", ".join(faults) or config.board)


async def files(report, spool_bytes: int, root: str = "") -> None:
    """Tell whether what is written is read back, and the room for what the spool may have.

    `root` is where the file system is mounted.
    """
    name = root + _FILE
    _remove(name)  # one that was cut short has left it
    block, _, blocks, free = os.statvfs(root or "/")[:4]
    if not 0 <= free <= blocks:
        free = 0  # littlefs counts some blocks twice: a full one has less than none
    used = 0
    try:
        for entry in os.ilistdir(root + _SPOOL):
            used += -(-entry[3] // block) * block  # type: ignore[index]
    except OSError:
        pass  # there is no spool yet
    room = used + block * free
    text = "%d of %d bytes are free" % (block * free, block * blocks)
    report.measured("files.room", room, "B", spool_bytes + _KEEP_FREE, None, text)
    kept, text = 0, ""
    try:
        kept = _write_and_read(name)
    except OSError as error:
        text = "no space" if error.args and error.args[0] == _ENOSPC else describe(error)
    if not _remove(name):
        kept, text = 0, "cannot be deleted"
    report.measured("files.kept", kept, "B", _CHUNK * _CHUNKS, None, text)


def _remove(name: str) -> bool:
    """Remove a file; return whether it is not there."""
    try:
        os.remove(name)
    except OSError:
        pass
    try:
        os.stat(name)
        return False
    except OSError:
        return True


def _write_and_read(name: str) -> int:
    """Return how many bytes were read as they were written."""
    # They differ from chunk to chunk, so that no block is like the other.
    chunk = bytearray(_CHUNK)
    back = bytearray(_CHUNK)
    with open(name, "wb") as file:
        for number in range(_CHUNKS):
            _fill(chunk, number)
            file.write(chunk)
    kept = 0
    with open(name, "rb") as file:
        for number in range(_CHUNKS):
            _fill(chunk, number)
            if file.readinto(back) == _CHUNK and back == chunk:
                kept += _CHUNK
    return kept


def _fill(chunk, number: int) -> None:
    word = crc32(bytes([number]))
    for i in range(len(chunk)):
        word = (word * 1664525 + 1013904223) & 0x3FFFFFFF
        chunk[i] = word >> 16 & 0xFF


async def rtc(report, now_us, clock, limit_ppm: int) -> None:
    """Tell how far the clock `now_us()`, the µs of its day, goes in a second of ticks."""
    start_us, start = await _instant(now_us, clock)
    await clock.sleep_ms(_RTC_MS)
    end_us, end = await _instant(now_us, clock)
    ticks_us = clock.ticks_diff(end, start)
    gone_us = (end_us - start_us) % _DAY_US
    off = _RTC_MS * limit_ppm / 1000000
    value = gone_us * _RTC_MS / ticks_us
    report.measured("rtc", value, "ms", _RTC_MS - off, _RTC_MS + off, "in a second of ticks")


async def _instant(now_us, clock) -> tuple:
    # Whatever comes between the two clocks is no error of theirs.
    best = None
    for _ in range(_RTC_LOOKS):
        before = clock.ticks_us()
        at = now_us()
        apart = clock.ticks_diff(clock.ticks_us(), before)
        if best is None or apart < best[0]:
            best = apart, at, clock.ticks_add(before, apart // 2)
        if apart < _RTC_APART_US:
            break
        await clock.sleep_ms(1)
    return best[1], best[2]  # type: ignore[index]


async def battery(report, volts, ratio: float) -> None:
    """Tell the voltage that `volts()` gives, None or UNDEFINED where it cannot be had."""
    value = volts()
    high = round(_CELL_FULL_V + ratio * _ADC_ERROR_V, 2)
    text = "cannot be read" if value is UNDEFINED or value is None else ""
    report.measured("battery", value, "V", _CELL_EMPTY_V, high, text)


async def sensors(report, channels, configured, clock) -> None:
    """Tell what each sensor measures, all at once: one that warms up holds up no other.

    `configured` has the sensors of the configuration by their place.
    """
    if not channels:
        report.skip("sensors", "the profile has none")
        return
    await asyncio.gather(
        *[_sensor(report, each, configured[each.place], clock) for each in channels]
    )


async def _sensor(report, channel, sensor, clock) -> None:
    name = "sensor%d.%s" % (channel.place, channel.name)
    try:
        driver = channel.open()
        if sensor.settle_ms:
            await clock.sleep_ms(sensor.settle_ms)
        if hasattr(driver, "step"):  # a gust is seen by who looks all the time
            for _ in range(_STEPS):
                await clock.sleep_ms(_STEP_MS)
                driver.step()
        limit_ms = _READING_MS + _WARM_UPS * getattr(driver, "WARM_UP_MS", 0)
        reading = await asyncio.wait_for_ms(driver.measure(), limit_ms)
    except Exception as error:
        report.ended(name, error)
        return
    for i in range(len(channel.fields)):
        field = channel.fields[i]
        limits = Plausible(field, sensor.limits.get(field))
        low = None if limits.low <= -_NO_LIMIT else limits.low
        high = None if limits.high >= _NO_LIMIT else limits.high
        item = "%s.%s" % (name, field)
        if reading[i] is None:
            report.skip(item, "there was nothing to measure")
        else:
            report.measured(item, reading[i], unit_of(field), low, high)


def unit_of(field: str) -> str:
    """Return the unit of one of the schema's fields."""
    for kind in schema.RECORDS:
        for row in schema.RECORDS[kind][1]:
            if row[0] == field:
                return row[1]
    return ""


async def wifi(report, found, ssid) -> None:
    """Tell what a scan has found; `ssid` is the profile's network (bytes), None if it needs none.

    Its name goes nowhere.
    """
    strongest = max([point[3] for point in found]) if found else None
    text = "" if strongest is None else "the strongest has %d dBm" % strongest
    report.measured("wifi.networks", len(found), "networks", 0 if ssid is None else 1, None, text)
    if ssid is None:
        return
    own = [point[3] for point in found if bytes(point[0]) == ssid]
    if not ssid:
        report.tell("wifi.own", FAIL, detail="the identity names no network")
    elif own:
        report.measured("wifi.own", max(own), "dBm", _LEAST_DBM, None, "the profile's network")
    elif any([not point[0] for point in found]):
        report.skip("wifi.own", "may be one of those that hide their name")
    else:
        report.tell("wifi.own", FAIL, None, "dBm", _LEAST_DBM, None, "not among them")


async def radio(report, probe, make, power_dbm: int, gain_dbi: int, clock) -> None:
    """Tell the id of the radio, and how long it sends a short frame at its lowest power.

    `probe()` returns (what it is, its value, what it has to be, more); `make()` the driver.
    """
    what, value, expected, more = probe()
    report.measured("radio." + what, value, "", expected, expected, "0x%x%s" % (value, more))
    if value != expected:
        return
    least_ms = airtime_us(_TX_SF, _TX_KHZ, len(_TX_FRAME)) / 1000
    if not allowed(power_dbm, gain_dbi):
        report.skip("radio.tx", "too strong with an antenna of %d dBi" % gain_dbi)
        return
    driver = make()
    start = clock.ticks_us()
    try:
        end = await driver.transmit(_TX_FRAME, _TX_HZ, _TX_SF, _TX_KHZ, power_dbm)
    finally:
        driver.sleep()
    value = clock.ticks_diff(end, start) / 1000
    # The driver gives up soon after the frame's end: there is no need for a high limit.
    report.measured("radio.tx", value, "ms", least_ms, None, "%d bytes" % len(_TX_FRAME))


def allowed(power_dbm: int, gain_dbi: int) -> bool:
    """Tell whether it may be sent, with that power and an antenna of that gain."""
    return power_dbm + gain_dbi - _DIPOLE_DBI <= _TX_ERP_DBM


async def send(report, driver, power_dbm: int, tag: bytes, clock) -> None:
    """Send a few frames that a peer knows by their tag."""
    try:
        for _ in range(_PEER_FRAMES):
            await driver.transmit(_TX_FRAME + tag, _TX_HZ, _TX_SF, _TX_KHZ, power_dbm)
            await clock.sleep_ms(_PEER_EVERY_MS)
    finally:
        driver.sleep()
    report.tell("send", PASS, _PEER_FRAMES, "frames")


async def hear(report, driver, tag: bytes, clock) -> None:
    """Tell how strong a frame with that tag comes in."""
    start = clock.ticks_ms()
    try:
        while clock.ticks_diff(clock.ticks_ms(), start) < _PEER_MS:
            now = clock.ticks_us()
            heard = await driver.receive(now, _TX_HZ, _TX_SF, _TX_KHZ, driver.MAX_SYMBOLS)
            if heard is not None and bytes(heard[0]) == _TX_FRAME + tag:
                report.measured("hear", heard[1], "dBm", detail="SNR %.1f dB" % heard[2])
                return
    finally:
        driver.sleep()
    report.tell("hear", FAIL, None, "dBm", detail="nothing was heard")


async def led(report, pin, clock) -> None:
    """Blink; somebody has to look."""
    before = pin.value()
    for i in range(2 * _BLINKS):
        pin.value(i & 1)
        await clock.sleep_ms(_BLINK_MS)
    pin.value(before)
    report.tell("led", PASS, _BLINKS, "blinks", detail="somebody has to look")


async def button(report, pin, clock) -> None:
    """Wait until a button (0 while it is pressed) was pressed and let go."""
    start = clock.ticks_ms()
    pressed = False
    while True:
        past = clock.ticks_diff(clock.ticks_ms(), start)
        if past > _BUTTON_MS:
            text = "still pressed" if pressed else "not pressed"
            report.tell("button", TIMEOUT, None, "ms", None, _BUTTON_MS, text)
            return
        down = not pin.value()
        if pressed and not down:
            report.measured("button", past, "ms", None, _BUTTON_MS, "pressed and let go")
            return
        pressed = down
        await clock.sleep_ms(_BUTTON_LOOK_MS)
