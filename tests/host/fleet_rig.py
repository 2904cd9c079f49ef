"""Does to a fleet what power cuts and full disks do, and looks whether it is whole; prints JSON.

    python fleet_rig.py FOLDER kill COUNT SEED
    python fleet_rig.py FOLDER full

A process of its own: it forks, and it limits the size of files.
"""

import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path

from citynode.boards import load_board
from citynode.errors import CitynodeError
from citynode.fleet.importing import take
from citynode.fleet.inventory import Fleet
from citynode.fleet.keys import Place
from citynode.fleet.node import Entry, Result, Stage
from citynode.fleet.query import Filter
from citynode.fleet.store import FleetStore

BOARD = load_board("lilygo-t3-s3")
TOLD_S = 20


def entry(number):
    """A node that an import brings."""
    key = f"{number:032x}"
    mac = f"2c{number:010x}"
    return Entry(f"bulk-{number}", mac, f"70b3d57ed{number:07x}", secrets={"app_key": key})


def whole(path):
    """Open a fleet, see that nothing in it is half or twice, and return its identities."""
    with Fleet(path) as fleet:
        (verdict,) = fleet._db.query("PRAGMA integrity_check")[0]
        assert verdict == "ok", verdict
        assert fleet._db.query("PRAGMA foreign_key_check") == []
        nodes, found = fleet.nodes(), fleet.identities()
        keys = [each.app_key for each in found.values() if each.app_key]
        assert len(set(keys)) == len(keys)
        assert len({node.entry.dev_eui for node in nodes}) == len(nodes)
        came = [line["node"] for line in fleet.audit() if line["action"] in ("issue", "import")]
        assert sorted(filter(None, came)) == sorted(found)
    return found


def life(path, first, seed, tell):
    """Do what a bench does, without an end; tell before and behind each step."""
    rng = random.Random(seed)
    with Fleet(path) as fleet:
        store = FleetStore(fleet)
        number = first
        while True:
            known = sorted(fleet.identities())
            what = rng.choices(
                ("issue", "import", "rekey", "stage", "new-key"), (5, 3, 3, 3, 1 if known else 0)
            )[0]
            if what == "issue":
                mac = f"2a{number:010x}"
                tell("begin", [f"park-{mac[6:]}"])
                made = store.issue(mac, BOARD, "park", {})
                tell("done", {made.node_id: made.app_key.hex()})
                number += 1
            elif what == "import":
                new = [entry(number + each) for each in range(7)]
                tell("begin", [each.node_id for each in new])
                assert take(fleet, list(enumerate(new))).added == 7
                tell("done", {each.node_id: each.secrets["app_key"] for each in new})
                number += 7
            elif what == "new-key":
                tell("begin", [])
                fleet.new_key(Place.FILE)
                tell("done", {})
            elif known:
                node = fleet.nodes(Filter((rng.choice(known),)))[0]
                tell("begin", [node.node_id])
                if what == "rekey":
                    fleet.rekey([node])
                else:
                    fleet.stage(node, rng.choice(list(Stage)), Result.PASS)
                kept = fleet.identities(Filter((node.node_id,)))[node.node_id]
                tell("done", {node.node_id: kept.app_key.hex()})


def kill(folder, count, seed):
    """Kill a process that works on a fleet `count` times; each time the fleet has to be whole."""
    rng = random.Random(seed)
    path = folder / "fleet.db"
    Fleet.init(path, Place.FILE)
    expected, steps, halves = {}, 0, 0
    for number in range(count):
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)

            def tell(*what, to=writing):
                os.write(to, json.dumps(what).encode() + b"\n")

            try:
                life(path, number * 10_000, rng.random(), tell)
            except BaseException:
                traceback.print_exc()  # it was to be killed
            finally:
                os._exit(1)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            # Some steps, and a part of one more.
            said = b""
            for _ in range(rng.randint(1, 8)):
                assert select.select([pipe], [], [], TOLD_S)[0]
                said += os.read(reading, 1 << 16)
            time.sleep(rng.uniform(0, 0.01))
            os.kill(child, signal.SIGKILL)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
            told = [json.loads(line) for line in (said + pipe.read()).splitlines()]
        for what, about in told:
            if what == "done":
                expected.update(about)
                steps += 1
        found = {name: each.app_key.hex() for name, each in whole(path).items()}
        open_step = told[-1][1] if told[-1][0] == "begin" else []
        there = [name for name in open_step if name in found]
        assert len(there) in (0, len(open_step)), "a step was done by half"
        halves += bool(told[-1][0] == "begin")
        expected.update({name: found[name] for name in there})  # it had got that far, or not
        assert found == expected
    return {"kills": count, "steps": steps, "in the middle of one": halves, "nodes": len(expected)}


def full(folder):
    """Let no file grow over a limit, for each limit at which something may break off."""
    start, key = folder / "start", os.environ["CITYNODE_KEY_FILE"]
    start.mkdir()
    Fleet.init(start / "fleet.db", Place.FILE)
    with Fleet(start / "fleet.db") as fleet:
        fleet.add([entry(number) for number in range(30)])
        size = (start / "fleet.db").stat().st_size
    new = [replace(entry(100 + each), notes="x" * 500) for each in range(20)]
    mac = "2a0000000001"
    works = {
        "import": lambda fleet: take(fleet, list(enumerate(new))),
        "issue": lambda fleet: FleetStore(fleet).issue(mac, BOARD, "park", {}),
        "rekey": lambda fleet: fleet.rekey(fleet.nodes()),
        "retire": lambda fleet: fleet.retire(fleet.nodes()),
        "backup": lambda fleet: fleet.backup(fleet.path.with_name("copy.db")),
    }
    told = {"init": {"refused": born(folder / "born"), "nodes": 0}}
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    for name, work in works.items():
        refused = 0
        for limit in range(0, 10 * size, 5000):
            place = folder / "now"
            shutil.copytree(start, place)
            path = place / "fleet.db"
            before = state(path)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
            try:
                with Fleet(path) as fleet:
                    work(fleet)
                failed = None
            except CitynodeError as error:
                failed = error
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            if failed is not None:
                refused += 1
                assert str(place) in failed.what, failed.what
                assert state(path) == before
                assert not [each for each in place.iterdir() if each.name.startswith(".")]
                with Fleet(path) as fleet:
                    work(fleet)  # heals
            after = whole_state(path, name)
            shutil.rmtree(place)
            if failed is None:
                break
        assert failed is None
        told[name] = {"refused": refused, "nodes": after}
    assert Path(key).stat().st_size == 65
    return told


def born(folder):
    """Return how many limits keep a fleet from being made; nothing of it is left then."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    folder.mkdir()
    for refused, limit in enumerate(range(0, 1 << 20, 8000)):
        failed = None
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            Fleet.init(folder / "fleet.db", Place.FILE)
        except CitynodeError as error:
            failed = error
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        if failed is None:
            assert whole(folder / "fleet.db") == {}
            return refused
        assert str(folder) in failed.what
        assert list(folder.iterdir()) == []
    raise AssertionError


def state(path):
    """Return all that a fleet holds."""
    with Fleet(path) as fleet:
        return [node.to_json() for node in fleet.nodes()], fleet.identities(), fleet.audit()


def whole_state(path, name):
    with Fleet(path) as fleet:
        assert fleet._db.query("PRAGMA integrity_check")[0][0] == "ok"
        if name == "backup":
            with Fleet(path.with_name("copy.db")) as copy:
                assert copy.identities() == fleet.identities()
        return len(fleet.identities())


if __name__ == "__main__":
    folder, what, *numbers = sys.argv[1:]
    work = {"kill": kill, "full": full}[what]
    print(json.dumps(work(Path(folder), *map(int, numbers))))
