"""`citynode ports`: which serial ports there are; none is opened."""

import os

import pytest
from citynode.link import ports as link_ports
from serial.tools.list_ports_common import ListPortInfo
from workbench import citynode


def port(device, description="n/a", vid=None, pid=None, serial=None, location=None):
    found = ListPortInfo(str(device))
    found.description, found.vid, found.pid = description, vid, pid
    found.serial_number, found.location = serial, location
    return found


@pytest.fixture
def plugged(monkeypatch):
    def plug(*found):
        monkeypatch.setattr(link_ports.list_ports, "comports", lambda: list(found))

    return plug


@pytest.fixture
def terminal():
    master, slave = os.openpty()
    yield os.ttyname(slave)
    os.close(slave)
    os.close(master)


def test_boards_come_first_and_the_rest_if_asked(plugged, terminal):
    plugged(
        port("/dev/ttyS0"),
        port("/dev/ttyUSB9", "CP2102", 0x10C4, 0xEA60, "0001", "1-1.4"),
        port(terminal, "USB JTAG", 0x303A, 0x1001, "24:0A:C4:00:00:01"),
    )
    boards = citynode("ports", "--json")
    everything = citynode("ports", "--all", "--json")
    assert boards.code == everything.code == 0
    assert boards.rows == everything.rows[:2]
    assert {row["device"]: row["accessible"] for row in boards.rows} == {
        terminal: True,
        "/dev/ttyUSB9": False,
    }
    (bridge,) = [row for row in boards.rows if row["device"] == "/dev/ttyUSB9"]
    assert bridge == {
        "device": "/dev/ttyUSB9", "description": "CP210x bridge", "likely": True,
        "usb": "10c4:ea60", "serial_number": "0001", "location": "1-1.4", "accessible": False,
    }  # fmt: skip
    assert (everything.rows[2]["device"], everything.rows[2]["likely"]) == ("/dev/ttyS0", False)
    table = citynode("ports")
    assert table.code == 0
    assert "ttyS0" not in table.out
    assert "usermod" in table.out


def test_no_board_says_what_to_do(plugged):
    plugged(port("/dev/ttyS0"))
    done = citynode("ports")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("no board found: plug one in")
    assert citynode("ports", "--json").out == ""


def test_what_a_device_calls_itself_is_text_and_no_more(plugged, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    plugged(port("/dev/ttyACM0", "Sensor [/red] [CDC]\x1b[2J", serial="[bold]7\x07"))
    done = citynode("ports", "--all")
    assert done.code == 0
    assert "Sensor [/red] [CDC][2J" in done.out
    assert "[bold]7 " in done.out
    assert done.out.replace("\n", "").isprintable()


def test_wrong_usage_ends_with_2():
    done = citynode("ports", "--paint")
    assert (done.code, done.out) == (2, "")
    assert "No such option: --paint" in done.err
