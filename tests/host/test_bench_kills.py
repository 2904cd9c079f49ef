"""`citynode bench run` dies at random moments; a plain rerun makes nodes of all boards.

A few kills in the suite, 200 with CITYNODE_BENCHMARK=full.
"""

import itertools
import os
import random
import threading
import time

import pytest
from citynode.fleet.inventory import Fleet
from citynode.fleet.keys import Place
from citynode.fleet.node import Result, Stage
from citynode.fleet.query import Filter
from citynode.identity import NAMESPACE
from citynode.image import nvs
from citynode.virtual.soc.board import State
from workbench import (
    FILES,
    NVS,
    NVS_SIZE,
    Running,
    Workbench,
    citynode,
    gone,
    is_free,
    wait_for,
)

pytestmark = pytest.mark.slow

KIND = "lilygo-t3-s3"
FULL = os.environ.get("CITYNODE_BENCHMARK") == "full"
KILLS, BOARDS, HEAL_EACH = (200, 4, 10) if FULL else (2, 2, 2)
RUNS = KILLS * (3 if FULL else 1)  # some end before the moment comes
LONGEST_S = 8.0 if FULL else 6.0
CHANGES = 700  # of the flash, that a board without files sees
SECTOR = 4096


@pytest.fixture
def bench(images):
    with Workbench(KIND, BOARDS, seed=41, image=images(KIND)) as running:
        yield running


def spoil(bench, board, rng):
    """Have a board lack some of what makes it a node."""

    def erase():
        board.flash.erase(FILES + rng.choice((0, 64)) * SECTOR, 64 * SECTOR)
        if rng.random() < 0.3:
            board.flash.erase(NVS, NVS_SIZE)

    bench.call(board.power_off)
    bench.call(erase)
    bench.call(board.power_on)


def kill_at(bench, run, rng, *, writing):
    """Kill a run: after some time, or at some change of a board's flash; True if it was at work."""
    struck = threading.Event()
    if writing:
        board, count = rng.choice(bench.boards), itertools.count()
        at = rng.randrange(CHANGES)

        def note(operation, address, length):
            if operation != "read" and board.state is State.DOWNLOAD and next(count) == at:
                struck.set()

        bench.hook(board, note)
    end = time.monotonic() + (2 * LONGEST_S if writing else rng.uniform(0.3, LONGEST_S))
    while run.process.poll() is None and not struck.wait(0.01) and time.monotonic() < end:
        pass
    at_work = run.process.poll() is None
    tools = run.children()
    run.process.kill()
    run.end()
    assert gone(tools)
    for board in bench.boards:
        bench.hook(board, None)
    return at_work


def on_board(bench, board):
    """Return the identity in the flash of a board; None where it is half or not there."""
    try:
        return bench.identity(board)
    except nvs.NvsError:
        return None


def consistent(bench, path, known):
    """See that the fleet is whole, and that no board is what the fleet does not know."""
    with Fleet(path) as fleet:
        assert fleet._db.query("PRAGMA integrity_check")[0][0] == "ok"
        now = {node.entry.mac: fleet.identity(node.entry.mac) for node in fleet.nodes()}
    for kind in ("app_key", "dev_eui", "node_id"):
        assert len({getattr(each, kind) for each in now.values()}) == len(now)
    assert known.items() <= now.items()
    for board in bench.boards:
        found = on_board(bench, board)
        mac = board.mac.hex()
        assert found in (None, {}) or found == now[mac].nvs(), mac
    return now


@pytest.mark.timeout(7200 if FULL else 300)
def test_the_run_is_killed_at_random_moments(bench, images, state):
    rng = random.Random(5)
    path = state / "fleet.db"
    Fleet.init(path, Place.FILE)
    urls = bench.urls()
    command = ["bench", "run", "--batch", "box", "--board", KIND, "--image", images(KIND),
               "--no-self-test", "--force", "--json", *(f"-p{url}" for url in urls)]  # fmt: skip
    known, killed, unfinished = {}, 0, 0
    for number in range(1, RUNS + 1):
        at_work = kill_at(bench, Running(*command), rng, writing=number % 2 == 1)
        killed += at_work
        wait_for(lambda: all(map(is_free, urls)))
        known = consistent(bench, path, known)
        with Fleet(path) as fleet:
            unfinished += fleet.count(Filter(stage=f"{Stage.FLASH}={Result.ABORTED}"))
        ends = number == RUNS or killed == KILLS
        if number % HEAL_EACH and not ends:
            if not at_work or rng.random() < 0.5:
                spoil(bench, rng.choice(bench.boards), rng)
            continue
        healed = citynode(*command)
        assert (healed.code, healed.err) == (0, "")
        known = consistent(bench, path, known)
        for board in bench.boards:
            mac = board.mac.hex()
            raw = bench.bytes(board)[NVS : NVS + NVS_SIZE]
            assert nvs.read_partition(raw)[NAMESPACE] == known[mac].nvs()
        if ends:
            break
        for board in bench.boards:
            spoil(bench, board, rng)
    print(f"\n{killed} of {number} runs were killed at work; boards left unfinished: {unfinished}")
    assert killed >= int(KILLS * 0.6)
    assert unfinished
