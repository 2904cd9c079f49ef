"""What a profile draws from a battery, from the currents in datasheets (`currents.toml`)."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from citynode import resources
from citynode.boards import Board
from citynode.profiles import LorawanUplink, Profile
from citynode.tomlfile import Table, load

CELL_V = 3.7
_DAY_S = 86_400
_BOOST = 0.85  # efficiency of the converter that makes 5 V
_USABLE = 0.8  # of a cell's capacity, in the cold and to the voltage at which a board gives up
_LOSS_PER_DAY = 0.03 / 30  # self-discharge

# Time on air of a climate record (29 bytes and 13 of LoRaWAN) at DR0 … DR5, in s (AN1200.13).
_ON_AIR_S = (2.138, 1.151, 0.535, 0.288, 0.154, 0.087)
DATA_RATES = range(len(_ON_AIR_S))
# The two receive windows of an uplink, with what clock errors add; and the time that the chip is
# awake: start (1.5 s of lead), the uplink, and 2 s to the second window.
_WINDOWS_S = 0.15
_LORA_AWAKE_S = 4.0
# With WiFi: start, join (scan, WPA2, DHCP), TLS and delivery; all with the radio on.
_WIFI_AWAKE_S = 4.5


class _Chip(Table):
    awake_ma: float
    wifi_ma: float
    wifi_join_ma: float
    deep_sleep_ma: float


class _Radio(Table):
    send_ma: float
    receive_ma: float
    sleep_ma: float


_NO_RADIO = _Radio(send_ma=0.0, receive_ma=0.0, sleep_ma=0.0)


class _Sensor(Table):
    idle_ma: float
    active_ma: float
    active_s: float
    supply_v: float = 3.3
    source: str


class _Currents(Table):
    chips: dict[str, _Chip]
    radios: dict[str, _Radio]
    sensors: dict[str, _Sensor]


@dataclass(frozen=True, slots=True)
class Part:
    """What one part draws: mAh in a day at the cell (3.7 V), None where nobody knows; and why."""

    name: str
    mah: float | None
    why: str


@dataclass(frozen=True, slots=True)
class Draw:
    """What a node draws at the cell (mA), by what its parts do."""

    awake: float
    wifi: float
    wifi_join: float
    deep_sleep: float
    send: float
    receive: float
    radio_sleep: float
    sensors: float  # on average, as often as the profile reads them


@cache
def _currents() -> _Currents:
    return load(resources.provisioning() / "currents.toml", _Currents)


def parts(board: Board, profile: Profile, data_rate: int = 5) -> list[Part]:
    """Return what each part of a node draws in a day.

    `data_rate` (0 … 5) is that of LoRaWAN: a record is an uplink of its own, as long as the air
    time of the profile lasts. Raises CitynodeError as `load` does.
    """
    return [*_node(board, profile, data_rate), *_sensors(profile)]


def draw(board: Board, profile: Profile) -> Draw:
    """Return the currents of a node's parts; those that nobody knows are 0.

    Raises CitynodeError as `load` does.
    """
    chip = _currents().chips[board.chip]
    radio = _NO_RADIO if board.radio is None else _currents().radios[board.radio.chip]
    return Draw(
        awake=chip.awake_ma,
        wifi=chip.wifi_ma,
        wifi_join=chip.wifi_join_ma,
        deep_sleep=chip.deep_sleep_ma,
        send=radio.send_ma,
        receive=radio.receive_ma,
        radio_sleep=radio.sleep_ma,
        sensors=total_mah(list(_sensors(profile))) / 24,
    )


def total_mah(found: list[Part]) -> float:
    """Return the sum of what is known."""
    return sum(part.mah or 0.0 for part in found)


def life_days(mah_a_day: float, capacity_mah: float) -> float:
    """Return how many days a cell lasts: four fifths of it, with 3 % of self-discharge a month."""
    return _USABLE * capacity_mah / (mah_a_day + _LOSS_PER_DAY * capacity_mah)


def _node(board: Board, profile: Profile, data_rate: int) -> Iterator[Part]:
    chip = _currents().chips[board.chip]
    samples = _DAY_S / profile.interval_s
    uplink = profile.uplink
    awake_s = float(_DAY_S)
    if profile.sleep == "deep":
        each = _LORA_AWAKE_S if isinstance(uplink, LorawanUplink) else _WIFI_AWAKE_S
        warm_s = max((sensor.driver.warm_up_ms / 1000 for sensor in profile.sensors), default=0.0)
        awake_s = min(_DAY_S, samples * (each + warm_s))
        slept_s = _DAY_S - awake_s
        why = f"{slept_s / 3600:.1f} h at {1000 * chip.deep_sleep_ma:.0f} µA"
        yield Part("deep sleep", chip.deep_sleep_ma * slept_s / 3600, why)
    if isinstance(uplink, LorawanUplink):
        why = f"{awake_s / 3600:.1f} h awake at {chip.awake_ma:.0f} mA"
        yield Part("processor", chip.awake_ma * awake_s / 3600, why)
        if board.radio is not None:
            yield _lora(board.radio.chip, uplink, samples, data_rate)
        return
    if profile.sleep == "deep":
        why = f"{samples:.0f} times {_WIFI_AWAKE_S:.1f} s at {chip.wifi_join_ma:.0f} mA"
        joins_s = min(awake_s, samples * _WIFI_AWAKE_S)
        mah = (chip.wifi_join_ma * joins_s + chip.awake_ma * (awake_s - joins_s)) / 3600
        yield Part("processor and WiFi", mah, why)
    else:
        yield Part("processor and WiFi", chip.wifi_ma * 24, f"24 h at {chip.wifi_ma:.0f} mA")


def _sensors(profile: Profile) -> Iterator[Part]:
    for sensor in profile.sensors:
        readings = _DAY_S / (sensor.interval_s or profile.interval_s)
        yield _sensor(sensor.chip, readings, sensor.driver.warm_up_ms / 1000)
    if profile.traffic is not None:
        # They look at the road all day.
        for _ in profile.traffic.places():
            yield _sensor(profile.traffic.sensor, 0, 0)


def _lora(name: str, uplink: LorawanUplink, samples: float, data_rate: int) -> Part:
    radio = _currents().radios[name]
    on_air_s = _ON_AIR_S[data_rate]
    sent = min(samples, uplink.airtime_s_per_day / on_air_s)
    mas = sent * (radio.send_ma * on_air_s + radio.receive_ma * _WINDOWS_S)
    why = f"{sent:.0f} uplinks of {1000 * on_air_s:.0f} ms at {radio.send_ma:.0f} mA, and windows"
    return Part(f"radio {name}", mas / 3600 + radio.sleep_ma * 24, why)


def _sensor(chip: str, readings: float, warm_up_s: float) -> Part:
    known = _currents().sensors.get(chip)
    if known is None:
        return Part(chip, None, "its currents are not in currents.toml")
    each_s = known.active_s + warm_up_s
    active_s = min(float(_DAY_S), readings * each_s)
    mas = known.active_ma * active_s + known.idle_ma * (_DAY_S - active_s)
    cell = 1.0 if known.supply_v < CELL_V else known.supply_v / (CELL_V * _BOOST)
    why = f"{readings:.0f} readings of {each_s:.3g} s at {known.active_ma:g} mA"
    if not each_s:
        why = f"24 h at {known.idle_ma:g} mA"
    if cell > 1:
        why += f", from {known.supply_v:g} V"
    return Part(chip, mas / 3600 * cell, why)
