"""The unmodified ampy against a virtual board, over the PTY (it takes no URL)."""

import pytest
from executables import Tool

pytestmark = pytest.mark.slow


@pytest.fixture
def ampy(board, tmp_path):
    return Tool(tmp_path, str(board.pty_path)).ampy


def test_files_folders_and_programs(ampy, tree, tmp_path):
    (tmp_path / "script.py").write_text("print('script', 6 * 7)\n")
    ampy("put", "tree/umlaut.txt", "u.txt")
    ampy("get", "u.txt", "back.txt")
    assert (tmp_path / "back.txt").read_text(encoding="utf-8") == "Bochum, Königsallee\n"
    assert ampy("run", "script.py").stdout.strip() == "script 42"
    ampy("mkdir", "d")
    ampy("put", "tree/pack", "d/pack")
    assert ampy("ls", "/d/pack").stdout.split() == ["/d/pack/__init__.py", "/d/pack/sub"]
    ampy("rm", "u.txt")
    ampy("rmdir", "d")
    assert ampy("ls").stdout.split() == ["/boot.py"]
    ampy("reset")
    assert ampy("ls").stdout.split() == ["/boot.py"]
    assert ampy("get", "nothing", check=False).returncode != 0
