"""Small parts of the core: breadcrumb, counters, log."""

from node.core.counters import NAMES, SIZE, Counters
from node.core.crumb import Crumb
from node.core.log import Log, describe
from node_tools import Chance

FIELDS = ("era", "synced_s", "health_s", "aim_s", "status", "found_counters", "found_session")


class Rtc:
    def __init__(self, data=b""):
        self.data = data

    def load(self):
        return self.data

    def store(self, data):
        self.data = bytes(data)

    def crumb(self):
        return Crumb(self.load, self.store)


def told(crumb):
    return [getattr(crumb, name) for name in FIELDS]


EMPTY = [0, 0, 0, 0, 0, b"", b""]


def test_the_breadcrumb_is_found_again():
    rtc = Rtc()
    crumb = rtc.crumb()
    assert told(crumb) == EMPTY
    crumb.era, crumb.synced_s, crumb.health_s = 65535, 1717200000, 1717203600
    crumb.aim_s, crumb.status = 1717204000, 16
    crumb.save(b"counters", b"session")
    expected = [65535, 1717200000, 1717203600, 1717204000, 16, b"counters", b"session"]
    assert told(rtc.crumb()) == expected
    assert len(rtc.data) < 128
    crumb.save()
    assert told(rtc.crumb())[5:] == [b"", b""]
    # Beyond 2106 it is wrong, and nothing else happens.
    crumb.synced_s = crumb.health_s = crumb.aim_s = (1 << 32) + 5
    crumb.save()
    assert told(rtc.crumb())[1:4] == [5, 5, 5]


def test_any_other_memory_is_no_breadcrumb():
    rtc = Rtc()
    crumb = rtc.crumb()
    crumb.era = 7
    crumb.save(b"12345678")
    good = rtc.data
    for size in range(len(good)):
        assert told(Rtc(good[:size]).crumb()) == EMPTY
    assert told(Rtc(good + b"\0").crumb()) == EMPTY
    for at in range(len(good)):
        for bit in range(8):
            bad = bytearray(good)
            bad[at] ^= 1 << bit
            assert told(Rtc(bytes(bad)).crumb()) == EMPTY
    chance = Chance(2)
    for _ in range(500):
        assert told(Rtc(chance.bytes(chance.below(80))).crumb()) == EMPTY
    # Every size that can stand in it.
    for size in range(256):
        bad = bytearray(good)
        bad[22] = size
        Rtc(bytes(bad)).crumb()


def test_counters_outlive_a_deep_sleep():
    counters = Counters()
    assert [getattr(counters, name) for name in NAMES] == [0] * len(NAMES)
    for number, name in enumerate(NAMES):
        setattr(counters, name, number + 1)
    counters.crashes = (1 << 32) + 3
    data = counters.pack()
    assert len(data) == SIZE
    again = Counters()
    again.unpack(data)
    values = list(range(1, len(NAMES) + 1))
    values[NAMES.index("crashes")] = 3
    assert [getattr(again, name) for name in NAMES] == values


class Uptime:
    ms = 0

    def uptime_ms(self):
        return self.ms


def test_lines_of_the_log():
    lines, clock = [], Uptime()
    log = Log(lines.append, clock)
    clock.ms = 83004
    log.debug("a", "not shown")
    log.info("app", "hello")
    log.warning("wifi", "lost")
    log.error("mqtt", "x" * 500)
    assert lines == [
        "I 83.004 app: hello\n",
        "W 83.004 wifi: lost\n",
        "E 83.004 mqtt: " + "x" * 240 + "\n",
    ]
    for level, shown in ((0, 4), (1, 3), (2, 2), (3, 1)):
        lines[:] = []
        log = Log(lines.append, clock, level)
        for write in (log.debug, log.info, log.warning, log.error):
            write("t", "")
        assert len(lines) == shown


def test_errors_are_described_in_a_line():
    assert describe(ValueError("oops")) == "ValueError: oops"
    assert describe(KeyError()) == "KeyError"
    assert describe(OSError(5)).startswith("OSError: ")
