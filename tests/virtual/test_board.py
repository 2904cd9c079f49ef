import tracemalloc
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from citynode.virtual import engine
from citynode.virtual.engine import Engine
from citynode.virtual.soc.actions import Busy, Reset, SetBaud, Transmit
from citynode.virtual.soc.app import AppExit
from citynode.virtual.soc.board import Board, Parts, State
from citynode.virtual.soc.chip import CHIPS
from citynode.virtual.soc.flash import NorFlash
from citynode.virtual.soc.rfc2217 import Settings

OURS = str(Path(engine.__file__).parent / "*")


class FakeApp:
    """A program that notes what happens to it."""

    def __init__(self):
        self.alive = False
        self.starts = []
        self.fed = b""
        self.on_transmit = self.on_exit = None

    def start(self, app, **facts):
        assert not self.alive
        self.alive = True
        self.starts.append(facts)

    def kill(self):
        self.alive = False

    def feed(self, data):
        assert self.alive
        self.fed += data

    def end(self, **facts):
        self.alive = False
        self.on_exit(AppExit(**facts))


@dataclass
class Bench:
    engine: Engine
    board: Board
    app: FakeApp
    sent: list = field(default_factory=list)
    boots: list = field(default_factory=list)
    loaders: list = field(default_factory=list)
    bootable: bool = True
    retry_cause: str | None = None
    answers: dict = field(default_factory=dict)

    @property
    def text(self):
        return b"".join(data for data, _ in self.sent)

    def run(self, seconds):
        self.engine.run(until=self.engine.clock.now_ns() + round(seconds * 1e9))

    def until(self, condition):
        limit = self.engine.clock.now_ns() + 10_000_000_000
        self.engine.run(until=lambda: condition() or self.engine.clock.now_ns() > limit)
        assert condition()

    def hard_reset(self):
        self.board.set_lines(dtr=False, rts=True)
        self.board.set_lines(dtr=False, rts=False)
        self.run(0.01)

    def download(self):
        self.board.set_lines(dtr=False, rts=True)
        self.board.set_lines(dtr=True, rts=False)
        self.run(0.01)
        self.board.set_lines(dtr=False, rts=False)


@pytest.fixture(params=[False, True], ids=["quick", "paced"])
def paced(request):
    return request.param


@pytest.fixture
def bench(tmp_path, paced):
    engine = Engine()
    app = FakeApp()

    def boot(cause):
        bench.boots.append(cause)
        if bench.bootable:
            return SimpleNamespace(log=b"boot %s\r\n" % cause.encode(), app=object(), retry_ms=None)
        cause = bench.retry_cause
        return SimpleNamespace(log=b"invalid header\r\n", app=None, retry_ms=50, retry_cause=cause)

    class FakeLoader:
        def __init__(self):
            self.got = b""
            bench.loaders.append(self)

        def receive(self, data):
            self.got += data
            return bench.answers.get(data, [])

    board = Board(
        engine,
        id="b-0",
        name="Board",
        chip=CHIPS["esp32"],
        mac=bytes(6),
        flash=NorFlash(tmp_path / "flash.bin", 1 << 20),
        parts=Parts(
            make_loader=FakeLoader,
            boot=boot,
            download_log=lambda cause: b"waiting for download\r\n",
            app=app,
        ),
        paced=paced,
    )
    bench = Bench(engine, board, app)
    board.port._outlets.append(
        SimpleNamespace(transmit=lambda data, settings: bench.sent.append((data, settings)))
    )
    yield bench
    board.close()
    engine.close()


def test_power_on_boots_and_feeds_the_program(bench):
    bench.board.receive(b"unpowered", Settings())
    bench.board.power_on()
    bench.until(lambda: bench.board.state is State.RUNNING)
    assert bench.boots == ["poweron"]
    assert bench.text == b"boot poweron\r\n"
    facts = bench.app.starts[0]
    assert facts["reset_cause"] == "poweron"
    assert facts["wake"] is None
    bench.board.receive(b"\x03hello", Settings())
    assert bench.app.fed == b"\x03hello"
    bench.app.on_transmit(b">>> ")
    bench.until(lambda: bench.text.endswith(b">>> "))


def test_power_cut_kills_the_program_and_loses_rtc_memory(bench):
    bench.board.power_on()
    bench.until(lambda: bench.app.alive)
    bench.app.starts[0]["rtc_memory"].extend(b"kept?")
    bench.board.power_off()
    assert not bench.app.alive
    bench.board.set_lines(dtr=False, rts=True)
    bench.board.set_lines(dtr=False, rts=False)
    bench.run(0.02)
    assert bench.board.state is State.OFF
    bench.board.power_on()
    bench.until(lambda: bench.app.alive)
    assert bench.app.starts[1]["rtc_memory"] == b""


def test_en_low_holds_and_its_release_boots(bench):
    bench.board.power_on()
    bench.until(lambda: bench.app.alive)
    bench.board.set_lines(dtr=False, rts=True)
    assert bench.board.state is State.HELD
    assert not bench.app.alive
    bench.run(0.02)
    assert bench.board.state is State.HELD
    bench.hard_reset()
    bench.until(lambda: bench.app.alive)
    assert bench.boots == ["poweron", "ext"]


def test_power_comes_while_en_is_low(bench):
    bench.board.set_lines(dtr=False, rts=True)
    bench.board.power_on()
    bench.run(0.01)
    assert bench.boots == []
    bench.board.set_lines(dtr=False, rts=False)
    bench.until(lambda: bench.app.alive)


def test_blank_flash_loops_at_the_pace_of_the_watchdog(bench):
    bench.bootable = False
    bench.board.power_on()
    start = bench.engine.clock.now_ns()
    bench.until(lambda: len(bench.boots) == 3)
    assert bench.boots == ["poweron", "rtc_wdt", "rtc_wdt"]
    # Twice 50 ms would be quicker than the chip comes out of reset.
    assert bench.engine.clock.now_ns() - start >= 550_000_000
    bench.bootable = True
    bench.hard_reset()
    bench.until(lambda: bench.app.alive)


def test_a_second_stage_that_gives_up_restarts_the_chip(bench):
    bench.bootable, bench.retry_cause = False, "sw_sys"
    bench.board.power_on()
    bench.until(lambda: len(bench.boots) == 3)
    assert bench.boots == ["poweron", "sw_sys", "sw_sys"]


def test_download_mode_gets_the_bytes_and_measures_the_speed(bench):
    fast = Settings(baud=460800)
    bench.answers = {b"sync": [Transmit(b"reply")]}
    bench.board.power_on()
    bench.download()
    bench.until(lambda: b"waiting for download\r\n" in bench.text)
    assert bench.board.state is State.DOWNLOAD
    bench.board.receive(b"sync", fast)
    bench.until(lambda: bench.text.endswith(b"reply"))
    assert bench.sent[-1][1] == fast
    bench.board.receive(b"sync", Settings(baud=115200))
    assert not bench.loaders[0].got.endswith(b"sync" * 2)


def test_change_of_speed_answers_at_the_old_one(bench):
    bench.answers = {
        b"sync": [Transmit(b"reply")],
        b"baud": [Transmit(b"ok"), SetBaud(921600)],
        b"next": [Transmit(b"fast")],
    }
    bench.board.power_on()
    bench.download()
    bench.board.receive(b"sync", Settings())
    bench.board.receive(b"baud", Settings())
    bench.until(lambda: bench.text.endswith(b"ok"))
    assert bench.sent[-1][1].baud == 115200
    bench.board.receive(b"next", Settings(baud=921600))
    bench.until(lambda: bench.text.endswith(b"fast"))
    assert bench.sent[-1][1].baud == 921600
    bench.hard_reset()
    bench.until(lambda: bench.app.alive)
    assert bench.sent[-1][1].baud == 115200


@pytest.mark.parametrize(
    ("cause", "boots", "state"),
    [
        ("rtc_wdt", ["rtc_wdt"], State.RUNNING),
        ("run_app", ["sw"], State.RUNNING),
        ("sw", [], State.DOWNLOAD),
    ],
)
def test_loader_ends_in_a_reset(bench, cause, boots, state):
    """A software reset keeps the straps that led into download mode."""
    bench.answers = {b"go": [Transmit(b"ok"), Reset(cause), Transmit(b"never")]}
    bench.board.power_on()
    bench.download()
    bench.boots.clear()
    bench.board.receive(b"go", Settings())
    bench.until(lambda: len(bench.loaders) == 2 or bench.app.alive)
    assert bench.boots == boots
    assert bench.board.state is state
    assert b"ok" in bench.text
    assert b"never" not in bench.text


def test_busy_loader_answers_late_and_loses_nothing_only_when_paced(bench, paced):
    bench.answers = {
        b"erase": [Busy(80_000_000), Transmit(b"erased")],
        b"more": [Transmit(b"done")],
    }
    bench.board.power_on()
    bench.download()
    bench.board.receive(b"erase", Settings())
    start = bench.engine.clock.now_ns()
    bench.board.receive(b"more", Settings())
    bench.until(lambda: bench.text.endswith(b"eraseddone"))
    assert (bench.engine.clock.now_ns() - start >= 80_000_000) == paced


@pytest.mark.parametrize("paced", [True], indirect=True)
def test_requests_faster_than_their_answers_do_not_pile_up(bench):
    bench.board.power_on()
    bench.download()
    flood = b"s" * 46
    bench.answers[flood] = [Transmit(b"a" * 14)] * 8
    tracemalloc.start()
    try:
        for _ in range(20_000):
            bench.board.receive(flood, Settings())
        # Other threads of the process may allocate what they like.
        ours = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, OURS)])
    finally:
        tracemalloc.stop()
    assert 0 < sum(trace.size for trace in ours.traces) < 300_000


def test_deep_sleep_keeps_rtc_memory_and_names_what_woke_it(bench):
    bench.board.power_on()
    bench.until(lambda: bench.app.alive)
    bench.app.starts[0]["rtc_memory"].extend(b"counter")
    bench.app.end(kind="deepsleep", sleep_ms=30)
    bench.until(lambda: bench.board.state is State.ASLEEP)
    bench.board.receive(b"unheard", Settings())
    bench.until(lambda: len(bench.app.starts) == 2)
    facts = bench.app.starts[1]
    assert (facts["reset_cause"], facts["wake"]) == ("deepsleep", "timer")
    assert facts["rtc_memory"] == b"counter"
    assert bench.boots == ["poweron", "deepsleep"]


def test_deep_sleep_without_an_end_is_ended_by_a_pin_or_by_reset(bench):
    bench.board.power_on()
    bench.until(lambda: bench.app.alive)
    bench.app.end(kind="deepsleep", sleep_ms=None)
    bench.until(lambda: bench.board.state is State.ASLEEP)
    bench.run(0.05)
    assert bench.board.state is State.ASLEEP
    bench.board.wake("ext0")
    bench.until(lambda: bench.app.alive)
    assert bench.app.starts[-1]["wake"] == "ext0"
    bench.board.wake("ext0")
    bench.app.end(kind="deepsleep", sleep_ms=None)
    bench.until(lambda: bench.board.state is State.ASLEEP)
    bench.hard_reset()
    bench.until(lambda: bench.app.alive)
    assert bench.boots[-1] == "ext"


@pytest.mark.parametrize(
    ("kind", "cause", "words"),
    [
        ("reset", "sw", b""),
        ("task_wdt", "task_wdt", b"Task watchdog got triggered"),
        ("panic", "panic", b"Guru Meditation Error"),
    ],
)
def test_program_that_ends_restarts_the_chip_with_its_cause(bench, kind, cause, words):
    bench.board.power_on()
    bench.until(lambda: bench.app.alive)
    bench.app.end(kind=kind, sleep_ms=None)
    bench.until(lambda: len(bench.app.starts) == 2)
    assert bench.app.starts[1]["reset_cause"] == cause
    assert words in bench.text
    assert bench.text.index(words) < bench.text.index(b"boot " + cause.encode())


def test_program_can_ask_for_the_bootloader(bench):
    bench.board.power_on()
    bench.until(lambda: bench.app.alive)
    bench.app.end(kind="bootloader", sleep_ms=None)
    bench.until(lambda: bench.board.state is State.DOWNLOAD)
    bench.hard_reset()
    bench.until(lambda: bench.app.alive)


def test_break_keeps_characters_out(bench):
    bench.board.power_on()
    bench.until(lambda: bench.app.alive)
    bench.board.set_break(True)
    bench.board.receive(b"lost", Settings())
    bench.board.set_break(False)
    bench.board.receive(b"heard", Settings())
    assert bench.app.fed == b"heard"


def test_wrong_speed_reaches_the_program_as_garbage(bench):
    bench.board.power_on()
    bench.until(lambda: bench.app.alive)
    bench.board.receive(b"hello", Settings(baud=9600))
    assert b"hello" not in bench.app.fed
