"""Identities that the bench gives out from a fleet."""

import contextlib
import threading

import pytest
from citynode.errors import CitynodeError
from citynode.fleet.inventory import Fleet
from citynode.fleet.node import Result, Stage
from citynode.fleet.query import Filter
from citynode.fleet.store import FleetStore
from citynode.identity import EuiBlock
from fleet_nodes import KEYS, MAC, OTHER, RADIO, WIFI, listed, make
from workbench import citynode


@pytest.fixture
def path(state):
    return make(state / "fleet.db")


def test_a_fleet_gives_out_identities_as_the_folder_does(path):
    with Fleet(path) as fleet:
        store = FleetStore(fleet, batch="b3")
        mac = "240ac4000020"
        assert store.issue(mac, RADIO, "park", {}, keep=False).node_id == "park-000020"
        assert store.find(mac) is None
        made = store.issue(mac, RADIO, "park", {"wifi_ssid": "city"})
        assert (made.node_id, made.dev_eui.hex()) == ("park-000020", "240ac4fffe000020")
        assert store.issue(mac, RADIO, "elsewhere", {}) == made == store.find(mac)
        (node,) = fleet.nodes(Filter(batch="b3"))
        assert (node.entry.site, node.entry.board) == ("park", RADIO.id)
        planned = store.issue(MAC, RADIO, "park", {})  # it came by an import
        assert (planned.node_id, planned.app_key.hex()) == ("kerb-1", KEYS[0])
        assert fleet.nodes(Filter(("kerb-1",)))[0].entry.site == "Ring/Ost"
        renewed = store.issue(mac, RADIO, "pond", {}, renew=True)
        assert renewed.node_id == "pond-000020"
        assert renewed.app_key != made.app_key
        assert renewed.wifi_ssid == "city"
        plain = store.issue("240ac4000024", WIFI, "park", {})
        assert (plain.dev_eui, plain.app_key) == (None, None)
        assert set(store.all()) == {MAC, OTHER, "240ac400000c", mac, "240ac4000024"}
        for key, value in (("node_id", "kerb-1"), ("app_key", bytes.fromhex(KEYS[1])),
                           ("dev_eui", bytes.fromhex("70b3d57ed0000004"))):  # fmt: skip
            with pytest.raises(CitynodeError, match=f"has the same {key}"):
                store.issue("240ac4000028", RADIO, "park", {key: value})
        with pytest.raises(CitynodeError, match="is kerb-1 and has another app_key"):
            store.issue(MAC, RADIO, "park", {"app_key": bytes(16)})
        assert store.find("240ac4000028") is None
    assert [row["action"] for row in citynode("fleet", "audit", "pond-000020", "--json").rows] == [
        "issue"
    ]


def test_the_bench_records_how_far_a_board_came(path):
    with Fleet(path) as fleet:
        store = FleetStore(fleet)
        store.record("240ac40000ff", [Stage.FLASH])  # nobody knows it
        store.record(OTHER, [Stage.FLASH], Stage.BOOT, Result.ABORTED, "unplugged")
        assert listed("--stage", "boot=ABORTED") == ["kerb-2"]
        store.record(OTHER, [Stage.FLASH, Stage.BOOT, Stage.IDENTITY], firmware="0.2.0")
    (row,) = citynode("fleet", "list", "kerb-2", "--json").rows
    assert (row["status"], row["firmware"]) == ("open", "0.2.0")
    assert list(row["stages"]) == ["flash", "boot", "identity"]


def test_dev_euis_of_a_block_are_given_out_once(path):
    """Also when the node that had one gets another, or is retired."""
    with Fleet(path) as fleet:
        store = FleetStore(fleet)
        store.dev_euis = EuiBlock.parse("70B3D57ED0000001/6")  # the fleet has 1, 2 and 4 of it
        macs = [f"240ac40001{number:02x}" for number in range(0, 20, 4)]
        assert store.issue(macs[0], RADIO, "park", {}, keep=False).dev_eui[-1] == 5
        assert store.issue(macs[0], RADIO, "park", {}).dev_eui[-1] == 5
        assert store.issue(macs[0], RADIO, "park", {}, renew=True).dev_eui[-1] == 6
        with pytest.raises(CitynodeError, match="all 6 DevEUIs of the block are given out"):
            store.issue(macs[1], RADIO, "park", {})
        past = {"dev_eui": bytes.fromhex("70b3d57ed0000005")}
        with pytest.raises(CitynodeError, match="node park-000100 has the same dev_eui"):
            store.issue(macs[1], RADIO, "park", past)
        assert store.issue(macs[0], RADIO, "park", past, renew=True).dev_eui[-1] == 5


def test_no_two_boards_get_the_same_at_the_same_moment(path):
    macs = [f"240ac40001{number:02x}" for number in range(0, 32, 4)]
    start, got, refused = threading.Barrier(len(macs)), [], []

    def ask(mac, fleet):
        start.wait(10)
        try:
            got.append(FleetStore(fleet).issue(mac, RADIO, "park", {"app_key": bytes(16)}))
        except CitynodeError as error:
            refused.append(error.what)

    with contextlib.ExitStack() as stack:
        # Half of them share an open fleet, as the threads of a bench do; half have one each.
        shared = stack.enter_context(Fleet(path))
        fleets = [shared if number % 2 else stack.enter_context(Fleet(path)) for number in range(8)]
        threads = [
            threading.Thread(target=ask, args=pair) for pair in zip(macs, fleets, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert (len(got), len(refused)) == (1, len(macs) - 1)
    assert all(what.endswith(f"{got[0].node_id} has the same app_key") for what in refused)
