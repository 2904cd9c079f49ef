"""`citynode bench run` on virtual boards: what is wrong is named, and a rerun does the rest."""

import json

import pytest
from cables import Cable
from citynode.bench.arrivals import LOOK_AT_URL_S, Arrivals
from citynode.boards import load_board
from citynode.fleet.inventory import Fleet
from citynode.fleet.keys import Place
from citynode.fleet.node import Result, Stage
from citynode.fleet.query import Filter
from citynode.fleet.store import FleetStore
from citynode.identity import NAMESPACE
from citynode.image import nvs
from citynode.resources import provisioning
from citynode.virtual.soc.board import State
from workbench import (
    FILES,
    NVS,
    NVS_SIZE,
    PASSWORD,
    SSID,
    PowerCutError,
    Running,
    Workbench,
    citynode,
    node_flash,
    wait_for,
)

pytestmark = pytest.mark.slow

KIND, OTHER = "esp32-devkit", "xiao-esp32c3"
BOARD = load_board(KIND)
GIVEN = {"wifi_ssid": SSID, "wifi_psk": PASSWORD}
PROVED = (Stage.FLASH, Stage.BOOT, Stage.IDENTITY)
SECTOR = 4096
NEW = {"flash": "PASS", "boot": "PASS", "identity": "PASS"}
BEFORE = {"flash": "before", "boot": "before", "identity": "before"}


@pytest.fixture(scope="module")
def bench(images):
    """Eight boards with MicroPython and nothing else, and one of another chip."""
    with (
        Workbench(KIND, 8, seed=31, image=images(KIND)) as boards,
        Workbench(OTHER, seed=32) as others,
    ):
        boards.others = others
        boards.node = node_flash(images(KIND), KIND, values={})
        boards.fresh = boards.bytes(boards.boards[0])[:FILES]
        yield boards


@pytest.fixture
def fleet(state):
    path = state / "fleet.db"
    Fleet.init(path, Place.FILE)
    return path


class Changes:
    """Counts what the loader of a board changes in its flash."""

    def __init__(self, bench, board):
        self.count = 0
        self._board = board
        bench.hook(board, self._note)

    def _note(self, operation, address, length):
        self.count += operation != "read" and self._board.state is State.DOWNLOAD


def command(images, *urls, batch="box", self_test=False):
    ports = [part for url in urls for part in ("-p", url)]
    more = [] if self_test else ["--no-self-test"]
    return ["bench", "run", "--batch", batch, "--json", "--board", KIND, "--image", images(KIND),
            *more, *ports]  # fmt: skip


def rows_of(done):
    return {row["port"]: row for row in done.rows}


def finished(bench, fleet, board, batch="box"):
    """Have a board be a node that the fleet knows as finished."""
    with Fleet(fleet) as inventory:
        store = FleetStore(inventory, batch)
        identity = store.issue(board.mac.hex(), BOARD, "demo", GIVEN)
        store.record(board.mac.hex(), PROVED, firmware="0.1.0")
    store = nvs.build_partition(NVS_SIZE, {NAMESPACE: identity.nvs()})
    bench.restore(board, bench.node[:NVS] + store + bench.node[NVS + NVS_SIZE :])
    return identity


def stick(board, address):
    """Have bytes of the flash stick at 0; return what makes it good again."""
    program = board.flash.program

    def worn(at, data):
        program(at, data)
        if at <= address < at + len(data):
            program(address, bytes(64))

    board.flash.program = worn
    return lambda: setattr(board.flash, "program", program)


def test_a_box_of_eight(bench, images, fleet, state):
    """One is of the wrong chip, one is pulled out, one is worn, one was done before."""
    *good, known, pulled, worn, spare = bench.boards
    for board in (*good, pulled, worn, spare):
        bench.restore(board, bench.fresh)
    finished(bench, fleet, known)
    with Cable(bench.others.boards[0]) as wrong, Cable(pulled) as cable:

        def pull(operation, address, length):
            if operation == "program" and address >= FILES + 20 * SECTOR:
                cable.unplug()

        bench.hook(pulled, pull)
        mend = bench.call(stick, worn, FILES + 33 * SECTOR + 5)
        urls = [*bench.urls(*good, known), wrong.url, cable.url, worn.rfc2217_url]
        done = citynode(*command(images, *urls))
        rows = rows_of(done)
        assert done.code == 1
        assert [rows[url]["verdict"] for url in urls] == ["PASS"] * 5 + ["FAIL", "ERROR", "FAIL"]
        for url in urls[:4]:
            assert rows[url]["stages"] == NEW
        assert rows[known.rfc2217_url]["stages"] == BEFORE
        assert rows[known.rfc2217_url]["written_bytes"] == 0
        causes = {
            wrong.url: f"{wrong.url} is an ESP32-C3, {KIND} has an esp32: nothing was written",
            cable.url: f"{cable.url} went away",
            worn.rfc2217_url: "does not keep what is written at "
            f"{FILES + 33 * SECTOR:#x}; put the board aside",
        }
        told = done.err.splitlines()
        assert len(told) == 3
        for url, cause in causes.items():
            assert any(url in line and cause in line for line in told), told
        with Fleet(fleet) as inventory:
            assert inventory.count(Filter(batch="box")) == 7
            failed = {node.entry.mac for node in inventory.nodes(Filter(status="failed"))}
        assert failed == {pulled.mac.hex(), worn.mac.hex()}

        bench.call(mend)
        bench.hook(pulled, None)
        cable.plug(pulled)
        wrong.plug(spare)
        changes = [Changes(bench, board) for board in (*good, known)]
        again = citynode(*command(images, *urls))
        rows = rows_of(again)
        assert (again.code, again.err) == (0, "")
        assert [rows[url]["stages"] for url in urls] == [BEFORE] * 5 + [NEW] * 3
        assert [each.count for each in changes] == [0] * 5
    with Fleet(fleet) as inventory:
        identities = inventory.identities()
        assert inventory.count(Filter(batch="box", stage="identity")) == 8
    for board in bench.boards:
        assert bench.identity(board) in [each.nvs() for each in identities.values()]
    logs = {path.name for path in (state / "logs" / "box").iterdir()}
    other = bench.others.boards[0]
    assert logs == {f"{board.mac.hex()}.log" for board in (*bench.boards, other)}
    log = (state / "logs" / "box" / f"{worn.mac.hex()}.log").read_text()
    assert "does not keep what is written" in log
    assert PASSWORD not in log


def test_the_wrong_board_is_never_written(bench, images, fleet, tmp_path):
    """Another's node, a finished one, one of another batch, one that the map has elsewhere."""
    anothers, done, elsewhere, moved = bench.boards[:4]
    identity = finished(bench, fleet, anothers)
    with Fleet(fleet) as inventory:
        inventory.retire(inventory.nodes())
    other_fleet = tmp_path / "other.db"
    Fleet.init(other_fleet, Place.FILE)
    finished(bench, other_fleet, done)
    finished(bench, other_fleet, elsewhere, batch="crate")
    bench.restore(moved, bench.fresh)
    text = (provisioning() / "profiles" / "climate-demo.toml").read_text()
    profile = tmp_path / "slower.toml"
    profile.write_text(text.replace("interval_s = 5", "interval_s = 9"))
    assert profile.read_text() != text
    bench_map = tmp_path / "bench.yaml"
    bench_map.write_text(
        "".join(
            f'- {{id: "{mac}", serial: "{board.rfc2217_url}", platform: {KIND}}}\n'
            for board, mac in zip(
                bench.boards[:4],
                [b.mac.hex() for b in (anothers, done, elsewhere)] + ["240ac4fffff0"],
                strict=True,
            )
        )
    )
    changes = [Changes(bench, board) for board in bench.boards[:4]]
    tried = citynode(
        *command(images), "--bench", bench_map, "--fleet", other_fleet, "--profile", profile
    )
    assert tried.code == 1
    assert [row["verdict"] for row in tried.rows] == ["FAIL"] * 4
    told = "\n".join(sorted(tried.err.splitlines()))
    for cause in (
        f"is the node {identity.node_id}, which this fleet does not know: nothing was written",
        f"is demo-{done.mac.hex()[6:]}, finished at ",
        f"is demo-{elsewhere.mac.hex()[6:]} of the batch crate: nothing was written",
        f"has the board {moved.mac.hex()}, the bench map says 240ac4fffff0: nothing was written",
    ):
        assert cause in told
    assert [each.count for each in changes] == [0] * 4
    for board in (anothers, done, elsewhere):
        bench.wait(board, State.RUNNING)  # they go on with what they did


def test_two_runs_share_neither_batch_nor_port(bench, images, fleet, state):
    """And one that was interrupted leaves a board plainly unfinished, which the next finishes."""
    board, other = bench.boards[:2]
    bench.restore(board, bench.fresh)

    def cut(operation, address, length):
        if operation != "read" and board.state is State.DOWNLOAD:
            raise PowerCutError(board)  # the tool waits for it for a while

    bench.hook(board, cut)
    first = Running(*command(images, board.rfc2217_url))
    wait_for(lambda: board.state is State.OFF, 60)
    same_batch = citynode(*command(images, other.rfc2217_url))
    assert (same_batch.code, same_batch.out) == (2, "")
    assert same_batch.complaint.startswith("another run has the batch box; ")
    same_port = citynode(*command(images, board.rfc2217_url, batch="crate"))
    assert (same_port.code, same_port.row["verdict"]) == (1, "ERROR")
    assert "is in use by another program" in same_port.complaint
    first.interrupt()
    end = first.end()
    assert (end.code, end.row["verdict"]) == (2, "ABORTED")
    with Fleet(fleet) as inventory:
        (node,) = inventory.nodes(Filter(batch="box"))
        assert {stage: step.outcome for stage, step in node.stages.items()} == {
            Stage.FLASH: Result.ABORTED
        }
    bench.hook(board, None)
    bench.call(board.power_on)
    rest = citynode(
        *command(images, board.rfc2217_url, self_test=True), "--only-failed",
        "--labels", "L7651", "--skip", "wifi",
    )  # fmt: skip
    assert (rest.code, rest.row["stages"]) == (0, {**NEW, "self-test": "PASS", "label": "PASS"})
    items = {item["item"]: item["verdict"] for item in rest.row["self_test"]}
    assert items["sensor0.bme280.temperature_c"] == "PASS"
    assert not [item for item in items if item.startswith("wifi")]
    with Fleet(fleet) as inventory:
        (node,) = inventory.nodes(Filter(status="ready"))
        measured = {each.item: each.value for each in inventory.measurements(node)}
    assert -40 < measured["sensor0.bme280.temperature_c"] < 60
    assert (state / "logs" / "box" / f"{node.node_id}.pdf").read_bytes().startswith(b"%PDF")


def test_a_board_that_was_written_well_and_could_not_be_reset(bench, images, fleet):
    """That is no fault of its flash, and nothing is written again."""
    board = bench.boards[0]
    bench.restore(board, bench.node)
    with Cable(board) as cable:
        set_lines, written = board.set_lines, []

        def note(operation, address, length):
            if operation == "program" and board.state is State.DOWNLOAD:
                written.append(address)

        def pull(**lines):
            if written:
                cable.unplug()
            set_lines(**lines)

        bench.hook(board, note)
        bench.call(setattr, board, "set_lines", pull)
        done = citynode(*command(images, cable.url))
        assert (done.code, done.row["verdict"]) == (1, "ERROR")
        assert done.row["stages"] == {"flash": "PASS", "boot": "ERROR"}
        assert done.complaint.startswith(f"nothing answers at {cable.url}; ")
        written.clear()
        bench.call(setattr, board, "set_lines", set_lines)
        cable.plug(board)
        again = citynode(*command(images, cable.url), "--only-failed")
        assert (again.code, again.row["stages"]) == (0, {**NEW, "flash": "before"})
        assert written == []


def test_a_board_comes_and_goes(bench, images, fleet):
    """Plugged in, it is done and reported at once; Ctrl-C between two boards is no failure."""
    board = bench.boards[0]
    finished(bench, fleet, board)
    with Cable() as cable:
        run = Running(*command(images, cable.url), "--watch")
        cable.plug(board)
        line = json.loads(run.process.stdout.readline())
        assert (line["verdict"], line["stages"]) == ("PASS", BEFORE)
        cable.unplug()
        run.interrupt()
        end = run.end()
    assert (end.code, end.err) == (0, "")


def test_what_comes_is_taken_up_once():
    """Also what restarts, or answers nobody for a moment; what was away long comes again."""
    now = [0.0]
    with Cable() as cable, Cable() as other:
        arrivals = Arrivals([cable.url, other.url], now=lambda: now[0])

        def at(seconds):
            now[0] = seconds
            return arrivals.new()

        assert at(0) == []
        cable.listen()
        assert at(LOOK_AT_URL_S) == [cable.url]
        cable.unplug()  # it is worked on: nobody looks
        assert at(60) == []
        cable.listen()
        arrivals.end(cable.url, None)
        assert at(61) == []
        cable.unplug()
        assert at(64) == []
        cable.listen()
        assert at(66.5) == []  # it was away for less than it takes
        cable.unplug()
        other.listen()
        assert at(70) == [other.url]
        assert at(80) == []
        cable.listen()
        assert at(90) == [cable.url]
