"""`citynode soak` over real ports and brokers: what goes away comes back, what is lost is told."""

import json
import threading
import time

import pytest
from citynode.errors import CitynodeError
from citynode.soak.broker import BenchBroker
from citynode.soak.listener import Address, Listener
from citynode.soak.verdict import Plan
from citynode.soak.watch import Watcher
from citynode.wire import frame
from citynode.wire.schema import CLIMATE
from wires import Cable, ScriptedBroker, publish
from workbench import Running, citynode, wait_for

PLAN = Plan(duration_s=0.5, silence_s=300, grace_s=2)


def climate(seq):
    return frame.encode(CLIMATE, seq, 1_800_000_000, 0, {"temperature_c": 20.0})


def accepted(*seqs):
    return b"".join(f"I 1.000 frame: {climate(seq).hex()}\r\n".encode() for seq in seqs)


def events(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


# -- the broker -----------------------------------------------------------------------------------


def test_a_broker_that_goes_away_is_waited_for():
    heard, changes = [], []
    broker = ScriptedBroker()
    address = Address("127.0.0.1", broker.port)
    with Listener(address, lambda *message: heard.append(message), changes.append):
        broker.subscribed()
        broker.publish("citynode/a-1/up", b"one")
        wait_for(lambda: heard)
        broker.close()
        wait_for(lambda: changes == ["gone"])
        with ScriptedBroker(address.port) as again:
            again.subscribed()
            again.publish("citynode/a-1/up", b"two")
            wait_for(lambda: len(heard) == 2)
            again.send(b"\xff\xff\xff\xff\xff\xff")  # no MQTT at all
            wait_for(lambda: changes.count("gone") == 2)
    assert heard == [("citynode/a-1/up", b"one"), ("citynode/a-1/up", b"two")]
    assert changes[:3] == ["gone", "back", "gone"]


WELCOME = b"\x20\x02\x00\x00"


@pytest.mark.parametrize(
    ("connack", "told"),
    [
        (b"\x20\x02\x00\x05", "does not accept user and password; check --identity"),
        (b"\x20\x02\x00\x04", "does not accept user and password; check --identity"),
        (b"\x20\x02\x00\x03", "refuses the connection; see the broker's log"),
        (WELCOME + b"\x90\x03\x00\x01\x80", "does not let this user read citynode/+/up"),
        (b"\xff" * 64, "is no MQTT broker; check --broker"),
    ],
)
def test_a_broker_that_does_not_take_us_is_one_error_without_secrets(connack, told):
    with ScriptedBroker(connack=connack) as broker:
        address = Address("127.0.0.1", broker.port, "user", "canary-secret")
        with pytest.raises(CitynodeError) as caught:
            Listener(address, lambda *_: None)
    assert told in str(caught.value)
    assert "canary" not in str(caught.value) + repr(address)


NOT_MQTT = (
    b"\xff" * 6,
    b"\x00\x00",
    b"\x20\x02\x00",
    b"\x30\x03\x00\x09a",
    b"\x30\x04\x00\x02\xff\xfe",
)


def test_whatever_a_broker_sends_the_next_record_is_heard():
    """What is no MQTT costs the connection at most, never the listener."""
    heard = []
    with ScriptedBroker() as broker:
        address = Address("127.0.0.1", broker.port)
        with Listener(address, lambda *message: heard.append(message)):
            for number, garbage in enumerate(NOT_MQTT):
                broker.subscribed()
                broker.send(garbage)
                broker.drop()
                broker.subscribed()
                broker.publish("citynode/a-1/up", b"%d" % number)
                wait_for(lambda number=number: len(heard) == number + 1)
    assert [payload for _, payload in heard] == [b"%d" % n for n in range(len(NOT_MQTT))]


# -- the watcher ----------------------------------------------------------------------------------


def test_a_port_that_goes_away_is_waited_for(state, tmp_path):
    log = tmp_path / "log"
    with Cable(tmp_path / "one") as one, Watcher([str(one.path)], None, log) as watcher:
        one.write(b"\xff\x00 5.000 frame: 00\r\nI 1.000 app: citynode 0.1.0 node a-1 reset hard\n")
        one.write(accepted(1)[:-20])  # cut in the middle of a line
        wait_for(lambda: any(event["event"] == "restart" for event in events(log)))
        one.pull()
        wait_for(lambda: events(log)[-1]["event"] == "port gone")
        one.plug()
        wait_for(lambda: events(log)[-1]["event"] == "port back")
        one.write(accepted(2, 3) + b"A" * 3000 + b"\n" + accepted(4))
        wait_for(lambda: events(log)[-1].get("seq") == 4)
        watcher.wait(PLAN, lambda *_: None)
        ((account, wrong),) = watcher.results(PLAN)
    assert (account.accepted, account.node_id) == ({2, 3, 4}, "a-1")
    assert wrong == ["restarted (hard 1)"]
    assert [event["event"] for event in events(log)] == [
        "restart", "port gone", "port back", "accepted", "accepted", "accepted", "verdict",
    ]  # fmt: skip
    assert all(abs(event["at"] - time.time()) < 60 for event in events(log))


def test_what_is_on_its_way_at_the_end_is_waited_for(state, tmp_path):
    with BenchBroker() as broker, Cable(tmp_path / "one") as one:
        address = Address("127.0.0.1", broker.port)
        with Watcher([str(one.path)], address, names={str(one.path): "a-1"}) as watcher:
            one.write(accepted(1))
            wait_for(lambda: watcher.ledger.accounts[0].accepted)
            ticks = []

            def tick(left, accounts):
                ticks.append(left)
                if ticks.count(0.0) == 1:  # the time is over, and nothing has arrived
                    one.write(accepted(2))
                    messages = [("citynode/a-1/up", climate(1)), ("citynode/other/up", b"\xff")]
                    threading.Thread(target=publish, args=(broker.port, *messages)).start()

            watcher.wait(PLAN, tick)
            assert [wrong for _, wrong in watcher.results(PLAN)] == [[]]
    assert ticks[0] > 0


# -- the command ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ([], 2, "nothing to watch; give --ports, or --broker, or both"),
        (["-p", "{tmp}/none"], 1, "{tmp}/none does not exist"),
        (["-p", "x", "--duration", "0s"], 2, "--duration '0s' is no duration"),
        (["-p", "x", "--silence", "1y"], 2, "--silence '1y' is no duration"),
        (["--broker", "me:canary@host"], 2, "--broker is not HOST or HOST:PORT"),
        (["--broker", "127.0.0.1:1"], 2, "no connection to the broker at 127.0.0.1:1"),
        (["-p", "x", "--log", "{tmp}"], 2, "cannot write {tmp}: Is a directory"),
    ],
)
def test_what_cannot_be_watched_is_one_line(state, tmp_path, arguments, code, told):
    done = citynode("soak", *(each.format(tmp=tmp_path) for each in arguments))
    assert (done.code, done.out) == (code, "")
    assert told.format(tmp=tmp_path) in done.complaint
    assert "canary" not in done.err


def test_records_that_never_arrive_are_named(state):
    with BenchBroker() as broker:
        where = f"127.0.0.1:{broker.port}"
        soak = Running("soak", "--broker", where, "--duration", "1.5s", "--silence", "1m")
        soak.until("watching for")
        noise = [("citynode/a-1/up/x", b"1"), ("citynode/A b/up", b"2"), ("x", b"3")]
        good = [("citynode/a-1/up", climate(seq)) for seq in (1, 2, 4, 4)]
        publish(broker.port, *noise, *good, ("citynode/b-1/up", climate(9)))
        done = soak.end()
    assert done.code == 1
    assert "citynode: a-1: 1 records lost (number 3)\n" in done.err
    assert "b-1: " not in done.err
    (row,) = [line.replace("│", " ").split() for line in done.out.splitlines() if "a-1" in line]
    assert row == ["a-1", "4", "3", "1", "1", "none", "FAIL"]


def test_an_interrupted_soak_tells_what_it_has_seen(state, tmp_path):
    with Cable(tmp_path / "one") as one:
        soak = Running("soak", "-p", one.path, "--duration", "1h", "--log", tmp_path / "log")
        soak.until("watching for")
        one.write(accepted(1, 2))
        wait_for(lambda: len(events(tmp_path / "log")) == 2)
        soak.interrupt()
        done = soak.end()
    assert done.code == 2
    assert "PASS" in done.out
    assert done.err.endswith("citynode: interrupted; the verdict is on what was seen until then\n")
    assert events(tmp_path / "log")[-1]["event"] == "verdict"


@pytest.mark.slow
def test_healthy_nodes_pass(state, nodes, tmp_path):
    ports = ",".join(board.rfc2217_url for board in nodes.boards)
    broker = f"127.0.0.1:{nodes.broker.port}"
    command = ("soak", "-p", ports, "--broker", broker, "--duration", "3s", "--json")
    done = Running(*command, "--log", tmp_path / "log").end()
    assert (done.code, done.err) == (0, "")
    assert [row["node"] for row in done.rows] == nodes.names
    for row in done.rows:
        assert row["passed"]
        assert row["received"] == row["expected"] >= 2
        assert (row["lost"], row["restarts"], row["bad_lines"]) == (0, {}, 0)
    kinds = {event["event"] for event in events(tmp_path / "log")}
    assert kinds == {"accepted", "received", "verdict"}


@pytest.mark.slow
def test_a_node_that_loses_its_power_fails_and_is_named(state, nodes):
    ports = [option for board in nodes.boards for option in ("-p", board.rfc2217_url)]
    broker = f"127.0.0.1:{nodes.broker.port}"
    soak = Running("soak", *ports, "--broker", broker, "--duration", "3s")
    soak.until("watching for")
    nodes.power_cycle(1)
    done = soak.end()
    assert done.code == 1
    assert f"citynode: {nodes.names[1]}: restarted (poweron 1)\n" in done.err
    assert nodes.names[0] not in done.err
    rows = [line for line in done.out.splitlines() if "PASS" in line or "FAIL" in line]
    assert [("PASS" in row, "poweron 1" in row) for row in rows] == [(True, False), (False, True)]
