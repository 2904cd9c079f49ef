"""Sensors in profiles: what a driver's own file decides, where a board has room, what it draws."""

import cbor2
import pytest
from citynode import sensors
from citynode.boards import board_ids, load_board
from citynode.energy import life_days, parts, total_mah
from citynode.errors import CitynodeError
from citynode.nodefiles import config_cbor
from citynode.profiles import check_fits, load_profile, profile_ids
from workbench import citynode

HEAD = 'description = "x"\nsite = "s"\ninterval_s = 300\n'
TAIL = '[uplink]\nkind = "wifi"\nhost = "h"\n'


@pytest.fixture
def made(tmp_path):
    """Return a function that makes a profile of the lines of its sensors."""

    def make(*rows, head=""):
        tables = "".join(f"[[sensors]]\n{row}\n" for row in rows)
        path = tmp_path / "p.toml"
        path.write_text(HEAD + head + tables + TAIL, encoding="utf-8")
        return load_profile(str(path))

    return make


def config(profile, board="esp32-devkit"):
    return cbor2.loads(config_cbor(load_board(board), profile))


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ('chip = "sht4x"\naddress = 0x44\nbus = 2', {"address": 0x44, "bus": 2}),
        ('chip = "pms5003"\nuart = 2', {"uart": 2}),
        ('chip = "sds011"\nuart = 1\nswitch = "d2"', {"uart": 1, "switch": 23}),
        ('chip = "raingauge"\npin = "d1"', {"pin": 27}),
        ('chip = "ds18b20"\npin = "d1"\noptions.rom = "28ff"', {"options": {"rom": "28ff"}}),
        ('chip = "windvane"\npin = "a1"\noptions.north_deg = 12', {"options": {"north_deg": 12}}),
        ('chip = "scd41"\naddress = 0x62\ninterval_s = 900', {"interval_s": 900}),
        (
            'chip = "sht4x"\naddress = 0x44\noffset = { temperature_c = -0.3 }\n'
            "factor = { humidity_pct = 1.02 }\nplausible = { temperature_c = [-30, 45] }",
            {
                "adjust": {"temperature_c": [1.0, -0.3], "humidity_pct": [1.02, 0.0]},
                "limits": {"temperature_c": [-30.0, 45.0]},
            },
        ),
    ],
)
def test_what_the_node_is_told(made, row, told):
    (sensor,) = config(made(row))["sensors"]
    assert told.items() <= sensor.items()


@pytest.mark.parametrize(
    ("rows", "wrong"),
    [
        (['chip = "bme999"\naddress = 0x76'], "no driver for the sensor 'bme999'"),
        (['chip = "tfluna"\nuart = 1'], "no driver for the sensor 'tfluna'"),
        (['chip = "bme280"'], "a bme280 needs 'address'"),
        (['chip = "bme280"\nuart = 1'], "a bme280 needs 'address'"),
        (['chip = "pms5003"\nuart = 1\npin = "d1"'], "a pms5003 needs 'uart'"),
        (['chip = "raingauge"\naddress = 0x10'], "a raingauge needs 'pin'"),
        (['chip = "pms5003"\nuart = 1\nswitch = "d1"'], "supply of a pms5003 is not switched"),
        (['chip = "sht4x"\naddress = 0x44\noptions.asc = true'], "a sht4x has no 'asc', but none"),
        (['chip = "scd41"\naddress = 0x62\noptions.acs = true'], "no 'acs', but asc"),
        (['chip = "sht4x"\naddress = 0x44\noffset.co2_ppm = 1'], "does not measure 'co2_ppm'"),
        (['chip = "sht4x"\naddress = 0x44\ninterval_s = 70'], "no part and no multiple of 300"),
        (['chip = "pms5003"\nuart = 1', 'chip = "sds011"\nuart = 1'], "the same uart"),
        (['chip = "raingauge"\npin = "d1"', 'chip = "anemometer"\npin = "d1"'], "the same pin"),
    ],
)
def test_what_cannot_be(made, rows, wrong):
    with pytest.raises(CitynodeError, match=wrong):
        made(*rows)


def test_two_probes_share_a_wire_and_two_chips_an_address_on_two_buses(made):
    probe = 'chip = "ds18b20"\npin = "d1"\noptions.rom = "28{}"'
    assert len(made(probe.format("01"), probe.format("02")).sensors) == 2
    chip = 'chip = "sht4x"\naddress = 0x44\nbus = {}'
    assert len(made(chip.format(1), chip.format(2)).sensors) == 2


@pytest.mark.parametrize(
    "row", ['chip = "raingauge"\npin = "d1"', 'chip = "bme280"\naddress = 0x76\ninterval_s = 60']
)
def test_what_needs_a_node_that_is_awake(made, row):
    assert made(row)
    with pytest.raises(CitynodeError, match="deep sleep"):
        made(row, head='sleep = "deep"\n')


@pytest.mark.parametrize(
    ("board", "row", "lacks"),
    [
        ("xiao-esp32c3", 'chip = "sht4x"\naddress = 0x44\nbus = 2', "a second I2C"),
        ("xiao-esp32c3", 'chip = "pms5003"\nuart = 2', "the serial port 2"),
        ("lilygo-t3-s3", 'chip = "windvane"\npin = "a1"', "the terminal a1"),
        ("lilygo-t3-s3", 'chip = "windvane"\npin = "d1"', "a terminal on ADC1"),
        ("xiao-esp32c3", 'chip = "windvane"\npin = "a1"', "a supply of at most 2.7 V"),
        ("lilygo-t3-v1.6.1", 'chip = "raingauge"\npin = "a1"', "a terminal with a pull-up"),
    ],
)
def test_what_a_board_has_not(made, board, row, lacks):
    with pytest.raises(CitynodeError, match=f"needs {lacks}"):
        check_fits(load_board(board), made(row))


def test_each_driver_tells_what_profiles_need():
    found = {chip: sensors.driver(chip) for chip in sensors.chips()}
    assert {"bme280", "scd41", "sds011", "raingauge", "ds18b20"} <= set(found)
    assert found["sds011"].has_switch
    assert found["pms7003"].warm_up_ms == 30_000
    assert dict(found["scd41"].options) == {"asc": False}
    assert found["sps30_uart"].bus == "uart"
    assert found["sps30_uart"].fields == found["sps30"].fields


@pytest.mark.parametrize("profile", profile_ids())
def test_what_comes_along_is_known_to_the_last_part(profile):
    given = load_profile(profile)
    boards = [load_board(name) for name in board_ids()]
    fitting = [board for board in boards if _fits(board, given)]
    assert fitting
    for board in fitting:
        assert all(part.mah is not None and part.mah >= 0 for part in parts(board, given))


def _fits(board, profile):
    try:
        check_fits(board, profile)
    except CitynodeError:
        return False
    return True


def test_energy_by_hand(made):
    board = load_board("esp32-devkit")
    by_name = {
        part.name: part.mah
        for part in parts(
            board, made('chip = "sps30"\naddress = 0x69', 'chip = "scd41"\naddress = 0x62')
        )
    }
    # 288 readings of 31 s at 55 mA, the rest at 0.038 mA; from 5 V with 85 %, at a cell of 3.7 V.
    on_s = 288 * 31
    sps30 = (on_s * 55 + (86400 - on_s) * 0.038) / 3600 * 5 / (3.7 * 0.85)
    assert by_name["sps30"] == pytest.approx(sps30)
    assert by_name["scd41"] == pytest.approx((1440 * 15 + (86400 - 1440) * 0.2) / 3600)
    assert by_name["processor and WiFi"] == pytest.approx(24 * 60)


def test_more_sleep_more_life():
    board = load_board("lilygo-t3-v1.6.1")
    life = {
        name: life_days(total_mah(parts(board, load_profile(name))), 3400)
        for name in ("climate-lora", "climate-battery", "climate-lora-mains", "climate-street")
    }
    assert list(life.values()) == sorted(life.values(), reverse=True)
    far, near = (total_mah(parts(board, load_profile("climate-lora"), rate)) for rate in (0, 5))
    assert far > near


def test_profile_show_and_check(tmp_path):
    told = citynode("profile", "show", "climate-station", "--json", "--battery", "2000").row
    assert told["board"] == "esp32-devkit"
    assert sum(part["mah_per_day"] for part in told["parts"]) == pytest.approx(told["mah_per_day"])
    assert citynode("profile", "show", "climate-lora", "--data-rate", "0").code == 0
    assert "climate-station" in citynode("profile").out
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(HEAD + '[[sensors]]\nchip = "bme280"\n' + TAIL, encoding="utf-8")
    checked = citynode("profile", "check", "climate-lora", str(wrong))
    assert checked.code == 1
    assert "climate-lora: right" in checked.out
    assert "a bme280 needs 'address'" in checked.err
