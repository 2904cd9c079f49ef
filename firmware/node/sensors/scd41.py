"""Sensirion SCD41 (and SCD43): CO2, temperature, humidity (SCD4x datasheet, version 1.6).

Used in single shots: idle between them. The automatic self-calibration is off unless asked for:
it needs air of 400 ppm once a week and power for days on end, which a node in a tunnel or one
that sleeps does not have. `reinit` is never sent: chips have been seen to lose a forced
recalibration by it.
"""

import struct

from node.sensors import SensorError
from node.sensors.sensirion import Commands
from node.wire.const import const

_START_PERIODIC = const(0x21B1)
_START_LOW_POWER = const(0x21AC)
_STOP_PERIODIC = const(0x3F86)
_READ = const(0xEC05)
_DATA_READY = const(0xE4B8)
_SINGLE_SHOT = const(0x219D)
_SINGLE_SHOT_RHT = const(0x2196)
_SET_PRESSURE = const(0xE000)
_SET_ASC = const(0x2416)
_GET_ASC = const(0x2313)
_RECALIBRATE = const(0x362F)
_SERIAL = const(0x3682)
_VARIANT = const(0x202F)
_WAKE_UP = const(0x36F6)

_ANSWER_MS = const(2)  # 1 ms at most, and a tick is a millisecond
_WAKE_MS = const(30)
_STOP_MS = const(500)
_SHOT_MS = const(5000)
_RHT_MS = const(50)
_RECALIBRATE_MS = const(400)
_LATE_MS = const(300)
_POLL_MS = const(20)
_POLLS = const(15)
_PERIODIC_POLL_MS = const(100)
_PERIOD_MS = const(5000)
_LOW_POWER_PERIOD_MS = const(30000)

_READY = const(0x7FF)
_HAVE_SHOTS = (1, 5)  # an SCD40 (0) measures periodically only
# The first shots after a start read low: they are taken and thrown away.
_UNTRUE_SHOTS = const(2)
_LEAST_PA = const(70000)
_MOST_PA = const(120000)
_FAILED = const(0xFFFF)


def celsius(raw: int) -> float:
    """Return the temperature in °C (table of section 3.5.2)."""
    return -45 + 175 * raw / 65535


def percent(raw: int) -> float:
    """Return the relative humidity in % (table of section 3.5.2)."""
    return 100 * raw / 65535


class SCD41:
    """The chip at `address` (0x62) of an I2C bus; `asc` has it calibrate itself.

    `measure` takes 5 s, the first one after a start 15 s.
    """

    BUS = "i2c"
    FIELDS = ("co2_ppm", "temperature_c", "humidity_pct")

    def __init__(self, bus, address: int, clock, asc: bool = False) -> None:
        self._clock = clock
        self._chip = Commands(bus, address)
        self._word = bytearray(3)
        self._data = bytearray(9)
        self._period_ms = 0
        self._untrue = _UNTRUE_SHOTS
        try:
            self._chip.send(_WAKE_UP)  # is not acknowledged by one that sleeps
        except OSError:
            pass
        clock.wait_ms(_WAKE_MS)
        try:
            self._fetch_serial()
        except OSError:
            # A restart of the node has left it measuring: then it takes little else.
            self._chip.send(_STOP_PERIODIC)
            clock.wait_ms(_STOP_MS)
            self._fetch_serial()
        if self._ask(_VARIANT) >> 12 not in _HAVE_SHOTS:
            raise SensorError("id")
        # Set in RAM and not persisted: the chip's memory bears some 2000 writes.
        if self._ask(_GET_ASC) != asc:
            self._chip.send_word(_SET_ASC, asc)
            clock.wait_ms(_ANSWER_MS)

    async def measure(self) -> tuple:
        """Return CO2 (ppm), temperature (°C) and humidity (%) of one measurement."""
        if self._period_ms:
            await self._ready(2 * self._period_ms, _PERIODIC_POLL_MS)
            return self._read()
        while self._untrue:
            await self._shot(_SINGLE_SHOT, _SHOT_MS)
            self._untrue -= 1
        co2_ppm, temperature_c, humidity_pct = await self._shot(_SINGLE_SHOT, _SHOT_MS)
        if not co2_ppm:
            raise SensorError("skipped")
        return co2_ppm, temperature_c, humidity_pct

    async def measure_rht(self) -> tuple:
        """Return temperature (°C) and humidity (%) alone: 50 ms, and the lamp stays off."""
        return (await self._shot(_SINGLE_SHOT_RHT, _RHT_MS))[1:]

    def set_pressure(self, pressure_pa: float) -> None:
        """Tell the chip the air's pressure; ValueError outside of 700 to 1200 hPa.

        Without it the reading is off by 1 % for each 10 hPa from 1013 hPa.
        """
        if not _LEAST_PA <= pressure_pa <= _MOST_PA:
            raise ValueError("pressure in Pa")
        self._chip.send_word(_SET_PRESSURE, round(pressure_pa / 100))
        self._clock.wait_ms(_ANSWER_MS)

    def start(self, low_power: bool = False) -> None:
        """Measure from now on every 5 s, or every 30 s with `low_power`; `measure` waits for it."""
        self._chip.send(_START_LOW_POWER if low_power else _START_PERIODIC)
        self._period_ms = _LOW_POWER_PERIOD_MS if low_power else _PERIOD_MS

    async def stop(self) -> None:
        """End periodic measurement."""
        self._chip.send(_STOP_PERIODIC)
        self._period_ms = 0
        await self._clock.sleep_ms(_STOP_MS)

    async def recalibrate(self, co2_ppm: int) -> int:
        """Tell the chip what it measures now and return by how many ppm it was wrong.

        Section 3.8.1: it must have measured this air for three minutes in the mode that it will be
        used in. SensorError "calibration" if it has not.
        """
        if self._period_ms:
            await self.stop()
        self._chip.send_word(_RECALIBRATE, co2_ppm)
        await self._clock.sleep_ms(_RECALIBRATE_MS)
        await self._patient_fetch(self._word)
        word = (self._word[0] << 8) | self._word[1]
        if word == _FAILED:
            raise SensorError("calibration")
        return word - 0x8000

    async def _shot(self, command: int, ms: int) -> tuple:
        try:
            self._chip.send(command)
        except OSError:
            # One that measures by itself does not take it, whoever has told it to.
            await self.stop()
            self._chip.send(command)
        await self._clock.sleep_ms(ms)
        await self._ready(_LATE_MS, _POLL_MS)
        return self._read()

    async def _ready(self, late_ms: int, poll_ms: int) -> None:
        # A chip that still measures does not acknowledge, or says that it has nothing yet.
        start = self._clock.ticks_ms()
        while True:
            try:
                if self._ask(_DATA_READY) & _READY:
                    return
                error: Exception = SensorError("timeout")
            except OSError as refusal:
                error = refusal
            if self._clock.ticks_diff(self._clock.ticks_ms(), start) > late_ms:
                raise error
            await self._clock.sleep_ms(poll_ms)

    async def _patient_fetch(self, data) -> None:
        for _ in range(_POLLS):
            try:
                self._chip.fetch(data)
                return
            except OSError:
                await self._clock.sleep_ms(_POLL_MS)
        self._chip.fetch(data)

    def _read(self) -> tuple:
        data = self._data
        self._chip.send(_READ)
        self._clock.wait_ms(_ANSWER_MS)
        self._chip.fetch(data)
        co2_ppm, t, h = struct.unpack(">HxHxHx", data)
        return co2_ppm, celsius(t), percent(h)

    def _fetch_serial(self) -> None:
        self._chip.send(_SERIAL)
        self._clock.wait_ms(_ANSWER_MS)
        self._chip.fetch(self._data)

    def _ask(self, command: int) -> int:
        self._chip.send(command)
        self._clock.wait_ms(_ANSWER_MS)
        self._chip.fetch(self._word)
        return (self._word[0] << 8) | self._word[1]


DRIVER = SCD41
