"""Joins the application to the hardware and starts it."""

import asyncio
import gc
import io
import os
import random
import sys
import time

import esp32
import machine
import network

from node import VERSION
from node.core import config as config_file
from node.core.app import App
from node.core.clock import Clock
from node.core.counters import SIZE as COUNTERS_SIZE
from node.core.counters import Counters
from node.core.crumb import Crumb
from node.core.health import Health
from node.core.log import Log, describe
from node.core.record import Recorder
from node.core.sampler import Channel, Sampler
from node.core.spool import Spool
from node.core.state import State
from node.core.supervisor import Supervisor
from node.core.uplink import Uplink
from node.hal.about import read
from node.hal.bus import Bus, NoBus
from node.hal.identity import Identity
from node.net.mqtt import Mqtt
from node.net.ntp import Sntp
from node.net.stream import open_stream
from node.net.wifi import Wifi
from node.wire import schema
from node.wire.cbor import UNDEFINED
from node.wire.const import const

_WATCHDOG_MS = const(60000)
# A person who has stopped the program has this long until the watchdog starts it again.
_MAINTENANCE_MS = const(3600000)
_AFTER_CRASH_MS = const(10000)
_TRACE = const(160)
_GC_EVERY = const(16384)  # bytes allocated between collections: small pauses, little fragmentation

_WIFI_FAILURES = {
    network.STAT_WRONG_PASSWORD: "wrong password",
    network.STAT_NO_AP_FOUND: "no access point",
    network.STAT_ASSOC_FAIL: "refused by the access point",
    network.STAT_HANDSHAKE_TIMEOUT: "handshake timed out",
    network.STAT_BEACON_TIMEOUT: "access point lost",
}


def main() -> None:
    """Run the node; a crash is told and followed by a restart."""
    try:
        asyncio.run(_build())
    except KeyboardInterrupt:
        # Someone is at the prompt. The watchdog cannot be stopped, but it can be patient.
        machine.WDT(timeout=_MAINTENANCE_MS)
        raise
    except Exception as error:
        sys.print_exception(error)
        time.sleep_ms(_AFTER_CRASH_MS)  # time to read it, and to interrupt
        machine.reset()


async def _build() -> None:
    gc.threshold(_GC_EVERY)
    watchdog = machine.WDT(timeout=_WATCHDOG_MS)
    rtc = machine.RTC()
    crumb = Crumb(rtc.memory, rtc.memory)
    clock = Clock(_set_rtc, crumb.synced_s > 0)
    config = config_file.load(read("/config.cbor"))
    log = Log(sys.stdout.write, clock, config.log_level)
    identity = Identity()
    node_id = identity.node_id
    cause = machine.reset_cause()
    causes = schema.RESET_CAUSES
    cause_name = causes[cause] if 0 <= cause < len(causes) else causes[0]
    log.info("app", "citynode %s node %s reset %s" % (VERSION, node_id, cause_name))

    counters = Counters()
    woke = cause == machine.DEEPSLEEP_RESET
    if woke and len(crumb.found_counters) == COUNTERS_SIZE:
        counters.unpack(crumb.found_counters)
    state = State("/spool/state")
    spool = Spool("/spool", config.spool_bytes, state, _random_u32)
    recorder = Recorder(spool, state, clock, crumb, counters, log)
    bus = _bus(config)
    battery = _battery(config)
    channels = _channels(config)
    if not woke:
        crumb.aim_s = 0
        crumb.status = schema.RESTARTED
        state.starts += 1
        try:
            state.save()
        except OSError as error:
            log.warning("spool", "state not saved, " + describe(error))
        recorder.accept(schema.EVENT, {"code": "restart", "detail": cause})
        counters.config_faults = len(config.faults)
        for fault in config.faults:
            log.warning("config", "bad or missing " + fault)
        if config.faults:
            recorder.accept(schema.EVENT, {"code": "config_fault"})

    sampler = Sampler(
        channels,
        bus,
        battery,
        config.interval_s,
        recorder,
        clock,
        counters,
        log,
        crumb.aim_s,
    )
    wlan = network.WLAN(network.STA_IF)
    link = Wifi(
        wlan,
        identity.text("wifi_ssid") or "",
        identity.text("wifi_psk") or "",
        _WIFI_FAILURES,
        clock,
        random.random,
        counters,
        log,
    )
    uplink = _uplink(config, identity, node_id, recorder, spool, link, clock, counters, log)

    def measure() -> dict:
        gc.collect()
        idf = sum([region[1] for region in esp32.idf_heap_info(esp32.HEAP_DATA)])
        return {
            "heap_free_b": gc.mem_free(),
            "idf_heap_free_b": idf,
            "rssi_dbm": link.rssi(),
            "battery_v": battery(),
        }

    fixed = {
        "firmware": VERSION,
        "reset_cause": cause_name,
        "epoch": state.epoch,
        "restarts": state.starts,
    }
    health = Health(config.health_s, fixed, measure, recorder, spool, clock, counters, crumb)
    supervisor = Supervisor(clock, counters, log, watchdog.feed, _trace)
    app = App(
        config,
        clock,
        crumb,
        recorder,
        spool,
        sampler,
        health,
        supervisor,
        counters,
        log,
        machine.deepsleep,
    )
    sntp = Sntp(config.ntp, link, clock, os.urandom, random.random, app.on_time, log)
    tasks = [("wifi", link.run), ("ntp", sntp.run), ("uplink", uplink.run)]
    if config.sensors:
        tasks.append(("sampler", sampler.run))
    if not config.deep_sleep:
        tasks.append(("health", health.run))
    gc.collect()
    log.info("app", "heap %d bytes free" % gc.mem_free())
    await app.run(tasks)


def _uplink(config, identity, node_id, recorder, spool, link, clock, counters, log) -> Uplink:
    tls = _tls() if config.tls else None
    if config.tls and tls is None:
        log.error("mqtt", "no CA certificate in /ca.der: nothing is sent")

    async def connect():
        if config.tls and tls is None:
            raise OSError(2)  # ENOENT: never without a check of the server
        return await open_stream(config.host, config.port, tls, clock)

    mqtt = Mqtt(
        connect,
        node_id,
        identity.text("mqtt_user"),
        identity.text("mqtt_pass"),
        config.keepalive_s,
        "citynode/%s/status" % node_id,
        clock,
        recorder.accepted,
    )
    topic = "citynode/%s/up" % node_id
    return Uplink(
        mqtt, topic, spool, recorder, link, config.tls, clock, random.random, counters, log
    )


# What only the hardware can tell of a configuration: it adds to the faults like all the rest.


def _bus(config):
    if config.i2c is None:
        return NoBus()
    try:
        return Bus(*config.i2c)
    except (ValueError, OSError):
        config.faults.append("board.i2c")
        return NoBus()


def _channels(config) -> list:
    channels = []
    for sensor in config.sensors:
        name = "node.sensors." + sensor.chip
        try:
            driver = __import__(name, None, None, ("DRIVER",)).DRIVER
        except (ImportError, AttributeError):
            config.faults.append("sensors[%d].chip" % sensor.place)
            continue
        channels.append(Channel(driver, sensor))
    return channels


def _battery(config):
    """Return a function that gives the battery's voltage, None where it is not measured."""
    if config.battery is None:
        return lambda: None
    pin, ratio = config.battery
    try:
        adc = machine.ADC(machine.Pin(pin), atten=machine.ADC.ATTN_11DB)
    except (ValueError, OSError):
        config.faults.append("board.battery")
        return lambda: None

    def volts():
        try:
            return adc.read_uv() * ratio / 1000000
        except OSError:
            return UNDEFINED  # the second ADC belongs to the WiFi while that is on

    return volts


def _tls():
    """Return a TLS context that trusts the CA in `/ca.der` alone; None where there is none."""
    import ssl

    authority = read("/ca.der")
    if not authority:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authority)
    return context


def _set_rtc(unix_ms: int) -> None:
    seconds = unix_ms // 1000
    if time.gmtime(0)[0] == 2000:
        seconds -= 946684800
    year, month, day, hour, minute, second, weekday, _ = time.gmtime(seconds)[:8]
    machine.RTC().datetime((year, month, day, weekday, hour, minute, second, unix_ms % 1000 * 1000))


def _random_u32() -> int:
    return int.from_bytes(os.urandom(4), "little")


def _trace(error) -> str:
    """Return where an exception came from, in one line."""
    text = io.StringIO()
    sys.print_exception(error, text)  # type: ignore[arg-type]
    said = text.getvalue()  # type: ignore[attr-defined]
    places = [line.strip() for line in said.split("\n") if line.startswith("  File")]
    return " < ".join(reversed(places))[:_TRACE]
