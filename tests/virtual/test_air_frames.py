"""How long frames are on the air: by calculators, by the formula, and as the firmware has it."""

import importlib
import math

import pytest
from air_bench import HZ
from citynode.resources import firmware
from citynode.virtual.air import Modulation
from citynode.virtual.air.frames import CHIP_NS
from hypothesis import given, settings
from hypothesis import strategies as st
from radio_bench import MS, US

# PHY payload of (11, 29, 51, 115, 222) bytes and 13 bytes of LoRaWAN, in ms at DR0 to DR5, as
# facts and operators' calculators have them.
LORAWAN_MS = {
    11: (1483, 823, 371, 206, 113, 62),
    29: (2138, 1151, 535, 288, 154, 87),
    51: (2793, 1561, 698, 390, 216, 118),
    115: (None, None, None, 677, 379, 215),
    222: (None, None, None, None, 656, 369),
}
# Semtech's SX1261 calculator (as quoted in the tests of micropython-lib's lora):
# (sf, bw, cr, preamble, payload, explicit, crc) and µs.
CALCULATOR_US = [
    ((12, 500_000, 1, 8, 1, True, True), 206_848),
    ((12, 500_000, 1, 12, 64, True, True), 649_216),
    ((12, 500_000, 1, 8, 192, True, True), 1_476_608),
    ((12, 500_000, 1, 12, 16, False, False), 280_576),
    ((8, 125_000, 2, 8, 1, True, True), 53_760),
    ((8, 125_000, 2, 8, 3, True, False), 53_760),
    ((8, 125_000, 2, 8, 253, True, True), 827_904),
    ((8, 125_000, 2, 12, 5, False, True), 61_952),
    ((5, 500_000, 1, 2, 1, True, False), 1_360),
    ((5, 500_000, 1, 12, 253, False, True), 34_000),
    ((5, 125_000, 4, 12, 253, False, True), 213_568),
    ((12, 7_812, 4, 128, 253, True, True), 287_440_896),
    ((11, 10_417, 3, 25, 16, True, True), 12_828_672),
]


@pytest.fixture(scope="module")
def base():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(firmware()))
        yield importlib.import_module("node.radio.base")


@pytest.mark.parametrize("payload", LORAWAN_MS)
def test_time_on_air_of_lorawan_frames(base, payload):
    for dr, expected in enumerate(LORAWAN_MS[payload]):
        if expected is not None:
            sf = 12 - dr
            ns = Modulation(HZ, sf).airtime_ns(payload + 13)
            assert round(ns / MS) == expected
            assert base.airtime_us(sf, 125, payload + 13) * US == ns


@pytest.mark.parametrize(("case", "us"), CALCULATOR_US)
def test_time_on_air_of_the_calculator(case, us):
    sf, bw, cr, preamble, length, explicit, crc = case
    m = Modulation(HZ, sf, bw, cr, preamble=preamble, implicit=not explicit, crc=crc)
    assert m.airtime_ns(length) == us * US


@settings(deadline=None)
@given(
    sf=st.integers(7, 12),
    bw_hz=st.sampled_from(sorted(CHIP_NS)),
    cr=st.integers(1, 4),
    preamble=st.integers(6, 100),
    implicit=st.booleans(),
    crc=st.booleans(),
    length=st.integers(0, 255),
)
def test_time_on_air_is_the_formula_of_an1200_13(sf, bw_hz, cr, preamble, implicit, crc, length):
    m = Modulation(HZ, sf, bw_hz, cr, preamble, implicit=implicit, crc=crc)
    bandwidth = 1e9 / CHIP_NS[bw_hz]
    assert bandwidth == pytest.approx(bw_hz, abs=1)
    symbol_s = 2**sf / bandwidth
    de = symbol_s >= 0.016
    numerator = 8 * length - 4 * sf + 28 + 16 * crc - 20 * implicit
    blocks = max(math.ceil(numerator / (4 * (sf - 2 * de))), 0)
    symbols = preamble + 4.25 + 8 + blocks * (cr + 4)
    assert m.airtime_ns(length) == pytest.approx(symbols * symbol_s * 1e9, rel=1e-12)


@settings(deadline=None)
@given(sf=st.integers(7, 12), bw_khz=st.sampled_from((125, 250, 500)), length=st.integers(1, 255))
def test_the_firmware_has_the_same_times(base, sf, bw_khz, length):
    m = Modulation(HZ, sf, bw_khz * 1000)
    assert base.airtime_us(sf, bw_khz, length) * US == m.airtime_ns(length)
    assert base.symbol_us(sf, bw_khz) * US == m.symbol_ns
