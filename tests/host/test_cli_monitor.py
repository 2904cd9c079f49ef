"""`citynode monitor`: what boards say is shown as it is, and can do nothing but be shown."""

import contextlib
import io
import json
import os
import re
import subprocess
from itertools import pairwise

import pytest
from citynode.cli.monitor_view import LogFile, Machines, People, Said, short_names
from citynode.link.lines import MAX_LINE, Splitter
from citynode.soak.lines import printable
from citynode.wire import frame
from citynode.wire.cbor import UNDEFINED
from citynode.wire.schema import CLIMATE
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_batches import pack, run_of
from wires import Cable
from workbench import CITYNODE, Running, citynode, wait_for

SEEN = frame.encode(CLIMATE, 7, 1_800_000_000, 1, {"temperature_c": 8.2, "humidity_pct": UNDEFINED})
SHOWN = "climate 7 2027-01-15T08:00:00Z [clock_synced] temperature 8.20 °C, humidity fault"
ATTACK = b"\x1b[2J\x1b]0;owned\x07\x9b31m\xc2\x9b2J\xe2\x80\xaeabc\r\x08\x7f"


# -- bytes to lines -------------------------------------------------------------------------------

serial_bytes = st.lists(
    st.one_of(
        st.binary(max_size=60),
        st.sampled_from(
            [b"\n", b"\r\n", b"\xc3", b"\xa9", ATTACK, b"A" * 700, SEEN.hex().encode()]
        ),
    ),
    max_size=30,
).map(b"".join)


def split(pieces):
    splitter = Splitter()
    lines = [line for piece in pieces for line in splitter.feed(piece)]
    return lines, splitter.take()


@given(serial_bytes, st.lists(st.integers(0, 2000), max_size=6))
def test_lines_do_not_depend_on_how_the_bytes_come(data, cuts):
    cuts = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(cuts)]
    lines, rest = split(pieces)
    whole, end = split([data])
    assert ("".join(lines) + rest).replace("\r", "") == ("".join(whole) + end).replace("\r", "")
    assert all("\n" not in line and len(line) <= 4 * MAX_LINE for line in [*lines, rest])
    if all(len(line) < MAX_LINE for line in data.split(b"\n")):
        assert [line.rstrip("\r") for line in lines] == [line.rstrip("\r") for line in whole]
        expected = data.decode("utf-8", "backslashreplace").split("\n")
        assert [*whole, end] == [line.rstrip("\r") for line in expected]


def test_a_line_without_an_end_comes_in_pieces():
    lines, rest = split([b"x" * 100] * 1000)
    assert "".join(lines) + rest == "x" * 100_000
    assert max(map(len, [*lines, rest])) == MAX_LINE


@given(st.text())
def test_nothing_printable_can_drive_a_terminal(text):
    shown = printable(text)
    assert shown.replace("\t", "").isprintable()
    assert printable(shown) == shown


# -- lines to what is shown -----------------------------------------------------------------------


def shown(view, *texts, kind="line", port="/dev/ttyUSB0"):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        for text in texts:
            view.show(Said(1_800_000_000.5, port, kind, text))
    return out.getvalue()


def people(*ports, times=False, raw=False):
    return People(ports or ["/dev/ttyUSB0"], times=times, raw=raw)


@settings(deadline=None)
@given(st.one_of(st.text(max_size=200), serial_bytes.map(lambda data: "".join(split([data])[0]))))
def test_any_line_can_be_shown(text):
    told = shown(people(), text, f"I 1.000 frame: {text}", f"E 1.000 app: {text}")
    assert told.replace("\n", "").replace("\t", "").isprintable()
    rows = shown(Machines(raw=False), text, f"I 1.000 frame: {text}")
    assert rows.isascii()
    assert all(json.loads(row)["port"] == "/dev/ttyUSB0" for row in rows.splitlines())


@pytest.mark.parametrize(
    ("text", "told", "styles"),
    [
        ("I 1.000 wifi: connected rssi -57", "I 1.000 wifi: connected rssi -57", ["32"]),
        ("W 1.000 wifi: lost", "W 1.000 wifi: lost", ["33"]),
        ("E 1.000 app: ended", "E 1.000 app: ended", ["1;31"]),
        ("D 1.000 bme280: OSError: 5", "D 1.000 bme280: OSError: 5", ["2"]),
        (f"I 1.000 frame: {SEEN.hex()}", f"I 1.000 frame: {SHOWN}", ["2", "1;33", "33"]),
        (
            "I 1.000 frame: 8601",
            "I 1.000 frame: 8601 (not the CBOR of a frame: truncated)",
            ["1;31"],
        ),
        ("I 1.000 frame: 12 zz", "I 1.000 frame: 12 zz (not hex)", ["1;31"]),
        ("ets Jul 29 2019 12:21:46", "ets Jul 29 2019 12:21:46", ["2"]),
        ("ESP-ROM:esp32c3-api1-20210207", "ESP-ROM:esp32c3-api1-20210207", ["2"]),
        ("rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)",) * 2 + (["2"],),
        ("load:0x3fff0030,len:4540", "load:0x3fff0030,len:4540", ["2"]),
        ("invalid header: 0xffffffff", "invalid header: 0xffffffff", ["31"]),
        ("Guru Meditation Error: Core  0 panic'ed",) * 2 + (["31"],),
        ("\x1b[0;31mE (27) esp_image: bad\x1b[0m", "E (27) esp_image: bad", ["1;31"]),
        (">>> print('[red]x[/]')", ">>> print('[red]x[/]')", []),
        ("\x1b[2J\x9b\u202e\r\tx", "\\x1b[2J\\x9b\\u202e\\r\tx".expandtabs(), []),
    ],
)
def test_a_line_for_people(monkeypatch, text, told, styles):
    monkeypatch.setenv("COLUMNS", "40")  # a long line is not torn
    assert shown(people(), text) == told + "\n"
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    coloured = shown(people(), text)
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == told + "\n"
    assert [code for code in re.findall(r"\x1b\[([0-9;]+)m", coloured) if code != "0"] == styles
    monkeypatch.setenv("NO_COLOR", "1")
    assert shown(people(), text) == told + "\n"


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("W 61.250 wifi: lost", [{"event": "node", "level": "warning", "uptime_s": 61.25,
                                  "tag": "wifi", "text": "lost"}]),
        (f"I 1.000 frame: {SEEN.hex()}", [{"event": "record", "record": "climate", "seq": 7,
                                           "t": 1_800_000_000, "faults": ["humidity_pct"]}]),
        ("I 1.000 frame: 8601", [{"event": "bad frame", "text": "8601"}]),
        ("W (27) spi_flash: odd", [{"event": "idf", "level": "warning"}]),
        ("entry 0x40080680", [{"event": "boot", "text": "entry 0x40080680"}]),
        ("csum err:0x1!=0x2", [{"event": "trouble"}]),
        ("a\x07b °", [{"event": "other", "text": "a\\x07b °"}]),
    ],
)  # fmt: skip
def test_a_line_for_machines(text, rows):
    found = [json.loads(row) for row in shown(Machines(raw=False), text).splitlines()]
    assert [row["at"] for row in found] == [1_800_000_000.5] * len(rows)
    assert [{key: got[key] for key in want} for got, want in zip(found, rows, strict=True)] == rows


def test_a_batch_is_shown_record_by_record():
    """For people one below the other, for machines as if each had come alone."""
    batch = pack(run_of(CLIMATE, 7, 1_800_000_000, 1, 300, [[820], [815], [UNDEFINED]]))[0]
    text = f"I 1.000 frame: {batch.hex()}"
    first, second, third = shown(people(), text).splitlines()
    assert (
        first == "I 1.000 frame: climate 7 2027-01-15T08:00:00Z [clock_synced] temperature 8.20 °C"
    )
    assert second.strip() == "climate 8 2027-01-15T08:05:00Z [clock_synced] temperature 8.15 °C"
    assert third.index("climate 9 ") == second.index("climate 8 ") == first.index("climate 7 ")
    rows = [json.loads(row) for row in shown(Machines(raw=False), text).splitlines()]
    assert [(row["event"], row["seq"], row["faults"]) for row in rows] == [
        ("record", 7, []),
        ("record", 8, []),
        ("record", 9, ["temperature_c"]),
    ]


def test_frames_stay_as_they_are_if_asked(tmp_path):
    line = f"I 1.000 frame: {SEEN.hex()}"
    assert shown(people(raw=True), line) == line + "\n"
    assert json.loads(shown(Machines(raw=True), line))["text"] == SEEN.hex()
    log = LogFile(tmp_path / "log")
    shown(log, line, "\x1b[2J")
    shown(log, "", kind="gone")
    log.close()
    decoded = citynode("decode", tmp_path / "log", "--json")
    assert (decoded.code, decoded.row["seq"]) == (0, 7)
    assert (tmp_path / "log").read_text().splitlines()[1].endswith("/dev/ttyUSB0 \\x1b[2J")


def test_times_and_ports_stand_before_the_line():
    both = people("/dev/ttyUSB0", "rfc2217://bench:4000", times=True)
    stamp = r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\.500"
    assert re.fullmatch(rf"ttyUSB0    {stamp} >>> \n", shown(both, ">>> "))
    assert shown(both, "", kind="gone", port="rfc2217://bench:4000").startswith("--- bench:4000: ")
    assert "17 lines were not shown" in shown(both, "17", kind="full")


@pytest.mark.parametrize(
    ("ports", "names"),
    [
        (["/dev/ttyUSB0", "COM3"], ["ttyUSB0", "COM3"]),
        (["rfc2217://a:1", "rfc2217://b:1"], ["a:1", "b:1"]),
        (["/a/tty", "/b/tty"], ["/a/tty", "/b/tty"]),
    ],
)
def test_names_of_ports_are_short_where_that_is_clear(ports, names):
    assert list(short_names(ports).values()) == names


# -- the command ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["-p", "{tmp}/none"], 1, "{tmp}/none does not exist; plug the board in"),
        (["-p", "{tmp}/cable", "--reset"], 1, "no lines that reset a board; press EN"),
        (["-p", "{tmp}/cable", "--log", "{tmp}"], 2, "cannot write {tmp}: Is a directory"),
        (["-p", "{tmp}/cable", "--duration", "soon"], 2, "write 90s, 10m, 24h or 7d"),
        (["-p", "{tmp}/cable,{tmp}/cable"], 2, "is given twice"),
        (["-p", "{tmp}/no*"], 2, "no port matches"),
    ],
)
def test_what_cannot_be_listened_to_is_one_line(state, tmp_path, arguments, code, told):
    with Cable(tmp_path / "cable"):
        done = citynode("monitor", *(each.format(tmp=tmp_path) for each in arguments))
    assert (done.code, done.out) == (code, "")
    assert told.format(tmp=tmp_path) in done.complaint


def test_a_port_that_somebody_listens_to_is_in_use(state, tmp_path):
    with Cable(tmp_path / "cable") as cable:
        first = Running("monitor", "-p", cable.path)
        first.until("listening to")
        second = citynode("monitor", "-p", cable.path, "--duration", "1s")
        first.interrupt()
        assert (second.code, "in use by another program" in second.complaint) == (1, True)
        assert first.end().code == 0


class Screen:
    """A terminal that somebody looks at."""

    def __init__(self, *arguments, **env):
        self._master, device = os.openpty()
        self.process = subprocess.Popen(
            [CITYNODE, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=device,
            stderr=device,
            env={**os.environ, "TERM": "xterm", **env},
        )
        os.close(device)
        os.set_blocking(self._master, False)
        self.data = b""

    @property
    def text(self):
        with contextlib.suppress(OSError):
            while piece := os.read(self._master, 65536):
                self.data += piece
        return self.data.decode()

    def until(self, text, within_s=20):
        wait_for(lambda: text in self.text, within_s, lambda: f"{text!r} not in {self.data[-500:]}")

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self._master)


def test_noise_and_a_pulled_plug_leave_it_running(state, tmp_path):
    noise = bytes(range(256)) * 40 + os.urandom(4000) + b"B" * 5000 + ATTACK
    arguments = ["--log", tmp_path / "log"]
    with Cable(tmp_path / "one") as one, Cable(tmp_path / "two") as two:
        screen = Screen("monitor", "-p", one.path, "-p", two.path, *arguments)
        try:
            screen.until("listening to")
            one.write(noise + b"\nW 1.000 app: still there\r\n")
            screen.until("still there")
            two.write(f"I 2.000 frame: {SEEN.hex()}\r\n>>> ".encode())
            screen.until(SHOWN.split("Z")[0].split(" ", 1)[1])
            screen.until(">>> ")  # without an end of line
            one.pull()
            screen.until("one: went away")
            one.plug()
            screen.until("one: is back")
            one.write(b"I 3.000 app: and on\n")
            screen.until("and on")
            screen.process.send_signal(2)
            assert screen.process.wait(10) == 0
        finally:
            screen.close()
    sent = re.sub(r"\x1b\[[0-9;]*m", "", screen.text.replace("\r\n", "\n"))
    assert sent.replace("\n", "").isprintable()
    for line in ("one W 1.000 app: still there", "two >>> ", "one I 3.000 app: and on"):
        assert line in sent.splitlines()
    assert re.search(r"\x1b\[33mW 1\.000 app: still there", screen.text)
    log = (tmp_path / "log").read_text()
    assert re.sub(r"[\n\t]", "", log).isprintable()
    assert f"{two.path} I 2.000 frame: {SEEN.hex()}\n" in log


def test_a_program_reads_until_the_time_is_over_or_it_has_enough(state, tmp_path):
    with Cable(tmp_path / "cable") as cable:
        timed = Running("monitor", "-p", cable.path, "--json", "--duration", "1s")
        timed.until("listening to")
        cable.write(f"I 1.000 frame: {SEEN.hex()}\nI 1.001 uplink: acked".encode())
        done = timed.end()
        assert (done.code, [row["event"] for row in done.rows]) == (0, ["record", "node"])
        impatient = Running("monitor", "-p", cable.path)
        impatient.until("listening to")
        impatient.process.stdout.close()
        impatient.process.stdout = None
        cable.write(b"I 1.000 app: nobody reads this\n")
        done = impatient.end(20)
        assert (done.code, done.err.count("\n")) == (1, 1)


@pytest.mark.slow
def test_listening_leaves_the_board_alone_and_reset_resets_it(state, nodes):
    board = nodes.boards[0]
    lines = []
    nodes.call(lambda: nodes.watch_lines(board, lines))
    done = Running("monitor", "-p", board.rfc2217_url, "--json", "--duration", "1.3s").end()
    assert done.code == 0
    assert "record" in {row["event"] for row in done.rows}
    assert not any(row["event"] in ("boot", "port gone") for row in done.rows)
    assert not any(dtr or rts for dtr, rts in lines)
    done = Running("monitor", "-p", board.rfc2217_url, "--reset", "--duration", "1.3s").end()
    assert done.code == 0
    assert "rst:0x1 (POWERON_RESET)" in done.out
    assert f"citynode 0.1.0 node {nodes.names[0]} reset " in done.out
    assert "event" in done.out
    assert (False, True) in lines
    assert (True, False) not in lines[: lines.index((False, True)) + 1]
