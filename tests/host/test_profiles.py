"""Profiles and boards as TOML: what they may say, and what is said about those that are wrong."""

import re

import cbor2
import pytest
from citynode.boards import board_ids, load_board
from citynode.errors import CitynodeError
from citynode.nodefiles import config_cbor
from citynode.profiles import LorawanUplink, check_fits, load_profile, profile_ids
from citynode.resources import board_configs, provisioning
from hypothesis import given
from hypothesis import strategies as st

PROFILE = (provisioning() / "profiles" / "climate-demo.toml").read_text()
BOARD = (board_configs() / "heltec-lora32-v3.toml").read_text()
LORAWAN = (provisioning() / "profiles" / "climate-lora-mains.toml").read_text()
LOAD = {
    "lorawan": (load_profile, LORAWAN),
    "profile": (load_profile, PROFILE),
    "board": (load_board, BOARD),
}


@pytest.fixture
def load(tmp_path):
    def load(kind, change):
        """Load a file as it comes with citynode but for one change."""
        loader, text = LOAD[kind]
        path = tmp_path / "mine.toml"
        old, new = change
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))
        return loader(str(path))

    return load


def test_all_that_come_with_citynode_are_valid():
    fitting = set()
    for board in map(load_board, board_ids()):
        assert board.sources
        for profile in map(load_profile, profile_ids()):
            over_the_air = isinstance(profile.uplink, LorawanUplink)
            try:
                check_fits(board, profile)
            except CitynodeError:
                continue
            fitting.add(profile.id)
            raw = config_cbor(board, profile)
            assert raw == cbor2.dumps(cbor2.loads(raw), canonical=True)
            config = cbor2.loads(raw)
            assert (config["board"]["id"], config["site"]) == (board.id, profile.site)
            assert ("radio" in config["board"]) == over_the_air
            if not over_the_air:
                assert config["uplink"]["port"] == (8883 if profile.uplink.tls else 1883)
    assert fitting == set(profile_ids())
    assert "climate-demo" in fitting


def test_a_file_of_ones_own_is_known_by_its_name(load):
    mine = load("profile", ("interval_s = 5", "interval_s = 6"))
    assert (mine.id, mine.interval_s) == ("mine", 6)


WRONG = [
    ("profile", ("interval_s = 5", "interval_s = 0"), "interval_s: input should be greater than"),
    ("profile", ("interval_s = 5", "interval_s = true"), "interval_s: input should be a valid int"),
    ("profile", ("interval_s = 5", "interval_s = 30"), "file: health_s is shorter than interval_s"),
    (
        "profile",
        ("interval_s = 5", "interval = 5"),
        "unknown key interval (and 1 more); did you ",
    ),
    ("profile", ('site = "demo"', ""), "site: field required"),
    ("profile", ('site = "demo"', 'site = "De mo"'), "site: string should match pattern"),
    ("profile", ("address = 0x76", "address = 0x80"), "sensors.0.address: input should be less"),
    (
        "profile",
        ("address = 0x76", "adress = 0x76"),
        "; did you mean address? known are chip, ",
    ),
    (
        "profile",
        ("[uplink]", '[[sensors]]\nchip = "sht4x"\naddress = 0x76\n[uplink]'),
        "file: two sensors have the same address",
    ),
    (
        "profile",
        ('kind = "wifi"', 'kind = "pigeon"'),
        "uplink.kind: input should be 'wifi' or 'lora",
    ),
    ("lorawan", ("interval_s = 300", "interval_s = 9"), "file: interval_s is shorter than 10"),
    ("lorawan", ('region = "EU868"', 'region = "US915"'), "uplink.region: input should be 'EU868'"),
    ("lorawan", ("y = 30", "y = 4"), "uplink.airtime_s_per_day: input should be greater than or"),
    (
        "lorawan",
        ("y = 30", "y = 30\nhost = 'x'"),
        "unknown key uplink.host; remove it; known are k",
    ),
    (
        "lorawan",
        ("y = 30", "y = 30\nconfirmed_every = 0\nlink_check = false"),
        "uplink: without confirmed uplinks and link checks no record is ever released",
    ),
    ("profile", ("tls = false", 'tls = "no"'), "uplink.tls: input should be a valid boolean"),
    ("profile", ("tls = false", "port = 0"), "uplink.port: input should be greater than or equal"),
    (
        "profile",
        ('host = "broker.bench"', 'host = "bro ker"'),
        "uplink.host: string should match pattern",
    ),
    ("profile", ("[uplink]", "[uplink"), " is not valid TOML at line 12, column 8; correct that"),
    ("board", ('chip = "esp32s3"', 'chip = "esp8266"'), "chip: input should be 'esp32', "),
    ("board", ("flash_mib = 8", "flash_mib = 3"), "flash_mib: input should be 2, 4, 8 or 16"),
    ("board", ("busy = 13", ""), "radio: an sx1262 needs busy"),
    ("board", ("busy = 13", "busy = 14"), "file: radio.busy: GPIO14 is radio.dio1 already"),
    ("board", ("busy = 13", "busy = 27"), "file: radio.busy: GPIO27 cannot be used on an esp32s3"),
    ("board", ("busy = 13", "busy = 13\nmode = 1"), "unknown key radio.mode; remove it; known are"),
]


@pytest.mark.parametrize(
    ("kind", "change", "said"), WRONG, ids=[change[1].split("\n")[0] for _, change, _ in WRONG]
)
def test_what_is_wrong_is_one_line_that_names_file_and_key(load, kind, change, said):
    with pytest.raises(CitynodeError) as caught:
        load(kind, change)
    text = str(caught.value)
    assert re.search(r"/mine\.toml" + (": " if not said.startswith(" ") else ""), text)
    assert said in text
    assert "\n" not in text
    assert caught.value.exit_code == 2
    assert caught.value.cure


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_taken_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "fuzzed.toml"
    path.write_bytes(data)
    for loader in (load_profile, load_board):
        with pytest.raises(CitynodeError) as caught:
            loader(str(path))
        assert "\n" not in str(caught.value)
