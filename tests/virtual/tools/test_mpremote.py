"""The unmodified mpremote against a virtual board, over RFC 2217 and over the PTY."""

import os
import select
import subprocess
import termios
import time

import pytest
from executables import BIN, sha256

pytestmark = pytest.mark.slow


def test_expressions_programs_and_errors(tool, tmp_path):
    (tmp_path / "script.py").write_text("import sys\nprint(sys.platform, 6 * 7)\n")
    assert tool.mpremote("eval", "1+1").stdout == "2\n"
    assert tool.mpremote("exec", "print('a'); print('b')").stdout == "a\nb\n"
    assert tool.mpremote("run", "script.py").stdout == "esp32 42\n"
    failed = tool.mpremote("exec", "1/0", check=False)
    assert failed.returncode == 1
    assert "ZeroDivisionError" in failed.stdout + failed.stderr
    big = "x = 0\n" + "x += 1  # a line of source that takes its room\n" * 800 + "print(x)\n"
    (tmp_path / "big.py").write_text(big)
    assert tool.mpremote("run", "big.py").stdout == "800\n"


def test_a_busy_board_is_interrupted(tool):
    tool.mpremote("exec", "--no-follow", "while True: pass")
    assert tool.mpremote("eval", "3").stdout == "3\n"
    tool.mpremote("exec", "--no-follow", "import time\nwhile True: time.sleep(1)")
    assert tool.mpremote("eval", "4").stdout == "4\n"


def test_state_is_kept_by_resume_and_lost_by_soft_reset(tool):
    assert tool.mpremote("exec", "x = 5").stdout == ""
    assert tool.mpremote("resume", "eval", "x").stdout == "5\n"
    tool.mpremote("soft-reset")
    failed = tool.mpremote("resume", "eval", "x", check=False)
    assert "NameError" in failed.stdout + failed.stderr


def test_files_go_there_and_back(tool, tree, tmp_path):
    tool.mpremote("cp", "-r", "tree", ":")
    listing = tool.mpremote("ls", ":tree/pack/sub").stdout
    assert "8448 all.bin" in listing
    said = tool.mpremote("sha256sum", ":tree/pack/sub/all.bin").stdout
    assert sha256(tree / "pack" / "sub" / "all.bin") in said
    assert tool.mpremote("cat", ":tree/umlaut.txt").stdout == "Bochum, Königsallee\n"
    tool.mpremote("cp", ":tree/pack/sub/all.bin", "back.bin")
    assert sha256(tmp_path / "back.bin") == sha256(tree / "pack" / "sub" / "all.bin")
    shown = tool.mpremote("fs", "tree", "-s", ":tree").stdout
    for name in ("all.bin", "__init__.py", "empty.txt", "sub"):
        assert name in shown
    tool.mpremote("touch", ":tree/new", "+", "mkdir", ":tree/d", "+", "rm", ":tree/empty.txt")
    listing = tool.mpremote("ls", ":tree").stdout
    assert "new" in listing
    assert "d/" in listing
    assert "empty.txt" not in listing
    tool.mpremote("rm", "-r", ":tree")
    assert "tree" not in tool.mpremote("ls").stdout
    missing = tool.mpremote("cat", ":nothing", check=False)
    assert missing.returncode == 1
    assert "No such file" in missing.stdout + missing.stderr


def test_files_survive_a_power_cut(tool, tree, rack, board):
    tool.mpremote("cp", "tree/umlaut.txt", ":kept.txt")
    rack.call(lambda: (board.power_off(), board.power_on()))
    assert tool.mpremote("cat", ":kept.txt").stdout == "Bochum, Königsallee\n"


def test_edit_writes_back(tool, tree, tmp_path, monkeypatch):
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nprintf 'edited\\n' > \"$1\"\n")
    editor.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(editor))
    tool.mpremote("cp", "tree/umlaut.txt", ":x.txt")
    tool.mpremote("edit", ":x.txt")
    assert tool.mpremote("cat", ":x.txt").stdout == "edited\n"


def test_mount_runs_local_files(tool, tree):
    source = "import os, pack; print(pack.ANSWER, os.getcwd(), sorted(os.listdir()))"
    said = tool.mpremote("mount", "tree", "exec", source).stdout
    assert "42 /remote ['empty.txt', 'pack', 'umlaut.txt']" in said
    source = "f = open('made.txt', 'w'); f.write('from the board'); f.close()"
    tool.mpremote("mount", "tree", "exec", source)
    assert (tree / "made.txt").read_text() == "from the board"
    source = "print(sum(open('pack/sub/all.bin', 'rb').read()))"
    assert f"{sum(range(256)) * 33}" in tool.mpremote("mount", "tree", "exec", source).stdout


def test_df_shows_the_flash_file_system_alone(tool):
    lines = tool.mpremote("df").stdout.splitlines()
    assert len(lines) == 2
    assert "2097152" in lines[1]
    assert lines[1].endswith("/")


def test_rtc_is_set_and_read(tool):
    tool.mpremote("rtc", "--set")
    said = tool.mpremote("rtc").stdout
    assert said.startswith(f"({time.localtime().tm_year}, {time.localtime().tm_mon}, ")


def test_mip_installs_from_a_local_folder(tool, tree, tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "m.py").write_text("WHERE = __file__\n")
    (package / "package.json").write_text('{"urls": [["m/m.py", "m.py"]], "version": "1"}')
    tool.mpremote("mip", "install", package / "package.json")
    assert tool.mpremote("exec", "import m.m; print(m.m.WHERE)").stdout == "/lib/m/m.py\n"


def test_reset_starts_main(tool, tmp_path):
    (tmp_path / "main.py").write_text("import machine; cause = machine.reset_cause()\n")
    tool.mpremote("cp", "main.py", ":")
    tool.mpremote("reset")
    time.sleep(1.0)
    # machine.reset() is reported as a hard reset by this port.
    assert tool.mpremote("resume", "eval", "cause").stdout == "2\n"


def test_repl_over_a_terminal(board):
    """`mpremote repl` wants a terminal of its own, and a port with a file descriptor."""
    ours, theirs = os.openpty()
    command = [BIN / "mpremote", "connect", str(board.pty_path), "repl"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as repl:
        os.close(theirs)

        def until(text):
            seen = b""
            while text not in seen:
                if not select.select([ours], [], [], 20)[0]:
                    repl.kill()
                    raise AssertionError(seen)
                seen += os.read(ours, 4096)

        until(b"exit this shell")
        # It says so before it takes the terminal: until then a return key is a line feed.
        deadline = time.monotonic() + 20
        while termios.tcgetattr(ours)[3] & termios.ICANON and time.monotonic() < deadline:
            time.sleep(0.01)
        os.write(ours, b"print('from', 'the prompt')\r")
        until(b"from the prompt")
        os.write(ours, b"for i in range(3):\rprint(i * 11)\r\r\r\r")
        until(b"11\r\n22\r\n")
        os.write(ours, b"while True: pass\r\r")
        time.sleep(0.3)
        os.write(ours, b"\x03")
        until(b"KeyboardInterrupt")
        os.write(ours, b"\x1d")
        assert repl.wait(20) == 0
    os.close(ours)


def test_bootloader_waits_for_a_download(tool, board, rack):
    """`mpremote bootloader` leaves the chip where esptool finds it without a reset."""
    tool.mpremote("bootloader")
    deadline = time.monotonic() + 10
    while board.state.value == "running" and time.monotonic() < deadline:
        time.sleep(0.02)
    said = tool.run("esptool", "--port", tool.port, "--before", "no-reset", "read-mac").stdout
    assert rack.call(lambda: board.mac.hex(":")) in said
