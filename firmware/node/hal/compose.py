"""Joins the application to the hardware and starts it.

The way out (`hal.wifi`, `hal.lorawan`) is imported as the profile wants, and the other one is not:
its `Way` has `interval_s`, `phase_s`, `quiet`, `uplink`, `sleep(ms)`, `measured()`, `tasks(…)`.
"""

import asyncio
import gc
import io
import os
import sys
import time

import esp32
import machine

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
from node.core.sampler import Sampler
from node.core.spool import Spool
from node.core.state import State
from node.core.supervisor import Supervisor
from node.hal.about import read
from node.hal.identity import Identity
from node.hal.sensing import Wiring, channels_of, volts_of
from node.wire import schema
from node.wire.const import const

_WATCHDOG_MS = const(60000)
# A person who has stopped the program has this long until the watchdog starts it again.
_MAINTENANCE_MS = const(3600000)
_AFTER_CRASH_MS = const(10000)
_TRACE = const(160)
_GC_EVERY = const(16384)  # bytes allocated between collections: small pauses, little fragmentation
# What of the file system stays free of records, for all that is written beside them.
_KEEP_FREE = const(65536)


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


class _Node:
    """What all parts of the program share."""

    def __init__(self, clock, crumb) -> None:
        config = self.config = config_file.load(read("/config.cbor"))
        self.clock = clock
        self.crumb = crumb
        self.log = Log(sys.stdout.write, clock, config.log_level)
        self.identity = Identity()
        self.id = self.identity.node_id
        self.counters = Counters()
        self.state = State("/spool/state")
        self.spool = Spool("/spool", _spool_bytes(config), self.state, _random_u32)
        self.recorder = Recorder(self.spool, self.state, clock, crumb, self.counters, self.log)
        self.battery = volts_of(config, "battery", config.battery)
        self.solar = volts_of(config, "solar", config.solar)


async def _build() -> None:
    gc.threshold(_GC_EVERY)
    watchdog = machine.WDT(timeout=_WATCHDOG_MS)
    rtc = machine.RTC()
    crumb = Crumb(rtc.memory, rtc.memory)
    clock = Clock(_set_rtc, crumb.synced_s > 0)
    node = _Node(clock, crumb)
    config, log, counters = node.config, node.log, node.counters
    state, recorder = node.state, node.recorder
    cause = machine.reset_cause()
    causes = schema.RESET_CAUSES
    cause_name = causes[cause] if 0 <= cause < len(causes) else causes[0]
    log.info("app", "citynode %s node %s reset %s" % (VERSION, node.id, cause_name))
    woke = cause == machine.DEEPSLEEP_RESET
    if woke and len(crumb.found_counters) == COUNTERS_SIZE:
        counters.unpack(crumb.found_counters)
    wiring = Wiring(config, clock)
    channels = channels_of(config, wiring)
    if config.lorawan is None:
        from node.hal.wifi import Way
    else:
        from node.hal.lorawan import Way
    way = Way(node)
    traffic = None
    if config.traffic is not None:
        from node.hal.traffic import traffic_of

        traffic = traffic_of(node, wiring, way.quiet)
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
        node.battery,
        way.interval_s,
        recorder,
        clock,
        counters,
        log,
        crumb.aim_s,
        way.quiet,
        way.phase_s,
        config.statistics,
        traffic,
    )

    def measure() -> dict:
        gc.collect()
        idf = sum([region[1] for region in esp32.idf_heap_info(esp32.HEAP_DATA)])
        values = {
            "heap_free_b": gc.mem_free(),
            "idf_heap_free_b": idf,
            "battery_v": node.battery(),
            "solar_v": node.solar(),
        }
        values.update(way.measured())
        return values

    fixed = {
        "firmware": VERSION,
        "reset_cause": cause_name,
        "epoch": state.epoch,
        "restarts": state.starts,
    }
    health = Health(config.health_s, fixed, measure, recorder, node.spool, clock, counters, crumb)
    supervisor = Supervisor(clock, counters, log, watchdog.feed, _trace)
    app = App(
        config,
        clock,
        crumb,
        recorder,
        node.spool,
        sampler,
        health,
        supervisor,
        counters,
        log,
        way.sleep,
        way.uplink,
    )
    tasks = way.tasks(app, sampler, health)
    if traffic is not None:
        tasks += traffic.tasks()
    if config.sensors or traffic is not None:
        tasks.append(("sampler", sampler.run))
        if sampler.has_steps:
            tasks.append(("wind", sampler.step))
    if not config.deep_sleep:
        tasks.append(("health", health.run))
    gc.collect()
    log.info("app", "heap %d bytes free" % gc.mem_free())
    await app.run(tasks)


def _spool_bytes(config) -> int:
    """Return how much the spool may take: as configured, but never all of the file system."""
    block, _, _, free = os.statvfs("/")[:4]
    free = max(free, 0)  # LittleFS counts below zero when it is full
    used = 0
    try:
        for entry in os.ilistdir("/spool"):
            used += -(-entry[3] // block) * block  # type: ignore[index]
    except OSError:
        pass  # there is no spool yet
    return min(config.spool_bytes, max(2 * block, used + block * free - _KEEP_FREE))


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
