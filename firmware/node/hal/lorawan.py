"""The way out over LoRaWAN: radio, MAC, and the policy that joins them to the spool."""

import os
from binascii import crc32

import cryptolib
import esp32
import machine

from node import VERSION
from node.core import commands
from node.core.app import App
from node.core.budget import Budget
from node.core.health import Health
from node.core.lora import LoraUplink
from node.core.modem import Modem
from node.core.quiet import Quiet
from node.core.sampler import Sampler
from node.core.sessions import Sessions
from node.hal.marks import Marks
from node.lorawan.actions import LorawanError
from node.lorawan.crypto import Key
from node.lorawan.mac import Mac
from node.lorawan.settings import Settings
from node.wire.const import const

_SPI = const(1)
_SPI_HZ = const(8000000)
# What the chips' amplifiers go down to, at the connector.
_LEAST_DBM = {"sx1276": 2, "sx1262": -9}

_FOLDER = "/lora"
_SHORTEST_S = const(10)
_LONGEST_S = const(86400)
_REJOIN_S = const(86400)
# How often the network is asked for the time: the clock of deep sleep is off by seconds an hour.
_SYNC_S = const(43200)
_SYNC_SLEEPER_S = const(10800)
# A lithium cell's range, for the level in DevStatusAns.
_EMPTY_V = 3.0
_RANGE_V = 1.2
_UNKNOWN = const(255)


class Way:
    """How records of `node` get out; see `hal.compose`."""

    _app: App
    _sampler: Sampler
    _health: Health

    def __init__(self, node) -> None:
        self._node = node
        self._marks = Marks("lorawan")
        self.quiet = Quiet(node.clock)
        self.uplink: LoraUplink | None = None
        self._modem: Modem | None = None
        self._running = False
        self.interval_s = self._interval_s()
        radio = node.config.lorawan.radio
        dev_eui = node.identity.bytes("dev_eui") or b""
        app_key = node.identity.bytes("app_key") or b""
        self.phase_s = crc32(dev_eui) & 0x3FFFFFFF
        if len(dev_eui) != 8 or len(app_key) != 16:
            node.log.error("lora", "no DevEUI or AppKey: nothing is sent")
        elif radio is not None:
            self._start(radio, dev_eui, app_key)

    def measured(self) -> dict:
        """Return what the link says of itself, by the names of a health record."""
        modem = self._modem
        if modem is None:
            return {}
        # The heap beside Python's matters to WiFi; here each byte counts.
        return {"rssi_dbm": modem.rssi, "snr_db": modem.snr, "idf_heap_free_b": None}

    def tasks(self, app, sampler, health) -> list:
        """Return the tasks, as pairs of name and coroutine function."""
        self._app, self._sampler, self._health = app, sampler, health
        self._running = True
        return [("lora", self.uplink.run)] if self.uplink is not None else []

    def sleep(self, ms: int) -> None:
        """Sleep deeply; the radio's lines keep their levels, or one that floats would wake it."""
        radio = self._node.config.lorawan.radio
        if self._modem is not None and radio is not None:
            for number in radio.pins[3:]:
                machine.Pin(number, machine.Pin.OUT, value=1, hold=True)  # type: ignore[call-arg]
            esp32.gpio_deep_sleep_hold(True)  # type: ignore[attr-defined]
        machine.deepsleep(ms)

    def _start(self, radio, dev_eui: bytes, app_key: bytes) -> None:
        node = self._node
        config = node.config
        options = config.lorawan
        clock = node.clock
        join_eui = node.identity.bytes("join_eui") or bytes(8)
        sessions = Sessions(_FOLDER, self._marks)
        if sessions.damaged:
            node.log.error("lora", "session damaged: joins anew")
        settings = Settings(
            clock_error_ppm=options.clock_error_ppm,
            antenna_gain_dbi=options.antenna_gain_dbi,
            min_power_dbm=_LEAST_DBM[radio.chip],
            adr=options.adr,
            certification=options.certification,
            version=bytes([int(part) for part in VERSION.split(".")] + [0]),
        )
        state = sessions.state
        mac = Mac(
            dev_eui,
            join_eui,
            app_key,
            _aes,
            _below,
            settings,
            clock.uptime_ms(),
            0 if state else sessions.first_nonce,
        )
        make_radio = _maker(radio, clock)
        if make_radio is None:
            config.faults.append("board.radio")
            return
        modem = self._modem = Modem(mac, make_radio, sessions, self.quiet, clock, node.log)
        command_key = node.identity.bytes("command_key") or b""
        signed = commands.Commands(
            Key(_aes(command_key)) if len(command_key) == 16 else None, dev_eui, self._marks
        )
        uplink = LoraUplink(
            modem,
            node.spool,
            node.recorder,
            Budget(options.airtime_s, clock.uptime_ms()),
            options,
            signed,
            self.interval_s,
            self._pace,
            lambda unix_ms: self._app.on_time(unix_ms),
            self._obey,
            self._battery,
            _below,
            _SYNC_SLEEPER_S if config.deep_sleep else _SYNC_S,
            clock,
            node.counters,
            node.log,
        )
        self.uplink = uplink
        found = node.crumb.found_session
        # It is good for one start: whatever comes, the next one has only what is in flash.
        node.crumb.found_session = b""
        if found:
            node.crumb.save()
            if uplink.unpack(found):
                self.interval_s *= uplink.stretch
                return
        if state:
            off_ms = 0
            if clock.known and sessions.saved_s:
                off_ms = max(0, clock.unix_ms() - 1000 * sessions.saved_s)
            try:
                mac.restore(state, off_ms)
            except LorawanError:
                mac.dev_nonce = max(mac.dev_nonce, sessions.first_nonce)
                node.log.error("lora", "session not understood: joins anew")

    # What the uplink asks for.

    def _pace(self, interval_s: int) -> None:
        if self._running:
            self._sampler.pace(interval_s)

    def _battery(self) -> int:
        volts = self._node.battery()
        if not isinstance(volts, float):
            return _UNKNOWN
        return min(254, max(1, int(1 + 253 * (volts - _EMPTY_V) / _RANGE_V)))

    def _obey(self, code: int, argument: int) -> bool:
        """Do what a command wants; False where that is out of bounds."""
        uplink, node = self.uplink, self._node
        if uplink is None:
            return False
        if code == commands.INTERVAL:
            if argument and not _SHORTEST_S <= argument <= _LONGEST_S:
                return False
            # The profile's interval is in it: it holds until there is another profile.
            self._marks.set("interval", self._tag() | argument)
            uplink.set_interval(self._interval_s())
        elif code == commands.RESTART:
            node.log.info("app", "restart")
            try:
                node.spool.close()
            except OSError:
                pass  # what is not saved is sent once more
            self._app.keep()
            machine.reset()
        elif code == commands.REJOIN:
            session = uplink.mac.session
            if session is not None and session.age_s < _REJOIN_S:
                return False
            uplink.ask_rejoin()
        elif code == commands.HEALTH:
            self._health.report()
        node.log.info("lora", "command %d obeyed" % code)
        return True

    def _tag(self) -> int:
        return (self._node.config.interval_s & 0x3FFF) << 17

    def _interval_s(self) -> int:
        kept = self._marks.get("interval")
        chosen = kept & 0x1FFFF
        if chosen and kept >> 17 == self._tag() >> 17 and chosen <= _LONGEST_S:
            return chosen
        return self._node.config.interval_s


def _aes(key):
    return cryptolib.aes(key, 1).encrypt


def _below(n: int) -> int:
    return int.from_bytes(os.urandom(4), "little") % n


def _maker(radio, clock):
    """Return a function that makes the radio, or None where its pins cannot be had."""
    sck, mosi, miso, cs, reset = radio.pins
    pin = machine.Pin
    try:
        spi = machine.SPI(_SPI, baudrate=_SPI_HZ, sck=pin(sck), mosi=pin(mosi), miso=pin(miso))
        # Both were held through deep sleep.
        select = pin(cs, pin.OUT, value=1, hold=False)  # type: ignore[call-arg]
        nreset = pin(reset, pin.OUT, value=1, hold=False)  # type: ignore[call-arg]
        busy = None if radio.busy is None else pin(radio.busy, pin.IN)
    except (ValueError, OSError):
        return None
    if busy is None:
        from node.radio.sx127x import SX127x

        return lambda: SX127x(spi, select, nreset, clock)
    from node.radio.sx126x import SX126x

    return lambda: SX126x(spi, select, nreset, busy, clock, radio.tcxo_mv, radio.dio2_switch)
