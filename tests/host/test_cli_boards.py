"""`citynode boards`: list, show, check."""

import json

import pytest
from citynode import resources
from workbench import citynode

KNOWN = ["esp32-devkit", "heltec-lora32-v3", "lilygo-t3-s3", "lilygo-t3-v1.6.1", "xiao-esp32c3"]
GOOD = """
name = "Mine"
chip = "esp32c3"
flash_mib = 4
micropython = "ESP32_GENERIC_C3"
sources = ["my own soldering iron"]
[i2c]
scl = 7
sda = 6
"""


def test_the_list():
    done = citynode("boards", "--json")
    assert (done.code, [row["id"] for row in done.rows]) == (0, KNOWN)
    for row in done.rows:
        assert row["sources"]
        assert row["i2c"]["scl"] != row["i2c"]["sda"]
        assert (row["radio"] is None) == (row["id"] in ("esp32-devkit", "xiao-esp32c3"))
    table = citynode("boards")
    assert table.code == 0
    assert all(name in table.out for name in (*KNOWN, "WiFi only", "sx1276", "sx1262"))


@pytest.mark.parametrize("board", KNOWN)
def test_a_board_is_shown_with_pins_and_sources(board):
    spec = citynode("boards", "show", board, "--json").row
    shown = citynode("boards", "show", board)
    assert shown.code == 0
    rows = [line.replace("│", " ").split() for line in shown.out.splitlines() if "│" in line]
    pins = {role: int(gpio) for gpio, role in rows}
    assert pins["i2c.scl"] == spec["i2c"]["scl"]
    assert list(pins.values()) == sorted(set(pins.values()))
    if spec["radio"]:
        assert pins["radio.cs"] == spec["radio"]["cs"]
    assert all(f"source: {source}" in shown.out for source in spec["sources"])


def test_every_board_that_comes_along_is_right():
    done = citynode("boards", "check", "--json")
    assert (done.code, done.err) == (0, "")
    assert [(row["board"], row["ok"]) for row in done.rows] == [(name, True) for name in KNOWN]
    assert "xiao-esp32c3: fits an esp32c3\n" in citynode("boards", "check").out


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("", "", None),
        ("scl = 7", "scl = 12", "i2c.scl: GPIO12 cannot be used on an esp32c3"),
        ("scl = 7", "scl = 6", "i2c.sda: GPIO6 is i2c.scl already"),
        ("scl = 7", 'scl = "7"', "i2c.scl: input should be a valid integer"),
        ("scl = 7", "scl = 7\nspeed = 1", "unknown key i2c.speed; remove it; known are scl, sda"),
        ("flash_mib = 4", "flash_mib = 5", "flash_mib: "),
        ('sources = ["my own soldering iron"]', "", "sources: field required"),
        ("[i2c]", "[i2c", "is not valid TOML at line"),
    ],
)
def test_a_board_of_ones_own_is_checked(tmp_path, old, new, told):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD.replace(old, new))
    done = citynode("boards", "check", path, "xiao-esp32c3")
    assert "xiao-esp32c3: fits an esp32c3\n" in done.out  # one bad file hides no other
    if told is None:
        assert (done.code, done.err) == (0, "")
        assert citynode("boards", "show", path, "--json").row["id"] == "mine"
        return
    assert (done.code, "mine: fits" in done.out) == (1, False)
    assert done.complaint.startswith(str(path))
    assert told in done.complaint
    row, _ = citynode("boards", "check", path, "xiao-esp32c3", "--json").rows
    assert (row["board"], row["ok"], told in row["error"]) == (str(path), False, True)
    assert citynode("boards", "show", path).code == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["show", "xiao-esp32-c3"], "unknown board 'xiao-esp32-c3'"),
        (["show", "/none/mine.toml"], "cannot read /none/mine.toml"),
        (["show", "x\x1b[2J"], "unknown board 'x\\x1b[2J'"),
    ],
)
def test_a_board_that_is_not_there(arguments, told):
    done = citynode("boards", *arguments)
    assert (done.code, done.out) == (2, "")
    assert told in done.complaint


@pytest.mark.parametrize("arguments", [["show"], ["paint"], ["show", "a", "b"], ["--paint"]])
def test_wrong_usage_ends_with_2(arguments):
    done = citynode("boards", *arguments)
    assert (done.code, done.out) == (2, "")
    assert "see 'citynode boards" in done.complaint


def test_json_is_what_the_files_say():
    for row in citynode("boards", "--json").rows:
        text = (resources.board_configs() / f"{row['id']}.toml").read_text()
        assert f'name = "{row["name"]}"' in text
        assert json.dumps(row["chip"]) in text
