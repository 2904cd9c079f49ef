"""The pytest plugin `citynode.hil`: who gets which board, and what is told. No board is met."""

import threading

import pytest
from citynode.hil.console import Console, NotSeenError
from citynode.hil.slots import Dealer, Slot, Wish, groups
from citynode.hil.turns import turn
from wires import Cable
from workbench import wait_for

pytest_plugins = ["pytester"]

MAP = """
- id: 240ac4000004
  serial: rfc2217://bench.invalid:4001
  platform: esp32-devkit
  fixtures: [bme280]
- id: 240ac4000008
  serial: rfc2217://bench.invalid:4002
  platform: esp32-devkit
  fixtures: [sht4x, bme280]
  power: {kind: command, on: "true", off: "true"}
- id: 34851800000c
  serial: rfc2217://bench.invalid:4003
  platform: lilygo-t3-s3
- id: 240ac4000010
  serial: rfc2217://bench.invalid:4004
  platform: esp32-devkit
  connected: false
"""
SETUP = """
[wifi]
cut = "true"
restore = "true"
[broker]
host = "broker.invalid"
[lorawan]
"""
TESTS = """
import pytest
def test_any(board): pass
@pytest.mark.requires("bme280")
def test_air(board): pass
@pytest.mark.requires("lora", "lorawan")
def test_radio(board): pass
@pytest.mark.requires("esp32", "power-cut", "wifi-cut")
def test_cut(board): pass
@pytest.mark.requires("scd41")
def test_gas(board): pass
@pytest.mark.requires("bme280", boards=2)
def test_pair(fleet): pass
def test_none(): pass
"""


@pytest.fixture
def project(pytester, state):
    """A project with tests for boards, a bench map and the set-up of its networks."""
    pytester.makepyfile(TESTS)
    pytester.makefile(".yaml", bench=MAP)
    pytester.makefile(".toml", setup=SETUP)
    return pytester


def run(project, *options):
    """Run the project's tests in this process, whose memory is not searched each time."""
    return project.runpytest_inprocess("-p", "no:unraisableexception", *options)


def collected(project, *options):
    """Return the ids of the tests that would be run."""
    result = run(project, "--collect-only", "-q", *options)
    assert result.ret == 0, str(result.stdout)
    return [line.partition("::")[2] for line in result.outlines if "::" in line]


def each(name, *boards):
    return [f"test_{name}[{board}]" for board in boards]


BENCH = ("--bench", "bench.yaml", "--hil-setup", "setup.toml")


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (
            BENCH,
            [f"test_{name}" for name in ("any", "air", "radio", "cut", "gas", "pair", "none")],
        ),
        (
            (*BENCH, "--hil-boards", "lilygo-t3-s3,esp32-devkit"),
            [
                *each("any", "lilygo-t3-s3", "esp32-devkit"),
                *each("air", "esp32-devkit"),
                *each("radio", "lilygo-t3-s3"),
                *each("cut", "esp32-devkit"),
                *each("gas", "none"),
                "test_pair",
                "test_none",
            ],
        ),
        (
            (*BENCH, "--hil-boards", "all"),
            [
                *each("any", "240ac4000004", "240ac4000008", "34851800000c"),
                *each("air", "240ac4000004", "240ac4000008"),
                *each("radio", "34851800000c"),
                *each("cut", "240ac4000008"),
                *each("gas", "none"),
                "test_pair",
                "test_none",
            ],
        ),
        (
            ("--hil-boards", "xiao-esp32c3,heltec-lora32-v3"),  # virtual: all have all sensors
            [
                *each("any", "xiao-esp32c3", "heltec-lora32-v3"),
                *each("air", "xiao-esp32c3", "heltec-lora32-v3"),
                *each("radio", "heltec-lora32-v3"),
                *each("cut", "none"),
                *each("gas", "none"),
                "test_pair",
                "test_none",
            ],
        ),
    ],
)
def test_tests_are_bound_to_boards_that_suit_them(project, options, ids):
    assert collected(project, *options) == ids


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--bench", "none.yaml"), "cannot read none.yaml"),
        ((*BENCH, "--hil-boards", "xiao-esp32c3"), "the bench has no xiao-esp32c3"),
        ((*BENCH, "--labgrid", "desk"), "--bench and --labgrid are two benches"),
        ((*BENCH, "-n", "1", "--dist", "worksteal"), "leave out --dist worksteal"),
        (("--hil-boards", "esp32-devkat"), "did you mean esp32-devkit?"),
        (("--hil-quarantine", "setup.toml"), "setup.toml: unknown key"),
        (("--bench", "bench.yaml", "--hil-setup", "wrong.toml"), "give cut and restore"),
    ],
)
def test_what_is_wrong_with_a_bench_is_one_line(project, options, said, monkeypatch):
    monkeypatch.setenv("CITYNODE_LABGRID_CLIENT", "/bin/true")
    project.makefile(".toml", wrong="[wifi]\ncut = 'x'\n")
    result = run(project, *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.errlines if line]
    assert line.startswith("ERROR: ")
    assert said in line


def test_a_test_that_no_board_suits_says_why_it_was_skipped(project):
    result = run(project, *BENCH, "-rs", "-k", "gas")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*no board of the bench has scd41*"])


def test_projects_that_use_nothing_of_it_do_not_notice(pytester):
    """Their fixtures and marks may have the same names; nothing of citynode is imported."""
    pytester.makepyfile(
        """
        import sys
        import pytest
        @pytest.fixture
        def board(): return "mine"
        @pytest.fixture
        def network(): return "mine"
        @pytest.mark.requires("coffee")
        def test_mine(board, network):
            assert (board, network) == ("mine", "mine")
            heavy = {"citynode.hil.run", "citynode.boards", "citynode.virtual", "serial"}
            assert not heavy & set(sys.modules)
        """
    )
    result = pytester.runpytest_subprocess("--strict-markers", "-W", "error")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*citynode: *")


QUARANTINE = """
[[quarantine]]
test = "*::test_gone"
reason = "removed"
since = 2026-03-01
[[quarantine]]
test = "test_quarantine.py::test_bad[[]a]"
reason = "issue 7"
since = 2026-03-02
[[quarantine]]
test = "test_quarantine.py::test_bad[b]"
reason = "issue 7"
since = 2026-03-02
[[quarantine]]
test = "*::test_healed"
reason = "issue 8"
since = 2026-03-03
"""


@pytest.mark.parametrize("workers", ["0", "1"])
def test_what_is_in_quarantine_runs_and_is_told_and_fails_nobody(pytester, workers):
    pytester.makefile(".toml", quarantine=QUARANTINE.replace("[[]a]", "[a]"))
    pytester.makepyfile(
        test_quarantine="""
        import pytest
        @pytest.fixture
        def broken(): raise OSError("no cable")
        @pytest.mark.parametrize("place", ["a", "b", "c"])
        def test_bad(place, request):
            if place == "b": request.getfixturevalue("broken")
            assert place == "c", f"wrong at {place}"
        def test_healed(): pass
        """
    )
    result = run(pytester, "--hil-quarantine", "quarantine.toml", "-n", workers)
    assert result.ret == 0
    result.assert_outcomes(passed=1, xfailed=2, xpassed=1)
    result.stdout.fnmatch_lines(
        [
            "*::test_gone: since 2026-03-01: removed",
            "  no such test was run",
            "test_quarantine.py::test_bad[[]a]: since 2026-03-02: issue 7",
            "  test_quarantine.py::test_bad[[]a] failed: AssertionError: wrong at a",
            "  test_quarantine.py::test_bad[[]b] failed: OSError: no cable",
            "  test_quarantine.py::test_healed passed: take it off the list",
        ]
    )


# -- the parts ------------------------------------------------------------------------------------


def dealer(spread, **features):
    slots = [Slot(name, "esp32-devkit") for name in features]
    return Dealer(slots, {name: frozenset(each) for name, each in features.items()}, spread=spread)


@pytest.mark.parametrize(
    ("spread", "dealt"),
    [(False, ["a", "a", "b", "ab", "a"]), (True, ["a", "b", "b", "ca", "c"])],
)
def test_boards_are_dealt_in_the_order_of_the_bench_or_in_turns(spread, dealt):
    for _ in range(2):  # the same tests get the same boards
        bench = dealer(spread, a=["x"], b=["x", "y"], c=["x"])
        wishes = [Wish(), Wish(("x",)), Wish(("y",)), Wish(("x",), 2), Wish()]
        assert ["".join(slot.name for slot in bench.deal(wish)) for wish in wishes] == dealt


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (Wish(("z",)), "no board of the bench has z"),
        (Wish(("x", "y")), "no board of the bench has all of x, y"),
        (Wish(("x",), 3), "3 boards with x are needed, the bench has fewer"),
    ],
)
def test_what_cannot_be_dealt_is_named(wish, said):
    bench = dealer(False, a=["x"], b=["x"], c=["y"])
    assert bench.deal(wish) == []
    assert bench.refusal(wish) == said
    assert Dealer([], {}, spread=False).refusal(wish) == "the bench has no board that is connected"


def test_tests_that_share_a_board_are_of_one_group():
    found = groups([["a"], ["b"], ["c", "d"], ["d", "b"], ["e"]])
    assert found["b"] == found["c"] == found["d"]
    assert len(set(found.values())) == 3


def test_who_cuts_a_network_is_alone_and_nobody_waits_for_ever(tmp_path):
    order, inside = [], threading.Event()

    def cut():
        with turn(tmp_path, ["b"], ["a", "b", "c"]):
            order.append("cut")

    def use():
        inside.wait(5)
        with turn(tmp_path, ["c"]):
            order.append("after")

    threads = [threading.Thread(target=cut), threading.Thread(target=use)]
    with turn(tmp_path, ["a"]):
        for thread in threads:
            thread.start()
        # The gate is shut while one waits to be alone: who comes later, on a board that is free,
        # waits behind it.
        wait_for(lambda: (tmp_path / "hil-gate.lock").exists())
        inside.set()
        order.append("first")
    for thread in threads:
        thread.join(10)
    assert order[0] == "first"
    assert sorted(order[1:]) == ["after", "cut"]


def test_a_console_keeps_what_was_said_and_says_what_was_not(tmp_path):
    frame = "8605081a6b0a0f6a01051a329ccbe9"
    with Cable(tmp_path / "one") as cable, Console(str(cable.path)) as console:
        cable.write(f"I 1.000 frame: {frame}\r\nI 1.100 frame: 00\r\n\x1b[31mred\r\n".encode())
        assert console.wait("^red$").string == "red"
        (record,) = console.wait_records(1)
        assert (record.seq, record.values["code"]) == (8, "clock_set")
        mark = console.mark
        with pytest.raises(NotSeenError, match=r"did not say 'red' within 0\.1 s"):
            console.wait("red", 0.1, since=mark)
        with pytest.raises(NotSeenError, match="accepted 0 instead of 1 records"):
            console.wait_records(1, 0.1, since=mark)
        console.clear()
        assert (console.lines, console.records) == ([], [])
        cable.pull()
        cable.plug()

        def back():
            # What comes before the port is open again is lost.
            cable.write(b"back\r\n")
            return any("back" in line for line in console.lines)

        wait_for(back)
