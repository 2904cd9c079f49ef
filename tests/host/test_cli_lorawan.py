"""What is for nodes with LoRaWAN alone: their profiles, DevEUI blocks, and signed commands."""

import json
from base64 import b64decode

import pytest
from citynode.boards import load_board
from citynode.identity import Store
from workbench import citynode

MAC, OTHER = "240ac4000004", "240ac4000008"


@pytest.fixture
def known(tmp_path, monkeypatch):
    """Two nodes: one with a radio, one without."""
    monkeypatch.setenv("CITYNODE_STATE", str(tmp_path))
    store = Store(tmp_path / "nodes")
    store.issue(OTHER, load_board("esp32-devkit"), "park", {})
    return store.issue(MAC, load_board("lilygo-t3-s3"), "park", {})


def test_a_command_is_printed_as_network_servers_take_it(known):
    done = citynode("command", "--json", known.node_id, "interval", "900")
    assert (done.code, done.err) == (0, "")
    told = json.loads(done.out)
    data = bytes.fromhex(told["hex"])
    assert (told["node_id"], told["f_port"]) == (known.node_id, 10)
    assert b64decode(told["base64"]) == data
    assert (data[0], data[5:9], len(data)) == (1, (900).to_bytes(4, "little"), 17)
    assert known.command_key.hex() not in done.out
    by_eui = citynode("command", known.dev_eui.hex().upper(), "restart")
    assert by_eui.code == 0
    assert by_eui.out.startswith(f"{known.node_id}: FPort 10, hex 02")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("park-000004", "interval"), "only 'interval' has a number of seconds"),
        (("park-000004", "restart", "5"), "only 'interval' has a number of seconds"),
        (("park-000004", "interval", "9"), "an interval of 9 s is refused by every node"),
        (("park-000008", "restart"), "park-000008 has no command key"),
        (("park-*", "restart"), "'park-*' is 2 nodes"),
        (("pond-1", "restart"), "no node is 'pond-1'"),
    ],
)
def test_what_cannot_be_is_one_line(known, arguments, said):
    done = citynode("command", *arguments)
    assert done.code == 2
    assert done.err.startswith("citynode: ")
    assert said in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("verb", ["flash", "provision"])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--board", "esp32-devkit", "--profile", "climate-lora"),
            "the profile climate-lora sends over LoRaWAN, and the board esp32-devkit has no radio",
        ),
        (
            ("--board", "lilygo-t3-s3", "--profile", "climate-lora", "--dev-eui-block", "70B3/4"),
            "the DevEUI block is not FIRST/COUNT; give 16 hex digits and how many",
        ),
    ],
)
def test_it_is_refused_before_a_port_is_touched(state, verb, arguments, said):
    done = citynode(verb, *arguments, "-p", state / "no-such-port")
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1
