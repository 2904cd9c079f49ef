"""`/config.cbor`: any bytes give a configuration to run with, and what was wrong is named."""

from node.core import config
from node.core.config import Config
from node.wire.cbor import UNDEFINED, put
from node_tools import Chance

GOOD = {
    "v": 1,
    "board": {
        "id": "esp32-devkit",
        "i2c": {"scl": 22, "sda": 21, "freq": 400000},
        "led": 2,
        "battery": {"pin": 35, "ratio": 2.0},
        "solar": {"pin": 36, "ratio": 3, "switch": 37, "level": 1},
        "uarts": [{"rx": 16, "tx": 17}],
    },
    "site": "park",
    "statistics": True,
    "interval_s": 60,
    "health_s": 600,
    "sensors": [
        {"chip": "bme280", "address": 0x76, "settle_ms": 10, "retries": 1},
        {"chip": "sht4x", "address": 0x44, "settle_ms": 0, "retries": 0},
    ],
    "uplink": {
        "kind": "wifi",
        "host": "mqtt.example.org",
        "tls": True,
        "port": 8884,
        "keepalive_s": 30,
    },
    "ntp": "ntp.example.org",
    "sleep": "deep",
    "spool_kib": 64,
    "log": "debug",
}
RADIO = {
    "chip": "sx1262", "sck": 5, "miso": 3, "mosi": 6, "cs": 7, "reset": 8, "busy": 34,
    "tcxo_mv": 1800, "dio2_switch": True,
}  # fmt: skip
LORAWAN = {
    "kind": "lorawan", "region": "EU868", "airtime_s_per_day": 60, "confirmed_every": 4,
    "link_check": False, "adr": False, "clock_error_ppm": 500, "antenna_gain_dbi": -1,
    "certification": True,
}  # fmt: skip
BAD = object()  # a key that is left out
CELL = (35, 2.0, None, 0)


def copy(value):
    if isinstance(value, dict):
        return {key: copy(item) for key, item in value.items()}
    return [copy(item) for item in value] if isinstance(value, list) else value


def changed(path, value):
    """Return the good configuration with one value replaced."""
    return with_changed(GOOD, path, value)


def with_changed(good, path, value):
    """Return a configuration with one value replaced."""
    given = at = copy(good)
    for key in path[:-1]:
        at = at[key]
    if value is BAD:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return given


def shown(sensors):
    return [
        (s.place, s.chip, s.address or s.uart or s.pin, s.settle_ms, s.retries) for s in sensors
    ]


def seen(c):
    """Return all that a configuration says, but its faults."""
    values = {name: value for name, value in c.__dict__.items() if name != "faults"}
    values["sensors"] = shown(c.sensors)
    return values


def test_a_good_configuration():
    c = Config(copy(GOOD))
    assert c.faults == []
    assert seen(c) == {
        "board": "esp32-devkit",
        "i2c": (22, 21, 400000),
        "i2c2": None,
        "uarts": [(16, 17)],
        "led": 2,
        "battery": (35, 2.0, None, 0),
        "solar": (36, 3, 37, 1),
        "statistics": True,
        "site": "park",
        "interval_s": 60,
        "health_s": 600,
        "sensors": [(0, "bme280", 0x76, 10, 1), (1, "sht4x", 0x44, 0, 0)],
        "lorawan": None,
        "host": "mqtt.example.org",
        "tls": True,
        "port": 8884,
        "keepalive_s": 30,
        "ntp": "ntp.example.org",
        "deep_sleep": True,
        "traffic": None,
        "spool_bytes": 65536,
        "log_level": 0,
    }


def test_a_board_without_the_optional_parts():
    given = changed(("board",), {"id": "x", "i2c": None, "led": None, "battery": None})
    c = Config(given)
    assert c.faults == []
    assert (c.i2c, c.led, c.battery) == (None, None, None)


# Path, wrong values, the attribute that has the default then.
NUMBERS = (
    (("interval_s",), (0, 86401, -1, 1 << 40), "interval_s", 300),
    (("health_s",), (0, 604801), "health_s", 3600),
    (("uplink", "port"), (0, 65536), "port", 8883),
    (("uplink", "keepalive_s"), (4, 65536), "keepalive_s", 60),
    (("spool_kib",), (7, 8193), "spool_bytes", 256 * 1024),
)
NO_NUMBER = (BAD, None, True, False, 60.0, "60", b"60", [60], {}, UNDEFINED)
TEXTS = (
    (("board", "id"), 32, "board", "unknown"),
    (("site",), 64, "site", ""),
    (("uplink", "host"), 128, "host", ""),
    (("ntp",), 128, "ntp", "pool.ntp.org"),
)
NO_TEXT = (BAD, None, True, 7, b"park", ["park"], {}, UNDEFINED)
CHOICES = (
    (("uplink", "kind"), ("lora", ""), None, None),
    (("sleep",), ("light", ""), "deep_sleep", False),
    (("log",), ("verbose", "", "DEBUG"), "log_level", 1),
    (("uplink", "tls"), (0, 1, "yes"), "tls", True),
    (("statistics",), (0, 1, "yes"), "statistics", False),
)


def rows():
    for path, wrong, name, default in NUMBERS:
        for value in NO_NUMBER + wrong:
            yield path, value, name, default
    for path, longest, name, default in TEXTS:
        for value in NO_TEXT + ("x" * (longest + 1),):
            yield path, value, name, default
    for path, wrong, name, default in CHOICES:
        for value in (BAD, None, 7, [], {}, UNDEFINED) + wrong:
            yield path, value, name, default


def test_each_wrong_value_is_one_named_fault_and_a_default():
    good = seen(Config(copy(GOOD)))
    count = 0
    for path, value, name, default in rows():
        c = Config(changed(path, value))
        assert c.faults == [".".join(path)], (path, value)
        expected = dict(good)
        if name is not None:
            expected[name] = default
        assert seen(c) == expected, (path, value)
        count += 1
    assert count > 100


def test_the_port_that_goes_with_plain_mqtt():
    given = changed(("uplink", "port"), BAD)
    given["uplink"]["tls"] = False
    c = Config(given)
    assert (c.port, c.tls, c.faults) == (1883, False, ["uplink.port"])


def test_limits_are_good_values():
    for path, low, high in (
        (("interval_s",), 1, 86400),
        (("health_s",), 1, 604800),
        (("uplink", "port"), 1, 65535),
        (("uplink", "keepalive_s"), 5, 65535),
        (("spool_kib",), 8, 8192),
        (("site",), "", "x" * 64),
        (("board", "led"), 0, 48),
    ):
        assert Config(changed(path, low)).faults == Config(changed(path, high)).faults == []


def test_pins_buses_and_batteries_that_cannot_be():
    for path, values, faults, i2c, battery in (
        (("board", "i2c", "scl"), (-1, 49, None, "22", 22.0, True), 2, None, CELL),
        (("board", "i2c", "scl"), (21,), 1, None, CELL),  # the pin of the other line
        (("board", "i2c", "freq"), (9999, 1000001, None), 1, (22, 21, 100000), CELL),
        (("board", "i2c"), (7, [22, 21], "22"), 1, None, CELL),
        (("board", "battery"), (7, [35, 2.0]), 1, (22, 21, 400000), None),
        (("board", "battery", "pin"), (-1, 49), 2, (22, 21, 400000), None),
        (("board", "battery", "ratio"), (0, -1.0, 100.5, float("inf"), float("nan"), None, "2"), 1,
         (22, 21, 400000), None),
        (("board", "led"), (-1, 49, 2.0, True), 1, (22, 21, 400000), CELL),
    ):  # fmt: skip
        for value in values:
            c = Config(changed(path, value))
            wanted = 1 if value is None and path[-1] != "freq" else faults
            assert len(c.faults) == wanted, (path, value, c.faults)
            assert all(fault.startswith(".".join(path[:2])) for fault in c.faults)
            assert (c.i2c, c.battery) == (i2c, battery), (path, value)
            assert c.led == (None if path[-1] == "led" else 2)


def test_sensors_that_cannot_be_are_left_out_and_the_others_keep_their_places():
    for path, value, fault, places in (
        ((0,), 7, "sensors[0]", [1]),
        ((0, "chip"), "../main", "sensors[0].chip", [1]),
        ((0, "chip"), "BME280", "sensors[0].chip", [1]),
        ((0, "chip"), "", "sensors[0].chip", [1]),
        ((0, "chip"), "x" * 17, "sensors[0].chip", [1]),
        ((0, "chip"), 280, "sensors[0].chip", [1]),
        ((1, "address"), 0x78, "sensors[1].address", [0]),
        ((1, "address"), 0x07, "sensors[1].address", [0]),
        ((1, "address"), None, "sensors[1].address", [0]),
        ((1, "settle_ms"), 60001, "sensors[1].settle_ms", [0, 1]),
        ((1, "retries"), -1, "sensors[1].retries", [0, 1]),
    ):
        c = Config(changed(("sensors",) + path, value))
        assert c.faults == [fault]
        assert [sensor.place for sensor in c.sensors] == places
    for value in (None, {}, "bme280", BAD):
        c = Config(changed(("sensors",), value))
        assert (c.faults, c.sensors) == (["sensors"], [])
    many = Config(changed(("sensors",), copy(GOOD["sensors"]) * 5))
    assert (many.faults, len(many.sensors)) == (["sensors[8]"], 8)


ROW = {"chip": "x", "settle_ms": 0, "retries": 0}


def sensor_of(**given):
    """Return the sensor of a row, None if it is left out, and the faults."""
    c = Config(changed(("sensors",), [dict(ROW, **given)]))
    return c.sensors[0] if c.sensors else None, c.faults


def test_where_a_sensor_is_connected():
    for given, wanted in (
        ({"address": 0x30}, (0x30, 1, 0, None)),
        ({"address": 0x30, "bus": 2}, (0x30, 2, 0, None)),
        ({"uart": 1}, (0, 1, 1, None)),
        ({"pin": 0}, (0, 1, 0, 0)),
    ):
        s, faults = sensor_of(**given)
        assert (s.address, s.bus, s.uart, s.pin) == wanted
        assert faults == []
    for given, fault in (
        ({}, "address"), ({"address": 0x30, "bus": 3}, "bus"), ({"uart": 2}, "uart"),
        ({"uart": None}, "uart"), ({"pin": 49}, "pin"), ({"pin": "d1"}, "pin"),
    ):  # fmt: skip
        s, faults = sensor_of(**given)
        assert faults == ["sensors[0]." + fault]
        assert (s is None) == (fault != "bus")


def test_what_else_a_sensor_may_have():
    s, faults = sensor_of(
        uart=1, switch=4, interval_s=60, options={"asc": True, "north_deg": 12.5},
        adjust={"co2_ppm": [1, -20]}, limits={"co2_ppm": [300, 5000.5]},
    )  # fmt: skip
    assert faults == []
    assert (s.switch, s.interval_s, s.options) == (4, 60, {"asc": True, "north_deg": 12.5})
    assert (s.adjust, s.limits) == ({"co2_ppm": (1, -20)}, {"co2_ppm": (300, 5000.5)})
    for name, wrong, default in (
        ("switch", (-1, "d1"), None),
        ("interval_s", (0, 86401, 1.5, None), 0),
        ("options", (7, {"a": None}, {1: 1}, {"a": [1]}), {}),
        ("adjust", ([], {"a": 1}, {"a": [1]}, {"a": [1, None]}, {1: [1, 2]}), {}),
        ("limits", ({"a": [1, float("nan")]}, {"a": [1, float("inf")]}, {"a": [1, 2, 3]}), {}),
    ):
        for value in wrong:
            s, faults = sensor_of(uart=1, **{name: value})
            assert faults == ["sensors[0]." + name], value
            assert getattr(s, name) == default


def test_ports_that_cannot_be():
    for value in (7, [7], [{"rx": 1}], [{"rx": 1, "tx": 1}], [{"rx": 1, "tx": 2}] * 3):
        c = Config(changed(("board", "uarts"), value))
        assert "board.uarts" in c.faults
        assert c.uarts == []


def over_the_air():
    """Return a good configuration of a node with LoRaWAN."""
    given = copy(GOOD)
    given["board"]["radio"] = copy(RADIO)
    given["uplink"] = copy(LORAWAN)
    del given["ntp"]
    return given


def test_a_node_with_lorawan():
    c = Config(over_the_air())
    assert c.faults == []
    radio, w = c.lorawan.radio, c.lorawan
    assert (radio.chip, radio.pins, radio.busy) == ("sx1262", (5, 6, 3, 7, 8), 34)
    assert (radio.tcxo_mv, radio.dio2_switch) == (1800, True)
    assert (w.airtime_s, w.confirmed_every, w.link_check, w.adr) == (60, 4, False, False)
    assert (w.clock_error_ppm, w.antenna_gain_dbi, w.certification) == (500, -1, True)
    given = over_the_air()
    given["board"]["radio"].update({"chip": "sx1276", "busy": None, "tcxo_mv": 0})
    assert Config(given).faults == []
    assert Config(given).lorawan.radio.busy is None


def test_each_wrong_value_of_lorawan_is_one_named_fault():
    for path, values, name, default in (
        (("uplink", "region"), ("US915", 868, None, BAD), None, None),
        (("uplink", "airtime_s_per_day"), (4, 865, 30.0, True, BAD), "airtime_s", 30),
        (("uplink", "confirmed_every"), (-1, 65, None, BAD), "confirmed_every", 8),
        (("uplink", "link_check"), (0, None, BAD), "link_check", True),
        (("uplink", "adr"), ("yes", BAD), "adr", True),
        (("uplink", "clock_error_ppm"), (-1, 30001, BAD), "clock_error_ppm", 10000),
        (("uplink", "antenna_gain_dbi"), (-11, 17, 2.5, BAD), "antenna_gain_dbi", 2),
        (("uplink", "certification"), (1, BAD), "certification", False),
        (("board", "radio"), (None, 7, [], BAD), "radio", None),
        (("board", "radio", "chip"), ("sx1278", None, BAD), "radio", None),
        (("board", "radio", "sck"), (-1, 49, "5"), "radio", None),
        (("board", "radio", "tcxo_mv"), (-1, 3301, 1.8, BAD), "radio", None),
        (("board", "radio", "dio2_switch"), (1, BAD), "radio", None),
    ):
        for value in values:
            c = Config(with_changed(over_the_air(), path, value))
            assert c.faults == [".".join(path)], (path, value, c.faults)
            if name is not None:
                assert getattr(c.lorawan, name) == default, (path, value)
    for path, value in ((("board", "radio", "busy"), None), (("board", "radio", "cs"), None)):
        c = Config(with_changed(over_the_air(), path, value))
        assert (c.faults, c.lorawan.radio) == (["board.radio"], None)


def test_keys_of_a_later_version_are_no_fault():
    assert Config(changed(("lora",), {"region": "EU868"})).faults == []
    assert Config(changed(("v",), 2)).faults == ["v"]


def fit_for_wifi(c):
    assert 1 <= c.port <= 65535
    assert 5 <= c.keepalive_s <= 65535
    assert c.tls is True or c.tls is False
    assert all(isinstance(text, str) for text in (c.host, c.ntp))


def fit_for_lorawan(c):
    assert 5 <= c.airtime_s <= 864
    assert 0 <= c.confirmed_every <= 64
    assert 0 <= c.clock_error_ppm <= 30000
    for flag in (c.link_check, c.adr, c.certification):
        assert flag is True or flag is False
    if c.radio is not None:
        pins = list(c.radio.pins) + ([] if c.radio.busy is None else [c.radio.busy])
        assert all(0 <= pin <= 48 for pin in pins)
        assert (c.radio.chip, c.radio.busy is None) in (("sx1276", True), ("sx1262", False))
        assert 0 <= c.radio.tcxo_mv <= 3300


def fit(c):
    """Check that the node can run with a configuration, whatever it came from."""
    assert 1 <= c.interval_s <= 86400
    assert 1 <= c.health_s <= 604800
    if c.lorawan is None:
        fit_for_wifi(c)
    else:
        fit_for_lorawan(c.lorawan)
    assert 8192 <= c.spool_bytes <= 8192 * 1024
    assert 0 <= c.log_level <= 3
    assert c.deep_sleep is True or c.deep_sleep is False
    assert all(isinstance(text, str) for text in (c.board, c.site))
    assert len(c.sensors) <= 8
    for sensor in c.sensors:
        assert sensor.chip
        assert all("a" <= x <= "z" or "0" <= x <= "9" or x == "_" for x in sensor.chip)
        ways = (8 <= sensor.address <= 0x77, sensor.uart > 0, sensor.pin is not None)
        assert ways.count(True) == 1
    if c.i2c is not None:
        assert c.i2c[0] != c.i2c[1]
        assert all(0 <= pin <= 48 for pin in c.i2c[:2])
    if c.battery is not None:
        assert 0 < c.battery[1] <= 100
    assert all(isinstance(fault, str) and len(fault) < 40 for fault in c.faults)


def anything(chance, depth=3):
    """Return some value, often one that has its place in a configuration."""
    what = chance.below(13 if depth else 10)
    if what == 0:
        return chance.below(1 << (1 + chance.below(24)))
    if what == 1:
        return -chance.below(300)
    if what == 2:
        return chance.below(1 << 16) / 7
    if what == 3:
        return (True, False, None, UNDEFINED)[chance.below(4)]
    if what == 4:
        return chance.bytes(chance.below(6))
    if what == 5:
        return "x" * chance.below(140)
    if what < 10:
        words = ("bme280", "wifi", "lorawan", "sx1276", "deep", "debug", "none", "\u00e4")
        return words[chance.below(len(words))]
    if what == 10:
        return [anything(chance, depth - 1) for _ in range(chance.below(12))]
    return {KEYS[chance.below(len(KEYS))]: anything(chance, depth - 1) for _ in range(8)}


KEYS = (
    list(GOOD) + list(GOOD["board"]) + list(GOOD["uplink"]) + list(GOOD["sensors"][0])
    + list(GOOD["board"]["solar"])
    + ["bus", "uart", "interval_s", "options", "adjust", "limits", "rx", "tx", "scl", "sda", "freq"]
    + ["pin", "ratio", "radio"] + list(RADIO) + list(LORAWAN)
)  # fmt: skip


# What is wrong with no configuration at all.
EVERYTHING = Config(None).faults


def test_any_value_gives_a_configuration():
    chance = Chance(17)
    for _ in range(1500):
        given = over_the_air() if chance.below(2) else copy(GOOD)
        for _ in range(1 + chance.below(3)):
            at, path = given, None
            while isinstance(at, (dict, list)) and len(at) and (path is None or chance.below(3)):
                path = at, (list(at) if isinstance(at, dict) else range(len(at)))
                key = path[1][chance.below(len(at))]
                at = at[key]
                path = path[0], key
            if path:
                path[0][path[1]] = anything(chance)
        fit(Config(given))
        fit(Config(anything(chance)))


def test_any_bytes_give_a_configuration():
    good = bytearray(600)
    size = put(good, 0, changed(("board", "battery", "ratio"), 2))
    good = bytes(good[:size])
    assert config.load(good).faults == []
    chance = Chance(23)
    differing = 0
    for number in range(2000):
        data = bytearray(good)
        for _ in range(1 + chance.below(3)):
            data[chance.below(size)] = chance.below(256)
        if number % 4 == 0:
            data = data[: chance.below(size)]
        c = config.load(bytes(data))
        fit(c)
        differing += c.faults not in ([], EVERYTHING)
    assert differing > 50
    for data in (b"", b"\xff", b"\xa0", b"\x80", b"\xf6", bytes(5000)):
        c = config.load(data)
        assert c.faults == (EVERYTHING[1:] if data == b"\xa0" else EVERYTHING)
