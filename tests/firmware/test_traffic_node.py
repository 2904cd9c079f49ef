"""`[traffic]` of a profile: what it may say, and what the node makes of it, right or wrong."""

import cbor2
import pytest
from citynode import traffic
from citynode.boards import board_ids, load_board
from citynode.errors import CitynodeError
from citynode.nodefiles import config_cbor
from citynode.profiles import check_fits, load_profile
from node.core import config as node_config
from node.core.config import Config
from node.traffic import kinds

HEAD = """
description = "x"
site = "s"
interval_s = 300
{more}
[uplink]
kind = "wifi"
host = "broker.bench"
tls = false
[traffic]
"""
PAIR = 'sensor = "mmc5983"\nlane_m = 2.5\nspacing_m = 2.0'
ACROSS = 'sensor = "tf02pro"\nmount = "across"\nlane_m = 3'
ALONG = 'sensor = "tf02pro"\nmount = "along"\nangle_deg = 8'
LOOP = 'sensor = "loop"\npin = "d1"'
RADAR = 'sensor = "ops243"\nangle_deg = 15'


@pytest.fixture
def load(tmp_path):
    def load(table, more=""):
        path = tmp_path / "mine.toml"
        path.write_text(HEAD.format(more=more) + table)
        return load_profile(str(path))

    return load


RIGHT = {
    PAIR: ([{"bus": 1, "address": 0x30}, {"bus": 2, "address": 0x30}], 2500, 2000),
    'sensor = "qmc5883l"\nbus = 2\nlane_m = 1.5': ([{"bus": 2, "address": 0x0D}], 1500, 0),
    ACROSS: ([{"uart": 1}], 3000, 0),
    ACROSS + "\nspacing_m = 2": ([{"uart": 1}, {"uart": 2}], 3000, 2000),
    ALONG + "\nuart = 2": ([{"uart": 2}], 0, 0),
    LOOP: ([{"pin": 27}], 0, 0),
    RADAR: ([{"uart": 1}], 0, 0),
    'sensor = "ld2410"\nlane_m = 2.5': ([{"uart": 1}], 2500, 0),
    'sensor = "tfluna"\nmount = "across"\noverhead = true\nfar_m = 5.5': ([{"uart": 1}], 0, 0),
}


@pytest.mark.parametrize("table", RIGHT)
def test_what_a_profile_says_is_what_the_node_has(load, table):
    ports, lane, spacing = RIGHT[table]
    raw = config_cbor(load_board("esp32-devkit"), load(table))
    told = cbor2.loads(raw)["traffic"]
    assert (told["ports"], told["lane"], told["spacing"]) == (ports, lane, spacing)
    config = node_config.load(raw)
    assert config.faults == []
    made = config.traffic
    assert made is not None
    assert (made.sensor, made.mount) == (told["sensor"], told["mount"])
    assert [set(port) - {0} for port in made.ports] == [set(port.values()) for port in ports]
    assert made.geometry["lane"] == lane
    # And there is a detector for it.
    detector = kinds.make(made.sensor, made.mount, made.geometry)
    assert hasattr(detector, "feed")


WRONG = {
    'sensor = "tf03"': "sensor",
    'sensor = "mmc5983"': "lane_m is missing",
    PAIR + "\nuart = 1": "uart",
    PAIR + "\nsecond = { bus = 1 }": "at one place",
    PAIR + "\nmount = 'across'": "no range finder",
    'sensor = "tf02pro"\nlane_m = 3': "mount is missing",
    ALONG.replace("angle_deg = 8", "lane_m = 3"): "angle_deg is missing",
    ALONG + "\nspacing_m = 2": "one sensor along the lane",
    ACROSS + "\nspacing_m = 2\nlanes = 2": "two beams are for one lane",
    ACROSS + "\nangle_deg = 3": "angle_deg is of sensors",
    ACROSS + "\nsecond = { uart = 2 }": "spacing_m",
    RADAR + "\nspacing_m = 2": "not used as a pair",
    RADAR + "\nfar_m = 9": "far_m",
    'sensor = "loop"': "pin is missing",
    LOOP + "\naddress = 48": "not on I2C",
    'sensor = "a02yyuw"\nmount = "along"\nangle_deg = 8': "too slow",
    'sensor = "ld2410"\nlane_m = 2.5\noverhead = true': "overhead",
    ACROSS.replace("lane_m = 3", "lane_m = 99"): "lane_m",
}


@pytest.mark.parametrize("table", WRONG)
def test_what_a_profile_must_not_say(load, table):
    with pytest.raises(CitynodeError, match=WRONG[table]):
        load(table)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ('sleep = "deep"', "sleep must be none"),
        ("health_s = 90000", None),
        ("[[sensors]]\nchip = 'sps30_uart'\nuart = 1", "same uart"),
        ("[[sensors]]\nchip = 'bme280'\naddress = 0x76", None),
    ],
)
def test_the_rest_of_the_profile_goes_with_it(load, more, named):
    if named is None:
        assert load(ACROSS, more).traffic is not None
        return
    with pytest.raises(CitynodeError, match=named):
        load(ACROSS, more)


def test_records_count_minutes(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(HEAD.format(more="").replace("300", "90") + ACROSS)
    with pytest.raises(CitynodeError, match="whole minutes"):
        load_profile(str(path))
    path.write_text(HEAD.format(more="").partition("[traffic]")[0])
    with pytest.raises(CitynodeError, match="nothing to measure"):
        load_profile(str(path))


def test_a_board_has_to_have_the_ports(load):
    for name in board_ids():
        board = load_board(name)
        rows = (
            (PAIR, board.i2c2 is not None),
            (ACROSS, len(board.uarts) > 0),
            (ACROSS + "\nspacing_m = 2", len(board.uarts) > 1),
            (LOOP, "d1" in board.terminals),
            (LOOP.replace("d1", "x9"), False),
        )
        for table, fits in rows:
            if fits:
                check_fits(board, load(table))
            else:
                with pytest.raises(CitynodeError, match=name):
                    check_fits(board, load(table))
    # GPIO36 has no pull-up.
    with pytest.raises(CitynodeError, match="pull-up"):
        check_fits(load_board("lilygo-t3-v1.6.1"), load(LOOP.replace("d1", "a1")))


def good():
    """Return a configuration of a pair of magnetometers, as the host makes it."""
    made = traffic.Traffic(sensor="mmc5983", lane_m=2.5, spacing_m=2.0)
    return traffic.config(load_board("esp32-devkit"), made)


GONE = object()


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        (("sensor",), "tf03", "traffic.sensor"),
        (("sensor",), 7, "traffic.sensor"),
        (("sensor",), "tfluna", "traffic.ports[0]"),
        (("ports",), GONE, "traffic.ports"),
        (("ports",), [], "traffic.ports"),
        (("ports",), [{"bus": 1, "address": 0x30}] * 2, "traffic.ports"),
        (("ports", 1, "bus"), 3, "traffic.ports[1]"),
        (("ports", 1, "bus"), True, "traffic.ports[1].bus"),
        (("ports", 1, "bus"), GONE, "traffic.ports[1]"),
        (("ports", 0), 5, "traffic.ports[0]"),
        (("ports", 0, "address"), 0x99, "traffic.ports[0].address"),
        (("mount",), "above", "traffic.mount"),
        (("lane",), -1, "traffic.lane"),
        (("lane",), 2.5, "traffic.lane"),
        (("lanes",), 0, "traffic.lanes"),
        (("angle",), 90, "traffic.angle"),
        (("angle",), float("nan"), "traffic.angle"),
        (("angle",), "8", "traffic.angle"),
        (("overhead",), 1, "traffic.overhead"),
        (("park_s",), GONE, "traffic.park_s"),
        (("spacing",), 0, "traffic.spacing"),
    ],
)
def test_a_wrong_value_is_named_and_the_node_starts(path, value, fault):
    given = good()
    *way, last = path
    place = given
    for step in way:
        place = place[step]
    if value is GONE:
        del place[last]
    else:
        place[last] = value
    config = Config({"traffic": given})
    assert next(name for name in config.faults if name.startswith("traffic")) == fault
    made = config.traffic
    if made is not None:
        assert all(0 < number < 49 for number, _ in made.ports)
        assert hasattr(kinds.make(made.sensor, made.mount, made.geometry), "feed")


def test_a_node_that_sleeps_counts_nothing_and_so_it_stays_awake():
    config = Config({"traffic": good(), "sleep": "deep"})
    assert "sleep" in config.faults
    assert config.traffic is not None
    assert not config.deep_sleep
    for given in (None, 5, [], "mmc5983"):
        config = Config({"traffic": given, "sleep": "deep"})
        assert config.traffic is None
        assert ("traffic" in config.faults) == (given is not None)
        assert config.deep_sleep
