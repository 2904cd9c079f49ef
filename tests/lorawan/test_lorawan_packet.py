"""npm's lora-packet, an independent implementation, reads the MAC's frames and makes its downlinks.

Node runs once for everything. The package is installed under `.cache` from the lock beside this
file, whose hashes npm checks.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from filelock import FileLock
from lorawan_bench import MORE_CHANNELS, Bench, Chance, of
from lorawan_network import Network, cflist
from node.lorawan.actions import Deliver, Joined, Sent

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".cache" / "lora-packet"
DEVICES = 25
REQUESTS = 8
UPLINKS = 40
DOWNLINKS = 12

NODE = shutil.which("node")
NPM = shutil.which("npm")

pytestmark = pytest.mark.skipif(
    not (NODE and NPM), reason="Node.js with npm is needed to run lora-packet; it is in CI"
)

# What asks for answers of every kind: one each, several, more than FOpts hold.
COMMANDS = (
    b"\x06",
    b"\x03\x51\xff\x00\x01",
    b"\x04\x00\x06",
    b"\x05\x00\xd2\xad\x84",
    b"\x08\x01\x07\x08\xa0\x8c\x84\x50",
    b"\x0a\x03\xd2\xad\x84\x06",
    b"\x06" * 7 + b"\x08\x01",
    b"\x03\x51\xff\x00\x01" * 9,
)


class Device:
    """One device: what its MAC has sent, and what it shall hear."""

    def __init__(self, number):
        chance = self.chance = Chance(number)
        self.bench = Bench(
            number, Network(chance.bytes(8), chance.bytes(8), chance.bytes(16)), spread_ms=0
        )
        network = self.bench.network
        self.first_nonce = self.bench.mac.dev_nonce = chance.below(60000)
        self.bench.do(self.bench.mac.join(0))
        while len(network.nonces) < REQUESTS:
            self.bench.pass_until(self.bench.wake + 1)
        network.join_nonce = chance.below(1 << 24) - 1
        network.net_id = chance.below(1 << 24)
        self.fields = {
            "settings": chance.below(6) << 4 | chance.below(6),
            "rx_delay": chance.below(16),
            "cflist": (b"", cflist(*MORE_CHANNELS))[number % 2],
            "dev_addr": chance.below(1 << 30),
        }
        self.bench.replies = [(1, lambda: network.accept(**self.fields))]
        self.bench.finish()
        assert self.bench.mac.joined
        self.requests = [s.phy for s in self.bench.sent]
        self.bench.sent = []
        # Some counters are beyond 16 bits.
        self.base = (0, 65500, 1 << 24)[number % 3]
        session = self.bench.mac.session
        session.fcnt_up = session.fcnt_limit = self.base
        network.last_up = self.base - 1
        self.wanted = [self.send() for _ in range(UPLINKS)]
        self.downlinks = [self.downlink(i) for i in range(DOWNLINKS)]

    def send(self):
        """Send something; return what it was."""
        chance, bench = self.chance, self.bench
        confirmed = chance.below(3) == 0
        room = bench.mac.max_payload()
        port, payload = None, b""
        if room and chance.below(8):
            port, payload = 1 + chance.below(223), chance.bytes(chance.below(room + 1))
        if not chance.below(3):
            commands = COMMANDS[chance.below(len(COMMANDS))]
            ack = not chance.below(2)
            bench.replies = [
                (1, lambda: bench.network.down(0, commands, confirmed=not ack, ack=ack))
            ]
        bench.send(port, payload, confirmed)
        bench.now += 600000
        heard = bench.network.uplinks[-1]
        if port is not None:
            assert (heard.port, heard.payload) == (port, payload)
        return heard

    def downlink(self, number):
        """Return the fields of a downlink that lora-packet shall make."""
        chance = self.chance
        port = (None, 0, 1 + chance.below(223))[chance.below(3)]
        return {
            "addr": self.bench.network.dev_addr[::-1].hex(),
            "fcnt": number + (0, 70000)[number > DOWNLINKS // 2],
            "confirmed": not chance.below(2),
            "ack": not chance.below(2),
            "pending": not chance.below(2),
            "options": b"".hex() if port == 0 else (b"\x06" * chance.below(6)).hex(),
            "port": port,
            "payload": {None: b"", 0: b"\x06\x08\x01"}.get(
                port, chance.bytes(chance.below(46))
            ).hex(),
        }

    def job(self):
        """Return what Node shall do."""
        network = self.bench.network
        phys = [network.frames[heard.fcnt] for heard in self.wanted]
        return {
            "app_key": network.app_key.hex(),
            "requests": [phy.hex() for phy in self.requests],
            "uplinks": [
                {"phy": phy.hex(), "fcnt": heard.fcnt}
                for phy, heard in zip(phys, self.wanted, strict=True)
            ],
            "accept": {
                "join_nonce": network.join_nonce,
                "net_id": network.net_id,
                "nonce": network.nonces[-1],
                "addr": network.dev_addr[::-1].hex(),
                "settings": self.fields["settings"],
                "delay": self.fields["rx_delay"],
                "cflist": self.fields["cflist"].hex(),
            },
            "downlinks": self.downlinks,
        }


def install():
    """Install the package where the lock has changed; return its folder."""
    lock = HERE / "package-lock.json"
    done = CACHE / "installed.json"
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / "install.lock"):
        if done.exists() and done.read_bytes() == lock.read_bytes():
            return CACHE
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, CACHE)
        subprocess.run(
            [NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
            cwd=CACHE, check=True, timeout=240, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        shutil.copy(lock, done)
    return CACHE


@pytest.fixture(scope="module")
def devices():
    return [Device(number) for number in range(DEVICES)]


@pytest.fixture(scope="module")
def answers(devices):
    done = subprocess.run(
        [NODE, HERE / "lorawan_packet.js"],
        input=json.dumps([device.job() for device in devices]),
        env={"NODE_PATH": str(install() / "node_modules")},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_join_requests(devices, answers):
    for device, answer in zip(devices, answers, strict=True):
        network = device.bench.network
        assert answer["requests"] == [
            {
                "type": "Join Request",
                "good": True,
                "join_eui": network.join_eui.hex(),
                "dev_eui": network.dev_eui.hex(),
                "nonce": device.first_nonce + turn,
            }
            for turn in range(len(device.requests))
        ]


def test_uplinks(devices, answers):
    count = in_options = on_port_0 = 0
    for device, answer in zip(devices, answers, strict=True):
        session = device.bench.mac.session
        assert (answer["nwk"], answer["app"]) == (session.nwk_key.hex(), session.app_key.hex())
        assert answer["uplinks"] == [
            {
                "type": "Confirmed Data Up" if heard.confirmed else "Unconfirmed Data Up",
                "good": True,
                "addr": session.dev_addr[::-1].hex(),
                "fcnt": (device.base + turn) & 0xFFFF,
                "adr": True,
                "ack_req": heard.adr_ack_req,
                "ack": heard.ack,
                "options": heard.options.hex(),
                "port": heard.port,
                "payload": heard.payload.hex(),
            }
            for turn, heard in enumerate(device.wanted)
        ]
        count += len(device.wanted)
        in_options += sum(len(heard.options) > 0 for heard in device.wanted)
        on_port_0 += sum(heard.port == 0 for heard in device.wanted)
    assert count >= 1000
    assert in_options > 100
    assert on_port_0 > 30


def test_join_accepts_and_downlinks(devices, answers):
    for device, answer in zip(devices, answers, strict=True):
        # A second MAC of the same identity, which hears nobody but lora-packet.
        network = device.bench.network
        other = Bench(1, Network(network.dev_eui, network.join_eui, network.app_key), spread_ms=0)
        other.mac.dev_nonce = network.nonces[-1]
        other.replies = [(1, bytes.fromhex(answer["accept"]))]
        other.do(other.mac.join(0))
        assert other.events == [Joined(network.dev_addr)]
        session, first = other.mac.session, device.bench.mac.session
        other.network.dev_addr = network.dev_addr
        other.network.nwk, other.network.app = network.nwk, network.app
        assert (session.nwk_key, session.app_key) == (first.nwk_key, first.app_key)
        assert session.rx1_offset == device.fields["settings"] >> 4
        assert session.rx_delay_s == max(1, device.fields["rx_delay"])
        assert session.mask == (0xFF if device.fields["cflist"] else 0x07)
        for fields, phy in zip(device.downlinks, answer["downlinks"], strict=True):
            if fields["fcnt"] == 70000 + DOWNLINKS // 2 + 1:
                # A gap that 16 bits cannot tell; something was heard in between.
                session.fcnt_down = 65536
            events = other.reply(bytes.fromhex(phy), None, b"", True)
            assert of(Sent, events)[0].acked == fields["ack"]
            assert session.fcnt_down == fields["fcnt"] + 1
            assert session.ack == fields["confirmed"]
            count = len(bytes.fromhex(fields["options"])) or (2 if fields["port"] == 0 else 0)
            assert len(session.answers) == (4 if fields["port"] == 0 else 3 * count)
            want = [bytes.fromhex(fields["payload"])] if fields["port"] else []
            assert [deliver.payload for deliver in of(Deliver, events)] == want
