"""Air time, tables of EU868 and receive windows."""

from lorawan_bench import Chance, kind_of
from node.lorawan.actions import LorawanError
from node.lorawan.duty import NEVER_MS, Ledger
from node.lorawan.hopping import Hopper
from node.lorawan.region import EU868, airtime_us, symbol_us
from node.lorawan.settings import Settings
from node.lorawan.windows import open_window

# Semtech's LoRa calculator and AN1200.13 for a PHYPayload of so many bytes, in us; with the
# payloads of 11, 29, 51, 115 and 222 bytes (and 13 of overhead) at DR0 to DR5.
AIRTIMES = (
    (24, (1482752, 823296, 370688, 205824, 113152, 61696)),
    (42, (2138112, 1150976, 534528, 287744, 154112, 87296)),
    (64, (2793472, 1560576, 698368, 390144, 215552, 118016)),
    (128, (None, None, None, 676864, 379392, 215296)),
    (235, (None, None, None, None, 655872, 368896)),
)


def test_time_on_air():
    for size, row in AIRTIMES:
        for rate in range(len(row)):
            if row[rate] is not None:
                assert EU868.airtime_us(size, rate) == row[rate], (size, rate)
    # brocaar/lorawan, airtime_test.go, symbols: 13 bytes at SF9 have 28, preamble 12.25.
    assert airtime_us(13, 9, 125) == 164864
    # DR6: half the time of the same symbols.
    assert airtime_us(24, 7, 250) * 2 == airtime_us(24, 7, 125)
    # Without CRC (a downlink) 16 bits less.
    assert airtime_us(21, 12, 125, False) == airtime_us(21, 12, 125) - 5 * 32768
    assert airtime_us(0, 12, 125, False) == (4 * 8 + 17 + 4 * 8) * 32768 // 4


def test_symbols():
    assert [symbol_us(sf, 125) for sf in range(7, 13)] == [1024, 2048, 4096, 8192, 16384, 32768]
    assert symbol_us(7, 250) == 512


def test_rates():
    assert EU868.rates == (
        (12, 125), (11, 125), (10, 125), (9, 125), (8, 125), (7, 125), (7, 250),
    )  # fmt: skip
    assert EU868.max_payload == (51, 51, 51, 115, 242, 242, 242)
    assert EU868.max_payload_repeater == (51, 51, 51, 115, 222, 222, 222)
    for rate in range(7):
        for offset in range(6):
            assert EU868.rx1_rates[rate][offset] == max(0, rate - offset)


def test_sub_bands():
    for hz, band in (
        (863000000, -1), (863062500, 0), (864900000, 0), (865000000, -1), (867100000, 1),
        (867900000, 1), (868000000, -1), (868100000, 2), (868300000, 2), (868500000, 2),
        (868600000, -1), (868650000, -1), (868700000, -1), (868800000, 3), (869100000, 3),
        (869300000, -1), (869525000, 4), (869650000, -1), (869800000, 5), (870000000, -1),
        (0, -1), (862000000, -1), (433175000, -1), (1677721500, -1),
    ):  # fmt: skip
        assert EU868.band(hz) == band, hz
    limits = [(low, high, ms) for low, high, ms in EU868.bands]
    assert [ms * 1000 // 3600 for _, _, ms in limits] == [1000, 10000, 10000, 1000, 100000, 10000]
    for hz, heard in (
        (863062500, 1),
        (869525000, 1),
        (868650000, 1),
        (862900000, 0),
        (870000000, 0),
    ):
        assert EU868.hearable(hz) == bool(heard), hz


def test_power():
    settings = Settings(antenna_gain_dbi=2)
    assert [settings.power_dbm(power) for power in range(8)] == [14, 12, 10, 8, 6, 4, 2, 0]
    settings = Settings(antenna_gain_dbi=3, min_power_dbm=2, max_eirp_dbm=14)
    assert [settings.can_power(power) for power in range(8)] == [True] * 5 + [False] * 3
    assert settings.power_dbm(7) == 2
    assert kind_of(LorawanError, lambda: Settings(adrr=True)) == "option"


def test_windows_open_in_time_and_find_the_preamble():
    for ppm in (0, 30, 10000, 20000):
        for delay_ms in (1000, 2000, 5000, 16000):
            for sf in (7, 9, 12):
                settings = Settings(clock_error_ppm=ppm, timing_error_us=3000)
                rx = open_window(settings, 1, delay_ms, 868100000, sf, 125)
                symbol = symbol_us(sf, 125)
                for error in (-ppm, 0, ppm):
                    for late_us in (-3000, 0, 3000):
                        opened = rx.delay_us * (1000000 + error) // 1000000 + late_us
                        # TS001 section 3.3.2: no later than the delay.
                        assert opened <= 1000 * delay_ms
                        seen = opened + rx.symbols * symbol - 1000 * delay_ms
                        assert seen >= settings.min_symbols * symbol - 1, (ppm, delay_ms, sf, error)
                # No longer than needed: a symbol more at most.
                error_us = delay_ms * ppm // 1000 + 3000
                assert rx.symbols * symbol < 2 * error_us + (settings.min_symbols + 1) * symbol


def test_channels_are_used_in_turn():
    chance = Chance(5)
    hopper = Hopper(chance.below)
    orders = []
    for _ in range(50):
        order = [hopper.pick(0b11010110) for _ in range(5)]
        assert sorted(order) == [1, 2, 4, 6, 7]
        orders.append(tuple(order))
    assert len(set(orders)) > 20
    # One that is free again only after the others were used is next.
    assert sorted([hopper.pick(0b0110) for _ in range(2)]) == [1, 2]
    assert hopper.pick(0b1110) == 3


def test_no_hour_of_a_sub_band_is_over_its_limit():
    chance = Chance(6)
    for band, rates, least in (
        (0, (0,), 15), (0, (0, 5), 20), (0, (3, 4, 5), 30), (3, (5,), 35), (1, (0,), 80),
        (2, (0, 1, 2, 3, 4, 5), 80), (4, (0, 3), 80), (5, (5,), 80),
    ):  # fmt: skip
        limit_us = 1000 * EU868.bands[band][2]
        ledger = Ledger(EU868)
        now = 0
        sent = []
        while now < 4 * 3600000:
            rate = rates[chance.below(len(rates))]
            airtime = EU868.airtime_us(14 + chance.below(EU868.max_payload[rate]), rate)
            step = ledger.wait_ms(band, airtime)
            # Asked at odd moments, as a caller would.
            step = chance.below(step) if step > 9 and chance.below(2) else step
            if step:
                ledger.advance(step)
                now += step
                continue
            ledger.take(band, airtime, 0)
            sent.append((now, airtime))
            ledger.advance(airtime // 1000 + 1)
            now += airtime // 1000 + 1
        first = total = 0
        for begin, airtime in sent:
            total += airtime
            end = begin + airtime // 1000
            while sent[first][0] + sent[first][1] // 1000 <= end - 3600000:
                total -= sent[first][1]
                first += 1
            assert total <= limit_us, (band, begin)
        # And most of what is allowed can be used.
        share = sum([airtime for _, airtime in sent]) * 100 // (4 * limit_us)
        assert share >= least, (band, rates, share)


def test_a_ledger_starts_full_and_never_lets_too_much_through():
    ledger = Ledger(EU868)
    assert ledger.wait_ms(2, 6000000) == 0
    assert ledger.wait_ms(2, 6000001) == NEVER_MS
    ledger.take(2, 6000000, 0)
    wait = ledger.wait_ms(2, 61696)
    assert 7000 < wait < 9000
    ledger.advance(wait - 1)
    assert ledger.wait_ms(2, 61696) == 1
    ledger.advance(1)
    assert ledger.wait_ms(2, 61696) == 0
    assert ledger.wait_ms(1, 61696) == 0
    # To the microsecond.
    ledger.take(1, 6000000 - 61695, 0)
    assert ledger.wait_ms(1, 61695) == 0 < ledger.wait_ms(1, 61696)
    ledger.enabled = False
    assert ledger.wait_ms(2, 60000000) == 0
