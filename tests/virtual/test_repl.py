"""The prompt of a virtual board, key by key, against what the port's prompt does."""

import pytest
from citynode.image.partitions import Partition
from repl_bench import PROMPT, RAW

WINDOW = 128


def test_a_first_start_says_what_the_port_says(fresh):
    said = fresh().type("\x04")
    assert said == (
        b"\r\nMPY: soft reboot\r\n"
        b"MicroPython v1.25.0 on 2025-04-15; Generic ESP32 module with ESP32\r\n"
        b'Type "help()" for more information.\r\n>>> '
    )


@pytest.mark.parametrize(
    ("typed", "seen"),
    [
        ("1 + 1\r", b"1 + 1\r\n2\r\n>>> "),
        ("x = [1,\r2]\r", b"x = [1,\r\n... 2]\r\n>>> "),
        ("if_else = 3\r", b"if_else = 3\r\n>>> "),
        ("'# (' + 'x'\r", b"'# (' + 'x'\r\n'# (x'\r\n>>> "),
        ("'''a\rb'''\r", b"'''a\r\n... b'''\r\n'a\\nb'\r\n>>> "),
        # Indentation: four deep after a colon, kept on empty lines, none after two of them.
        (
            "for i in range(2):\rprint(i)\r\r\r\r",
            b"for i in range(2):\r\n...     print(i)\r\n...     \r\n...     \r\n... \r\n"
            b"0\r\n1\r\n>>> ",
        ),
        # A blank takes the indentation back; a backspace takes four blanks at once.
        ("if 1:\r 5\r\r", b"if 1:\r\n...     \b\b\b\x1b[K5\r\n... \r\n5\r\n>>> "),
        ("if 1:\r\x7f\x03", b"if 1:\r\n...     \b\b\b\b\x1b[K\r\n>>> "),
        # In a statement Ctrl-D ends it where the line is empty.
        ("if 1: 7\r\x04", b"if 1: 7\r\n... 7\r\n>>> "),
        # Editing: Ctrl-A, Ctrl-E, arrows, Ctrl-K, Ctrl-U, delete; what is not ASCII is dropped.
        ("bc\x01a\x05d\x03", b"bc\b\babc\b\bbcd\r\n>>> "),
        ("abc\x1b[D\x1b[D\x0b\x03", b"abc\b\b\x1b[K\r\n>>> "),
        ("abc\x02\x15\x03", b"abc\b\b\b\x1b[Kc\b\r\n>>> "),
        ("12\x1b[H\x1b[3~\r", b"12\b\b\x1b[K2\b\r\n2\r\n>>> "),
        ("'é€'\r", b"''\r\n''\r\n>>> "),
        ("long_name\x01\x03", b"long_name\x1b[9D\r\n>>> "),
        # History, newest first; Ctrl-N goes back.
        ("7\r8\r\x10\x1b[A\x0e\r", b"7\r\n7\r\n>>> 8\r\n8\r\n>>> 8\b7\b8\r\n8\r\n>>> "),
        ("\x05a = 5\rprint(a)\r\x04", b"a = 5\r\n=== print(a)\r\n=== \r\n5\r\n>>> "),
        ("\x05a = \x03", b"Ctrl-D to finish\r\n=== a = \r\n>>> "),
        ("\x02", b'"help()" for more information.\r\n>>> '),
        ("input('? ')\ryes\r", b"input('? ')\r\n? yes\r\n'yes'\r\n>>> "),
    ],
)
def test_keys(terminal, typed, seen):
    terminal.app.feed(typed.encode())
    assert terminal.until(seen).endswith(seen)


@pytest.mark.parametrize(
    ("typed", "seen"),
    [
        ("imp\t", b"import "),
        ("import ma\t", b"\r\nmachine         math\r\n>>> import ma"),
        ("import errno; errno.EADD\t", b"RINUSE"),
        ("gc.\t", b"\r\ncollect         disable         enable          isenabled\r\n"),
        ("gc.mem_f\t", b"ree"),
        ("import gc\x01\x1b[C\x1b[C\t", b"\b\b\bimport gc"),
    ],
)
def test_tab(terminal, typed, seen):
    terminal.type("import gc, errno\r")
    terminal.app.feed(typed.encode() + b"\x03")
    assert seen.strip(b"\b") in terminal.until(PROMPT)


def test_raw_mode(terminal):
    terminal.type("\x01", RAW)
    for typed, seen in (
        ("print(6 * 7)\x04", b"OK42\r\n\x04\x04>"),
        ("forget\x03print(1)\x04", b"OK1\r\n\x04\x04>"),
        ("junk\x01", RAW),
        ("\x05B\x01", b"R\x00>"),
        ("\x05A\x01pass\x03", b"R\x01\x80\x00\x01\x04\x04KeyboardInterrupt: \r\n\x04>"),
        ("1/0\x04", b"line 1, in <module>\r\nZeroDivisionError: divide by zero\r\n\x04>"),
        ("a b\x04", b"SyntaxError: invalid syntax\r\n\x04>"),
        ("import machine; machine.soft_reset()\x04", b"OK\x04\x04MPY: soft reboot\r\n" + RAW),
        ("\x04", b"OK\r\nMPY: soft reboot\r\n" + RAW),
    ):
        said = terminal.type(typed, seen)
        assert said.endswith(seen)
    terminal.type("\x02")


def test_a_long_source_is_pasted_with_flow_control(terminal):
    line = b"x += 1  # as much text behind it as makes a hundred thousand bytes of twelve hundred\n"
    source = b"x = 0\n" + line * 1200 + b"print(x, len(b'" + b"z" * 2000 + b"'))\n"
    assert len(source) > 100_000
    terminal.type("\x01", RAW)
    terminal.type("\x05A\x01", b"R\x01\x80\x00\x01")
    room, at = 2 * WINDOW, 0
    while at < len(source):
        terminal.app.feed(source[at : at + room])
        at += room
        if at < len(source):
            terminal.engine.run(until=lambda: bool(terminal.output))
            assert set(terminal.output) == {1}
            room = WINDOW * len(terminal.output)
            terminal.output.clear()
    assert terminal.type("\x04", b"\x04>").lstrip(b"\x01") == b"\x041200 2000\r\n\x04\x04>"
    # What was pasted takes none of the program's memory: it compiles as well a second time.
    terminal.app.feed(source + b"\x04")
    assert terminal.until(b"\x04>") == b"OK1200 2000\r\n\x04\x04>"
    terminal.type("\x02")


def test_a_flood_of_interrupts_leaves_a_prompt(terminal):
    for _ in range(3):
        terminal.app.feed(b"\x03" * 400)
        terminal.type("print('on')\rwhile True: pass\r\r", b"pass\r\n... \r\n")
        # Until the program runs, Ctrl-C is a key like others.
        terminal.pause(0.1)
        terminal.app.feed(b"\x03" * 400)
        terminal.until(b"KeyboardInterrupt: \r\n>>> ")
    assert terminal.type("1 + 1\r").endswith(b"2\r\n>>> ")


def test_a_locked_heap_is_unlocked_at_the_prompt(terminal):
    terminal.type("import micropython\r")
    terminal.type("micropython.heap_lock()\r")
    assert terminal.type("[1] * 3\r").endswith(b"[1, 1, 1]\r\n>>> ")
    script = "import micropython, machine\nmicropython.heap_lock()\nid = machine.unique_id()\n"
    assert terminal.run(script + "micropython.heap_unlock()\nprint(len(id))\n[0] * 100") == "6\n"


@pytest.mark.parametrize(
    ("version", "resets"), [("v1.23.0", False), ("v1.24.0", True), ("v1.25.0", True)]
)
def test_exit_is_a_soft_reset_from_the_release_on_that_made_it_one(fresh, version, resets):
    terminal = fresh(version=version)
    assert (b"soft reboot" in terminal.type("import sys; sys.exit()\r")) == resets
    assert b"soft reboot" in terminal.type("import machine; machine.soft_reset()\r")


@pytest.mark.parametrize(
    ("boot", "said"),
    [("x = 1\n", b"main 1\r\n"), ("x = 1\n1/0\n", b"ZeroDivisionError: divide by zero\r\n")],
)
def test_main_runs_only_after_a_boot_that_went_well(fresh, boot, said):
    terminal = fresh({"boot.py": boot, "main.py": "print('main', x)\n"})
    start = terminal.type("\x04").split(b"MPY: soft reboot\r\n")[1]
    assert start.split(b"MicroPython")[0].endswith(said)
    assert (b"main" in start) == (b"main" in said)


def test_a_program_reads_bytes_from_the_port(terminal):
    terminal.type(b"\x01", RAW)
    terminal.app.feed(
        b"import sys\nf = sys.stdin.buffer\nb = bytearray(3)\nprint('go')\n"
        b"print(f.readinto(b, 1), f.readinto(b), b, f.read(2), sys.stdin.read(2))\n\x04"
    )
    terminal.until(b"go\r\n")
    said = terminal.type(b"ABCDEF\xc3\xa4H", b"\x04>")
    terminal.type(b"\x02")
    assert said == "1 3 bytearray(b'BCD') b'EF' äH\r\n\x04\x04>".encode()


FORGOTTEN = """
import gc, os
from machine import Pin
pin = Pin(2, Pin.IN)
gc.collect()
gc.threshold(20000)
for number in range(20):
    # Nobody closes it: the collector does, and that is mostly in the middle of a call.
    open("f%d" % number, "w").write(str(number) * 50)
    for _ in range(20):
        pin.value()
gc.threshold(-1)
gc.collect()
good = 0
for number in range(20):
    with open("f%d" % number) as f:
        good += f.read() == str(number) * 50
print(good)
"""


def test_forgotten_files_are_closed_by_the_collector(fresh):
    # One may still be held by the stack, as on a board.
    assert fresh().run(FORGOTTEN) in ("19\n", "20\n")


def test_updates_go_by_the_slots(fresh):
    table = (
        Partition("nvs", 1, 2, 0x9000, 0x4000),
        Partition("otadata", 1, 0, 0xD000, 0x2000),
        Partition("ota_0", 0, 0x10, 0x10000, 0x180000),
        Partition("ota_1", 0, 0x11, 0x190000, 0x180000),
        Partition("vfs", 1, 0x81, 0x310000, 0xF0000),
    )
    script = """
from esp32 import Partition
def attempt(fn):
    try:
        return fn()
    except OSError as error:
        return error
running = Partition(Partition.RUNNING)
print(running.info()[4], Partition(Partition.BOOT).info()[4])
following = running.get_next_update()
print(following.info()[4], following.get_next_update().info()[4])
print(attempt(following.set_boot), attempt(Partition("nvs").set_boot))
print(attempt(Partition.mark_app_valid_cancel_rollback))
print(attempt(lambda: Partition("nothing")))
print(attempt(lambda: running.readblocks(0x180, bytearray(4096))))
"""
    assert fresh(table=table).run(script) == (
        "ota_0 ota_0\nota_1 ota_0\n"
        "(-5379, 'ESP_ERR_OTA_VALIDATE_FAILED') (-5379, 'ESP_ERR_OTA_VALIDATE_FAILED')\n"
        "[Errno 1] EPERM: ESP_FAIL\n[Errno 2] ENOENT\n(-260, 'ESP_ERR_INVALID_SIZE')\n"
    )
