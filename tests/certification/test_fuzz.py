"""Downlinks of this network with anything in them: the node goes on."""

import random

import pytest
from laboratory import PORT
from noise import odd

FRAMES = 60


@pytest.mark.slow
def test_frames_of_this_network_with_anything_in_them(dut):
    rng = random.Random(6)
    before = dut.hear()
    answered = 0
    for _ in range(FRAMES):
        dut.send(odd(rng, dut.link))
        up = dut.hear()
        assert up.f_cnt - before.f_cnt in (0, 1)
        assert up.port in (None, 0)
        answered += len(up.commands) > 0 or "ack" in up.flags
        before = up
    assert answered > FRAMES // 4
    assert not dut.said("Traceback")
    up = dut.ask(PORT, b"\x08\x01")
    assert up.payload[:1] == b"\x08" or up.port == 0
