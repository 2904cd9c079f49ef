"""What the bench makes of boards that fail here and there, and of a disk that is full."""

import resource
import shutil

import pytest
from citynode.bench import flash, job
from citynode.bench.benchmap import BenchMap
from citynode.bench.boardlog import BoardLogs
from citynode.bench.contents import Order
from citynode.bench.flash import Kit, Method
from citynode.bench.line import BoardOutcome, Line, Rules, verdict_of
from citynode.bench.outcome import Step, Unwatched, Verdict
from citynode.bench.selftest import Item
from citynode.boards import load_board
from citynode.errors import CitynodeError
from citynode.fleet.inventory import Fleet
from citynode.fleet.keys import Place
from citynode.fleet.node import Stage
from citynode.fleet.store import FleetStore
from citynode.link.bootloader import ChipFacts
from citynode.link.errors import LinkError
from citynode.profiles import load_profile

BOARD = load_board("lilygo-t3-s3")
ORDER = Order(BOARD, load_profile("climate-battery"), {"wifi_ssid": "city", "wifi_psk": "x" * 8})
KIT = Kit(ORDER, b"", "v1.26.0", {})
MACS = ("34851800aa04", "34851800aa08")
URL = "rfc2217://bench:{}"
GOOD = (Item("flash", Verdict.PASS, 4, "MiB", 4, 4), Item("led", Verdict.SKIP))


class FakeBoard:
    """A board in place of esptool and mpremote: has an identity or none, and fails as it is told.

    `faults` are (step, LinkError's kind), each happens once.
    """

    def __init__(self, mac):
        self.mac = mac
        self.identity = None
        self.writes = 0
        self.faults = []

    def _go(self, bench, step):
        bench.step(step)
        for fault in self.faults:
            if fault[0] is step:
                self.faults.remove(fault)
                raise LinkError(fault[1], bench.port)

    def write(self, bench, outcome, kit, store, method, guard):
        self._go(bench, Step.CONNECT)
        outcome.mac = self.mac
        facts = ChipFacts("esp32s3", "ESP32-S3", self.mac, 4 << 20)
        guard.met(facts)
        identity = kit.order.identity(store, self.mac, keep=not method.dry_run)
        outcome.node_id = identity.node_id
        if self.identity != identity:
            outcome.changed = ["NVS"]
            guard.writes(facts, outcome.changed)
            if method.dry_run:
                return identity
            self._go(bench, Step.WRITE)
            self.identity = identity
            self.writes += 1
        return identity

    def prove(self, bench, outcome, kit, identity, method):
        self._go(bench, Step.BOOT)
        self._go(bench, Step.READ_BACK)
        assert self.identity == identity
        outcome.version = "0.1.0"


class Bench:
    """Two boards, a fleet, and a line that takes them."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        self.path = folder / "fleet" / "fleet.db"
        self.boards = {URL.format(number): FakeBoard(mac) for number, mac in enumerate(MACS)}
        self.items = GOOD
        self.map = None
        self.at_test = None
        for name in ("write", "prove"):
            monkeypatch.setattr(flash, name, self._call(name))

    def _call(self, name):
        return lambda bench, *given: getattr(self.boards[bench.port], name)(bench, *given)

    def run(self, *, rules=Rules(), method=Method(), labels=None):  # noqa: B008 -- frozen
        with Fleet(self.path) as fleet:
            logs = BoardLogs(self.folder / "logs", Unwatched(), now=lambda: 1.8e9)
            line = Line(
                {BOARD.id: KIT},
                FleetStore(fleet, "box"),
                method,
                rules,
                logs,
                bench_map=self.map,
                self_test=self._test,
                print_label=labels,
            )
            return job.run(
                list(self.boards), line.work, jobs=1, watch=logs, make=BoardOutcome,
                judge=verdict_of,
            )  # fmt: skip

    def _test(self, bench, outcome, kit):
        self.boards[bench.port]._go(bench, Step.SELF_TEST)
        return self.items

    def nodes(self):
        with Fleet(self.path) as fleet:
            return {node.entry.mac: node for node in fleet.nodes()}

    def identities(self):
        with Fleet(self.path) as fleet:
            return {mac: fleet.identity(mac) for mac in MACS}


@pytest.fixture
def bench(state, tmp_path, monkeypatch):
    made = Bench(tmp_path, monkeypatch)
    Fleet.init(made.path, Place.FILE)
    return made


def stages(outcome):
    return [f"{stage.value} {how}" for stage, how in outcome.stages.items()]


@pytest.mark.parametrize(
    ("fault", "verdict", "told"),
    [
        ((Step.CONNECT, "no_board"), "TIMEOUT", []),
        ((Step.CONNECT, "busy"), "ERROR", []),
        ((Step.WRITE, "lost"), "ERROR", ["flash ERROR"]),
        ((Step.WRITE, "unkept"), "FAIL", ["flash FAIL"]),
        ((Step.BOOT, "no_repl"), "TIMEOUT", ["flash PASS", "boot TIMEOUT"]),
        ((Step.READ_BACK, "program"), "FAIL", ["flash PASS", "identity FAIL"]),
        (
            (Step.SELF_TEST, "lost"),
            "ERROR",
            ["flash PASS", "boot PASS", "identity PASS", "self-test ERROR"],
        ),
    ],
)
def test_a_fault_is_of_one_stage_and_a_rerun_does_the_rest(bench, fault, verdict, told):
    first = next(iter(bench.boards.values()))
    first.faults = [fault]
    bad, good = bench.run()
    assert (bad.verdict, stages(bad)) == (verdict, told)
    assert good.verdict is Verdict.PASS
    written = first.writes
    bad, good = bench.run()
    assert [bad.verdict, good.verdict] == [Verdict.PASS] * 2
    assert stages(good) == [f"{each} before" for each in ("flash", "boot", "identity", "self-test")]
    assert first.writes == 1 >= written
    assert {node.status for node in bench.nodes().values()} == {"open"}  # no label yet
    with Fleet(bench.path) as fleet:
        node = fleet.nodes()[0]
        assert (node.entry.firmware, node.entry.micropython) == ("0.1.0", "v1.26.0")
        assert [each.item for each in fleet.measurements(node)] == ["flash"]


def test_a_dry_run_keeps_nothing(bench):
    first, second = bench.boards.values()
    dry = bench.run(method=Method(dry_run=True))
    assert ([each.verdict for each in dry], bench.nodes()) == ([Verdict.PASS] * 2, {})
    first.faults = [(Step.WRITE, "lost")]
    bench.run()
    second.identity = None
    before = bench.nodes()
    half, finished = bench.run(method=Method(dry_run=True))
    assert (half.verdict, half.changed, half.stages) == (Verdict.PASS, ["NVS"], {})
    assert (finished.verdict, finished.error.partition(", finished at ")[0]) == (
        Verdict.FAIL, f"{finished.port} is park-{MACS[1][6:]}")  # fmt: skip
    assert bench.nodes() == before
    forced = bench.run(rules=Rules(force=True))
    assert [each.verdict for each in forced] == [Verdict.PASS] * 2


def test_ports_that_fail_are_tried_again(bench):
    first, second = bench.boards.values()
    first.faults = [(Step.CONNECT, "no_board"), (Step.WRITE, "lost")]
    second.faults = [(Step.CONNECT, "busy")] * 3
    one, other = bench.run(rules=Rules(retries=2))
    assert (one.verdict, one.tries, other.verdict, other.tries) == ("PASS", 3, "ERROR", 3)
    log = (bench.folder / "logs" / f"{MACS[0]}.log").read_text()
    assert log.count("trying again") == 2
    assert (bench.folder / "logs" / "rfc2217_bench_1.log").exists()


def test_a_failed_self_test_is_measured_and_named(bench):
    bench.items = (*GOOD, Item("battery", Verdict.FAIL, 0.0, "V", 2.5, 4.3))
    bad, _ = bench.run()
    assert (bad.verdict, bad.step, stages(bad)[-1]) == ("FAIL", Step.SELF_TEST, "self-test FAIL")
    assert "battery is 0 V" in bad.error
    node = bench.nodes()[MACS[0]]
    assert (node.status, node.stages[Stage.SELF_TEST].detail) == ("failed", "battery")
    bench.items = GOOD
    printed = []
    for outcome in bench.run(rules=Rules(only_failed=True), labels=printed.append):
        assert stages(outcome)[-2:] == ["self-test PASS", "label PASS"]
    assert [each.node_id for each in printed] == [f"park-{mac[6:]}" for mac in MACS]
    assert {each.status for each in bench.nodes().values()} == {"ready"}
    left = bench.run(rules=Rules(only_failed=True))
    assert [each.verdict for each in left] == [Verdict.SKIP] * 2


def test_a_hung_board_is_switched_off_and_on_once(bench, tmp_path):
    done = tmp_path / "switched"
    switch = tmp_path / "switch"
    switch.write_text(f'#!/bin/sh\necho "$1" >> {done}\n')
    switch.chmod(0o755)
    path = tmp_path / "bench.yaml"
    power = f"power: {{kind: command, on: {switch} on, off: {switch} off}}"
    path.write_text(
        "".join(f'- {{id: "{mac}", serial: "{URL.format(n)}", platform: {BOARD.id}, {power}}}\n'
                for n, mac in enumerate(MACS))
    )  # fmt: skip
    bench.map = BenchMap.load(path)
    first, second = bench.boards.values()
    first.faults = [(Step.BOOT, "no_repl")]
    second.faults = [(Step.CONNECT, "no_board")] * 2
    one, other = bench.run()
    assert (one.verdict, other.verdict) == (Verdict.PASS, Verdict.TIMEOUT)
    assert (one.changed, stages(one)[:2]) == (["NVS"], ["flash PASS", "boot PASS"])
    assert done.read_text().split() == ["off", "on"] * 2


def test_a_disk_that_is_full_at_each_write(bench):
    """No board has an identity that the fleet does not know; what was begun is finished later."""
    start = bench.folder / "start"
    shutil.copytree(bench.path.parent, start)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    refused = 0
    for limit in range(0, 1 << 20, 8192):
        shutil.rmtree(bench.path.parent)
        shutil.copytree(start, bench.path.parent)
        for board in bench.boards.values():
            board.identity, board.writes = None, 0
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            verdicts = [each.verdict for each in bench.run()]
        except CitynodeError:
            verdicts = [Verdict.ERROR]  # no run began
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        known = bench.identities()
        for board in bench.boards.values():
            assert board.identity in (None, known[board.mac])
        before = {board.mac: board.identity for board in bench.boards.values()}
        assert [each.verdict for each in bench.run()] == [Verdict.PASS] * 2
        now = bench.identities()
        assert all(known[mac] in (None, now[mac]) for mac in MACS)
        assert all(before[mac] in (None, now[mac]) for mac in MACS)
        assert len({each.app_key for each in now.values()}) == 2
        assert all(board.writes <= 1 for board in bench.boards.values())
        if verdicts == [Verdict.PASS] * 2:
            break
        refused += 1
    assert refused > 15
