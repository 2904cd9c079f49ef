"""Cipher, frames and keys on vectors that others published; each names its source."""

import binascii

from lorawan_bench import kind_of
from lorawan_cipher import aes_ecb
from lorawan_network import Network
from node.lorawan import frames
from node.lorawan.crypto import APP_KEY, DOWN, MIC_BLOCK, NWK_KEY, UP, Key, put_block
from node.lorawan.frames import ACK, ADR, NO_PORT, ROOM, FrameError


def un(text):
    return binascii.unhexlify(text.replace(" ", ""))


def key(text):
    return Key(aes_ecb(un(text)))


def filled(phy):
    buffer = frames.new_buffer()
    buffer[ROOM : ROOM + len(phy)] = phy
    return buffer


RFC4493_KEY = "2b7e151628aed2a6abf7158809cf4f3c"
RFC4493_MESSAGE = (
    "6bc1bee22e409f96e93d7e117393172a ae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52ef f69f2445df4f9b17ad2b417be66c3710"
)


def test_cmac_of_rfc_4493_section_4():
    message = un(RFC4493_MESSAGE)
    for size, want in (
        (0, "bb1d6929e95937287fa37d129b756746"),
        (16, "070a16b46b4d4144f79bdd9dd04a287c"),
        (40, "dfa66747de9ae63030ca32611497c827"),
        (64, "51f0bebf7e3b9d92fc49741779363cfe"),
    ):
        assert bytes(key(RFC4493_KEY).cmac(message, 0, size)) == un(want), size
        # In the middle of something else, and with a key that was used before.
        used = key(RFC4493_KEY)
        used.cmac(message, 0, 33)
        assert bytes(used.cmac(b"xyz" + message + b"z", 3, 3 + size)) == un(want), size


ONES = "01" * 16

# The Things Stack, pkg/crypto/data_messages_test.go and join_messages_test.go.
TTS_ADDR = un("04030201")


def test_payload_encryption_of_the_things_stack():
    for direction, want in ((UP, "cff30b4e"), (DOWN, "4e75f440")):
        data = bytearray(un("01020304"))
        key(ONES).stream(data, 0, 4, direction, TTS_ADDR, 1)
        assert data == un(want)
        key(ONES).stream(data, 0, 4, direction, TTS_ADDR, 1)
        assert data == un("01020304")


def test_mics_of_the_things_stack():
    message = un("40 04030201 00 0100 01 01020304")
    for direction, want in ((UP, "3b073182"), (DOWN, "a5609fa9")):
        buffer = filled(message)
        put_block(buffer, 0, MIC_BLOCK, direction, TTS_ADDR, 1, len(message))
        assert bytes(key(ONES).cmac(buffer, 0, ROOM + len(message))[:4]) == un(want)
    request = un("00 0807060504030201 0807060504030201 0201")
    assert bytes(key(ONES).cmac(request, 0, len(request))[:4]) == un("e6e10c55")
    accept = un("20 030201 030201 04030201 00 01")
    assert bytes(key(ONES).cmac(accept, 0, len(accept))[:4]) == un("32f54ab3")


# (AppKey, JoinNonce and NetID as on the air, DevNonce, NwkSKey, AppSKey)
SESSION_KEYS = (
    # lora-packet, __tests__/key_gen_test.ts
    (
        "98929b92c49edba9676d646d3b612456", "386337ccbbaa", 0xF18E,
        "4e3d6e6afbcc67af2ba3c8e8ec4acf4b", "610897aa6f1460623443b527d3ac6a9d",
    ),
    # lora-packet, issue 10 (a live EU868 network)
    (
        "b6b53f4a168a7a88bdf7ea135ce9cfca", "3a06e5130000", 0xCC85,
        "2c96f7028184bb0be8aa49275290d4fc", "f3a5c8f0232a38c144029c165865802c",
    ),
    # The Things Stack, pkg/crypto/key_derivation_test.go, the keys of LoRaWAN 1.0
    (
        "bec499c69e9c939e413b663961636c61", "1c3bae010102", 0x7369,
        "0db924ee6af90698e05fc7ce48303c01", "8c1e0543a229088de6f84e74bb46bd62",
    ),
)  # fmt: skip


def test_session_keys():
    for root, nonces, dev_nonce, nwk, app in SESSION_KEYS:
        assert key(root).derive(NWK_KEY, un(nonces), dev_nonce) == un(nwk)
        assert key(root).derive(APP_KEY, un(nonces), dev_nonce) == un(app)


NWK = "44024241ed4ce9a68c6a8bc055233fd3"
APP = "ec925802ae430ca77fd3dd73cb2cc588"
FOX = "The quick brown fox jumps over the lazy dog."

# (PHYPayload, NwkSKey, AppSKey, confirmed, DevAddr as on the air, FCtrl, FCnt, FPort, payload)
UPLINKS = (
    # lora-packet, README and __tests__/{mic,decrypt}_test.ts
    ("40f17dbe4900020001954378762b11ff0d", NWK, APP, False, "f17dbe49", 0, 2, 1, b"test"),
    (
        "40f17dbe490004000155332de41a11adc072553544429ce7787707d1c316e027e7e5e334263376affb8aa1"
        "7ad30075293f28dea8a20af3c5e7",
        NWK, APP, False, "f17dbe49", 0, 4, 1, FOX.encode(),
    ),
    # brocaar/lorawan, phypayload_test.go: TestPHYPayloadData, ExampleNewPHYPayload
    (
        "4004030201800100 01a6946426 15d6c3b582", "02" * 16, ONES, False, "04030201", ADR, 1, 1,
        b"hello",
    ),
    (
        "800403020100000 00a e264d4f7 b56a0e75", "0102030405060708090a0b0c0d0e0f10",
        "100f0e0d0c0b0a090807060504030201", True, "04030201", 0, 0, 10, b"\1\2\3\4",
    ),
)  # fmt: skip


def test_uplinks():
    for phy, nwk, app, confirmed, addr, fctrl, fcnt, port, payload in UPLINKS:
        buffer = frames.new_buffer()
        size = frames.build_data(
            buffer, key(nwk), key(app), confirmed, un(addr), fctrl, fcnt, b"", port, payload
        )
        assert bytes(buffer[ROOM : ROOM + size]) == un(phy), phy


def test_an_uplink_without_payload():
    # lora-packet, __tests__/mic_test.ts: the frame has a port; here it has not.
    buffer = frames.new_buffer()
    addr = un("f17dbe49")
    size = frames.build_data(buffer, key(NWK), key(APP), False, addr, 0, 3, b"", 1, b"")
    assert bytes(buffer[ROOM : ROOM + size]) == un("40f17dbe49000300012a3518af")
    size = frames.build_data(buffer, key(NWK), key(APP), False, addr, ACK, 3, b"\x02", NO_PORT, b"")
    assert bytes(buffer[ROOM : ROOM + size - 4]) == un("40f17dbe4921030002")


def test_downlinks():
    # lora-packet, __tests__/mic_test.ts: an acknowledgement.
    phy = un("60f17dbe4920020001f9d65d27")
    frame = frames.parse_data(filled(phy), len(phy), key(NWK), key(APP), un("f17dbe49"), 0)
    assert (frame.ack, frame.confirmed, frame.pending, frame.fcnt, frame.port) == (
        True, False, False, 2, 1,
    )  # fmt: skip
    assert frame.payload == frame.payload_end
    # helium/erlang-lorawan, the sample downlink.
    phy = un("60a5280126000200011d8b658839")
    nwk, app = key("15641bc99ebbd238e5d9d83d3d5313c5"), key("b184f94678dd69f3c83c2525cd3938b3")
    buffer = filled(phy)
    frame = frames.parse_data(buffer, len(phy), nwk, app, un("a5280126"), 0)
    assert (frame.fcnt, frame.port, frame.payload_end - frame.payload) == (2, 1, 1)


# (PHYPayload, AppKey, JoinEUI, DevEUI, DevNonce)
JOIN_REQUESTS = (
    # lora-packet, __tests__/mic_test.ts
    (
        "0039363463336913aa05693574323831330489c65b1304", "98929b92c49edba9676d646d3b612456",
        "aa13693363343639", "3331383274356905", 0x8904,
    ),
    # brocaar/lorawan, phypayload_test.go: TestPHYPayloadJoinRequest, …_joinRequest
    (
        "000403020104030201050403020504 03022d106a990e12", ONES, "0102030401020304",
        "0203040502030405", 0x102D,
    ),
    (
        "0001010101010101010202020202020202030309b97b32", "0102030405060708090a0b0c0d0e0f10",
        "01" * 8, "02" * 8, 0x0303,
    ),
)  # fmt: skip


def test_join_requests():
    for phy, root, join_eui, dev_eui, nonce in JOIN_REQUESTS:
        buffer = frames.new_buffer()
        size = frames.build_join_request(buffer, key(root), un(join_eui), un(dev_eui), nonce)
        assert bytes(buffer[ROOM : ROOM + size]) == un(phy), phy


# (PHYPayload, AppKey, JoinNonce, JoinNonce and NetID, DevAddr, DLSettings, RxDelay, CFList)
JOIN_ACCEPTS = (
    # lora-packet, issue 10 (a live EU868 network)
    (
        "204dd85ae608b87fc4889970b7d2042c9e72959b0057aed6094b16003df12de145",
        "b6b53f4a168a7a88bdf7ea135ce9cfca", 0xE5063A, "3a06e5130000", "432e0126", 3, 1,
        "184f84e85684b85e84886684586e8400",
    ),
    # lora-packet, __tests__/join_accept_encrypt.ts
    ("20e3de108795f776b8037610ef7869b5b3", "00" * 16, 0, "00" * 6, "00" * 4, 0, 0, ""),
    # brocaar/lorawan, phypayload_test.go: TestPHYPayloadJoinAccept, …_joinAcceptSend
    (
        "20493eeb51fba2116f810edb3742975142", "00112233445566778899aabbccddeeff", 0x570BC7,
        "c70b57011122", "80190302", 0, 0, "",
    ),
    (
        "2023cf335489aae3183c0be0baa8dee5f3", "0102030405060708090a0b0c0d0e0f10", 0x010101,
        "010101020202", "04030201", 0, 0, "",
    ),
    # The Things Stack, pkg/crypto/join_messages_test.go: encryption (the MIC is the test's)
    (
        "20c9fbb259e11649096a568a9e3b7117c3", ONES, 0x010203, "030201030201", "04030201", 0, 1, "",
    ),
)  # fmt: skip


def test_join_accepts():
    for phy, root, join_nonce, nonces, addr, settings, delay, cflist in JOIN_ACCEPTS:
        data = un(phy)
        frame = frames.parse_join_accept(filled(data), len(data), key(root))
        assert frame.join_nonce == join_nonce
        assert frame.nonces == un(nonces)
        assert frame.dev_addr == un(addr)
        assert (frame.dl_settings, frame.rx_delay, frame.cflist) == (settings, delay, un(cflist))
        for bit in range(8, 8 * len(data)):
            bad = bytearray(data)
            bad[bit // 8] ^= 1 << bit % 8
            call = frames.parse_join_accept
            assert kind_of(FrameError, call, filled(bad), len(bad), key(root)) == "mic"


def test_the_tests_own_network_on_the_same_vectors():
    network = Network(un("00afee7cf5ed6f1e"), un("70b3d57ed00000dc"), un(JOIN_ACCEPTS[0][1]))
    # lora-packet, issue 10: the request that belongs to the accept.
    assert network.hear(un("00dc0000d07ed5b3701e6feDf57ceeaf0085cc587fe913")) == "join"
    accept = network.accept(3, 1, un(JOIN_ACCEPTS[0][7]), 0x26012E43, JOIN_ACCEPTS[0][2])
    assert accept == un(JOIN_ACCEPTS[0][0])
    assert (network.nwk, network.app) == (un(SESSION_KEYS[1][3]), un(SESSION_KEYS[1][4]))
    network.dev_addr, network.nwk, network.app = un("f17dbe49"), un(NWK), un(APP)
    assert network.hear(un(UPLINKS[0][0])).payload == b"test"
    assert network.down(1, b"", ack=True, fcnt=2) == un("60f17dbe4920020001f9d65d27")
