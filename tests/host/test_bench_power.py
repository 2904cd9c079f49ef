"""Switches for supplies: a relay on a serial port, commands, uhubctl."""

import os
import select
import threading
import tty

import pytest
from citynode.bench.power import Command, PowerError, Relay, Uhubctl, cycle
from citynode.virtual.soc.board import State
from workbench import Workbench, citynode, wait_for


class RelayBoard:
    """An LCUS relay board on a pseudo-terminal: A0, channel, state, sum; noise is passed over."""

    def __init__(self, on_switch):
        self._ours, self._theirs = os.openpty()
        tty.setraw(self._theirs)
        self.port = os.ttyname(self._theirs)
        self.seen = []
        self._on_switch = on_switch
        self._end_in, self._end_out = os.pipe()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self):
        buffer = b""
        while True:
            ready, _, _ = select.select([self._ours, self._end_in], [], [])
            if self._end_in in ready:
                return
            buffer += os.read(self._ours, 64)
            while len(buffer) >= 4:
                head, channel, state, check = buffer[:4]
                if head != 0xA0 or state > 1 or check != (head + channel + state) & 0xFF:
                    buffer = buffer[1:]
                    continue
                buffer = buffer[4:]
                self.seen.append((channel, bool(state)))
                self._on_switch(channel, bool(state))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.write(self._end_out, b"x")
        self._thread.join(5)
        for handle in (self._ours, self._theirs, self._end_in, self._end_out):
            os.close(handle)


@pytest.mark.parametrize(
    ("relay", "on", "off"),
    [
        ({"channel": 1}, "A00101A2", "A00100A1"),
        ({"channel": 2}, "A00201A3", "A00200A2"),
        ({"channel": 1, "normally_closed": True}, "A00100A1", "A00101A2"),
        ({"on": "FF 01 01", "off": "FF 01 00", "baud": 115200}, "FF0101", "FF0100"),
        ({"channel": 1, "off": "00"}, "A00101A2", "00"),
    ],
)
def test_frames_of_relays(relay, on, off):
    made = Relay(kind="relay", serial="/dev/none", **relay)
    assert made.frame(not made.normally_closed).hex().upper() == on
    assert made.frame(made.normally_closed).hex().upper() == off


@pytest.mark.parametrize("serial", ["/dev/none", "rfc2217://127.0.0.1:1"])
def test_a_relay_that_is_not_there(state, serial):
    with pytest.raises(PowerError, match=f"the relay at {serial} cannot be switched"):
        Relay(kind="relay", serial=serial, channel=1).switch(True)


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_commands_and_hubs(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    said = tmp_path / "said"
    hub = script(tmp_path / "uhubctl", f'echo "$*" >> "{said}"')
    switch = Uhubctl(kind="uhubctl", hub="1-1.4", port=2)
    cycle(switch, lambda seconds: None)
    assert said.read_text().splitlines() == ["-l 1-1.4 -p 2 -a off", "-l 1-1.4 -p 2 -a on"]
    script(hub, "echo No compatible devices detected! >&2; exit 1")
    with pytest.raises(PowerError, match="uhubctl ended with 1: No compatible devices"):
        switch.switch(False)
    said.unlink()
    command = Command(kind="command", on=f"touch '{said}'", off=f"rm {said}")
    command.switch(True)
    assert said.exists()
    with pytest.raises(PowerError, match="there is no citynode-none"):
        Command(kind="command", on="citynode-none --on", off="true").switch(True)
    failing = Command(kind="command", on=f"touch '{said}'", off="false")
    said.unlink()
    with pytest.raises(PowerError, match="false ended with 1"):
        cycle(failing)
    assert said.exists()  # whatever happens, it is on in the end


@pytest.mark.slow
def test_a_board_behind_a_relay(state, tmp_path):
    """The virtual board is behind a relay as a real one is."""
    with Workbench("esp32-devkit", seed=51) as bench:
        (board,) = bench.boards

        def switch(channel, on):
            assert channel == 3
            bench.call(board.power_on if on else board.power_off)

        with RelayBoard(switch) as relay:
            path = tmp_path / "bench.yaml"
            power = f"{{kind: relay, serial: {relay.port}, channel: 3}}"
            path.write_text(
                f"- {{id: {board.mac.hex()}, serial: '{board.rfc2217_url}', power: {power}}}\n"
            )
            off = citynode("bench", "power", board.mac.hex(":"), "--to", "off", "--bench", path)
            assert (off.code, off.err) == (0, "")
            wait_for(lambda: board.state is State.OFF)
            back = citynode("bench", "power", board.rfc2217_url, "--bench", path)
            assert (back.code, back.err) == (0, "")
            wait_for(lambda: relay.seen == [(3, False), (3, False), (3, True)])
            wait_for(lambda: board.state is not State.OFF)
            unknown = citynode("bench", "power", "240ac4ffffff", "--bench", path)
            assert unknown.complaint.startswith(f"{path} has no board 240ac4ffffff; ")
