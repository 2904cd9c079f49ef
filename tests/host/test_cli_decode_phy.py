"""`citynode decode` of LoRaWAN messages: keys from our nodes, a file, the environment."""

import base64
import json

import pytest
from citynode.boards import load_board
from citynode.identity import Store
from citynode.phy import crypto
from citynode.wire import frame
from citynode.wire.schema import CLIMATE
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import ECB
from workbench import citynode

MAC = "24587cc0ffee"
ONES, TWOS = bytes([1] * 16), bytes([2] * 16)
COUNTED = bytes(range(1, 17))
FRAME = frame.encode(CLIMATE, 12345, 1750000000, 1, [21.37, 48.2])
# The first ones of test_phy: a join request and an uplink of public sources.
JOIN = "00040302010403020105040302050403022d106a990e12"
UPLINK = "40f17dbe4900020001954378762b11ff0d"


def phy(text):
    return bytes.fromhex(text)


@pytest.fixture
def node(state):
    """A node of our store."""
    return Store().issue(MAC, load_board("heltec-lora32-v3"), "street", {})


def join(node, dev_nonce, join_nonce=7, dev_addr=0x26011F4D):
    """Return join-request, join-accept and the session's keys, as the network would make them."""
    request = b"\0" + bytes(8) + node.dev_eui[::-1] + dev_nonce.to_bytes(2, "little")
    request += crypto.join_mic(node.app_key, request)
    plain = join_nonce.to_bytes(3, "little") + bytes((0x13, 0, 0))
    plain += dev_addr.to_bytes(4, "little") + bytes((0x03, 1))
    plain += crypto.join_mic(node.app_key, b"\x20" + plain)
    keys = crypto.session_keys(node.app_key, join_nonce, 0x13, dev_nonce)
    return request, b"\x20" + _decrypted(node.app_key, plain), keys


def _decrypted(key, block):
    return Cipher(AES128(key), ECB()).decryptor().update(block)


def data(keys, payload, f_cnt=0, f_port=2, f_opts=b"", mtype=2, dev_addr=0x26011F4D):
    """Return a data frame of a session."""
    uplink = mtype in (2, 4)
    key = keys[1] if f_port else keys[0]
    message = bytes((mtype << 5,)) + dev_addr.to_bytes(4, "little")
    message += bytes((0x80 | len(f_opts),)) + (f_cnt & 0xFFFF).to_bytes(2, "little") + f_opts
    if f_port is not None:
        sealed = crypto.crypt(key, uplink, dev_addr, f_cnt, payload)
        message += bytes((f_port,)) + sealed
    return message + crypto.data_mic(keys[0], uplink, dev_addr, f_cnt, message)


def test_a_capture_is_read_with_the_keys_of_our_nodes(node, tmp_path):
    """The session is learned from the join in the capture, whichever request was answered."""
    first, accept, keys = join(node, dev_nonce=1)
    again, _, _ = join(node, dev_nonce=2)
    messages = [
        first, again, accept, data(keys, FRAME, f_cnt=0), data(keys, FRAME, f_cnt=70000),
        data(keys, b"\x03\x52\x07\x00\x01", f_cnt=3, f_port=0, mtype=3),
        data(keys, b"", f_cnt=70001, f_port=None, f_opts=b"\x03\x07"),
    ]  # fmt: skip
    capture = tmp_path / "capture"
    capture.write_text("\n".join(message.hex() for message in messages))
    done = citynode("decode", "--json", capture)
    assert (done.code, done.err) == (0, "")
    assert [row["mic"] for row in done.rows] == ["ok"] * len(messages)
    assert {row["node"] for row in done.rows} == {node.node_id}
    assert [row.get("f_cnt") for row in done.rows[3:]] == [0, 70000, 3, 70001]
    assert done.rows[4]["records"][0]["values"]["temperature_c"] == 21.37
    assert [row["mac"][0]["name"] for row in done.rows[5:]] == ["LinkADRReq", "LinkADRAns"]
    shown = citynode("decode", capture)
    assert shown.code == 0
    for told in (
        f"join request, DevEUI {node.dev_eui.hex()}, JoinEUI 0000000000000000, DevNonce 1, MIC ok",
        "DevAddr 26011f4d", "NetID 000013", "FCnt 70000", "temperature 21.37 °C",
        "LinkADRReq data_rate=5 tx_power=2 ch_mask=0x0007 ch_mask_cntl=0 nb_trans=1",
        "LinkADRAns channel_mask_ack data_rate_ack power_ack",
    ):  # fmt: skip
        assert told in shown.out
    for secret in (node.app_key, *keys):
        assert secret.hex() not in (done.out + shown.out).lower()


KEYS_TOML = """\
[[node]]
node_id = "kerb"
dev_addr = "26:01:1f:4d"
nwk_skey = "{}"
app_skey = "{}"
[[node]]
dev_eui = "0203040502030405"
app_key = "01010101010101010101010101010101"
"""


def test_keys_come_from_a_file_or_the_environment(state, tmp_path, monkeypatch):
    session = ONES, TWOS
    message = data(session, FRAME)
    toml, one = tmp_path / "keys.toml", tmp_path / "keys.json"
    toml.write_text(KEYS_TOML.format(*(key.hex() for key in session)))
    one.write_text(json.dumps({"nwk_skey": ONES.hex(), "app_skey": TWOS.hex()}))
    for file, name in ((toml, "kerb"), (one, None)):
        file.chmod(0o600)
        row = citynode("decode", "--json", "--keys", file, message.hex()).row
        assert (row["mic"], row["node"], len(row["records"])) == ("ok", name, 1)
    assert citynode("decode", "--json", "--keys", toml, JOIN).row["mic"] == "ok"
    monkeypatch.setenv("CITYNODE_APP_SKEY", TWOS.hex())
    row = citynode("decode", "--json", message.hex()).row
    assert (row["mic"], len(row["records"])) == ("unchecked", 1)
    monkeypatch.setenv("CITYNODE_NWK_SKEY", ONES.hex())
    row = citynode("decode", "--json", base64.b64encode(message).decode()).row
    assert (row["mic"], len(row["records"])) == ("ok", 1)


CANARY = "c0ffee00c0ffee00c0ffee00c0ffee0"  # a digit short


@pytest.mark.parametrize(
    ("name", "text", "mode", "told"),
    [
        ("k.toml", f'app_key = "{CANARY}"', 0o600, "k.toml: app_key is not 32 hex digits"),
        ("k.toml", f'app_key = "{CANARY}0', 0o600, "is not valid TOML"),
        ("k.json", f'{{"app_key": {CANARY}}}', 0o600, "is not valid JSON"),
        ("k.json", f'{{"app_key": ["{CANARY}0"]}}', 0o600, "app_key is not 32 hex digits"),
        ("k.json", f'["{CANARY}0"]', 0o600, "holds no keys"),
        ("k.toml", f'key = "{CANARY}0"', 0o600, "unknown key 'key'; known are node_id, dev_eui"),
        ("k.toml", f'node = "{CANARY}0"', 0o600, "node is no array of tables"),
        ("k.toml", f'node_id = ["{CANARY}0"]', 0o600, "node_id is no text"),
        ("k.toml", f'[[node]]\napp_key = "{CANARY}"', 0o600, "k.toml, node 1: app_key is not"),
        ("k.toml", 'dev_eui = "0203040502030405"', 0o600, "holds no key"),
        ("k.toml", f'app_key = "{CANARY}0"', 0o640, "others can read"),
        ("gone.toml", None, 0, "cannot read"),
    ],
)
def test_wrong_key_files_are_one_line_without_a_secret(state, tmp_path, name, text, mode, told):
    file = tmp_path / name
    if text is not None:
        file.write_text(text)
        file.chmod(mode)
    done = citynode("decode", "--keys", file, JOIN)
    assert (done.code, done.out) == (2, "")
    assert told in done.complaint
    assert CANARY[:10] not in done.err


def test_a_wrong_key_in_the_environment_is_told_without_it(state, monkeypatch):
    monkeypatch.setenv("CITYNODE_APP_KEY", CANARY)
    done = citynode("decode", JOIN)
    assert (done.code, done.complaint) == (
        2,
        "environment: app_key is not 32 hex digits; correct it",
    )


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (data((ONES, TWOS), FRAME)[:-1] + b"!", "the MIC is wrong for every key that is known"),
        (data((ONES, TWOS), b"\x20"), "the payload is no frame: not a record's array"),
        (data((ONES, TWOS), b"\x81\x20"), "the payload is no frame: unknown record type"),
        (data((ONES, TWOS), b"\x02", f_port=0, f_opts=b"\x02"), "both in FOpts and on port 0"),
    ],
)
def test_what_is_wrong_with_a_message_is_told(state, monkeypatch, message, told):
    monkeypatch.setenv("CITYNODE_NWK_SKEY", ONES.hex())
    monkeypatch.setenv("CITYNODE_APP_SKEY", TWOS.hex())
    done = citynode("decode", "--json", message.hex())
    assert done.code == 1
    assert told in done.complaint
    assert told in done.row["problem"]
    assert done.row["dev_addr"] == "26011f4d"


def test_other_ports_are_not_taken_for_frames(state, monkeypatch):
    monkeypatch.setenv("CITYNODE_NWK_SKEY", ONES.hex())
    monkeypatch.setenv("CITYNODE_APP_SKEY", TWOS.hex())
    for port, mtype in ((224, 2), (2, 3)):
        message = data((ONES, TWOS), b"\x20\x01", f_port=port, mtype=mtype)
        done = citynode("decode", "--json", message.hex())
        assert (done.code, done.row["payload"], done.row["records"]) == (0, "2001", [])


def test_what_is_asked_for_as_a_message_is_one_or_an_error(state):
    for given, told in (
        (FRAME.hex(), "no LoRaWAN message: major version 2 is not LoRaWAN R1"),
        ("40", "no LoRaWAN message: a data frame has at least 12 bytes, not 1"),
    ):
        done = citynode("decode", "--phy", given)
        assert (done.code, done.out, done.complaint) == (1, "", f"input 1: {told}")
    assert citynode("decode", "--phy", UPLINK).code == 0
