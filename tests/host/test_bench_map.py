"""The bench map: what is met is merged, what a person wrote stays."""

import contextlib

import pytest
from citynode.bench.benchmap import BenchMap, Seen, stable_name
from citynode.errors import CitynodeError
from citynode.link.ports import Port, filtered
from workbench import Workbench, citynode

BY_HAND = """\
# our bench, left shelf
- id: 24:0A:C4:00:00:04   # the one with the cracked case
  serial: /dev/ttyUSB0
  fixtures: [bme280, lora]
  runner: esptool  # of twister
  power: {kind: relay, serial: /dev/ttyUSB9, channel: 2}
  notes: |
    Two lines
    of notes.

# right shelf
- id: 001122334455
  serial: 'rfc2217://lab-2:4000'
  platform: esp32-devkit
  baud: 115200
"""
FIRST, SECOND, NEW = "240ac4000004", "001122334455", "84f703000008"


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "bench.yaml"
    file.write_text(BY_HAND)
    return file


def test_what_a_person_wrote_is_read(path):
    first, second = BenchMap.load(path).places
    assert (first.id, first.serial, first.platform) == (FIRST, "/dev/ttyUSB0", "unknown")
    assert (first.fixtures, first.notes) == (("bme280", "lora"), "Two lines\nof notes.\n")
    assert first.power.frame(True) == bytes.fromhex("A00201A3")
    assert (second.id, second.baud, second.connected) == (SECOND, 115200, True)
    assert BenchMap.load(path).strange == [f"{path}: board 1: runner"]


def test_making_it_anew_merges(path):
    made = BenchMap.load(path)
    seen = [Seen(FIRST, "esp32", "/dev/ttyUSB3"), Seen(NEW, "esp32c3", "/dev/ttyACM0")]
    looked_at = ["/dev/ttyUSB3", "/dev/ttyACM0", "rfc2217://lab-2:4000"]
    changes = made.merge(seen, looked_at, {"esp32": "lilygo-t3-v1.6.1", "esp32c3": "xiao-esp32c3"})
    assert (changes.new, changes.moved, changes.gone) == ([NEW], [FIRST], [SECOND])
    text = made.text()
    for kept in ("# our bench, left shelf", "# the one with the cracked case", "# of twister",
                 "# right shelf", "fixtures: [bme280, lora]", "'rfc2217://lab-2:4000'",
                 "  notes: |\n    Two lines\n    of notes.\n", "- id: 001122334455\n"):  # fmt: skip
        assert kept in text
    path.write_text(text)
    again = BenchMap.load(path)
    assert [(each.id, each.serial, each.platform, each.connected) for each in again.places] == [
        (FIRST, "/dev/ttyUSB3", "lilygo-t3-v1.6.1", True),
        (SECOND, "rfc2217://lab-2:4000", "esp32-devkit", False),
        (NEW, "/dev/ttyACM0", "xiao-esp32c3", True),
    ]
    assert again.of(FIRST).power == made.of(FIRST).power
    assert again.merge(seen, looked_at, {}).new == []
    assert again.text() == text
    back = again.merge([Seen(SECOND, "esp32", "rfc2217://LAB-2:4000")], (), {})
    assert (back.moved, again.of(SECOND).connected) == ([], True)


def test_a_new_map_says_what_it_is(tmp_path):
    made = BenchMap(tmp_path / "new.yaml")
    # Without letters it would be a number, and with one e too.
    for mac in ("123456789012", "1234567e8901"):
        made.merge([Seen(mac, "esp32", f"/dev/{mac}")], (), {})
    made.path.write_text(made.text())
    assert made.text().startswith("# The bench: ")
    assert [each.id for each in BenchMap.load(made.path).places] == ["123456789012", "1234567e8901"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- id: [", "is not valid YAML"),
        ("a: 1", "is no list of boards"),
        ("- 1", "board 1 is no table"),
        ("- serial: x", "board 1: id: field required"),
        ("- {id: 240ac4, serial: x}", "board 1: id: string should match pattern"),
        ("- {id: 1234567e8901, serial: x}", "board 1: id: input should be a valid string"),
        ("- {id: 240ac4000004, serial: x, fixtrues: [a]}", "unknown key fixtrues; did you mean"),
        ("- {id: 240ac4000004, serial: x, baud: fast}", "board 1: baud: input should be a valid"),
        ("- {id: 240ac4000004, serial: x, power: {kind: magic}}", "board 1: power: "),
        ("- {id: 240ac4000004, serial: x, power: {kind: relay, serial: y}}", "needs channel"),
        ("- {id: 240ac4000004, serial: x, power: {kind: relay, serial: y, on: zz, off: ff}}",
         "give bytes as hex digits"),
        ("- {id: 240ac4000004, serial: x}\n- {id: 24:0a:c4:00:00:04, serial: y}",
         "board 2 has the id of board 1"),
        ("- {id: 240ac4000004, serial: x}\n- {id: 240ac4000008, serial: x}",
         "board 2 has the port of board 1"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path, text, told):
    path = tmp_path / "bench.yaml"
    path.write_text(text)
    with pytest.raises(CitynodeError) as error:
        BenchMap.load(path)
    assert str(path) in str(error.value)
    assert told in str(error.value)


def test_ports_have_a_name_by_their_place(tmp_path):
    device, folder = tmp_path / "ttyUSB0", tmp_path / "by-path"
    device.touch()
    folder.mkdir()
    for name in ("pci-0000:00:14.0-usbv2-0:1.2:1.0-port0", "pci-0000:00:14.0-usb-0:1.2:1.0-port0"):
        (folder / name).symlink_to("../ttyUSB0")
    stable = stable_name(str(device), folder)
    assert stable == str(folder / "pci-0000:00:14.0-usb-0:1.2:1.0-port0")
    assert stable_name("rfc2217://lab:4000", folder) == "rfc2217://lab:4000"
    assert stable_name(str(device), tmp_path / "none") == str(device)


PORTS = [
    Port("/dev/ttyUSB0", "CP210x bridge", True, "10c4:ea60", "0001", "1-1.2"),
    Port("/dev/ttyUSB1", "CP210x bridge", True, "10c4:ea60", "A7", "1-1.3"),
    Port("/dev/ttyACM0", "Espressif USB", True, "303a:1001", "24:0A:C4:00:00:04", "2-1"),
    Port("/dev/ttyS0", "", False),
]


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ([], ["ttyUSB0", "ttyUSB1", "ttyACM0", "ttyS0"]),
        (["vid=0x10c4"], ["ttyUSB0", "ttyUSB1"]),
        (["vid=4292", "serial=0001"], ["ttyUSB0"]),
        (["name=ACM"], ["ttyACM0"]),
        (["location=1-1."], ["ttyUSB0", "ttyUSB1"]),
        (["pid=0x1001", "name=USB"], []),
    ],
)
def test_filters_of_ports(filters, names):
    assert [port.device.removeprefix("/dev/") for port in filtered(PORTS, filters)] == names


@pytest.mark.parametrize("text", ["vid", "vid=", "colour=red", "pid=x"])
def test_filters_that_are_none(text):
    with pytest.raises(CitynodeError, match="--port-filter"):
        filtered(PORTS, [text])


@pytest.mark.slow
def test_init_and_check_of_boards(state, tmp_path):
    path = tmp_path / "bench.yaml"
    with contextlib.ExitStack() as stack:
        bench = stack.enter_context(Workbench(("esp32-devkit", "xiao-esp32c3"), seed=21))
        one, other = bench.boards
        ports = [part for url in bench.urls() for part in ("-p", url)]
        made = citynode(
            "bench", "init", "--bench", path, "--json", "--board", "esp32-devkit", *ports
        )
        assert (made.code, made.err) == (0, "")
        assert sorted(made.row["new"]) == sorted([one.mac.hex(), other.mac.hex()])
        shown = {
            row["id"]: row for row in citynode("bench", "show", "--bench", path, "--json").rows
        }
        assert (shown[one.mac.hex()]["serial"], shown[one.mac.hex()]["platform"]) == (
            one.rfc2217_url, "esp32-devkit")  # fmt: skip
        # Somebody swaps the two boards, and writes a platform that is wrong.
        text = (
            path.read_text()
            .replace(one.rfc2217_url, "@")
            .replace(other.rfc2217_url, one.rfc2217_url)
        )
        path.write_text(
            text.replace("@", other.rfc2217_url).replace("unknown", "esp32-devkit  # ?")
        )
        checked = citynode("bench", "check", "--bench", path, "--json")
        assert [row["verdict"] for row in checked.rows] == ["FAIL", "FAIL"]
        assert checked.err.count("the bench map says") == 2
        absent = "rfc2217://127.0.0.1:1"
        again = citynode("bench", "init", "--bench", path, "--json", *ports, "-p", absent)
        assert again.code == 1
        assert again.complaint.startswith(f"nothing answers at {absent}; ")
        assert sorted(again.row["moved"]) == sorted([one.mac.hex(), other.mac.hex()])
        assert "# ?" in path.read_text()
        checked = citynode("bench", "check", "--bench", path, "--json")
        assert f"{other.rfc2217_url} is an ESP32-C3" in checked.complaint


def test_a_map_that_is_missing(tmp_path):
    missing = citynode("bench", "show", "--bench", tmp_path / "none.yaml")
    assert (missing.code, missing.out) == (2, "")
    assert "make a map with 'citynode bench init'" in missing.complaint
