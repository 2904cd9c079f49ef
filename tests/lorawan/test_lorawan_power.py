"""Sleep, resets and power cuts: what is kept, and what is never used twice."""

import struct
from binascii import crc32

from lorawan_bench import (
    APP_KEY,
    DEV_EUI,
    JOIN_EUI,
    MORE_CHANNELS,
    Bench,
    Chance,
    PowerCutError,
    joined,
    kind_of,
    of,
)
from lorawan_network import Network, cflist, frequency
from node.lorawan.actions import (
    Deliver,
    Idle,
    LorawanError,
    Save,
)

HOUR_MS = 3600000


def kept(bench):
    """Return all of a session that must survive."""
    session = bench.mac.session
    return (
        session.dev_addr, session.nwk_key, session.app_key, session.fcnt_down, session.rate,
        session.power, session.nb_trans, session.max_duty, session.rx1_offset, session.rx2_rate,
        session.rx2_hz, session.rx_delay_s, session.ack, session.mask, list(session.up_hz),
        list(session.down_hz), bytes(session.channel_rates), bytes(session.answers),
        bench.mac.dev_nonce, bench.mac.join_nonce,
    )  # fmt: skip


def changed_session():
    """Return a bench whose session differs from the defaults in everything."""
    bench = joined()
    commands = (
        b"\x03\x42\xf7\x01\x02" + b"\x04\x03" + b"\x05\x23" + frequency(868800000)
        + b"\x08\x04" + b"\x0a\x01" + frequency(869525000)
    )  # fmt: skip
    new = b"\x07\x08" + frequency(868900000) + b"\x41"
    bench.reply(lambda: bench.network.down(0, new + commands, confirmed=True))
    assert bench.mac.session.mask == 0x1F7
    return bench


def test_a_session_survives_sleep():
    bench = changed_session()
    before = kept(bench)
    state = bench.mac.snapshot(bench.now)
    assert state == bench.mac.snapshot(bench.now)
    bench.power_on(0, state)
    assert kept(bench) == before
    # The very next counter, and no write for it.
    saves = bench.saves
    bench.send(1, b"x")
    assert sorted(bench.network.frames) == [0, 1]
    assert bench.saves == saves


def test_a_session_survives_a_power_cut():
    bench = changed_session()
    before = kept(bench)
    bench.power_on()
    assert kept(bench) == before
    bench.send(1, b"x")
    # The counters that may have been used are left out.
    assert sorted(bench.network.frames) == [0, 32]
    bench.reply(lambda: bench.network.down(9, b"still here"))
    assert of(Deliver, bench.events)[-1].payload == b"still here"


def test_no_write_for_an_uplink():
    bench = joined()
    bench.send(1, b"x")
    saves = bench.saves
    for _ in range(31):
        bench.power_on(0, bench.mac.snapshot(bench.now))
        bench.send(1, b"x")
    assert bench.saves == saves
    bench.power_on(0, bench.mac.snapshot(bench.now))
    bench.send(1, b"x")
    assert bench.saves == saves + 1
    assert sorted(bench.network.frames) == list(range(33))


def test_state_of_another_identity():
    bench = joined()
    bench.send(1, b"x")
    state = bench.flash
    for dev_eui, join_eui, key in (
        (bytes(8), JOIN_EUI, APP_KEY),
        (DEV_EUI, bytes(8), APP_KEY),
        (DEV_EUI, JOIN_EUI, bytes(16)),
    ):
        other = Bench(network=Network(dev_eui, join_eui, key))
        other.mac.restore(state)
        assert not other.mac.joined
        assert other.mac.join_nonce == -1
        # Nonces go on: who checks only the JoinEUI has seen those before.
        other.join()
        assert other.network.nonces == [1]


def test_without_state_the_first_nonce_can_be_given():
    bench = Bench()
    bench.mac.dev_nonce = 4711
    state = bench.mac.snapshot(0)
    bench.mac.dev_nonce = 0
    bench.mac.restore(state)
    bench.join()
    assert bench.network.nonces == [4711]


def sealed(data):
    return bytes(data) + struct.pack("<I", crc32(bytes(data)))


def test_damaged_states_are_refused():
    state = changed_session().flash
    bench = Bench()
    assert len(state) < 256
    for n in range(len(state)):
        assert kind_of(LorawanError, bench.mac.restore, state[:n]) == "state"
    assert kind_of(LorawanError, bench.mac.restore, state + b"\0") == "state"
    for bit in range(8 * len(state)):
        bad = bytearray(state)
        bad[bit // 8] ^= 1 << bit % 8
        assert kind_of(LorawanError, bench.mac.restore, bad) == "state", bit
    for bad in (b"", b"LW", bytes(300), sealed(b""), sealed(bytes(200)), sealed(state)):
        assert kind_of(LorawanError, bench.mac.restore, bad) == "state"
    # Nothing was taken over from any of them.
    assert (bench.mac.joined, bench.mac.dev_nonce, bench.mac.join_nonce) == (False, 0, -1)
    bench.mac.restore(state)
    assert bench.mac.joined


def test_any_values_in_a_state_are_refused_or_work():
    chance = Chance(8)
    network = changed_session().network
    state = bytearray(changed_session().flash[:-4])
    taken = 0
    for _ in range(1000):
        bad = bytearray(state)
        for _ in range(1 + chance.below(3)):
            at = chance.below(len(bad))
            bad[at] = (0, 255, 1, 16, chance.below(256))[chance.below(5)]
        if not chance.below(8):
            bad = bad[: chance.below(len(bad) + 1)] + chance.bytes(chance.below(20))
        bench = Bench()
        if kind_of(LorawanError, bench.mac.restore, sealed(bad)) is not None:
            assert not bench.mac.joined
            continue
        if not bench.mac.joined:
            continue
        taken += 1
        session = bench.mac.session
        network.dev_addr, network.nwk, network.app = (
            session.dev_addr, session.nwk_key, session.app_key,
        )  # fmt: skip
        network.last_up = session.fcnt_up - 1
        bench.network = network
        if kind_of(LorawanError, bench.mac.max_payload) is None and session.fcnt_up <= 0xFFFFFFFF:
            bench.send()
    assert 200 < taken < 950


class Life:
    """A node's life with power cuts; the network (which asserts) lives on."""

    def __init__(self, seed):
        self.chance = Chance(seed)
        self.bench = Bench(seed)
        self.delivered = []
        self.sent = 0

    def start(self, off_ms=0):
        bench = self.bench
        bench.replies = []
        bench.power_on(off_ms)

    def answer(self):
        """Sometimes give the next uplink an answer of some kind."""
        bench, network = self.bench, self.bench.network
        window = 1 + self.chance.below(2)
        what = self.chance.below(9)
        if what < 2:
            number = len(self.delivered) + self.chance.below(2)
            make = lambda: network.down(2, b"%d" % number, ack=True)  # noqa: E731
        elif what == 2:
            make = lambda: network.down(options=b"\x06\x08\x02", confirmed=True)  # noqa: E731
        elif what == 3:
            make = lambda: network.commands(b"\x03\x53\xff\x00\x02")  # noqa: E731
        else:
            bench.replies = []
            return
        bench.replies = [(window, make)]

    def live(self, uplinks):
        """Join if need be, and send; a power cut ends it early."""
        bench = self.bench
        while not bench.mac.joined:
            heard = self.chance.below(3)
            bench.replies = [(1, lambda: bench.network.accept(cflist=cflist(*MORE_CHANNELS)))]
            if heard == 0:
                bench.replies = []
            if not bench.mac.busy:
                bench.do(bench.mac.join(bench.now))
            else:
                bench.now = max(bench.now, bench.wake)
                bench.do(bench.mac.tick(bench.now))
        while self.sent < uplinks:
            self.answer()
            bench.send(1, self.chance.bytes(20), self.chance.below(3) == 0)
            self.sent += 1
            bench.now += 60000


def lived(seed, cut_at, after, uplinks=45):
    """Live with a power cut at a Save; return the bench and how many Saves there were."""
    life = Life(seed)

    def cut(number):
        if number == cut_at:
            raise PowerCutError

    if after:
        life.bench.cut_after = cut
    else:
        life.bench.cut = cut
    while True:
        try:
            life.live(uplinks)
            return life.bench
        except PowerCutError:
            life.start((0, 12345)[seed % 2])


def test_a_power_cut_at_every_save():
    whole = lived(3, 0, False)
    assert whole.saves > 12
    for after in (False, True):
        for cut_at in range(1, whole.saves + 1):
            bench = lived(3, cut_at, after)
            # The network's side asserts; and the node is not wedged: all was sent.
            assert len(bench.network.uplinks) >= 44, (cut_at, after)
            assert len(set(bench.network.nonces)) == len(bench.network.nonces)


def test_power_cuts_at_random():
    for seed in range(8):
        life = Life(seed + 100)
        chance = Chance(seed)

        def cut(number, chance=chance):
            if not chance.below(4):
                raise PowerCutError

        life.bench.cut = life.bench.cut_after = cut
        cuts = 0
        while True:
            try:
                life.live(80)
                break
            except PowerCutError:
                cuts += 1
                life.start()
        nonces = life.bench.network.nonces
        assert cuts > 2
        assert nonces == sorted(set(nonces))


def test_power_cuts_between_saves():
    # Not at a write: in the air, in a window, in between.
    for seed in range(30):
        chance = Chance(seed)
        bench = joined(seed)
        for _ in range(30):
            actions = bench.mac.send(bench.now, 1, b"x")
            step = chance.below(4)
            if step:
                for action in actions:
                    if isinstance(action, Save):
                        bench.flash = action.state
            if step == 2 and not isinstance(actions[-1], Idle):
                bench.network.hear(bytes(actions[-1].payload))
            if step == 3:
                bench.do([action for action in actions if not isinstance(action, Save)])
                bench.finish()
            bench.power_on()
            bench.now += HOUR_MS
        assert len(bench.network.frames) >= 5
