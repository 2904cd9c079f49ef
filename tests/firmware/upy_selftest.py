"""The self-test's items on hardware that is made up, in virtual time."""

import asyncio
import json
import time

from node.core import selftest, selftest_items
from node.core.clock import Clock
from node.radio import RadioError
from node.sensors import SensorError
from node.wire.cbor import UNDEFINED
from node_flash import BLOCKS, ERASE, FOLDER, PROGRAM, Files, formatted

KIB = 1024


def told(*items, **options):
    """Do items, coroutine functions of a report and a clock; return their lines by name."""
    lines = []
    clock = options.pop("clock", None) or Clock(None, False)
    report = selftest.Report(lambda text: lines.append(json.loads(text)))
    listed = [
        ("item%d" % i, options.get("limit_ms", 60000), lambda r, item=item: item(r, clock))
        for i, item in enumerate(items)
    ]
    assert not asyncio.run(selftest.Run(report, listed, clock).go())
    found = {line["item"]: line for line in lines}
    assert len(found) == len(lines)
    return found


def ends(found):
    """Return verdict and value of each line."""
    return {name: (line["verdict"], line["value"]) for name, line in found.items()}


def raising(error):
    async def item(report, clock):
        raise error

    return item


def test_a_value_is_held_against_its_limits():
    cases = (
        (5, None, None, "PASS"),
        (5, 5, 5, "PASS"),
        (5.0, 4, 6, "PASS"),
        (5, 5.001, None, "FAIL"),
        (5, None, 4.999, "FAIL"),
        (float("nan"), None, None, "FAIL"),
        (float("inf"), 0, None, "FAIL"),
        (None, None, None, "FAIL"),
        (UNDEFINED, 0, 1, "FAIL"),
    )
    for value, low, high, verdict in cases:

        async def item(report, clock, value=value, low=low, high=high):
            report.measured("x", value, "V", low, high)

        line = told(item)["x"]
        assert line["verdict"] == verdict, (value, low, high)
        # What JSON has no word for is no number.
        assert line["value"] == (5 if value == 5 else None)
        assert (line["low"], line["high"], line["unit"]) == (low, high, "V")


def test_what_an_item_raises_is_its_end_and_the_next_one_goes_on():
    async def endless(report, clock):
        await clock.sleep_ms(10**8)

    async def fine(report, clock):
        report.tell("fine", "PASS")

    found = told(
        raising(SensorError("crc")),
        raising(OSError(19)),
        raising(OSError(116)),
        raising(RadioError("busy")),
        raising(KeyError("x" * 500)),
        endless,
        fine,
    )
    assert [line["verdict"] for line in found.values()].count("FAIL") == 4
    ends = [found["item%d" % i] for i in range(6)]
    assert [e["verdict"] for e in ends] == ["FAIL", "FAIL", "FAIL", "FAIL", "ERROR", "TIMEOUT"]
    assert ends[0]["detail"] == "SensorError: crc"
    assert ends[1]["detail"] == "no answer"
    assert len(ends[4]["detail"]) == 120
    assert found["fine"]["verdict"] == "PASS"


def test_it_can_be_done_in_pieces():
    lines = []
    clock = Clock(None, False)

    async def slow(report):
        await clock.sleep_ms(10000)
        report.tell("slow", "PASS")

    async def quick(report):
        report.tell("quick", "PASS")

    run = selftest.Run(
        selftest.Report(lines.append), [("slow", 60000, slow), ("quick", 60000, quick)], clock
    )
    start = clock.uptime_ms()
    pieces = 1
    while asyncio.run(run.go(3000)):
        assert run.doing == ["slow", "quick"]
        assert clock.uptime_ms() - start <= 3100 * pieces
        pieces += 1
    assert (pieces, run.doing, len(lines)) == (4, [], 2)


class Sensor:
    def __init__(self, place, settle_ms=0, limits=None):
        self.place = place
        self.settle_ms = settle_ms
        self.limits = limits or {}


class Channel:
    """A sensor: what it says, or raises, after so many ms; `when` "open" or "measure"."""

    fields = ("temperature_c", "humidity_pct")
    opened_ms = None

    def __init__(self, place, says, took_ms=10, when="measure", warm_up_ms=0):
        self.place = place
        self.name = "chip"
        self.says = says
        self.took_ms = took_ms
        self.when = when
        if warm_up_ms:
            self.WARM_UP_MS = warm_up_ms

    def _say(self):
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    def open(self):
        if self.when == "open":
            self._say()
        return self

    async def measure(self):
        await asyncio.sleep_ms(self.took_ms)
        return self._say()


class Windy(Channel):
    """One that has to be looked at all the time; `seen_ms` is for how long it was."""

    seen_ms = 0
    _first = None

    def step(self):
        now = time.ticks_ms()
        if self._first is None:
            self._first = now
        Windy.seen_ms = time.ticks_diff(now, self._first)


def sensors(channels, configured):
    async def item(report, clock):
        await selftest_items.sensors(report, channels, {s.place: s for s in configured}, clock)

    return item


def test_each_sensor_is_told_of_and_none_waits_for_another():
    clock = Clock(None, False)
    start = clock.uptime_ms()
    found = told(
        sensors(
            [
                Channel(0, (21.5, 47), 35000, warm_up_ms=30000),
                Channel(1, (85.5, float("nan")), 35000, warm_up_ms=30000),
                Channel(2, OSError(19), when="open"),
                Channel(4, SensorError("id"), when="open"),
                Channel(5, (20, None), 31000),  # longer than any may take without a warm-up
                Channel(6, (21, 50)),
                Windy(7, (21, None)),
            ],
            [Sensor(i, 500, {"temperature_c": (22, 23)} if i == 6 else None) for i in range(8)],
        ),
        limit_ms=240000,
        clock=clock,
    )
    assert clock.uptime_ms() - start < 40000
    assert ends(found) == {
        "sensor0.chip.temperature_c": ("PASS", 21.5),
        "sensor0.chip.humidity_pct": ("PASS", 47),
        "sensor1.chip.temperature_c": ("FAIL", 85.5),
        "sensor1.chip.humidity_pct": ("FAIL", None),
        "sensor2.chip": ("FAIL", None),
        "sensor4.chip": ("FAIL", None),
        "sensor5.chip": ("TIMEOUT", None),
        "sensor6.chip.temperature_c": ("FAIL", 21),
        "sensor6.chip.humidity_pct": ("PASS", 50),
        "sensor7.chip.temperature_c": ("PASS", 21),
        "sensor7.chip.humidity_pct": ("SKIP", None),
    }
    assert 3000 <= Windy.seen_ms <= 5000
    line = found["sensor6.chip.temperature_c"]
    assert (line["unit"], line["low"], line["high"]) == ("°C", 22, 23)
    assert ends(told(sensors([], []))) == {"sensors": ("SKIP", None)}


def test_files_are_kept_or_not():
    def of(flash, spool_bytes=8 * KIB):
        async def item(report, clock):
            await selftest_items.files(report, spool_bytes, "/f")

        with Files(flash):
            found = told(item)
            import os

            assert "selftest.tmp" not in os.listdir("/f")
        return ends(found)

    flash = formatted(64)
    good = of(flash)
    assert good["files.kept"] == ("PASS", 8 * KIB)
    assert good["files.room"][0] == "PASS"
    assert of(flash, 200 * KIB)["files.room"] == ("FAIL", good["files.room"][1])
    # What the spool has already is room of its own.
    with Files(flash), open(FOLDER + "/1", "wb") as file:
        file.write(bytes(64 * KIB))
    assert abs(of(flash)["files.room"][1] - good["files.room"][1]) <= 8 * KIB
    small = formatted(BLOCKS)
    with Files(small), open("/f/full", "wb") as file:
        try:
            while True:
                file.write(bytes(KIB))
                file.flush()
        except OSError:
            pass
    for number in range(99):
        try:
            with Files(small), open("/f/more%d" % number, "wb") as file:
                file.write(bytes(3 * KIB))
        except OSError:
            break
    full = of(small)
    assert full["files.kept"] == ("FAIL", 0)
    assert full["files.room"][0] == "FAIL"
    for kind in (PROGRAM, ERASE):
        worn = formatted(64)
        with Files(worn):
            pass
        worn.fault = lambda of, at, count, kind=kind: -5 if of == kind else 0
        assert of(worn)["files.kept"] == ("FAIL", 0)


def test_the_clock_is_held_against_ticks():
    for rate, verdict in (
        (1.0, "PASS"),
        (1.009, "PASS"),
        (0.97, "FAIL"),
        (1.5, "FAIL"),
        (0, "FAIL"),
    ):

        async def item(report, clock, rate=rate):
            start = 86399900000  # midnight is near
            first = clock.ticks_us()

            def now_us():
                return (start + int(clock.ticks_diff(clock.ticks_us(), first) * rate)) % 86400000000

            await selftest_items.rtc(report, now_us, clock, 10000)

        line = told(item)["rtc"]
        assert line["verdict"] == verdict, rate
        assert abs(line["value"] - 1000 * rate) < 1
        assert (line["low"], line["high"]) == (990, 1010)


def test_the_battery():
    for volts, verdict, value in (
        (3.7, "PASS", 3.7),
        (0.0, "FAIL", 0),
        (2.99, "FAIL", 2.99),
        (4.9, "FAIL", 4.9),
        (UNDEFINED, "FAIL", None),
    ):

        async def item(report, clock, volts=volts):
            await selftest_items.battery(report, lambda: volts, 2.0)

        assert ends(told(item)) == {"battery": (verdict, value)}


def point(name, rssi):
    return name, b"\x02" * 6, 6, rssi, 3, False


def test_a_scan():
    cases = (
        ([], b"own", {"wifi.networks": ("FAIL", 0), "wifi.own": ("FAIL", None)}),
        ([], None, {"wifi.networks": ("PASS", 0)}),
        (
            [point(b"other", -40), point(b"own", -80), point(b"own", -70)],
            b"own",
            {"wifi.networks": ("PASS", 3), "wifi.own": ("PASS", -70)},
        ),
        ([point(b"own", -83)], b"own", {"wifi.networks": ("PASS", 1), "wifi.own": ("FAIL", -83)}),
        ([point(b"", -50)], b"own", {"wifi.networks": ("PASS", 1), "wifi.own": ("SKIP", None)}),
        ([point(b"", -50)], b"", {"wifi.networks": ("PASS", 1), "wifi.own": ("FAIL", None)}),
    )
    for found, ssid, expected in cases:

        async def item(report, clock, found=found, ssid=ssid):
            await selftest_items.wifi(report, found, ssid)

        lines = told(item)
        assert ends(lines) == expected
        assert "own" not in str([line["detail"] for line in lines.values()])


class Radio:
    """A radio whose frame takes so long, or which raises."""

    def __init__(self, clock, outcome):
        self._clock = clock
        self._outcome = outcome
        self.sent = []
        self.asleep = False

    async def transmit(self, payload, freq_hz, sf, bw_khz, power_dbm):
        self.sent.append((len(payload), freq_hz, power_dbm))
        if isinstance(self._outcome, Exception):
            raise self._outcome
        await self._clock.sleep_ms(self._outcome)
        return self._clock.ticks_us()

    def sleep(self):
        self.asleep = True


def test_the_radio():
    cases = (
        (0x12, 45, 2, {"radio.version": ("PASS", 18), "radio.tx": ("PASS", 45)}),
        (0x12, 9, 2, {"radio.version": ("PASS", 18), "radio.tx": ("FAIL", 9)}),
        (0, 45, 2, {"radio.version": ("FAIL", 0)}),
        (0xFF, 45, 2, {"radio.version": ("FAIL", 255)}),
        (0x12, RadioError("timeout"), 2, {"radio.version": ("PASS", 18), "item0": ("FAIL", None)}),
        # Law has the last word: 5 mW e.r.p.
        (0x12, 45, 8, {"radio.version": ("PASS", 18), "radio.tx": ("SKIP", None)}),
    )
    for value, outcome, gain_dbi, expected in cases:
        made = []

        async def item(report, clock, value=value, outcome=outcome, gain_dbi=gain_dbi, made=made):
            def make():
                made.append(Radio(clock, outcome))
                return made[0]

            await selftest_items.radio(
                report, lambda: ("version", value, 0x12, ""), make, 2, gain_dbi, clock
            )

        found = told(item)
        assert {name: (v, round(n) if n else n) for name, (v, n) in ends(found).items()} == expected
        assert [radio.asleep for radio in made] == ([True] if made else [])
        for radio in made:
            ((size, freq_hz, power_dbm),) = radio.sent
            assert size <= 12
            assert power_dbm == 2
            assert 869762500 <= freq_hz <= 869937500
        assert "0x%x" % value in found["radio.version"]["detail"]


class Button:
    def __init__(self, clock, *times):
        self._clock = clock
        self._start = clock.uptime_ms()
        self._times = times

    def value(self):
        past = self._clock.uptime_ms() - self._start
        return 1 - sum([past >= at for at in self._times]) % 2


def test_the_button_and_the_led():
    for times, verdict, value in (
        ((2000, 2200), "PASS", 2200),
        ((), "TIMEOUT", None),
        ((500,), "TIMEOUT", None),
    ):

        async def item(report, clock, times=times):
            await selftest_items.button(report, Button(clock, *times), clock)

        ((name, (got, at)),) = ends(told(item)).items()
        assert (name, got) == ("button", verdict)
        assert at == value or abs(at - value) <= 20

    class Lamp:
        def __init__(self):
            self.levels = [1]

        def value(self, *level):
            self.levels += level
            return self.levels[-1]

    lamp = Lamp()

    async def blink(report, clock):
        await selftest_items.led(report, lamp, clock)

    assert ends(told(blink)) == {"led": ("PASS", 6)}
    assert lamp.levels == [1] + [0, 1] * 6 + [1]
