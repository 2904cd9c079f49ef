"""Every record type and field that goes on the air: the only place that knows them.

A field is a row `(name, unit, num, den, zero, low, high, form)`: a value in `unit` has
`steps = round(value * num / den)`, from `low` to `high`; on the air it is `steps - zero`.
So `den / num` is the resolution, and `zero` is chosen to keep common values in few bytes.
`form` is () for a number, `VERSION` for "major.minor.patch", else the names of the codes 0, 1, …

A field is never moved, reused, or given another scale: that is a new record type. New fields and
new names are added at the end. A record has at most 19 fields, so that with the four values in
front of them it has an array head of one byte.
"""

from .const import const

CLIMATE = const(1)
WEATHER = const(2)
TRAFFIC = const(3)
HEALTH = const(4)
EVENT = const(5)

# The commonest bits are the lowest: a status up to 23 takes one byte.
CLOCK_SYNCED = const(1)  # the clock was set from the network since the last cold start
RESTARTED = const(2)  # first record after a restart
SENSOR_FAULT = const(4)  # a sensor gave nothing for this record
LOW_BATTERY = const(8)
OVERRUN = const(16)  # records were dropped, or samples lost, since the last record
TAMPER = const(32)
SUSPECT = const(64)  # a reading of this record is hardly possible

STATUS = (
    "clock_synced",
    "restarted",
    "sensor_fault",
    "low_battery",
    "overrun",
    "tamper",
    "suspect",
)

VERSION = ("major", "minor", "patch")

# The first six are what machine.reset_cause() tells; the others need a breadcrumb.
RESET_CAUSES = (
    "unknown",
    "poweron",
    "hard",
    "wdt",
    "deepsleep",
    "soft",
    "sw",
    "panic",
    "brownout",
    "update",
)

# With what `detail` is: restart: number of the reset cause; fault_*, suspect_*: place of the sensor
# in the configuration, -1 for what counts traffic; clock_set: seconds the clock was moved by; the
# others: 0.
EVENTS = (
    "restart",
    "tamper",
    "fault_on",
    "fault_off",
    "config_fault",
    "clock_set",
    "suspect_on",
    "suspect_off",
)

_U32 = const(0xFFFFFFFF)

RECORDS: dict[
    int,
    tuple[str, tuple[tuple[str, str, int, int, int, int, int, tuple[str, ...]], ...]],
] = {
    CLIMATE: (
        "climate",
        (
            ("temperature_c", "°C", 100, 1, 0, -6000, 12500, ()),
            ("humidity_pct", "%", 10, 1, 0, 0, 1000, ()),
            ("pressure_pa", "Pa", 1, 1, 100000, 30000, 120000, ()),
            ("co2_ppm", "ppm", 1, 1, 400, 0, 40000, ()),
            ("pm25_ugm3", "µg/m³", 10, 1, 0, 0, 50000, ()),
            ("pm10_ugm3", "µg/m³", 10, 1, 0, 0, 50000, ()),
            ("battery_v", "V", 100, 1, 200, 0, 3000, ()),
            ("pm1_ugm3", "µg/m³", 10, 1, 0, 0, 50000, ()),
            ("pm4_ugm3", "µg/m³", 10, 1, 0, 0, 50000, ()),
            ("gas_ohm", "Ω", 1, 10, 0, 0, 5000000, ()),
            ("surface_c", "°C", 100, 1, 0, -7000, 40000, ()),
            ("ambient_c", "°C", 100, 1, 0, -6000, 12500, ()),
            ("temperature_min_c", "°C", 100, 1, 0, -6000, 12500, ()),
            ("temperature_max_c", "°C", 100, 1, 0, -6000, 12500, ()),
            ("pm25_max_ugm3", "µg/m³", 10, 1, 0, 0, 50000, ()),
        ),
    ),
    WEATHER: (
        "weather",
        (
            ("rain_mm", "mm", 10, 1, 0, 0, 5000, ()),
            ("wind_ms", "m/s", 10, 1, 0, 0, 1000, ()),
            ("gust_ms", "m/s", 10, 1, 0, 0, 1000, ()),
            ("wind_from_deg", "°", 1, 1, 0, 0, 360, ()),
            ("solar_wm2", "W/m²", 1, 1, 0, 0, 2000, ()),
            ("battery_v", "V", 100, 1, 200, 0, 3000, ()),
            ("wind_min_ms", "m/s", 10, 1, 0, 0, 1000, ()),
            ("wind_sd_ms", "m/s", 10, 1, 0, 0, 1000, ()),
        ),
    ),
    TRAFFIC: (
        "traffic",
        (
            ("interval_s", "s", 1, 60, 0, 1, 1440, ()),
            ("bikes_1", "", 1, 1, 0, 0, 0xFFFF, ()),
            ("cars_1", "", 1, 1, 0, 0, 0xFFFF, ()),
            ("heavy_1", "", 1, 1, 0, 0, 0xFFFF, ()),
            ("bikes_2", "", 1, 1, 0, 0, 0xFFFF, ()),
            ("cars_2", "", 1, 1, 0, 0, 0xFFFF, ()),
            ("heavy_2", "", 1, 1, 0, 0, 0xFFFF, ()),
            ("speed_1_kmh", "km/h", 2, 1, 0, 0, 600, ()),
            ("speed_2_kmh", "km/h", 2, 1, 0, 0, 600, ()),
            ("v85_1_kmh", "km/h", 2, 1, 0, 0, 600, ()),
            ("v85_2_kmh", "km/h", 2, 1, 0, 0, 600, ()),
            ("occupancy_pct", "%", 2, 1, 0, 0, 200, ()),
            ("battery_v", "V", 100, 1, 200, 0, 3000, ()),
        ),
    ),
    # Counters are since the start of the program. 16 bytes is a block of the ESP32's heap.
    HEALTH: (
        "health",
        (
            ("firmware", "", 1, 1, 0, 0, 999999, VERSION),
            ("reset_cause", "", 1, 1, 0, 0, 255, RESET_CAUSES),
            ("epoch", "", 1, 1, 0, 0, _U32, ()),
            ("restarts", "", 1, 1, 0, 0, _U32, ()),
            ("uptime_s", "s", 1, 1, 0, 0, _U32, ()),
            ("heap_free_b", "B", 1, 16, 0, 0, 0xFFFFFFF, ()),
            ("idf_heap_free_b", "B", 1, 16, 0, 0, 0xFFFFFFF, ()),
            ("spool_records", "", 1, 1, 0, 0, _U32, ()),
            ("dropped", "", 1, 1, 0, 0, _U32, ()),
            ("sensor_faults", "", 1, 1, 0, 0, _U32, ()),
            ("link_reconnects", "", 1, 1, 0, 0, _U32, ()),
            ("broker_reconnects", "", 1, 1, 0, 0, _U32, ()),
            ("rssi_dbm", "dBm", 1, 1, 0, -200, 50, ()),
            ("snr_db", "dB", 4, 1, 0, -128, 127, ()),
            ("battery_v", "V", 100, 1, 200, 0, 3000, ()),
            ("solar_v", "V", 100, 1, 0, 0, 6000, ()),
        ),
    ),
    EVENT: (
        "event",
        (
            ("code", "", 1, 1, 0, 0, 255, EVENTS),
            ("detail", "", 1, 1, 0, -0x80000000, 0x7FFFFFFF, ()),
        ),
    ),
}
