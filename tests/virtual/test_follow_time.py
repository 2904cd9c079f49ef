"""Virtual time that keeps step with the machine's: the boards' own time is exact all the same."""

import time

import pytest
from citynode.virtual.rack import Rack
from citynode.virtual.soc import standin
from citynode.virtual.soc.chip import CHIPS
from mpremote.transport_serial import SerialTransport

PROGRAM = """
import time
for ms in (1, 10, 300):
    start = time.ticks_us()
    time.sleep_ms(ms)
    print(time.ticks_diff(time.ticks_us(), start))
"""
CALLS_US = 50  # a few looks at the clock

pytestmark = [
    # pyserial's RFC 2217 client still uses them.
    pytest.mark.filterwarnings("ignore:setDaemon:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:setName:DeprecationWarning"),
]


@pytest.fixture
def rack(tmp_path):
    path = tmp_path / "image.bin"
    path.write_bytes(standin.build(CHIPS["esp32"]))
    with Rack("esp32-devkit", image=path, follow=True) as running:
        yield running


def test_a_tool_meets_a_board_whose_sleeps_are_exact(rack):
    link = SerialTransport(rack.boards[0].rfc2217_url, 115200)
    try:
        link.enter_raw_repl()
        start = time.monotonic()
        said = [int(word) for word in link.exec(PROGRAM).split()]
        took_us = (time.monotonic() - start) * 1e6
    finally:
        link.close()
    for us, ms in zip(said, (1, 10, 300), strict=True):
        assert 1000 * ms <= us <= 1000 * ms + CALLS_US
    # The machine's time went on with it.
    assert took_us >= sum(said)


def test_a_machine_that_is_busy_makes_all_late_and_nothing_wrong(rack):
    """What is due while nothing runs is done in its order, at its own time."""
    seen = []
    engine = rack.engine

    def begin():
        now = engine.clock.now_ns()
        for ms in (30, 10, 20):
            engine.call_at(
                now + ms * 1_000_000, lambda ms=ms: seen.append((ms, engine.clock.now_ns() - now))
            )
        time.sleep(0.1)  # the processor is somebody else's

    rack.call(begin)
    deadline = time.monotonic() + 10
    while len(seen) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert seen == [(ms, ms * 1_000_000) for ms in (10, 20, 30)]
